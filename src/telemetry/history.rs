//! The history of the server: what is read once a second, for five minutes.
//!
//! Counters only grow, so a rate is the difference of two readings over the time between them. A
//! reading that comes late, because the thread had other work, is still right: its time is in it.

use std::collections::VecDeque;

/// Seconds that the history goes back: what a sparkline shows.
pub const HISTORY_SECONDS_MAX: usize = 300;

/// Seconds of the longest rate.
const RATE_SECONDS_MAX: u64 = 60;

/// The time between two readings.
const SECOND_NS: u64 = 1_000_000_000;

/// Counters of the server since its start, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The time of the reading.
    pub mono_ns: u64,
    /// Events accepted.
    pub accepted: u64,
    /// Events rejected, by reason.
    pub rejected: Vec<u64>,
    /// Anomalous values.
    pub anomalies: u64,
    /// Events that were acknowledged and then lost.
    pub lost: u64,
    /// Events whose device got no window.
    pub refused: u64,
    /// Nanoseconds at work, by core.
    pub busy_ns: Vec<u64>,
}

impl Reading {
    /// Returns the number of rejected events.
    pub fn rejected_all(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Returns the rates since an earlier reading, which are 0 if no time has passed.
    pub fn rates_since(&self, earlier: &Self) -> Rates {
        let seconds = self.mono_ns.saturating_sub(earlier.mono_ns) as f64 / SECOND_NS as f64;
        let rate = |now: u64, before: u64| {
            if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        Rates {
            accepted: rate(self.accepted, earlier.accepted),
            rejected: rate(self.rejected_all(), earlier.rejected_all()),
            anomalies: rate(self.anomalies, earlier.anomalies),
        }
    }

    /// Returns the share of the time since an earlier reading that each core was at work, 0 to 1.
    pub fn busy_since(&self, earlier: &Self) -> Vec<f64> {
        let elapsed_ns = self.mono_ns.saturating_sub(earlier.mono_ns);
        let before = earlier.busy_ns.iter().copied().chain(std::iter::repeat(0));
        let share = |(now, before): (&u64, u64)| {
            // A turn is counted when it ends, and may have begun before the earlier reading.
            (now.saturating_sub(before) as f64 / elapsed_ns.max(1) as f64).min(1.0)
        };
        self.busy_ns.iter().zip(before).map(share).collect()
    }
}

/// Events and anomalous values for each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Events accepted.
    pub accepted: f64,
    /// Events rejected.
    pub rejected: f64,
    /// Anomalous values.
    pub anomalies: f64,
}

/// The mean and the standard deviation of a field's window; `None` where there is none.
pub type FieldLevel = Option<(f64, f64)>;

/// The state of the server at the end of a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Level {
    /// The 99th percentile of the second's durations, if there were any.
    pub p99_ns: Option<u64>,
    /// Events without an outcome.
    pub pending: u64,
    /// The window over all series, by field.
    pub fields: Vec<FieldLevel>,
}

/// One second of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Second {
    /// The rates, on average since the reading before.
    pub rates: Rates,
    /// The level at its end; `None` if it was not read, because a reading came late.
    pub level: Option<Level>,
}

/// The readings of the last minute, and the seconds of the last five.
#[derive(Debug)]
pub struct History {
    /// The oldest first; there is always one.
    readings: VecDeque<Reading>,
    newest: Reading,
    seconds: VecDeque<Second>,
}

impl History {
    /// Returns a history that begins at this time with counters of 0.
    pub fn new(mono_ns: u64) -> Self {
        let start = Reading { mono_ns, ..Reading::default() };
        Self { readings: VecDeque::new(), newest: start, seconds: VecDeque::new() }
    }

    /// Adds a reading and the level at its time. Seconds without a reading get the same rates, so
    /// that their sum is that of the events.
    pub fn add(&mut self, reading: Reading, level: Level) {
        let rates = reading.rates_since(&self.newest);
        let passed_ns = reading.mono_ns.saturating_sub(self.newest.mono_ns);
        let missed = (passed_ns + SECOND_NS / 2) / SECOND_NS;
        for _ in 1..missed.min(HISTORY_SECONDS_MAX as u64) {
            self.push(Second { rates, level: None });
        }
        self.push(Second { rates, level: Some(level) });
        let before = std::mem::replace(&mut self.newest, reading);
        self.readings.push_back(before);
        let is_old = |reading: &Reading| self.newest.is_later_by(reading, RATE_SECONDS_MAX);
        while self.readings.get(1).is_some_and(is_old) {
            self.readings.pop_front();
        }
    }

    fn push(&mut self, second: Second) {
        if self.seconds.len() == HISTORY_SECONDS_MAX {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second);
    }

    /// Returns the newest reading.
    pub const fn newest(&self) -> &Reading {
        &self.newest
    }

    /// Returns the youngest reading that is so many seconds older than the newest one, or the
    /// oldest that there is.
    pub fn before(&self, seconds: u64) -> &Reading {
        let mut from_newest = self.readings.iter().rev();
        let found = from_newest.find(|reading| self.newest.is_later_by(reading, seconds));
        found.or_else(|| self.readings.front()).unwrap_or(&self.newest)
    }

    /// Returns the last seconds, at most so many, the oldest first.
    pub fn last(&self, seconds: usize) -> impl Iterator<Item = &Second> + Clone {
        self.seconds.iter().skip(self.seconds.len().saturating_sub(seconds))
    }
}

impl Reading {
    /// Returns true if it was taken so many seconds after another, give or take half of one: a
    /// thread that reads each second is never exact.
    const fn is_later_by(&self, other: &Self, seconds: u64) -> bool {
        let passed_ns = self.mono_ns.saturating_sub(other.mono_ns);
        passed_ns + SECOND_NS / 2 >= seconds * SECOND_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(mono_ms: u64, accepted: u64) -> Reading {
        let mono_ns = mono_ms * 1_000_000;
        let rejected = vec![accepted / 2, accepted / 2];
        Reading { mono_ns, accepted, rejected, ..Reading::default() }
    }

    #[test]
    fn a_server_that_has_just_started_has_rates_of_nothing() {
        let history = History::new(7);
        for seconds in [1, 10, 60] {
            let rates = history.newest().rates_since(history.before(seconds));
            assert_eq!(rates, Rates::default());
        }
        assert_eq!(history.last(300).count(), 0);
    }

    #[test]
    fn rates_are_of_their_own_time() {
        let mut history = History::new(0);
        for second in 1..=100_u64 {
            // A thousand in each of the last five seconds, and a hundred in each before.
            let accepted = second * 100 + second.saturating_sub(95) * 900;
            history.add(reading(second * 1000 + second % 7, accepted), Level::default());
        }
        let rate = |seconds| history.newest().rates_since(history.before(seconds)).accepted;
        let near = |rate: f64, expected: f64| (rate - expected).abs() < 0.01 * expected;
        assert!(near(rate(1), 1000.0), "{}", rate(1));
        assert!(near(rate(10), 550.0), "{}", rate(10));
        assert!(near(rate(60), 175.0), "{}", rate(60));
        assert!(history.readings.len() <= 61, "{}", history.readings.len());
    }

    #[test]
    fn busy_is_a_share_of_the_time() {
        let at = |mono_ns, busy_ns: &[u64]| Reading {
            mono_ns,
            busy_ns: busy_ns.to_vec(),
            ..Reading::default()
        };
        let later = at(3_000_000_000, &[1_500_000_000, 9_000_000_000]);
        assert_eq!(later.busy_since(&at(1_000_000_000, &[500_000_000, 0])), [0.5, 1.0]);
        assert_eq!(later.busy_since(&at(0, &[])), [0.5, 1.0]);
        assert_eq!(later.busy_since(&later), [0.0, 0.0]);
    }

    proptest! {
        /// Whenever the readings come, the seconds add up to the events, and none is missing.
        #[test]
        fn seconds_add_up_and_none_is_missing(
            gaps in prop::collection::vec((900..5_000_u64, 0..100_000_u64), 1..100),
        ) {
            let mut history = History::new(0);
            let (mut at, mut accepted, mut expected) = (0, 0, 0.0);
            for (gap, events) in gaps {
                let level = Level { pending: events, ..Level::default() };
                at += gap;
                accepted += events;
                history.add(reading(at, accepted), level);
                let seconds = ((gap + 500) / 1000).max(1);
                expected += events as f64 / (gap as f64 / 1000.0) * seconds as f64;
                let newest = history.seconds.back().unwrap();
                prop_assert_eq!(newest.level.as_ref().unwrap().pending, events);
            }
            prop_assert!(history.seconds.len() <= HISTORY_SECONDS_MAX);
            if history.seconds.len() < HISTORY_SECONDS_MAX {
                let sum: f64 = history.last(300).map(|second| second.rates.accepted).sum();
                let error = (sum - expected).abs();
                prop_assert!(error <= 1e-6 * expected.max(1.0), "{sum} {expected}");
            }
            prop_assert_eq!(history.last(1).count(), 1);
            prop_assert_eq!(history.last(0).count(), 0);
        }
    }
}
