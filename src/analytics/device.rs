//! A device's record: what a shard keeps of it beside its values.

use super::cell::CellRecord;
use super::counts::Counts;
use super::device_index::DeviceId;
use super::prefetch::prefetch;
use super::sliding_counter::SlidingCounter;
use super::window::Window;
use crate::limits;
use percore::clock::Now;

/// A device: its id, the time and the timestamp of its last event, its counts, and the window of
/// its required fields.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) seen_ns: u64,
    /// The timestamp of the last event that is in the windows, as its key has it.
    pub(super) timestamp: u64,
    pub(super) newest_anomaly: u32,
    pub(super) last_minute: SlidingCounter<6>,
    pub(super) counts: Counts,
    pub(super) window: Window,
    /// Its standing among the other instances.
    pub(super) cell: CellRecord,
}

impl Device {
    /// Marks that the device was seen at this time, with an event of this timestamp that is in its
    /// windows now.
    #[inline(always)]
    pub(super) fn see(&mut self, now: Now, timestamp: u64) {
        self.timestamp = timestamp;
        self.hear(now);
    }

    /// Marks that the device was seen at this time.
    #[inline(always)]
    pub(super) fn hear(&mut self, now: Now) {
        // Cores read the clock before they take the lock, so the time may be an earlier one.
        self.seen_ns = self.seen_ns.max(now.mono_ns);
    }

    /// Asks for the record. It lies on two cache lines or three.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        prefetch(&self.id);
        prefetch(&self.seen_ns);
        prefetch(&self.counts);
        prefetch(&self.cell);
    }

    /// Returns the record of a device without events.
    pub(super) const fn new(id: DeviceId, seen_ns: u64, cell: CellRecord) -> Self {
        Self {
            id,
            seen_ns,
            timestamp: 0,
            newest_anomaly: 0,
            last_minute: SlidingCounter::new(),
            counts: Counts::NONE,
            window: Window::EMPTY,
            cell,
        }
    }
}

// A device takes this record and at most 12 bytes of the index, in addition to its fields.
const _: () = assert!(size_of::<Device>() + 12 <= limits::DEVICE_BYTES);
