//! The store's books: `accepted = stored + coalesced + dropped + pending`, in events.
//!
//! Every event that a 202 has acknowledged ends in exactly one outcome. Each slot of the ledger has
//! one writing thread: a slot a core, and one for each writer thread that a store may have. An
//! event is accepted before the block that holds it becomes visible to anybody, and its outcome is
//! counted after; a reader takes the outcomes first and `accepted` last. So whatever outcome it
//! sees, it sees the acceptance too, and `pending` is never negative.

use percore::sync::{Count, PerCore};

/// Why an acknowledged event was not stored. For a remote store it means: not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The queue was full, and its oldest block made room for a newer one.
    Overflow,
    /// It waited longer than its time to live.
    Expired,
    /// The store gave a final error for it.
    Refused,
    /// The server ended before the store had taken it.
    Shutdown,
}

impl DropReason {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Overflow, Self::Expired, Self::Refused, Self::Shutdown];

    /// The label value in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }

    /// The place in [`EventTotals::dropped`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a stored record left the embedded store. This is no outcome: it was stored before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictReason {
    /// Its time to live was over.
    Expired,
    /// Newer records needed the room.
    Capacity,
}

impl EvictReason {
    /// Both, in the order of [`Self::index`].
    pub const ALL: [Self; 2] = [Self::Expired, Self::Capacity];

    /// The label value in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Capacity => "capacity",
        }
    }

    /// The place in [`EventTotals::evicted`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What one thread has counted.
#[derive(Debug, Default)]
struct ThreadCounters {
    accepted: Count,
    stored: Count,
    coalesced: Count,
    dropped: [Count; DropReason::ALL.len()],
    evicted: [Count; EvictReason::ALL.len()],
}

/// Sums over all slots, from one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Events that the server has taken responsibility for.
    pub accepted: u64,
    /// Events whose record the store has.
    pub stored: u64,
    /// Events replaced by a newer one of their key while both waited in one block.
    pub coalesced: u64,
    /// Events lost, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Records that left the embedded store, in the order of [`EvictReason::ALL`]; outside of the
    /// identity.
    pub evicted: [u64; EvictReason::ALL.len()],
}

impl EventTotals {
    /// Events dropped for whatever reason.
    #[must_use]
    pub fn dropped_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Events dropped for one reason.
    #[must_use]
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or_default()
    }

    /// Events accepted and without an outcome yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let settled = self.stored + self.coalesced + self.dropped_all();
        debug_assert!(settled <= self.accepted, "{self:?}");
        self.accepted.saturating_sub(settled)
    }
}

/// The counters of one store; shared by all threads, each of which writes its own slot only.
#[derive(Debug)]
pub struct EventCounters {
    slots: PerCore<ThreadCounters>,
}

impl EventCounters {
    /// Slots `0..cores` belong to the cores, `cores..cores + writers` to writer threads.
    #[must_use]
    pub fn new(cores: usize, writers: usize) -> Self {
        Self { slots: PerCore::new(cores + writers, |_| ThreadCounters::default()) }
    }

    /// Takes responsibility for `events`, before the block that holds them becomes visible.
    pub fn add_accepted(&self, slot: usize, events: u64) {
        self.slots.at(slot).accepted.add(events);
    }

    /// Counts events whose records the store now has.
    pub fn add_stored(&self, slot: usize, events: u64) {
        self.slots.at(slot).stored.add(events);
    }

    /// Counts events that a newer one of the same key replaced.
    pub fn add_coalesced(&self, slot: usize, events: u64) {
        self.slots.at(slot).coalesced.add(events);
    }

    /// Counts events that are lost.
    pub fn add_dropped(&self, slot: usize, reason: DropReason, events: u64) {
        if let Some(count) = self.slots.at(slot).dropped.get(reason.index()) {
            count.add(events);
        }
    }

    /// Counts records that left the embedded store.
    pub fn add_evicted(&self, slot: usize, reason: EvictReason, records: u64) {
        if let Some(count) = self.slots.at(slot).evicted.get(reason.index()) {
            count.add(records);
        }
    }

    /// Events that a core has accepted.
    #[must_use]
    pub fn accepted_by(&self, core: usize) -> u64 {
        self.slots.at(core).accepted.total()
    }

    /// Reads every counter: outcomes first, `accepted` last.
    #[must_use]
    pub fn totals(&self) -> EventTotals {
        let mut totals = EventTotals::default();
        for slot in self.slots.iter() {
            // Evictions come before their `stored`, so that stored − evicted is never negative.
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

fn add_each(sums: &mut [u64], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.total();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_index() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{}", reason.name());
        }
        for (index, reason) in EvictReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{}", reason.name());
        }
    }

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
