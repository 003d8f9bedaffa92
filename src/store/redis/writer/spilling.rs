//! The writer's part in a spill: it writes what an earlier process left, and at its own end leaves
//! what it could not write.

use std::sync::atomic::Ordering;

use super::Writer;
use crate::store::block::Block;
use crate::store::event_counters::DropReason;
use crate::store::redis::link::Connector;
use crate::store::spill::Recovered;

impl<C: Connector> Writer<C> {
    /// Moves what an earlier process left to the pipeline: it is older than all that is queued.
    pub(super) fn fill_with_recovered(&mut self) {
        let Some(spill) = &mut self.spill else {
            return;
        };
        let slot = self.shared.writer_slot();
        while !self.pipeline.is_full()
            && let Some(recovered) = spill.next(&self.shared.encoding, self.ttl_ns)
        {
            let Recovered { block, expired, now_ns } = recovered;
            let events = expired + block.as_ref().map_or(0, Block::events);
            self.shared.counters.add_accepted(slot, events);
            self.shared.recovered.fetch_add(events, Ordering::Relaxed);
            self.shared.drop_events(slot, DropReason::Expired, expired, now_ns);
            if let Some(mut block) = block {
                self.shared.counters.add_coalesced(slot, block.take_coalesced());
                self.pipeline.push(block);
            }
        }
        if spill.remove_if_done() {
            self.shared.observer.on_recovered(spill.recovery());
        }
    }

    /// Returns a block to where it came from.
    pub(super) fn release(&mut self, block: Block) {
        let Some(spill) = self.spill.as_mut().filter(|_| block.has_deadlines()) else {
            return self.shared.queue.release(block);
        };
        if spill.release(block) {
            self.shared.observer.on_recovered(spill.recovery());
        }
    }

    /// Spills or drops everything that has no outcome when the time to stop is over.
    pub(super) fn drop_all(&mut self, now_ns: u64) {
        let (mut left, blocks) = self.pipeline.drain();
        let (recovered, mut own): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|(block, _)| block.has_deadlines());
        let queued = std::iter::from_fn(|| self.shared.queue.pop());
        for block in queued.chain(self.shared.take_open_blocks()) {
            left += block.events();
            own.push((block, 0));
        }
        let mut spilled = 0;
        if let Some(spill) = self.spill.as_mut().filter(|_| left > 0) {
            let result = spill.spill(&recovered, &own, self.ttl_ns);
            spilled = result.events.min(left);
            self.shared.observer.on_spilled(&result, left - spilled);
        }
        let (shared, slot) = (&self.shared, self.shared.writer_slot());
        shared.drop_events(slot, DropReason::Spilled, spilled, now_ns);
        shared.drop_events(slot, DropReason::Shutdown, left - spilled, now_ns);
        own.into_iter().for_each(|(block, _)| shared.queue.release(block));
    }
}
