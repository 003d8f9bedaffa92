//! The bounded queue of full blocks, and the pool of empty ones.
//!
//! The bound is in allocated bytes. A block never allocates more than [`Block::cost_bytes`], so the
//! bound is a number of blocks: open, queued, in flight and spare ones all count, and no more are
//! allocated.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::channel::{self, Receiver, Sender};

use crate::limits::{BLOCK_BYTES, STORE_BLOCKS_IN_FLIGHT};
use crate::schema::Schema;
use crate::store::block::Block;
use crate::store::encoding::Encoding;

/// Returns the bytes that a queue needs so that the largest request fits once nothing else is
/// queued, beside the blocks that cores and writer hold.
pub fn queue_bytes_needed(
    schema: &'static Schema,
    cores: usize,
    body_bytes: usize,
    prefix_bytes: usize,
) -> usize {
    // The shortest records need the most entries, so a block costs most with the shortest prefix.
    let encoding = Encoding::redis_set(schema, 1, "");
    let request = encoding.request_bytes_max(body_bytes, prefix_bytes) / BLOCK_BYTES + 1;
    (cores + STORE_BLOCKS_IN_FLIGHT + request) * Block::cost_bytes(&encoding)
}

/// See the head of this file. Shared by all cores and the writer.
pub(crate) struct Queue {
    full: (Sender<Block>, Receiver<Block>),
    spare: (Sender<Block>, Receiver<Block>),
    new_block: Box<dyn Fn() -> Block + Send + Sync>,
    allocated: AtomicUsize,
    blocks_max: usize,
    block_bytes: usize,
    /// True while the writer waits for a block.
    idle: AtomicBool,
    /// Events in the queued blocks.
    queued: AtomicU64,
    /// Events in the blocks that the writer holds, as it last reported.
    in_flight: AtomicU64,
}

impl Queue {
    /// Creates a queue of at most `capacity_bytes`, but never of fewer blocks than `blocks_min`;
    /// `allocated` of them are open at the cores already.
    pub(super) fn new(
        allocated: usize,
        capacity_bytes: usize,
        blocks_min: usize,
        encoding: &Encoding,
        new_block: impl Fn() -> Block + Send + Sync + 'static,
    ) -> Self {
        let block_bytes = Block::cost_bytes(encoding);
        let blocks_max = (capacity_bytes / block_bytes).max(blocks_min);
        Self {
            full: channel::bounded(blocks_max),
            spare: channel::bounded(blocks_max),
            new_block: Box::new(new_block),
            allocated: AtomicUsize::new(allocated),
            blocks_max,
            block_bytes,
            idle: AtomicBool::new(false),
            queued: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }

    /// Returns the bytes that all blocks may allocate.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.blocks_max * self.block_bytes
    }

    /// Returns the bytes that blocks in use may have allocated.
    pub(crate) fn bytes_in_use(&self) -> usize {
        let allocated = self.allocated.load(Ordering::Relaxed);
        allocated.saturating_sub(self.spare.1.len()) * self.block_bytes
    }

    /// Returns an empty block, or `None` if as many as allowed are in use.
    pub(super) fn acquire(&self) -> Option<Block> {
        if let Ok(block) = self.spare.1.try_recv() {
            return Some(block);
        }
        let below = |allocated| (allocated < self.blocks_max).then_some(allocated + 1);
        self.allocated.try_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        Some((self.new_block)())
    }

    /// Reserves so many empty blocks or none, so that a request never finds the queue full halfway.
    pub(crate) fn reserve(&self, blocks: usize, into: &mut Vec<Block>) -> bool {
        while into.len() < blocks {
            match self.acquire() {
                Some(block) => into.push(block),
                None => {
                    self.release_all(into);
                    return false;
                }
            }
        }
        true
    }

    /// Returns reserved blocks that were not needed to the pool.
    pub(crate) fn release_all(&self, reserved: &mut Vec<Block>) {
        for block in reserved.drain(..) {
            self.release(block);
        }
    }

    /// Queues a block. Returns it if the queue is full, which never happens: no more blocks exist
    /// than fit.
    pub(super) fn push(&self, block: Block) -> Option<Block> {
        let events = block.events();
        self.queued.fetch_add(events, Ordering::Relaxed);
        let rejected = self.full.0.try_send(block).err().map(channel::TrySendError::into_inner);
        if rejected.is_some() {
            self.queued.fetch_sub(events, Ordering::Relaxed);
        }
        rejected
    }

    /// Removes the oldest block.
    pub(super) fn pop(&self) -> Option<Block> {
        let block = self.full.1.try_recv().ok()?;
        self.mark_taken(&block);
        Some(block)
    }

    /// Updates the counts for a block that was taken from [`Self::receiver`].
    pub(super) fn mark_taken(&self, block: &Block) {
        self.queued.fetch_sub(block.events(), Ordering::Relaxed);
    }

    /// Returns the channel of queued blocks, for a thread that waits for one.
    pub(super) const fn receiver(&self) -> &Receiver<Block> {
        &self.full.1
    }

    /// Empties a block and returns it to the pool.
    pub(super) fn release(&self, mut block: Block) {
        block.clear();
        // The pool has room for every block.
        let _ = self.spare.0.try_send(block);
    }

    /// Sets whether the writer is idle.
    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::SeqCst);
    }

    /// Returns true if the writer is idle.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    /// Returns true to the first core that asks while the writer is idle; that core queues a block.
    pub(super) fn claim_idle(&self) -> bool {
        self.idle.swap(false, Ordering::SeqCst)
    }

    /// Sets the number of events that the writer holds.
    pub(super) fn set_in_flight(&self, events: u64) {
        self.in_flight.store(events, Ordering::Release);
    }

    /// Returns the number of events in the queue and with the writer. Exact while no block moves.
    pub(super) fn pending(&self) -> u64 {
        self.queued.load(Ordering::Relaxed) + self.in_flight.load(Ordering::Acquire)
    }
}
