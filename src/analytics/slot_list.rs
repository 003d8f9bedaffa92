//! A list of slots that grows by segments: a `Vec` would copy megabytes while a core waits for the
//! shard's lock.

/// Slots of a segment: 16 KiB.
const SEGMENT_SLOTS: usize = 4096;

/// Slots in the order in which they were added. It keeps its memory.
#[derive(Debug, Default)]
pub(super) struct SlotList {
    /// None of them is empty, and all but the first and the last are full.
    segments: Vec<Vec<u32>>,
    spare: Vec<Vec<u32>>,
    /// The slots of the first segment that were taken.
    taken: usize,
}

impl SlotList {
    /// Returns true if there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Returns the number of slots.
    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(Vec::len).sum::<usize>() - self.taken
    }

    /// Adds a slot.
    pub(super) fn push(&mut self, slot: u32) {
        match self.segments.last_mut() {
            Some(last) if last.len() < SEGMENT_SLOTS => last.push(slot),
            _ => {
                let spare = self.spare.pop();
                let mut segment = spare.unwrap_or_else(|| Vec::with_capacity(SEGMENT_SLOTS));
                segment.push(slot);
                self.segments.push(segment);
            }
        }
    }

    /// Takes the slot that was added first.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let first = self.segments.first()?;
        let slot = *first.get(self.taken)?;
        self.taken += 1;
        if self.taken == first.len() {
            let mut segment = self.segments.remove(0);
            segment.clear();
            self.spare.push(segment);
            self.taken = 0;
        }
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn it_is_a_queue_that_keeps_its_memory(
            runs in prop::collection::vec((0..9000_u32, 0..9000_usize), 1..9),
        ) {
            let (mut list, mut twin, mut number) = (SlotList::default(), VecDeque::new(), 0);
            for (pushed, popped) in runs {
                for _ in 0..pushed {
                    number += 1;
                    list.push(number);
                    twin.push_back(number);
                }
                for _ in 0..popped {
                    prop_assert_eq!(list.pop(), twin.pop_front());
                }
                prop_assert_eq!(list.len(), twin.len());
                prop_assert_eq!(list.is_empty(), twin.is_empty());
            }
            let segments = list.segments.len() + list.spare.len();
            while list.pop().is_some() {}
            for slot in 0..segments * SEGMENT_SLOTS {
                list.push(u32::try_from(slot).unwrap());
            }
            prop_assert_eq!((list.segments.len(), list.spare.len()), (segments, 0));
        }
    }
}
