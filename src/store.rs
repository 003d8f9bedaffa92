//! The store: it keeps every event that was answered with 202, or counts why it could not.
//!
//! ```text
//! core ─▶ memory::RingAppender ─▶ its ring of segments
//!   │ or ▶ open block ─▶ redis::SharedState, when full or at the end of the turn ─▶ writer thread
//!   └ event_counters: accepted before another thread sees the event, outcomes after
//! ```
//!
//! Files in the order of the data: in [`memory`], `parts` packs an event for a `segment`. For
//! [`redis`], [`encoding`] packs it as a record, and [`block`] collects records in an
//! [`open_block`]; [`confirmations`] tell those who wait what became of records, by their
//! [`place`]. Both ways, `value` is what look-ups answer with, and [`key`] is their key.
//! [`spill`] keeps what could not be written for the next start. [`event_counters`] counts each
//! event; [`stats`] and [`lookup`] are answers of the store.

pub mod block;
mod block_appender;
pub mod confirmations;
pub mod encoding;
pub mod event_counters;
pub mod key;
pub mod lookup;
pub mod memory;
mod open_block;
mod parts;
pub mod place;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts threads, looks names up"
)]
pub mod redis;
mod segment;
pub mod spill;
pub mod stats;
mod value;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::redis_url::RedisUrl;
use crate::metric::event::Event;
use crate::metric::id_hash::{IdHash, IdHasher};
use crate::schema::Schema;
use crate::store::block::{Appended, Block};
use crate::store::block_appender::BlockAppender;
use crate::store::confirmations::{Answer, RequestSize, WaiterId, WaiterTotals};
use crate::store::encoding::Encoding;
use crate::store::event_counters::{DropReason, EventCounters};
use crate::store::key::KEY_PREFIX;
use crate::store::lookup::LookupResult;
use crate::store::memory::{MemoryStore, RingAppender};
use crate::store::redis::discovery::Discovery;
use crate::store::redis::error::no_errors;
use crate::store::redis::observer::Observer;
use crate::store::redis::reader::Reader;
use crate::store::redis::shared_state::SharedState;
use crate::store::redis::writer_thread::WriterThread;
use crate::store::spill::Spill;
use crate::store::stats::Stats;
use percore::clock::{Clock, Now, nanoseconds};
use percore::sync::Mutex;

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
    counters: EventCounters,
    records: MemoryStore,
}

/// A store in a Redis server.
struct RedisBackend {
    shared: Arc<SharedState>,
    writer: WriterThread,
    /// The time at the end that is reserved for spilling.
    spill_reserve: Duration,
    reader: Mutex<Reader>,
}

/// The part of a stop's time that is kept for spilling: a queue of 64 MiB takes less on any disk.
const SPILL_TIME: Duration = Duration::from_secs(1);

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
    /// The place for what cannot be written before the end.
    pub spill: Option<Spill>,
}

impl Store {
    /// Creates a store inside this process: `capacity_bytes` for all cores together, index
    /// included, and one time to live. `ids` hashes the ids of all events, also for look-ups.
    pub fn memory(
        schema: &'static Schema,
        cores: usize,
        capacity_bytes: usize,
        ttl_ms: u64,
        ids: IdHasher,
    ) -> Self {
        Self {
            backend: Backend::Memory(Box::new(MemoryBackend {
                counters: EventCounters::new(cores, 0),
                records: MemoryStore::new(schema, cores, capacity_bytes, ttl_ms, ids),
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
        let RedisSettings { schema, url, prefix, queue_bytes, rejects, ttl, spill } = settings;
        let spill_reserve = spill.as_ref().map_or(Duration::ZERO, |_| SPILL_TIME);
        let ttl_ns = nanoseconds(ttl);
        let ttl_s = u32::try_from(ttl_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        // Every record is encoded with it, and a process has one store.
        let prefix: &'static str = String::leak(prefix);
        let encoding = Encoding::redis_set(schema, ttl_s, prefix);
        let block = move || Block::new(encoding);
        let shared = Arc::new(SharedState::new(cores, queue_bytes, rejects, block, observer));
        let discovery = Arc::<Discovery>::default();
        let (to, same) = (url.clone(), Arc::clone(&discovery));
        let writer = WriterThread::start(Arc::clone(&shared), to, same, spill, ttl_ns, clock)?;
        let reader = Mutex::new(Reader::new(Arc::clone(&shared), url, discovery, clock));
        let backend = RedisBackend { shared, writer, spill_reserve, reader };
        Ok(Self { backend: Backend::Redis(Box::new(backend)) })
    }

    fn counters(&self) -> &EventCounters {
        match &self.backend {
            Backend::Memory(memory) => &memory.counters,
            Backend::Redis(redis) => &redis.shared.counters,
        }
    }

    /// Begins to append the events of one request, whose records take at most `bytes` in their
    /// encoding for a queue. Returns `None` if the queue has no room for them and may not drop
    /// anything. Only the core itself calls this, and it drops the result before the next request.
    ///
    /// An event in this process can be read once it is appended and others were, or the result is
    /// dropped: before any answer is sent, after which the client may ask another core.
    #[must_use]
    pub fn open(
        &self,
        core: usize,
        now: Now,
        bytes: impl FnOnce(&Encoding) -> usize,
    ) -> Option<Appender<'_>> {
        match &self.backend {
            Backend::Memory(memory) => {
                let MemoryBackend { counters, records } = &**memory;
                Some(Appender(Way::Ring(records.appender(core, now, counters))))
            }
            Backend::Redis(redis) => {
                let shared = &redis.shared;
                let mut open = shared.open.at(core).lock();
                let may_append = shared.reserve(&mut open, || bytes(&shared.encoding));
                may_append
                    .then(|| Appender(Way::Block(BlockAppender::new(shared, open, core, now))))
            }
        }
    }

    /// Lets the next request of a core wait for its events to be stored: those that are appended
    /// until [`Self::answer_when_stored`]. Returns `None` if too many wait already. Of a store in
    /// this process nobody has to wait.
    pub fn begin_waiter(&self, core: usize, size: RequestSize) -> Option<WaiterId> {
        let Backend::Redis(redis) = &self.backend else {
            return None;
        };
        let waiter = redis.shared.confirmations.begin(core, size)?;
        redis.shared.open.at(core).lock().begin_waiter(waiter);
        Some(waiter)
    }

    /// Has a waiter answered when all of its events have an outcome, or at this monotonic time.
    /// Without an answer it is forgotten.
    pub fn answer_when_stored(&self, waiter: WaiterId, deadline_ns: u64, answer: Option<Answer>) {
        if let Backend::Redis(redis) = &self.backend {
            redis.shared.end_waiter(waiter, deadline_ns, answer);
        }
    }

    /// Answers the waiters of a core whose time has come. Returns the monotonic time of the next
    /// call, or `None` if nobody waits.
    pub fn expire_waiters(&self, core: usize, now: Now) -> Option<u64> {
        match &self.backend {
            Backend::Memory(_) => None,
            Backend::Redis(redis) => redis.shared.confirmations.expire(core, now.mono_ns),
        }
    }

    /// Sets the monotonic time by which all waiters are answered: the server ends.
    pub fn end_waiters_by(&self, latest_ns: u64) {
        if let Backend::Redis(redis) = &self.backend {
            redis.shared.confirmations.end_by(latest_ns);
        }
    }

    /// Returns the stored key of `<timestamp>` or `<device_id>:<timestamp>`, prefix included.
    pub fn full_key(&self, key: &[u8]) -> Vec<u8> {
        match &self.backend {
            Backend::Memory(_) => [KEY_PREFIX.as_bytes(), key].concat(),
            Backend::Redis(redis) => redis.shared.encoding.full_key(key),
        }
    }

    /// Ends a core's turn that appended events: an idle Redis writer gets the open block.
    pub fn end_turn(&self, core: usize) {
        match &self.backend {
            // They are stored.
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
            in_order = redis.writer.stop(timeout, redis.spill_reserve.min(timeout / 2));
            redis.shared.observer.on_end();
        }
        let dropped = self.counters().totals().dropped_by(DropReason::Shutdown);
        FlushReport { lost: dropped + self.walk_pending(), in_order }
    }

    /// Counts the pending events where they are, independently of the event counters. Exact while
    /// the cores are idle; it waits for a core that has a request at hand.
    pub fn walk_pending(&self) -> u64 {
        match &self.backend {
            Backend::Memory(memory) => memory.records.uncounted(),
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
                recovered: 0,
                waiters: WaiterTotals::default(),
            },
            Backend::Redis(redis) => redis.shared.stats(totals),
        }
    }
}

/// Appends the events of one request. Dropping it counts them as accepted, so that no path leaves
/// an event uncounted.
pub struct Appender<'a>(Way<'a>);

/// The way of events into the store.
enum Way<'a> {
    /// Into the core's own segments, in this process.
    Ring(RingAppender<'a>),
    /// Into the core's open block, on their way to Redis.
    Block(BlockAppender<'a>),
}

impl Appender<'_> {
    /// Appends one event, whose device id has this hash.
    #[inline]
    pub fn append(&mut self, event: &Event<'_>, hash: IdHash) -> Appended {
        match &mut self.0 {
            Way::Ring(ring) => ring.append(event, hash),
            Way::Block(block) => block.append(event, hash),
        }
    }
}

#[cfg(test)]
mod tests;
