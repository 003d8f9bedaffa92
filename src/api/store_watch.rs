//! What the store's writer sees, for the log and the metrics.

use std::sync::Arc;

use crate::store::redis::Observer;
use crate::telemetry::latency::Latency;
use crate::telemetry::log;

/// Logs when Redis comes and goes, and records how long each block was in flight.
#[derive(Debug)]
pub struct StoreWatch {
    flushes: Arc<Latency>,
}

impl StoreWatch {
    /// Records into the only route of the only core of `flushes`.
    #[must_use]
    pub const fn new(flushes: Arc<Latency>) -> Self {
        Self { flushes }
    }
}

impl Observer for StoreWatch {
    fn flushed(&self, took_ns: u64) {
        self.flushes.record_one(0, 0, took_ns);
    }

    fn came_up(&self) {
        log::info!("redis is up");
    }

    fn cannot_fence(&self) {
        log::warn!(
            "redis does not allow CLIENT INFO: after a fault, commands that it had received may \
             run late, over newer values"
        );
    }

    fn went_down(&self, why: &'static str) {
        log::warn!(why, "redis is down; events wait, and are written when it is back");
    }
}
