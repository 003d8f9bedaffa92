//! The state of a store at one moment, for `/analyze` and the metrics.

use crate::store::confirmations::WaiterTotals;
use crate::store::event_counters::EventTotals;

/// Counters and bounds of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// `memory` or `redis`.
    pub kind: &'static str,
    /// True if records can be written and read now.
    pub up: bool,
    /// Bytes allocated for pending events. Always 0 in memory: events are stored before their
    /// requests are answered.
    pub pending_bytes: u64,
    /// The bound of the queue or, in memory, of the stored records with their index.
    pub capacity_bytes: u64,
    /// The event counters; `totals.pending()` are the events without an outcome.
    pub totals: EventTotals,
    /// Errors of a remote store by kind.
    pub errors: Vec<(&'static str, u64)>,
    /// Connections to a remote store made again after one was lost.
    pub reconnects: u64,
    /// Events of an earlier process that were taken up; they are among those accepted.
    pub recovered: u64,
    /// Requests that wait for their events to be stored.
    pub waiters: WaiterTotals,
}

impl Stats {
    /// Returns the share of the queue that is used, 0 to 1; 0 of a store without a queue.
    pub fn queue_share(&self) -> f64 {
        self.pending_bytes as f64 / self.capacity_bytes.max(1) as f64
    }
}
