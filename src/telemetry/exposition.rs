//! The exposition for Prometheus, and the one door to its crate.
//!
//! The crate's text encoder writes format 0.0.4, and its process collector adds `process_*`. It has
//! no OpenMetrics, so [`open_metrics`] writes that from the same families.

use std::borrow::Cow;

use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto;

use crate::telemetry::latency::BOUNDS_NS;
use crate::telemetry::open_metrics;
use crate::telemetry::snapshot::{Family, Sample, Snapshot, Value};
use crate::telemetry::table::Kind;

/// A format that a scraper may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics text, version 1.0.
    OpenMetrics,
}

impl Format {
    /// What suits an `Accept` header; text if there is none.
    #[must_use]
    pub fn accepted_by(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if open_metrics::is_preferred(accept) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes snapshots, with the process's own figures added.
#[derive(Debug)]
pub struct Exposition {
    process: ProcessCollector,
}

impl Default for Exposition {
    fn default() -> Self {
        Self { process: ProcessCollector::for_self() }
    }
}

impl Exposition {
    /// The whole exposition in `format`. Reads `/proc`, so it takes some hundred microseconds.
    #[must_use]
    pub fn write(&self, snapshot: &Snapshot, format: Format) -> String {
        let families = snapshot.families();
        let process = self.process.collect();
        match format {
            Format::Text => text(&families, process),
            Format::OpenMetrics => {
                let process = process.iter().map(from_proto);
                open_metrics::write(families.into_iter().chain(process))
            }
        }
    }
}

fn text(families: &[Family], process: Vec<proto::MetricFamily>) -> String {
    let mut protos: Vec<_> = families.iter().map(to_proto).collect();
    protos.extend(process);
    // It fails for a family without samples or name only; neither comes out of a snapshot.
    TextEncoder::new().encode_to_string(&protos).unwrap_or_default()
}

fn to_proto(family: &Family) -> proto::MetricFamily {
    let mut proto = proto::MetricFamily::default();
    proto.set_name(family.name.to_string());
    proto.set_help(family.help.to_string());
    proto.set_field_type(match family.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    let samples = family.samples.iter();
    proto.set_metric(samples.map(|sample| sample_proto(family.kind, sample)).collect());
    proto
}

fn sample_proto(kind: Kind, sample: &Sample) -> proto::Metric {
    let labels = sample.labels.iter().map(|(name, value)| {
        let mut label = proto::LabelPair::default();
        label.set_name(name.to_string());
        label.set_value(value.to_string());
        label
    });
    let mut metric = proto::Metric::from_label(labels.collect());
    match (kind, sample.value) {
        (Kind::Counter, Value::Number(value)) => {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        (_, Value::Number(value)) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        (_, Value::Buckets(buckets)) => {
            let bounds = BOUNDS_NS.iter().zip(buckets.cumulative);
            let bounds = bounds.map(|(bound_ns, count)| {
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(open_metrics::seconds(*bound_ns));
                bucket.set_cumulative_count(count);
                bucket
            });
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(bounds.collect());
            histogram.set_sample_count(buckets.count);
            histogram.set_sample_sum(open_metrics::seconds(buckets.sum_ns));
            metric.set_histogram(histogram);
        }
    }
    metric
}

/// A family of the process collector: counters and gauges without labels.
fn from_proto(family: &proto::MetricFamily) -> Family {
    let is_counter = family.get_field_type() == proto::MetricType::COUNTER;
    let samples = family.get_metric().iter().map(|metric| Sample {
        labels: Vec::new(),
        value: Value::Number(if is_counter {
            metric.get_counter().get_value()
        } else {
            metric.get_gauge().get_value()
        }),
    });
    Family {
        name: Cow::Owned(family.name().to_owned()),
        kind: if is_counter { Kind::Counter } else { Kind::Gauge },
        help: Cow::Owned(family.help().to_owned()),
        samples: samples.collect(),
    }
}

#[cfg(test)]
mod tests;
