//! The events of a simulation: the earliest first, and of one time that which was added first.

use std::collections::BTreeMap;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct EventQueue<E> {
    events: BTreeMap<(u64, u64), E>,
    added: u64,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), added: 0 }
    }
}

impl<E> EventQueue<E> {
    /// Adds what happens at this time.
    pub(super) fn add(&mut self, at_ns: u64, event: E) {
        self.added += 1;
        self.events.insert((at_ns, self.added), event);
    }

    /// Takes what happens next, and its time, unless that is after `until_ns`.
    pub(super) fn next(&mut self, until_ns: u64) -> Option<(u64, E)> {
        let next = self.events.first_entry().filter(|next| next.key().0 <= until_ns)?;
        let ((at_ns, _), event) = next.remove_entry();
        Some((at_ns, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_earlier_comes_first_and_then_what_was_added_first() {
        let mut queue = EventQueue::default();
        for (at_ns, event) in [(5, 'a'), (3, 'b'), (5, 'c'), (9, 'd'), (3, 'e')] {
            queue.add(at_ns, event);
        }
        let come: Vec<_> = std::iter::from_fn(|| queue.next(5)).collect();
        assert_eq!(come, [(3, 'b'), (3, 'e'), (5, 'a'), (5, 'c')]);
        queue.add(6, 'f');
        assert_eq!(std::iter::from_fn(|| queue.next(9)).last(), Some((9, 'd')));
        assert_eq!(queue.next(u64::MAX), None);
    }
}
