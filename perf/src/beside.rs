//! A load with `/analyze` beside it, between two without: what the question costs the server, and
//! what it does to the load, against how far two equal loads lie apart.

use crate::latency::Latencies;
use crate::open_load::OpenLoad;
use crate::report::Spread;
use crate::usage::of_threads;
use serde_json::{Value, json};
use std::time::Duration;

/// CPU time of the server's threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Threads {
    /// Of those that serve connections, in microseconds.
    pub cores_us: f64,
    /// Of the one that merges, in microseconds.
    pub control_us: f64,
}

/// One load.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What was offered, and what became of it.
    pub load: OpenLoad,
    /// What the server's threads used meanwhile.
    pub threads: Threads,
    /// Questions asked meanwhile.
    pub polls: u32,
}

/// Without `/analyze`, beside it, and without again.
#[derive(Clone, Debug)]
pub struct Round {
    /// Without.
    pub first: Phase,
    /// With `/analyze` beside it.
    pub beside: Phase,
    /// Without again.
    pub again: Phase,
}

/// All rounds, and what is known beside them.
#[derive(Clone, Debug)]
pub struct Found {
    /// In order.
    pub rounds: Vec<Round>,
    /// Answers to the questions beside the load.
    pub answers: Latencies,
    /// CPU time of one question without a load.
    pub alone: Threads,
}

impl Threads {
    /// So far, of process `id`.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn of(id: u32) -> Result<Self, String> {
        let threads = of_threads(id)?;
        let us = |prefix| {
            let named = threads.iter().filter(|(name, _)| name.starts_with(prefix));
            named.map(|(_, cpu)| cpu.as_secs_f64() * 1e6).sum()
        };
        Ok(Self { cores_us: us("core-"), control_us: us("control") })
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cores_us: self.cores_us - before.cores_us,
            control_us: self.control_us - before.control_us,
        }
    }

    /// The part of one of as many.
    #[must_use]
    pub fn each(self, count: u32) -> Self {
        let count = f64::from(count);
        Self { cores_us: self.cores_us / count, control_us: self.control_us / count }
    }

    fn record(self) -> Value {
        json!({ "cores_us": self.cores_us, "control_us": self.control_us })
    }
}

impl Phase {
    fn p999_us(&self) -> f64 {
        self.load.tally.latencies.summary().p999.as_secs_f64() * 1e6
    }

    fn requests(&self) -> f64 {
        f64::from(u32::try_from(self.load.tally.requests).unwrap_or(u32::MAX))
    }

    fn core_us_per_request(&self) -> f64 {
        self.threads.cores_us / self.requests()
    }

    fn record(&self) -> Value {
        let (load, threads) = (self.load.record(), self.threads.record());
        json!({ "load": load, "threads": threads, "analyzes": self.polls })
    }
}

impl Round {
    /// Of the p99.9 beside `/analyze` to that without, in the geometric middle of both times.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.beside.p999_us() / (self.first.p999_us() * self.again.p999_us()).sqrt()
    }

    /// Of the p99.9 without `/analyze` the second time to the first.
    #[must_use]
    pub fn noise(&self) -> f64 {
        self.again.p999_us() / self.first.p999_us()
    }

    /// What one question cost the cores: what they used more of than for as many requests without.
    fn core_us(&self) -> f64 {
        let without =
            f64::midpoint(self.first.core_us_per_request(), self.again.core_us_per_request());
        let more = self.beside.core_us_per_request() - without;
        more * self.beside.requests() / f64::from(self.beside.polls)
    }

    /// What the same reckoning finds where nobody asked: between the two phases without.
    fn core_noise_us(&self) -> f64 {
        let apart = self.again.core_us_per_request() - self.first.core_us_per_request();
        apart.abs() * self.beside.requests() / f64::from(self.beside.polls)
    }

    /// Whether it took longer beside `/analyze` than both times without.
    fn is_longest(&self) -> bool {
        self.beside.p999_us() > self.first.p999_us().max(self.again.p999_us())
    }

    /// What it cost the control thread, which does nothing else here.
    fn control_us(&self) -> f64 {
        self.beside.threads.control_us / f64::from(self.beside.polls)
    }
}

/// Chance alone brings a verdict of another load in one of twenty runs at most.
const CHANCE_MAX: f64 = 0.05;

/// Whether the load was another beside `/analyze` than two loads without it are from each other.
#[must_use]
pub fn verdict(rounds: &[Round]) -> String {
    let ratio = Spread::of(rounds.iter().map(Round::ratio));
    // How far two equal phases are apart, whichever was the longer.
    let apart = Spread::of(rounds.iter().map(|round| round.noise().max(round.noise().recip())));
    let longest = rounds.iter().filter(|round| round.is_longest()).count();
    let chance = chance_of(longest, rounds.len());
    let within = if chance < CHANCE_MAX { "beyond" } else { "within" };
    format!(
        "the load's p99.9 beside /analyze is {} of that without, {within} the noise: two phases \
         without it differ by a factor of {}, and that beside it was the longest of the three in \
         {longest} of {} rounds, which chance alone brings about with probability {chance:.2}",
        ratio.text(2),
        apart.text(2),
        rounds.len()
    )
}

/// The probability that of three equal phases the same one is the longest in so many rounds or
/// more: a binomial tail of one third.
fn chance_of(longest: usize, rounds: usize) -> f64 {
    // Row by row, the distribution after each round.
    let mut after = vec![0.0; rounds + 2];
    if let Some(none) = after.first_mut() {
        *none = 1.0;
    }
    for _ in 0..rounds {
        let mut before = 0.0;
        for now in &mut after {
            (before, *now) = (*now, *now * 2.0 / 3.0 + before / 3.0);
        }
    }
    after.iter().skip(longest).take(rounds + 1 - longest).sum()
}

/// Markdown: medians over the rounds, in brackets the smallest and the largest.
#[must_use]
pub fn table(found: &Found) -> String {
    let row = |name: &str, phases: &[&Phase]| {
        let of = |value: &dyn Fn(&Phase) -> f64, digits| {
            Spread::of(phases.iter().map(|phase| value(phase))).text(digits)
        };
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        format!(
            "| {name} | {} | {} | {} | {} | {} |\n",
            of(&|phase| phase.load.achieved(), 0),
            of(&|phase| us(phase.load.tally.latencies.summary().p50), 0),
            of(&|phase| us(phase.load.tally.latencies.summary().p99), 0),
            of(&Phase::p999_us, 0),
            of(&Phase::core_us_per_request, 2),
        )
    };
    let without: Vec<&Phase> =
        found.rounds.iter().flat_map(|round| [&round.first, &round.again]).collect();
    let beside: Vec<&Phase> = found.rounds.iter().map(|round| &round.beside).collect();
    let of = |value: fn(&Round) -> f64| Spread::of(found.rounds.iter().map(value));
    let head = "| load | requests/s | p50 µs | p99 µs | p99.9 µs | core µs/request |\n\
                |---|---|---|---|---|---|\n";
    let latency = found.answers.summary();
    format!(
        "{head}{}{}| ratio | | | | {} | |\n| without, second to first | | | | {} | |\n\n\
         one /analyze, in µs of CPU time:\n\n\
         | | control thread | cores | answered after |\n|---|---|---|---|\n\
         | beside the load | {} | {} by difference, where two phases without \
         differ by {} | p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs |\n\
         | alone | {:.0} | {:.0} | |\n",
        row("without /analyze", &without),
        row("beside it", &beside),
        of(Round::ratio).text(2),
        of(Round::noise).text(2),
        of(Round::control_us).text(0),
        of(Round::core_us).text(0),
        of(Round::core_noise_us).text(0),
        latency.p50.as_secs_f64() * 1e6,
        latency.p99.as_secs_f64() * 1e6,
        latency.max.as_secs_f64() * 1e6,
        found.alone.control_us,
        found.alone.cores_us,
    )
}

impl Found {
    /// The raw numbers, beside what the caller knows.
    #[must_use]
    pub fn record(&self) -> Value {
        let rounds = self.rounds.iter().enumerate().map(|(number, round)| {
            json!({
                "round": number,
                "first": round.first.record(),
                "beside": round.beside.record(),
                "again": round.again.record(),
                "p99.9_ratio": round.ratio(),
                "p99.9_ratio_of_noise": round.noise(),
                "core_us_per_analyze_by_difference": round.core_us(),
                "core_us_per_analyze_of_noise": round.core_noise_us(),
                "control_us_per_analyze": round.control_us(),
            })
        });
        json!({
            "analyze_latency_us": self.answers.summary().record(),
            "alone_per_analyze": self.alone.record(),
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Load;
    use crate::scenario::{Extent, Scenario};
    use crate::tally::Tally;

    /// A thousand requests that took so long, with so much of the threads.
    fn phase(latency_us: u64, cores_us: f64, control_us: f64, polls: u32) -> Phase {
        let mut tally = Tally::new().unwrap();
        (tally.planned, tally.requests, tally.answered) = (1000, 1000, 1000);
        tally.elapsed = Duration::from_secs(1);
        tally.latencies.record_all(Duration::from_micros(latency_us), 1000);
        let load = Load {
            scenario: Scenario::Device,
            extent: Extent::default(),
            connections: 1,
            duration: Duration::from_secs(1),
            rate: Some(1000.0),
        };
        let load = OpenLoad {
            round: 0,
            load,
            store: None,
            threads: 1,
            saturation: None,
            tally,
            usage: None,
            stored: None,
        };
        Phase { load, threads: Threads { cores_us, control_us }, polls }
    }

    fn round(latencies_us: [u64; 3]) -> Round {
        let [first, beside, again] = latencies_us;
        Round {
            first: phase(first, 8_000.0, 0.0, 0),
            beside: phase(beside, 9_500.0, 700.0, 10),
            again: phase(again, 9_000.0, 0.0, 0),
        }
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < expected * 2e-3, "{found} for {expected}");
    }

    #[test]
    fn a_question_costs_what_the_cores_used_more() {
        let round = round([100, 300, 400]);
        assert_near(round.ratio(), 1.5);
        assert_near(round.noise(), 4.0);
        // 8 and 9 µs a request without, 9.5 beside: one more, a thousand times, for ten questions.
        assert_near(round.core_us(), 100.0);
        assert_near(round.control_us(), 70.0);
    }

    #[test]
    fn a_change_is_judged_by_what_changes_without_a_reason() {
        let within = verdict(&[round([100, 300, 400])]);
        assert!(
            within.contains("is 1.50 (1.50–1.50) of that without, within the noise"),
            "{within}"
        );
        // The factor counts the same whichever of the two was the longer.
        assert_eq!(within, verdict(&[round([400, 300, 100])]));
        let rounds: Vec<Round> = (0..7).map(|_| round([100, 120, 110])).collect();
        assert!(verdict(&rounds[..2]).contains("within the noise"));
        let beyond = verdict(&rounds);
        assert!(beyond.contains("beyond the noise") && beyond.contains("in 7 of 7"), "{beyond}");
    }

    #[test]
    fn chance_is_a_binomial_tail() {
        assert_near(chance_of(0, 7), 1.0);
        assert_near(chance_of(1, 1), 1.0 / 3.0);
        assert_near(chance_of(2, 3), 7.0 / 27.0);
        assert_near(chance_of(7, 7), 1.0 / 2187.0);
    }

    #[test]
    fn the_table_and_the_record_say_both_threads() {
        let alone = Threads { cores_us: 20.0, control_us: 65.0 };
        let mut answers = Latencies::new().unwrap();
        answers.record(Duration::from_micros(250));
        let found = Found { rounds: vec![round([100, 300, 400])], answers, alone };
        let text = table(&found);
        assert!(text.contains("| beside the load | 70 (70–70) | 100 (100–100) by diff"), "{text}");
        assert!(text.contains("| alone | 65 | 20 | |"), "{text}");
        let record = found.record();
        assert_eq!(record["alone_per_analyze"]["control_us"], 65.0);
        assert_eq!(record["rounds"][0]["beside"]["analyzes"], 10);
    }
}
