//! The cells of a shard, as far as they are not in the records of its devices: who is to be claimed
//! or saved, and the events of those who wait.

use std::collections::BTreeMap;

use super::brought_anomalies::BroughtAnomalies;
use super::cell::{CellRecord, Mark, Standing};
use super::lineage::Fork;
use super::slot_list::SlotList;
use super::waiting::WaitingEvents;
use crate::limits::WAITING_OF_DEVICE_MAX;

/// The counts of the windows that are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowTotals {
    /// Devices that wait for their windows.
    pub waiting: u64,
    /// Events of theirs that wait.
    pub pending: u64,
    /// Events that have waited so far.
    pub pending_total: u64,
    /// Those of them that were never judged.
    pub unjudged: u64,
    /// Events that were judged by a window that another instance may have had as well.
    pub judged_in_doubt: u64,
    /// Devices with events that no other instance could know of yet.
    pub unsaved: u64,
}

impl WindowTotals {
    /// Returns the sums of both.
    #[must_use]
    pub(super) const fn plus(self, more: Self) -> Self {
        Self {
            waiting: self.waiting + more.waiting,
            pending: self.pending + more.pending,
            pending_total: self.pending_total + more.pending_total,
            unjudged: self.unjudged + more.unjudged,
            judged_in_doubt: self.judged_in_doubt + more.judged_in_doubt,
            unsaved: self.unsaved + more.unsaved,
        }
    }
}

/// The cells of a shard's devices, see the head of this file.
pub(super) struct Cells {
    /// The mark of a device that is confirmed, and is on the list of those to be saved.
    pub(super) mark: Mark,
    /// The tenure that began with the last lapse.
    lapse: u32,
    /// The devices to be claimed; who was taken off since does not count.
    pub(super) wanted: SlotList,
    /// The devices to be saved; who was saved or has gone since does not count.
    pub(super) dirty: SlotList,
    /// True if somebody has to be told that there are devices to be claimed.
    must_wake: bool,
    pub(super) waiting: WaitingEvents,
    /// The forks of devices that have any, by slot.
    pub(super) forks: BTreeMap<u32, Vec<Fork>>,
    pub(super) brought: BroughtAnomalies,
    pub(super) judged_in_doubt: u64,
    unsaved: u64,
}

impl Cells {
    /// Returns the cells of devices whose windows are not shared, with so many fields.
    pub(super) fn new(fields: usize, window: usize) -> Self {
        Self {
            mark: Mark::NONE,
            lapse: 0,
            wanted: SlotList::default(),
            dirty: SlotList::default(),
            must_wake: false,
            waiting: WaitingEvents::new(fields, window.max(WAITING_OF_DEVICE_MAX)),
            forks: BTreeMap::new(),
            brought: BroughtAnomalies::new(),
            judged_in_doubt: 0,
            unsaved: 0,
        }
    }

    /// Returns true if windows are shared.
    pub(super) fn are_shared(&self) -> bool {
        self.mark != Mark::NONE
    }

    /// Begins a tenure. What was confirmed before is in doubt from now on. Windows are shared from
    /// the first tenure on.
    pub(super) fn begin_tenure(&mut self, tenure: u32, is_lapse: bool) {
        if !self.are_shared() {
            self.brought.reserve();
        }
        self.mark = Mark::usual(tenure);
        if is_lapse {
            self.lapse = tenure;
        }
    }

    /// Returns true if this is the tenure.
    pub(super) fn is_tenure(&self, tenure: Option<u32>) -> bool {
        tenure == Some(self.mark.tenure())
    }

    /// Returns the cell of a new device.
    pub(super) fn of_new(&self) -> CellRecord {
        if self.are_shared() { CellRecord::waiting(self.brought.none()) } else { CellRecord::NEW }
    }

    /// Returns the standing of a held device.
    pub(super) const fn standing(&self, cell: CellRecord) -> Standing {
        cell.standing(self.mark.tenure(), self.lapse)
    }

    /// Puts a device that is not confirmed on the list of those that are wanted, once in a tenure.
    pub(super) fn want(&mut self, cell: &mut CellRecord, slot: u32) {
        if cell.want(self.mark.tenure(), self.lapse) {
            self.must_wake |= self.wanted.is_empty();
            self.wanted.push(slot);
        }
    }

    /// Returns true if somebody has to be told that there are devices to be claimed, once.
    #[inline(always)]
    pub(super) const fn take_wake(&mut self) -> bool {
        // Nearly never, so nothing is written.
        let must_wake = self.must_wake;
        if must_wake {
            self.must_wake = false;
        }
        must_wake
    }

    /// Puts a held device on the list of those to be saved, if it is not there.
    pub(super) fn note_unsaved(&mut self, cell: &mut CellRecord, slot: u32) {
        if !cell.is_unsaved() {
            cell.set_unsaved(true);
            self.unsaved += 1;
            self.dirty.push(slot);
        }
    }

    /// Returns true if a device was to be saved, and notes that it is.
    pub(super) const fn take_unsaved(&mut self, cell: &mut CellRecord) -> bool {
        let is_unsaved = cell.is_unsaved();
        cell.set_unsaved(false);
        self.unsaved -= is_unsaved as u64;
        is_unsaved
    }

    /// Returns the cell of a device whose window begins anew. What is kept beside its record is
    /// forgotten.
    pub(super) fn begin_anew(&mut self, mut cell: CellRecord, slot: u32) -> CellRecord {
        self.waiting.remove(slot);
        self.forks.remove(&slot);
        cell.brought = self.brought.none();
        cell
    }

    /// Returns the counts.
    pub(super) fn totals(&self) -> WindowTotals {
        let [pending, pending_total, unjudged] = self.waiting.counts();
        WindowTotals {
            waiting: self.waiting.devices() as u64,
            pending,
            pending_total,
            unjudged,
            judged_in_doubt: self.judged_in_doubt,
            unsaved: self.unsaved,
        }
    }
}
