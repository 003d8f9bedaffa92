//! A shard: its devices, its anonymous series, and its counts.
//!
//! A device is found by its borrowed id and owns a slot. Slots are reused. Counts belong to the
//! shard, so they do not fall when a device expires. Events of known devices do not allocate.

mod cells;
mod devices;
mod duplicates;
mod limits;
mod lookahead;
mod novelty;
pub(super) mod portable;
mod sweep;

pub use lookahead::Guesses;

use super::anomaly::Found;
use super::anomaly_records::{AnomalyRecords, Arrival, Receipt};
use super::applied::Unjudged;
use super::cell::CellRecord;
use super::cells::Cells;
use super::counts::Carries;
use super::device::Device;
use super::device_index::{DeviceId, DeviceIndex};
use super::device_limits::DeviceLimits;
use super::device_quota::DeviceQuota;
use super::expiry::ExpirySweep;
use super::novel_fields::NovelFields;
use super::optional_fields::OptionalFields;
use super::series::{self, Rules};
use super::slots::Slots;
use crate::limits::FIELDS_MAX;
use crate::metric::event::Event;
use crate::metric::id_hash::{IdHash, IdHasher};

/// The slot of the shard's anonymous series, which never expires.
const ANONYMOUS: u32 = 0;

/// The time of the last event of a free slot; it never expires.
const VACANT: u64 = u64::MAX;

/// The device id of an event, with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceKey<'a> {
    pub(super) id: &'a [u8],
    pub(super) hash: IdHash,
}

/// An event of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrived<'a> {
    /// The event.
    pub event: Event<'a>,
    /// The hash of its device's id, or of none.
    pub hash: IdHash,
    /// Its index in the request.
    pub index: u32,
}

impl<'a> Arrived<'a> {
    pub(super) fn key(&self) -> Option<DeviceKey<'a>> {
        self.event.device_id.map(|id| DeviceKey { id, hash: self.hash })
    }
}

/// A shard of the devices.
pub(super) struct Shard {
    rules: Rules,
    /// The number of required fields.
    required: usize,
    /// The set of optional fields.
    optional_bits: u16,
    /// The set of fields for which there is more to do than for required ones.
    further_bits: u16,
    /// The slots of devices, with their required fields.
    slots: Slots<Device>,
    optional: OptionalFields,
    /// The second judge, if it is asked for.
    novel: Option<NovelFields>,
    carries: Carries,
    index: DeviceIndex,
    ids: IdHasher,
    free: Vec<u32>,
    expiry: ExpirySweep,
    anomalies: AnomalyRecords,
    cells: Cells,
    /// The limits of the devices, if there are any.
    limits: Option<DeviceLimits>,
    /// Events that repeated the last one of their device.
    duplicates: u64,
}

impl Shard {
    /// Returns a shard without devices.
    pub(super) fn new(
        rules: Rules,
        ttl_ns: u64,
        ids: IdHasher,
        limits: Option<DeviceLimits>,
    ) -> Self {
        let mut slots = Slots::new(rules.window, rules.schema.required().len());
        let mut optional = OptionalFields::new(&rules);
        slots.push(Device::new(DeviceId::EMPTY, VACANT, CellRecord::NEW));
        optional.add_device();
        Self {
            rules,
            required: rules.schema.required().len(),
            optional_bits: !rules.schema.required_set().bits(),
            further_bits: !rules.schema.required_set().bits(),
            slots,
            optional,
            novel: None,
            carries: Carries::new(),
            index: DeviceIndex::new(),
            ids,
            free: Vec::new(),
            expiry: ExpirySweep::new(ttl_ns, ANONYMOUS + 1),
            anomalies: AnomalyRecords::new(),
            cells: Cells::new(rules.schema.fields().len(), rules.window),
            limits,
            duplicates: 0,
        }
    }

    /// Scores one event and adds it to its series. `guess` is a slot in which its device may be, or
    /// [`NO_SLOT`](super::slots::NO_SLOT). Appends its anomalies to `points`.
    #[inline(always)]
    pub(super) fn apply(
        &mut self,
        receipt: Receipt,
        arrived: &Arrived<'_>,
        guess: u32,
        quota: &DeviceQuota,
        points: &mut Vec<Found>,
    ) -> Result<(), Unjudged> {
        let Arrived { event, index, .. } = arrived;
        let slot = match arrived.key() {
            Some(key) if !self.is_at(guess, key) => {
                self.find_or_insert(receipt, key, quota).ok_or(Unjudged::Refused)?
            }
            Some(_) => guess,
            None => ANONYMOUS,
        };
        let arrival = Arrival { event, index: *index, slot, tag: arrived.hash.tag(), receipt };
        self.apply_at(&arrival, points)
    }

    /// Scores an event whose slot is known.
    #[inline(always)]
    fn apply_at(&mut self, arrival: &Arrival<'_>, points: &mut Vec<Found>) -> Result<(), Unjudged> {
        // The usual number has a branch of its own, so that its code stands here.
        match self.required {
            2 => self.apply_required::<2>(arrival, points)?,
            _ => self.apply_other(arrival, points)?,
        }
        let further = arrival.event.present.bits() & self.further_bits;
        if further != 0 {
            self.apply_further(arrival, further, points);
        }
        Ok(())
    }

    /// Scores the required fields of an event, of which there are any number but the usual.
    #[inline(never)]
    fn apply_other(
        &mut self,
        arrival: &Arrival<'_>,
        points: &mut Vec<Found>,
    ) -> Result<(), Unjudged> {
        match self.required {
            0 => self.apply_without_required(arrival),
            1 => self.apply_required::<1>(arrival, points),
            3 => self.apply_required::<3>(arrival, points),
            4 => self.apply_required::<4>(arrival, points),
            5 => self.apply_required::<5>(arrival, points),
            6 => self.apply_required::<6>(arrival, points),
            7 => self.apply_required::<7>(arrival, points),
            8 => self.apply_required::<8>(arrival, points),
            9 => self.apply_required::<9>(arrival, points),
            10 => self.apply_required::<10>(arrival, points),
            11 => self.apply_required::<11>(arrival, points),
            12 => self.apply_required::<12>(arrival, points),
            13 => self.apply_required::<13>(arrival, points),
            14 => self.apply_required::<14>(arrival, points),
            15 => self.apply_required::<15>(arrival, points),
            _ => self.apply_required::<FIELDS_MAX>(arrival, points),
        }
    }

    /// Notes an event that has optional fields alone.
    fn apply_without_required(&mut self, arrival: &Arrival<'_>) -> Result<(), Unjudged> {
        let slot = arrival.slot;
        let device = self.slots.record(slot).ok_or(Unjudged::Refused)?;
        if self.expiry.is_expired(device.seen_ns, arrival.receipt.now.mono_ns)
            || device.cell.mark != self.cells.mark
            || device.timestamp == arrival.event.timestamp
        {
            self.attend(arrival)?;
        }
        let device = self.slots.record_mut(slot).ok_or(Unjudged::Refused)?;
        device.see(arrival.receipt.now, arrival.event.timestamp);
        device.counts.add_event(slot, &mut self.carries);
        Ok(())
    }

    /// Scores the `N` required fields of an event.
    #[inline(always)]
    fn apply_required<const N: usize>(
        &mut self,
        arrival: &Arrival<'_>,
        points: &mut Vec<Found>,
    ) -> Result<(), Unjudged> {
        let slot = arrival.slot;
        let (mut device, mut row) = self.slots.write::<N>(slot).ok_or(Unjudged::Refused)?;
        if self.expiry.is_expired(device.seen_ns, arrival.receipt.now.mono_ns)
            || device.cell.mark != self.cells.mark
            || device.timestamp == arrival.event.timestamp
        {
            self.attend(arrival)?;
            (device, row) = self.slots.write::<N>(slot).ok_or(Unjudged::Refused)?;
        }
        device.see(arrival.receipt.now, arrival.event.timestamp);
        let (window, timestamp_ms) = (&mut device.window, arrival.event.timestamp_ms);
        let values = arrival.event.values.first_chunk().ok_or(Unjudged::Refused)?;
        let anomalous = series::apply(&self.rules, window, &mut row, 0, values, timestamp_ms);
        device.counts.add_event(slot, &mut self.carries);
        if let Some(anomalous) = anomalous {
            device.counts.add_anomalies(anomalous.counts(), slot, &mut self.carries);
            self.anomalies.add(self.rules.schema, arrival, device, 0, &anomalous, points);
        }
        Ok(())
    }

    /// Does what no event needs with which the server begins: scores optional fields, and asks the
    /// second judge.
    #[inline(never)]
    fn apply_further(&mut self, arrival: &Arrival<'_>, bits: u16, points: &mut Vec<Found>) {
        let optional = bits & self.optional_bits;
        if optional != 0 {
            self.apply_optional(arrival, optional, points);
        }
        if self.novel.is_some() {
            self.judge_novelty(arrival, points);
        }
    }

    /// Scores optional fields of an event, `bits` of its set.
    fn apply_optional(&mut self, arrival: &Arrival<'_>, bits: u16, points: &mut Vec<Found>) {
        let Self { rules, slots, optional, carries, anomalies, .. } = self;
        let slot = arrival.slot;
        let Some(device) = slots.record_mut(slot) else {
            return;
        };
        optional.apply(rules, slot, arrival.event, bits, |field, anomalous| {
            device.counts.add_anomalies(anomalous.counts(), slot, carries);
            anomalies.add(rules.schema, arrival, device, field, anomalous, points);
        });
    }

    fn find_or_insert(
        &mut self,
        receipt: Receipt,
        key: DeviceKey<'_>,
        quota: &DeviceQuota,
    ) -> Option<u32> {
        self.find(key).or_else(|| self.insert(receipt, key, quota))
    }

    fn find(&self, key: DeviceKey<'_>) -> Option<u32> {
        self.index.find(key.hash, |slot| self.is_at(slot, key))
    }

    /// Returns the slot of a device that has not expired.
    fn find_current(&self, key: DeviceKey<'_>, now_ns: u64) -> Option<u32> {
        let slot = self.find(key)?;
        let device = self.slots.record(slot)?;
        (!self.expiry.is_expired(device.seen_ns, now_ns)).then_some(slot)
    }

    #[inline(always)]
    fn is_at(&self, slot: u32, key: DeviceKey<'_>) -> bool {
        self.slots.record(slot).is_some_and(|device| device.id.is(key.id))
    }

    /// Adds a new device, unless there are too many. Returns its slot.
    #[cold]
    #[inline(never)]
    fn insert(&mut self, receipt: Receipt, key: DeviceKey<'_>, quota: &DeviceQuota) -> Option<u32> {
        let now_ns = receipt.now.mono_ns;
        if !quota.try_acquire() {
            return None;
        }
        let id = DeviceId::new(key.id);
        let slot = match self.free.pop() {
            Some(slot) => {
                let device = self.slots.record_mut(slot)?;
                device.id = id;
                device.seen_ns = now_ns;
                device.cell = self.cells.of_new();
                slot
            }
            None => {
                let slot = self.slots.push(Device::new(id, now_ns, self.cells.of_new()))?;
                self.optional.add_device();
                self.novel.iter_mut().for_each(NovelFields::add_device);
                slot
            }
        };
        if let Some(limits) = &mut self.limits {
            limits.begin(slot, now_ns);
        }
        let Self { index, slots, ids, .. } = self;
        index.insert(key.hash, slot, |slot| {
            ids.hash(slots.record(slot).map_or(&[], |device| device.id.as_bytes()))
        });
        self.expiry.add(receipt.core, now_ns);
        Some(slot)
    }

    /// Resets a slot's state: for its next device, or for its own that was silent for so long that
    /// it starts afresh. Its cell stays.
    #[cold]
    fn reset(&mut self, slot: u32) {
        self.slots.clear(slot);
        self.optional.free(slot);
        self.novel.iter_mut().for_each(|novel| novel.free(slot));
        self.carries.remove(&slot);
        if let Some(device) = self.slots.record_mut(slot) {
            let id = std::mem::replace(&mut device.id, DeviceId::EMPTY);
            *device = Device::new(id, 0, self.cells.begin_anew(device.cell, slot));
        }
    }

    /// Frees the slot of a device.
    fn free(&mut self, slot: u32) {
        let Some(device) = self.slots.record_mut(slot) else {
            return;
        };
        let hash = self.ids.hash(device.id.as_bytes());
        self.cells.take_unsaved(&mut device.cell);
        device.id = DeviceId::EMPTY;
        self.reset(slot);
        if let Some(device) = self.slots.record_mut(slot) {
            (device.seen_ns, device.cell) = (VACANT, CellRecord::NEW);
        }
        self.index.remove(hash, slot);
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::NO_SLOT;
    use super::*;
    use crate::limits;
    use crate::schema::{FieldSet, Schema};
    use percore::clock::Now;

    fn rules() -> Rules {
        let schema = Schema::standard();
        Rules {
            schema,
            window: 8,
            threshold: 2.0,
            min_samples: 4,
            cooldown: 8,
            judges_duplicates: false,
        }
    }

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
        fn footprint(&self) -> [usize; 6] {
            [
                self.slots.capacity(),
                self.optional.capacity(),
                self.index.bytes(),
                self.free.capacity(),
                self.anomalies.log.capacity(),
                self.anomalies.recent.capacity(),
            ]
        }
    }

    #[test]
    fn events_of_known_devices_allocate_nothing() {
        let (ids, quota) = (IdHasher::default(), DeviceQuota::new(1000, u64::MAX));
        let mut shard = Shard::new(rules(), u64::MAX, ids.clone(), None);
        let receipt = Receipt { now: Now::default(), core: 0, received: 0 };
        let names: Vec<String> = (0..300).map(|i| format!("device-{i}")).collect();
        let mut before = None;
        for round in 0..600_u32 {
            for (name, i) in names.iter().zip(0_u32..) {
                let key = (i > 0)
                    .then(|| DeviceKey { id: name.as_bytes(), hash: ids.hash(name.as_bytes()) });
                // One event in eight is an anomaly, so that every branch is taken.
                let spike = if (round + i) % 8 == 0 { 1e5 } else { 0.0 };
                let event = event(key.map(|key| key.id), spike + f64::from(round % 3));
                let hash = ids.hash_of(&event);
                let arrived = Arrived { event, hash, index: 0 };
                let done = shard.apply(receipt, &arrived, NO_SLOT, &quota, &mut Vec::new());
                assert_eq!(done, Ok(()));
            }
            let footprint = shard.footprint();
            assert_eq!(*before.get_or_insert(footprint), footprint, "round {round}");
        }
        assert!(
            shard.anomalies.points[0] > 20_000
                && shard.anomalies.log.capacity() == limits::ANOMALY_LOG_ENTRIES,
            "there is no memory for novelties"
        );
    }

    #[test]
    fn a_freed_slot_is_the_next_devices_and_brings_nothing_along() {
        let (ids, quota) = (IdHasher::default(), DeviceQuota::new(1, 10));
        let mut shard = Shard::new(rules(), 10, ids.clone(), None);
        let receipt = Receipt { now: Now::default(), core: 0, received: 0 };
        for (id, start) in (0..20_u64).map(|i| (format!("d{i}"), i * 1000)) {
            let hash = ids.hash(id.as_bytes());
            let key = DeviceKey { id: id.as_bytes(), hash };
            for step in 0..10 {
                let now = Now { mono_ns: start + step, wall_us: 0 };
                let mut event = event(Some(id.as_bytes()), 1.0);
                // No two timestamps fit the same base.
                event.timestamp_ms = i64::try_from(step % 2).unwrap() * 1_700_000_000_000;
                let receipt = Receipt { now, ..receipt };
                let arrived = Arrived { event, hash, index: 0 };
                let done = shard.apply(receipt, &arrived, NO_SLOT, &quota, &mut vec![]);
                assert_eq!(done, Ok(()));
            }
            assert_eq!(shard.slots.wide_rows(), 1);
            let silent_ns = start + 100;
            let swept = shard.sweep_step(0, silent_ns);
            quota.release(swept.freed);
            assert_eq!((swept.freed, quota.devices(), shard.slots.len()), (1, 0, 2));
            assert_eq!(shard.slots.wide_rows(), 0);
            assert!(shard.snapshot(key, silent_ns, &mut [], &mut Vec::new()).is_none());
        }
    }
}
