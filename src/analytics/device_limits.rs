//! The limits of a shard's devices: the due times of each, beside its slot.
//!
//! They exist only if there is a limit. Of a due time the lowest bits are kept: it is at most a
//! period ahead of the clock, and the time at which the device was seen last, which is in its
//! record, tells when it is over. So five bytes a pair are enough, 20 at most.

use super::slots::NO_SLOT;
use crate::gcra::{DUE_BITS, Dues, Paces};
use crate::limits::{DUE_BYTES, RATE_PAIRS_MAX};

/// Devices whose due times are allocated together.
const CHUNK_DEVICES: usize = 64;

/// The due times of devices, by their slots.
pub(super) struct DeviceLimits {
    paces: Paces,
    /// The due times of a device stand side by side.
    chunks: Vec<Box<[[u8; DUE_BYTES]]>>,
}

impl DeviceLimits {
    /// Returns the limits of no device yet.
    pub(super) fn new(paces: Paces) -> Self {
        Self { paces, chunks: Vec::new() }
    }

    /// Begins anew with the device in a slot, which owes nothing.
    pub(super) fn begin(&mut self, slot: u32, now_ns: u64) {
        debug_assert_ne!(slot, NO_SLOT);
        let dues = CHUNK_DEVICES * self.paces.count();
        while self.chunks.len() <= slot as usize / CHUNK_DEVICES {
            self.chunks.push(vec![[0; DUE_BYTES]; dues].into_boxed_slice());
        }
        let dues = self.paces.ticks(now_ns);
        self.write(slot, &dues);
    }

    /// Counts an event of the device in a slot, which was seen before at this time, if it keeps to
    /// the limit. Returns the nanoseconds until one would if it does not; else 0. To a device the
    /// time is at least that at which it was seen: cores look at the clock at times of their own,
    /// and one whose time is a little earlier would find less room than there is.
    pub(super) fn take(&mut self, slot: u32, seen_ns: u64, now_ns: u64) -> u64 {
        let now_ns = now_ns.max(seen_ns);
        let mut dues = self.read(slot, seen_ns, now_ns);
        let wait_ns = self.paces.wait_ns(&dues, now_ns);
        if wait_ns == 0 {
            self.paces.spend(&mut dues, now_ns, 1);
            self.write(slot, &dues);
        }
        wait_ns
    }

    /// Returns the due times of the device in a slot.
    fn read(&self, slot: u32, seen_ns: u64, now_ns: u64) -> Dues {
        let (chunk, at) = self.place(slot);
        let kept = self.chunks.get(chunk).and_then(|chunk| chunk.get(at..));
        let kept = kept.unwrap_or_default().iter().map(|kept| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(bytes)
        });
        self.paces.recover(kept, now_ns.saturating_sub(seen_ns), now_ns)
    }

    fn write(&mut self, slot: u32, dues: &Dues) {
        let (chunk, at) = self.place(slot);
        let Some(chunk) = self.chunks.get_mut(chunk) else {
            return;
        };
        let places = chunk.iter_mut().skip(at).take(self.paces.count());
        for (place, due) in places.zip(dues) {
            place.iter_mut().zip(due.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
    }

    /// Returns the chunk of a slot, and the place of its first due time there.
    const fn place(&self, slot: u32) -> (usize, usize) {
        let slot = slot as usize;
        (slot / CHUNK_DEVICES, slot % CHUNK_DEVICES * self.paces.count())
    }
}

// As many bytes as the bits that matter, and no more than what is promised of a device.
const _: () = assert!(8 * DUE_BYTES == DUE_BITS as usize);
const _: () = assert!(DUE_BYTES * RATE_PAIRS_MAX <= 20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcra::Pace;
    use crate::limits::RATE_SECONDS_MAX;
    use proptest::prelude::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn paces(pairs: &[(u32, u32)]) -> Paces {
        pairs.iter().map(|(events, seconds)| Pace::new(*events, *seconds)).collect()
    }

    /// Silences of any length: within a period, and long after the kept bits have come round.
    fn silence_ns() -> impl Strategy<Value = u64> {
        let rounds = 1_u64 << DUE_BITS;
        prop_oneof![
            4 => 0..SECOND_NS,
            4 => 0..100 * SECOND_NS,
            1 => rounds - SECOND_NS..rounds + SECOND_NS,
            1 => 0..1_u64 << 55,
        ]
    }

    proptest! {
        /// Whole due times that are never forgotten are the twins.
        #[test]
        fn what_is_kept_of_a_due_time_is_enough(
            pairs in prop::collection::btree_map(
                prop_oneof![1..100_u32, 1..=RATE_SECONDS_MAX], 1..50_u32, 1..=RATE_PAIRS_MAX),
            steps in prop::collection::vec((0..200_u32, silence_ns()), 1..300),
            start_ns in 0..1_u64 << 60,
        ) {
            let pairs = pairs.into_iter().map(|(seconds, events)| (events, seconds));
            let paces = paces(&pairs.collect::<Vec<_>>());
            let mut limits = DeviceLimits::new(paces);
            let mut twins = vec![None; 200];
            let mut now_ns = start_ns;
            for (slot, silence_ns) in steps {
                now_ns += silence_ns;
                let slot = slot % 70 * 3 % 200;
                let (dues, seen_ns) = twins[slot as usize].get_or_insert_with(|| {
                    limits.begin(slot, now_ns);
                    (paces.ticks(now_ns), now_ns)
                });
                let wait_ns = paces.wait_ns(dues, now_ns);
                prop_assert_eq!(limits.take(slot, *seen_ns, now_ns), wait_ns);
                if wait_ns == 0 {
                    paces.spend(dues, now_ns, 1);
                    *seen_ns = now_ns;
                }
            }
        }
    }

    #[test]
    fn a_slot_begins_anew_with_its_next_device() {
        let mut limits = DeviceLimits::new(paces(&[(2, 10)]));
        limits.begin(65, 7);
        assert_eq!([0; 3].map(|_| limits.take(65, 7, 7)), [0, 0, 5 * SECOND_NS]);
        limits.begin(65, 8);
        assert_eq!([0; 3].map(|_| limits.take(65, 8, 8)), [0, 0, 5 * SECOND_NS]);
        assert_eq!(limits.take(65, 8, 8 + 5 * SECOND_NS), 0);
    }

    #[test]
    fn a_core_whose_time_is_a_little_earlier_finds_the_same_room() {
        let mut limits = DeviceLimits::new(paces(&[(3, 15)]));
        limits.begin(1, 100);
        let waits = [100, 99, 40, 3, 101].map(|now_ns| limits.take(1, 100, now_ns));
        assert_eq!(waits, [0, 0, 0, 5 * SECOND_NS, 5 * SECOND_NS - 1]);
    }
}
