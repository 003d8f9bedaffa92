//! The devices of a shard for those who list them: keys of an order, and copies of states.

use super::{ANONYMOUS, DeviceKey, Shard, VACANT};
use crate::analytics::ranking::{RankBy, score_key};
use crate::analytics::slots::Slot;
use crate::analytics::summary::FieldSnapshot;

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
        let slot = self.find(key)?;
        let row = self.slots.read(slot)?;
        let device = row.record;
        if self.expiry.is_expired(device.seen_ns, now_ns) {
            return None;
        }
        self.fill_fields(slot, &row, fields);
        let [accepted, points, episodes] = device.counts.totals(slot, &self.carries);
        Some(DeviceCounts { seen_ns: device.seen_ns, accepted, points, episodes })
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
}
