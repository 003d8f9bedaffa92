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

    /// Takes the slots that were added first, as many as there are places, and puts them there.
    /// Returns them.
    pub(super) fn pop_some<'a>(&mut self, places: &'a mut [u32]) -> &'a [u32] {
        let mut taken = 0;
        for place in places.iter_mut() {
            let Some(slot) = self.pop() else {
                break;
            };
            (*place, taken) = (slot, taken + 1);
        }
        places.get(..taken).unwrap_or_default()
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
                let some = popped / 2;
                let mut places = vec![0; some];
                let slots = list.pop_some(&mut places);
                let expected: Vec<_> = twin.drain(..some.min(twin.len())).collect();
                prop_assert_eq!(slots, expected);
                for _ in some..popped {
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
