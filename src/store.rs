//! The store: what becomes of an event after its 202.
//!
//! ```text
//! core ─▶ open block ─▶ publish ─▶ memory::MemoryStore, at once: the client may read it back
//!            │              └────▶ (a remote store: at the end of the turn, by its writer thread)
//!            └ ledger: accepted before anybody else sees the block, outcomes after
//! ```
//!
//! Files in the order of the data: [`packing`], [`block`], [`key`], [`memory`] and its segments;
//! beside them the books in [`ledger`].

pub mod block;
pub mod key;
pub mod ledger;
pub mod memory;
pub mod packing;
mod segment;

use std::time::Duration;

use crate::clock::Now;
use crate::metric::event::Event;
use crate::store::block::{Appended, Block};
use crate::store::key::KeyHasher;
use crate::store::ledger::{Ledger, Totals};
use crate::store::memory::MemoryStore;
use crate::store::packing::Packing;
use crate::sync::{Mutex, MutexGuard, PerCore};

/// The store of one server, shared by all its threads.
#[derive(Debug)]
pub struct Store {
    ledger: Ledger,
    open: PerCore<Mutex<Open>>,
    kind: Kind,
}

/// Where records end.
#[derive(Debug)]
enum Kind {
    Memory(MemoryStore),
}

/// The block that a core is filling.
#[derive(Debug)]
struct Open {
    block: Block,
    /// Events of `block` that are not accepted in the ledger yet.
    unpublished: u64,
}

/// An answer to [`Store::lookup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The value was appended to the caller's buffer.
    Found,
    /// Never stored, expired, evicted, or hidden because a newer version was evicted.
    Absent,
}

/// The store at one moment, for `/analyze` and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// `memory`.
    pub kind: &'static str,
    /// Whether records can be written and read now.
    pub up: bool,
    /// Bytes allocated for events that wait. Always 0 in memory: blocks are handed over before
    /// their request is answered.
    pub pending_bytes: u64,
    /// The bound of what waits or, in memory, of what is kept, index included.
    pub capacity_bytes: u64,
    /// The books; `totals.pending()` are the events that wait.
    pub totals: Totals,
}

impl Store {
    /// A store inside this process: `capacity_bytes` for all cores together, index included, and
    /// one time to live.
    #[must_use]
    pub fn memory(cores: usize, capacity_bytes: usize, ttl_ms: u64) -> Self {
        let hasher = KeyHasher::default();
        Self {
            ledger: Ledger::new(cores, 0),
            open: PerCore::new(cores, |_| {
                Mutex::new(Open {
                    block: Block::new(Packing::Bare, hasher.clone()),
                    unpublished: 0,
                })
            }),
            kind: Kind::Memory(MemoryStore::new(cores, capacity_bytes, ttl_ms, hasher.clone())),
        }
    }

    /// Opens the core's block for the events of one request. Only the core itself calls this, and
    /// it lets go before the next request.
    #[must_use]
    pub fn open(&self, core: usize, now: Now) -> OpenBlock<'_> {
        OpenBlock { store: self, open: self.open.at(core).lock(), core, now }
    }

    /// Ends a core's turn: what may wait no longer is handed over. In memory nothing waits.
    pub fn end_turn(&self, _core: usize, _now: Now) {
        match &self.kind {
            Kind::Memory(_) => {}
        }
    }

    /// Lets expired records of a core go. Returns when to call again, by the monotonic clock in
    /// nanoseconds; `None` while there is nothing to wait for. Called by the core itself, after a
    /// turn that stored something or when that time has come.
    pub fn maintain(&self, core: usize, now: Now) -> Option<u64> {
        match &self.kind {
            Kind::Memory(memory) => memory.maintain(core, now, &self.ledger),
        }
    }

    /// Appends to `out` the newest value stored under `key`, such as `metric:d1:1700000000`.
    pub fn lookup(&self, key: &[u8], now: Now, out: &mut Vec<u8>) -> Lookup {
        match &self.kind {
            Kind::Memory(memory) if memory.lookup(key, now, out) => Lookup::Found,
            Kind::Memory(_) => Lookup::Absent,
        }
    }

    /// Waits until every accepted event has an outcome, or `timeout` is over; says which. The cores
    /// must be at rest. In memory there is nothing to wait for.
    #[must_use]
    pub fn flush(&self, _timeout: Duration) -> bool {
        match &self.kind {
            Kind::Memory(_) => self.walk_pending() == 0,
        }
    }

    /// Events that wait, counted one block after the other and not from the ledger. Exact while the
    /// cores are at rest; a core with a request at hand would have to be waited for.
    #[must_use]
    pub fn walk_pending(&self) -> u64 {
        let open = self.open.iter().map(|open| open.lock().block.events());
        match &self.kind {
            // No queue and no block in flight here, so the open ones are all.
            Kind::Memory(_) => open.sum(),
        }
    }

    /// Bytes allocated for what is kept in this process. Looks at every core's ring.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.kind {
            Kind::Memory(memory) => memory.held_bytes(),
        }
    }

    /// Reads the books and the bounds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let totals = self.ledger.totals();
        match &self.kind {
            Kind::Memory(memory) => Stats {
                kind: "memory",
                up: true,
                pending_bytes: 0,
                capacity_bytes: memory.capacity_bytes() as u64,
                totals,
            },
        }
    }

    /// Accepts what was appended, and hands the block over if its store does not let it wait.
    fn publish(&self, core: usize, open: &mut Open, now: Now) {
        if open.unpublished == 0 {
            return;
        }
        self.ledger.accept(core, open.unpublished);
        open.unpublished = 0;
        match &self.kind {
            Kind::Memory(memory) => memory.hand_over(core, &mut open.block, now, &self.ledger),
        }
    }
}

/// A core's open block, held for one request. Letting go of it publishes what was appended, so
/// that no path leaves an event uncounted.
#[derive(Debug)]
pub struct OpenBlock<'a> {
    store: &'a Store,
    open: MutexGuard<'a, Open>,
    core: usize,
    now: Now,
}

impl OpenBlock<'_> {
    /// Packs one event. A block that is full is published at once, so a long batch stays in cache.
    pub fn append(&mut self, event: &Event<'_>) -> Appended {
        let appended = self.open.block.append(event, self.now);
        self.open.unpublished += 1;
        if self.open.block.is_full() {
            self.store.publish(self.core, &mut self.open, self.now);
        }
        appended
    }
}

impl Drop for OpenBlock<'_> {
    fn drop(&mut self) {
        self.store.publish(self.core, &mut self.open, self.now);
    }
}

#[cfg(test)]
mod tests;
