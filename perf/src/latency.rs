//! How long answers took: an HDR histogram, and the percentiles that are reported of it.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Longer than any answer is waited for.
const LONGEST_NS: u64 = 60_000_000_000;

/// Percentiles of one drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: Duration,
    /// Exceeded by one in a hundred.
    pub p99: Duration,
    /// Exceeded by one in a thousand.
    pub p999: Duration,
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
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS));
    }

    /// The percentiles of all so far.
    #[must_use]
    pub fn summary(&self) -> Latency {
        let at = |quantile| Duration::from_nanos(self.0.value_at_quantile(quantile));
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new().unwrap();
        (1..=1000).for_each(|us| latencies.record(Duration::from_micros(us)));
        let Latency { p50, p99, p999 } = latencies.summary();
        for (found, expected_us) in [(p50, 500.0), (p99, 990.0), (p999, 999.0)] {
            let us = found.as_secs_f64() * 1e6;
            assert!((us - expected_us).abs() < expected_us * 2e-3, "{us} for {expected_us}");
        }
    }
}
