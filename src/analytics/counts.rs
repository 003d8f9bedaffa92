//! Counts of a device, in 32 bits each, because every byte counts at a million devices.
//!
//! A count that passes 2³² carries into a table beside, which only the busiest devices have an
//! entry in: so the counts are exact, and cost the others nothing.

use std::collections::BTreeMap;

/// The carries of the counts past 32 bits, by slot.
pub(super) type Carries = BTreeMap<u32, [u32; 3]>;

/// The lower 32 bits of a device's counts: accepted events, points and episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u32; 3]);

impl Counts {
    /// No counts.
    pub(super) const NONE: Self = Self([0; 3]);

    /// Adds an accepted event of the device in a slot.
    #[inline(always)]
    pub(super) fn add_event(&mut self, slot: u32, carries: &mut Carries) {
        let Self([accepted, ..]) = self;
        *accepted = accepted.wrapping_add(1);
        if *accepted == 0 {
            carry([true, false, false], slot, carries);
        }
    }

    /// Adds points and episodes of the device in a slot.
    pub(super) fn add_anomalies(
        &mut self,
        [points, episodes]: [u32; 2],
        slot: u32,
        carries: &mut Carries,
    ) {
        self.add([0, points, episodes], slot, carries);
    }

    fn add(&mut self, by: [u32; 3], slot: u32, carries: &mut Carries) {
        let mut carried = [false; 3];
        for ((sum, by), carried) in self.0.iter_mut().zip(by).zip(&mut carried) {
            (*sum, *carried) = sum.overflowing_add(by);
        }
        if carried.contains(&true) {
            carry(carried, slot, carries);
        }
    }

    /// Sets the whole counts of the device in a slot.
    pub(super) fn set(&mut self, totals: [u64; 3], slot: u32, carries: &mut Carries) {
        self.0 = totals.map(|total| total as u32);
        let carried = totals.map(|total| (total >> 32) as u32);
        match carried {
            [0, 0, 0] => carries.remove(&slot),
            _ => carries.insert(slot, carried),
        };
    }

    /// Adds accepted events of the device in a slot.
    pub(super) fn add_events(&mut self, events: u64, slot: u32, carries: &mut Carries) {
        let [accepted, points, episodes] = self.totals(slot, carries);
        self.set([accepted.saturating_add(events), points, episodes], slot, carries);
    }

    /// Returns the whole counts of the device in a slot.
    pub(super) fn totals(self, slot: u32, carries: &Carries) -> [u64; 3] {
        let mut totals = self.0.map(u64::from);
        for (total, carried) in totals.iter_mut().zip(carries.get(&slot).unwrap_or(&[0; 3])) {
            *total += u64::from(*carried) << 32;
        }
        totals
    }
}

#[cold]
#[inline(never)]
fn carry(carried: [bool; 3], slot: u32, carries: &mut Carries) {
    let sums = carries.entry(slot).or_default();
    for (sum, carried) in sums.iter_mut().zip(carried) {
        *sum = sum.saturating_add(carried.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_exact_past_32_bits(
            added in prop::collection::vec((0..3_u32, any::<[u32; 3]>()), 0..40),
        ) {
            let mut carries = Carries::new();
            let mut counts = [Counts::NONE; 3];
            let mut expected = [[0_u64; 3]; 3];
            for (slot, by) in added {
                counts[slot as usize].add(by, slot, &mut carries);
                counts[slot as usize].add_event(slot, &mut carries);
                counts[slot as usize].add_events(2, slot, &mut carries);
                expected[slot as usize][0] += 3;
                for (sum, by) in expected[slot as usize].iter_mut().zip(by) {
                    *sum += u64::from(by);
                }
            }
            for (slot, expected) in (0..).zip(expected) {
                prop_assert_eq!(counts[slot as usize].totals(slot, &carries), expected);
                let is_large = expected.iter().any(|count| *count > u64::from(u32::MAX));
                prop_assert_eq!(carries.contains_key(&slot), is_large);
                let mut set = Counts::NONE;
                for totals in [[u64::MAX; 3], expected] {
                    set.set(totals, 7, &mut carries);
                    prop_assert_eq!(set.totals(7, &carries), totals);
                }
                prop_assert_eq!(set, counts[slot as usize]);
                prop_assert_eq!(carries.contains_key(&7), is_large);
            }
        }
    }
}
