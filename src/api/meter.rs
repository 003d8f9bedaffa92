//! The meter of one core: it counts the engine's events in the server's counters and histograms.

use std::io;
use std::sync::Arc;

use percore::clock::Now;
use percore::http::peer::{Peer, PeerDisplay};
use percore::http::response::Response;
use percore::observer::{CloseReason, HandshakeEnd, HandshakeOutcome, Observer};

use crate::telemetry::counters::Counters;
use crate::telemetry::latency::{DurationBuffer, Latency};
use crate::telemetry::log;
use crate::telemetry::warning::{Warning, WarningContext};

/// Counts what one core does.
#[derive(Debug)]
pub struct Meter {
    core: usize,
    counters: Arc<Counters>,
    latency: Arc<Latency>,
    durations: DurationBuffer,
    /// The answers of this turn. Nearly all in a row are alike, and together one entry.
    answered: Vec<Answered>,
}

/// Answers of a turn.
#[derive(Clone, Copy, Debug)]
struct Answered {
    route: usize,
    /// The time from which their durations count.
    since_ns: u64,
    answers: u64,
}

impl Meter {
    /// Returns the meter of `core`.
    pub fn new(core: usize, counters: Arc<Counters>, latency: Arc<Latency>) -> Self {
        Self { core, counters, latency, durations: DurationBuffer::default(), answered: Vec::new() }
    }

    /// Warns of something that says no more than whose fault it is.
    #[cold]
    fn warn_of_peer(&self, warning: Warning, peer: &dyn Peer, now: Now) {
        let peer = PeerDisplay(peer);
        if let Some(count) = self.counters.warnings().add(warning, 1, now) {
            log::warn!(count, %peer, "{}", warning.name());
        } else {
            let of_peer =
                || WarningContext { peer: Some(peer.to_string()), ..WarningContext::default() };
            self.counters.warnings().keep_context(warning, of_peer);
        }
    }
}

impl Observer for Meter {
    fn connection_opened(&mut self) {
        self.counters.count_opened(self.core);
    }

    fn connection_closed(&mut self, reason: CloseReason) {
        self.counters.count_closed(self.core, reason);
    }

    fn request_answered(&mut self, response: &Response, since_ns: u64) {
        let route = response.route;
        self.counters.count_request(self.core, route, response.status.index());
        match self.answered.last_mut() {
            Some(last) if (last.route, last.since_ns) == (route, since_ns) => last.answers += 1,
            _ => self.answered.push(Answered { route, since_ns, answers: 1 }),
        }
    }

    /// Counts the turn and its answers. They are in the kernel by now; one reading of the clock
    /// serves them all, so the first answers of a long turn seem slower than they were.
    fn turn_ended(&mut self, began_ns: u64, ended_ns: u64) {
        self.counters.count_turn(self.core, ended_ns.saturating_sub(began_ns));
        if self.answered.is_empty() && !self.wants_turn() {
            return;
        }
        for Answered { route, since_ns, answers } in self.answered.drain(..) {
            self.durations.add(route, ended_ns.saturating_sub(since_ns), answers);
        }
        self.latency.record(self.core, &mut self.durations);
    }

    /// Returns true if a scrape kept durations from being recorded.
    fn wants_turn(&self) -> bool {
        !self.durations.is_empty()
    }

    #[cold]
    fn connection_limit_reached(&mut self, peer: &dyn Peer, connections_max: usize, now: Now) {
        let (warning, newcomer) = (Warning::ConnectionLimit, PeerDisplay(peer));
        if let Some(count) = self.counters.warnings().add(warning, 1, now) {
            log::warn!(count, connections_max, %newcomer, "{}", warning.name());
        } else {
            let of_newcomer =
                || WarningContext { peer: Some(newcomer.to_string()), ..WarningContext::default() };
            self.counters.warnings().keep_context(warning, of_newcomer);
        }
    }

    #[cold]
    fn peer_limit_reached(&mut self, peer: &dyn Peer, now: Now) {
        self.warn_of_peer(Warning::PeerLimit, peer, now);
    }

    #[cold]
    fn proxy_header_malformed(&mut self, proxy: &dyn Peer, now: Now) {
        self.warn_of_peer(Warning::ProxyHeader, proxy, now);
    }

    #[cold]
    fn handshake_ended(&mut self, end: &HandshakeEnd<'_>, peer: &dyn Peer, now: Now) {
        let HandshakeEnd { outcome, version, reason: detail } = *end;
        self.counters.count_handshake(self.core, outcome, version);
        if version.is_some() || outcome == HandshakeOutcome::Unused {
            return;
        }
        let (warning, peer, reason) = (Warning::HandshakeFailed, PeerDisplay(peer), outcome.name());
        match self.counters.warnings().add(warning, 1, now) {
            Some(count) => log::warn!(count, %peer, reason, %detail, "{}", warning.name()),
            None => {
                self.counters.warnings().keep_context(warning, || WarningContext {
                    peer: Some(peer.to_string()),
                    reason: Some(reason),
                    detail: Some(detail.to_string()),
                    ..WarningContext::default()
                });
                log::debug!(count = 1, %peer, reason, %detail, "{}", warning.name());
            }
        }
    }

    fn tls_closed(&mut self, is_truncated: bool) {
        self.counters.count_tls_closed(self.core, is_truncated);
    }

    #[cold]
    fn accept_failed(&mut self, error: &io::Error, exhausted: bool, now: Now) {
        let warning = if exhausted { Warning::AcceptExhausted } else { Warning::AcceptFailed };
        if let Some(count) = self.counters.warnings().add(warning, 1, now) {
            log::warn!(count, %error, "{}", warning.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::counters::Labels;
    use percore::http::status::Status;

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
        meter.request_answered(&Response::ok("text/plain", 0), 0);
        latency.while_scraped(0, || meter.turn_ended(0, 70_000));
        assert!(meter.wants_turn());
        meter.turn_ended(1_000_000, 1_070_000);
        assert!(!meter.wants_turn());
        assert_eq!(latency.merged()[0].summary().count, 1);
    }
}
