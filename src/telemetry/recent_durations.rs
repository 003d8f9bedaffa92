//! The durations of the last minute, from histograms that only grow.
//!
//! Copies of the growing histogram are kept, five seconds apart, for a minute; the difference of
//! two is what was recorded between them. A copy has some 20 KB, so one for each second would take
//! more than a megabyte.

use std::collections::VecDeque;

use super::latency::{Durations, Summary};

/// The least time between two copies that are kept.
const STEP_NS: u64 = 5_000_000_000;

/// The time that the summary goes back.
const MINUTE_NS: u64 = 60_000_000_000;

/// The durations of the last second and of the last minute.
#[derive(Debug)]
pub struct RecentDurations {
    newest: Durations,
    /// Copies with the times at which they were made, the oldest first.
    kept: VecDeque<(u64, Durations)>,
    second: Summary,
    minute: Summary,
}

impl RecentDurations {
    /// Returns durations of nothing, before anything was recorded.
    pub fn new(mono_ns: u64) -> Self {
        Self {
            newest: Durations::default(),
            kept: VecDeque::from([(mono_ns, Durations::default())]),
            second: Summary::default(),
            minute: Summary::default(),
        }
    }

    /// Takes all durations up to now.
    pub fn add(&mut self, mono_ns: u64, durations: Durations) {
        self.second = if durations.count() == self.newest.count() {
            Summary::default()
        } else {
            durations.since(&self.newest).summary()
        };
        self.newest = durations;
        // Of two that are old enough the younger one is closer to a minute.
        let is_old = |at: &u64| mono_ns.saturating_sub(*at) >= MINUTE_NS;
        while self.kept.get(1).is_some_and(|(at, _)| is_old(at)) {
            self.kept.pop_front();
        }
        self.minute = match self.kept.front() {
            Some((_, base)) if base.count() < self.newest.count() => {
                self.newest.since(base).summary()
            }
            _ => Summary::default(),
        };
        let newest_ns = self.kept.back().map_or(0, |(at, _)| *at);
        if mono_ns.saturating_sub(newest_ns) >= STEP_NS {
            self.kept.push_back((mono_ns, self.newest.clone()));
        }
    }

    /// Returns the summary of what was recorded between the last two calls of [`Self::add`].
    pub const fn second(&self) -> Summary {
        self.second
    }

    /// Returns the cells of the histogram of [`Self::minute`], as
    /// [`Durations::cells`] has them.
    pub fn minute_cells(&self) -> Vec<(u64, u64)> {
        match self.kept.front() {
            Some((_, base)) if base.count() < self.newest.count() => {
                self.newest.since(base).cells().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the summary of the last minute, and up to five seconds before it.
    pub const fn minute(&self) -> Summary {
        self.minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn the_minute_is_that_of_what_came_in_it(
            seconds in prop::collection::vec(
                (1..4_u64, prop::collection::vec(1_000..1_000_000_000_u64, 0..4)), 1..120),
        ) {
            let (mut all, mut growing) = (Vec::new(), Durations::default());
            let mut recent = RecentDurations::new(0);
            let mut now = 0;
            for (gap, durations) in seconds {
                now += gap * 1_000_000_000;
                let mut second = Durations::default();
                for &duration in &durations {
                    growing.record(duration, 1);
                    second.record(duration, 1);
                    all.push((now, duration));
                }
                recent.add(now, growing.clone());
                prop_assert_eq!(recent.second(), second.summary());
                // The base is one of the times of `add`, at least a minute old if there is one.
                let since = |base: u64| {
                    let mut since = Durations::default();
                    all.iter().filter(|(at, _)| *at > base).for_each(|(_, d)| since.record(*d, 1));
                    since.summary()
                };
                let bases = now.saturating_sub(MINUTE_NS + STEP_NS + 4_000_000_000)
                    ..=now.saturating_sub(MINUTE_NS);
                let mut times: Vec<u64> = all.iter().map(|(at, _)| *at).collect();
                times.push(0);
                times.push(*bases.start());
                prop_assert!(
                    times.iter().any(|at| bases.contains(at) && since(*at) == recent.minute()),
                    "{:?} at {now}", recent.minute(),
                );
                prop_assert!(recent.kept.len() <= 14, "{}", recent.kept.len());
            }
        }
    }
}
