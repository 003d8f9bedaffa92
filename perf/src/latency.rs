//! How long answers took: an HDR histogram, and the percentiles that are reported of it.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than any answer is waited for.
const LONGEST_NS: u64 = 60_000_000_000;

/// Percentiles of one drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: Duration,
    /// Exceeded by one in ten.
    pub p90: Duration,
    /// Exceeded by one in a hundred.
    pub p99: Duration,
    /// Exceeded by one in a thousand.
    pub p999: Duration,
    /// The longest, to three digits.
    pub max: Duration,
}

impl Latency {
    /// For a record, in microseconds.
    #[must_use]
    pub fn record(&self) -> Value {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        json!({
            "p50": us(self.p50),
            "p90": us(self.p90),
            "p99": us(self.p99),
            "p99.9": us(self.p999),
            "max": us(self.max),
        })
    }
}

/// Every answer of a drive, exact to three digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    ///
    /// When the histogram's bounds are wrong, which they are not.
    pub fn new() -> Result<Self, String> {
        Histogram::new_with_bounds(1, LONGEST_NS, 3).map(Self).map_err(|e| e.to_string())
    }

    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        self.record_all(took, 1);
    }

    /// Adds as many that took equally long.
    pub fn record_all(&mut self, took: Duration, count: u64) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS);
        self.0.saturating_record_n(ns, count);
    }

    /// Adds those of another part of a drive.
    ///
    /// # Errors
    ///
    /// When the other has other bounds, which it has not.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        self.0.add(&other.0).map_err(|e| e.to_string())
    }

    /// The percentiles of all so far.
    #[must_use]
    pub fn summary(&self) -> Latency {
        let at = |quantile| Duration::from_nanos(self.0.value_at_quantile(quantile));
        let max = Duration::from_nanos(self.0.max());
        Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_about(found: Duration, expected_us: f64) {
        let us = found.as_secs_f64() * 1e6;
        assert!((us - expected_us).abs() < expected_us * 2e-3, "{us} for {expected_us}");
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new().unwrap();
        (1..=1000).for_each(|us| latencies.record(Duration::from_micros(us)));
        let Latency { p50, p90, p99, p999, max } = latencies.summary();
        let expected = [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0), (max, 1000.0)];
        expected.into_iter().for_each(|(found, us)| assert_about(found, us));
    }

    #[test]
    fn parts_merge_to_what_one_would_have_recorded() {
        let (mut low, mut high) = (Latencies::new().unwrap(), Latencies::new().unwrap());
        low.record_all(Duration::from_micros(10), 990);
        high.record_all(Duration::from_micros(500), 10);
        low.merge(&high).unwrap();
        let Latency { p99, p999, .. } = low.summary();
        assert_about(p99, 10.0);
        assert_about(p999, 500.0);
    }

    #[test]
    fn what_takes_longer_than_a_minute_counts_as_a_minute() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_secs(3600));
        assert_about(latencies.summary().max, 60e6);
    }
}
