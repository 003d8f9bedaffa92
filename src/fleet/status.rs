//! The state of a member, for the exposition and for `/stats`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::directory::{Directory, Incarnation, MemberState};
use crate::store::redis::error::ErrorCounts;
use percore::clock::Now;
use percore::sync::Count;

/// Counters and levels that the fleet's thread writes, and any thread reads.
#[derive(Debug, Default)]
pub struct Status {
    pub(super) up: AtomicBool,
    live: AtomicU64,
    lapsed: AtomicU64,
    differing: AtomicU64,
    pub(super) lapses: Count,
    pub(super) complete: Count,
    pub(super) incomplete: Count,
    pub(super) asked: Count,
    pub(super) unreadable: Count,
    /// Answers that were read elsewhere, by whoever made one of them.
    unreadable_parts: AtomicU64,
    pub(super) errors: ErrorCounts,
    /// Fleet time at the origin of the monotonic clock, in microseconds; the least number before it
    /// is known.
    offset_us: FleetOffset,
}

/// See [`Status`].
#[derive(Debug)]
struct FleetOffset(AtomicI64);

impl Default for FleetOffset {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

/// A reading of a [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReading {
    /// True while Redis confirms the lease in time.
    pub up: bool,
    /// The live members, this one included. While it is not up nothing is known of the members, and
    /// this is 0, as the next two are.
    pub live: u64,
    /// The members that are missed: their lease has run out, a minute ago at most.
    pub lapsed: u64,
    /// The live members whose settings or version differ from those of this one.
    pub differing: u64,
    /// The times that this member's own lease may have run out.
    pub lapses: u64,
    /// The questions of clients that all members answered.
    pub complete: u64,
    /// Those that some did not answer.
    pub incomplete: u64,
    /// The questions of other members.
    pub asked: u64,
    /// Messages, entries and answers that could not be read.
    pub unreadable: u64,
    /// Errors of Redis, by kind.
    pub errors: Vec<(&'static str, u64)>,
}

impl Status {
    /// Notes the members of the directory, as it is at this time.
    pub(super) fn note(&self, directory: &Directory, me: Incarnation, now_us: i64) {
        let live = directory.peers(me, MemberState::Live, now_us);
        let differing = live.iter().filter(|peer| directory.differs(me, **peer));
        self.differing.store(differing.count() as u64, Ordering::Relaxed);
        self.live.store(live.len() as u64 + 1, Ordering::Relaxed);
        self.lapsed.store(directory.missed(me, now_us) as u64, Ordering::Relaxed);
    }

    /// Sets fleet time at the origin of the monotonic clock.
    pub(super) fn set_offset(&self, offset_us: i64) {
        self.offset_us.0.store(offset_us, Ordering::Relaxed);
    }

    /// Returns fleet time or, before it is known, the time of this machine.
    pub(super) fn fleet_us(&self, now: Now) -> i64 {
        match self.offset_us.0.load(Ordering::Relaxed) {
            i64::MIN => now.wall_us,
            offset_us => offset_us.saturating_add_unsigned(now.mono_ns / 1000),
        }
    }

    /// Counts answers of members that could not be read.
    pub fn note_unreadable(&self, answers: u64) {
        self.unreadable_parts.fetch_add(answers, Ordering::Relaxed);
    }

    /// Returns whether the fleet can be asked, and how many members are missed.
    pub fn members(&self) -> (bool, u64) {
        (self.up.load(Ordering::Relaxed), self.lapsed.load(Ordering::Relaxed))
    }

    /// Reads it.
    pub fn read(&self) -> StatusReading {
        let up = self.up.load(Ordering::Relaxed);
        let known = |members: &AtomicU64| if up { members.load(Ordering::Relaxed) } else { 0 };
        StatusReading {
            up,
            live: known(&self.live),
            lapsed: known(&self.lapsed),
            differing: known(&self.differing),
            lapses: self.lapses.total(),
            complete: self.complete.total(),
            incomplete: self.incomplete.total(),
            asked: self.asked.total(),
            unreadable: self.unreadable.total() + self.unreadable_parts.load(Ordering::Relaxed),
            errors: self.errors.totals(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::directory::Entry;

    fn entry(seen_us: i64, version: &str, window: &str) -> Entry {
        let settings = [("window".to_owned(), window.to_owned())].into();
        Entry { seen_us, version: version.to_owned(), settings, ..Entry::default() }
    }

    #[test]
    fn members_are_counted_by_state_and_by_what_they_have_in_common() {
        let now_us = 100_000_000;
        let entries = [
            entry(now_us, "1", "50"),
            entry(now_us, "1", "50"),
            entry(now_us, "2", "50"),
            entry(now_us, "1", "60"),
            // One that is missed, and one that is not any more.
            entry(now_us - 30_000_000, "2", "50"),
            entry(now_us - 90_000_000, "2", "50"),
        ];
        let names = (0..).map(Incarnation);
        let directory = Directory { entries: names.zip(entries).collect(), ..Directory::default() };
        let status = Status::default();
        status.note(&directory, Incarnation(0), now_us);
        let counts = |reading: StatusReading| (reading.live, reading.lapsed, reading.differing);
        assert_eq!(counts(status.read()), (0, 0, 0), "nothing is known while it is not up");
        status.up.store(true, Ordering::Relaxed);
        assert_eq!(counts(status.read()), (4, 1, 2));
        status.note(&directory, Incarnation(2), now_us);
        assert_eq!(counts(status.read()), (4, 1, 3));
    }
}
