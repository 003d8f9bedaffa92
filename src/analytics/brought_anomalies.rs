//! Brought anomalies: the last ones of devices that came from other instances.
//!
//! They are shown with the device, and are neither counted nor listed by this instance once more.
//! As with those that were found here, a ring buffer of a shard has them, and a device knows the
//! number of its newest: so they cost a device next to nothing, and are gone when others have
//! filled the ring since.

use super::anomaly::Point;
use super::anomaly_log::{AnomalyLog, Owner};

/// The anomalies of a shard that came with their devices.
pub(super) struct BroughtAnomalies(AnomalyLog);

/// The lower 24 bits of the number of a device's newest.
pub(super) type BroughtNumber = [u8; 3];

/// The bits of a [`BroughtNumber`].
const NUMBER: u32 = 0x00FF_FFFF;

impl BroughtAnomalies {
    /// Returns no anomalies, without memory for any.
    pub(super) const fn new() -> Self {
        Self(AnomalyLog::without_memory())
    }

    /// Reserves the memory.
    pub(super) fn reserve(&mut self) {
        self.0 = AnomalyLog::new();
    }

    /// Returns the number of a device without any.
    pub(super) const fn none(&self) -> BroughtNumber {
        let [a, b, c, _] = self.0.next().to_le_bytes();
        [a, b, c]
    }

    /// Adds the anomalies of a device, the oldest first. Returns the number of the newest.
    pub(super) fn add(&mut self, owner: Owner, points: &[Point]) -> BroughtNumber {
        // A number that is not given yet ends the chain.
        let mut newest = self.0.next();
        for point in points {
            newest = self.0.push(owner, newest, *point, 0);
        }
        let [a, b, c, _] = newest.to_le_bytes();
        [a, b, c]
    }

    /// Returns the anomalies of a device that are still here, the newest first.
    pub(super) fn recent(
        &self,
        owner: Owner,
        [a, b, c]: BroughtNumber,
    ) -> impl Iterator<Item = Point> {
        let age = self.0.next().wrapping_sub(u32::from_le_bytes([a, b, c, 0])) & NUMBER;
        let number = self.0.next().wrapping_sub(age);
        let newest = self.0.entry(number).map(|entry| entry.owner);
        let is_own = newest.is_some_and(|it| it.slot == owner.slot && it.tag == owner.tag);
        self.0.recent(owner.slot, number, if is_own { u64::MAX } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::schema::Schema;

    fn points(first: u32, count: u32) -> Vec<Point> {
        let field = Schema::standard().fields()[0];
        let point = |number| Point {
            timestamp_ms: i64::from(number),
            field,
            value: 0.0,
            mean: 0.0,
            stddev: 0.0,
            z: 0.0,
        };
        (first..first + count).map(point).collect()
    }

    const fn owner(slot: u32, tag: u32) -> Owner {
        Owner { slot, tag }
    }

    const NONE: [i64; 0] = [];

    fn found(brought: &BroughtAnomalies, owner: Owner, number: BroughtNumber) -> Vec<i64> {
        brought.recent(owner, number).map(|point| point.timestamp_ms).collect()
    }

    #[test]
    fn each_device_has_its_own_newest_first() {
        let mut brought = BroughtAnomalies::new();
        brought.reserve();
        let none = brought.none();
        assert_eq!(found(&brought, owner(1, 1), none), NONE);
        let one = brought.add(owner(1, 1), &points(0, 3));
        let other = brought.add(owner(2, 2), &points(10, 2));
        assert_eq!(found(&brought, owner(1, 1), one), [2, 1, 0]);
        assert_eq!(found(&brought, owner(2, 2), other), [11, 10]);
        // The number was that of no anomaly, and is one of the first device now.
        assert_eq!(found(&brought, owner(2, 2), none), NONE);
        // It came again, and had gone meanwhile: what it brought counts.
        let again = brought.add(owner(1, 1), &points(1, 3));
        assert_eq!(found(&brought, owner(1, 1), again), [3, 2, 1]);
        assert_eq!(brought.add(owner(1, 1), &[]), brought.none());
        assert_eq!(found(&brought, owner(1, 1), brought.none()), NONE);
        // The slot is another device's.
        assert_eq!(found(&brought, owner(1, 7), again), NONE);
    }

    #[test]
    fn what_others_have_pushed_out_is_gone() {
        let mut brought = BroughtAnomalies::new();
        brought.reserve();
        let one = brought.add(owner(1, 1), &points(0, 20));
        for slot in 2..limits::ANOMALY_LOG_ENTRIES as u32 / 20 + 1 {
            brought.add(owner(slot, slot), &points(100, 20));
        }
        assert_eq!(found(&brought, owner(1, 1), one).len(), 20);
        brought.add(owner(2, 2), &points(100, 10));
        let newest: Vec<i64> = (10 - limits::ANOMALY_LOG_ENTRIES as i64 % 20..20).rev().collect();
        assert_eq!(found(&brought, owner(1, 1), one), newest);
        brought.add(owner(2, 2), &points(100, 20));
        assert_eq!(found(&brought, owner(1, 1), one), NONE);
    }
}
