//! A rate limit for log lines about an event that may occur a million times a second.
//!
//! The first event gets a line at once, further ones are counted and get one line a minute. A
//! thread that runs periodically, and once more at the end, takes the count of a flood that has
//! stopped: otherwise the log would show its first event only. Pure: the caller passes the time and
//! writes the line.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::LOG_INTERVAL_NS;
use percore::clock::Now;

/// The rate limit of one kind of line, shared by all threads. While no line is due, counting an
/// event costs an addition and a comparison.
#[derive(Debug, Default)]
pub struct LogLimiter {
    /// Events that no line has reported.
    unreported: AtomicU64,
    /// The earliest time of the next line; 0 allows it at once.
    next_ns: AtomicU64,
}

impl LogLimiter {
    /// Counts `times` events. If a line is due, returns the number of events since the last line;
    /// the caller writes the line.
    #[inline]
    pub fn add(&self, times: u64, now: Now) -> Option<u64> {
        self.unreported.fetch_add(times, Ordering::Relaxed);
        if now.mono_ns < self.next_ns.load(Ordering::Relaxed) { None } else { self.claim(now) }
    }

    /// Takes the number of unreported events if there are any and a line is due.
    #[must_use]
    pub fn take_if_due(&self, now: Now) -> Option<u64> {
        let is_due = now.mono_ns >= self.next_ns.load(Ordering::Relaxed);
        let is_new = || self.unreported.load(Ordering::Relaxed) > 0;
        if is_due && is_new() { self.claim(now) } else { None }
    }

    /// Takes the number of unreported events if there are any, for the last line at the end.
    #[must_use]
    pub fn take(&self) -> Option<u64> {
        Some(self.unreported.swap(0, Ordering::Relaxed)).filter(|unreported| *unreported > 0)
    }

    /// Gives the line that is due to one of the threads that ask for it.
    #[cold]
    fn claim(&self, now: Now) -> Option<u64> {
        let again_ns = now.mono_ns.saturating_add(LOG_INTERVAL_NS);
        let due = |next_ns| (next_ns <= now.mono_ns).then_some(again_ns);
        self.next_ns.try_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * 1_000_000_000, wall_us: 0 }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_next_after_a_minute_with_the_count() {
        let limiter = LogLimiter::default();
        assert_eq!(limiter.take_if_due(at(0)), None, "nothing has happened");
        assert_eq!(limiter.add(3, at(5)), Some(3));
        assert_eq!(limiter.add(1, at(5)), None);
        assert_eq!(limiter.add(40, at(64)), None);
        assert_eq!(limiter.add(1, at(65)), Some(42));
        assert_eq!(limiter.add(1, at(124)), None);
        // After a quiet time the first event gets a line at once again.
        assert_eq!(limiter.add(1, at(4_000)), Some(2));
    }

    #[test]
    fn the_count_of_a_flood_that_has_ended_is_taken_later() {
        let limiter = LogLimiter::default();
        assert_eq!(limiter.add(1, at(1)), Some(1));
        assert_eq!(limiter.take_if_due(at(100)), None, "all is told");
        assert_eq!(limiter.add(1, at(101)), Some(1));
        assert_eq!(limiter.add(9, at(102)), None);
        assert_eq!(limiter.take_if_due(at(160)), None, "the minute has not passed");
        assert_eq!(limiter.take_if_due(at(161)), Some(9));
        assert_eq!(limiter.add(2, at(162)), None, "that was a line like any other");
        assert_eq!(limiter.take(), Some(2), "at the end nobody waits for the minute");
        assert_eq!(limiter.take(), None);
    }

    #[test]
    fn threads_tell_each_once_and_lose_none() {
        let limiter = LogLimiter::default();
        let count = |seconds: u64| {
            (0..1_000).filter_map(|_| limiter.add(1, at(seconds))).collect::<Vec<_>>()
        };
        for minute in 0..20 {
            let lines: Vec<u64> = thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| count(60 * minute)));
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(lines.len(), 1, "one line a minute: {lines:?}");
            let told = lines[0] + limiter.take().unwrap_or_default();
            assert_eq!(told, 4_000);
        }
    }
}
