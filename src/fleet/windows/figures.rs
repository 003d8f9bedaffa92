//! The figures of the windows that move, for the exposition.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::note::DeviceId;
use crate::store::redis::error::ErrorCounts;
use crate::telemetry::latency::Latency;
use percore::sync::{Count, Mutex};

/// The place that a window came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A replica that lives.
    Live,
    /// One that left in order.
    Left,
    /// One that is dead.
    Lapsed,
    /// Nowhere: the device is new.
    Nowhere,
}

/// The names of these places, in their order.
const SOURCES: [&str; 4] = ["live", "left", "lapsed", "nowhere"];

/// The time of what has not begun.
const NEVER_NS: u64 = u64::MAX;

/// Counters that the thread of windows writes, and any thread reads.
#[derive(Debug)]
pub struct Figures {
    taken: [Count; SOURCES.len()],
    pub(super) given: Count,
    pub(super) saves: Count,
    pub(super) saves_failed: ErrorCounts,
    pub(super) errors: ErrorCounts,
    pub(super) unreadable: Count,
    /// The times from the first event without a window to its coming.
    takes: Latency,
    /// Unsaved events are to be saved within this time.
    save_interval_ns: u64,
    /// The time since which unsaved devices have been collected for the next round of saves.
    collects_since_ns: AtomicU64,
    /// The same of the round under way; the greatest number if there is none.
    round_since_ns: AtomicU64,
    /// The same of the copies that Redis has not confirmed yet, or has refused.
    copied_since_ns: AtomicU64,
    /// The devices whose windows were given away and have not been taken yet.
    moving: Mutex<BTreeSet<DeviceId>>,
}

/// A reading of [`Figures`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiguresReading {
    /// Windows that came here, by where from.
    pub taken: Vec<(&'static str, u64)>,
    /// Windows that were given to other replicas.
    pub given: u64,
    /// Windows that were saved.
    pub saves: u64,
    /// Windows that Redis did not take, by its error.
    pub saves_failed: Vec<(&'static str, u64)>,
    /// Errors of Redis, by kind.
    pub errors: Vec<(&'static str, u64)>,
    /// Letters, envelopes and states that could not be read.
    pub unreadable: u64,
    /// The greatest age of an event that may not be saved, in nanoseconds; 0 if all are.
    pub lag_ns: u64,
    /// Unsaved events are to be saved within this time.
    pub save_interval_ns: u64,
}

impl Figures {
    /// Returns the figures of windows that are to be saved within this time.
    pub fn new(save_interval_ns: u64) -> Self {
        Self {
            taken: Default::default(),
            given: Count::default(),
            saves: Count::default(),
            saves_failed: ErrorCounts::default(),
            errors: ErrorCounts::default(),
            unreadable: Count::default(),
            takes: Latency::new(1, 1),
            save_interval_ns,
            collects_since_ns: AtomicU64::new(NEVER_NS),
            round_since_ns: AtomicU64::new(NEVER_NS),
            copied_since_ns: AtomicU64::new(NEVER_NS),
            moving: Mutex::new(BTreeSet::new()),
        }
    }

    /// Counts a window that came here.
    pub(super) fn note_taken(&self, source: Source, took_ns: u64) {
        if let Some(count) = self.taken.get(source as usize) {
            count.add(1);
        }
        self.takes.record_one(0, 0, took_ns);
    }

    /// Notes that from now on unsaved devices are collected for another round of saves. The one
    /// that begins has what was collected before.
    pub(super) fn begin_round(&self, now_ns: u64) {
        let since_ns = self.collects_since_ns.swap(now_ns, Ordering::Relaxed);
        self.round_since_ns.store(since_ns.min(now_ns), Ordering::Relaxed);
    }

    /// Notes that unsaved devices are collected for another round of saves, and that of the last
    /// one some are left.
    pub(super) fn go_on_with_round(&self, now_ns: u64) {
        self.collects_since_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Notes that the last devices of the round under way were copied.
    pub(super) fn end_round(&self) {
        self.round_since_ns.store(NEVER_NS, Ordering::Relaxed);
    }

    /// Notes that devices of the round were copied, to be saved.
    pub(super) fn note_copied(&self) {
        let since_ns = self.round_since_ns.load(Ordering::Relaxed);
        self.copied_since_ns.fetch_min(since_ns, Ordering::Relaxed);
    }

    /// Notes that a device was copied out of turn.
    pub(super) fn note_copied_at(&self, now_ns: u64) {
        self.copied_since_ns.fetch_min(now_ns, Ordering::Relaxed);
    }

    /// Notes that Redis has confirmed all copies.
    pub(super) fn note_saved(&self) {
        self.copied_since_ns.store(NEVER_NS, Ordering::Relaxed);
    }

    /// Returns the greatest age of an event that may not be saved, where so many devices have some
    /// that are not even copied; 0 if all are.
    fn lag_ns(&self, unsaved: u64, now_ns: u64) -> u64 {
        let collected = (unsaved > 0).then_some(&self.collects_since_ns);
        let since = [&self.round_since_ns, &self.copied_since_ns].into_iter().chain(collected);
        let since_ns = since.map(|since_ns| since_ns.load(Ordering::Relaxed)).min();
        now_ns.saturating_sub(since_ns.unwrap_or(NEVER_NS))
    }

    /// Notes that the window of a device goes.
    pub(super) fn note_gone(&self, id: &[u8]) {
        self.moving.lock().insert(id.into());
    }

    /// Notes that it has come to its receiver, or back.
    pub(super) fn note_come(&self, id: &[u8]) {
        self.moving.lock().remove(id);
    }

    /// Returns true if the window of a device was given away, and has not been taken yet.
    pub fn moves(&self, id: &[u8]) -> bool {
        self.moving.lock().contains(id)
    }

    /// Returns the times from the first event without a window to its coming.
    pub const fn takes(&self) -> &Latency {
        &self.takes
    }

    /// Reads them, where so many devices have events that are not saved.
    pub fn read(&self, unsaved: u64, now_ns: u64) -> FiguresReading {
        FiguresReading {
            taken: SOURCES.into_iter().zip(self.taken.iter().map(Count::total)).collect(),
            given: self.given.total(),
            saves: self.saves.total(),
            saves_failed: self.saves_failed.totals(),
            errors: self.errors.totals(),
            unreadable: self.unreadable.total(),
            lag_ns: self.lag_ns(unsaved, now_ns),
            save_interval_ns: self.save_interval_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_age_of_what_redis_may_not_have() {
        let figures = Figures::new(5_000);
        let lag_ns = |unsaved, now_ns| figures.read(unsaved, now_ns).lag_ns;
        assert_eq!([lag_ns(0, 100), lag_ns(1, 100)], [0, 0], "before the first round");
        figures.begin_round(100);
        figures.end_round();
        // However old the round is: nothing is unsaved.
        assert_eq!([lag_ns(0, 2_600), lag_ns(1, 2_600)], [0, 2_500]);
        figures.begin_round(2_600);
        assert_eq!(lag_ns(0, 2_700), 2_600, "it is on the list of the round");
        figures.note_copied();
        figures.end_round();
        assert_eq!(lag_ns(0, 2_800), 2_700, "it is on its way");
        assert_eq!(lag_ns(1, 2_800), 2_700, "and what came since is newer");
        figures.note_saved();
        assert_eq!([lag_ns(0, 2_900), lag_ns(1, 2_900)], [0, 300]);
    }

    #[test]
    fn what_redis_refuses_and_what_is_left_of_a_round_ages() {
        let figures = Figures::new(5_000);
        let lag_ns = |unsaved, now_ns| figures.read(unsaved, now_ns).lag_ns;
        figures.begin_round(100);
        figures.begin_round(200);
        figures.note_copied();
        figures.go_on_with_round(300);
        assert_eq!(lag_ns(0, 400), 300, "some of the round are left");
        figures.end_round();
        figures.note_copied_at(500);
        for now_ns in [600, 60_000] {
            assert_eq!(lag_ns(0, now_ns), now_ns - 100, "a younger copy changes nothing");
        }
        figures.note_saved();
        figures.note_copied_at(700);
        assert_eq!(lag_ns(0, 800), 100, "one out of turn");
    }
}
