//! The store: what becomes of an event after its 202.
//!
//! ```text
//! core ─▶ open block ─▶ memory::MemoryStore, full or before its answers: clients may read it back
//!            │    └───▶ redis::Shared, full or at the end of the turn ─▶ writer thread
//!            └ event_counters: accepted before another thread sees the block, outcomes after
//! ```
//!
//! Files in the order of the data: [`encoding`], [`block`], [`key`], [`memory`] and its segments,
//! [`redis`] and its writer; every event is counted in [`event_counters`].

pub mod block;
pub mod encoding;
pub mod event_counters;
pub mod key;
pub mod memory;
pub mod redis;
mod segment;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::redis_url::RedisUrl;
use crate::metric::event::Event;
use crate::store::block::{Appended, Block};
use crate::store::encoding::Encoding;
use crate::store::event_counters::{DropReason, EventCounters, EventTotals};
use crate::store::key::KeyHasher;
use crate::store::memory::MemoryStore;
use crate::store::redis::connector::Discovery;
use crate::store::redis::reader::Reader;
use crate::store::redis::writer_thread::WriterThread;
use crate::store::redis::{Observer, Shared, no_errors};
use percore::clock::{Clock, Now, nanoseconds};
use percore::sync::{Mutex, MutexGuard, PerCore};

/// The store of one server, shared by all its threads.
#[derive(Debug)]
pub struct Store {
    kind: Kind,
}

/// Where records end.
#[derive(Debug)]
enum Kind {
    Memory(Box<Memory>),
    Redis(Box<Redis>),
}

/// Inside this process.
#[derive(Debug)]
struct Memory {
    counters: EventCounters,
    open: PerCore<Mutex<Open>>,
    records: MemoryStore,
}

/// In a Redis elsewhere.
#[derive(Debug)]
struct Redis {
    shared: Arc<Shared>,
    writer: WriterThread,
    reader: Mutex<Reader>,
}

/// How a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Events that were not written.
    pub lost: u64,
    /// Whether its thread came to an orderly end.
    pub in_order: bool,
}

/// How to keep metrics in Redis.
#[derive(Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// What its keys begin with.
    pub prefix: String,
    /// The bound of what waits, in allocated bytes.
    pub queue_bytes: usize,
    /// Whether requests are refused when that is reached, or else the oldest block dropped.
    pub rejects: bool,
    /// The time to live of a record.
    pub ttl: Duration,
}

/// The block that a core is filling.
#[derive(Debug)]
struct Open {
    block: Block,
    /// Events of `block` that are not accepted in the ledger yet.
    unpublished: u64,
    /// Empty blocks that the request at hand may fill.
    reserve: Vec<Block>,
}

impl Open {
    const fn new(block: Block) -> Self {
        Self { block, unpublished: 0, reserve: Vec::new() }
    }
}

/// An answer to [`Store::lookup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The value was appended to the caller's buffer.
    Found,
    /// Never stored, expired, evicted, or hidden because a newer version was evicted.
    Absent,
    /// The store cannot be asked now.
    Unavailable,
}

/// The store at one moment, for `/analyze` and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// `memory` or `redis`.
    pub kind: &'static str,
    /// Whether records can be written and read now.
    pub up: bool,
    /// Bytes allocated for events that wait. Always 0 in memory: blocks are handed over before
    /// their requests are answered.
    pub pending_bytes: u64,
    /// The bound of what waits or, in memory, of what is kept, index included.
    pub capacity_bytes: u64,
    /// The books; `totals.pending()` are the events that wait.
    pub totals: EventTotals,
    /// Errors of a remote store by kind.
    pub errors: Vec<(&'static str, u64)>,
    /// Connections to a remote store made again after one was lost.
    pub reconnects: u64,
}

impl Store {
    /// A store inside this process: `capacity_bytes` for all cores together, index included, and
    /// one time to live.
    #[must_use]
    pub fn memory(cores: usize, capacity_bytes: usize, ttl_ms: u64) -> Self {
        let hasher = KeyHasher::default();
        let records = MemoryStore::new(cores, capacity_bytes, ttl_ms, hasher.clone());
        let block = || Block::new(Encoding::Plain, hasher.clone());
        Self {
            kind: Kind::Memory(Box::new(Memory {
                counters: EventCounters::new(cores, 0),
                open: PerCore::new(cores, |_| Mutex::new(Open::new(block()))),
                records,
            })),
        }
    }

    /// A store in Redis, with a thread that writes to it. Redis need not be there yet.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn redis(
        cores: usize,
        settings: RedisSettings,
        clock: Clock,
        observer: Box<dyn Observer>,
    ) -> io::Result<Self> {
        let RedisSettings { url, prefix, queue_bytes, rejects, ttl } = settings;
        let ttl_ns = nanoseconds(ttl);
        let ttl_s = u32::try_from(ttl_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        let hasher = KeyHasher::default();
        // Every record is packed with it, and there is one store in a process.
        let prefix: &'static str = String::leak(prefix);
        let block = move || Block::new(Encoding::RedisSet { ttl_s, prefix }, hasher.clone());
        let shared = Arc::new(Shared::new(cores, queue_bytes, rejects, block, observer));
        let discovery = Arc::<Discovery>::default();
        let (to, same) = (url.clone(), Arc::clone(&discovery));
        let writer = WriterThread::start(Arc::clone(&shared), to, same, ttl_ns, clock)?;
        let reader = Mutex::new(Reader::new(Arc::clone(&shared), url, discovery, clock));
        Ok(Self { kind: Kind::Redis(Box::new(Redis { shared, writer, reader })) })
    }

    fn counters(&self) -> &EventCounters {
        match &self.kind {
            Kind::Memory(memory) => &memory.counters,
            Kind::Redis(redis) => &redis.shared.counters,
        }
    }

    fn open_of(&self, core: usize) -> &Mutex<Open> {
        match &self.kind {
            Kind::Memory(memory) => memory.open.at(core),
            Kind::Redis(redis) => redis.shared.open.at(core),
        }
    }

    /// Opens the core's block for the events of one request, of which the store will hold at most
    /// `bytes`. `None` if it has no room for that and is not to drop anything either. Only the core
    /// itself calls this, and it lets go before the next request.
    #[must_use]
    pub fn open(
        &self,
        core: usize,
        now: Now,
        bytes: impl FnOnce(&Self) -> usize,
    ) -> Option<OpenBlock<'_>> {
        let mut open = self.open_of(core).lock();
        if let Kind::Redis(redis) = &self.kind
            && !redis.shared.reserve(&mut open, || bytes(self))
        {
            return None;
        }
        Some(OpenBlock { store: self, open, core, now })
    }

    fn encoding(&self) -> Encoding {
        match &self.kind {
            Kind::Memory(_) => Encoding::Plain,
            Kind::Redis(redis) => redis.shared.encoding,
        }
    }

    /// The bytes that an event's record takes.
    #[must_use]
    pub fn record_bytes(&self, event: &Event<'_>) -> usize {
        self.encoding().record_bytes(event)
    }

    /// The key that an event of this `<timestamp>` or `<device_id>:<timestamp>` is stored under.
    #[must_use]
    pub fn full_key(&self, key: &[u8]) -> Vec<u8> {
        self.encoding().full_key(key)
    }

    /// Makes what a core has taken readable, where this process keeps it. The core calls it before
    /// any answer reaches its client, who may ask another core the next moment.
    pub fn publish(&self, core: usize, now: Now) {
        if let Kind::Memory(memory) = &self.kind {
            let mut open = memory.open.at(core).lock();
            if !open.block.is_empty() {
                memory.hand_over(core, &mut open, now);
            }
        }
    }

    /// Ends a core's turn that took events: what may wait no longer is handed over.
    pub fn end_turn(&self, core: usize) {
        match &self.kind {
            // Nothing waits for it.
            Kind::Memory(_) => {}
            Kind::Redis(redis) => redis.shared.end_turn(core),
        }
    }

    /// Lets expired records of a core go. Returns when to call again, by the monotonic clock in
    /// nanoseconds; `None` while there is nothing to wait for. Called by the core itself, after a
    /// turn that stored something or when that time has come.
    pub fn maintain(&self, core: usize, now: Now) -> Option<u64> {
        match &self.kind {
            Kind::Memory(memory) => memory.records.maintain(core, now, &memory.counters),
            // Redis lets them go.
            Kind::Redis(_) => None,
        }
    }

    /// Appends to `out` the newest value stored under `key`, such as `metric:d1:1700000000`. A
    /// remote store is waited for.
    pub fn lookup(&self, key: &[u8], now: Now, out: &mut Vec<u8>) -> Lookup {
        match &self.kind {
            Kind::Memory(memory) if memory.records.lookup(key, now, out) => Lookup::Found,
            Kind::Memory(_) => Lookup::Absent,
            Kind::Redis(redis) => redis.reader.lock().lookup(key, out),
        }
    }

    /// Whether a look-up may have to wait for somebody else.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self.kind, Kind::Redis(_))
    }

    /// Whether every thread of the store runs, as they do until it is flushed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match &self.kind {
            Kind::Memory(_) => true,
            Kind::Redis(redis) => redis.writer.is_running(),
        }
    }

    /// The end: waits until every accepted event has an outcome, or `timeout` is over; what has
    /// none by then is dropped. The cores must be at rest.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> Flushed {
        let mut in_order = true;
        if let Kind::Redis(redis) = &self.kind {
            redis.shared.set_stopping();
            in_order = redis.writer.stop(timeout);
            redis.shared.end();
        }
        let dropped = self.counters().totals().dropped_by(DropReason::Shutdown);
        Flushed { lost: dropped + self.walk_pending(), in_order }
    }

    /// Events that wait, counted one block after the other and not from the ledger. Exact while the
    /// cores are at rest; a core with a request at hand would have to be waited for.
    #[must_use]
    pub fn walk_pending(&self) -> u64 {
        match &self.kind {
            // No queue and no block in flight here, so the open ones are all.
            Kind::Memory(memory) => memory.open.iter().map(|open| open.lock().block.events()).sum(),
            Kind::Redis(redis) => redis.shared.walk_pending(),
        }
    }

    /// Bytes allocated for what is kept in this process. Looks at every core's ring.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.kind {
            Kind::Memory(memory) => memory.records.held_bytes(),
            Kind::Redis(redis) => redis.shared.queue.bytes_in_use(),
        }
    }

    /// Events that a core has accepted.
    #[must_use]
    pub fn accepted_by(&self, core: usize) -> u64 {
        self.counters().accepted_by(core)
    }

    /// Reads the books and the bounds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let totals = self.counters().totals();
        match &self.kind {
            Kind::Memory(memory) => Stats {
                kind: "memory",
                up: true,
                pending_bytes: 0,
                capacity_bytes: memory.records.capacity_bytes() as u64,
                totals,
                errors: no_errors(),
                reconnects: 0,
            },
            Kind::Redis(redis) => redis.shared.stats(totals),
        }
    }

    /// Accepts what was appended, and hands the block over if it is full.
    fn accept(&self, core: usize, open: &mut Open, now: Now) {
        if open.unpublished == 0 {
            return;
        }
        self.counters().add_accepted(core, open.unpublished);
        open.unpublished = 0;
        if open.block.is_full() {
            match &self.kind {
                Kind::Memory(memory) => memory.hand_over(core, open, now),
                Kind::Redis(redis) => redis.shared.queue_full_block(core, open, now.mono_ns),
            }
        }
    }
}

impl Memory {
    fn hand_over(&self, core: usize, open: &mut Open, now: Now) {
        self.records.hand_over(core, &mut open.block, now, &self.counters);
    }
}

/// A core's open block, held for one request. Letting go of it accepts what was appended, so that
/// no path leaves an event uncounted.
#[derive(Debug)]
pub struct OpenBlock<'a> {
    store: &'a Store,
    open: MutexGuard<'a, Open>,
    core: usize,
    now: Now,
}

impl OpenBlock<'_> {
    /// Packs one event. A full block is handed over at once, so a long batch stays in cache.
    pub fn append(&mut self, event: &Event<'_>) -> Appended {
        let appended = self.open.block.append(event, self.now);
        self.open.unpublished += 1;
        if self.open.block.is_full() {
            self.store.accept(self.core, &mut self.open, self.now);
        }
        appended
    }
}

impl Drop for OpenBlock<'_> {
    fn drop(&mut self) {
        self.store.accept(self.core, &mut self.open, self.now);
        if let Kind::Redis(redis) = &self.store.kind {
            redis.shared.queue.release_all(&mut self.open.reserve);
        }
    }
}

#[cfg(test)]
mod tests;
