//! The busy ratio of each core: its time at work as a share of the time that has passed.
//!
//! Time at work is a counter, so a ratio needs an earlier reading to compare with, and several
//! scrapers must not disturb each other's. The last two readings are kept, at least a second apart;
//! each scrape is compared with the newer one that is at least a second old.

use percore::clock::Now;
use percore::sync::Mutex;

/// A reading younger than this is too noisy to compare with.
const INTERVAL_NS: u64 = 1_000_000_000;

/// The earlier readings, shared by all scrapers.
#[derive(Debug)]
pub struct BusyRatios {
    readings: Mutex<Readings>,
}

#[derive(Debug)]
struct Readings {
    older: Reading,
    newer: Reading,
}

#[derive(Clone, Debug)]
struct Reading {
    mono_ns: u64,
    busy_ns: Vec<u64>,
}

impl BusyRatios {
    /// Starts at `now` with a reading of 0 for each core.
    pub fn new(now: Now) -> Self {
        let start = Reading { mono_ns: now.mono_ns, busy_ns: Vec::new() };
        Self { readings: Mutex::new(Readings { older: start.clone(), newer: start }) }
    }

    /// Returns the busy ratio of each core, 0 to 1, given its nanoseconds at work since the start.
    pub fn measure(&self, now: Now, busy_ns: &[u64]) -> Vec<f64> {
        let mut readings = self.readings.lock();
        if now.mono_ns.saturating_sub(readings.newer.mono_ns) >= INTERVAL_NS {
            let newest = Reading { mono_ns: now.mono_ns, busy_ns: busy_ns.to_vec() };
            readings.older = std::mem::replace(&mut readings.newer, newest);
        }
        // The newer reading is too young: it was either taken just now, or less than a second ago.
        let base = &readings.older;
        let elapsed_ns = now.mono_ns.saturating_sub(base.mono_ns);
        let before = base.busy_ns.iter().copied().chain(std::iter::repeat(0));
        busy_ns
            .iter()
            .zip(before)
            .map(|(busy_ns, before_ns)| ratio(busy_ns.saturating_sub(before_ns), elapsed_ns))
            .collect()
    }
}

/// Divides, with 1 as the maximum: a turn is added when it ends, and may have begun before the
/// reading.
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
        let cores = BusyRatios::new(at(0));
        let ms = 1_000_000;
        assert_eq!(cores.measure(at(0), &[0, 0]), [0.0, 0.0]);
        assert_eq!(cores.measure(at(500), &[250 * ms, 0]), [0.5, 0.0]);
        // A scraper every 10 s, and one that comes 100 ms after it: both see the same load.
        assert_eq!(cores.measure(at(10_000), &[5_000 * ms, 0]), [0.5, 0.0]);
        let ratios = cores.measure(at(10_100), &[5_100 * ms, 0]);
        assert!((ratios[0] - 5_100.0 / 10_100.0).abs() < 1e-12);
        assert_eq!(cores.measure(at(20_000), &[15_000 * ms, 1_000 * ms]), [1.0, 0.1]);
        let ratios = cores.measure(at(20_100), &[15_100 * ms, 1_000 * ms]);
        assert!((ratios[0] - 1.0).abs() < 1e-12, "{ratios:?}");
    }

    #[test]
    fn a_long_turn_added_at_its_end_is_not_more_than_all_the_time() {
        let cores = BusyRatios::new(at(0));
        assert_eq!(cores.measure(at(2_000), &[0]), [0.0]);
        assert_eq!(cores.measure(at(3_000), &[2_500_000_000]), [1.0]);
    }
}
