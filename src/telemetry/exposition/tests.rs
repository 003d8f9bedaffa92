//! Both formats through a small strict checker, written from their specifications.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::telemetry::snapshot::tests::{at_start, at_work};

/// What a text holds once it was found correct: each series with its value.
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
    assert_eq!(histograms, 3, "two routes and the flushes");
}

#[test]
fn both_formats_are_correct_and_tell_the_same() {
    let exposition = Exposition::default();
    for snapshot in [at_start(), at_work()] {
        let text = check(&exposition.write(&snapshot, Format::Text), false);
        let open_metrics = check(&exposition.write(&snapshot, Format::OpenMetrics), true);
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
    let text = check(&Exposition::default().write(&at_start(), Format::Text), false);
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
    assert!(text.keys().any(|key| key.starts_with("corepulse_build_info{version=\"0.1.0\"")));
    assert!(text["process_resident_memory_bytes"] > 0.0);
    assert!(text["process_start_time_seconds"] > 1.6e9);
}

#[test]
fn numbers_are_exact() {
    let text = check(&Exposition::default().write(&at_work(), Format::Text), false);
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
    let text = Exposition::default().write(&snapshot, Format::Text);
    assert!(!text.contains("corepulse_store_errors_total"));
    check(&text, false);
}

#[test]
fn the_format_follows_the_scraper() {
    assert_eq!(Format::accepted_by(None), Format::Text);
    assert_eq!(Format::accepted_by(Some("*/*")), Format::Text);
    let asked = Format::accepted_by(Some("application/openmetrics-text;version=1.0.0"));
    assert_eq!(asked, Format::OpenMetrics);
    assert!(asked.content_type().starts_with("application/openmetrics-text; version=1.0.0"));
}
