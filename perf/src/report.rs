//! Measurements in, a table of medians and the raw record out.

use crate::scenario::Scenario;
use crate::tally::Outcome;
use crate::usage::Usage;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the server keeps events in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Its own memory, or nothing.
    Memory,
    /// Redis; a server that cannot write to one is there to be compared with.
    Redis,
}

/// What servers are compared in: the same requests, with the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heat {
    /// What is sent.
    pub scenario: Scenario,
    /// Where it goes.
    pub store: Store,
}

impl Heat {
    fn events_per_request(self) -> f64 {
        f64::from(u32::try_from(self.scenario.events_per_request()).unwrap_or(1))
    }

    /// As in the table and in the record.
    #[must_use]
    pub fn name(self) -> String {
        match self.store {
            Store::Memory => self.scenario.name().to_owned(),
            Store::Redis => format!("{}, Redis", self.scenario.name()),
        }
    }
}

/// One drive of one scenario against one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// From 0.
    pub round: usize,
    /// What was sent, and where to.
    pub heat: Heat,
    /// The server's label; the first one measured is what the others are compared with.
    pub server: String,
    /// Requests a second that were offered; `None` for as many as were answered.
    pub offered: Option<f64>,
    /// What the generator saw.
    pub outcome: Outcome,
    /// What the server's process used for it.
    pub usage: Usage,
    /// What the generator used.
    pub generator: Duration,
    /// Accepted events that had reached the store by the end.
    pub kept: u64,
    /// Accepted events that the server could not bring to Redis.
    pub dropped: u64,
}

impl Measurement {
    fn requests(&self) -> f64 {
        number(self.outcome.requests)
    }

    /// CPU microseconds a request.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.usage.cpu.as_secs_f64() * 1e6 / self.requests()
    }

    fn user_us(&self) -> f64 {
        self.usage.user.as_secs_f64() * 1e6 / self.requests()
    }

    fn system_us(&self) -> f64 {
        self.cpu_us() - self.user_us()
    }

    /// Requests answered a second.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        self.requests() / self.outcome.elapsed.as_secs_f64()
    }

    /// The share of its core that the server used.
    #[must_use]
    pub fn server_share(&self) -> f64 {
        self.usage.cpu.as_secs_f64() / self.outcome.elapsed.as_secs_f64()
    }

    /// The share of its core that the generator used.
    #[must_use]
    pub fn generator_share(&self) -> f64 {
        self.generator.as_secs_f64() / self.outcome.elapsed.as_secs_f64()
    }

    /// The share of what was accepted that had reached the store by the end; what was under way
    /// before the first request may make it a little more than all.
    #[must_use]
    pub fn kept_share(&self) -> f64 {
        (number(self.kept) / number(self.outcome.accepted.max(1))).min(1.0)
    }

    fn resident_mib(&self) -> f64 {
        number(self.usage.resident_bytes) / 1024.0 / 1024.0
    }

    fn record(&self) -> Value {
        let events = number(self.outcome.requests) * self.heat.events_per_request();
        json!({
            "round": self.round,
            "scenario": self.heat.scenario.name(),
            "store": match self.heat.store { Store::Memory => "memory", Store::Redis => "redis" },
            "server": self.server,
            "offered_per_second": self.offered,
            "requests": self.outcome.requests,
            "accepted": self.outcome.accepted,
            "kept": self.kept,
            "dropped": self.dropped,
            "seconds": self.outcome.elapsed.as_secs_f64(),
            "cpu_seconds": self.usage.cpu.as_secs_f64(),
            "user_seconds": self.usage.user.as_secs_f64(),
            "generator_cpu_seconds": self.generator.as_secs_f64(),
            "resident_bytes": self.usage.resident_bytes,
            "cpu_us_per_request": self.cpu_us(),
            "cpu_us_per_event": self.usage.cpu.as_secs_f64() * 1e6 / events,
            "latency_us": self.outcome.latency.record(),
        })
    }
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
#[must_use]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// The day of which a machine's description is.
#[must_use]
pub fn day(machine: &Value) -> &str {
    let date = machine.get("date").and_then(Value::as_str);
    date.and_then(|date| date.get(..10)).unwrap_or("undated")
}

/// Writes a record to `folder`, under its date and a name, and says where it is.
///
/// # Errors
///
/// The file cannot be written.
pub fn keep(folder: &Path, name: &str, record: &Value) -> Result<PathBuf, String> {
    let day = day(record.get("machine").unwrap_or(record));
    let path = folder.join(format!("{day}-{name}.json"));
    let text = serde_json::to_string_pretty(record).map_err(|e| e.to_string())?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text + "\n"))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// The raw numbers with where they come from, and what is to be known of the run.
#[must_use]
pub fn record(machine: &Value, notes: &[String], measurements: &[Measurement]) -> Value {
    let rows: Vec<Value> = measurements.iter().map(Measurement::record).collect();
    json!({ "machine": machine, "notes": notes, "measurements": rows })
}

const HEAD: &str = "\
| scenario | server | CPU µs/request | user | system | CPU µs/event | requests/s | generator CPU \
| resident MiB | p50 µs | p99 µs | p99.9 µs | ratio |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// A Markdown table: medians, in brackets the smallest and the largest. The ratio is that of CPU
/// per request to the first server's in the same round.
#[must_use]
pub fn table(measurements: &[Measurement]) -> String {
    let first = measurements.first().map_or("", |m| m.server.as_str());
    let row = |(heat, server)| row(measurements, heat, server, first);
    groups(measurements).into_iter().map(row).fold(HEAD.to_owned(), |text, row| text + &row)
}

fn row(measurements: &[Measurement], heat: Heat, server: &str, first: &str) -> String {
    let of = |server: &str| -> Vec<&Measurement> {
        measurements.iter().filter(|m| m.heat == heat && m.server == server).collect()
    };
    let (own, base) = (of(server), of(first));
    let column = |value: fn(&Measurement) -> f64| Spread::of(own.iter().map(|m| value(m)));
    let events = heat.events_per_request();
    let ratios = own.iter().flat_map(|m| {
        let beside = base.iter().filter(|b| b.round == m.round);
        beside.map(|b| m.cpu_us() / b.cpu_us())
    });
    let cells = [
        heat.name(),
        server.to_owned(),
        column(Measurement::cpu_us).text(2),
        column(Measurement::user_us).text(2),
        column(Measurement::system_us).text(2),
        Spread::of(own.iter().map(|m| m.cpu_us() / events)).text(3),
        column(Measurement::requests_per_second).text(0),
        column(|m| m.generator_share() * 100.0).text(0) + " %",
        column(Measurement::resident_mib).text(1),
        column(|m| us(m.outcome.latency.p50)).text(0),
        column(|m| us(m.outcome.latency.p99)).text(0),
        column(|m| us(m.outcome.latency.p999)).text(0),
        Spread::of(ratios).text(2),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Each pair of heat and server once, heats together, in the order of the first round.
fn groups(measurements: &[Measurement]) -> Vec<(Heat, &str)> {
    let mut heats: Vec<Heat> = Vec::new();
    for measurement in measurements {
        if !heats.contains(&measurement.heat) {
            heats.push(measurement.heat);
        }
    }
    let mut found: Vec<(Heat, &str)> = Vec::new();
    for heat in heats {
        for measurement in measurements.iter().filter(|m| m.heat == heat) {
            let pair = (heat, measurement.server.as_str());
            if !found.contains(&pair) {
                found.push(pair);
            }
        }
    }
    found
}

/// The middle and the ends of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle, or half-way between the two in the middle.
    pub median: f64,
    smallest: f64,
    largest: f64,
}

impl Spread {
    /// Of none, all are NaN.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            smallest: at(0),
            largest: at(last),
        }
    }

    /// The median, and in brackets the smallest and the largest.
    #[must_use]
    pub fn text(self, digits: usize) -> String {
        let Self { median, smallest, largest } = self;
        format!("{median:.digits$} ({smallest:.digits$}–{largest:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;

    fn measurement(round: usize, store: Store, server: &str, cpu_ms: u64) -> Measurement {
        let us = Duration::from_micros;
        Measurement {
            round,
            heat: Heat { scenario: Scenario::Ndjson, store },
            server: server.to_owned(),
            offered: None,
            outcome: Outcome {
                requests: 1000,
                accepted: 1000,
                elapsed: Duration::from_secs(2),
                latency: Latency { p50: us(10), p99: us(20), p999: us(30), ..Latency::default() },
            },
            usage: Usage {
                cpu: Duration::from_millis(cpu_ms),
                user: Duration::from_millis(cpu_ms / 4),
                resident_bytes: 3 * 1024 * 1024,
            },
            generator: Duration::from_secs(1),
            kept: 750,
            dropped: 250,
        }
    }

    /// The same in each round.
    const SAME: &str = "500 (500–500) | 50 (50–50) % | 3.0 (3.0–3.0) | 10 (10–10) | 20 (20–20) \
        | 30 (30–30)";

    #[test]
    fn the_table_holds_medians_and_paired_ratios() {
        let rounds = [(8, 16), (4, 12), (8, 8)];
        let both = rounds.iter().zip(0..).flat_map(|(&(floor, own), round)| {
            [
                measurement(round, Store::Memory, "floor", floor),
                measurement(round, Store::Memory, "corepulse", own),
            ]
        });
        let text = table(&both.collect::<Vec<_>>());
        let rows: Vec<&str> = text.lines().skip(2).collect();
        let floor = "| NDJSON, 1,000 events | floor | 8.00 (4.00–8.00) | 2.00 (1.00–2.00) \
            | 6.00 (3.00–6.00) | 0.008 (0.004–0.008)";
        let own = "| NDJSON, 1,000 events | corepulse | 12.00 (8.00–16.00) | 3.00 (2.00–4.00) \
            | 9.00 (6.00–12.00) | 0.012 (0.008–0.016)";
        assert_eq!(
            rows,
            [
                format!("{floor} | {SAME} | 1.00 (1.00–1.00) |"),
                format!("{own} | {SAME} | 2.00 (1.00–3.00) |"),
            ]
        );
    }

    #[test]
    fn each_store_is_compared_for_itself() {
        let all = [
            measurement(0, Store::Memory, "floor", 4),
            measurement(0, Store::Redis, "floor", 8),
            measurement(0, Store::Memory, "corepulse", 8),
            measurement(0, Store::Redis, "corepulse", 12),
        ];
        let text = table(&all);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[1].starts_with("| NDJSON, 1,000 events | corepulse |"), "{text}");
        assert!(rows[1].ends_with("2.00 (2.00–2.00) |"), "{text}");
        assert!(rows[3].starts_with("| NDJSON, 1,000 events, Redis | corepulse |"), "{text}");
        assert!(rows[3].ends_with("1.50 (1.50–1.50) |"), "{text}");
    }

    #[test]
    fn the_record_says_all_of_it() {
        let all = [measurement(0, Store::Redis, "corepulse", 12)];
        let record = record(&json!({}), &["Redis runs on core 1".to_owned()], &all);
        assert_eq!(record["notes"][0], "Redis runs on core 1");
        let row = &record["measurements"][0];
        assert_eq!((&row["store"], &row["dropped"]), (&json!("redis"), &json!(250)));
        let latency = &row["latency_us"];
        assert_eq!((&latency["p50"], &latency["p99.9"]), (&json!(10.0), &json!(30.0)));
        assert_eq!(row["generator_cpu_seconds"], 1.0);
        assert!((row["cpu_us_per_event"].as_f64().unwrap() - 0.012).abs() < 1e-9, "{row}");
    }

    #[test]
    fn an_even_number_has_two_in_the_middle() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0].into_iter()).text(1), "2.5 (1.0–4.0)");
    }
}
