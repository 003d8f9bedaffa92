//! Histograms of durations, and the one door to the `hdrhistogram` crate.
//!
//! A core collects the durations of a turn in a buffer of its own, and records them when the turn
//! ends. The histograms of a core have a lock that only a scrape contends for; a core that finds it
//! taken keeps its buffer for the next turn. Histograms only grow, so no series of Prometheus
//! falls.

use hdrhistogram::Histogram;

use crate::limits::DURATION_BUFFER_ENTRIES_MAX;
use percore::sync::{Mutex, PerCore};

/// Shorter durations are recorded as this: the fastest answers take some microseconds.
pub const DURATION_NS_MIN: u64 = 1_000;
/// Longer durations are recorded as this; the sum has them exactly.
pub const DURATION_NS_MAX: u64 = 60_000_000_000;
/// The significant digits: a value is known to one part in a hundred.
const DIGITS: u8 = 2;

/// The upper bounds of the buckets in the exposition, in nanoseconds: 50 µs to 5 s, among
/// them the promised 50 ms.
pub const BOUNDS_NS: [u64; 16] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
];

/// The durations of one turn, in the hands of one core.
#[derive(Debug, Default)]
pub struct DurationBuffer {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    route: usize,
    duration_ns: u64,
    requests: u64,
}

impl DurationBuffer {
    /// Returns true if the buffer is empty.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `requests` of a route that took `duration_ns` each.
    pub fn add(&mut self, route: usize, duration_ns: u64, requests: u64) {
        if let Some(last) = self.entries.last_mut()
            && (last.route, last.duration_ns) == (route, duration_ns)
        {
            // Pipelined requests are answered by one send.
            last.requests += requests;
            return;
        }
        self.entries.push(Entry { route, duration_ns, requests });
    }
}

/// The durations of one route on one core, or of all cores once merged.
#[derive(Clone, Debug)]
pub struct Durations {
    /// `None` only if the crate refused the constants above, which a test rules out.
    histogram: Option<Histogram<u64>>,
    /// The sum of a busy server passes 64 bits within weeks.
    sum_ns: u128,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(DURATION_NS_MIN, DURATION_NS_MAX, DIGITS).ok(),
            sum_ns: 0,
        }
    }
}

/// The histograms of all cores, by route.
#[derive(Debug)]
pub struct Latency {
    routes: usize,
    cores: PerCore<Mutex<Vec<Durations>>>,
}

impl Latency {
    /// Makes empty histograms, of some 25 KB for each core and route.
    pub fn new(cores: usize, routes: usize) -> Self {
        Self {
            routes,
            cores: PerCore::new(cores, |_| Mutex::new(vec![Durations::default(); routes])),
        }
    }

    /// Records a core's buffer and empties it. If a scrape holds the histograms of the core, the
    /// buffer is kept for the next turn; only one past [`DURATION_BUFFER_ENTRIES_MAX`] waits for
    /// the scrape.
    pub fn record(&self, core: usize, buffer: &mut DurationBuffer) {
        if buffer.entries.is_empty() {
            return;
        }
        let histograms = self.cores.at(core);
        let mut durations = match histograms.try_lock() {
            Some(durations) => durations,
            None if buffer.entries.len() < DURATION_BUFFER_ENTRIES_MAX => return,
            None => histograms.lock(),
        };
        for entry in buffer.entries.drain(..) {
            if let Some(durations) = durations.get_mut(entry.route) {
                durations.record(entry.duration_ns, entry.requests);
            }
        }
    }

    /// Calls a function while a scrape holds the histograms of a core.
    #[cfg(test)]
    pub fn while_scraped(&self, core: usize, function: impl FnOnce()) {
        let _scrape = self.cores.at(core).lock();
        function();
    }

    /// Records one duration at once, for a thread without turns. Waits for a scrape.
    pub fn record_one(&self, core: usize, route: usize, duration_ns: u64) {
        if let Some(durations) = self.cores.at(core).lock().get_mut(route) {
            durations.record(duration_ns, 1);
        }
    }

    /// Returns the durations of some routes on all cores, as one. Each lock is held for the copy of
    /// one histogram, and not at all for those of routes without requests.
    pub fn merged_of(&self, routes: &[usize]) -> Durations {
        let mut merged = Durations::default();
        for core in self.cores.iter() {
            for &route in routes {
                if let Some(durations) = core.lock().get(route).filter(|own| own.count() > 0) {
                    merged.merge(durations);
                }
            }
        }
        merged
    }

    /// Merges the durations of all cores by route. Each lock is held for the copy of one histogram.
    pub fn merged(&self) -> Vec<Durations> {
        let mut merged = vec![Durations::default(); self.routes];
        for core in self.cores.iter() {
            for (route, sum) in merged.iter_mut().enumerate() {
                if let Some(durations) = core.lock().get(route) {
                    sum.merge(durations);
                }
            }
        }
        merged
    }
}

/// The values of a Prometheus histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Requests at or under each of [`BOUNDS_NS`].
    pub cumulative: [u64; BOUNDS_NS.len()],
    /// All requests: the bucket `+Inf`.
    pub count: u64,
    /// The sum of all durations, exact.
    pub sum_ns: u128,
}

/// The usual percentiles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// The number of requests.
    pub count: u64,
    /// The exact mean.
    pub mean_ns: u64,
    /// The median.
    pub p50_ns: u64,
    /// The 90th percentile.
    pub p90_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
    /// The 99.9th percentile.
    pub p999_ns: u64,
    /// The maximum.
    pub max_ns: u64,
}

/// One line of a percentile distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The upper bound of the durations.
    pub value_ns: u64,
    /// The share of all requests up to the bound, 0 to 1.
    pub quantile: f64,
    /// The number of requests up to the bound.
    pub count: u64,
}

impl Durations {
    /// Adds `requests` that took `duration_ns` each.
    pub fn record(&mut self, duration_ns: u64, requests: u64) {
        self.sum_ns += u128::from(duration_ns) * u128::from(requests);
        if let Some(histogram) = &mut self.histogram {
            let duration_ns = duration_ns.clamp(DURATION_NS_MIN, DURATION_NS_MAX);
            histogram.saturating_record_n(duration_ns, requests);
        }
    }

    /// Adds all durations of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.sum_ns += other.sum_ns;
        if let (Some(sum), Some(histogram)) = (&mut self.histogram, &other.histogram) {
            // Both have the same bounds, so nothing is out of range.
            let _ = sum.add(histogram);
        }
    }

    /// Returns the number of requests.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// Returns what was recorded after an earlier copy of these durations was made.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        later.sum_ns = later.sum_ns.saturating_sub(earlier.sum_ns);
        if let (Some(later), Some(earlier)) = (&mut later.histogram, &earlier.histogram) {
            // A histogram only grows, so each of its cells is at least what it was.
            let _ = later.subtract(earlier);
        }
        later
    }

    /// Returns the cells of the histogram that are not empty: a duration of each, and its requests.
    /// Recorded elsewhere, they make the same histogram.
    pub fn cells(&self) -> impl Iterator<Item = (u64, u64)> {
        let cells = self.histogram.iter().flat_map(Histogram::iter_recorded);
        cells.map(|cell| (cell.value_iterated_to(), cell.count_at_value()))
    }

    /// Sorts the durations into the fixed buckets. A cell of the histogram is sorted by its middle,
    /// so always into the same bucket: no bucket ever falls.
    pub fn buckets(&self) -> Buckets {
        let mut buckets = Buckets { sum_ns: self.sum_ns, ..Buckets::default() };
        let Some(histogram) = &self.histogram else {
            return buckets;
        };
        buckets.count = histogram.len();
        for cell in histogram.iter_recorded() {
            // At most half of a cell that lies across a bound is counted on the wrong side.
            let middle_ns = histogram.median_equivalent(cell.value_iterated_to());
            let within = BOUNDS_NS.partition_point(|bound| *bound < middle_ns);
            if let Some(bucket) = buckets.cumulative.get_mut(within) {
                *bucket += cell.count_at_value();
            }
        }
        let mut sum = 0;
        for bucket in &mut buckets.cumulative {
            sum += *bucket;
            *bucket = sum;
        }
        buckets
    }

    fn mean_ns(&self, requests: u64) -> u64 {
        let mean_ns = self.sum_ns / u128::from(requests.max(1));
        u64::try_from(mean_ns).unwrap_or(u64::MAX)
    }

    /// Returns the usual percentiles, which are all 0 without durations.
    pub fn summary(&self) -> Summary {
        let Some(histogram) = self.histogram.as_ref().filter(|all| !all.is_empty()) else {
            return Summary::default();
        };
        Summary {
            count: histogram.len(),
            mean_ns: self.mean_ns(histogram.len()),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        }
    }

    /// Returns the percentile distribution as HdrHistogram plots it, with `ticks` steps for each
    /// halving of the distance to 1.
    pub fn distribution(&self, ticks: u32) -> impl Iterator<Item = Step> {
        let steps =
            self.histogram.iter().flat_map(move |histogram| histogram.iter_quantiles(ticks.max(1)));
        let mut count = 0;
        steps.map(move |step| {
            count += step.count_since_last_iteration();
            Step {
                value_ns: step.value_iterated_to(),
                quantile: step.quantile_iterated_to(),
                count,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_histogram_can_be_made_and_the_bounds_ascend() {
        assert!(Durations::default().histogram.is_some());
        assert!(BOUNDS_NS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((BOUNDS_NS[0], BOUNDS_NS[15]), (50_000, 5_000_000_000));
        assert!(BOUNDS_NS.contains(&50_000_000));
    }

    proptest! {
        #[test]
        fn cells_make_the_same_histogram(
            durations in prop::collection::vec((0..DURATION_NS_MAX, 1..9_u64), 0..50),
        ) {
            let (mut one, mut other) = (Durations::default(), Durations::default());
            durations.iter().for_each(|(ns, requests)| one.record(*ns, *requests));
            one.cells().for_each(|(ns, requests)| other.record(ns, requests));
            let percentiles = |durations: &Durations| {
                let Summary { count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, .. } =
                    durations.summary();
                (count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns)
            };
            prop_assert_eq!(percentiles(&one), percentiles(&other));
        }
    }

    #[test]
    fn out_of_range_durations_are_counted_and_summed() {
        let mut durations = Durations::default();
        durations.record(0, 2);
        durations.record(3 * DURATION_NS_MAX, 1);
        let buckets = durations.buckets();
        assert_eq!(buckets.cumulative, [2; BOUNDS_NS.len()]);
        assert_eq!((buckets.count, buckets.sum_ns), (3, 3 * u128::from(DURATION_NS_MAX)));
    }

    /// Three weeks of a million requests a second at ten milliseconds each pass 64 bits.
    #[test]
    fn the_sum_grows_on_past_64_bits() {
        let (mut one, weeks) = (Durations::default(), 3 * 7 * 86_400);
        one.record(10_000_000, 1_000_000 * weeks);
        let mut both = one.clone();
        both.merge(&one);
        let sum_ns = 2 * 10_000_000 * 1_000_000 * u128::from(weeks);
        assert!(sum_ns > u128::from(u64::MAX));
        assert_eq!((both.buckets().sum_ns, both.summary().mean_ns), (sum_ns, 10_000_000));
        both.record(1, 1);
        assert_eq!(both.buckets().sum_ns, sum_ns + 1);
    }

    #[test]
    fn a_contended_buffer_waits_for_the_next_turn() {
        let latency = Latency::new(1, 2);
        let mut buffer = DurationBuffer::default();
        buffer.add(1, 70_000, 16);
        buffer.add(1, 70_000, 1);
        assert_eq!(buffer.entries.len(), 1);
        let scrape = latency.cores.at(0).lock();
        latency.record(0, &mut buffer);
        drop(scrape);
        assert_eq!(latency.merged()[1].summary().count, 0);
        latency.record(0, &mut buffer);
        let merged = latency.merged();
        assert_eq!(merged[1].buckets().count, 17);
        assert_eq!(merged[1].buckets().sum_ns, 17 * 70_000);
        assert_eq!(merged[0].buckets(), Buckets::default());
        assert!(buffer.entries.is_empty());
    }

    #[test]
    fn percentiles_and_distribution_agree() {
        let mut durations = Durations::default();
        assert_eq!(durations.summary(), Summary::default());
        assert_eq!(durations.distribution(5).count(), 0);
        for number in 1..=1_000_u64 {
            durations.record(number * 10_000, 1);
        }
        let summary = durations.summary();
        let near = |value: u64, exact: u64| value.abs_diff(exact) * 100 <= exact;
        assert!(near(summary.p50_ns, 5_000_000) && near(summary.p99_ns, 9_900_000), "{summary:?}");
        assert_eq!((summary.count, summary.mean_ns), (1_000, 5_005_000));
        let steps: Vec<Step> = durations.distribution(5).collect();
        assert_eq!(steps.last().unwrap().count, 1_000);
        assert!(steps.windows(2).all(|pair| pair[0].value_ns <= pair[1].value_ns));
    }

    /// From nanoseconds to a minute, evenly over the powers of two.
    fn duration() -> impl Strategy<Value = u64> {
        let scale = (0..36_u32, 0.0..1.0_f64);
        scale.prop_map(|(bits, part)| ((1_u64 << bits) as f64 * (1.0 + part)) as u64)
    }

    fn turns() -> impl Strategy<Value = Vec<Vec<(u64, u64)>>> {
        prop::collection::vec(prop::collection::vec((duration(), 1..5_u64), 0..100), 1..5)
    }

    proptest! {
        /// Against counting one by one: a bucket differs by no more than the durations that are
        /// within the histogram's error of its bound. The sum and the count are exact.
        #[test]
        fn buckets_are_those_of_naive_counting(turns in turns()) {
            let latency = Latency::new(2, 1);
            let mut all = Vec::new();
            let mut last = Buckets::default();
            for (turn, durations) in turns.iter().enumerate() {
                let mut buffer = DurationBuffer::default();
                for (duration, requests) in durations {
                    buffer.add(0, *duration, *requests);
                    all.push((*duration, *requests));
                }
                latency.record(turn % 2, &mut buffer);
                let buckets = latency.merged()[0].buckets();
                let of = |(ns, requests): &(u64, u64)| u128::from(ns * requests);
                let sum: u128 = all.iter().map(of).sum();
                prop_assert_eq!(buckets.sum_ns, sum);
                let count: u64 = all.iter().map(|(_, requests)| requests).sum();
                prop_assert_eq!(buckets.count, count);
                for (place, bound) in BOUNDS_NS.into_iter().enumerate() {
                    let under = |limit: f64| -> u64 {
                        let hits = all.iter().filter(|(duration, _)| *duration as f64 <= limit);
                        hits.map(|(_, requests)| requests).sum()
                    };
                    let counted = buckets.cumulative[place];
                    prop_assert!(under(bound as f64 * 0.99) <= counted, "bound {bound}");
                    prop_assert!(counted <= under(bound as f64 * 1.01), "bound {bound}");
                    prop_assert!(counted >= last.cumulative[place], "a bucket fell");
                }
                prop_assert!(buckets.cumulative.is_sorted());
                prop_assert!(buckets.cumulative[BOUNDS_NS.len() - 1] <= buckets.count);
                last = buckets;
            }
        }
    }
}
