//! Two servers that are alive at once, driven by turns at one rate: what an event costs each.
//!
//! A minute in which the machine is slow hits both alike, and what took long to prepare, a million
//! windows, is prepared once. Both are offered one rate, below what either can take: CPU time an
//! event is compared, and a server with a fuller core wakes up less often for it.

use crate::contest::{OFFERED, PROBE_MAX, WARM_UP};
use crate::generator::{Load, drive_traffic, now_ms};
use crate::report::number;
use crate::scenario::{Scenario, Traffic};
use crate::server::Server;
use crate::tally::Outcome;
use crate::usage::{self, Usage};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// One of the two.
#[derive(Debug)]
pub struct Side<'s> {
    /// As in the table.
    pub label: String,
    /// Started, and brought into the state in which it is measured.
    pub server: &'s Server,
    /// Batches, which go on from drive to drive.
    pub traffic: Traffic,
}

/// What is the same for both.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keep-alive connections.
    pub connections: usize,
    /// How often each is measured.
    pub rounds: u16,
    /// How long each time.
    pub duration: Duration,
    /// Batches a second; `None` for what both can follow.
    pub rate: Option<f64>,
}

/// What one drive cost one side.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Events sent, all of them accepted.
    pub events: u64,
    /// Batches a second that were offered.
    pub offered: f64,
    /// From the first batch to the last answer.
    pub elapsed: Duration,
    /// What the process used.
    pub usage: Usage,
    /// What each of its threads used.
    pub threads: Vec<(String, Duration)>,
    /// What the generator used.
    pub generator: Duration,
}

/// Both in one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// The one that the other is compared with.
    pub base: Sample,
    /// The other.
    pub other: Sample,
}

/// Measures both in each round, the one first that was second the last time, and says how it goes.
///
/// # Errors
///
/// When a server fails, or does not accept an event.
pub fn measure(mut sides: [Side<'_>; 2], plan: &Plan) -> Result<Vec<Round>, String> {
    let rate = match plan.rate {
        Some(rate) => rate,
        None => common_rate(&mut sides, plan)?,
    };
    let mut rounds = Vec::new();
    let [base, other] = &mut sides;
    for number in 0..plan.rounds {
        let round = if number.is_multiple_of(2) {
            let base = base.sample(plan, rate)?;
            Round { base, other: other.sample(plan, rate)? }
        } else {
            let other = other.sample(plan, rate)?;
            Round { base: base.sample(plan, rate)?, other }
        };
        let (base_us, other_us) = (round.base.cpu_us(), round.other.cpu_us());
        eprintln!(
            "round {number}: {} {base_us:.3} µs, {} {other_us:.3} µs, ratio {:.2}",
            base.label,
            other.label,
            round.ratio(),
        );
        rounds.push(round);
    }
    Ok(rounds)
}

/// A rate that the slower of both follows also in a noisy minute.
fn common_rate(sides: &mut [Side<'_>; 2], plan: &Plan) -> Result<f64, String> {
    let mut lowest = f64::INFINITY;
    for side in sides {
        let outcome = side.drive(plan, plan.duration.min(PROBE_MAX), None)?;
        lowest = lowest.min(number(outcome.requests) / outcome.elapsed.as_secs_f64());
    }
    Ok((lowest * OFFERED).round().max(1.0))
}

impl Side<'_> {
    fn sample(&mut self, plan: &Plan, rate: f64) -> Result<Sample, String> {
        self.drive(plan, WARM_UP.min(plan.duration), Some(rate))?;
        let (id, own) = (self.server.id(), std::process::id());
        let before = (Usage::of(id)?, usage::of_threads(id)?, Usage::of(own)?);
        let outcome = self.drive(plan, plan.duration, Some(rate))?;
        if outcome.requests == 0 {
            return Err(format!("{}: nothing was due in {:?}", self.label, plan.duration));
        }
        let threads = usage::of_threads(id)?.into_iter().map(|(name, cpu)| {
            let earlier = before.1.iter().find(|(other, _)| *other == name);
            let used = cpu.saturating_sub(earlier.map_or(Duration::ZERO, |(_, cpu)| *cpu));
            (name, used)
        });
        Ok(Sample {
            events: outcome.accepted,
            offered: rate,
            elapsed: outcome.elapsed,
            usage: Usage::of(id)?.since(&before.0),
            threads: threads.collect(),
            generator: Usage::of(own)?.since(&before.2).cpu,
        })
    }

    fn drive(
        &mut self,
        plan: &Plan,
        duration: Duration,
        rate: Option<f64>,
    ) -> Result<Outcome, String> {
        let (scenario, extent) = (Scenario::Ndjson, self.traffic.extent());
        let load = Load { scenario, extent, connections: plan.connections, duration, rate };
        self.traffic.renew(now_ms());
        let outcome = drive_traffic(self.server.address, &load, &mut self.traffic)
            .map_err(|e| format!("{}: {e}", self.label))?;
        let batch = u64::try_from(scenario.events_per_request()).unwrap_or(0);
        let (accepted, expected) = (outcome.accepted, outcome.requests * batch);
        if accepted != expected {
            return Err(format!("{}: accepted {accepted} of {expected} events", self.label));
        }
        Ok(outcome)
    }
}

impl Round {
    /// How often the base's CPU time an event the other needs.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.other.cpu_us() / self.base.cpu_us()
    }
}

impl Sample {
    /// CPU microseconds an event.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.each_us(self.usage.cpu)
    }

    /// The part of it that was the server's own code.
    #[must_use]
    pub fn user_us(&self) -> f64 {
        self.each_us(self.usage.user)
    }

    /// The part of it that was the kernel's; none where rounding makes it less.
    #[must_use]
    pub fn system_us(&self) -> f64 {
        (self.cpu_us() - self.user_us()).max(0.0)
    }

    /// Events a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        number(self.events) / self.elapsed.as_secs_f64()
    }

    /// Whether less came than was offered.
    #[must_use]
    pub fn fell_behind(&self) -> bool {
        let batch = u32::try_from(Scenario::Ndjson.events_per_request()).unwrap_or(1);
        self.rate() < self.offered * f64::from(batch) * 0.95
    }

    /// The share of the busiest thread in the CPU time of all.
    #[must_use]
    pub fn busiest_share(&self) -> f64 {
        let all: Duration = self.threads.iter().map(|(_, cpu)| *cpu).sum();
        let most = self.threads.iter().map(|(_, cpu)| *cpu).max().unwrap_or_default();
        most.as_secs_f64() / all.as_secs_f64()
    }

    fn each_us(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / number(self.events)
    }

    /// All of it, raw.
    #[must_use]
    pub fn record(&self) -> Value {
        let seconds = |cpu: &Duration| cpu.as_secs_f64();
        let threads = self.threads.iter().map(|(name, cpu)| (name.clone(), seconds(cpu).into()));
        json!({
            "offered_batches_per_second": self.offered,
            "events": self.events,
            "seconds": seconds(&self.elapsed),
            "cpu_seconds": seconds(&self.usage.cpu),
            "user_seconds": seconds(&self.usage.user),
            "cpu_seconds_of_threads": threads.collect::<Map<String, Value>>(),
            "generator_cpu_seconds": seconds(&self.generator),
            "resident_bytes": self.usage.resident_bytes,
            "cpu_us_per_event": self.cpu_us(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(events: u64, cores_ms: [u64; 2]) -> Sample {
        let ms = Duration::from_millis;
        let cpu = ms(cores_ms.iter().sum());
        Sample {
            events,
            offered: 10.0,
            elapsed: ms(1000),
            usage: Usage { cpu, user: cpu / 4, resident_bytes: 1 },
            threads: vec![
                ("core-0".to_owned(), ms(cores_ms[0])),
                ("core-1".to_owned(), ms(cores_ms[1])),
            ],
            generator: ms(5),
        }
    }

    #[test]
    fn costs_are_of_an_event_and_compared_within_a_round() {
        let round = Round { base: sample(10_000, [4, 0]), other: sample(5_000, [1, 3]) };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} for {b}");
        close(round.base.cpu_us(), 0.4);
        close(round.base.user_us(), 0.1);
        close(round.base.system_us(), 0.3);
        close(round.ratio(), 2.0);
        close(round.base.busiest_share(), 1.0);
        close(round.other.busiest_share(), 0.75);
        assert!(!round.base.fell_behind() && round.other.fell_behind());
        assert_eq!(round.other.record()["cpu_seconds_of_threads"]["core-1"], 0.003);
    }
}
