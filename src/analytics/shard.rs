//! The devices of one shard, its anonymous series, and what it has counted.
//!
//! A device is found by its borrowed id, and owns a slot: a record and a row. Slots are reused;
//! counts are the shard's, so they never fall when a device is forgotten. For a known device
//! nothing here allocates.

use std::sync::atomic::{AtomicU64, Ordering};

use super::anomaly::{AnomalyLog, Latest, LatestAnomalies, Owner, Point};
use super::minute::LastMinute;
use super::room::Room;
use super::roster::{DeviceId, IdHash, IdHasher, Roster};
use super::rows::{Rows, Slot};
use super::series::{Rules, Series, Taken, Verdict};
use super::summary::Part;
use super::sweep::Sweep;
use super::union::OrderKey;
use crate::clock::Now;
use crate::limits;
use crate::metric::event::{Event, Field};

/// The slot of the shard's anonymous series, which is nobody's and never expires.
const ANONYMOUS: u32 = 0;

/// When a free slot was last heard: never too long ago.
const VACANT: u64 = u64::MAX;

/// The core that took an event in, with the counter that puts its anomalies into one order even
/// where they fall into several shards in one turn. Only that core counts it up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver<'a> {
    pub(super) core: u32,
    pub(super) anomalies: &'a AtomicU64,
}

/// The id that an event names, with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) id: &'a [u8],
    pub(super) hash: IdHash,
}

/// One device: its name, when it was last heard, and its series.
#[derive(Clone, Debug)]
struct Device {
    id: DeviceId,
    seen_ns: u64,
    generation: u32,
    newest_anomaly: u32,
    series: Series,
}

/// A copy of one device's state, taken under the lock and worked on outside of it.
pub(super) struct DeviceCopy {
    pub(super) series: Series,
    pub(super) newest: Option<[f64; 2]>,
    /// The least and the greatest timestamp, milliseconds.
    pub(super) span_ms: Option<(i64, i64)>,
}

/// What one hold of the lock swept.
pub(super) struct Swept {
    /// Devices whose slots are free again.
    pub(super) freed: usize,
    /// Whether the pass over all slots ended.
    pub(super) ended: bool,
}

/// See the head of this file.
pub(super) struct Shard {
    rules: Rules,
    rows: Rows<Device>,
    roster: Roster,
    free: Vec<u32>,
    sweep: Sweep,
    log: AnomalyLog,
    latest: LatestAnomalies,
    minute: LastMinute<60>,
    points: [u64; 2],
    episodes: [u64; 2],
}

impl Shard {
    /// A shard without devices.
    pub(super) fn new(rules: Rules, ttl_ns: u64) -> Self {
        let mut rows = Rows::new(rules.window);
        rows.push(Device::new(DeviceId::EMPTY, VACANT));
        Self {
            rules,
            rows,
            roster: Roster::new(),
            free: Vec::new(),
            sweep: Sweep::new(ttl_ns, ANONYMOUS + 1),
            log: AnomalyLog::new(),
            latest: LatestAnomalies::new(),
            minute: LastMinute::new(),
            points: [0; 2],
            episodes: [0; 2],
        }
    }

    /// Scores and enters one event, of its sender or of nobody; `None` when the sender is new and
    /// there are too many devices already.
    pub(super) fn apply(
        &mut self,
        receiver: Receiver<'_>,
        now: Now,
        event: &Event<'_>,
        sender: Option<Sender<'_>>,
        room: &Room,
    ) -> Option<Verdict> {
        let slot = match sender {
            None => ANONYMOUS,
            Some(sender) => self
                .known(sender, now.mono_ns)
                .or_else(|| self.admit(receiver.core, sender, now.mono_ns, room))?,
        };
        let (device, mut row) = self.rows.write(slot)?;
        let taken = device.series.take(
            &self.rules,
            &mut row,
            now.mono_ns,
            event.values,
            event.timestamp_ms,
        );
        if taken.verdict.anomalous != [false; 2] {
            let slot = row.slot;
            self.note(slot, receiver, now, event, &taken);
        }
        Some(taken.verdict)
    }

    /// The slot of a device that is held; one that was silent for too long starts afresh in it.
    fn known(&mut self, sender: Sender<'_>, now_ns: u64) -> Option<u32> {
        let slot = self.find(sender)?;
        let device = self.rows.record_mut(slot)?;
        if self.sweep.expired(device.seen_ns, now_ns) {
            device.restart();
            device.seen_ns = now_ns;
        } else {
            // Cores read the clock before they take the lock: the later reading stays.
            device.seen_ns = device.seen_ns.max(now_ns);
        }
        Some(slot)
    }

    fn find(&self, sender: Sender<'_>) -> Option<u32> {
        self.roster.find(sender.hash, |slot| {
            self.rows.record(slot).is_some_and(|device| device.id.as_bytes() == sender.id)
        })
    }

    /// A slot for a new device, unless there are too many.
    fn admit(&mut self, core: u32, sender: Sender<'_>, now_ns: u64, room: &Room) -> Option<u32> {
        if !room.take() {
            return None;
        }
        let id = DeviceId::new(sender.id);
        let slot = match self.free.pop() {
            Some(slot) => {
                let device = self.rows.record_mut(slot)?;
                device.id = id;
                device.seen_ns = now_ns;
                slot
            }
            None => self.rows.push(Device::new(id, now_ns))?,
        };
        self.roster.insert(sender.hash, slot);
        self.sweep.admitted(core, now_ns);
        Some(slot)
    }

    /// Counts and remembers the anomalies of one event.
    #[cold]
    fn note(
        &mut self,
        slot: u32,
        receiver: Receiver<'_>,
        now: Now,
        event: &Event<'_>,
        taken: &Taken,
    ) {
        let (Some(moments), Some(device)) = (taken.moments, self.rows.record_mut(slot)) else {
            return;
        };
        let owner = Owner { slot, generation: device.generation };
        for (at, field) in Field::ALL.into_iter().enumerate() {
            let pick = |pair: &[f64; 2]| pair.get(at).copied().unwrap_or_default();
            if taken.verdict.anomalous.get(at) != Some(&true) {
                continue;
            }
            let point = Point {
                timestamp_ms: event.timestamp_ms,
                field,
                value: pick(&event.values),
                mean: pick(&moments.mean),
                stddev: pick(&moments.stddev),
                z: pick(&taken.verdict.z.map(Option::unwrap_or_default)),
            };
            device.newest_anomaly = self.log.push(owner, device.newest_anomaly, point);
            let order = OrderKey {
                mono_ns: now.mono_ns,
                core: receiver.core,
                sequence: receiver.anomalies.fetch_add(1, Ordering::Relaxed),
            };
            self.latest.insert(Latest::new(order, point, event.device_id));
            self.minute.record(now.mono_ns);
            add(&mut self.points, at, true);
            add(&mut self.episodes, at, taken.opened.get(at) == Some(&true));
        }
    }

    /// What this shard adds to the instance's summary, without events.
    pub(super) fn add_to(&self, part: &mut Part, latest: &mut Vec<Latest>, now_ns: u64) {
        part.devices += self.roster.devices() as u64;
        for (sum, points) in part.points.iter_mut().zip(self.points) {
            *sum += points;
        }
        for (sum, episodes) in part.episodes.iter_mut().zip(self.episodes) {
            *sum += episodes;
        }
        part.last_minute += self.minute.count(now_ns);
        self.latest.copy_to(latest);
    }

    /// A copy of a device's state, its values and latest anomalies appended to vectors that have
    /// room for them; `None` if it is unknown.
    pub(super) fn device(
        &self,
        sender: Sender<'_>,
        now_ns: u64,
        values: &mut Vec<[f64; 2]>,
        recent: &mut Vec<Point>,
    ) -> Option<DeviceCopy> {
        let slot = self.find(sender)?;
        let Slot { record: device, values: row, offsets, wide } = self.rows.read(slot)?;
        if self.sweep.expired(device.seen_ns, now_ns) {
            return None;
        }
        let window = device.series.window();
        values.extend_from_slice(window.values(row));
        let owner = Owner { slot, generation: device.generation };
        recent.extend(self.log.recent(owner, device.newest_anomaly));
        Some(DeviceCopy {
            series: device.series,
            newest: window.newest(row),
            span_ms: window.span_ms(offsets, wide),
        })
    }

    /// When this core should sweep here; `u64::MAX` for never.
    pub(super) fn sweep_due_ns(&self, core: u32) -> u64 {
        self.sweep.due_ns(core)
    }

    /// When [`Self::sweep`] may find something; `u64::MAX` for never.
    pub(super) fn may_free_ns(&self) -> u64 {
        self.sweep.may_free_ns()
    }

    /// Looks at the next few slots, and frees those whose device is silent for too long.
    pub(super) fn sweep(&mut self, core: u32, now_ns: u64, ids: &IdHasher) -> Swept {
        let slots = u32::try_from(self.rows.slots()).unwrap_or(u32::MAX);
        let mut freed = 0;
        for slot in self.sweep.hold(core, slots) {
            let Some(device) = self.rows.record_mut(slot) else {
                break;
            };
            if self.sweep.expired(device.seen_ns, now_ns) {
                let hash = ids.hash(device.id.as_bytes());
                device.id = DeviceId::EMPTY;
                device.restart();
                self.rows.clear(slot);
                self.roster.remove(hash, slot);
                self.free.push(slot);
                freed += 1;
            } else if device.seen_ns != VACANT {
                self.sweep.kept(device.seen_ns);
            }
        }
        let ended = self.sweep.held(now_ns, slots, self.roster.devices());
        Swept { freed, ended }
    }
}

impl Device {
    const fn new(id: DeviceId, seen_ns: u64) -> Self {
        Self { id, seen_ns, generation: 0, newest_anomaly: 0, series: Series::new() }
    }

    /// Whoever has this slot next has no past.
    fn restart(&mut self) {
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

// Beside its row: this record, and at most 21 bytes of the table.
const _: () = assert!(size_of::<Device>() + 21 <= limits::DEVICE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { window: 8, threshold: 2.0, min_samples: 4, cooldown: 8 };

    fn event<'a>(device_id: Option<&'a [u8]>, cpu: f64) -> Event<'a> {
        Event {
            device_id,
            timestamp: b"",
            timestamp_ms: 1_700_000_000_000,
            values: [cpu, 1.0],
            literals: [b"", b""],
        }
    }

    impl Shard {
        /// Everything that an allocation would change.
        fn footprint(&self) -> [usize; 5] {
            [
                self.rows.capacity(),
                self.roster.bytes(),
                self.free.capacity(),
                self.log.capacity(),
                self.latest.capacity(),
            ]
        }
    }

    #[test]
    fn events_of_known_devices_allocate_nothing() {
        let (ids, room) = (IdHasher::default(), Room::new(1000, u64::MAX));
        let mut shard = Shard::new(RULES, u64::MAX);
        let receiver = Receiver { core: 0, anomalies: &AtomicU64::new(0) };
        let names: Vec<String> = (0..300).map(|i| format!("device-{i}")).collect();
        let mut before = None;
        for round in 0..600_u32 {
            for (name, i) in names.iter().zip(0_u32..) {
                let sender = (i > 0)
                    .then(|| Sender { id: name.as_bytes(), hash: ids.hash(name.as_bytes()) });
                // One event in eight is far out, so that every branch is taken.
                let spike = if (round + i) % 8 == 0 { 1e5 } else { 0.0 };
                let event = event(sender.map(|s| s.id), spike + f64::from(round % 3));
                shard.apply(receiver, Now::default(), &event, sender, &room);
            }
            let footprint = shard.footprint();
            assert_eq!(*before.get_or_insert(footprint), footprint, "round {round}");
        }
        assert!(shard.points[0] > 20_000 && shard.log.capacity() == limits::ANOMALY_LOG_ENTRIES);
    }

    #[test]
    fn a_freed_slot_is_the_next_devices_and_brings_nothing_along() {
        let (ids, room) = (IdHasher::default(), Room::new(1, 10));
        let mut shard = Shard::new(RULES, 10);
        let receiver = Receiver { core: 0, anomalies: &AtomicU64::new(0) };
        for (id, start) in (0..20_u64).map(|i| (format!("d{i}"), i * 1000)) {
            let hash = ids.hash(id.as_bytes());
            let sender = Sender { id: id.as_bytes(), hash };
            for step in 0..10 {
                let now = Now { mono_ns: start + step, wall_us: 0 };
                let mut event = event(Some(id.as_bytes()), 1.0);
                // No two are in reach of one base.
                event.timestamp_ms = i64::try_from(step % 2).unwrap() * 1_700_000_000_000;
                assert!(shard.apply(receiver, now, &event, Some(sender), &room).is_some());
            }
            assert_eq!(shard.rows.wide_rows(), 1);
            let silent_ns = start + 100;
            let swept = shard.sweep(0, silent_ns, &ids);
            room.give_back(swept.freed);
            assert_eq!((swept.freed, room.devices(), shard.rows.slots()), (1, 0, 2));
            assert_eq!(shard.rows.wide_rows(), 0);
            assert!(shard.device(sender, silent_ns, &mut Vec::new(), &mut Vec::new()).is_none());
        }
    }
}
