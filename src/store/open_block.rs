//! The open block of a core: it takes the core's events until it is handed over to the writer to
//! Redis.

use crate::store::block::Block;
use crate::store::confirmations::{Confirmations, WaiterId};
use crate::store::place::Place;

/// A block with what its core needs while it fills it.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) block: Block,
    /// Events of `block` that are not counted as accepted yet.
    pub(super) uncounted: u64,
    /// Empty blocks that the request at hand may fill.
    pub(super) reserved: Vec<Block>,
    /// The request at hand, if it waits for its events to be stored.
    waiter: Option<WaiterId>,
    /// The first entry of `block` that may be the waiter's and has no mark.
    unmarked: usize,
}

impl OpenBlock {
    pub(super) const fn new(block: Block) -> Self {
        Self { block, uncounted: 0, reserved: Vec::new(), waiter: None, unmarked: 0 }
    }

    /// Lets a request wait for the events that are appended from now on.
    pub(super) fn begin_waiter(&mut self, waiter: WaiterId) {
        self.waiter = Some(waiter);
        self.watch();
    }

    /// Returns the request that waits, if there is one: the events that it waits for are appended.
    pub(super) const fn end_waiter(&mut self) -> Option<WaiterId> {
        self.waiter.take()
    }

    /// Has the block keep marks, if the request at hand waits. Called whenever the block is another
    /// one, or empty.
    pub(super) fn watch(&mut self) {
        self.unmarked = self.block.entries();
        if self.waiter.is_some() {
            self.block.set_awaited();
        }
    }

    /// Marks the records that were appended since the last call.
    pub(super) fn mark(&mut self, confirmations: &Confirmations) {
        self.mark_to(self.block.entries(), confirmations);
    }

    /// Hands on the marks of a record that the last event has replaced.
    #[cold]
    pub(super) fn follow(&mut self, confirmations: &Confirmations) {
        let (older, newer) = self.block.replaced();
        let block = self.block.id();
        // A record of its own at `newer` is that of the last event.
        let end = if newer == older { self.block.entries() } else { newer };
        self.mark_to(end, confirmations);
        let place = |entry| Place { block, entry };
        confirmations.replace(place(older), place(newer));
        if let Some(waiter) = self.waiter {
            confirmations.mark(block, newer..newer + 1, waiter);
        }
        self.unmarked = self.block.entries();
    }

    fn mark_to(&mut self, end: usize, confirmations: &Confirmations) {
        let entries = self.unmarked..end;
        if let Some(waiter) = self.waiter.filter(|_| !entries.is_empty()) {
            confirmations.mark(self.block.id(), entries, waiter);
        }
        self.unmarked = end;
    }
}
