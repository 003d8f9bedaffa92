//! What of Redis's coming and going is news.
//!
//! Pure. The first fault is told at once, whatever it is, and so is each further kind of one
//! during the same outage; then once a minute that it lasts. An outage is over when Redis has been
//! up for a while: a server that is full is up and down many times a second, and that is one
//! outage, which counts its returns.

use std::time::Duration;

use super::Outage;
use super::failure::Kind;
use crate::limits::{LOG_INTERVAL_NS, STORE_UP_LASTS_MS};

const UP_LASTS_NS: u64 = STORE_UP_LASTS_MS * 1_000_000;

/// A set of kinds has a bit for each.
const _: () = assert!(Kind::ALL.len() <= u32::BITS as usize);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) enum Watch {
    /// Nothing is known yet.
    #[default]
    Unknown,
    Up,
    Down(Down),
}

/// An outage as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Down {
    since_ns: u64,
    /// The kinds of faults that were told.
    told: u32,
    /// When to tell again.
    again_ns: u64,
    /// It is up, but has not been for long enough.
    up_since_ns: Option<u64>,
    returns: u64,
}

impl Watch {
    /// Redis does as it should. Answers the outage that is over by now, if that is news.
    pub(super) fn up(&mut self, now_ns: u64) -> Option<Outage> {
        let outage = match self {
            Self::Up => return None,
            Self::Unknown => Outage::default(),
            Self::Down(down) => {
                let since_ns = *down.up_since_ns.get_or_insert(now_ns);
                if now_ns.saturating_sub(since_ns) < UP_LASTS_NS {
                    return None;
                }
                down.outage(since_ns)
            }
        };
        *self = Self::Up;
        Some(outage)
    }

    /// Redis does not. Answers the outage so far, if that is news.
    pub(super) fn down(&mut self, now_ns: u64, kind: Kind) -> Option<Outage> {
        if !matches!(self, Self::Down(_)) {
            let (told, again_ns) = (0, now_ns);
            let down = Down { since_ns: now_ns, told, again_ns, up_since_ns: None, returns: 0 };
            *self = Self::Down(down);
        }
        let Self::Down(down) = self else {
            return None;
        };
        down.returns += u64::from(down.up_since_ns.take().is_some());
        let bit = 1 << (kind as u32);
        if down.told & bit != 0 && now_ns < down.again_ns {
            return None;
        }
        down.told |= bit;
        down.again_ns = now_ns.saturating_add(LOG_INTERVAL_NS);
        Some(down.outage(now_ns))
    }
}

impl Down {
    const fn outage(&self, until_ns: u64) -> Outage {
        let lasted = Duration::from_nanos(until_ns.saturating_sub(self.since_ns));
        Outage { lasted, returns: self.returns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    const fn outage(seconds: u64, returns: u64) -> Option<Outage> {
        Some(Outage { lasted: Duration::from_secs(seconds), returns })
    }

    #[test]
    fn the_first_fault_is_news_whatever_it_is() {
        for kind in Kind::ALL {
            let mut watch = Watch::default();
            assert_eq!(watch.down(5 * SECOND_NS, kind), outage(0, 0), "{kind:?}");
            assert_eq!(watch.down(6 * SECOND_NS, kind), None, "{kind:?}");
        }
        let mut watch = Watch::default();
        assert_eq!(watch.up(0), outage(0, 0), "and so is that it is there");
        assert_eq!(watch.up(SECOND_NS), None);
        assert_eq!(watch.down(2 * SECOND_NS, Kind::Other), outage(0, 0));
    }

    #[test]
    fn an_outage_is_told_once_a_minute_and_for_each_kind() {
        let mut watch = Watch::default();
        let mut told = 0;
        for second in 0..600 {
            told += u64::from(watch.down(second * SECOND_NS, Kind::Connect).is_some());
        }
        assert_eq!(told, 10);
        assert_eq!(watch.down(600 * SECOND_NS, Kind::Loading), outage(600, 0));
        assert_eq!(watch.down(601 * SECOND_NS, Kind::Loading), None);
        assert_eq!(watch.down(602 * SECOND_NS, Kind::Connect), None, "that is known");
    }

    #[test]
    fn up_is_news_when_it_has_lasted() {
        let mut watch = Watch::default();
        watch.down(0, Kind::Io);
        for second in 30..40 {
            assert_eq!(watch.up(second * SECOND_NS), None);
        }
        assert_eq!(watch.up(40 * SECOND_NS), outage(30, 0), "the ten seconds were no outage");
        assert_eq!(watch.down(41 * SECOND_NS, Kind::Io), outage(0, 0), "and this is another one");
    }

    /// A Redis without memory takes what expires, and refuses again: 5,128 lines in eight minutes.
    #[test]
    fn what_comes_and_goes_is_one_outage_with_its_count() {
        let mut watch = Watch::default();
        let (mut lines, mut last) = (0, None);
        for turn in 0..5_000 {
            let now_ns = turn * SECOND_NS / 10;
            let news = [watch.down(now_ns, Kind::Oom), watch.up(now_ns + SECOND_NS / 20)];
            for news in news.into_iter().flatten() {
                lines += 1;
                last = Some(news);
            }
        }
        assert_eq!(lines, 9, "at first, and each minute");
        assert_eq!(last, outage(480, 4_800));
    }
}
