//! Notices: a kind of trouble that may come a million times a second, told once a minute.
//!
//! Pure: the time is a parameter, and what is logged is the caller's. Whoever meets the trouble
//! calls [`Notice::note`], which says when a line is due and how much it stands for. Somebody who
//! comes by now and then, and once more at the end, asks for what was not told since: a flood that
//! has ended would else leave its first line alone.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Now;
use crate::limits::NOTICE_PAUSE_NS;

/// One kind of trouble. All threads share it: while nothing is to be said, to note something is an
/// addition and a comparison.
#[derive(Debug, Default)]
pub struct Notice {
    /// Noted, and in no line yet.
    untold: AtomicU64,
    /// When the next line may come; at first at once.
    next_ns: AtomicU64,
}

impl Notice {
    /// Nothing noted, nothing told.
    #[must_use]
    pub const fn new() -> Self {
        Self { untold: AtomicU64::new(0), next_ns: AtomicU64::new(0) }
    }

    /// Notes that it happened `times` more. If a line is due, answers how often it has happened
    /// since the last one, and the caller is the one to write it.
    #[inline]
    pub fn note(&self, times: u64, now: Now) -> Option<u64> {
        self.untold.fetch_add(times, Ordering::Relaxed);
        if now.mono_ns < self.next_ns.load(Ordering::Relaxed) { None } else { self.take(now) }
    }

    /// What was noted and not told, if a line is due.
    #[must_use]
    pub fn overdue(&self, now: Now) -> Option<u64> {
        let is_due = now.mono_ns >= self.next_ns.load(Ordering::Relaxed);
        let is_new = || self.untold.load(Ordering::Relaxed) > 0;
        if is_due && is_new() { self.take(now) } else { None }
    }

    /// What was noted and not told, for the last line of all.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        Some(self.untold.swap(0, Ordering::Relaxed)).filter(|untold| *untold > 0)
    }

    /// Of all who find that a line is due, one gets it.
    #[cold]
    fn take(&self, now: Now) -> Option<u64> {
        let again_ns = now.mono_ns.saturating_add(NOTICE_PAUSE_NS);
        let due = |next_ns| (next_ns <= now.mono_ns).then_some(again_ns);
        self.next_ns.try_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        self.last()
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
        let notice = Notice::new();
        assert_eq!(notice.overdue(at(0)), None, "nothing has happened");
        assert_eq!(notice.note(3, at(5)), Some(3));
        assert_eq!(notice.note(1, at(5)), None);
        assert_eq!(notice.note(40, at(64)), None);
        assert_eq!(notice.note(1, at(65)), Some(42));
        assert_eq!(notice.note(1, at(124)), None);
        // After a quiet time the first is told at once again.
        assert_eq!(notice.note(1, at(4_000)), Some(2));
    }

    #[test]
    fn a_flood_that_has_ended_is_told_by_whoever_comes_by() {
        let notice = Notice::new();
        assert_eq!(notice.note(1, at(1)), Some(1));
        assert_eq!(notice.overdue(at(100)), None, "all is told");
        assert_eq!(notice.note(1, at(101)), Some(1));
        assert_eq!(notice.note(9, at(102)), None);
        assert_eq!(notice.overdue(at(160)), None, "the minute has not passed");
        assert_eq!(notice.overdue(at(161)), Some(9));
        assert_eq!(notice.note(2, at(162)), None, "that was a line like any other");
        assert_eq!(notice.last(), Some(2), "at the end nobody waits for the minute");
        assert_eq!(notice.last(), None);
    }

    #[test]
    fn threads_tell_each_once_and_lose_none() {
        let notice = Notice::new();
        let count = |seconds: u64| {
            (0..1_000).filter_map(|_| notice.note(1, at(seconds))).collect::<Vec<_>>()
        };
        for minute in 0..20 {
            let lines: Vec<u64> = thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| count(60 * minute)));
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(lines.len(), 1, "one line a minute: {lines:?}");
            let told = lines[0] + notice.last().unwrap_or_default();
            assert_eq!(told, 4_000);
        }
    }
}
