//! What one core counts while it serves.

use std::sync::Arc;

use crate::http::response::Response;
use crate::telemetry::counters::{CloseReason, Counters};
use crate::telemetry::latency::{Latency, Tally};

/// The core's hand on the shared counters.
#[derive(Debug)]
pub struct Meter {
    core: usize,
    counters: Arc<Counters>,
    latency: Arc<Latency>,
    tally: Tally,
    /// Answers of this turn: their routes, and since when they were owed.
    answered: Vec<(usize, u64)>,
}

impl Meter {
    /// The meter of `core`.
    #[must_use]
    pub fn new(core: usize, counters: Arc<Counters>, latency: Arc<Latency>) -> Self {
        Self { core, counters, latency, tally: Tally::default(), answered: Vec::new() }
    }

    /// A connection was accepted.
    pub fn opened(&self) {
        self.counters.open(self.core);
    }

    /// A connection ended.
    pub fn closed(&self, reason: CloseReason) {
        self.counters.close(self.core, reason);
    }

    /// A request was answered that had been readable since `since_ns`.
    pub fn answered(&mut self, response: Response, since_ns: u64) {
        self.counters.request(self.core, response.route, response.status.code());
        self.answered.push((response.route, since_ns));
    }

    /// Ends a turn that began at `woke_ns`. Its answers are in the kernel by now; one reading of
    /// the clock serves them all, so that the first of a long turn seem slower than they were, and
    /// never faster.
    pub fn end_turn(&mut self, woke_ns: u64, now_ns: u64) {
        self.counters.turn(self.core, now_ns.saturating_sub(woke_ns));
        if self.answered.is_empty() {
            return;
        }
        for (route, since_ns) in self.answered.drain(..) {
            self.tally.add(route, now_ns.saturating_sub(since_ns), 1);
        }
        self.latency.record(self.core, &mut self.tally);
    }
}
