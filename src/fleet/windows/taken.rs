//! The copies that this replica has taken of late: for which claim of its own, and from whom.
//!
//! Who gives a copy keeps it until it hears that it was taken, or refused. If that word is lost, it
//! asks again, when the window may long be elsewhere: the answer has to be the same.

use std::collections::{BTreeMap, VecDeque};

use super::super::directory::Incarnation;
use crate::limits::WINDOW_TAKEN_MAX;

/// A copy that was made out to this replica: there may be several to one claim, and by one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gift {
    /// Our claim that it was made out to.
    pub(super) ticket: u64,
    pub(super) by: Incarnation,
    /// The number that its replica has given it.
    pub(super) number: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Taken {
    copies: BTreeMap<Gift, bool>,
    order: VecDeque<Gift>,
    /// The largest ticket that was forgotten.
    forgotten: u64,
}

impl Taken {
    /// Notes whether a copy was taken or refused.
    pub(super) fn note(&mut self, gift: Gift, is_taken: bool) {
        if self.copies.insert(gift, is_taken).is_none() {
            self.order.push_back(gift);
        }
        if self.order.len() > WINDOW_TAKEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.copies.remove(&oldest);
            self.forgotten = self.forgotten.max(oldest.ticket);
        }
    }

    /// Returns true if a copy was taken, or may have been; `None` if it is still to be decided.
    pub(super) fn was_taken(&self, gift: Gift) -> Option<bool> {
        let known = self.copies.get(&gift).copied();
        known.or_else(|| (gift.ticket <= self.forgotten).then_some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_may_have_been_taken() {
        let (mut taken, by) = (Taken::default(), Incarnation(7));
        let gift = |ticket| Gift { ticket, by, number: 1 };
        let last = WINDOW_TAKEN_MAX as u64 + 2;
        (1..=last)
            .step_by(2)
            .chain((2..=last).step_by(2))
            .for_each(|it| taken.note(gift(it), true));
        assert!((1..=last).all(|ticket| taken.was_taken(gift(ticket)) == Some(true)));
        assert_eq!(taken.was_taken(gift(last + 1)), None);
        let others = [Gift { by: Incarnation(8), ..gift(last) }, Gift { number: 2, ..gift(last) }];
        for other in others {
            assert_eq!(taken.was_taken(other), None);
            taken.note(other, false);
            assert_eq!(taken.was_taken(other), Some(false));
        }
        assert_eq!((taken.copies.len(), taken.order.len()), (WINDOW_TAKEN_MAX, WINDOW_TAKEN_MAX));
    }
}
