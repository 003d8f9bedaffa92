//! The last anomalies of a shard, from which its devices have theirs.
//!
//! Devices have no memory of their own for anomalies. The log is a ring buffer of a shard's last
//! [`limits::ANOMALY_LOG_ENTRIES`] anomalies; each entry names the previous one of its device, and
//! the device its newest. So the last twenty of a device are found as long as they are in the log.
//! When others have filled it since, they are gone, while the counts of the device stay.

use super::anomaly::Point;
use super::log_ring::LogRing;
use crate::limits;

/// The device of a finding: its slot, and the tag of its id, by which it is known that the slot has
/// not been given to another one since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) slot: u32,
    pub(super) tag: u32,
}

/// An anomaly in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) point: Point,
    pub(super) owner: Owner,
    /// The time in ticks, for the order of several shards.
    pub(super) tick: u32,
    previous: u32,
}

/// Returns the time in ticks of some 17 ms, which wrap around after two years.
pub(super) const fn tick(mono_ns: u64) -> u32 {
    (mono_ns >> 24) as u32
}

/// Returns the beginning of a tick, which is before now or hardly after.
pub(super) const fn seen_ns(then: u32, now_ns: u64) -> u64 {
    let ago = tick(now_ns).wrapping_sub(then).cast_signed();
    let ago = if ago < 0 { 0 } else { ago.cast_unsigned() };
    (now_ns >> 24).saturating_sub(ago as u64) << 24
}

/// The last anomalies of a shard, linked by device.
pub(super) struct AnomalyLog(LogRing<Entry, { limits::ANOMALY_LOG_ENTRIES }>);

impl AnomalyLog {
    pub(super) fn new() -> Self {
        Self(LogRing::new())
    }

    /// Returns a log of which nothing is reserved, and to which nothing is to be added.
    pub(super) const fn without_memory() -> Self {
        Self(LogRing::without_memory())
    }

    /// Adds an anomaly of the device in a slot, whose newest so far is `previous` (any number if it
    /// has none). Returns the number of the new one.
    pub(super) fn push(&mut self, owner: Owner, previous: u32, point: Point, mono_ns: u64) -> u32 {
        self.0.push(Entry { point, owner, tick: tick(mono_ns), previous })
    }

    /// Returns the anomalies of the device in a slot that are still in the log, newest first. The
    /// device has had so many `points` and no more: the others of its slot belong to devices before
    /// it.
    pub(super) fn recent(
        &self,
        slot: u32,
        newest: u32,
        points: u64,
    ) -> impl Iterator<Item = Point> {
        let mut number = newest;
        let count = usize::try_from(points).unwrap_or(usize::MAX);
        let mut age_before = 0;
        std::iter::from_fn(move || {
            // A number is followed only if it leads back in time, to an entry that is still in the
            // log and belongs to this device: numbers wrap around.
            let age = self.0.age(number);
            let entry = self.0.entry(number).filter(|_| age > age_before)?;
            if entry.owner.slot != slot {
                return None;
            }
            number = entry.previous;
            age_before = age;
            Some(entry.point)
        })
        .take(count)
    }

    /// Returns the number of the next anomaly.
    pub(super) const fn next(&self) -> u32 {
        self.0.next
    }

    /// Returns the number of anomalies in the log.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the anomaly of this number; `None` if it is not in the log any more.
    pub(super) fn entry(&self, number: u32) -> Option<&Entry> {
        self.0.entry(number)
    }

    /// Returns the number of entries for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

// The log of a shard stays within the 1 MiB that `limits` promises.
const _: () = assert!(size_of::<Entry>() <= 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_device_sees_its_own_last_twenty(
            start in prop_oneof![Just(0), Just(u32::MAX - 20_000), any::<u32>()],
            runs in prop::collection::vec(
                (0..5_usize, prop_oneof![1..4000_usize, 1..8_usize], 0..9_u8), 1..20),
        ) {
            let mut log = AnomalyLog::new();
            log.0.start_at(start);
            let mut newest = [0_u32; 5];
            let mut points = [0_u64; 5];
            let mut all: Vec<(usize, f64)> = Vec::new();
            for (slot, count, fresh) in runs {
                if fresh == 0 {
                    points[slot] = 0;
                    all.iter_mut().filter(|a| a.0 == slot).for_each(|a| a.0 = 99);
                }
                for _ in 0..count {
                    let value = all.len() as f64;
                    newest[slot] = log.push(
                        Owner { slot: slot as u32, tag: 0 },
                        newest[slot],
                        Point::of_value(value),
                        0,
                    );
                    points[slot] += 1;
                    all.push((slot, value));
                }
                let kept = all.len().saturating_sub(limits::ANOMALY_LOG_ENTRIES);
                for slot in 0..5 {
                    let expected: Vec<f64> = all[kept..].iter().rev()
                        .filter(|a| a.0 == slot).map(|a| a.1).take(20).collect();
                    let found = log.recent(slot as u32, newest[slot], points[slot]);
                    let found: Vec<f64> = found.take(20).map(|point| point.value).collect();
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(log.0.capacity(), limits::ANOMALY_LOG_ENTRIES);
        }
    }
}
