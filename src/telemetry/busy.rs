//! How busy each core is: a ratio, from nanoseconds at work that only grow.
//!
//! A ratio needs an earlier reading, and several scrapers must not take it from one another. Two
//! earlier readings are kept, at least a second apart; each scrape compares itself with the newer
//! one that is a second old.

use crate::clock::Now;
use crate::sync::Mutex;

/// A reading this young is too noisy to compare with.
const APART_NS: u64 = 1_000_000_000;

/// The earlier readings; shared by all who scrape.
#[derive(Debug)]
pub struct Busy {
    earlier: Mutex<Earlier>,
}

#[derive(Debug)]
struct Earlier {
    older: Reading,
    newer: Reading,
}

#[derive(Clone, Debug)]
struct Reading {
    mono_ns: u64,
    busy_ns: Vec<u64>,
}

impl Busy {
    /// Starts at `now`, when no core has worked yet.
    #[must_use]
    pub fn new(now: Now) -> Self {
        let start = Reading { mono_ns: now.mono_ns, busy_ns: Vec::new() };
        Self { earlier: Mutex::new(Earlier { older: start.clone(), newer: start }) }
    }

    /// Each core's share of time at work, 0 to 1, given its nanoseconds at work since the start.
    #[must_use]
    pub fn ratios(&self, now: Now, busy_ns: &[u64]) -> Vec<f64> {
        let mut earlier = self.earlier.lock();
        if now.mono_ns.saturating_sub(earlier.newer.mono_ns) >= APART_NS {
            let newest = Reading { mono_ns: now.mono_ns, busy_ns: busy_ns.to_vec() };
            earlier.older = std::mem::replace(&mut earlier.newer, newest);
        }
        // Right after the exchange this is the newest reading a second old; otherwise the newer
        // one is too young, and this is the one before it.
        let base = &earlier.older;
        let elapsed_ns = now.mono_ns.saturating_sub(base.mono_ns);
        let before = base.busy_ns.iter().copied().chain(std::iter::repeat(0));
        busy_ns
            .iter()
            .zip(before)
            .map(|(busy_ns, before_ns)| ratio(busy_ns.saturating_sub(before_ns), elapsed_ns))
            .collect()
    }
}

/// A turn is added at its end, so a long one may seem to exceed the time it is compared with.
fn ratio(busy_ns: u64, elapsed_ns: u64) -> f64 {
    if elapsed_ns == 0 {
        return 0.0;
    }
    (busy_ns as f64 / elapsed_ns as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, wall_us: 0 }
    }

    #[test]
    fn scrapers_do_not_disturb_one_another() {
        let busy = Busy::new(at(0));
        let ms = 1_000_000;
        assert_eq!(busy.ratios(at(0), &[0, 0]), [0.0, 0.0]);
        assert_eq!(busy.ratios(at(500), &[250 * ms, 0]), [0.5, 0.0]);
        // A scraper every 10 s, and one that comes 100 ms after it: both see the same load.
        assert_eq!(busy.ratios(at(10_000), &[5_000 * ms, 0]), [0.5, 0.0]);
        let ratios = busy.ratios(at(10_100), &[5_100 * ms, 0]);
        assert!((ratios[0] - 5_100.0 / 10_100.0).abs() < 1e-12);
        assert_eq!(busy.ratios(at(20_000), &[15_000 * ms, 1_000 * ms]), [1.0, 0.1]);
        let ratios = busy.ratios(at(20_100), &[15_100 * ms, 1_000 * ms]);
        assert!((ratios[0] - 1.0).abs() < 1e-12, "{ratios:?}");
    }

    #[test]
    fn a_long_turn_added_at_its_end_is_not_more_than_all_the_time() {
        let busy = Busy::new(at(0));
        assert_eq!(busy.ratios(at(2_000), &[0]), [0.0]);
        assert_eq!(busy.ratios(at(3_000), &[2_500_000_000]), [1.0]);
    }
}
