//! The lease of an instance: the time for which the others are sure to count on it.
//!
//! A core looks at one number for each request. An instance that was cut off or frozen knows so by
//! its own clock, before it judges another event.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use percore::sync::{Mutex, MutexGuard};

/// Tells who claims devices that some are wanted.
pub(super) type Wake = Box<dyn Fn() + Send + Sync>;

/// See the head of this file.
pub(super) struct Lease {
    /// The end of the lease; `u64::MAX` once that was noted, and where windows are not shared.
    ends_ns: AtomicU64,
    terms: Mutex<Terms>,
    /// This instance among the others, and whom to wake.
    party: OnceLock<(u64, Wake)>,
}

/// The terms of a lease. Who changes them, and with them the tenures of the shards, keeps them
/// locked meanwhile.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// The tenure; 0 where windows are not shared.
    pub(super) tenure: u32,
    /// The times that it has run out.
    pub(super) lapses: u32,
    /// The branches that were begun here.
    branches: u64,
    /// The end of the lease; 0 if it has run out, and that was noted.
    until_ns: u64,
}

/// The largest tenure: two bits of a mark are something else.
const TENURE_MAX: u32 = u32::MAX >> 2;

impl Terms {
    /// Returns true while the others are sure to count on this instance.
    pub(super) const fn is_sure(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// Returns true if the lease has run out, and that was not noted yet.
    pub(super) const fn has_run_out(&self, now_ns: u64) -> bool {
        self.until_ns != 0 && self.until_ns <= now_ns
    }

    /// Goes on to the next tenure, and returns it.
    pub(super) const fn next_tenure(&mut self) -> u32 {
        // At one a second, they last for thirty years.
        self.tenure = if self.tenure < TENURE_MAX { self.tenure + 1 } else { 1 };
        self.tenure
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            ends_ns: AtomicU64::new(u64::MAX),
            terms: Mutex::new(Terms::default()),
            party: OnceLock::new(),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lease").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl Lease {
    /// Returns true if the lease may have run out since somebody looked last.
    #[inline(always)]
    pub(super) fn may_have_run_out(&self, now_ns: u64) -> bool {
        // Who sees that it was noted sees the tenure that began with it as well.
        now_ns >= self.ends_ns.load(Ordering::Acquire)
    }

    /// Sets who this is and whom to wake; once.
    pub(super) fn set_party(&self, me: u64, wake: Wake) {
        let is_first = self.party.set((me, wake)).is_ok();
        debug_assert!(is_first, "windows are shared once");
    }

    /// Returns a name for a branch of a device's events that no other one has: the numbers of
    /// instances are random, so those of two never meet.
    pub(super) fn new_branch(&self) -> u64 {
        let me = self.party.get().map_or(0, |(me, _)| *me);
        let mut terms = self.terms.lock();
        terms.branches += 1;
        me.wrapping_add(terms.branches)
    }

    /// Tells that there are devices to be claimed.
    #[cold]
    pub(super) fn wake(&self) {
        if let Some((_, wake)) = self.party.get() {
            wake();
        }
    }

    /// Locks the terms.
    pub(super) fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock()
    }

    /// Extends the lease, unless it would end before now or sooner than it does.
    pub(super) fn extend(&self, terms: &mut Terms, until_ns: u64, now_ns: u64) {
        if until_ns > now_ns.max(terms.until_ns) {
            terms.until_ns = until_ns;
            self.ends_ns.store(until_ns, Ordering::Release);
        }
    }

    /// Notes that the lease has run out, once the next tenure has begun in all shards.
    pub(super) fn end(&self, terms: &mut Terms) {
        terms.until_ns = 0;
        self.ends_ns.store(u64::MAX, Ordering::Release);
    }
}
