//! Anomalies: the last ones of a shard with their device ids, and a log for its devices.
//!
//! Devices have no memory of their own for anomalies. The log is a ring buffer of a shard's last
//! [`limits::ANOMALY_LOG_ENTRIES`] anomalies; each entry names the previous one of its device, and
//! the device its newest. So the last twenty of a device are found as long as they are in the log.
//! When others have filled it since, they are gone, while the counts of the device stay.

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

/// A verdict of one of the judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// The value is far from the mean of its window.
    Anomaly(Point),
    /// The value is new to its series.
    Novel(NovelPoint),
}

impl Finding {
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

/// The device of an anomaly: its slot, and the tag of its id, by which it is known that the slot
/// has not been given to another one since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) slot: u32,
    pub(super) tag: u32,
}

/// A finding in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) finding: Finding,
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

/// The id of an anomaly's device, copied under the lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum OwnerId {
    /// No device.
    Anonymous,
    /// A device that is held: the bytes of its id.
    Held(usize, [u8; limits::DEVICE_ID_BYTES_MAX]),
    /// A device that was forgotten since.
    Forgotten,
}

/// An anomaly on its way from a log into the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    pub(super) entry: Entry,
    pub(super) owner: OwnerId,
}

/// The last anomalies of a shard, linked by device.
pub(super) struct AnomalyLog {
    entries: Vec<Entry>,
    /// The number of the next entry. Numbers wrap around; an index is a number modulo the ring's
    /// size.
    next: u32,
}

impl AnomalyLog {
    pub(super) fn new() -> Self {
        Self {
            // Reserved at once; the kernel provides pages as it fills.
            entries: Vec::with_capacity(limits::ANOMALY_LOG_ENTRIES),
            next: 0,
        }
    }

    /// Returns a log of which nothing is reserved, and to which nothing is to be added.
    pub(super) const fn without_memory() -> Self {
        Self { entries: Vec::new(), next: 0 }
    }

    /// Adds a finding of the device in a slot, whose newest so far is `previous` (any number if it
    /// has none). Returns the number of the new one.
    pub(super) fn push(
        &mut self,
        owner: Owner,
        previous: u32,
        finding: Finding,
        mono_ns: u64,
    ) -> u32 {
        let number = self.next;
        let entry = Entry { finding, owner, tick: tick(mono_ns), previous };
        match self.entries.get_mut(index_of(number)) {
            Some(oldest) => *oldest = entry,
            None => self.entries.push(entry),
        }
        self.next = number.wrapping_add(1);
        number
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
            loop {
                // A number is followed only if it leads back in time, to an entry that is still in
                // the log and belongs to this device: numbers wrap around.
                let age = self.next.wrapping_sub(number) as usize;
                if age <= age_before || age > self.entries.len() {
                    return None;
                }
                let entry = self.entries.get(index_of(number))?;
                if entry.owner.slot != slot {
                    return None;
                }
                number = entry.previous;
                age_before = age;
                if let Finding::Anomaly(point) = entry.finding {
                    return Some(point);
                }
            }
        })
        .take(count)
    }

    /// Returns the number of the next anomaly.
    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    /// Returns the number of anomalies in the log.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the anomaly of this number; `None` if it is not in the log any more.
    pub(super) fn entry(&self, number: u32) -> Option<&Entry> {
        let age = self.next.wrapping_sub(number) as usize;
        let is_here = (1..=self.entries.len()).contains(&age);
        self.entries.get(index_of(number)).filter(|_| is_here)
    }

    /// Returns the number of entries for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}

const fn index_of(number: u32) -> usize {
    number as usize % limits::ANOMALY_LOG_ENTRIES
}

// Otherwise indices would jump where numbers wrap around.
const _: () = assert!(limits::ANOMALY_LOG_ENTRIES.is_power_of_two());
// The log of a shard stays within the 1 MiB that `limits` promises.
const _: () = assert!(size_of::<Entry>() <= 64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use proptest::prelude::*;

    fn point(value: f64) -> Point {
        Point {
            timestamp_ms: 0,
            field: Schema::standard().fields()[0],
            value,
            mean: 0.0,
            stddev: 0.0,
            z: 0.0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_device_sees_its_own_last_twenty(
            start in prop_oneof![Just(0), Just(u32::MAX - 20_000), any::<u32>()],
            runs in prop::collection::vec(
                (0..5_usize, prop_oneof![1..4000_usize, 1..8_usize], 0..9_u8), 1..20),
        ) {
            let mut log = AnomalyLog::new();
            log.next = start;
            // The ring fills from its first index on.
            log.next -= u32::try_from(index_of(start)).unwrap();
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
                        Finding::Anomaly(point(value)),
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
            prop_assert_eq!(log.capacity(), limits::ANOMALY_LOG_ENTRIES);
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
                latest.insert(RecentAnomaly::new(order, point(0.0), None));
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
            let anomaly = RecentAnomaly::new(order, point(1.0), id.map(str::as_bytes)).anomaly();
            assert_eq!(anomaly.device_id.as_deref(), id);
        }
    }
}
