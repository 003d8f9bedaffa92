//! The sliding counter: counts the points of the last minute in a few bytes.
//!
//! It is a ring of buckets, the current one included, so the count covers the last 60 s less at
//! most the width of one bucket. A shard has 60 buckets of a second, a device 6 of ten seconds.

/// The length of the last minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// A counter of the last minute, with buckets of `60 s / BUCKETS`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlidingCounter<const BUCKETS: usize> {
    counts: [u32; BUCKETS],
    /// The bucket of the newest point, in bucket widths since the clock's origin.
    newest: u32,
}

impl<const BUCKETS: usize> SlidingCounter<BUCKETS> {
    const WIDTH_NS: u64 = MINUTE_NS / BUCKETS as u64;

    pub(super) const fn new() -> Self {
        Self { counts: [0; BUCKETS], newest: 0 }
    }

    /// Counts one point. A time before that of the newest point counts as that time.
    pub(super) fn record(&mut self, mono_ns: u64) {
        let bucket = Self::bucket(mono_ns).max(self.newest);
        let passed = (bucket - self.newest) as usize;
        for ahead in 1..=passed.min(BUCKETS) {
            if let Some(count) = self.counts.get_mut((self.newest as usize + ahead) % BUCKETS) {
                *count = 0;
            }
        }
        self.newest = bucket;
        if let Some(count) = self.counts.get_mut(bucket as usize % BUCKETS) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns the number of points in the minute that ends at `mono_ns`.
    pub(super) fn count(&self, mono_ns: u64) -> u64 {
        let passed = Self::bucket(mono_ns).saturating_sub(self.newest) as usize;
        let newest = self.newest as usize;
        (0..BUCKETS.saturating_sub(passed))
            .filter_map(|back| {
                let bucket = newest.checked_sub(back)?;
                self.counts.get(bucket % BUCKETS)
            })
            .map(|&count| u64::from(count))
            .sum()
    }

    fn bucket(mono_ns: u64) -> u32 {
        u32::try_from(mono_ns / Self::WIDTH_NS).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_the_minute_less_at_most_a_bucket(
            gaps in prop::collection::vec(
                prop_oneof![0..2_000_u64, 0..30_000_u64, 50_000..200_000_u64], 1..100),
            later in 0..100_000_u64,
        ) {
            let mut coarse = SlidingCounter::<6>::new();
            let mut fine = SlidingCounter::<60>::new();
            let mut times = Vec::new();
            let mut now = 0;
            for gap in gaps {
                now += gap * 1_000_000;
                times.push(now);
                coarse.record(now);
                fine.record(now);
                for at in [now, now + later * 1_000_000] {
                    let since = |ns: u64| times.iter().filter(|&&t| t + ns > at).count() as u64;
                    let (coarse, fine) = (coarse.count(at), fine.count(at));
                    prop_assert!(since(50_000_000_000) <= coarse && coarse <= since(MINUTE_NS));
                    prop_assert!(since(59_000_000_000) <= fine && fine <= since(MINUTE_NS));
                }
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_loses_nothing() {
        let mut counter = SlidingCounter::<6>::new();
        counter.record(100_000_000_000);
        counter.record(1);
        assert_eq!(counter.count(100_000_000_000), 2);
        assert_eq!(counter.count(2), 2);
        assert_eq!(counter.count(161_000_000_000), 0);
    }
}
