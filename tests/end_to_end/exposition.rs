//! A scrape as a map of samples, and what must hold of one scrape and of two in a row.

use std::collections::{BTreeMap, BTreeSet};

/// One reading of `/metrics/prometheus`.
#[derive(Default)]
pub(crate) struct Scrape {
    /// By name and labels, as they are written.
    samples: BTreeMap<String, f64>,
    /// Families that only grow: counters and histograms.
    growing: BTreeSet<String>,
}

impl Scrape {
    pub(crate) fn of(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (family, kind) = rest.split_once(' ').unwrap();
                if matches!(kind, "counter" | "histogram") {
                    scrape.growing.insert(family.to_owned());
                }
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap();
                let before = scrape.samples.insert(name.to_owned(), value);
                assert_eq!(before, None, "{name} twice");
            }
        }
        scrape
    }

    /// The sample of this name and labels.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let value = self.samples.get(name);
        *value.unwrap_or_else(|| panic!("no sample {name}"))
    }

    /// The sum over all labels of a family.
    pub(crate) fn sum(&self, family: &str) -> f64 {
        let alone = self.samples.get(family).copied();
        alone.unwrap_or_else(|| self.sum_of(&format!("{family}{{")))
    }

    /// The sum of the samples whose name and labels begin so.
    pub(crate) fn sum_of(&self, start: &str) -> f64 {
        let samples = self.samples.iter();
        let own = samples.filter(|(name, _)| name.starts_with(start));
        own.map(|(_, value)| value).sum()
    }

    /// Checks that nothing which only grows has fallen or gone, and gives how many samples that
    /// are.
    pub(crate) fn check_after(&self, before: &Self) -> usize {
        let mut checked = 0;
        for (name, old) in &before.samples {
            if self.grows(name) {
                let new = self.value(name);
                assert!(new >= *old, "{name} fell from {old} to {new}");
                checked += 1;
            }
        }
        checked
    }

    fn grows(&self, name: &str) -> bool {
        let family = name.split('{').next().unwrap();
        let suffixes = ["", "_bucket", "_count", "_sum"];
        let mut families = suffixes.iter().filter_map(|suffix| family.strip_suffix(suffix));
        families.any(|family| self.growing.contains(family))
    }

    /// Checks `accepted = stored + coalesced + dropped + pending`, each taken from this scrape.
    pub(crate) fn check_identity(&self) {
        let pending = self.value("corepulse_store_pending");
        assert!(pending >= 0.0, "{pending} pending");
        let stored = self.value("corepulse_store_stored_total");
        let coalesced = self.value("corepulse_store_coalesced_total");
        let dropped = self.sum("corepulse_store_dropped_total");
        let accepted = self.value("corepulse_events_accepted_total");
        let settled = stored + coalesced + dropped;
        assert_eq!(accepted, settled + pending, "{stored} {coalesced} {dropped}");
        let evicted = self.sum("corepulse_store_evicted_total");
        assert!(evicted <= stored, "{evicted} evicted of {stored}");
    }

    /// Checks that each histogram's buckets are cumulative and end with its count.
    pub(crate) fn check_histograms(&self) {
        for (name, count) in &self.samples {
            let Some((family, labels)) = name.split_once("_count") else {
                continue;
            };
            let labels = labels.trim_start_matches('{').trim_end_matches('}');
            let own = format!("{family}_bucket{{{labels}");
            let mut buckets: Vec<(f64, f64)> = self
                .samples
                .iter()
                .filter(|(name, _)| name.starts_with(&own))
                .map(|(name, value)| (upper_bound(name), *value))
                .collect();
            // Cumulative by their bounds, and all of them below infinity.
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name}");
        }
    }
}

/// The bound in the name of a bucket.
fn upper_bound(name: &str) -> f64 {
    let (_, bound) = name.split_once("le=\"").expect("a bound");
    let (bound, _) = bound.split_once('"').expect("a closing quote");
    bound.parse().expect("a number")
}

#[test]
fn counters_and_histograms_may_not_fall_but_gauges_may() {
    let text = |counter: u32, bucket: u32, gauge: u32| {
        let text = format!(
            "# HELP a_total A.\n# TYPE a_total counter\na_total{{b=\"c\"}} {counter}\n\
             # TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {bucket}\nh_sum 0.5\nh_count {bucket}\n\
             # TYPE g gauge\ng {gauge}\n"
        );
        Scrape::of(&text)
    };
    assert_eq!(text(2, 3, 1).check_after(&text(1, 3, 2)), 4);
    text(2, 3, 1).check_histograms();
    assert_eq!(text(2, 3, 1).sum("a_total"), 2.0);
    for (counter, bucket) in [(0, 3), (1, 2)] {
        let fallen = || text(counter, bucket, 2).check_after(&text(1, 3, 2));
        assert!(std::panic::catch_unwind(fallen).is_err());
    }
}
