//! The state of a member, for the exposition and for `/stats`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::redis::error::ErrorCounts;
use percore::sync::Count;

/// Counters and levels that the fleet's thread writes, and any thread reads.
#[derive(Debug, Default)]
pub struct Status {
    pub(super) up: AtomicBool,
    /// The live members, this one included; 0 while it is not up.
    pub(super) live: AtomicU64,
    pub(super) lapsed: AtomicU64,
    pub(super) lapses: Count,
    pub(super) complete: Count,
    pub(super) incomplete: Count,
    pub(super) asked: Count,
    pub(super) unreadable: Count,
    pub(super) errors: ErrorCounts,
}

/// A reading of a [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReading {
    /// True while Redis confirms the lease in time.
    pub up: bool,
    /// The live members, this one included.
    pub live: u64,
    /// The members that are missed: their lease has run out, a minute ago at most.
    pub lapsed: u64,
    /// The times that this member's own lease may have run out.
    pub lapses: u64,
    /// The questions of clients that all members answered.
    pub complete: u64,
    /// Those that some did not answer.
    pub incomplete: u64,
    /// The questions of other members.
    pub asked: u64,
    /// Messages and entries that could not be read.
    pub unreadable: u64,
    /// Errors of Redis, by kind.
    pub errors: Vec<(&'static str, u64)>,
}

impl Status {
    /// Returns whether the fleet can be asked, and how many members are missed.
    pub fn members(&self) -> (bool, u64) {
        (self.up.load(Ordering::Relaxed), self.lapsed.load(Ordering::Relaxed))
    }

    /// Reads it.
    pub fn read(&self) -> StatusReading {
        StatusReading {
            up: self.up.load(Ordering::Relaxed),
            live: self.live.load(Ordering::Relaxed),
            lapsed: self.lapsed.load(Ordering::Relaxed),
            lapses: self.lapses.total(),
            complete: self.complete.total(),
            incomplete: self.incomplete.total(),
            asked: self.asked.total(),
            unreadable: self.unreadable.total(),
            errors: self.errors.totals(),
        }
    }
}
