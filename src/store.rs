//! The store: it keeps every event that was answered with 202, or counts why it could not.
//!
//! ```text
//! core ─▶ open block ─▶ memory::MemoryStore, when full or before the answers are sent
//!            │    └───▶ redis::SharedState, when full or at the end of the turn ─▶ writer thread
//!            └ event_counters: accepted before another thread sees the block, outcomes after
//! ```
//!
//! Files in the order of the data: [`encoding`] packs an event as a record, and `value` the part of
//! it that look-ups answer with; [`block`] collects records in an [`open_block`], [`key`] hashes
//! them; [`memory`] keeps them in segments, [`redis`] sends them to a server. [`event_counters`]
//! counts each event; [`stats`] and [`lookup`] are answers of the store.

pub mod block;
pub mod encoding;
pub mod event_counters;
pub mod key;
pub mod lookup;
pub mod memory;
mod open_block;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts threads, looks names up"
)]
pub mod redis;
mod segment;
pub mod stats;
mod value;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::redis_url::RedisUrl;
use crate::metric::event::Event;
use crate::schema::Schema;
use crate::store::block::{Appended, Block};
use crate::store::encoding::Encoding;
use crate::store::event_counters::{DropReason, EventCounters};
use crate::store::key::KeyHasher;
use crate::store::lookup::LookupResult;
use crate::store::memory::MemoryStore;
use crate::store::open_block::OpenBlock;
use crate::store::redis::discovery::Discovery;
use crate::store::redis::error::no_errors;
use crate::store::redis::observer::Observer;
use crate::store::redis::reader::Reader;
use crate::store::redis::shared_state::SharedState;
use crate::store::redis::writer_thread::WriterThread;
use crate::store::stats::Stats;
use percore::clock::{Clock, Now, nanoseconds};
use percore::sync::{Mutex, MutexGuard, PerCore};

/// The store of one server, shared by all its threads.
pub struct Store {
    backend: Backend,
}

/// The place where records are kept.
enum Backend {
    Memory(Box<MemoryBackend>),
    Redis(Box<RedisBackend>),
}

/// A store inside this process.
#[derive(Debug)]
struct MemoryBackend {
    encoding: Encoding,
    counters: EventCounters,
    open: PerCore<Mutex<OpenBlock>>,
    records: MemoryStore,
}

/// A store in a Redis server.
struct RedisBackend {
    shared: Arc<SharedState>,
    writer: WriterThread,
    reader: Mutex<Reader>,
}

/// The result of [`Store::flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushReport {
    /// Events that were not written.
    pub lost: u64,
    /// True if the writer thread ended as it should.
    pub in_order: bool,
}

/// Settings of a store in Redis.
#[derive(Debug)]
pub struct RedisSettings {
    /// The members that a metric may have.
    pub schema: &'static Schema,
    /// The servers.
    pub url: RedisUrl,
    /// The prefix of its keys.
    pub prefix: String,
    /// The bound of the queue, in allocated bytes.
    pub queue_bytes: usize,
    /// True if requests are refused when the queue is full; otherwise its oldest block is dropped.
    pub rejects: bool,
    /// The time to live of a record.
    pub ttl: Duration,
}

impl Store {
    /// Creates a store inside this process: `capacity_bytes` for all cores together, index
    /// included, and one time to live.
    pub fn memory(
        schema: &'static Schema,
        cores: usize,
        capacity_bytes: usize,
        ttl_ms: u64,
    ) -> Self {
        let hasher = KeyHasher::default();
        let records = MemoryStore::new(cores, capacity_bytes, ttl_ms, hasher.clone());
        let encoding = Encoding::plain(schema);
        let block = || Block::new(encoding, hasher.clone());
        Self {
            backend: Backend::Memory(Box::new(MemoryBackend {
                encoding,
                counters: EventCounters::new(cores, 0),
                open: PerCore::new(cores, |_| Mutex::new(OpenBlock::new(block()))),
                records,
            })),
        }
    }

    /// Creates a store in Redis and starts its writer thread. Redis need not run yet.
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
        let RedisSettings { schema, url, prefix, queue_bytes, rejects, ttl } = settings;
        let ttl_ns = nanoseconds(ttl);
        let ttl_s = u32::try_from(ttl_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        let hasher = KeyHasher::default();
        // Every record is encoded with it, and a process has one store.
        let prefix: &'static str = String::leak(prefix);
        let encoding = Encoding::redis_set(schema, ttl_s, prefix);
        let block = move || Block::new(encoding, hasher.clone());
        let shared = Arc::new(SharedState::new(cores, queue_bytes, rejects, block, observer));
        let discovery = Arc::<Discovery>::default();
        let (to, same) = (url.clone(), Arc::clone(&discovery));
        let writer = WriterThread::start(Arc::clone(&shared), to, same, ttl_ns, clock)?;
        let reader = Mutex::new(Reader::new(Arc::clone(&shared), url, discovery, clock));
        Ok(Self { backend: Backend::Redis(Box::new(RedisBackend { shared, writer, reader })) })
    }

    fn counters(&self) -> &EventCounters {
        match &self.backend {
            Backend::Memory(memory) => &memory.counters,
            Backend::Redis(redis) => &redis.shared.counters,
        }
    }

    fn open_of(&self, core: usize) -> &Mutex<OpenBlock> {
        match &self.backend {
            Backend::Memory(memory) => memory.open.at(core),
            Backend::Redis(redis) => redis.shared.open.at(core),
        }
    }

    /// Locks the core's open block for the events of one request, whose records take at most
    /// `bytes`. Returns `None` if the queue has no room for them and may not drop anything. Only
    /// the core itself calls this, and it drops the result before the next request.
    #[must_use]
    pub fn open(
        &self,
        core: usize,
        now: Now,
        bytes: impl FnOnce(&Self) -> usize,
    ) -> Option<Appender<'_>> {
        let mut open = self.open_of(core).lock();
        if let Backend::Redis(redis) = &self.backend
            && !redis.shared.reserve(&mut open, || bytes(self))
        {
            return None;
        }
        Some(Appender { store: self, open, core, now })
    }

    /// Returns the bytes of an event's record.
    pub fn record_bytes(&self, event: &Event<'_>) -> usize {
        self.encoding().record_bytes(event)
    }

    /// Returns the stored key of `<timestamp>` or `<device_id>:<timestamp>`, prefix included.
    pub fn full_key(&self, key: &[u8]) -> Vec<u8> {
        self.encoding().full_key(key)
    }

    fn encoding(&self) -> &Encoding {
        match &self.backend {
            Backend::Memory(memory) => &memory.encoding,
            Backend::Redis(redis) => &redis.shared.encoding,
        }
    }

    /// Makes the events that a core has appended readable, if this process stores them. The core
    /// calls it before it sends any answer: the client may ask another core the next moment.
    pub fn publish(&self, core: usize, now: Now) {
        if let Backend::Memory(memory) = &self.backend {
            let mut open = memory.open.at(core).lock();
            if !open.block.is_empty() {
                memory.insert(core, &mut open, now);
            }
        }
    }

    /// Ends a core's turn that appended events: an idle Redis writer gets the open block.
    pub fn end_turn(&self, core: usize) {
        match &self.backend {
            // `publish` has stored them.
            Backend::Memory(_) => {}
            Backend::Redis(redis) => redis.shared.end_turn(core),
        }
    }

    /// Removes expired records of a core. Returns the time of the next call, by the monotonic clock
    /// in nanoseconds, or `None` while nothing can expire. The core itself calls this, after a turn
    /// that stored something or when that time has come.
    pub fn sweep(&self, core: usize, now: Now) -> Option<u64> {
        match &self.backend {
            Backend::Memory(memory) => memory.records.sweep(core, now, &memory.counters),
            // Redis expires its keys itself.
            Backend::Redis(_) => None,
        }
    }

    /// Appends to `out` the newest value stored under `key`, such as `metric:d1:1700000000`. Blocks
    /// until a remote store has answered.
    pub fn lookup(&self, key: &[u8], now: Now, out: &mut Vec<u8>) -> LookupResult {
        match &self.backend {
            Backend::Memory(memory) if memory.records.lookup(key, now, out) => LookupResult::Found,
            Backend::Memory(_) => LookupResult::Absent,
            Backend::Redis(redis) => redis.reader.lock().lookup(key, out),
        }
    }

    /// Returns true if a look-up waits for another process.
    pub const fn is_remote(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Returns true if every thread of the store runs, as they do until it is flushed.
    pub fn is_running(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) => true,
            Backend::Redis(redis) => redis.writer.is_running(),
        }
    }

    /// Waits until every accepted event has an outcome, and ends the store. Events that have none
    /// after `timeout` are dropped. The cores must have ended.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> FlushReport {
        let mut in_order = true;
        if let Backend::Redis(redis) = &self.backend {
            redis.shared.set_stopping();
            in_order = redis.writer.stop(timeout);
            redis.shared.observer.on_end();
        }
        let dropped = self.counters().totals().dropped_by(DropReason::Shutdown);
        FlushReport { lost: dropped + self.walk_pending(), in_order }
    }

    /// Counts the pending events block by block, independently of the event counters. Exact while
    /// the cores are idle; it waits for a core that has a request at hand.
    pub fn walk_pending(&self) -> u64 {
        match &self.backend {
            // There are no queued blocks here and none in flight, only open ones.
            Backend::Memory(memory) => {
                memory.open.iter().map(|open| open.lock().block.events()).sum()
            }
            Backend::Redis(redis) => redis.shared.walk_pending(),
        }
    }

    /// Returns the bytes allocated in this process for stored or queued records.
    pub fn allocated_bytes(&self) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.records.allocated_bytes(),
            Backend::Redis(redis) => redis.shared.queue.bytes_in_use(),
        }
    }

    /// Returns the number of events that a core has accepted.
    pub fn accepted_by(&self, core: usize) -> u64 {
        self.counters().accepted_by(core)
    }

    /// Reads the counters and the bounds.
    pub fn stats(&self) -> Stats {
        let totals = self.counters().totals();
        match &self.backend {
            Backend::Memory(memory) => Stats {
                kind: "memory",
                up: true,
                pending_bytes: 0,
                capacity_bytes: memory.records.capacity_bytes() as u64,
                totals,
                errors: no_errors(),
                reconnects: 0,
            },
            Backend::Redis(redis) => redis.shared.stats(totals),
        }
    }

    /// Counts the appended events as accepted, and hands the block over if it is full.
    fn accept(&self, core: usize, open: &mut OpenBlock, now: Now) {
        if open.uncounted == 0 {
            return;
        }
        self.counters().add_accepted(core, open.uncounted);
        open.uncounted = 0;
        if open.block.is_full() {
            match &self.backend {
                Backend::Memory(memory) => memory.insert(core, open, now),
                Backend::Redis(redis) => redis.shared.queue_full_block(core, open, now.mono_ns),
            }
        }
    }
}

impl MemoryBackend {
    fn insert(&self, core: usize, open: &mut OpenBlock, now: Now) {
        self.records.insert_block(core, &mut open.block, now, &self.counters);
    }
}

/// A lock on a core's open block, for one request. Dropping it counts the appended events as
/// accepted, so that no path leaves an event uncounted.
pub struct Appender<'a> {
    store: &'a Store,
    open: MutexGuard<'a, OpenBlock>,
    core: usize,
    now: Now,
}

impl Appender<'_> {
    /// Appends one event. A full block is handed over at once, so a long batch stays in cache.
    pub fn append(&mut self, event: &Event<'_>) -> Appended {
        let appended = self.open.block.append(event, self.now);
        self.open.uncounted += 1;
        if self.open.block.is_full() {
            self.store.accept(self.core, &mut self.open, self.now);
        }
        appended
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        self.store.accept(self.core, &mut self.open, self.now);
        if let Backend::Redis(redis) = &self.store.backend {
            redis.shared.queue.release_all(&mut self.open.reserved);
        }
    }
}

#[cfg(test)]
mod tests;
