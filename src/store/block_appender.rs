//! The appender of a core's events to its open block.

use crate::metric::event::Event;
use crate::metric::id_hash::IdHash;
use crate::store::block::Appended;
use crate::store::open_block::OpenBlock;
use crate::store::redis::shared_state::SharedState;
use percore::clock::Now;
use percore::sync::MutexGuard;

/// A lock on a core's open block, for one request.
pub(super) struct BlockAppender<'a> {
    shared: &'a SharedState,
    open: MutexGuard<'a, OpenBlock>,
    core: usize,
    now: Now,
}

impl<'a> BlockAppender<'a> {
    pub(super) const fn new(
        shared: &'a SharedState,
        open: MutexGuard<'a, OpenBlock>,
        core: usize,
        now: Now,
    ) -> Self {
        Self { shared, open, core, now }
    }

    /// Appends one event. A full block is handed over at once, so a long batch stays in cache.
    pub(super) fn append(&mut self, event: &Event<'_>, hash: IdHash) -> Appended {
        let appended = self.open.block.append(event, hash, self.now);
        self.open.uncounted += 1;
        if appended == Appended::Coalesced && self.open.block.is_awaited() {
            self.open.follow(&self.shared.confirmations);
        }
        if self.open.block.is_full() {
            self.accept();
        }
        appended
    }

    /// Counts the appended events as accepted, and hands the block over if it is full.
    fn accept(&mut self) {
        let Self { shared, open, core, now } = self;
        if open.uncounted == 0 {
            return;
        }
        shared.counters.add_accepted(*core, open.uncounted);
        open.uncounted = 0;
        if open.block.is_full() {
            shared.queue_full_block(*core, open, now.mono_ns);
        }
    }
}

impl Drop for BlockAppender<'_> {
    fn drop(&mut self) {
        self.accept();
        self.open.mark(&self.shared.confirmations);
        self.shared.queue.release_all(&mut self.open.reserved);
    }
}
