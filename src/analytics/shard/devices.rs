//! The devices of a shard for those who list them: keys of an order, copies of states, and counts.

use super::{ANONYMOUS, DeviceKey, Shard, VACANT};
use crate::analytics::anomaly::{Point, RecentAnomaly};
use crate::analytics::anomaly_log::Owner;
use crate::analytics::device_values::FieldValues;
use crate::analytics::finding_log::{Drained, Logged, OwnerId, Place, Unread};
use crate::analytics::ranking::{RankBy, score_key};
use crate::analytics::slots::Slot;
use crate::analytics::summary::{DeviceSnapshot, FieldSnapshot, PartialSummary};
use crate::limits::{DEVICE_ID_BYTES_MAX, MARKED_ANOMALIES_MAX, RECENT_ANOMALIES_MAX};

/// A copy of a device's counts, made under the lock and used outside of it.
pub(in crate::analytics) struct DeviceCounts {
    pub(in crate::analytics) seen_ns: u64,
    pub(in crate::analytics) accepted: u64,
    pub(in crate::analytics) points: u64,
    pub(in crate::analytics) episodes: u64,
}

impl Shard {
    /// Calls `visit` with the key and the id of each device among so many slots behind those that
    /// were visited before; the first call visits none before. Returns the number of slots that are
    /// visited now; `None` if these were the last.
    pub(in crate::analytics) fn visit(
        &self,
        visited: u32,
        slots: u32,
        now_ns: u64,
        by: RankBy,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> Option<u32> {
        let first = (ANONYMOUS + 1).saturating_add(visited);
        for slot in first..first.saturating_add(slots) {
            let row = self.slots.read(slot)?;
            let device = row.record;
            let is_there = device.seen_ns != VACANT;
            if is_there && !self.expiry.is_expired(device.seen_ns, now_ns) {
                visit(self.key_of(slot, &row, by), device.id.as_bytes());
            }
        }
        Some(visited.saturating_add(slots))
    }

    /// Returns the key of a device in an order.
    fn key_of(&self, slot: u32, row: &Slot<'_, super::Device>, by: RankBy) -> u64 {
        match by {
            RankBy::Id => 0,
            RankBy::LastSeen => row.record.seen_ns,
            RankBy::Anomalies => {
                let [_, points, _] = row.record.counts.totals(slot, &self.carries);
                points
            }
            RankBy::Score(field) => {
                let required = row.states.iter().enumerate().map(|(at, state)| (at, *state));
                let optional = self.optional.of(slot);
                let optional = optional.filter_map(|(at, row)| Some((at, *row.states.first()?)));
                let scores =
                    required.chain(optional).filter(|(at, _)| field.is_none_or(|it| it == *at));
                scores.map(|(_, state)| score_key(state.score())).max().unwrap_or_default()
            }
        }
    }

    /// Returns a copy of a device's counts, and fills `fields`, one for each of the schema, whose
    /// capacities are enough; `None` if the device is unknown.
    pub(in crate::analytics) fn counts_of(
        &self,
        key: DeviceKey<'_>,
        now_ns: u64,
        fields: &mut [FieldSnapshot],
    ) -> Option<DeviceCounts> {
        let slot = self.find_current(key, now_ns)?;
        let row = self.slots.read(slot)?;
        let device = row.record;
        self.fill_fields(slot, &row, fields);
        let [accepted, points, episodes] = self.totals_of(slot, device);
        Some(DeviceCounts { seen_ns: device.seen_ns, accepted, points, episodes })
    }

    /// Returns a copy of a device's state, and fills `fields`, one for each of the schema, and
    /// `recent`, whose capacities are enough; `None` if the device is unknown.
    pub(in crate::analytics) fn snapshot(
        &self,
        key: DeviceKey<'_>,
        now_ns: u64,
        fields: &mut [FieldSnapshot],
        recent: &mut Vec<Point>,
    ) -> Option<DeviceSnapshot> {
        let slot = self.find_current(key, now_ns)?;
        let row = self.slots.read(slot)?;
        let device = row.record;
        self.fill_fields(slot, &row, fields);
        let [accepted, points, episodes] = self.totals_of(slot, device);
        recent.extend(self.anomalies_of(slot, device).take(RECENT_ANOMALIES_MAX));
        Some(DeviceSnapshot {
            accepted,
            points,
            episodes,
            last_minute: device.last_minute.count(now_ns),
        })
    }

    /// Returns the counts of a device. Events that wait for its window are accepted ones.
    fn totals_of(&self, slot: u32, device: &super::Device) -> [u64; 3] {
        let [accepted, points, episodes] = device.counts.totals(slot, &self.carries);
        let waiting = if device.cell.waits() { self.cells.waiting.of_device(slot) } else { 0 };
        [accepted + waiting, points, episodes]
    }

    /// Returns the anomalies of a device that are still known, the newest first: those that were
    /// found here, and those that came with it.
    pub(super) fn anomalies_of(
        &self,
        slot: u32,
        device: &super::Device,
    ) -> impl Iterator<Item = Point> {
        let [_, count, _] = device.counts.totals(slot, &self.carries);
        let found = self.anomalies.log.anomalies.recent(slot, device.newest_anomaly, count);
        let owner = Owner { slot, tag: self.ids.hash(device.id.as_bytes()).tag() };
        found.chain(self.cells.brought.recent(owner, device.cell.brought))
    }

    /// Returns what has been found since a place, of each kind at most so many.
    pub(in crate::analytics) fn unread(&self, from: Place, most: usize) -> Unread {
        self.anomalies.log.unread(from, most)
    }

    /// Appends the next so many findings from a place on, which moves behind them; one that is not
    /// in the log any more is left out.
    pub(in crate::analytics) fn copy_findings(
        &self,
        at: &mut Place,
        end: Place,
        count: usize,
        drained: &mut Vec<Drained>,
    ) {
        let mut left = count;
        while left > 0 && *at != end {
            if let Some(Logged { finding, owner, tick }) = self.anomalies.log.read(at, end) {
                drained.push(Drained { finding, tick, owner: self.owner_id(owner) });
            }
            left -= 1;
        }
    }

    fn owner_id(&self, owner: Owner) -> OwnerId {
        if owner.slot == ANONYMOUS {
            return OwnerId::Anonymous;
        }
        let device = self.slots.record(owner.slot);
        let device = device.filter(|it| self.ids.hash(it.id.as_bytes()).tag() == owner.tag);
        device.map_or(OwnerId::Forgotten, |device| {
            let (sent, mut id) = (device.id.as_bytes(), [0; DEVICE_ID_BYTES_MAX]);
            id.iter_mut().zip(sent).for_each(|(to, from)| *to = *from);
            OwnerId::Held(sent.len(), id)
        })
    }

    /// Fills `values`, one for each field of the schema, whose capacities are enough, and `points`
    /// with the last anomalies of a device. Returns the time of its last event.
    pub(in crate::analytics) fn copy_values(
        &self,
        key: DeviceKey<'_>,
        values: &mut [FieldValues],
        points: &mut Vec<Point>,
    ) -> Option<u64> {
        let slot = self.find(key)?;
        let row = self.slots.read(slot)?;
        let device = row.record;
        for (place, field) in values.iter_mut().enumerate().take(row.states.len()) {
            field.fill(&device.window, &row, place);
        }
        for (field, row) in self.optional.of(slot) {
            if let Some(field) = values.get_mut(field) {
                field.fill(&row.record.window, &row, 0);
            }
        }
        points.extend(self.anomalies_of(slot, device).take(MARKED_ANOMALIES_MAX));
        Some(device.seen_ns)
    }

    /// Returns the timestamp of a device's last event, as its key has it; `None` if the device is
    /// unknown.
    pub(in crate::analytics) fn newest_timestamp(
        &self,
        key: DeviceKey<'_>,
        now_ns: u64,
    ) -> Option<u64> {
        let slot = self.find_current(key, now_ns)?;
        let waiting = self.cells.waiting.newest_timestamp(slot);
        waiting.or_else(|| Some(self.slots.record(slot)?.timestamp))
    }

    /// Copies the windows of a device's fields.
    pub(super) fn fill_fields(
        &self,
        slot: u32,
        row: &Slot<'_, super::Device>,
        fields: &mut [FieldSnapshot],
    ) {
        for (at, field) in fields.iter_mut().enumerate().take(row.states.len()) {
            field.fill(&row.record.window, row, at);
        }
        for (field, row) in self.optional.of(slot) {
            if let Some(field) = fields.get_mut(field) {
                field.fill(&row.record.window, &row, 0);
            }
        }
    }

    /// Adds the counts of this shard to a partial summary, and its last anomalies to `recent`.
    pub(in crate::analytics) fn add_to(
        &self,
        partial: &mut PartialSummary,
        recent: &mut Vec<RecentAnomaly>,
        now_ns: u64,
    ) {
        let totals = &mut partial.totals;
        totals.devices += self.index.devices() as u64;
        totals.duplicates += self.duplicates;
        for (sum, points) in totals.points.iter_mut().zip(self.anomalies.points) {
            *sum += points;
        }
        for (sum, episodes) in totals.episodes.iter_mut().zip(self.anomalies.episodes) {
            *sum += episodes;
        }
        for (sum, novelties) in totals.novelties.iter_mut().zip(self.anomalies.novelties) {
            *sum += novelties;
        }
        partial.last_minute += self.anomalies.last_minute.count(now_ns);
        self.anomalies.recent.copy_to(recent);
    }
}
