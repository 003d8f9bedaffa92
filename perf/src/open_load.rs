//! One round of an open load: what was offered, what became of it, and who was the limit.

use crate::generator::Load;
use crate::inquiry::Stored;
use crate::report::{Spread, Store, number};
use crate::scenario::Scenario;
use crate::tally::Tally;
use crate::usage::Usage;
use serde_json::{Value, json};
use std::time::Duration;

/// A thread of the generator that is busier than this has no time left for the next turn.
pub const BUSY_MAX: f64 = 0.9;

/// The generator's own lag is part of every latency, although the server has nothing to do with
/// it. A quarter of the tightest bar (2 ms) is more than a measurement may owe to who measures.
pub const LAG_P99_MAX: Duration = Duration::from_micros(500);

/// Below this share of the offered rate the server has not kept up. The last answers come after the
/// last turn is due, so it is never quite one.
const KEPT_UP: f64 = 0.99;

/// What was answered when as much was sent as was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    /// Requests a second, as far as their events reached the store.
    pub rate: f64,
    /// The share of a core that the server used; `None` if it was not started here.
    pub server_share: Option<f64>,
    /// The share of its core that the busiest thread of the generator used.
    pub generator_share: f64,
}

/// One round.
#[derive(Clone, Debug)]
pub struct OpenLoad {
    /// From 0.
    pub round: usize,
    /// What was offered; it has a rate.
    pub load: Load,
    /// Where it went; `None` where that is the server's own affair.
    pub store: Option<Store>,
    /// Threads of the generator.
    pub threads: u32,
    /// What the rate is a share of, if that was looked for.
    pub saturation: Option<Saturation>,
    /// What became of it.
    pub tally: Tally,
    /// What the server's process used; `None` if it was not started here.
    pub usage: Option<Usage>,
    /// What became of the events at Redis, and when all of them had come there.
    pub stored: Option<Stored>,
}

impl OpenLoad {
    /// Requests a second that were due.
    #[must_use]
    pub fn offered(&self) -> f64 {
        self.load.rate.unwrap_or(f64::NAN)
    }

    /// Requests a second that were answered with 202.
    #[must_use]
    pub fn achieved(&self) -> f64 {
        number(self.tally.answered) / self.tally.elapsed.as_secs_f64()
    }

    /// CPU microseconds of the server a request; NaN if it is not known.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        let requests = number(self.tally.requests);
        self.usage.map_or(f64::NAN, |usage| usage.cpu.as_secs_f64() * 1e6 / requests)
    }

    /// Why the generator was itself the limit; `None` where it was not.
    #[must_use]
    pub fn own_limit(&self) -> Option<String> {
        let busy = self.tally.busy_share;
        let lag = self.tally.lags.summary().p99;
        let mut why = Vec::new();
        if busy > BUSY_MAX {
            let (found, bound) = (busy * 100.0, BUSY_MAX * 100.0);
            why.push(format!("its thread was {found:.0} % busy (bound {bound:.0} %)"));
        }
        if lag > LAG_P99_MAX {
            let (found, bound) = (us(lag), us(LAG_P99_MAX));
            let waited = self.tally.kept_waiting_share * 100.0;
            why.push(format!(
                "its own lag was {found:.0} µs at p99 (bound {bound:.0} µs), while it waited for \
                 its core {waited:.0} % of the time"
            ));
        }
        let round = self.round;
        let is_limit = !why.is_empty();
        is_limit.then(|| {
            format!(
                "round {round}: the generator was itself the limit: {}; these latencies are an \
                 upper bound of the server's",
                why.join(", and ")
            )
        })
    }

    /// What of the load was not carried; `None` if all of it was.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        let Tally { planned, unsent, faults, said, .. } = &self.tally;
        let (round, achieved, offered) = (self.round, self.achieved(), self.offered());
        let dropped = self.stored.map_or(0, |stored| stored.dropped);
        let kept_up = achieved >= offered * KEPT_UP;
        if kept_up && *unsent == 0 && faults.all() == 0 && dropped == 0 {
            return None;
        }
        let said = said.as_ref().map_or_else(String::new, |said| format!(" ({said})"));
        Some(format!(
            "round {round}: {achieved:.0} of {offered:.0} requests/s answered; of {planned} \
             requests {unsent} were never sent, errors: {}{said}; {dropped} events dropped",
            faults.text()
        ))
    }

    /// The raw numbers.
    #[must_use]
    pub fn record(&self) -> Value {
        let Self { load, tally, .. } = self;
        let seconds = |usage: Usage| usage.cpu.as_secs_f64();
        json!({
            "round": self.round,
            "scenario": load.scenario.name(),
            "store": self.store.map(|store| match store {
                Store::Memory => "memory",
                Store::Redis => "redis",
            }),
            "threads": self.threads,
            "connections": load.connections,
            "devices": load.extent.devices.count,
            "events_per_request": load.extent.events_per_request(load.scenario),
            "saturation": self.saturation.map(|found| json!({
                "requests_per_second": found.rate,
                "server_share": found.server_share,
                "generator_share": found.generator_share,
            })),
            "offered_per_second": self.offered(),
            "achieved_per_second": self.achieved(),
            "planned": tally.planned,
            "requests": tally.requests,
            "answered": tally.answered,
            "accepted": tally.accepted,
            "never_sent": tally.unsent,
            "errors": tally.faults.record(),
            "reopened": tally.reopened,
            "seconds": tally.elapsed.as_secs_f64(),
            "latency_us": tally.latencies.summary().record(),
            "generator_lag_us": tally.lags.summary().record(),
            "generator_busy_share": tally.busy_share,
            "generator_kept_waiting_share": tally.kept_waiting_share,
            "generator_was_the_limit": self.own_limit(),
            "server_cpu_seconds": self.usage.map(seconds),
            "cpu_us_per_request": self.usage.map(|_| self.cpu_us()),
            "kept": self.stored.map(|stored| stored.kept),
            "dropped": self.stored.map(|stored| stored.dropped),
        })
    }
}

/// The raw numbers with where they come from, and what is to be known of them.
#[must_use]
pub fn record(machine: &Value, notes: &[String], rounds: &[OpenLoad]) -> Value {
    let rows: Vec<Value> = rounds.iter().map(OpenLoad::record).collect();
    json!({ "machine": machine, "notes": notes, "measurements": rows })
}

const HEAD: &str = "\
| scenario | offered/s | achieved/s | p50 µs | p90 µs | p99 µs | p99.9 µs | max µs | errors \
| never sent | own lag p99 µs | own lag max µs | generator CPU | server CPU µs/request |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// A Markdown table of one row: medians over the rounds, in brackets the smallest and the largest;
/// errors and what was never sent are sums.
#[must_use]
pub fn table(rounds: &[OpenLoad]) -> String {
    let column = |value: &dyn Fn(&OpenLoad) -> f64, digits| {
        Spread::of(rounds.iter().map(value)).text(digits)
    };
    let mut faults = crate::fault::Faults::default();
    rounds.iter().for_each(|round| faults.merge(&round.tally.faults));
    let unsent: u64 = rounds.iter().map(|round| round.tally.unsent).sum();
    let cells = [
        rounds.first().map_or_else(String::new, name),
        column(&OpenLoad::offered, 0),
        column(&OpenLoad::achieved, 0),
        column(&|round| us(round.tally.latencies.summary().p50), 0),
        column(&|round| us(round.tally.latencies.summary().p90), 0),
        column(&|round| us(round.tally.latencies.summary().p99), 0),
        column(&|round| us(round.tally.latencies.summary().p999), 0),
        column(&|round| us(round.tally.latencies.summary().max), 0),
        faults.text(),
        unsent.to_string(),
        column(&|round| us(round.tally.lags.summary().p99), 0),
        column(&|round| us(round.tally.lags.summary().max), 0),
        column(&|round| round.tally.busy_share * 100.0, 0) + " %",
        if rounds.iter().all(|round| round.usage.is_some()) {
            column(&OpenLoad::cpu_us, 2)
        } else {
            "not known".to_owned()
        },
    ];
    format!("{HEAD}| {} |\n", cells.join(" | "))
}

/// As in the table.
fn name(round: &OpenLoad) -> String {
    let extent = round.load.extent;
    let scenario = match round.load.scenario {
        Scenario::Ndjson => format!("NDJSON, {} events", extent.batch),
        other => other.name().to_owned(),
    };
    let redis = if round.store == Some(Store::Redis) { ", Redis" } else { "" };
    format!("{scenario}{redis}")
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::scenario::Extent;
    use crate::usage::ThreadTime;

    /// A second of a thousand requests, each after 100 µs, the generator late by `lag_us`.
    fn round(busy_ms: u64, lag_us: u64) -> OpenLoad {
        let mut tally = Tally::new().unwrap();
        tally.planned = 1000;
        (tally.requests, tally.answered, tally.accepted) = (1000, 1000, 1000);
        tally.latencies.record_all(Duration::from_micros(100), 1000);
        tally.lags.record_all(Duration::from_micros(lag_us), 1000);
        let ran = Duration::from_millis(busy_ms);
        tally.end(Duration::from_secs(1), ThreadTime { ran, waited: Duration::ZERO });
        let usage = Usage { cpu: Duration::from_millis(8), ..Usage::default() };
        OpenLoad {
            round: 0,
            load: Load {
                scenario: Scenario::Device,
                extent: Extent::default(),
                connections: 8,
                duration: Duration::from_secs(1),
                rate: Some(1000.0),
            },
            store: Some(Store::Redis),
            threads: 1,
            saturation: None,
            tally,
            usage: Some(usage),
            stored: Some(Stored { kept: 1000, dropped: 0, pending: 0 }),
        }
    }

    #[test]
    fn a_generator_with_time_to_spare_is_not_the_limit() {
        assert_eq!(round(400, 20).own_limit(), None);
        assert_eq!(round(400, 20).shortfall(), None);
    }

    #[test]
    fn a_busy_or_late_generator_says_that_it_was_the_limit() {
        let busy = round(950, 20).own_limit().unwrap();
        assert!(
            busy.contains("itself the limit: its thread was 95 % busy (bound 90 %);"),
            "{busy}"
        );
        let late = round(400, 600).own_limit().unwrap();
        assert!(late.contains("lag was 600 µs at p99 (bound 500 µs)"), "{late}");
        let record = record(&json!({}), &[], &[round(950, 20)]);
        assert_eq!(record["measurements"][0]["generator_was_the_limit"], busy);
    }

    #[test]
    fn what_was_not_carried_is_said() {
        let mut short = round(400, 20);
        (short.tally.planned, short.tally.unsent) = (1200, 100);
        short.load.rate = Some(1200.0);
        short.tally.fail(Fault::Busy, 100, "an answer with 503: {}".to_owned());
        let said = short.shortfall().unwrap();
        assert!(said.contains("1000 of 1200 requests/s answered"), "{said}");
        assert!(said.contains("100 were never sent, errors: 100 503 (an answer with"), "{said}");
    }

    #[test]
    fn the_table_and_the_record_say_all_of_it() {
        let rounds = [round(400, 20), round(500, 40)];
        let text = table(&rounds);
        let row = text.lines().nth(2).unwrap();
        assert!(row.starts_with("| single, device id, Redis | 1000 (1000–1000) |"), "{row}");
        assert!(row.contains("| 0 | 0 | 30 (20–40) | 30 (20–40) | 45 (40–50) % | 8.00"), "{row}");
        let head = text.lines().next().unwrap();
        assert_eq!(row.matches('|').count(), head.matches('|').count());
        let record = record(&json!({}), &["Redis runs on core 1".to_owned()], &rounds);
        let first = &record["measurements"][0];
        assert_eq!((&first["never_sent"], &first["errors"]["503"]), (&json!(0), &json!(0)));
        assert_eq!((&first["kept"], &first["devices"]), (&json!(1000), &json!(1000)));
        assert_eq!(first["generator_was_the_limit"], Value::Null);
    }
}
