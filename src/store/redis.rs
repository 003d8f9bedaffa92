//! The remote store: blocks queued for a writer thread, which keeps them in flight to Redis.
//!
//! ```text
//! core ─▶ open block ─▶ queue, bounded ─▶ writer thread ─▶ pipeline ─▶ session ─▶ Redis
//!            └─ taken when the writer is idle ─▲    └ replies ─▶ ledger, empty blocks ─▶ cores
//! ```
//!
//! [`queue`] holds the bound; [`pipeline`] knows what became of each command and is pure;
//! [`writer`] decides what to do next and runs against any [`link`]; [`connector`] finds the server by
//! its URL, [`session`] and [`cluster`] are links to real ones, and [`thread`] lets it all run.
//! [`reader`] answers look-ups on a [`connection`] of its own, whose bytes come by a [`stream`]
//! that has a bound for everything; [`watch`] says what of all this is news. [`failure`] has the
//! table of what Redis refuses.

pub(super) mod cluster;
pub(super) mod connection;
pub(super) mod connector;
mod deadline;
pub(super) mod error;
pub(super) mod link;
pub(super) mod outage_tracker;
pub(super) mod pipeline;
pub(super) mod queue;
pub(super) mod reader;
pub(super) mod resolver;
pub(super) mod session;
pub(super) mod stream;
mod tls;
pub(super) mod writer;
pub(super) mod writer_thread;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{BLOCK_BYTES, STORE_BLOCKS_IN_FLIGHT};
use crate::store::block::Block;
use crate::store::encoding::{Encoding, request_bytes_max};
use crate::store::event_counters::{DropReason, EventCounters, EventTotals};
use crate::store::{Open, Stats};
use error::{ErrorCounts, ErrorKind};
use percore::sync::{Mutex, PerCore};
use queue::Queue;

/// Who is told what is news. Whoever does not care does nothing.
pub trait Observer: Send + Sync {
    /// A block was in flight for so long, in nanoseconds.
    fn on_flush(&self, _took_ns: u64) {}
    /// Redis can be written to, for the first time or, for a while now, again.
    fn on_up(&self, _outage: &Outage) {}
    /// Redis cannot be written to: for the first time, for another reason, or still.
    fn on_down(&self, _trouble: &OutageReport<'_>) {}
    /// Redis does not say who we are: what it still reads from a connection that was given up may
    /// run after what is sent later.
    fn on_unfenced(&self) {}
    /// So many acknowledged events were given up, at this time of the monotonic clock.
    fn on_drop(&self, _reason: DropReason, _events: u64, _now_ns: u64) {}
    /// Time passes: what was held back may be told now.
    fn on_tick(&self, _now_ns: u64) {}
    /// Nothing more is given up: what was held back is told now.
    fn on_end(&self) {}
}

/// How long it was down, so far or altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// Since the first fault.
    pub duration: Duration,
    /// How often it had come back meanwhile, and gone again.
    pub returns: u64,
}

/// What Redis does not do.
#[derive(Clone, Copy, Debug)]
pub struct OutageReport<'a> {
    /// Which server it is about; empty where none was got to.
    pub server: &'a str,
    /// The label of the error.
    pub kind: &'static str,
    /// In the words of Redis or of the system: foreign text.
    pub message: &'a str,
    /// So far.
    pub outage: Outage,
    /// Events that wait.
    pub waiting: u64,
}

/// The bytes that a queue needs in which the largest request finds room once nothing else waits,
/// beside the blocks that cores and writer have in hand.
#[must_use]
pub const fn queue_bytes_needed(cores: usize, body_bytes: usize, prefix_bytes: usize) -> usize {
    // What a block costs depends on how short its records can be: with the shortest prefix most.
    let encoding = Encoding::RedisSet { ttl_s: 1, prefix: "" };
    let request = request_bytes_max(body_bytes, prefix_bytes) / BLOCK_BYTES + 1;
    (cores + STORE_BLOCKS_IN_FLIGHT + request) * Block::cost_bytes(encoding)
}

/// The errors of a store that has none.
#[must_use]
pub(super) fn no_errors() -> Vec<(&'static str, u64)> {
    ErrorKind::ALL.into_iter().map(|kind| (kind.name(), 0)).collect()
}

/// Errors by who met them.
#[derive(Debug, Default)]
struct Errors {
    writer: ErrorCounts,
    reader: ErrorCounts,
}

/// What the cores and the writer thread have in common.
pub struct Shared {
    pub(super) counters: EventCounters,
    pub(super) open: PerCore<Mutex<Open>>,
    pub(super) queue: Queue,
    pub(super) encoding: Encoding,
    errors: Errors,
    rejects: bool,
    up: AtomicBool,
    stopping: AtomicBool,
    reconnects: AtomicU64,
    observer: Box<dyn Observer>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Shared").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Shared {
    /// For so many cores and one writer; the blocks are made by `block`.
    pub(super) fn new(
        cores: usize,
        capacity_bytes: usize,
        rejects: bool,
        block: impl Fn() -> Block + Send + Sync + 'static,
        observer: Box<dyn Observer>,
    ) -> Self {
        let encoding = block().encoding();
        // Each core fills a block while others are in flight, and one must be left to queue.
        let blocks_min = cores + STORE_BLOCKS_IN_FLIGHT + 1;
        Self {
            counters: EventCounters::new(cores, 1),
            open: PerCore::new(cores, |_| Mutex::new(Open::new(block()))),
            queue: Queue::new(cores, capacity_bytes, blocks_min, encoding, block),
            encoding,
            errors: Errors::default(),
            rejects,
            up: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            reconnects: AtomicU64::new(0),
            observer,
        }
    }

    /// The ledger's slot of the writer thread.
    fn writer_slot(&self) -> usize {
        self.open.cores()
    }

    /// Makes sure of the blocks that a request of `bytes` may fill, if it is to be refused rather
    /// than anything dropped. Says whether it may go on.
    pub(super) fn reserve(&self, open: &mut Open, bytes: impl FnOnce() -> usize) -> bool {
        !self.rejects || self.queue.reserve(bytes() / BLOCK_BYTES + 1, &mut open.reserve)
    }

    /// Ends a core's turn: a writer that waits gets what there is.
    pub(super) fn end_turn(&self, core: usize) {
        if !self.queue.is_idle() {
            return;
        }
        let mut open = self.open.at(core).lock();
        if open.block.is_empty() {
            return;
        }
        // Nothing is dropped for a block that could as well be filled further.
        let Some(next) = self.queue.acquire() else {
            return;
        };
        if self.queue.claim_idle() {
            self.queue_open_block(core, &mut open, next);
        } else {
            self.queue.release(next);
        }
    }

    /// Hands a core's full block over and opens another one. Where none is to be had the oldest
    /// queued block is dropped for it; a request that made sure of its blocks has one.
    pub(super) fn queue_full_block(&self, core: usize, open: &mut Open, now_ns: u64) {
        let next = open.reserve.pop().or_else(|| self.queue.acquire());
        let next = next.or_else(|| self.drop_oldest(core, now_ns));
        let Some(next) = next else {
            // All blocks but the open ones are in flight, so the newest is the oldest.
            self.drop_block(core, &mut open.block, now_ns);
            return;
        };
        self.queue_open_block(core, open, next);
    }

    /// Queues the open block, and opens the next.
    fn queue_open_block(&self, slot: usize, open: &mut Open, next: Block) {
        let block = std::mem::replace(&mut open.block, next);
        if let Some(mut refused) = self.queue.push(self.settled(slot, block)) {
            // There is a place in the queue for every block that is made.
            self.drop_block(slot, &mut refused, 0);
            self.queue.release(refused);
        }
    }

    /// Queues what the cores have left open, for the writer: when it has nothing else to do, and
    /// from time to time, or a core with little to say would wait as long as another says much.
    /// Each core's blocks stay in their order: it hands them over under the same lock.
    pub(super) fn queue_open_blocks(&self) {
        let slot = self.writer_slot();
        for open in self.open.iter() {
            let mut open = open.lock();
            if open.block.is_empty() {
                continue;
            }
            let Some(next) = self.queue.acquire() else {
                return;
            };
            self.queue_open_block(slot, &mut open, next);
        }
    }

    /// Counts what of a block needs no record.
    fn settled(&self, slot: usize, mut block: Block) -> Block {
        self.counters.add_coalesced(slot, block.settle());
        block
    }

    fn drop_oldest(&self, core: usize, now_ns: u64) -> Option<Block> {
        let mut oldest = self.queue.pop()?;
        self.drop_block(core, &mut oldest, now_ns);
        Some(oldest)
    }

    fn drop_block(&self, slot: usize, block: &mut Block, now_ns: u64) {
        self.counters.add_coalesced(slot, block.settle());
        self.drop_events(slot, DropReason::Overflow, block.live(), now_ns);
        block.clear();
    }

    /// Says that an order to stop waits for the writer.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Tells what was held back: cores and writer have ended.
    pub(super) fn end(&self) {
        self.observer.on_end();
    }

    /// Gives events up, and tells of it.
    fn drop_events(&self, slot: usize, reason: DropReason, events: u64, now_ns: u64) {
        if events > 0 {
            self.counters.add_dropped(slot, reason, events);
            self.observer.on_drop(reason, events, now_ns);
        }
    }

    /// Reads the bounds, beside the books.
    pub(super) fn stats(&self, totals: EventTotals) -> Stats {
        let pending_bytes = if totals.pending() == 0 { 0 } else { self.queue.bytes_in_use() };
        let Errors { writer, reader } = &self.errors;
        let total = |kind| writer.total(kind) + reader.total(kind);
        let errors = ErrorKind::ALL.into_iter().map(|kind| (kind.name(), total(kind)));
        Stats {
            kind: "redis",
            up: self.up.load(Ordering::Relaxed),
            pending_bytes: pending_bytes as u64,
            capacity_bytes: self.queue.capacity_bytes() as u64,
            totals,
            errors: errors.collect(),
            reconnects: self.reconnects.load(Ordering::Relaxed),
        }
    }

    /// Events that wait, counted block by block: open, queued and in flight.
    pub(super) fn walk_pending(&self) -> u64 {
        let open: u64 = self.open.iter().map(|open| open.lock().block.events()).sum();
        open + self.queue.pending()
    }
}
