//! Event counters of the store: `accepted = stored + coalesced + dropped + pending`.
//!
//! Every event that was answered with 202 gets exactly one outcome. Each slot of the counters has
//! one writing thread: a core, or a writer thread of the store. An event is counted as accepted
//! before another thread can see it, and its outcome is counted after that; a reader reads the
//! outcomes first and `accepted` last. So it never sees an outcome without its acceptance, and
//! `pending` is never negative.

use percore::sync::{Count, PerCore, add_each};

percore::named_enum! {
    /// The reason why an acknowledged event was not stored or, in a remote store, not confirmed.
    pub enum DropReason {
        /// The queue was full, and its oldest block made room for a newer one.
        Overflow = "overflow",
        /// The event waited longer than its time to live.
        Expired = "expired",
        /// The store replied with an error that no retry can change.
        Refused = "refused",
        /// The server ended before the store had taken it.
        Shutdown = "shutdown",
        /// The server ended before the store had taken it, and left it for the next start.
        Spilled = "spilled",
    }
}

percore::named_enum! {
    /// The reason why a record was removed from the memory store. This is no outcome: it was stored
    /// before.
    pub enum EvictReason {
        /// The time to live was over.
        Expired = "expired",
        /// Newer records needed the space.
        Capacity = "capacity",
    }
}

/// The counters of one thread.
#[derive(Debug, Default)]
struct ThreadCounters {
    accepted: Count,
    stored: Count,
    coalesced: Count,
    dropped: [Count; DropReason::ALL.len()],
    evicted: [Count; EvictReason::ALL.len()],
}

/// Sums over all threads, from one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Events that were answered with 202, or are about to be.
    pub accepted: u64,
    /// Events whose record was stored.
    pub stored: u64,
    /// Events replaced by a newer one of their key while both waited in one block; in memory, in
    /// the turn that brought both.
    pub coalesced: u64,
    /// Events dropped, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Records removed from the memory store, in the order of [`EvictReason::ALL`]; no outcome.
    pub evicted: [u64; EvictReason::ALL.len()],
}

impl EventTotals {
    /// Returns the events dropped for any reason.
    pub fn dropped_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Returns the events dropped for one reason.
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or_default()
    }

    /// Returns the accepted events that have no outcome yet.
    pub fn pending(&self) -> u64 {
        let finished = self.stored + self.coalesced + self.dropped_all();
        debug_assert!(finished <= self.accepted, "{self:?}");
        self.accepted.saturating_sub(finished)
    }
}

/// The counters of one store, shared by all threads; each thread writes its own slot only.
#[derive(Debug)]
pub struct EventCounters {
    slots: PerCore<ThreadCounters>,
}

impl EventCounters {
    /// Creates counters whose slots `0..cores` belong to the cores, and `cores..cores + writers` to
    /// writer threads.
    pub fn new(cores: usize, writers: usize) -> Self {
        Self { slots: PerCore::new(cores + writers, |_| ThreadCounters::default()) }
    }

    /// Counts accepted events, before another thread can see them.
    pub fn add_accepted(&self, slot: usize, events: u64) {
        self.slots.at(slot).accepted.add(events);
    }

    /// Counts events whose records were stored.
    pub fn add_stored(&self, slot: usize, events: u64) {
        self.slots.at(slot).stored.add(events);
    }

    /// Counts events that a newer one of the same key replaced.
    pub fn add_coalesced(&self, slot: usize, events: u64) {
        self.slots.at(slot).coalesced.add(events);
    }

    /// Counts dropped events.
    pub fn add_dropped(&self, slot: usize, reason: DropReason, events: u64) {
        if let Some(count) = self.slots.at(slot).dropped.get(reason.index()) {
            count.add(events);
        }
    }

    /// Counts records removed from the memory store.
    pub fn add_evicted(&self, slot: usize, reason: EvictReason, records: u64) {
        if let Some(count) = self.slots.at(slot).evicted.get(reason.index()) {
            count.add(records);
        }
    }

    /// Returns the events that a core has accepted.
    pub fn accepted_by(&self, core: usize) -> u64 {
        self.slots.at(core).accepted.total()
    }

    /// Reads every counter: outcomes first, `accepted` last.
    pub fn totals(&self) -> EventTotals {
        let mut totals = EventTotals::default();
        for slot in self.slots.iter() {
            // Evictions are read before `stored`, so that stored − evicted is never negative.
            add_each(&mut totals.evicted, &slot.evicted);
        }
        for slot in self.slots.iter() {
            totals.stored += slot.stored.total();
            totals.coalesced += slot.coalesced.total();
            add_each(&mut totals.dropped, &slot.dropped);
        }
        totals.accepted = self.slots.iter().map(|slot| slot.accepted.total()).sum();
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_other_slots_settle_what_a_core_accepted() {
        let counters = EventCounters::new(2, 1);
        counters.add_accepted(0, 5);
        counters.add_accepted(1, 7);
        assert_eq!(counters.totals().pending(), 12);
        counters.add_stored(2, 6);
        counters.add_coalesced(2, 2);
        counters.add_dropped(1, DropReason::Overflow, 3);
        counters.add_dropped(2, DropReason::Refused, 1);
        let totals = counters.totals();
        assert_eq!(totals.pending(), 0);
        assert_eq!(totals.dropped_all(), 4);
        counters.add_evicted(0, EvictReason::Capacity, 6);
        assert_eq!(counters.totals().pending(), 0, "an eviction is no outcome");
    }
}
