//! Findings: anomalies and novelties, and the last anomalies of a shard with their device ids.

use super::novelty::Reason;
use super::recent::{OrderKey, Ordered};
use crate::limits;
use crate::schema::Field;

/// An anomalous value, with its device.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The device; `None` for an anonymous event.
    pub device_id: Option<String>,
    /// The value and the grounds for the verdict.
    pub point: Point,
}

/// An anomalous value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The event's own timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The field of the value.
    pub field: Field,
    /// The value.
    pub value: f64,
    /// The mean of the window against which it was scored.
    pub mean: f64,
    /// The population standard deviation of that window, before any floor.
    pub stddev: f64,
    /// The z-score.
    pub z: f64,
}

/// A value that is new to its series, by the second judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NovelPoint {
    /// The event's own timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The field of the value.
    pub field: Field,
    /// The value.
    pub value: f64,
    /// The score, from 0 to 1.
    pub score: f32,
    /// The reason.
    pub reason: Reason,
}

percore::named_enum! {
    /// The judge of whom a finding is.
    pub enum FindingKind {
        /// The rule of deviations.
        Anomaly = "anomaly",
        /// The second judge.
        Novelty = "novelty",
    }
}

/// A verdict of one of the judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// The value is far from the mean of its window.
    Anomaly(Point),
    /// The value is new to its series.
    Novel(NovelPoint),
}

impl Finding {
    /// Returns whose verdict it is.
    pub const fn kind(&self) -> FindingKind {
        match self {
            Self::Anomaly(_) => FindingKind::Anomaly,
            Self::Novel(_) => FindingKind::Novelty,
        }
    }

    /// Returns the field of the value.
    pub const fn field(&self) -> Field {
        match self {
            Self::Anomaly(point) => point.field,
            Self::Novel(point) => point.field,
        }
    }

    /// Returns the value.
    pub const fn value(&self) -> f64 {
        match self {
            Self::Anomaly(point) => point.value,
            Self::Novel(point) => point.value,
        }
    }
}

/// A verdict on one of the events of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The index of the event in its request.
    pub index: u32,
    /// The value and the grounds for the verdict.
    pub finding: Finding,
}

/// A point with the device id inline: it outlives the device and costs no allocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RecentAnomaly {
    order: OrderKey,
    point: Point,
    id_bytes: u8,
    id: [u8; limits::DEVICE_ID_BYTES_MAX],
}

impl RecentAnomaly {
    /// Returns the anomaly of a device. Of an id longer than [`limits::DEVICE_ID_BYTES_MAX`], which
    /// no device has, the start is kept.
    pub(super) fn new(order: OrderKey, point: Point, device_id: Option<&[u8]>) -> Self {
        let mut id = [0; limits::DEVICE_ID_BYTES_MAX];
        let sent = device_id.unwrap_or_default();
        let sent = sent.get(..id.len()).unwrap_or(sent);
        let mut id_bytes = 0;
        if let Some(place) = id.get_mut(..sent.len()) {
            place.copy_from_slice(sent);
            id_bytes = sent.len() as u8;
        }
        Self { order, point, id_bytes, id }
    }

    /// Returns the anomaly as the summary has it.
    pub(super) fn anomaly(&self) -> Anomaly {
        let id = self.id.get(..usize::from(self.id_bytes)).unwrap_or(&self.id);
        let named = !id.is_empty();
        let device_id = named.then(|| String::from_utf8_lossy(id).into_owned());
        Anomaly { device_id, point: self.point }
    }
}

impl Ordered for RecentAnomaly {
    fn order(&self) -> OrderKey {
        self.order
    }
}

/// The last [`limits::RECENT_ANOMALIES_MAX`] anomalies of a shard by their order keys.
pub(super) struct RecentAnomalies {
    /// A ring in the order of the keys. It is not full while the oldest is the first.
    items: Vec<RecentAnomaly>,
    /// The place of the oldest.
    oldest: usize,
    /// The key of the newest.
    newest: OrderKey,
}

impl RecentAnomalies {
    pub(super) fn new() -> Self {
        let items = Vec::with_capacity(limits::RECENT_ANOMALIES_MAX);
        Self { items, oldest: 0, newest: OrderKey::default() }
    }

    /// Adds an anomaly; the oldest of too many is dropped. That may be the new one itself, because
    /// the turns of cores overlap.
    pub(super) fn insert(&mut self, anomaly: RecentAnomaly) {
        if anomaly.order <= self.newest {
            return self.insert_late(anomaly);
        }
        self.newest = anomaly.order;
        if self.items.len() < limits::RECENT_ANOMALIES_MAX {
            self.items.push(anomaly);
        } else if let Some(oldest) = self.items.get_mut(self.oldest) {
            *oldest = anomaly;
            self.oldest = (self.oldest + 1) % limits::RECENT_ANOMALIES_MAX;
        }
    }

    /// Adds an anomaly that is not newer than all others.
    #[cold]
    fn insert_late(&mut self, anomaly: RecentAnomaly) {
        self.items.rotate_left(self.oldest);
        self.oldest = 0;
        let is_full = self.items.len() == limits::RECENT_ANOMALIES_MAX;
        match self.items.first_mut().filter(|_| is_full) {
            None => self.items.push(anomaly),
            Some(oldest) if oldest.order < anomaly.order => *oldest = anomaly,
            Some(_) => return,
        }
        self.items.sort_unstable_by_key(|anomaly| anomaly.order);
        self.newest = self.newest.max(anomaly.order);
    }

    /// Appends a copy of them to `target`.
    pub(super) fn copy_to(&self, target: &mut Vec<RecentAnomaly>) {
        target.extend_from_slice(&self.items);
    }

    /// Returns the number of entries for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.items.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use proptest::prelude::*;

    impl Point {
        /// Returns a point of this value, for tests.
        pub(in crate::analytics) fn of_value(value: f64) -> Self {
            let field = Schema::standard().fields()[0];
            Self { timestamp_ms: 0, field, value, mean: 0.0, stddev: 0.0, z: 0.0 }
        }
    }

    proptest! {
        #[test]
        fn the_latest_are_the_newest_by_key_however_they_come(
            keys in prop::collection::hash_set(0..500_u64, 0..80),
        ) {
            let mut latest = RecentAnomalies::new();
            for &mono_ns in &keys {
                let order = OrderKey { mono_ns, ..OrderKey::default() };
                latest.insert(RecentAnomaly::new(order, Point::of_value(0.0), None));
            }
            let mut kept = Vec::new();
            latest.copy_to(&mut kept);
            let mut kept: Vec<u64> = kept.iter().map(|l| l.order.mono_ns).collect();
            kept.sort_unstable();
            let mut expected: Vec<u64> = keys.into_iter().collect();
            expected.sort_unstable();
            let cut = expected.len().saturating_sub(limits::RECENT_ANOMALIES_MAX);
            prop_assert_eq!(&kept, &expected[cut..]);
        }
    }

    #[test]
    fn the_longest_id_is_kept_inline() {
        let order = OrderKey::default();
        let id = "x".repeat(limits::DEVICE_ID_BYTES_MAX);
        for id in [None, Some("d1"), Some(id.as_str())] {
            let anomaly =
                RecentAnomaly::new(order, Point::of_value(1.0), id.map(str::as_bytes)).anomaly();
            assert_eq!(anomaly.device_id.as_deref(), id);
        }
    }
}
