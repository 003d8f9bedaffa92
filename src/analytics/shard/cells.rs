//! The cells of a shard: what becomes of an event whose device is not held for sure, and who is to
//! be claimed or saved.

use super::portable::seen_ns_of;
use super::{ANONYMOUS, DeviceKey, Shard, VACANT};
use crate::analytics::anomaly::Found;
use crate::analytics::anomaly_records::{Arrival, Receipt};
use crate::analytics::applied::Unjudged;
use crate::analytics::cell::{Cell, Standing};
use crate::analytics::cells::WindowTotals;
use crate::analytics::device_quota::DeviceQuota;
use crate::analytics::device_state::DeviceState;
use crate::analytics::finding_log::NewestFound;
use crate::analytics::lineage::{Counted, Fork};
use crate::analytics::shared_windows::Save;
use crate::analytics::slot_list::SlotList;
use crate::analytics::slots::NO_SLOT;
use crate::limits::{DEVICES_PER_HOLD, EVENTS_PER_HOLD, WINDOWS_PER_HOLD};
use percore::clock::Now;

impl Shard {
    /// Takes a closer look at a device whose event is not like any other: it starts afresh if it
    /// had been silent for too long. If it waits for its window, so does the event from now on;
    /// else it is noted that another event of it is judged, unless it repeats the last one.
    #[cold]
    #[inline(never)]
    pub(super) fn attend(&mut self, arrival: &Arrival<'_>) -> Result<(), Unjudged> {
        let slot = arrival.slot;
        let seen_ns = self.slots.record(slot).ok_or(Unjudged::Refused)?.seen_ns;
        if self.expiry.is_expired(seen_ns, arrival.receipt.now.mono_ns) {
            self.reset(slot);
        }
        let is_duplicate = self.is_duplicate(arrival);
        let Self { slots, cells, .. } = self;
        let device = slots.record_mut(slot).ok_or(Unjudged::Refused)?;
        if slot == ANONYMOUS || !cells.are_shared() {
            device.cell.mark = cells.mark;
        } else if device.cell.waits() {
            device.hear(arrival.receipt.now);
            cells.waiting.push(arrival);
            cells.want(&mut device.cell, slot);
            return Err(Unjudged::Pending);
        } else {
            if cells.standing(device.cell) != Standing::Confirmed {
                cells.judged_in_doubt += u64::from(!is_duplicate);
                cells.want(&mut device.cell, slot);
            }
            cells.note_unsaved(&mut device.cell, slot);
        }
        if is_duplicate { Err(self.count_duplicate(arrival)) } else { Ok(()) }
    }

    /// Returns true if somebody has to be told that there are devices to be claimed, once.
    #[inline(always)]
    pub(in crate::analytics) const fn take_wake(&mut self) -> bool {
        self.cells.take_wake()
    }

    /// Begins a tenure: what was confirmed is in doubt from now on. Windows are shared from the
    /// first one on.
    pub(in crate::analytics) fn begin_tenure(&mut self, tenure: u32, is_lapse: bool) {
        self.cells.begin_tenure(tenure, is_lapse);
    }

    /// Returns the cell of a device.
    pub(in crate::analytics) fn cell(&self, key: DeviceKey<'_>, now: Now) -> Cell {
        let slot = self.find_current(key, now.mono_ns);
        let device = slot.and_then(|slot| self.slots.record(slot));
        match device.map(|device| device.cell) {
            None => Cell::Absent,
            Some(cell) if cell.waits() => Cell::Waiting,
            Some(cell) => Cell::Held { ticket: cell.ticket(), standing: self.cells.standing(cell) },
        }
    }

    /// Returns the slot of a device that is held.
    fn held(&self, key: DeviceKey<'_>, now: Now) -> Option<u32> {
        let slot = self.find_current(key, now.mono_ns)?;
        (!self.slots.record(slot)?.cell.waits()).then_some(slot)
    }

    /// Appends the ids of the next of the devices that are wanted, out of so many, and the length
    /// of each. Returns false if these were the last.
    pub(in crate::analytics) fn take_wanted(
        &mut self,
        count: u32,
        ids: &mut Vec<u8>,
        lengths: &mut Vec<usize>,
    ) -> bool {
        for _ in 0..count {
            let Some(slot) = self.cells.wanted.pop() else {
                return false;
            };
            if let Some(device) = self.slots.record_mut(slot)
                && device.cell.take_wanted()
            {
                ids.extend_from_slice(device.id.as_bytes());
                lengths.push(device.id.as_bytes().len());
            }
        }
        true
    }

    /// Exchanges the list of devices to be saved for an empty one.
    pub(in crate::analytics) const fn exchange_dirty(&mut self, list: &mut SlotList) {
        std::mem::swap(&mut self.cells.dirty, list);
    }

    /// Copies the next devices of a list over other copies, as many as there are of these, or fewer
    /// if many of the list have gone since they were put there. Returns how many were copied.
    pub(in crate::analytics) fn save_next(
        &mut self,
        list: &mut SlotList,
        now: Now,
        copies: &mut [Save],
    ) -> usize {
        let (mut visited, mut filled) = (0, 0);
        while visited < DEVICES_PER_HOLD as usize {
            let mut slots = [NO_SLOT; WINDOWS_PER_HOLD];
            let most = copies.len() - filled;
            let slots = list.pop_some(slots.get_mut(..most).unwrap_or_default());
            if slots.is_empty() {
                break;
            }
            visited += slots.len();
            self.prefetch_windows(slots);
            for slot in slots {
                if let Some(copy) = copies.get_mut(filled) {
                    filled += usize::from(self.save_slot(*slot, now, copy));
                }
            }
        }
        filled
    }

    /// Copies the device in a slot over another copy, if it is to be saved: now it is. Returns true
    /// if it was.
    fn save_slot(&mut self, slot: u32, now: Now, copy: &mut Save) -> bool {
        let Self { slots, cells, expiry, .. } = self;
        let Some(device) = slots.record_mut(slot) else {
            return false;
        };
        let is_unsaved = cells.take_unsaved(&mut device.cell);
        if !is_unsaved || expiry.is_expired(device.seen_ns, now.mono_ns) {
            return false;
        }
        let Save { id, state, standing } = copy;
        id.clear();
        id.extend_from_slice(device.id.as_bytes());
        *standing = cells.standing(device.cell);
        state.clear();
        self.copy_state(slot, now, state);
        true
    }

    /// Counts held devices as unsaved, out of so many slots behind those that were visited before.
    /// Returns the number of slots that are visited now; `None` if these were the last.
    pub(in crate::analytics) fn unsave(&mut self, visited: u32, slots: u32) -> Option<u32> {
        let first = (ANONYMOUS + 1).saturating_add(visited);
        for slot in first..first.saturating_add(slots) {
            let device = self.slots.record_mut(slot)?;
            if device.seen_ns != VACANT && !device.cell.waits() {
                self.cells.note_unsaved(&mut device.cell, slot);
            }
        }
        Some(visited.saturating_add(slots))
    }

    /// Copies a held device, which is saved now. Returns false if it is not held.
    pub(in crate::analytics) fn save(
        &mut self,
        key: DeviceKey<'_>,
        now: Now,
        copy: &mut DeviceState,
    ) -> bool {
        let Some(slot) = self.held(key, now) else {
            return false;
        };
        self.copy_state(slot, now, copy);
        if let Some(device) = self.slots.record_mut(slot) {
            self.cells.take_unsaved(&mut device.cell);
        }
        true
    }

    /// Returns what was found here last of a held device.
    pub(in crate::analytics) fn newest_found(&self, key: DeviceKey<'_>, now: Now) -> NewestFound {
        let (slot, log) = (self.held(key, now), &self.anomalies.log);
        let newest = slot.and_then(|slot| {
            let newest = self.slots.record(slot)?.newest_anomaly;
            let entry = log.anomalies.entry(newest)?;
            (entry.owner.slot == slot).then_some(newest)
        });
        NewestFound { anomaly: newest, next_novelty: slot.and_then(|_| log.next_novelty()) }
    }

    /// Takes a held device out, of which this is what was found here last. Returns false if it is
    /// not held, or something else has been found now.
    pub(in crate::analytics) fn export(
        &mut self,
        key: DeviceKey<'_>,
        now: Now,
        newest_found: NewestFound,
        copy: &mut DeviceState,
    ) -> bool {
        let slot = self.held(key, now);
        let Some(slot) = slot.filter(|_| self.newest_found(key, now) == newest_found) else {
            return false;
        };
        self.copy_state(slot, now, copy);
        self.free(slot);
        true
    }

    /// Copies a held device, and lets it wait while its copy is joined with another one. Returns
    /// false if it is not held.
    pub(in crate::analytics) fn suspend(
        &mut self,
        key: DeviceKey<'_>,
        now: Now,
        copy: &mut DeviceState,
    ) -> bool {
        let Some(slot) = self.held(key, now) else {
            return false;
        };
        self.copy_state(slot, now, copy);
        if let Some(device) = self.slots.record_mut(slot) {
            self.cells.take_unsaved(&mut device.cell);
            device.cell.suspend(self.cells.mark.tenure());
        }
        true
    }

    /// Confirms a held device in a tenure by a ticket, or puts it in doubt; either way it is to be
    /// saved. Returns false if it is not held.
    pub(in crate::analytics) fn settle(
        &mut self,
        key: DeviceKey<'_>,
        now: Now,
        ticket: u64,
        tenure: Option<u32>,
    ) -> bool {
        let Some(slot) = self.held(key, now) else {
            return false;
        };
        let Self { slots, cells, .. } = self;
        if let Some(device) = slots.record_mut(slot) {
            device.cell.confirm(ticket, tenure);
            cells.note_unsaved(&mut device.cell, slot);
        }
        true
    }

    /// Confirms a held device in a tenure by a ticket.
    pub(in crate::analytics) fn confirm(
        &mut self,
        key: DeviceKey<'_>,
        now: Now,
        ticket: u64,
        tenure: u32,
    ) {
        let slot = self.held(key, now);
        if let Some(device) = slot.and_then(|slot| self.slots.record_mut(slot)) {
            device.cell.confirm(ticket, Some(tenure));
        }
    }

    /// Puts a state in place of that of a device that waits, or is not here. Returns false if there
    /// is no room for it.
    pub(in crate::analytics) fn adopt(
        &mut self,
        key: DeviceKey<'_>,
        state: &DeviceState,
        now: Now,
        quota: &DeviceQuota,
    ) -> bool {
        let slot = self.find(key);
        let seen_ns = slot.and_then(|slot| self.slots.record(slot)).map(|device| device.seen_ns);
        if let (Some(slot), Some(seen_ns)) = (slot, seen_ns)
            && self.expiry.is_expired(seen_ns, now.mono_ns)
        {
            self.reset(slot);
        }
        let seen = Now { mono_ns: seen_ns_of(state, now), ..now };
        let receipt = Receipt { now: seen, core: 0, received: 0 };
        let Some(slot) = slot.or_else(|| self.insert(receipt, key, quota)) else {
            return false;
        };
        self.install(slot, key.hash.tag(), state, now);
        true
    }

    /// Notes that the window of a device that waits was begun without knowing whether there was
    /// one, as this branch. Returns false if it does not wait.
    pub(in crate::analytics) fn begin_alone(
        &mut self,
        key: DeviceKey<'_>,
        now: Now,
        branch: u64,
    ) -> bool {
        let waiting = self
            .find_current(key, now.mono_ns)
            .filter(|slot| self.slots.record(*slot).is_some_and(|device| device.cell.waits()));
        if let Some(slot) = waiting {
            self.cells.forks.insert(slot, vec![Fork::new(branch, Counted::NONE)]);
        }
        waiting.is_some()
    }

    /// Judges events of a device that waits, so many as may be under one hold. With the last of
    /// them the device becomes a held one: confirmed in a tenure by a ticket, or in doubt. Returns
    /// the number of events that were judged, and whether it is held now; `None` if it does not
    /// wait.
    pub(in crate::analytics) fn judge_waiting(
        &mut self,
        key: DeviceKey<'_>,
        ticket: u64,
        tenure: Option<u32>,
        points: &mut Vec<Found>,
    ) -> Option<(u64, bool)> {
        let slot = self.find(key)?;
        let device = self.slots.record_mut(slot).filter(|device| device.cell.waits())?;
        device.cell.resume(self.cells.mark);
        let (mut judged, mut judged_in_doubt) = (0, 0);
        while judged < EVENTS_PER_HOLD as u64
            && let Some(waited) = self.cells.waiting.pop(slot)
        {
            let event = waited.event(key.id);
            let arrival = waited.arrival(&event, slot, key.hash.tag());
            match self.apply_at(&arrival, points) {
                Ok(()) => judged_in_doubt += 1,
                Err(reason) => debug_assert_eq!(reason, Unjudged::Duplicate, "it waits no more"),
            }
            judged += 1;
        }
        let Self { slots, cells, carries, .. } = self;
        let device = slots.record_mut(slot)?;
        let is_held = !cells.waiting.has(slot);
        if is_held {
            let dropped = cells.waiting.remove(slot);
            device.counts.add_events(dropped, slot, carries);
            device.cell.settle(ticket, tenure);
            cells.note_unsaved(&mut device.cell, slot);
        } else {
            device.cell.suspend(cells.mark.tenure());
        }
        if !cells.is_tenure(tenure) {
            cells.judged_in_doubt += judged_in_doubt;
        }
        Some((judged, is_held))
    }

    /// Returns the counts of the windows that are shared.
    pub(in crate::analytics) fn window_totals(&self) -> WindowTotals {
        self.cells.totals()
    }
}
