//! The bounded queue of full blocks, and the empty ones that come back.
//!
//! The bound is in allocated bytes. A block never allocates more than [`Block::cost_bytes`], so it
//! is a number of blocks: open, queued, in flight and spare ones are all counted, and none is made
//! past it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::channel::{self, Receiver, Sender};

use crate::store::block::Block;
use crate::store::encoding::Encoding;

/// See the head of this file. Shared by all cores and the writer.
pub(in crate::store) struct Queue {
    full: (Sender<Block>, Receiver<Block>),
    spare: (Sender<Block>, Receiver<Block>),
    new_block: Box<dyn Fn() -> Block + Send + Sync>,
    allocated: AtomicUsize,
    blocks_max: usize,
    block_bytes: usize,
    idle: AtomicBool,
    /// Events in the queued blocks.
    queued: AtomicU64,
    /// Events that the writer has in hand, as it says.
    in_flight: AtomicU64,
}

impl fmt::Debug for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Queue").field("blocks_max", &self.blocks_max).finish_non_exhaustive()
    }
}

impl Queue {
    /// Of at most `capacity_bytes`, but never fewer blocks than `blocks_min`; `allocated` of them are
    /// there already, open at the cores.
    pub(super) fn new(
        allocated: usize,
        capacity_bytes: usize,
        blocks_min: usize,
        encoding: Encoding,
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

    /// The bytes that all blocks may come to allocate.
    pub(in crate::store) fn capacity_bytes(&self) -> usize {
        self.blocks_max * self.block_bytes
    }

    /// The bytes that blocks in use may have allocated.
    pub(in crate::store) fn bytes_in_use(&self) -> usize {
        let allocated = self.allocated.load(Ordering::Relaxed);
        allocated.saturating_sub(self.spare.1.len()) * self.block_bytes
    }

    /// An empty block, unless as many are in use as there may be.
    pub(super) fn acquire(&self) -> Option<Block> {
        if let Ok(block) = self.spare.1.try_recv() {
            return Some(block);
        }
        let below = |allocated| (allocated < self.blocks_max).then_some(allocated + 1);
        self.allocated.try_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        Some((self.new_block)())
    }

    /// So many empty blocks or none, for a request that must not find the queue full halfway.
    pub(in crate::store) fn reserve(&self, blocks: usize, into: &mut Vec<Block>) -> bool {
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

    /// Takes back what was reserved and not needed.
    pub(in crate::store) fn release_all(&self, reserved: &mut Vec<Block>) {
        for block in reserved.drain(..) {
            self.release(block);
        }
    }

    /// Queues a block. It comes back if the queue is full, which it never is: there are no more
    /// blocks than fit.
    pub(super) fn push(&self, block: Block) -> Option<Block> {
        let events = block.events();
        self.queued.fetch_add(events, Ordering::Relaxed);
        let refused = self.full.0.try_send(block).err().map(channel::TrySendError::into_inner);
        if refused.is_some() {
            self.queued.fetch_sub(events, Ordering::Relaxed);
        }
        refused
    }

    /// The oldest block.
    pub(super) fn pop(&self) -> Option<Block> {
        let block = self.full.1.try_recv().ok()?;
        self.mark_taken(&block);
        Some(block)
    }

    /// Notes that a block came out by way of [`Self::receiver`].
    pub(super) fn mark_taken(&self, block: &Block) {
        self.queued.fetch_sub(block.events(), Ordering::Relaxed);
    }

    /// Where blocks come out, to be waited for.
    pub(super) const fn receiver(&self) -> &Receiver<Block> {
        &self.full.1
    }

    /// Takes a block back, to be filled again.
    pub(super) fn release(&self, mut block: Block) {
        block.clear();
        // There are no more blocks than places for them.
        let _ = self.spare.0.try_send(block);
    }

    /// Says that the writer has nothing to do, or that it has.
    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::SeqCst);
    }

    /// Whether the writer waits.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    /// Whether the writer waits; the first core that asks is told so, and hands over.
    pub(super) fn claim_idle(&self) -> bool {
        self.idle.swap(false, Ordering::SeqCst)
    }

    /// Says how many events the writer has in hand.
    pub(super) fn set_in_flight(&self, events: u64) {
        self.in_flight.store(events, Ordering::Release);
    }

    /// Events in the queue and with the writer. Exact while no block moves.
    pub(super) fn pending(&self) -> u64 {
        self.queued.load(Ordering::Relaxed) + self.in_flight.load(Ordering::Acquire)
    }
}
