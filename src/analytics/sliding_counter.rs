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
    /// The bucket of the newest point, in bucket widths since a minute before the clock's origin.
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

    /// Returns the counts of the buckets, the newest first, and the time at which that began.
    pub(super) fn buckets(&self) -> ([u32; BUCKETS], i64) {
        let place = |back: usize| (self.newest as usize).checked_sub(back)?.checked_rem(BUCKETS);
        let count = |back| place(back).and_then(|at| self.counts.get(at)).copied();
        let counts = std::array::from_fn(|back| count(back).unwrap_or_default());
        let since_origin = i64::from(self.newest) - BUCKETS as i64;
        (counts, since_origin.saturating_mul(Self::WIDTH_NS as i64))
    }

    /// Returns a counter of such buckets, which are those of another clock: each goes to the
    /// nearest bucket of this one, and from halfway between two to the later one, so that no point
    /// is forgotten early. None is later than the one that is next.
    pub(super) fn of_buckets(counts: [u32; BUCKETS], newest_ns: i64, now_ns: u64) -> Self {
        let width_ns = Self::WIDTH_NS as i64;
        let nearest = newest_ns.saturating_add(width_ns / 2).div_euclid(width_ns);
        let nearest = u32::try_from(nearest.saturating_add(BUCKETS as i64));
        let mut counter = Self::new();
        let Ok(newest) = nearest else {
            return counter;
        };
        counter.newest = newest.min(Self::bucket(now_ns).saturating_add(1));
        for (back, count) in counts.into_iter().enumerate() {
            let place = (counter.newest as usize).checked_sub(back).map(|bucket| bucket % BUCKETS);
            if let Some(place) = place.and_then(|at| counter.counts.get_mut(at)) {
                *place = count;
            }
        }
        counter
    }

    fn bucket(mono_ns: u64) -> u32 {
        let since_origin = u32::try_from(mono_ns / Self::WIDTH_NS).unwrap_or(u32::MAX);
        since_origin.saturating_add(BUCKETS as u32)
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

    proptest! {
        /// Two clocks, one of which may have begun before the other, and which are not in step.
        /// They are never half a bucket apart to the nanosecond: no way back would be the nearest.
        #[test]
        fn what_goes_to_another_clock_and_back_is_the_same(
            gaps in prop::collection::vec(0..30_000_u64, 1..30),
            ahead_ms in -70_000..500_000_i64,
            later in 0..70_000_u64,
        ) {
            let mut one = SlidingCounter::<6>::new();
            let (mut now, mut times) = (70_000_000_000, Vec::new());
            for gap in gaps {
                now += gap * 1_000_000;
                times.push(now);
                one.record(now);
            }
            now += later * 1_000_000;
            let ahead_ns = ahead_ms * 1_000_000 + 1;
            let now_there = now.checked_add_signed(ahead_ns).unwrap();
            let (counts, newest_ns) = one.buckets();
            let there = SlidingCounter::<6>::of_buckets(counts, newest_ns + ahead_ns, now_there);
            let (counts, newest_ns) = there.buckets();
            let back = SlidingCounter::<6>::of_buckets(counts, newest_ns - ahead_ns, now);
            prop_assert_eq!(back.buckets(), one.buckets());
            prop_assert_eq!(back.count(now), one.count(now));
            let since = |ns: u64| times.iter().filter(|&&t| t + ns > now).count() as u64;
            let count = there.count(now_there);
            prop_assert!(since(40_000_000_000) <= count && count <= since(70_000_000_000));
        }
    }

    #[test]
    fn what_is_too_old_or_of_the_future_is_not_lost_in_another_bucket() {
        let of = |newest_ns, now_ns| SlidingCounter::<6>::of_buckets([1; 6], newest_ns, now_ns);
        assert_eq!(of(-100_000_000_000, 0).count(0), 0);
        assert_eq!(of(i64::MIN, 0).count(0), 0);
        assert_eq!(of(-10_000_000_000, 0).count(0), 5);
        assert_eq!(of(i64::MAX, 30_000_000_000).count(30_000_000_000), 6);
    }

    #[test]
    fn halfway_between_two_buckets_a_point_goes_to_the_later_one() {
        let newest = |newest_ns| {
            SlidingCounter::<6>::of_buckets([1; 6], newest_ns, 300_000_000_000).buckets().1
        };
        assert_eq!(newest(184_999_999_999), 180_000_000_000);
        assert_eq!(newest(185_000_000_000), 190_000_000_000);
        assert_eq!(newest(185_000_000_001), 190_000_000_000);
        assert_eq!(newest(-5_000_000_000), 0);
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
