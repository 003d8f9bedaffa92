//! Counters of the cores: requests, rejected events, connections, time at work.
//!
//! Each core writes counters of its own, so that counting is a load and a store on a cache line
//! that no other thread writes; a scrape adds them up. Routes, statuses and reasons are tables of
//! the layers above, and counted by index.

use super::warning::Warnings;
use percore::observer::{CloseReason, HandshakeOutcome, TlsVersion};
use percore::sync::{Count, PerCore, add_each};

/// The values of labels that are counted by index.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// The names of the routes, which are not the paths of requests.
    pub routes: &'static [&'static str],
    /// All statuses of answers.
    pub statuses: &'static [u16],
    /// The statuses that each route can have, by its index; a route without an entry can have all.
    pub possible: &'static [&'static [u16]],
    /// The reasons for which events are rejected.
    pub reject_reasons: &'static [&'static str],
}

impl Labels {
    /// Returns true if a request of this route can be answered with this status.
    fn is_possible(&self, route: usize, status: u16) -> bool {
        self.possible.get(route).is_none_or(|statuses| statuses.contains(&status))
    }
}

/// The counters of one core.
#[derive(Debug)]
struct CoreCounters {
    /// By route, then status; each route has one more column for statuses that are in no table.
    requests: Box<[Count]>,
    rejected: Box<[Count]>,
    late: Count,
    opened: Count,
    closed: [Count; CloseReason::ALL.len()],
    busy_ns: Count,
    turns: Count,
    /// Handshakes of TLS that are done, by outcome, then version.
    handshakes: [[Count; TlsVersion::ALL.len()]; HandshakeOutcome::ALL.len()],
    /// Handshakes of TLS that have failed, by outcome.
    handshakes_failed: [Count; HandshakeOutcome::ALL.len()],
    tls_closed: Count,
    tls_truncated: Count,
}

/// The counters of all cores. Only the thread of a core may count for it.
#[derive(Debug)]
pub struct Counters {
    labels: Labels,
    cores: PerCore<CoreCounters>,
    warnings: Warnings,
}

impl Counters {
    /// Makes counters at 0 for each core and each known value of a label.
    pub fn new(cores: usize, labels: Labels) -> Self {
        let cells = labels.routes.len() * (labels.statuses.len() + 1);
        let zeros = |count| (0..count).map(|_| Count::default()).collect();
        Self {
            labels,
            cores: PerCore::new(cores, |_| CoreCounters {
                requests: zeros(cells),
                rejected: zeros(labels.reject_reasons.len()),
                late: Count::default(),
                opened: Count::default(),
                closed: Default::default(),
                busy_ns: Count::default(),
                turns: Count::default(),
                handshakes: Default::default(),
                handshakes_failed: Default::default(),
                tls_closed: Count::default(),
                tls_truncated: Count::default(),
            }),
            warnings: Warnings::default(),
        }
    }

    /// Returns the warnings, which any thread may count.
    pub const fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Returns the tables that it counts by.
    pub fn labels(&self) -> Labels {
        self.labels
    }

    /// Counts an answered request, by the indices of its route and its status.
    pub fn count_request(&self, core: usize, route: usize, status: usize) {
        let statuses = self.labels.statuses.len();
        debug_assert!(status < statuses, "status {status} is in no table");
        let cell = route * (statuses + 1) + status.min(statuses);
        if let Some(count) = self.cores.at(core).requests.get(cell) {
            count.add(1);
        }
    }

    /// Counts rejected events, by the reason's index.
    pub fn count_rejected(&self, core: usize, reason: usize, events: u64) {
        if let Some(count) = self.cores.at(core).rejected.get(reason) {
            count.add(events);
        }
    }

    /// Counts events accepted late.
    pub fn count_late(&self, core: usize, events: u64) {
        self.cores.at(core).late.add(events);
    }

    /// Counts a connection that this core has accepted, or received from another core.
    pub fn count_opened(&self, core: usize) {
        self.cores.at(core).opened.add(1);
    }

    /// Counts the end of a connection of this core.
    pub fn count_closed(&self, core: usize, reason: CloseReason) {
        if let Some(count) = self.cores.at(core).closed.get(reason.index()) {
            count.add(1);
        }
    }

    /// Counts a TLS handshake that has come to its end, without a version if it is not done.
    pub fn count_handshake(
        &self,
        core: usize,
        outcome: HandshakeOutcome,
        version: Option<TlsVersion>,
    ) {
        let core = self.cores.at(core);
        let count = match version {
            Some(version) => {
                let counts = core.handshakes.get(outcome.index());
                counts.and_then(|counts| counts.get(version.index()))
            }
            None => core.handshakes_failed.get(outcome.index()),
        };
        if let Some(count) = count {
            count.add(1);
        }
    }

    /// Counts the end of a connection whose handshake was done.
    pub fn count_tls_closed(&self, core: usize, is_truncated: bool) {
        let core = self.cores.at(core);
        core.tls_closed.add(1);
        core.tls_truncated.add(is_truncated.into());
    }

    /// Counts a turn of the event loop and its nanoseconds at work.
    pub fn count_turn(&self, core: usize, busy_ns: u64) {
        let core = self.cores.at(core);
        core.busy_ns.add(busy_ns);
        core.turns.add(1);
    }

    /// Adds up the counters of all cores.
    pub fn totals(&self) -> CoreTotals {
        let mut totals = CoreTotals {
            requests: vec![0; self.labels.routes.len() * (self.labels.statuses.len() + 1)],
            rejected: vec![0; self.labels.reject_reasons.len()],
            ..CoreTotals::default()
        };
        for core in self.cores.iter() {
            // Closed connections are read before opened ones, so that they are never more.
            add_each(&mut totals.closed, &core.closed);
            totals.open_connections.push(core.open_connections());
            totals.opened += core.opened.total();
            add_each(&mut totals.requests, &core.requests);
            add_each(&mut totals.rejected, &core.rejected);
            totals.late += core.late.total();
            totals.busy_ns.push(core.busy_ns.total());
            totals.turns.push(core.turns.total());
            // As with connections.
            totals.tls_closed += core.tls_closed.total();
            totals.tls_truncated += core.tls_truncated.total();
            for (sums, counts) in totals.handshakes.iter_mut().zip(&core.handshakes) {
                add_each(sums, counts);
            }
            add_each(&mut totals.handshakes_failed, &core.handshakes_failed);
        }
        totals
    }
}

impl CoreCounters {
    fn open_connections(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(Count::total).sum();
        self.opened.total().saturating_sub(closed)
    }
}

/// The sums over all cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreTotals {
    /// By route, then status, then one for statuses in no table; [`Self::request_counts`] reads
    /// them.
    requests: Vec<u64>,
    /// Events rejected, by reason.
    pub rejected: Vec<u64>,
    /// Events accepted late.
    pub late: u64,
    /// Connections accepted.
    pub opened: u64,
    /// Connections ended, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Open connections, by core.
    pub open_connections: Vec<u64>,
    /// Nanoseconds at work, by core.
    pub busy_ns: Vec<u64>,
    /// Turns of the event loop, by core.
    pub turns: Vec<u64>,
    /// Handshakes of TLS that are done, by outcome, then version.
    pub handshakes: [[u64; TlsVersion::ALL.len()]; HandshakeOutcome::ALL.len()],
    /// Handshakes of TLS that have failed, by outcome.
    pub handshakes_failed: [u64; HandshakeOutcome::ALL.len()],
    /// Connections ended whose handshake was done.
    pub tls_closed: u64,
    /// Those of them whose peer has not said that it sends no more.
    pub tls_truncated: u64,
}

impl CoreTotals {
    /// Returns the count of each possible pair of route and status, because a series has to exist
    /// before its first event; of other pairs only those that were counted. A status in no table is
    /// `None`.
    pub fn request_counts(
        &self,
        labels: Labels,
    ) -> impl Iterator<Item = (&'static str, Option<u16>, u64)> {
        let rows = self.requests.chunks(labels.statuses.len() + 1);
        labels.routes.iter().zip(rows).enumerate().flat_map(move |(place, (route, row))| {
            let statuses = labels.statuses.iter().map(|status| Some(*status));
            let columns = statuses.chain([None]).zip(row);
            let possible =
                move |status: Option<u16>| status.is_some_and(|it| labels.is_possible(place, it));
            columns
                .filter(move |(status, count)| possible(*status) || **count > 0)
                .map(move |(status, count)| (*route, status, *count))
        })
    }

    /// Returns the number of open connections whose TLS handshake is done.
    pub fn tls_connections(&self) -> u64 {
        let done: u64 = self.handshakes.iter().flatten().sum();
        done.saturating_sub(self.tls_closed)
    }

    /// Returns the number of answered requests.
    pub fn requests_all(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Returns the number of rejected events.
    pub fn rejected_all(&self) -> u64 {
        self.rejected.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels = Labels {
        routes: &["ingest", "health"],
        statuses: &[200, 202, 400],
        possible: &[&[202, 400], &[200]],
        reject_reasons: &["syntax", "future"],
    };

    #[test]
    fn every_possible_pair_is_there_from_the_start_and_cores_add_up() {
        let counters = Counters::new(2, LABELS);
        let zeros: Vec<_> = counters.totals().request_counts(LABELS).collect();
        let expected =
            [("ingest", Some(202), 0), ("ingest", Some(400), 0), ("health", Some(200), 0)];
        assert_eq!(zeros, expected);
        // A pair that was held to be impossible is shown once it is counted.
        let odd = Counters::new(1, LABELS);
        odd.count_request(0, 1, 2);
        let counts: Vec<_> = odd.totals().request_counts(LABELS).collect();
        assert_eq!(counts[3..], [("health", Some(400), 1)]);
        let anything = Labels { possible: &[], ..LABELS };
        assert_eq!(odd.totals().request_counts(anything).count(), 6);
        counters.count_request(0, 0, 1);
        counters.count_request(1, 0, 1);
        counters.count_request(1, 1, 0);
        counters.count_rejected(1, 1, 5);
        counters.count_rejected(1, 2, 5);
        let totals = counters.totals();
        let counts: Vec<_> = totals.request_counts(LABELS).filter(|row| row.2 > 0).collect();
        assert_eq!(counts, [("ingest", Some(202), 2), ("health", Some(200), 1)]);
        assert_eq!(totals.requests_all(), 3);
        assert_eq!((totals.rejected.as_slice(), totals.rejected_all()), ([0, 5].as_slice(), 5));
    }

    #[test]
    fn live_connections_are_those_opened_and_not_closed() {
        let counters = Counters::new(2, LABELS);
        counters.count_opened(1);
        counters.count_opened(1);
        counters.count_opened(0);
        counters.count_closed(1, CloseReason::Age);
        counters.count_turn(1, 1_000);
        let totals = counters.totals();
        assert_eq!(totals.open_connections, [1, 1]);
        assert_eq!(totals.opened, 3);
        assert_eq!(totals.closed[CloseReason::Age.index()], 1);
        assert_eq!((totals.busy_ns, totals.turns), (vec![0, 1_000], vec![0, 1]));
    }
}
