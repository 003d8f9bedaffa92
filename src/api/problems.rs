//! The problems of a server in words: what is wrong, and what an operator can do.
//!
//! Pure: a [`Situation`] in, its [`Problem`]s out. [`Since`] remembers when each of them began.

use std::cmp::Reverse;
use std::fmt;

use crate::store::stats::Stats;

percore::named_enum! {
    /// The kinds of problems, the worst first.
    pub enum ProblemKind {
        /// Redis cannot be reached, or does not take metrics.
        StoreAway = "store_away",
        /// Acknowledged events were lost.
        EventsLost = "events_lost",
        /// The queue to Redis is nearly full.
        StoreQueue = "store_queue",
        /// The other replicas of the fleet cannot be asked.
        FleetAway = "fleet_away",
        /// Replicas of the fleet are missing.
        MembersMissing = "members_missing",
        /// Events were not judged, because too many devices have a window.
        DevicesRefused = "devices_refused",
        /// Nearly as many connections are open as may be.
        Connections = "connections",
        /// The process takes nearly all memory that it may have.
        Memory = "memory",
        /// Many events are rejected.
        EventsRejected = "events_rejected",
    }
}

/// The share of a bound from which on it counts as nearly reached. Redis that is away for a moment
/// fills less of the queue.
const QUEUE_SHARE: f64 = 0.8;
const CONNECTIONS_SHARE: f64 = 0.9;
const MEMORY_SHARE: f64 = 0.9;

/// The share of events from which on rejections are more than the mistakes of a single device.
const REJECTED_SHARE: f64 = 0.05;

/// The rejections from which on they are a problem: on a quiet server, one mistake is a large
/// share.
const REJECTED_MIN: u64 = 10;

/// The reasons that a text names.
const REASONS_NAMED_MAX: usize = 3;

/// The state that problems are found in. Counts are of the last minute.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The store now.
    pub store: &'a Stats,
    /// The address of the store.
    pub store_at: &'a str,
    /// True if requests are refused when the queue is full (`--store-overflow reject`).
    pub store_rejects: bool,
    /// Events accepted.
    pub accepted: u64,
    /// Events rejected, with the names of the reasons.
    pub rejected: Vec<(&'static str, u64)>,
    /// Events that were acknowledged and then lost.
    pub lost: u64,
    /// Events whose device got no window.
    pub refused: u64,
    /// `--max-devices`.
    pub devices_max: usize,
    /// Open connections.
    pub connections: u64,
    /// Connections that may be open.
    pub connections_max: usize,
    /// The fleet, if this instance is in one: whether it can be asked, and the members that are
    /// missed.
    pub fleet: Option<(bool, u64)>,
    /// The memory of the process, if it is known.
    pub resident_bytes: Option<u64>,
    /// The memory that it may have, if that is known.
    pub memory_limit_bytes: Option<u64>,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// The fault.
    pub text: String,
    /// The remedy.
    pub advice: &'static str,
}

impl Situation<'_> {
    /// Returns all problems, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let found = |kind: ProblemKind| self.find(kind);
        ProblemKind::ALL.into_iter().filter_map(found).collect()
    }

    fn find(&self, kind: ProblemKind) -> Option<Problem> {
        let (text, advice) = match kind {
            ProblemKind::StoreAway => self.store_away(),
            ProblemKind::EventsLost => self.events_lost(),
            ProblemKind::StoreQueue => self.store_queue(),
            ProblemKind::FleetAway => self.fleet_away(),
            ProblemKind::MembersMissing => self.members_missing(),
            ProblemKind::DevicesRefused => self.devices_refused(),
            ProblemKind::Connections => self.connections(),
            ProblemKind::Memory => self.memory(),
            ProblemKind::EventsRejected => self.events_rejected(),
        }?;
        Some(Problem { kind, text, advice })
    }

    fn store_away(&self) -> Option<(String, &'static str)> {
        let waiting = Grouped(self.store.totals.pending());
        (!self.store.up).then(|| {
            let text = format!("Redis at {} is away; {waiting} metrics wait.", self.store_at);
            let advice = "Start Redis, or mend the way to it; the log says what it answers. What \
                          waits is written when it is back.";
            (text, advice)
        })
    }

    fn events_lost(&self) -> Option<(String, &'static str)> {
        (self.lost > 0).then(|| {
            let text = format!(
                "{} acknowledged metrics were lost in the last minute.",
                Grouped(self.lost)
            );
            let advice = "The log and corepulse_store_dropped_total say why. For outages of this \
                          length --store-queue has to be larger.";
            (text, advice)
        })
    }

    fn fleet_away(&self) -> Option<(String, &'static str)> {
        self.fleet.filter(|(is_up, _)| !is_up).map(|_| {
            let text = "The other replicas of the fleet cannot be asked.".to_owned();
            let advice = "They meet in Redis; the log says what it answers. This replica goes on \
                          alone, and answers for itself.";
            (text, advice)
        })
    }

    fn members_missing(&self) -> Option<(String, &'static str)> {
        let (_, missed) = self.fleet.filter(|(is_up, missed)| *is_up && *missed > 0)?;
        let text = match missed {
            1 => "A replica of the fleet is missing.".to_owned(),
            many => format!("{} replicas of the fleet are missing.", Grouped(many)),
        };
        let advice = "It was killed, hangs, or cannot reach Redis; /analyze?scope=fleet names it. \
                      Its devices go on elsewhere, by what it had saved in Redis.";
        Some((text, advice))
    }

    fn store_queue(&self) -> Option<(String, &'static str)> {
        let share = self.store.queue_share();
        (share >= QUEUE_SHARE).then(|| {
            let text = format!("The queue to Redis is {} full.", Percent(share));
            let advice = if self.store_rejects {
                "When it is full, metrics are refused with 503. Bring Redis back, give it more \
                 CPU, or raise --store-queue."
            } else {
                "When it is full, the oldest metrics are dropped. Bring Redis back, give it more \
                 CPU, or raise --store-queue."
            };
            (text, advice)
        })
    }

    fn devices_refused(&self) -> Option<(String, &'static str)> {
        (self.refused > 0).then(|| {
            let text = format!(
                "{} events of the last minute were not judged, as {} devices have a window \
                 already.",
                Grouped(self.refused),
                Grouped(self.devices_max as u64),
            );
            let advice = "Raise --max-devices if there is memory, or lower --device-ttl, so that \
                          silent devices make room sooner.";
            (text, advice)
        })
    }

    fn connections(&self) -> Option<(String, &'static str)> {
        let share = self.connections as f64 / self.connections_max.max(1) as f64;
        (share >= CONNECTIONS_SHARE).then(|| {
            let text = format!(
                "{} of {} connections are open.",
                Grouped(self.connections),
                Grouped(self.connections_max as u64),
            );
            let advice = "Raise the limit of open files (ulimit -n) or --max-connections, or add \
                          an instance. At the limit idle connections are closed, then new ones \
                          get 503.";
            (text, advice)
        })
    }

    fn memory(&self) -> Option<(String, &'static str)> {
        let (resident, limit) = (self.resident_bytes?, self.memory_limit_bytes?);
        let share = resident as f64 / limit.max(1) as f64;
        (share >= MEMORY_SHARE).then(|| {
            let mebibytes = |bytes: u64| Grouped(bytes >> 20);
            let text = format!(
                "The server takes {} of {} MiB of memory.",
                mebibytes(resident),
                mebibytes(limit)
            );
            let advice = "Give it more memory, or lower --memory-store, --store-queue or \
                          --max-devices: at the limit the kernel ends it.";
            (text, advice)
        })
    }

    fn events_rejected(&self) -> Option<(String, &'static str)> {
        let rejected: u64 = self.rejected.iter().map(|(_, events)| events).sum();
        let share = rejected as f64 / (rejected + self.accepted).max(1) as f64;
        (share >= REJECTED_SHARE && rejected >= REJECTED_MIN).then(|| {
            let text = format!(
                "{} of the events of the last minute were rejected, {} in all; the reasons: {}.",
                Percent(share),
                Grouped(rejected),
                reasons(&self.rejected)
            );
            let advice = "The log names a device with such an event and what was expected of it; \
                          docs/api.md says what a metric is.";
            (text, advice)
        })
    }
}

/// Returns the most frequent reasons, with their counts.
fn reasons(rejected: &[(&'static str, u64)]) -> String {
    let mut found: Vec<_> = rejected.iter().filter(|(_, events)| *events > 0).collect();
    found.sort_by_key(|(_, events)| Reverse(*events));
    let named = found.iter().take(REASONS_NAMED_MAX);
    let named: Vec<_> =
        named.map(|(reason, events)| format!("{reason} ({})", Grouped(*events))).collect();
    let rest = if found.len() > REASONS_NAMED_MAX { " and others" } else { "" };
    named.join(", ") + rest
}

/// The times since when problems last, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since([Option<i64>; ProblemKind::ALL.len()]);

impl Since {
    /// Takes the problems of this moment: new ones begin, and others end.
    pub fn update(&mut self, problems: &[Problem], wall_us: i64) {
        for (kind, since) in ProblemKind::ALL.into_iter().zip(&mut self.0) {
            let is_there = problems.iter().any(|problem| problem.kind == kind);
            *since = is_there.then(|| since.unwrap_or(wall_us));
        }
    }

    /// Returns the time since when a problem lasts; `None` if there is none.
    pub fn of(&self, kind: ProblemKind) -> Option<i64> {
        self.0.get(kind.index()).copied().flatten()
    }
}

/// A share as a percentage.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.0} %", self.0 * 100.0)
    }
}

/// A number with a comma after each three digits.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.write_str(",")?;
            }
            write!(out, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::confirmations::WaiterTotals;
    use crate::store::event_counters::EventTotals;

    fn stats() -> Stats {
        Stats {
            kind: "redis",
            up: true,
            pending_bytes: 0,
            capacity_bytes: 1000,
            totals: EventTotals { accepted: 12_345, ..EventTotals::default() },
            errors: Vec::new(),
            reconnects: 0,
            recovered: 0,
            waiters: WaiterTotals::default(),
        }
    }

    const fn calm(store: &Stats) -> Situation<'_> {
        Situation {
            store,
            store_at: "redis://localhost:6379/0",
            store_rejects: false,
            accepted: 1000,
            rejected: Vec::new(),
            lost: 0,
            refused: 0,
            devices_max: 100_000,
            connections: 0,
            connections_max: 10_000,
            fleet: Some((true, 0)),
            resident_bytes: Some(100 << 20),
            memory_limit_bytes: Some(1000 << 20),
        }
    }

    fn texts(situation: &Situation<'_>) -> Vec<String> {
        let problems = situation.problems();
        assert!(problems.iter().all(|problem| problem.advice.ends_with('.')), "{problems:?}");
        problems.into_iter().map(|problem| problem.text).collect()
    }

    #[test]
    fn all_is_well() {
        let store = stats();
        assert_eq!(calm(&store).problems(), []);
        let unknown = Situation { resident_bytes: None, memory_limit_bytes: None, ..calm(&store) };
        assert_eq!(unknown.problems(), []);
    }

    #[test]
    fn each_problem_is_told_from_its_bound_on() {
        let store = Stats { up: false, pending_bytes: 800, ..stats() };
        let bad = Situation {
            lost: 1,
            refused: 57,
            connections: 9_000,
            resident_bytes: Some(900 << 20),
            accepted: 190,
            rejected: vec![("syntax", 2), ("range", 0), ("future", 3), ("missing", 5)],
            ..calm(&store)
        };
        let expected = [
            "Redis at redis://localhost:6379/0 is away; 12,345 metrics wait.",
            "1 acknowledged metrics were lost in the last minute.",
            "The queue to Redis is 80 % full.",
            "57 events of the last minute were not judged, as 100,000 devices have a window \
             already.",
            "9,000 of 10,000 connections are open.",
            "The server takes 900 of 1,000 MiB of memory.",
            "5 % of the events of the last minute were rejected, 10 in all; the reasons: missing \
             (5), future (3), syntax (2).",
        ];
        assert_eq!(texts(&bad), expected);
        let store = Stats { pending_bytes: 799, ..stats() };
        let good = Situation {
            connections: 8_999,
            resident_bytes: Some(899 << 20),
            accepted: 191,
            rejected: vec![("syntax", 10)],
            ..calm(&store)
        };
        assert_eq!(texts(&good), [""; 0]);
    }

    #[test]
    fn a_fleet_is_away_or_lacks_members() {
        let store = stats();
        let of = |fleet| texts(&Situation { fleet, ..calm(&store) });
        assert_eq!(of(None), [""; 0]);
        let away = ["The other replicas of the fleet cannot be asked."];
        assert_eq!(of(Some((false, 2))), away);
        assert_eq!(of(Some((true, 1))), ["A replica of the fleet is missing."]);
        assert_eq!(of(Some((true, 2))), ["2 replicas of the fleet are missing."]);
        let missing = Situation { fleet: Some((true, 1)), ..calm(&store) }.problems();
        let windows = "go on elsewhere, by what it had saved";
        assert!(missing.iter().all(|it| it.advice.contains(windows)), "{missing:?}");
    }

    #[test]
    fn a_few_rejected_events_are_no_problem() {
        let store = stats();
        let with = |events| Situation {
            accepted: 0,
            rejected: vec![("type", events), ("missing", 1)],
            ..calm(&store)
        };
        assert_eq!(texts(&with(8)), [""; 0]);
        let many =
            ["100 % of the events of the last minute were rejected, 10 in all; the reasons: \
                     type (9), missing (1)."];
        assert_eq!(texts(&with(9)), many);
        let rejected = ["a", "b", "c", "d", "e"].into_iter().zip(3..).collect();
        let long = texts(&Situation { rejected, ..with(0) });
        assert!(long[0].ends_with("25 in all; the reasons: e (7), d (6), c (5) and others."));
    }

    #[test]
    fn advice_depends_on_what_a_full_queue_leads_to() {
        let store = Stats { pending_bytes: 1000, ..stats() };
        let advice = |store_rejects| {
            let problems = Situation { store_rejects, ..calm(&store) }.problems();
            problems.first().map(|problem| problem.advice)
        };
        assert!(advice(true).is_some_and(|advice| advice.contains("503")));
        assert!(advice(false).is_some_and(|advice| advice.contains("dropped")));
    }

    #[test]
    fn a_problem_lasts_since_it_began() {
        let problem = |kind| Problem { kind, text: String::new(), advice: "" };
        let mut since = Since::default();
        since.update(&[problem(ProblemKind::StoreAway)], 5);
        since.update(&[problem(ProblemKind::Memory), problem(ProblemKind::StoreAway)], 7);
        assert_eq!(since.of(ProblemKind::StoreAway), Some(5));
        assert_eq!(since.of(ProblemKind::Memory), Some(7));
        assert_eq!(since.of(ProblemKind::EventsLost), None);
        since.update(&[problem(ProblemKind::Memory)], 8);
        since.update(&[problem(ProblemKind::StoreAway)], 9);
        assert_eq!(since.of(ProblemKind::StoreAway), Some(9));
        assert_eq!(since.of(ProblemKind::Memory), None);
    }
}
