//! A shard: its devices, its anonymous series, and its counts.
//!
//! A device is found by its borrowed id and owns a slot. Slots are reused. Counts belong to the
//! shard, so they do not fall when a device expires. Events of known devices do not allocate.

use std::sync::atomic::{AtomicU64, Ordering};

use super::anomaly::{AnomalyLog, Point, RecentAnomalies, RecentAnomaly, SlotHandle};
use super::device_index::{DeviceId, DeviceIndex, IdHash, IdHasher};
use super::device_quota::DeviceQuota;
use super::expiry::ExpirySweep;
use super::recent::OrderKey;
use super::series::{Assessment, Rules, Series, Verdict};
use super::sliding_counter::SlidingCounter;
use super::slots::{Slot, Slots};
use super::summary::{DeviceSnapshot, PartialSummary};
use crate::limits;
use crate::metric::event::Event;
use crate::schema::Schema;
use percore::clock::Now;

/// The slot of the shard's anonymous series, which never expires.
const ANONYMOUS: u32 = 0;

/// The time of the last event of a free slot; it never expires.
const VACANT: u64 = u64::MAX;

/// The core that received an event, and its counter of anomalies. The counter orders anomalies that
/// fall into several shards in one turn. Only that core increments it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivingCore<'a> {
    pub(super) number: u32,
    pub(super) anomalies: &'a AtomicU64,
}

/// The device id of an event, with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceKey<'a> {
    pub(super) id: &'a [u8],
    pub(super) hash: IdHash,
}

/// A device: its id, the time of its last event, and its series.
#[derive(Clone, Debug)]
struct Device {
    id: DeviceId,
    seen_ns: u64,
    generation: u32,
    newest_anomaly: u32,
    series: Series,
}

/// The result of one sweep step.
pub(super) struct Swept {
    /// The number of slots that were freed.
    pub(super) freed: usize,
    /// True if the pass over all slots ended.
    pub(super) ended: bool,
}

/// A shard of the devices.
pub(super) struct Shard {
    rules: Rules,
    slots: Slots<Device>,
    index: DeviceIndex,
    free: Vec<u32>,
    expiry: ExpirySweep,
    log: AnomalyLog,
    recent: RecentAnomalies,
    last_minute: SlidingCounter<60>,
    points: [u64; 2],
    episodes: [u64; 2],
}

impl Shard {
    /// Returns a shard without devices.
    pub(super) fn new(rules: Rules, ttl_ns: u64) -> Self {
        let mut slots = Slots::new(rules.window);
        slots.push(Device::new(DeviceId::EMPTY, VACANT));
        Self {
            rules,
            slots,
            index: DeviceIndex::new(),
            free: Vec::new(),
            expiry: ExpirySweep::new(ttl_ns, ANONYMOUS + 1),
            log: AnomalyLog::new(),
            recent: RecentAnomalies::new(),
            last_minute: SlidingCounter::new(),
            points: [0; 2],
            episodes: [0; 2],
        }
    }

    /// Scores one event and adds it to its series. `None` if the device is new and there are too
    /// many devices already.
    pub(super) fn apply(
        &mut self,
        receiving: ReceivingCore<'_>,
        now: Now,
        event: &Event<'_>,
        key: Option<DeviceKey<'_>>,
        quota: &DeviceQuota,
    ) -> Option<Verdict> {
        let slot = match key {
            None => ANONYMOUS,
            Some(key) => self
                .touch(key, now.mono_ns)
                .or_else(|| self.insert(receiving.number, key, now.mono_ns, quota))?,
        };
        let (device, mut row) = self.slots.write(slot)?;
        let assessment = device.series.apply(
            &self.rules,
            &mut row,
            now.mono_ns,
            *event.values.first_chunk()?,
            event.timestamp_ms,
        );
        if assessment.verdict.anomalous != [false; 2] {
            let slot = row.slot;
            self.record_anomalies(slot, receiving, now, event, &assessment);
        }
        Some(assessment.verdict)
    }

    /// Finds a known device and updates its time. One that has expired starts afresh in its slot.
    fn touch(&mut self, key: DeviceKey<'_>, now_ns: u64) -> Option<u32> {
        let slot = self.find(key)?;
        let device = self.slots.record_mut(slot)?;
        if self.expiry.is_expired(device.seen_ns, now_ns) {
            device.reset();
            device.seen_ns = now_ns;
        } else {
            // Cores read the clock before they take the lock, so the time may be an earlier one.
            device.seen_ns = device.seen_ns.max(now_ns);
        }
        Some(slot)
    }

    fn find(&self, key: DeviceKey<'_>) -> Option<u32> {
        self.index.find(key.hash, |slot| {
            self.slots.record(slot).is_some_and(|device| device.id.as_bytes() == key.id)
        })
    }

    /// Adds a new device, unless there are too many. Returns its slot.
    fn insert(
        &mut self,
        core: u32,
        key: DeviceKey<'_>,
        now_ns: u64,
        quota: &DeviceQuota,
    ) -> Option<u32> {
        if !quota.try_acquire() {
            return None;
        }
        let id = DeviceId::new(key.id);
        let slot = match self.free.pop() {
            Some(slot) => {
                let device = self.slots.record_mut(slot)?;
                device.id = id;
                device.seen_ns = now_ns;
                slot
            }
            None => self.slots.push(Device::new(id, now_ns))?,
        };
        self.index.insert(key.hash, slot);
        self.expiry.add(core, now_ns);
        Some(slot)
    }

    /// Counts the anomalies of one event, and adds them to the log.
    #[cold]
    fn record_anomalies(
        &mut self,
        slot: u32,
        receiving: ReceivingCore<'_>,
        now: Now,
        event: &Event<'_>,
        assessment: &Assessment,
    ) {
        let (Some(moments), Some(device)) = (assessment.moments, self.slots.record_mut(slot))
        else {
            return;
        };
        let handle = SlotHandle { slot, generation: device.generation };
        for (at, &field) in Schema::standard().fields().iter().enumerate() {
            let pick = |pair: &[f64]| pair.get(at).copied().unwrap_or_default();
            if assessment.verdict.anomalous.get(at) != Some(&true) {
                continue;
            }
            let point = Point {
                timestamp_ms: event.timestamp_ms,
                field,
                value: pick(event.values),
                mean: pick(&moments.mean),
                stddev: pick(&moments.stddev),
                z: pick(&assessment.verdict.z.map(Option::unwrap_or_default)),
            };
            device.newest_anomaly = self.log.push(handle, device.newest_anomaly, point);
            let order = OrderKey {
                mono_ns: now.mono_ns,
                core: receiving.number,
                sequence: receiving.anomalies.fetch_add(1, Ordering::Relaxed),
            };
            self.recent.insert(RecentAnomaly::new(order, point, event.device_id));
            self.last_minute.record(now.mono_ns);
            add(&mut self.points, at, true);
            add(&mut self.episodes, at, assessment.opened.get(at) == Some(&true));
        }
    }

    /// Adds the counts of this shard to a partial summary, and its last anomalies to `recent`.
    pub(super) fn add_to(
        &self,
        partial: &mut PartialSummary,
        recent: &mut Vec<RecentAnomaly>,
        now_ns: u64,
    ) {
        let totals = &mut partial.totals;
        totals.devices += self.index.devices() as u64;
        for (sum, points) in totals.points.iter_mut().zip(self.points) {
            *sum += points;
        }
        for (sum, episodes) in totals.episodes.iter_mut().zip(self.episodes) {
            *sum += episodes;
        }
        partial.last_minute += self.last_minute.count(now_ns);
        self.recent.copy_to(recent);
    }

    /// Returns a copy of a device's state, and appends its values and last anomalies to vectors
    /// with enough capacity; `None` if the device is unknown.
    pub(super) fn snapshot(
        &self,
        key: DeviceKey<'_>,
        now_ns: u64,
        values: &mut Vec<[f64; 2]>,
        recent: &mut Vec<Point>,
    ) -> Option<DeviceSnapshot> {
        let slot = self.find(key)?;
        let Slot { record: device, values: row, offsets, wide } = self.slots.read(slot)?;
        if self.expiry.is_expired(device.seen_ns, now_ns) {
            return None;
        }
        let window = device.series.window();
        values.extend_from_slice(window.values(row));
        let handle = SlotHandle { slot, generation: device.generation };
        recent.extend(self.log.recent(handle, device.newest_anomaly));
        Some(DeviceSnapshot {
            series: device.series,
            newest: window.newest(row),
            span_ms: window.span_ms(offsets, wide),
        })
    }

    /// Returns when this core should sweep this shard; `u64::MAX` for never.
    pub(super) fn sweep_due_ns(&self, core: u32) -> u64 {
        self.expiry.due_ns(core)
    }

    /// Returns when [`Self::sweep_step`] may find an expired device; `u64::MAX` for never.
    pub(super) fn may_free_ns(&self) -> u64 {
        self.expiry.may_free_ns()
    }

    /// Checks the next few slots, and frees those of expired devices.
    pub(super) fn sweep_step(&mut self, core: u32, now_ns: u64, ids: &IdHasher) -> Swept {
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let mut freed = 0;
        for slot in self.expiry.begin_step(core, slots) {
            let Some(device) = self.slots.record_mut(slot) else {
                break;
            };
            if self.expiry.is_expired(device.seen_ns, now_ns) {
                let hash = ids.hash(device.id.as_bytes());
                device.id = DeviceId::EMPTY;
                device.reset();
                self.slots.clear(slot);
                self.index.remove(hash, slot);
                self.free.push(slot);
                freed += 1;
            } else if device.seen_ns != VACANT {
                self.expiry.keep(device.seen_ns);
            }
        }
        let ended = self.expiry.end_step(now_ns, slots, self.index.devices());
        Swept { freed, ended }
    }
}

impl Device {
    const fn new(id: DeviceId, seen_ns: u64) -> Self {
        Self { id, seen_ns, generation: 0, newest_anomaly: 0, series: Series::new() }
    }

    /// Resets the slot's state for its next device.
    fn reset(&mut self) {
        self.seen_ns = VACANT;
        self.generation = self.generation.wrapping_add(1);
        self.series = Series::new();
    }
}

fn add(sums: &mut [u64; 2], at: usize, one: bool) {
    if let Some(sum) = sums.get_mut(at) {
        *sum += u64::from(one);
    }
}

// A device takes this record and at most 21 bytes of the index, in addition to its row.
const _: () = assert!(size_of::<Device>() + 21 <= limits::DEVICE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::FieldSet;

    const RULES: Rules = Rules { window: 8, threshold: 2.0, min_samples: 4, cooldown: 8 };

    fn event<'a>(device_id: Option<&'a [u8]>, cpu: f64) -> Event<'a> {
        Event {
            device_id,
            timestamp_ms: 1_700_000_000_000,
            present: FieldSet::from_bits(3),
            values: vec![cpu, 1.0].leak(),
            ..Event::default()
        }
    }

    impl Shard {
        /// The capacities that an allocation would change.
        fn footprint(&self) -> [usize; 5] {
            [
                self.slots.capacity(),
                self.index.bytes(),
                self.free.capacity(),
                self.log.capacity(),
                self.recent.capacity(),
            ]
        }
    }

    #[test]
    fn events_of_known_devices_allocate_nothing() {
        let (ids, quota) = (IdHasher::default(), DeviceQuota::new(1000, u64::MAX));
        let mut shard = Shard::new(RULES, u64::MAX);
        let receiving = ReceivingCore { number: 0, anomalies: &AtomicU64::new(0) };
        let names: Vec<String> = (0..300).map(|i| format!("device-{i}")).collect();
        let mut before = None;
        for round in 0..600_u32 {
            for (name, i) in names.iter().zip(0_u32..) {
                let key = (i > 0)
                    .then(|| DeviceKey { id: name.as_bytes(), hash: ids.hash(name.as_bytes()) });
                // One event in eight is an anomaly, so that every branch is taken.
                let spike = if (round + i) % 8 == 0 { 1e5 } else { 0.0 };
                let event = event(key.map(|key| key.id), spike + f64::from(round % 3));
                shard.apply(receiving, Now::default(), &event, key, &quota);
            }
            let footprint = shard.footprint();
            assert_eq!(*before.get_or_insert(footprint), footprint, "round {round}");
        }
        assert!(shard.points[0] > 20_000 && shard.log.capacity() == limits::ANOMALY_LOG_ENTRIES);
    }

    #[test]
    fn a_freed_slot_is_the_next_devices_and_brings_nothing_along() {
        let (ids, quota) = (IdHasher::default(), DeviceQuota::new(1, 10));
        let mut shard = Shard::new(RULES, 10);
        let receiving = ReceivingCore { number: 0, anomalies: &AtomicU64::new(0) };
        for (id, start) in (0..20_u64).map(|i| (format!("d{i}"), i * 1000)) {
            let hash = ids.hash(id.as_bytes());
            let key = DeviceKey { id: id.as_bytes(), hash };
            for step in 0..10 {
                let now = Now { mono_ns: start + step, wall_us: 0 };
                let mut event = event(Some(id.as_bytes()), 1.0);
                // No two timestamps fit the same base.
                event.timestamp_ms = i64::try_from(step % 2).unwrap() * 1_700_000_000_000;
                assert!(shard.apply(receiving, now, &event, Some(key), &quota).is_some());
            }
            assert_eq!(shard.slots.wide_rows(), 1);
            let silent_ns = start + 100;
            let swept = shard.sweep_step(0, silent_ns, &ids);
            quota.release(swept.freed);
            assert_eq!((swept.freed, quota.devices(), shard.slots.len()), (1, 0, 2));
            assert_eq!(shard.slots.wide_rows(), 0);
            assert!(shard.snapshot(key, silent_ns, &mut Vec::new(), &mut Vec::new()).is_none());
        }
    }
}
