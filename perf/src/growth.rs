//! What growth costs: servers beside larger ones, in a table with the bars and in a record.

use crate::devices::Order;
use crate::pair::{Round, Sample};
use crate::report::{Spread, number};
use serde_json::{Value, json};

/// A server and a larger one in all rounds.
#[derive(Debug)]
pub struct Comparison {
    /// What is larger: in the record.
    pub case: &'static str,
    /// In which devices sent.
    pub order: Order,
    /// Of the smaller and of the larger server.
    pub labels: [String; 2],
    /// How often the smaller one's CPU time an event the larger may need.
    pub ratio_max: f64,
    /// With the smaller as their base.
    pub rounds: Vec<Round>,
}

/// What the windows of a fleet take.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Devices with full windows, in the end.
    pub devices: u64,
    /// Those that had one before; fewer.
    pub before_devices: u64,
    /// Resident then.
    pub before_bytes: u64,
    /// Resident in the end.
    pub after_bytes: u64,
    /// What a device may take.
    pub bytes_max: f64,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the order of the table.
    pub comparisons: Vec<Comparison>,
    /// Of the large fleet, if there was one.
    pub memory: Option<Memory>,
}

const HEAD: &str = "\
| | order | CPU µs/event | user | system | of it the busiest thread | events/s | ratio | at most |
|---|---|---|---|---|---|---|---|---|
";

impl Findings {
    /// Markdown: medians, in brackets the smallest and the largest; the ratios are of a round.
    #[must_use]
    pub fn table(&self) -> String {
        let rows: String = self.comparisons.iter().map(Comparison::rows).collect();
        let memory = self.memory.as_ref().map(Memory::text).unwrap_or_default();
        HEAD.to_owned() + &rows + &memory
    }

    /// Drives in which less came than was offered: their CPU time compares all the same, but not as
    /// it was meant to.
    #[must_use]
    pub fn late(&self) -> Vec<String> {
        let of = |comparison: &Comparison| {
            let [base, other] = &comparison.labels;
            let late = |label: &str, number: usize, sample: &Sample| {
                let (order, rate) = (comparison.order.name(), sample.rate());
                let text =
                    format!("{label}, {order}, round {number}: fell behind, {rate:.0} events/s");
                sample.fell_behind().then_some(text)
            };
            let rounds = comparison.rounds.iter().enumerate();
            let notes = rounds.flat_map(|(number, round)| {
                [late(base, number, &round.base), late(other, number, &round.other)]
            });
            notes.flatten().collect::<Vec<_>>()
        };
        self.comparisons.iter().flat_map(of).collect()
    }
}

impl Comparison {
    /// Of CPU time an event, over the rounds.
    #[must_use]
    pub fn ratio(&self) -> Spread {
        Spread::of(self.rounds.iter().map(Round::ratio))
    }

    fn rows(&self) -> String {
        let row = |label: &str, of: fn(&Round) -> &Sample| {
            let column = |value: fn(&Sample) -> f64| {
                Spread::of(self.rounds.iter().map(|round| value(of(round))))
            };
            format!(
                "| {label} | {} | {} | {} | {} | {} | {} ",
                self.order.name(),
                column(Sample::cpu_us).text(3),
                column(Sample::user_us).text(3),
                column(Sample::system_us).text(3),
                column(|sample| sample.busiest_share() * 100.0).text(0) + " %",
                column(Sample::rate).text(0),
            )
        };
        let [base, other] = &self.labels;
        let (ratio, at_most) = (self.ratio().text(2), self.ratio_max);
        row(base, |round| &round.base)
            + "| | |\n"
            + &row(other, |round| &round.other)
            + &format!("| {ratio} | {at_most} |\n")
    }

    /// All of it, raw.
    #[must_use]
    pub fn record(&self) -> Value {
        let rounds = self.rounds.iter().enumerate().map(|(number, round)| {
            let (base, other) = (round.base.record(), round.other.record());
            json!({ "round": number, "base": base, "other": other, "ratio": round.ratio() })
        });
        let [base, other] = &self.labels;
        json!({
            "case": self.case,
            "order": self.order.name(),
            "base": base,
            "other": other,
            "ratio": self.ratio().median,
            "ratio_max": self.ratio_max,
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }
}

impl Memory {
    /// By which the process grew for each device that came.
    #[must_use]
    pub fn grown_per_device(&self) -> f64 {
        let grown = self.after_bytes.saturating_sub(self.before_bytes);
        number(grown) / number(self.devices - self.before_devices)
    }

    /// The whole process, its full store among it.
    #[must_use]
    pub fn whole_per_device(&self) -> f64 {
        number(self.after_bytes) / number(self.devices)
    }

    fn text(&self) -> String {
        let bytes_max = self.bytes_max;
        format!(
            "\n| devices | resident bytes each | at most | of the whole process, store included |\n\
             |---|---|---|---|\n| {} | {:.0} | {bytes_max:.0} | {:.0} |\n",
            self.devices,
            self.grown_per_device(),
            self.whole_per_device(),
        )
    }

    /// All of it, raw.
    #[must_use]
    pub fn record(&self) -> Value {
        json!({
            "devices": self.devices,
            "devices_before": self.before_devices,
            "resident_bytes_before": self.before_bytes,
            "resident_bytes_after": self.after_bytes,
            "bytes_per_device": self.grown_per_device(),
            "bytes_per_device_of_the_whole": self.whole_per_device(),
            "bytes_per_device_max": self.bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;
    use std::time::Duration;

    #[test]
    fn a_device_takes_what_came_with_it() {
        let (before_bytes, after_bytes) = (5_000_000, 6_000_000);
        let memory = Memory {
            devices: 2000,
            before_devices: 1000,
            before_bytes,
            after_bytes,
            bytes_max: 1200.0,
        };
        assert!(memory.text().ends_with("| 2000 | 1000 | 1200 | 3000 |\n"), "{}", memory.text());
    }

    #[test]
    fn the_table_compares_within_rounds_and_says_who_fell_behind() {
        let sample = |cpu_ms, seconds| Sample {
            events: 10_000,
            offered: 10.0,
            elapsed: Duration::from_secs(seconds),
            usage: Usage { cpu: Duration::from_millis(cpu_ms), ..Usage::default() },
            threads: vec![("core-0".to_owned(), Duration::from_millis(cpu_ms))],
            generator: Duration::ZERO,
        };
        let comparison = Comparison {
            case: "devices",
            order: Order::Shuffled,
            labels: ["few".to_owned(), "many".to_owned()],
            ratio_max: 2.5,
            rounds: vec![Round { base: sample(4, 1), other: sample(6, 2) }],
        };
        let found = Findings { comparisons: vec![comparison], memory: None };
        let rows: Vec<String> = found.table().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            rows,
            [
                "| few | shuffled | 0.400 (0.400–0.400) | 0.000 (0.000–0.000) \
                 | 0.400 (0.400–0.400) | 100 (100–100) % | 10000 (10000–10000) | | |",
                "| many | shuffled | 0.600 (0.600–0.600) | 0.000 (0.000–0.000) \
                 | 0.600 (0.600–0.600) | 100 (100–100) % | 5000 (5000–5000) \
                 | 1.50 (1.50–1.50) | 2.5 |",
            ]
        );
        assert_eq!(found.late(), ["many, shuffled, round 0: fell behind, 5000 events/s"]);
    }
}
