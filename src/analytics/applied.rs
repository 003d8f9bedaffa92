//! The events without a verdict, counted by why.

use std::fmt;
use std::ops::AddAssign;

use crate::limits::BATCH_EVENTS_MAX;

/// The reason for which an event has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// Its device is new, and there are too many devices already.
    Refused,
    /// It waits for the window of its device, which is on its way from another instance.
    Pending,
    /// It repeats the last event of its device, which has one.
    Duplicate,
}

/// The events without a verdict among those that were applied, fewer than 2²¹ of each kind. Every
/// event pays for what is added up here, so all counts are in one number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied(u64);

/// The bits of a count.
const COUNT_BITS: u32 = 21;

/// The largest count.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

// A request has fewer events.
const _: () = assert!(BATCH_EVENTS_MAX < COUNT_MAX as usize);

impl Applied {
    /// Returns these counts.
    pub const fn of(refused: u32, pending: u32, duplicates: u32) -> Self {
        Self(
            refused as u64
                | (pending as u64) << COUNT_BITS
                | (duplicates as u64) << (2 * COUNT_BITS),
        )
    }

    /// Returns true if all events have verdicts.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of events whose device got no window, because there are too many devices.
    #[inline(always)]
    pub const fn refused(self) -> u64 {
        self.0 & COUNT_MAX
    }

    /// Returns the number of events that wait for the window of their device.
    #[inline(always)]
    pub const fn pending(self) -> u64 {
        self.0 >> COUNT_BITS & COUNT_MAX
    }

    /// Returns the number of events that repeat the last one of their device.
    #[inline(always)]
    pub const fn duplicates(self) -> u64 {
        self.0 >> (2 * COUNT_BITS)
    }

    /// Adds an event.
    pub(super) const fn add(&mut self, reason: Unjudged) {
        self.0 += match reason {
            Unjudged::Refused => 1,
            Unjudged::Pending => 1 << COUNT_BITS,
            Unjudged::Duplicate => 1 << (2 * COUNT_BITS),
        };
    }
}

impl AddAssign for Applied {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [refused, pending] = [self.refused(), self.pending()];
        write!(out, "{refused} refused, {pending} pending, {} duplicates", self.duplicates())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself() {
        let mut applied = Applied::default();
        assert!(applied.is_none());
        for at in 0..15 {
            applied.add(match at {
                0..7 => Unjudged::Pending,
                7..10 => Unjudged::Refused,
                _ => Unjudged::Duplicate,
            });
        }
        assert_eq!(applied, Applied::of(3, 7, 5));
        let most = BATCH_EVENTS_MAX as u32;
        applied += Applied::of(most, most - 7, most);
        assert_eq!((applied.refused(), applied.pending()), (10_003, 10_000));
        assert_eq!(applied.duplicates(), 10_005);
        let shown = "10003 refused, 10000 pending, 10005 duplicates";
        assert_eq!(format!("{applied:?}"), shown);
        assert!(!applied.is_none());
    }
}
