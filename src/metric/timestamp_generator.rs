//! The timestamp generator: unique timestamps for events that were sent without one.
//!
//! A timestamp is part of an event's key, so two events of one device with the same timestamp would
//! be one metric: each timestamp is assigned once. A core assigns only microseconds that are
//! congruent to its number modulo the number of cores, so it needs no lock and no other core. If
//! the clock has not moved on since the last event, it assigns the next such microsecond.

use crate::limits::ASSIGNED_LEAD_US_MAX;
use crate::metric::timestamp::Timestamp;

/// The generator of one core.
#[derive(Debug)]
pub(super) struct TimestampGenerator {
    core: u64,
    cores: u64,
    /// The longest time that a key is stored.
    ttl_us: u64,
    /// The last timestamps assigned in microseconds and in nanoseconds.
    last_us: u64,
    last_ns: u64,
}

impl TimestampGenerator {
    /// Returns the generator of `core`, one of `cores`, for keys that live for so long.
    pub(super) fn of_core(core: usize, cores: usize, ttl_ms: i64) -> Self {
        let ttl_us = u64::try_from(ttl_ms).unwrap_or(0).saturating_mul(1000);
        let (core, cores) = (core as u64, cores.max(1) as u64);
        Self { core, cores, ttl_us, last_us: 0, last_ns: 0 }
    }

    /// Returns the next timestamp when the clock reads `now_us`.
    #[inline]
    pub(super) fn next(&mut self, now_us: u64) -> Timestamp {
        let clock_us = if now_us > self.last_us { self.congruent(now_us) } else { 0 };
        let next_us = clock_us.max(self.last_us.saturating_add(self.cores));
        if next_us.saturating_sub(now_us) > ASSIGNED_LEAD_US_MAX {
            return self.next_ahead(now_us);
        }
        self.last_us = next_us;
        Timestamp { key: next_us, ms: milliseconds(next_us / 1000) }
    }

    /// Returns the next timestamp where microseconds would be too far ahead of the clock: there
    /// were more events than microseconds, or the clock was set back. Continues in nanoseconds
    /// after the last microsecond.
    #[cold]
    fn next_ahead(&mut self, now_us: u64) -> Timestamp {
        // Set back by more than keys live: when the clock gets there again, no old key is left.
        if self.last_us.saturating_sub(now_us) > self.ttl_us.max(ASSIGNED_LEAD_US_MAX) {
            (self.last_us, self.last_ns) = (0, 0);
            return self.next(now_us);
        }
        let least_ns = self.congruent(self.last_us.saturating_mul(1000));
        self.last_ns = self.last_ns.max(least_ns).saturating_add(self.cores);
        Timestamp { key: self.last_ns, ms: milliseconds(self.last_ns / 1_000_000) }
    }

    /// Returns the number beside `number` that is this core's.
    const fn congruent(&self, number: u64) -> u64 {
        number - number % self.cores + self.core
    }
}

fn milliseconds(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const NOW_US: u64 = 1_795_420_957_123_456;
    const TTL_MS: i64 = 300_000;
    const TTL_US: u64 = 300_000_000;

    fn only() -> TimestampGenerator {
        TimestampGenerator::of_core(0, 1, TTL_MS)
    }

    #[test]
    fn it_is_the_clock_where_that_has_moved_and_the_next_where_it_has_not() {
        let mut times = only();
        let next_key = |times: &mut TimestampGenerator, now_us| times.next(now_us).key - NOW_US;
        assert_eq!(next_key(&mut times, NOW_US), 0);
        assert_eq!(next_key(&mut times, NOW_US), 1);
        assert_eq!(next_key(&mut times, NOW_US), 2);
        assert_eq!(next_key(&mut times, NOW_US + 1), 3);
        assert_eq!(next_key(&mut times, NOW_US + 10), 10);
        assert_eq!(next_key(&mut times, NOW_US + 9), 11);
        let later = times.next(NOW_US + 1_000_000);
        assert_eq!(later, Timestamp { key: NOW_US + 1_000_000, ms: 1_795_420_958_123 });
    }

    #[test]
    fn cores_never_give_the_same() {
        let cores = 7;
        let mut seen = HashSet::new();
        for core in 0..cores {
            let mut times = TimestampGenerator::of_core(core, cores, TTL_MS);
            for step in 0..1000 {
                let given = times.next(NOW_US + step / 3).key;
                assert_eq!(given % cores as u64, core as u64);
                assert!(seen.insert(given), "{given} twice");
            }
        }
    }

    #[test]
    fn more_than_there_are_microseconds_are_nanoseconds() {
        let cores = 1024;
        let mut times = TimestampGenerator::of_core(1023, cores, TTL_MS);
        let all: Vec<_> = (0..10_000).map(|_| times.next(NOW_US)).collect();
        let distinct: HashSet<_> = all.iter().map(|given| given.key).collect();
        assert_eq!(distinct.len(), all.len());
        let lead_ms = milliseconds(ASSIGNED_LEAD_US_MAX / 1000);
        let now_ms = milliseconds(NOW_US / 1000);
        assert!(all.iter().all(|given| (now_ms..=now_ms + lead_ms + 12).contains(&given.ms)));
        let last = all.last().unwrap();
        assert_eq!((last.key.to_string().len(), last.key % 1024), (19, 1023));
        // When the clock has caught up it is microseconds again.
        assert_eq!(times.next(NOW_US + 2_000_000).key.to_string().len(), 16);
    }

    #[test]
    fn a_clock_that_was_put_back_is_followed_once_the_old_keys_are_gone() {
        let mut times = only();
        let before = times.next(NOW_US);
        // By less than keys live: nanoseconds after the last microsecond.
        let after = times.next(NOW_US - TTL_US);
        assert_eq!((after.key, after.ms), (before.key * 1000 + 1, before.ms));
        assert_eq!(times.next(NOW_US - TTL_US).key, after.key + 1);
        // By more than keys live: microseconds of the clock again.
        let now_us = NOW_US - TTL_US - 1;
        assert_eq!(times.next(now_us).key, now_us);
        assert_eq!(times.next(now_us).key, now_us + 1);
        // However short they live, events that came too fast are no clock that was put back.
        let mut times = TimestampGenerator::of_core(0, 1024, 1);
        let distinct: HashSet<_> = (0..5000).map(|_| times.next(NOW_US).key).collect();
        assert_eq!(distinct.len(), 5000);
    }

    proptest! {
        /// Whatever the clock does within the life of a key, no time is given twice.
        #[test]
        fn none_is_given_twice(
            cores in 1_usize..5,
            steps in prop::collection::vec((-3_000_000_i64..3_000_000, 1_usize..50), 1..40),
        ) {
            let mut seen = HashSet::new();
            for core in 0..cores {
                let mut times = TimestampGenerator::of_core(core, cores, TTL_MS);
                let mut now_us = NOW_US;
                for (step_us, count) in &steps {
                    now_us = now_us.saturating_add_signed(*step_us);
                    for _ in 0..*count {
                        let given = times.next(now_us).key;
                        prop_assert_eq!(given % cores as u64, core as u64);
                        prop_assert!(seen.insert(given), "{} twice", given);
                    }
                }
            }
        }
    }
}
