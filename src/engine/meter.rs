//! What one core counts while it serves.

use std::sync::Arc;

use crate::clock::Now;
use crate::http::handler::{Peer, Shown};
use crate::http::response::Response;
use crate::telemetry::counters::{CloseReason, Counters};
use crate::telemetry::latency::{Latency, Tally};
use crate::telemetry::log;
use crate::telemetry::warning::{Warning, WarningContext};

/// A poll that returns within this time did not sleep, but for what it had to do in the kernel.
const AT_ONCE_NS: u64 = 20_000;

/// The core's hand on the shared counters.
#[derive(Debug)]
pub struct Meter {
    core: usize,
    counters: Arc<Counters>,
    latency: Arc<Latency>,
    tally: Tally,
    /// Answers of this turn: their routes, and since when they were owed.
    answered: Vec<(usize, u64)>,
    turn: Turn,
}

/// The turn's place in time, in monotonic nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    began_ns: u64,
    ended_ns: u64,
    /// Since when what is found readable in it may have been so.
    readable_ns: u64,
}

impl Turn {
    /// The turn after this one, which begins at `now_ns`. What the kernel reports at once became
    /// readable while the core was at work: at the beginning of this turn for all we know, so that
    /// a request that waited for others is charged its wait, and rather more than less.
    const fn next(self, now_ns: u64) -> Self {
        let slept = now_ns.saturating_sub(self.ended_ns) > AT_ONCE_NS;
        let readable_ns = if slept { now_ns } else { self.began_ns };
        Self { began_ns: now_ns, ended_ns: now_ns, readable_ns }
    }
}

impl Meter {
    /// The meter of `core`.
    #[must_use]
    pub fn new(core: usize, counters: Arc<Counters>, latency: Arc<Latency>) -> Self {
        Self {
            core,
            counters,
            latency,
            tally: Tally::default(),
            answered: Vec::new(),
            turn: Turn::default(),
        }
    }

    /// Begins a turn.
    pub const fn begin_turn(&mut self, now_ns: u64) {
        self.turn = self.turn.next(now_ns);
    }

    /// Since when what this turn receives may have been readable.
    #[must_use]
    pub const fn readable_ns(&self) -> u64 {
        self.turn.readable_ns
    }

    /// A connection was accepted.
    pub fn opened(&self) {
        self.counters.open(self.core);
    }

    /// A connection ended.
    pub fn closed(&self, reason: CloseReason) {
        self.counters.close(self.core, reason);
    }

    /// Tells of a newcomer past the limit of connections.
    #[cold]
    pub fn tell_of_limit(&self, newcomer: &dyn Peer, connections_max: usize, now: Now) {
        let warning = Warning::ConnectionLimit;
        if let Some(count) = self.count_warning(warning, now) {
            let newcomer = Shown(newcomer);
            log::warn!(count, connections_max, %newcomer, "{}", warning.message());
        } else {
            let of_newcomer = || WarningContext {
                peer: Some(Shown(newcomer).to_string()),
                ..WarningContext::default()
            };
            self.counters.warnings().keep_context(warning, of_newcomer);
        }
    }

    /// Counts a warning; returns the number since the last log line if one is due now.
    pub fn count_warning(&self, warning: Warning, now: Now) -> Option<u64> {
        self.counters.warnings().add(warning, 1, now)
    }

    /// A request was answered that had been readable since `since_ns`.
    pub fn answered(&mut self, response: Response, since_ns: u64) {
        self.counters.request(self.core, response.route, response.status.code());
        self.answered.push((response.route, since_ns));
    }

    /// Whether there are durations that a scrape kept from being recorded: the core has to turn
    /// again for them, also if no request comes.
    #[must_use]
    pub const fn holds_back(&self) -> bool {
        !self.tally.is_empty()
    }

    /// Ends a turn. Its answers are in the kernel by now; one reading of the clock serves them
    /// all, so that the first of a long turn seem slower than they were, and never faster.
    pub fn end_turn(&mut self, now_ns: u64) {
        self.turn.ended_ns = now_ns;
        self.counters.turn(self.core, now_ns.saturating_sub(self.turn.began_ns));
        if self.answered.is_empty() && !self.holds_back() {
            return;
        }
        for (route, since_ns) in self.answered.drain(..) {
            self.tally.add(route, now_ns.saturating_sub(since_ns), 1);
        }
        self.latency.record(self.core, &mut self.tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::status::Status;
    use crate::telemetry::counters::Labels;

    #[test]
    fn what_a_scrape_held_up_is_recorded_without_another_request() {
        let labels = Labels {
            routes: &["any"],
            statuses: &Status::CODES,
            possible: &[],
            reject_reasons: &[],
        };
        let latency = Arc::new(Latency::new(1, 1));
        let mut meter = Meter::new(0, Arc::new(Counters::new(1, labels)), Arc::clone(&latency));
        meter.begin_turn(0);
        meter.answered(Response::ok("text/plain", 0), 0);
        latency.while_scraped(0, || meter.end_turn(70_000));
        assert!(meter.holds_back());
        meter.begin_turn(1_000_000);
        meter.end_turn(1_070_000);
        assert!(!meter.holds_back());
        assert_eq!(latency.merged()[0].summary().count, 1);
    }

    #[test]
    fn what_waited_for_a_long_turn_is_charged_from_its_beginning() {
        let ms = 1_000_000;
        let mut turn = Turn::default().next(100 * ms);
        assert_eq!(turn.readable_ns, 100 * ms, "the core slept until then");
        turn.ended_ns = 130 * ms;
        let busy = turn.next(130 * ms + 2_000);
        assert_eq!(busy.readable_ns, 100 * ms, "it came while the core was at work");
        let asleep = turn.next(131 * ms);
        assert_eq!(asleep.readable_ns, 131 * ms, "the kernel had nothing before");
    }
}
