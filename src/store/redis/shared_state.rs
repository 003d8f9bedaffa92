//! The state that cores, writer and reader of a Redis store share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::{ErrorCounts, ErrorKind};
use super::observer::Observer;
use super::queue::Queue;
use crate::limits::{BLOCK_BYTES, STORE_BLOCKS_IN_FLIGHT};
use crate::store::block::Block;
use crate::store::confirmations::{Answer, Confirmations, WaiterId};
use crate::store::encoding::Encoding;
use crate::store::event_counters::{DropReason, EventCounters, EventTotals};
use crate::store::open_block::OpenBlock;
use crate::store::place::{BlockId, Resolution};
use crate::store::stats::Stats;
use percore::sync::{Mutex, PerCore};

pub(crate) struct SharedState {
    pub(crate) counters: EventCounters,
    pub(crate) open: PerCore<Mutex<OpenBlock>>,
    pub(crate) queue: Queue,
    pub(crate) encoding: Encoding,
    pub(crate) confirmations: Confirmations,
    pub(super) writer_errors: ErrorCounts,
    pub(super) reader_errors: ErrorCounts,
    /// True if a request is refused rather than anything dropped.
    rejects: bool,
    pub(super) up: AtomicBool,
    /// True once an order to stop waits for the writer.
    pub(crate) stopping: AtomicBool,
    pub(super) reconnects: AtomicU64,
    /// Events of an earlier process that were taken up.
    pub(super) recovered: AtomicU64,
    pub(crate) observer: Box<dyn Observer>,
}

impl SharedState {
    /// Creates the state of `cores` cores and one writer; `block` creates empty blocks.
    pub(crate) fn new(
        cores: usize,
        capacity_bytes: usize,
        rejects: bool,
        block: impl Fn() -> Block + Send + Sync + 'static,
        observer: Box<dyn Observer>,
    ) -> Self {
        let encoding = *block().encoding();
        // Each core fills a block while others are in flight, and one must be left to queue.
        let blocks_min = cores + STORE_BLOCKS_IN_FLIGHT + 1;
        let first_block = |core| {
            let mut block = block();
            block.set_id(BlockId { core, number: 0 });
            Mutex::new(OpenBlock::new(block))
        };
        Self {
            counters: EventCounters::new(cores, 1),
            open: PerCore::new(cores, first_block),
            confirmations: Confirmations::new(cores),
            queue: Queue::new(cores, capacity_bytes, blocks_min, &encoding, block),
            encoding,
            writer_errors: ErrorCounts::default(),
            reader_errors: ErrorCounts::default(),
            rejects,
            up: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            reconnects: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            observer,
        }
    }

    /// Returns the writer thread's slot of the event counters.
    pub(super) fn writer_slot(&self) -> usize {
        self.open.cores()
    }

    /// Reserves the blocks that a request of `bytes` may fill, if requests are refused when the
    /// queue is full. Returns true if the request may go on.
    pub(crate) fn reserve(&self, open: &mut OpenBlock, bytes: impl FnOnce() -> usize) -> bool {
        !self.rejects || self.queue.reserve(bytes() / BLOCK_BYTES + 1, &mut open.reserved)
    }

    /// Ends the appending of a waiter's events, and has it answered, or forgotten.
    pub(crate) fn end_waiter(&self, waiter: WaiterId, deadline_ns: u64, answer: Option<Answer>) {
        let ended = self.open.at(waiter.core()).lock().end_waiter();
        debug_assert_eq!(ended, Some(waiter));
        match answer {
            Some(answer) => self.confirmations.prepare(waiter, deadline_ns, answer),
            None => self.confirmations.cancel(waiter),
        }
    }

    /// Ends a core's turn: an idle writer gets the open block.
    pub(crate) fn end_turn(&self, core: usize) {
        if !self.queue.is_idle() {
            return;
        }
        let mut open = self.open.at(core).lock();
        if open.block.is_empty() {
            return;
        }
        // Nothing is dropped for a block that has room for more events.
        let Some(next) = self.queue.acquire() else {
            return;
        };
        if self.queue.claim_idle() {
            self.queue_open_block(core, &mut open, next);
        } else {
            self.queue.release(next);
        }
    }

    /// Queues a core's full block and opens an empty one. If there is none, the oldest queued block
    /// is dropped and reused; a request that has reserved its blocks has one.
    pub(crate) fn queue_full_block(&self, core: usize, open: &mut OpenBlock, now_ns: u64) {
        open.mark(&self.confirmations);
        let next = open.reserved.pop().or_else(|| self.queue.acquire());
        let next = next.or_else(|| self.drop_oldest(core, now_ns));
        let Some(next) = next else {
            // All blocks but the open ones are in flight, so the newest is the oldest.
            self.drop_block(core, &mut open.block, now_ns);
            open.watch();
            return;
        };
        self.queue_open_block(core, open, next);
    }

    /// Queues the open block, and opens `next`.
    fn queue_open_block(&self, slot: usize, open: &mut OpenBlock, mut next: Block) {
        let BlockId { core, number } = open.block.id();
        next.set_id(BlockId { core, number: number + 1 });
        let mut block = std::mem::replace(&mut open.block, next);
        open.watch();
        self.counters.add_coalesced(slot, block.take_coalesced());
        if let Some(mut block) = self.queue.push(block) {
            // Cannot happen: the queue has room for every block that is allocated.
            self.drop_block(slot, &mut block, 0);
            self.queue.release(block);
        }
    }

    /// Queues the open blocks of all cores. The writer calls it when it has nothing else to write,
    /// and from time to time: otherwise the events of a core with few would wait as long as another
    /// core fills blocks. Each core's blocks stay in order, as it queues them under the same lock.
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

    /// Takes the open blocks of all cores, which have ended.
    pub(super) fn take_open_blocks(&self) -> Vec<Block> {
        let slot = self.writer_slot();
        let mut blocks = Vec::new();
        for open in self.open.iter() {
            let mut open = open.lock();
            if !open.block.is_empty() {
                let mut block = std::mem::replace(&mut open.block, Block::new(self.encoding));
                self.counters.add_coalesced(slot, block.take_coalesced());
                blocks.push(block);
            }
        }
        blocks
    }

    /// Drops the oldest queued block, and returns it empty.
    fn drop_oldest(&self, core: usize, now_ns: u64) -> Option<Block> {
        let mut oldest = self.queue.pop()?;
        self.drop_block(core, &mut oldest, now_ns);
        Some(oldest)
    }

    fn drop_block(&self, slot: usize, block: &mut Block, now_ns: u64) {
        self.counters.add_coalesced(slot, block.take_coalesced());
        self.drop_events(slot, DropReason::Overflow, block.live(), now_ns);
        if block.is_awaited() {
            self.confirmations.resolve(Resolution::Dropped(block.id(), 0..block.entries()));
        }
        block.clear();
    }

    /// Announces that an order to stop waits for the writer.
    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Counts events as dropped, and reports them.
    pub(super) fn drop_events(&self, slot: usize, reason: DropReason, events: u64, now_ns: u64) {
        if events > 0 {
            self.counters.add_dropped(slot, reason, events);
            self.observer.on_drop(reason, events, now_ns);
        }
    }

    /// Returns the statistics of the store, with these totals.
    pub(crate) fn stats(&self, totals: EventTotals) -> Stats {
        let pending_bytes = if totals.pending() == 0 { 0 } else { self.queue.bytes_in_use() };
        let total = |kind| self.writer_errors.total(kind) + self.reader_errors.total(kind);
        let errors = ErrorKind::ALL.into_iter().map(|kind| (kind.name(), total(kind)));
        Stats {
            kind: "redis",
            up: self.up.load(Ordering::Relaxed),
            pending_bytes: pending_bytes as u64,
            capacity_bytes: self.queue.capacity_bytes() as u64,
            totals,
            errors: errors.collect(),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            recovered: self.recovered.load(Ordering::Relaxed),
            waiters: self.confirmations.totals(),
        }
    }

    /// Counts the pending events block by block: open, queued and in flight.
    pub(crate) fn walk_pending(&self) -> u64 {
        let open: u64 = self.open.iter().map(|open| open.lock().block.events()).sum();
        open + self.queue.pending()
    }
}
