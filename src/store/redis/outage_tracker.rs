//! The outage tracker: it decides which ups and downs of Redis are reported.
//!
//! Pure. The first error is reported at once, and so is each further kind of error during the same
//! outage; then one report a minute while it lasts. An outage is over when Redis has been up for a
//! while: a server that is full is up and down many times a second, and that is one outage, which
//! counts its returns.

use std::time::Duration;

use super::error::ErrorKind;
use super::observer::Outage;
use crate::limits::{LOG_INTERVAL_NS, STORE_STABLE_UP_MS};

const STABLE_UP_NS: u64 = STORE_STABLE_UP_MS * 1_000_000;

/// A set of kinds is a bit mask.
const _: () = assert!(ErrorKind::ALL.len() <= u32::BITS as usize);

#[derive(Debug, Default)]
pub(crate) enum OutageTracker {
    /// Redis was not reached yet, nor found to be down.
    #[default]
    Unknown,
    Up,
    Down(OpenOutage),
}

/// An outage that is not over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOutage {
    since_ns: u64,
    /// The kinds of errors that were reported.
    reported: u32,
    /// The time of the next report.
    report_again_ns: u64,
    /// The time since when Redis is up, but not for long enough yet.
    up_since_ns: Option<u64>,
    returns: u64,
}

impl OutageTracker {
    /// Notes that Redis works. Returns the outage that is over now, if that is to be reported.
    pub(crate) fn mark_up(&mut self, now_ns: u64) -> Option<Outage> {
        let outage = match self {
            Self::Up => return None,
            Self::Unknown => Outage::default(),
            Self::Down(down) => {
                let since_ns = *down.up_since_ns.get_or_insert(now_ns);
                if now_ns.saturating_sub(since_ns) < STABLE_UP_NS {
                    return None;
                }
                down.outage(since_ns)
            }
        };
        *self = Self::Up;
        Some(outage)
    }

    /// Notes an error. Returns the outage so far, if that is to be reported.
    pub(crate) fn mark_down(&mut self, now_ns: u64, kind: ErrorKind) -> Option<Outage> {
        if !matches!(self, Self::Down(_)) {
            let (reported, report_again_ns) = (0, now_ns);
            let down = OpenOutage {
                since_ns: now_ns,
                reported,
                report_again_ns,
                up_since_ns: None,
                returns: 0,
            };
            *self = Self::Down(down);
        }
        let Self::Down(down) = self else {
            return None;
        };
        down.returns += u64::from(down.up_since_ns.take().is_some());
        let bit = 1 << (kind as u32);
        if down.reported & bit != 0 && now_ns < down.report_again_ns {
            return None;
        }
        down.reported |= bit;
        down.report_again_ns = now_ns.saturating_add(LOG_INTERVAL_NS);
        Some(down.outage(now_ns))
    }
}

impl OpenOutage {
    const fn outage(&self, until_ns: u64) -> Outage {
        let duration = Duration::from_nanos(until_ns.saturating_sub(self.since_ns));
        Outage { duration, returns: self.returns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    const fn outage(seconds: u64, returns: u64) -> Option<Outage> {
        Some(Outage { duration: Duration::from_secs(seconds), returns })
    }

    #[test]
    fn the_first_fault_is_news_whatever_it_is() {
        for kind in ErrorKind::ALL {
            let mut tracker = OutageTracker::default();
            assert_eq!(tracker.mark_down(5 * SECOND_NS, kind), outage(0, 0), "{kind:?}");
            assert_eq!(tracker.mark_down(6 * SECOND_NS, kind), None, "{kind:?}");
        }
        let mut tracker = OutageTracker::default();
        assert_eq!(tracker.mark_up(0), outage(0, 0), "and so is that it is there");
        assert_eq!(tracker.mark_up(SECOND_NS), None);
        assert_eq!(tracker.mark_down(2 * SECOND_NS, ErrorKind::Other), outage(0, 0));
    }

    #[test]
    fn an_outage_is_told_once_a_minute_and_for_each_kind() {
        let mut tracker = OutageTracker::default();
        let mut reported = 0;
        for second in 0..600 {
            reported +=
                u64::from(tracker.mark_down(second * SECOND_NS, ErrorKind::Connect).is_some());
        }
        assert_eq!(reported, 10);
        assert_eq!(tracker.mark_down(600 * SECOND_NS, ErrorKind::Loading), outage(600, 0));
        assert_eq!(tracker.mark_down(601 * SECOND_NS, ErrorKind::Loading), None);
        assert_eq!(tracker.mark_down(602 * SECOND_NS, ErrorKind::Connect), None, "that is known");
    }

    #[test]
    fn up_is_news_when_it_has_lasted() {
        let mut tracker = OutageTracker::default();
        tracker.mark_down(0, ErrorKind::Io);
        for second in 30..40 {
            assert_eq!(tracker.mark_up(second * SECOND_NS), None);
        }
        assert_eq!(
            tracker.mark_up(40 * SECOND_NS),
            outage(30, 0),
            "the ten seconds were no outage"
        );
        assert_eq!(
            tracker.mark_down(41 * SECOND_NS, ErrorKind::Io),
            outage(0, 0),
            "and this is another one"
        );
    }

    /// A full Redis takes writes when keys expire, and refuses again: once 5,128 log lines in eight
    /// minutes.
    #[test]
    fn what_comes_and_goes_is_one_outage_with_its_count() {
        let mut tracker = OutageTracker::default();
        let (mut lines, mut last) = (0, None);
        for turn in 0..5_000 {
            let now_ns = turn * SECOND_NS / 10;
            let news = [
                tracker.mark_down(now_ns, ErrorKind::Oom),
                tracker.mark_up(now_ns + SECOND_NS / 20),
            ];
            for news in news.into_iter().flatten() {
                lines += 1;
                last = Some(news);
            }
        }
        assert_eq!(lines, 9, "at first, and each minute");
        assert_eq!(last, outage(480, 4_800));
    }
}
