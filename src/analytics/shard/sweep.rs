//! The sweep of a shard: frees the slots of expired devices, a few at a time.

use super::{Shard, VACANT};

/// The result of one sweep step.
pub(in crate::analytics) struct Swept {
    /// The number of slots that were freed.
    pub(in crate::analytics) freed: usize,
    /// True if the pass over all slots ended.
    pub(in crate::analytics) ended: bool,
}

impl Shard {
    /// Returns when this core should sweep this shard; `u64::MAX` for never.
    pub(in crate::analytics) fn sweep_due_ns(&self, core: u32) -> u64 {
        self.expiry.due_ns(core)
    }

    /// Returns when [`Self::sweep_step`] may find an expired device; `u64::MAX` for never.
    pub(in crate::analytics) fn may_free_ns(&self) -> u64 {
        self.expiry.may_free_ns()
    }

    /// Checks the next few slots, and frees those of expired devices.
    pub(in crate::analytics) fn sweep_step(&mut self, core: u32, now_ns: u64) -> Swept {
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let mut freed = 0;
        for slot in self.expiry.begin_step(core, slots) {
            let Some(seen_ns) = self.slots.record(slot).map(|device| device.seen_ns) else {
                break;
            };
            if self.expiry.is_expired(seen_ns, now_ns) {
                self.free(slot);
                freed += 1;
            } else if seen_ns != VACANT {
                self.expiry.keep(seen_ns);
            }
        }
        let ended = self.expiry.end_step(now_ns, slots, self.index.devices());
        Swept { freed, ended }
    }
}
