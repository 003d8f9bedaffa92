//! What the cores count: requests, refusals, connections, time at work.
//!
//! Each core writes counters of its own, so counting is a load and a store on a line that nobody
//! else writes; a scrape adds them up. Routes, statuses and reasons come as tables from the layers
//! that own them, and are counted by index.

use super::warning::Warnings;
use percore::observer::CloseReason;
use percore::sync::{Count, PerCore};

/// The label values that are counted by index.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Names of the routes, never paths.
    pub routes: &'static [&'static str],
    /// Every status that is answered.
    pub statuses: &'static [u16],
    /// Of which each route can have these, by its place; any, where nothing is said of it.
    pub possible: &'static [&'static [u16]],
    /// Why events are rejected.
    pub reject_reasons: &'static [&'static str],
}

impl Labels {
    /// Whether a request of this route can be answered with this status.
    fn are_possible(&self, route: usize, status: u16) -> bool {
        self.possible.get(route).is_none_or(|statuses| statuses.contains(&status))
    }
}

/// One core's counters.
#[derive(Debug)]
struct Core {
    /// By route, then status; the last column of a route takes statuses that are in no table.
    requests: Box<[Count]>,
    rejected: Box<[Count]>,
    late: Count,
    opened: Count,
    closed: [Count; CloseReason::ALL.len()],
    busy_ns: Count,
    turns: Count,
}

/// The counters of all cores. Methods that take a `core` and add are for that core's thread alone.
#[derive(Debug)]
pub struct Counters {
    labels: Labels,
    cores: PerCore<Core>,
    warnings: Warnings,
}

impl Counters {
    /// Counters at 0 for each core and each known label value.
    #[must_use]
    pub fn new(cores: usize, labels: Labels) -> Self {
        let cells = labels.routes.len() * (labels.statuses.len() + 1);
        let zeros = |count| (0..count).map(|_| Count::default()).collect();
        Self {
            labels,
            cores: PerCore::new(cores, |_| Core {
                requests: zeros(cells),
                rejected: zeros(labels.reject_reasons.len()),
                late: Count::default(),
                opened: Count::default(),
                closed: Default::default(),
                busy_ns: Count::default(),
                turns: Count::default(),
            }),
            warnings: Warnings::default(),
        }
    }

    /// What is told in the log as well. Any thread may note it.
    #[must_use]
    pub const fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// The tables it counts by.
    #[must_use]
    pub fn labels(&self) -> Labels {
        self.labels
    }

    /// Counts a request answered, by the route's index and its status.
    pub fn request(&self, core: usize, route: usize, status: u16) {
        let statuses = self.labels.statuses;
        let known = statuses.iter().position(|known| *known == status);
        debug_assert!(known.is_some(), "status {status} is in no table");
        let column = known.unwrap_or(statuses.len());
        let cell = route * (statuses.len() + 1) + column;
        if let Some(count) = self.cores.at(core).requests.get(cell) {
            count.add(1);
        }
    }

    /// Counts rejected events, by the reason's index.
    pub fn reject(&self, core: usize, reason: usize, events: u64) {
        if let Some(count) = self.cores.at(core).rejected.get(reason) {
            count.add(events);
        }
    }

    /// Counts events accepted late.
    pub fn late(&self, core: usize, events: u64) {
        self.cores.at(core).late.add(events);
    }

    /// Counts a connection that this core has accepted, or was given.
    pub fn open(&self, core: usize) {
        self.cores.at(core).opened.add(1);
    }

    /// Counts the end of a connection of this core.
    pub fn close(&self, core: usize, reason: CloseReason) {
        if let Some(count) = self.cores.at(core).closed.get(reason.index()) {
            count.add(1);
        }
    }

    /// Adds a turn and the nanoseconds that it worked.
    pub fn turn(&self, core: usize, busy_ns: u64) {
        let core = self.cores.at(core);
        core.busy_ns.add(busy_ns);
        core.turns.add(1);
    }

    /// Open connections of a core, read from any thread.
    #[must_use]
    pub fn live(&self, core: usize) -> u64 {
        self.cores.at(core).live()
    }

    /// Open connections of all cores.
    #[must_use]
    pub fn live_all(&self) -> u64 {
        self.cores.iter().map(Core::live).sum()
    }

    /// Adds up what all cores have counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            requests: vec![0; self.labels.routes.len() * (self.labels.statuses.len() + 1)],
            rejected: vec![0; self.labels.reject_reasons.len()],
            ..Totals::default()
        };
        for core in self.cores.iter() {
            // Ends before beginnings, so that no reading has more ends.
            add_each(&mut totals.closed, &core.closed);
            totals.live.push(core.live());
            totals.opened += core.opened.total();
            add_each(&mut totals.requests, &core.requests);
            add_each(&mut totals.rejected, &core.rejected);
            totals.late += core.late.total();
            totals.busy_ns.push(core.busy_ns.total());
            totals.turns.push(core.turns.total());
        }
        totals
    }
}

impl Core {
    fn live(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(Count::total).sum();
        self.opened.total().saturating_sub(closed)
    }
}

fn add_each(sums: &mut [u64], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.total();
    }
}

/// Sums over all cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By route, then status, then one for statuses in no table; see [`Self::request_counts`].
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
    pub live: Vec<u64>,
    /// Nanoseconds at work, by core.
    pub busy_ns: Vec<u64>,
    /// Turns, by core.
    pub turns: Vec<u64>,
}

impl Totals {
    /// Every pair of route and status that there can be, with its count: each is a series in every
    /// store of them. Any other comes only if there was one; a status in no table is `None`.
    pub fn request_counts(
        &self,
        labels: Labels,
    ) -> impl Iterator<Item = (&'static str, Option<u16>, u64)> {
        let rows = self.requests.chunks(labels.statuses.len() + 1);
        labels.routes.iter().zip(rows).enumerate().flat_map(move |(place, (route, row))| {
            let statuses = labels.statuses.iter().map(|status| Some(*status));
            let columns = statuses.chain([None]).zip(row);
            let possible =
                move |status: Option<u16>| status.is_some_and(|it| labels.are_possible(place, it));
            columns
                .filter(move |(status, count)| possible(*status) || **count > 0)
                .map(move |(status, count)| (*route, status, *count))
        })
    }

    /// Requests answered, whatever the route and status.
    #[must_use]
    pub fn requests_all(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Events rejected for whatever reason.
    #[must_use]
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
    fn reasons_stand_in_the_order_of_their_index() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{}", reason.name());
        }
    }

    #[test]
    fn every_possible_pair_is_there_from_the_start_and_cores_add_up() {
        let counters = Counters::new(2, LABELS);
        let zeros: Vec<_> = counters.totals().request_counts(LABELS).collect();
        let expected =
            [("ingest", Some(202), 0), ("ingest", Some(400), 0), ("health", Some(200), 0)];
        assert_eq!(zeros, expected);
        // What nobody thought of is not kept back for that.
        let odd = Counters::new(1, LABELS);
        odd.request(0, 1, 400);
        let counts: Vec<_> = odd.totals().request_counts(LABELS).collect();
        assert_eq!(counts[3..], [("health", Some(400), 1)]);
        let anything = Labels { possible: &[], ..LABELS };
        assert_eq!(odd.totals().request_counts(anything).count(), 6);
        counters.request(0, 0, 202);
        counters.request(1, 0, 202);
        counters.request(1, 1, 200);
        counters.reject(1, 1, 5);
        counters.reject(1, 2, 5);
        let totals = counters.totals();
        let counts: Vec<_> = totals.request_counts(LABELS).filter(|row| row.2 > 0).collect();
        assert_eq!(counts, [("ingest", Some(202), 2), ("health", Some(200), 1)]);
        assert_eq!(totals.requests_all(), 3);
        assert_eq!((totals.rejected.as_slice(), totals.rejected_all()), ([0, 5].as_slice(), 5));
    }

    #[test]
    fn live_connections_are_those_opened_and_not_closed() {
        let counters = Counters::new(2, LABELS);
        counters.open(1);
        counters.open(1);
        counters.open(0);
        counters.close(1, CloseReason::Age);
        counters.turn(1, 1_000);
        assert_eq!((counters.live(0), counters.live(1), counters.live_all()), (1, 1, 2));
        let totals = counters.totals();
        assert_eq!(totals.live, [1, 1]);
        assert_eq!(totals.opened, 3);
        assert_eq!(totals.closed[CloseReason::Age.index()], 1);
        assert_eq!((totals.busy_ns, totals.turns), (vec![0, 1_000], vec![0, 1]));
    }
}
