//! The exposition of a server (`/metrics/prometheus`): its samples, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::http_client::HttpClient;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// Values by series as it stands in the text: `name{label="value"}`.
    samples: BTreeMap<String, f64>,
    /// Families that only grow: counters and histograms.
    monotonic: BTreeSet<String>,
}

impl Exposition {
    /// Scrapes the server at an address.
    pub fn scrape(address: SocketAddr) -> Self {
        Self::request(&mut HttpClient::connect(address))
    }

    /// Scrapes over a connection.
    pub fn request(client: &mut HttpClient) -> Self {
        let response = client.get("/metrics/prometheus");
        assert_eq!(response.status, 200, "{response:?}");
        Self::parse(response.text())
    }

    /// Parses the text format; a series that stands in it twice is a failure.
    pub fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (family, kind) = rest.split_once(' ').unwrap();
                if matches!(kind, "counter" | "histogram") {
                    exposition.monotonic.insert(family.to_owned());
                }
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let before = exposition.samples.insert(series.to_owned(), value.parse().unwrap());
                assert_eq!(before, None, "{series} twice");
            }
        }
        exposition
    }

    /// Returns the value of a series, which has to be there.
    pub fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series);
        *value.unwrap_or_else(|| panic!("no {series} in {:?}", self.samples))
    }

    /// Returns the sum over all series of one name; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        let alone = self.samples.get(name).copied();
        alone.unwrap_or_else(|| self.sum_with_prefix(&format!("{name}{{")))
    }

    /// Returns the sum over the series that begin with a name and some labels.
    pub fn sum_with_prefix(&self, prefix: &str) -> f64 {
        self.with_prefix(prefix).values().sum()
    }

    /// Returns the series that begin with a name and some labels, and their values.
    pub fn with_prefix(&self, prefix: &str) -> BTreeMap<String, f64> {
        let own = self.samples.iter().filter(|(series, _)| series.starts_with(prefix));
        own.map(|(series, value)| (series.clone(), *value)).collect()
    }

    /// Checks that no counter and no histogram has fallen or gone since `before`, and returns the
    /// number of series that were compared.
    pub fn check_monotonic_since(&self, before: &Self) -> usize {
        let old = before.samples.iter().filter(|(series, _)| self.is_monotonic(series));
        old.map(|(series, old)| {
            let new = self.value(series);
            assert!(new >= *old, "{series} fell from {old} to {new}");
        })
        .count()
    }

    fn is_monotonic(&self, series: &str) -> bool {
        let name = series.split('{').next().unwrap();
        let suffixes = ["", "_bucket", "_count", "_sum"];
        let mut families = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
        families.any(|family| self.monotonic.contains(family))
    }

    /// Checks that each histogram's buckets are cumulative and end with its count.
    pub fn check_histograms(&self) {
        for (series, count) in &self.samples {
            let Some((family, labels)) = series.split_once("_count") else {
                continue;
            };
            let labels = labels.trim_start_matches('{').trim_end_matches('}');
            let prefix = format!("{family}_bucket{{{labels}");
            let own = self.with_prefix(&prefix).into_iter();
            let mut buckets: Vec<_> =
                own.map(|(series, value)| (upper_bound(&series), value)).collect();
            // Cumulative by their bounds, and all of them below infinity.
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{series}");
        }
    }
}

/// Returns the bound in the name of a bucket.
fn upper_bound(series: &str) -> f64 {
    let (_, bound) = series.split_once("le=\"").expect("a bound");
    let (bound, _) = bound.split_once('"').expect("a closing quote");
    bound.parse().expect("a number")
}

#[test]
fn counters_and_histograms_may_not_fall_but_gauges_may() {
    let text = |counter: u32, bucket: u32, gauge: u32| {
        Exposition::parse(&format!(
            "# HELP a_total A.\n# TYPE a_total counter\na_total{{b=\"c\"}} {counter}\n\
             # TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {bucket}\nh_sum 0.5\nh_count {bucket}\n\
             # TYPE g gauge\ng {gauge}\n"
        ))
    };
    assert_eq!(text(2, 3, 1).check_monotonic_since(&text(1, 3, 2)), 4);
    text(2, 3, 1).check_histograms();
    assert_eq!(text(2, 3, 1).sum("a_total"), 2.0);
    for (counter, bucket) in [(0, 3), (1, 2)] {
        let fallen = || text(counter, bucket, 2).check_monotonic_since(&text(1, 3, 2));
        assert!(std::panic::catch_unwind(fallen).is_err());
    }
}
