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
    /// The age of the oldest event that may not be saved, in nanoseconds.
    lag_ns: AtomicU64,
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
    /// Letters, envelopes and states that could not be read.
    pub unreadable: u64,
    /// The age of the oldest event that may not be saved, in nanoseconds.
    pub lag_ns: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            taken: Default::default(),
            given: Count::default(),
            saves: Count::default(),
            saves_failed: ErrorCounts::default(),
            errors: ErrorCounts::default(),
            unreadable: Count::default(),
            takes: Latency::new(1, 1),
            lag_ns: AtomicU64::default(),
            moving: Mutex::new(BTreeSet::new()),
        }
    }
}

impl Figures {
    /// Counts a window that came here.
    pub(super) fn note_taken(&self, source: Source, took_ns: u64) {
        if let Some(count) = self.taken.get(source as usize) {
            count.add(1);
        }
        self.takes.record_one(0, 0, took_ns);
    }

    /// Sets the age of the oldest event that may not be saved.
    pub(super) fn set_lag(&self, lag_ns: u64) {
        self.lag_ns.store(lag_ns, Ordering::Relaxed);
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

    /// Reads them.
    pub fn read(&self) -> FiguresReading {
        FiguresReading {
            taken: SOURCES.into_iter().zip(self.taken.iter().map(Count::total)).collect(),
            given: self.given.total(),
            saves: self.saves.total(),
            saves_failed: self.saves_failed.totals(),
            unreadable: self.unreadable.total(),
            lag_ns: self.lag_ns.load(Ordering::Relaxed),
        }
    }
}
