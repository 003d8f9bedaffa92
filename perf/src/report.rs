//! Measurements in, a table of medians and the raw record out.

use crate::generator::Outcome;
use crate::scenario::Scenario;
use crate::usage::Usage;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One drive of one scenario against one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// From 0.
    pub round: usize,
    /// What was sent.
    pub scenario: Scenario,
    /// The server's label; the first one measured is what the others are compared with.
    pub server: String,
    /// What the generator saw.
    pub outcome: Outcome,
    /// What the server's process used for it.
    pub usage: Usage,
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

    fn requests_per_second(&self) -> f64 {
        self.requests() / self.outcome.elapsed.as_secs_f64()
    }

    fn resident_mib(&self) -> f64 {
        number(self.usage.resident_bytes) / 1024.0 / 1024.0
    }

    fn record(&self) -> Value {
        json!({
            "round": self.round,
            "scenario": self.scenario.name(),
            "server": self.server,
            "requests": self.outcome.requests,
            "accepted": self.outcome.accepted,
            "seconds": self.outcome.elapsed.as_secs_f64(),
            "cpu_seconds": self.usage.cpu.as_secs_f64(),
            "user_seconds": self.usage.user.as_secs_f64(),
            "resident_bytes": self.usage.resident_bytes,
            "cpu_us_per_request": self.cpu_us(),
        })
    }
}

/// Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Writes a record to `folder`, under its date and a name, and says where it is.
///
/// # Errors
///
/// The file cannot be written.
pub fn keep(folder: &Path, name: &str, record: &Value) -> Result<PathBuf, String> {
    let date = record.pointer("/machine/date").and_then(|date| date.as_str());
    let day = date.and_then(|date| date.get(..10)).unwrap_or("undated");
    let path = folder.join(format!("{day}-{name}.json"));
    let text = serde_json::to_string_pretty(record).map_err(|e| e.to_string())?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text + "\n"))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// The raw numbers with where they come from.
#[must_use]
pub fn record(machine: &Value, measurements: &[Measurement]) -> Value {
    let rows: Vec<Value> = measurements.iter().map(Measurement::record).collect();
    json!({ "machine": machine, "measurements": rows })
}

const HEAD: &str = "\
| scenario | server | CPU µs/request | of it user | CPU µs/event | requests/s | resident MiB \
| ratio |
|---|---|---|---|---|---|---|---|
";

/// A Markdown table: medians, in brackets the smallest and the largest. The ratio is that of CPU
/// per request to the first server's in the same round.
#[must_use]
pub fn table(measurements: &[Measurement]) -> String {
    let mut text = HEAD.to_owned();
    let first = measurements.first().map_or("", |m| m.server.as_str());
    for (scenario, server) in groups(measurements) {
        let of = |server: &str| -> Vec<&Measurement> {
            let is_of = |m: &&Measurement| m.scenario == scenario && m.server == server;
            measurements.iter().filter(is_of).collect()
        };
        let (own, base) = (of(server), of(first));
        let column = |value: fn(&Measurement) -> f64| Spread::of(own.iter().map(|m| value(m)));
        let events = f64::from(u32::try_from(scenario.events_per_request()).unwrap_or(1));
        let cpu = column(Measurement::cpu_us);
        let ratios = own.iter().flat_map(|m| {
            let beside = base.iter().filter(|b| b.round == m.round);
            beside.map(|b| m.cpu_us() / b.cpu_us())
        });
        let _ = writeln!(
            text,
            "| {} | {server} | {} | {:.2} | {:.3} | {:.0} | {:.1} | {} |",
            scenario.name(),
            cpu.text(2),
            column(Measurement::user_us).median,
            cpu.median / events,
            column(Measurement::requests_per_second).median,
            column(Measurement::resident_mib).median,
            Spread::of(ratios).text(2),
        );
    }
    text
}

/// Each pair of scenario and server once, scenarios together, in the order of the first round.
fn groups(measurements: &[Measurement]) -> Vec<(Scenario, &str)> {
    let mut found: Vec<(Scenario, &str)> = Vec::new();
    let mut scenarios: Vec<Scenario> = measurements.iter().map(|m| m.scenario).collect();
    scenarios.dedup();
    for scenario in scenarios {
        for measurement in measurements.iter().filter(|m| m.scenario == scenario) {
            let pair = (scenario, measurement.server.as_str());
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
    use std::time::Duration;

    fn measurement(round: usize, server: &str, cpu_ms: u64) -> Measurement {
        Measurement {
            round,
            scenario: Scenario::Ndjson,
            server: server.to_owned(),
            outcome: Outcome { requests: 1000, accepted: 1000, elapsed: Duration::from_secs(2) },
            usage: Usage {
                cpu: Duration::from_millis(cpu_ms),
                user: Duration::from_millis(cpu_ms / 4),
                resident_bytes: 3 * 1024 * 1024,
            },
        }
    }

    #[test]
    fn the_table_holds_medians_and_paired_ratios() {
        let rounds = [(8, 16), (4, 12), (6, 6)];
        let both = rounds.iter().zip(0..).flat_map(|(&(floor, own), round)| {
            [measurement(round, "floor", floor), measurement(round, "corepulse", own)]
        });
        let text = table(&both.collect::<Vec<_>>());
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| NDJSON, 1,000 events | floor | 6.00 (4.00–8.00) | 1.00 | 0.006 | 500 | 3.0 \
             | 1.00 (1.00–1.00) |",
                "| NDJSON, 1,000 events | corepulse | 12.00 (6.00–16.00) | 3.00 | 0.012 | 500 \
             | 3.0 | 2.00 (1.00–3.00) |",
            ]
        );
    }

    #[test]
    fn an_even_number_has_two_in_the_middle() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0].into_iter()).text(1), "2.5 (1.0–4.0)");
    }
}
