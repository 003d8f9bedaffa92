//! The metrics in both formats, through a small strict checker written from their specifications.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::analytics::shared_windows::WindowTotals;
use crate::analytics::summary::FieldSummary;
use crate::analytics::{Analytics, AnalyticsSettings};
use crate::fleet::status::Status;
use crate::fleet::windows::figures::Figures;
use crate::metric::id_hash::IdHasher;
use crate::store::Store;
use crate::telemetry::counters::Counters;
use crate::telemetry::exposition::{Exposition, Format};
use crate::telemetry::family::{Metric, MetricType};
use crate::telemetry::latency::{DurationBuffer, Latency};

const LABELS: Labels = Labels {
    routes: &["ingest", "lookup"],
    statuses: &[200, 202, 404],
    possible: &[],
    reject_reasons: &["syntax", "future"],
};

/// A server that has just started, with every name that a store may have.
fn at_start() -> Snapshot {
    let settings = AnalyticsSettings {
        schema: Schema::standard(),
        window: 50,
        threshold: 2.0,
        min_samples: 16,
        cooldown: 50,
        devices_max: 100_000,
        device_ttl_ns: 1,
        device_limit: None,
        judge_duplicates: false,
    };
    let ids = IdHasher::default();
    let errors = vec![("oom", 0), ("io", 0)];
    Snapshot {
        schema: Schema::standard(),
        labels: LABELS,
        counters: Counters::new(2, LABELS).totals(),
        durations: Latency::new(2, LABELS.routes.len()).merged(),
        busy_ratios: vec![0.0; 2],
        connections_max: 1_000,
        devices_max: settings.devices_max,
        analytics: Analytics::new(settings, 2, ids.clone()).instance(Now::default()),
        store: Stats {
            errors,
            ..Store::memory(Schema::standard(), 2, 1 << 20, 1_000, ids).stats()
        },
        flushes: Latency::new(1, 1).merged(),
        reloads: vec![("tokens", [0, 0])],
        auth_failures: Some([0; _]),
        tls_expires_unix_s: Some(0),
        fleet: Some((
            Status::default().read(),
            WindowFigures::new(WindowTotals::default(), &Figures::new(5_000_000_000), 0),
        )),
    }
}

/// The same server after some traffic.
fn at_work() -> Snapshot {
    let counters = Counters::new(2, LABELS);
    let latency = Latency::new(2, LABELS.routes.len());
    let mut buffer = DurationBuffer::default();
    for number in 1..100 {
        counters.count_opened(1);
        counters.count_request(0, 0, 1);
        buffer.add(0, number * number * 1_000, 3);
    }
    latency.record(0, &mut buffer);
    let mut snapshot = at_start();
    snapshot.counters = counters.totals();
    snapshot.durations = latency.merged();
    snapshot.busy_ratios = vec![0.25, 1.0];
    let field = |rolling_average| FieldSummary {
        count: 1,
        rolling_average,
        stddev: 0.0,
        min: 0.0,
        max: 0.0,
        last: 0.0,
        z_score: None,
        anomaly: false,
    };
    snapshot.analytics.series.fields = [41.25, 1e12].map(|average| Some(field(average))).into();
    snapshot.store.totals.accepted = 123_456_789_012;
    snapshot.flushes = vec![snapshot.durations[0].clone()];
    snapshot
}

/// The series of a correct text, each with its value.
type Series = HashMap<String, f64>;

/// Fails unless families are whole, announced before their samples and not repeated, every line is
/// well formed, no series comes twice, and histograms are cumulative up to their count.
fn check(text: &str, is_open_metrics: bool) -> Series {
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
    assert_eq!(text.ends_with("# EOF\n"), is_open_metrics);
    let mut series = Series::new();
    let mut announced = HashSet::new();
    let mut family = (String::new(), String::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name) = (words.next().unwrap(), words.next().unwrap());
            let rest = words.next().unwrap_or_else(|| panic!("{line}"));
            assert!(announced.insert(format!("{what} {name}")), "{line} twice");
            match what {
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    family = (name.to_owned(), rest.to_owned());
                }
                "UNIT" => assert!(is_open_metrics && name.ends_with(&format!("_{rest}")), "{line}"),
                "HELP" => assert!(!rest.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        assert!(labels.ends_with('}') && !labels.contains(",,"), "{line}");
        let suffix = name.strip_prefix(family.0.as_str()).unwrap_or_else(|| panic!("{line}"));
        let suffixes: &[&str] = match (family.1.as_str(), is_open_metrics) {
            ("counter", true) => &["_total"],
            ("histogram", _) => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{line} in {family:?}");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        if family.1 != "gauge" {
            assert!(value >= 0.0, "{line}");
        }
        assert!(series.insert(key.to_owned(), value).is_none(), "{key} twice");
    }
    for name in series.keys().filter_map(|key| key.split('{').next()) {
        let base = ["_bucket", "_count", "_sum", "_total"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|base| announced.contains(&format!("TYPE {base}")))
            .unwrap_or(name);
        assert!(announced.contains(&format!("HELP {base}")), "{name} has no help");
    }
    check_histograms(text, &series);
    series
}

/// Bounds ascend, counts do too, and `+Inf` is the count.
fn check_histograms(text: &str, series: &Series) {
    let mut last: Option<(String, f64, f64)> = None;
    let mut histograms = 0;
    for line in text.lines().filter(|line| line.contains("_bucket{")) {
        let (key, count) = line.rsplit_once(' ').unwrap();
        let (rest, bound) = key.trim_end_matches("\"}").split_once("le=\"").unwrap();
        let (count, bound): (f64, f64) = (count.parse().unwrap(), bound.parse().unwrap());
        if let Some((other, last_bound, last_count)) = &last
            && other == rest
        {
            assert!(bound > *last_bound && count >= *last_count, "{line}");
        }
        last = Some((rest.to_owned(), bound, count));
        if bound.is_infinite() {
            histograms += 1;
            let labels = rest.split_once('{').unwrap().1.trim_end_matches(',');
            let name = rest.split("_bucket{").next().unwrap();
            let key = match labels {
                "" => format!("{name}_count"),
                labels => format!("{name}_count{{{labels}}}"),
            };
            assert_eq!(series.get(&key), Some(&count), "{key}");
        }
    }
    assert_eq!(histograms, 4, "two routes, the flushes, and the windows that came");
}

#[test]
fn both_formats_are_correct_and_tell_the_same() {
    let exposition = Exposition::default();
    for snapshot in [at_start(), at_work()] {
        let text = check(&exposition.write(snapshot.families(), Format::Text), false);
        let open_metrics = check(&exposition.write(snapshot.families(), Format::OpenMetrics), true);
        assert_eq!(text.len(), open_metrics.len());
        for (key, value) in text.iter().filter(|(key, _)| key.starts_with("corepulse_")) {
            let key = key.replace("le=\"1\"", "le=\"1.0\"").replace("le=\"5\"", "le=\"5.0\"");
            let other = open_metrics.get(&key).unwrap_or_else(|| panic!("{key}"));
            assert!(value == other || value.is_nan() && other.is_nan(), "{key}");
        }
    }
}

#[test]
fn known_series_are_zero_from_the_start() {
    let text = check(&Exposition::default().write(at_start().families(), Format::Text), false);
    for key in [
        "corepulse_events_accepted_total",
        "corepulse_events_rejected_total{reason=\"future\"}",
        "corepulse_http_requests_total{route=\"lookup\",status=\"404\"}",
        "corepulse_http_request_duration_seconds_bucket{route=\"ingest\",le=\"0.00005\"}",
        "corepulse_http_request_duration_seconds_bucket{route=\"ingest\",le=\"0.05\"}",
        "corepulse_connections_closed_total{reason=\"write_stall\"}",
        "corepulse_store_dropped_total{reason=\"overflow\"}",
        "corepulse_store_flush_duration_seconds_count",
        "corepulse_core_busy_ratio{core=\"1\"}",
    ] {
        assert_eq!(text.get(key), Some(&0.0), "{key}");
    }
    assert!(text["corepulse_rolling_average{field=\"cpu\"}"].is_nan());
    let build = concat!("corepulse_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(text.keys().any(|key| key.starts_with(build)));
    assert!(text["process_resident_memory_bytes"] > 0.0);
    assert!(text["process_start_time_seconds"] > 1.6e9);
}

#[test]
fn numbers_are_exact() {
    let text = check(&Exposition::default().write(at_work().families(), Format::Text), false);
    assert_eq!(text["corepulse_events_accepted_total"], 123_456_789_012.0);
    assert_eq!(text["corepulse_rolling_average{field=\"rps\"}"], 1e12);
    let sum_ns: u64 = (1..100).map(|number| number * number * 3_000).sum();
    let sum = text["corepulse_http_request_duration_seconds_sum{route=\"ingest\"}"];
    assert_eq!(sum, sum_ns as f64 / 1e9);
    assert_eq!(text["corepulse_http_request_duration_seconds_count{route=\"ingest\"}"], 297.0);
}

#[test]
fn a_store_without_kinds_of_errors_leaves_no_empty_family() {
    let mut snapshot = at_start();
    snapshot.store.errors.clear();
    let text = Exposition::default().write(snapshot.families(), Format::Text);
    assert!(!text.contains("corepulse_store_errors_total"));
    check(&text, false);
}

#[test]
fn names_are_unique_and_well_formed() {
    let mut names = HashSet::new();
    for family in at_start().families() {
        let (name, help) = (family.name(), family.help());
        assert!(names.insert(name.to_owned()), "{name} twice");
        assert!(name.starts_with("corepulse_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(help.ends_with('.') && help.is_ascii() && !help.contains('\\'), "{name}");
        for suffix in ["_count", "_sum", "_bucket", "_created", "_total"] {
            let is_counter = suffix == "_total" && family.get_field_type() == MetricType::COUNTER;
            assert_eq!(name.ends_with(suffix), is_counter, "{name}");
        }
        let is_histogram = family.get_field_type() == MetricType::HISTOGRAM;
        assert!(!is_histogram || name.ends_with("_seconds"), "{name}");
        for wrong in ["milliseconds", "ms", "ns", "percent", "kilobytes", "minutes"] {
            assert!(!name.split('_').any(|word| word == wrong), "{name}");
        }
        for unit in ["seconds", "bytes", "ratio"] {
            let stem = name.trim_end_matches("_total");
            let is_last = stem.ends_with(&format!("_{unit}"));
            assert_eq!(stem.split('_').any(|word| word == unit), is_last, "{name}");
        }
    }
}

/// The names of a family's labels, which all its series have.
fn labels(family: &MetricFamily) -> Vec<String> {
    let names = |metric: &Metric| -> Vec<_> {
        metric.get_label().iter().map(|label| label.name().to_owned()).collect()
    };
    let all: HashSet<_> = family.get_metric().iter().map(names).collect();
    assert_eq!(all.len(), 1, "{}", family.name());
    all.into_iter().next().unwrap()
}

#[test]
fn labels_are_unique_and_none_can_carry_what_a_peer_sent() {
    let known = ["reason", "field", "route", "status", "core", "kind", "version", "commit"];
    let known = [&known[..], &["state", "complete", "from", "what", "outcome"]].concat();
    for family in at_start().families() {
        let labels = labels(&family);
        let unique: HashSet<_> = labels.iter().collect();
        assert_eq!(labels.len(), unique.len(), "{}", family.name());
        assert!(labels.iter().all(|label| known.contains(&label.as_str())), "{}", family.name());
    }
}

#[test]
fn counters_and_histograms_start_at_zero() {
    for family in at_start().families() {
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => assert_eq!(metric.get_counter().get_value(), 0.0),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    let mut buckets = histogram.get_bucket().iter();
                    assert!(buckets.all(|bucket| bucket.cumulative_count() == 0));
                    assert_eq!(histogram.get_sample_count(), 0);
                    assert_eq!(histogram.get_sample_sum(), 0.0);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_table_of_metrics_has_a_row_for_each() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md");
    let text = std::fs::read_to_string(path).unwrap();
    for family in at_start().families() {
        let labels = match labels(&family).join(",") {
            none if none.is_empty() => none,
            some => format!("{{{some}}}"),
        };
        let row = format!("| `{}{labels}` | {} |", family.name(), family.help());
        assert!(text.contains(&row), "a row is missing:\n{row}");
    }
}
