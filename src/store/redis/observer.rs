//! The observer of the writer: it is called when there is something to log or to measure.

use std::time::Duration;

use crate::store::event_counters::DropReason;
use crate::store::spill::{Recovery, Spilled};

/// Callbacks of the writer and, for dropped events, of the cores. Each does nothing by default.
pub trait Observer: Send + Sync {
    /// A block has been written; it was in flight for this long, in nanoseconds.
    fn on_flush(&self, _took_ns: u64) {}
    /// Redis can be written to: for the first time, or stably again after an outage.
    fn on_up(&self, _outage: &Outage) {}
    /// Redis cannot be written to: for the first time, for another reason, or still.
    fn on_down(&self, _report: &OutageReport<'_>) {}
    /// Redis does not tell the id of our connection, so that it cannot be ended from another one:
    /// commands that Redis still reads from it may run after those that are sent later.
    fn on_unfenced(&self) {}
    /// Acknowledged events were dropped, at this time of the monotonic clock.
    fn on_drop(&self, _reason: DropReason, _events: u64, _now_ns: u64) {}
    /// Every event that an earlier process left has its outcome.
    fn on_recovered(&self, _recovery: &Recovery) {}
    /// The writer has ended before all was written; so many events could not be spilled.
    fn on_spilled(&self, _spilled: &Spilled, _lost: u64) {}
    /// Time has passed: reports that were held back may be due.
    fn on_tick(&self, _now_ns: u64) {}
    /// Nothing more is dropped: reports that were held back are due.
    fn on_end(&self) {}
}

/// The length of an outage, so far or in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// Since the first error.
    pub duration: Duration,
    /// The number of times that Redis came back during the outage and failed again.
    pub returns: u64,
}

/// The state of an outage.
#[derive(Clone, Copy, Debug)]
pub struct OutageReport<'a> {
    /// The server; empty if none was reached.
    pub server: &'a str,
    /// The label of the error.
    pub kind: &'static str,
    /// The message of Redis or of the system: foreign text.
    pub message: &'a str,
    /// The outage so far.
    pub outage: Outage,
    /// Pending events.
    pub waiting: u64,
}
