//! Metric families with their series, and the one door to the `prometheus` crate.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair};

use crate::telemetry::latency::{BOUNDS_NS, Buckets};

pub use prometheus::TextEncoder;
pub use prometheus::core::Collector;
pub use prometheus::process_collector::ProcessCollector;
pub use prometheus::proto::{Metric, MetricFamily, MetricType};

/// A series: the names and values of its labels, and its value.
pub type Series = (Vec<(&'static str, String)>, Value);

/// The value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter's or gauge's.
    Number(f64),
    /// A histogram's.
    Buckets(Buckets),
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(value as f64)
    }
}

impl From<Buckets> for Value {
    fn from(buckets: Buckets) -> Self {
        Self::Buckets(buckets)
    }
}

/// Makes the only series of a family without labels.
pub fn single(value: impl Into<Value>) -> Vec<Series> {
    vec![(Vec::new(), value.into())]
}

/// Makes a series for each value of a label.
pub fn by<N: ToString, V: Into<Value>>(
    label: &'static str,
    values: impl IntoIterator<Item = (N, V)>,
) -> Vec<Series> {
    let series = |(name, value): (N, V)| (vec![(label, name.to_string())], value.into());
    values.into_iter().map(series).collect()
}

/// Makes a family of counters, which only grow except at a restart. The name ends with `_total`.
pub fn counter(name: &str, help: &str, series: Vec<Series>) -> MetricFamily {
    family(MetricType::COUNTER, name, help, series)
}

/// Makes a family of gauges, which go up and down.
pub fn gauge(name: &str, help: &str, series: Vec<Series>) -> MetricFamily {
    family(MetricType::GAUGE, name, help, series)
}

/// Makes a family of histograms of durations. The name ends with `_seconds`.
pub fn histogram(name: &str, help: &str, series: Vec<Series>) -> MetricFamily {
    family(MetricType::HISTOGRAM, name, help, series)
}

fn family(kind: MetricType, name: &str, help: &str, series: Vec<Series>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(series.into_iter().map(|series| metric(kind, series)).collect());
    family
}

fn metric(kind: MetricType, (labels, value): Series) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    match value {
        Value::Number(value) if kind == MetricType::COUNTER => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Value::Number(value) => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        Value::Buckets(buckets) => {
            let bounds = BOUNDS_NS.iter().zip(buckets.cumulative);
            let bounds = bounds.map(|(bound_ns, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(seconds(*bound_ns));
                bucket.set_cumulative_count(count);
                bucket
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(bounds.collect());
            histogram.set_sample_count(buckets.count);
            histogram.set_sample_sum(seconds(buckets.sum_ns));
            metric.set_histogram(histogram);
        }
    }
    metric
}

fn seconds(ns: impl Into<u128>) -> f64 {
    ns.into() as f64 / 1e9
}
