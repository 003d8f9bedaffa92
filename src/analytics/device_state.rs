//! The state of a device: all that an instance knows of it, as it moves from one instance to
//! another.
//!
//! The instance that gets it judges the device's next event just as the one that gave it would
//! have. So a window comes in ring order: its running sums depend on which value stands in the
//! first place.

mod bytes;
mod codec;
mod column;
mod join;
mod packed;
mod ring;
#[cfg(test)]
mod samples;

use super::anomaly::Point;
pub use super::field_state::FieldState;
use super::lineage::{Counted, Fork, Line};
use super::novelty::FieldNovelty;
use crate::limits::{FIELDS_MAX, WINDOW_MAX};
pub use codec::Encoder;

/// The buckets of [`MinuteState`].
pub const MINUTE_BUCKETS: usize = 6;

/// The state of a device. Times are those of the fleet, in microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceState {
    /// Its accepted events.
    pub accepted: u64,
    /// Its anomalies.
    pub points: u64,
    /// Its episodes.
    pub episodes: u64,
    /// The time at which its last event was received.
    pub seen_us: i64,
    /// The timestamp of its last event, as the key of that event has it.
    pub timestamp: u64,
    /// Its anomalies of the last minute.
    pub last_minute: MinuteState,
    /// The window of the required fields; `None` if the schema has none.
    pub required: Option<WindowState>,
    /// The windows of the optional fields that it has sent, by the index of the field, ascending.
    pub optional: Vec<(u8, WindowState)>,
    /// Its forks, in order, at most [`FORKS_MAX`](super::lineage::FORKS_MAX).
    pub forks: Vec<Fork>,
    /// Its last anomalies, the oldest first, at most
    /// [`RECENT_ANOMALIES_MAX`](crate::limits::RECENT_ANOMALIES_MAX); only in a state that is given
    /// away.
    pub recent: Vec<Point>,
    /// The knowledge of the second judge of its fields, ascending; nothing without that judge.
    pub novelty: Vec<FieldNovelty>,
}

/// The anomalies of a device's last minute, in buckets of ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinuteState {
    /// The counts of the buckets, the newest first.
    pub counts: [u32; MINUTE_BUCKETS],
    /// The time at which the newest bucket began.
    pub newest_us: i64,
}

/// One window, in *ring order*: an event stands in the place in which it is in the ring.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowState {
    /// The places of the ring.
    pub size: u16,
    /// The place that the next event will take.
    pub next: u16,
    /// The timestamps of the events, in milliseconds since 1970.
    pub times_ms: Vec<i64>,
    /// The values of the events; those of one event stand side by side, as many as there are
    /// `fields`.
    pub values: Vec<f64>,
    /// The states of the fields.
    pub fields: Vec<FieldState>,
}

/// The reason for which bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// They are of another version.
    Version,
    /// They are of a schema with other fields.
    Schema,
    /// They are damaged.
    Malformed,
}

impl DeviceState {
    /// Makes it that of a device without events, with the memory that it has.
    pub(super) fn clear(&mut self) {
        let Self { last_minute, required, optional, forks, recent, novelty, .. } = self;
        *last_minute = MinuteState::default();
        let windows = required.iter_mut().chain(optional.iter_mut().map(|(_, window)| window));
        windows.for_each(WindowState::clear);
        forks.clear();
        recent.clear();
        novelty.clear();
    }

    /// Returns its counts.
    pub const fn counted(&self) -> Counted {
        let Self { accepted, points, episodes, .. } = *self;
        Counted { accepted, points, episodes }
    }

    /// Returns what its lineage is found by.
    pub fn line(&self) -> Line<'_> {
        Line { counted: self.counted(), forks: &self.forks }
    }
}

impl WindowState {
    fn clear(&mut self) {
        let Self { times_ms, values, fields, .. } = self;
        times_ms.clear();
        values.clear();
        fields.clear();
    }

    /// Returns the number of events.
    pub const fn count(&self) -> usize {
        self.times_ms.len()
    }

    /// Returns true if a window can be like this: each event stands in the place that it has after
    /// so many others, and has its values.
    pub fn is_valid(&self) -> bool {
        let [size, next] = [self.size, self.next].map(usize::from);
        let count = self.count();
        let is_full = count == size;
        (1..=WINDOW_MAX).contains(&size)
            && count <= size
            && (next == count && !is_full || next < size && is_full)
            && (1..=FIELDS_MAX).contains(&self.fields.len())
            && self.values.len() == count * self.fields.len()
    }

    /// Returns the place of the oldest event.
    pub(super) fn oldest(&self) -> usize {
        if self.count() < usize::from(self.size) { 0 } else { self.next.into() }
    }

    /// Returns the timestamps, the oldest first.
    fn times_in_order(&self) -> impl Iterator<Item = i64> + Clone {
        let (newer, older) = self.times_ms.split_at(self.oldest().min(self.count()));
        older.iter().chain(newer).copied()
    }
}
