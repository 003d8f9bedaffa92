//! The limits of a shard's devices: an event is counted before it is scored.

use super::{DeviceKey, Shard};
use crate::analytics::anomaly_records::Receipt;
use crate::analytics::device_quota::DeviceQuota;

impl Shard {
    /// Counts an event before it is scored, if it keeps to the limit of its device. Returns the
    /// nanoseconds until one would if it does not; else 0. A device that is new gets a slot; `None`
    /// if there is none.
    pub(in crate::analytics) fn admit(
        &mut self,
        receipt: Receipt,
        key: DeviceKey<'_>,
        guess: u32,
        quota: &DeviceQuota,
    ) -> Option<u64> {
        let is_there = self.is_at(guess, key);
        let slot = if is_there { guess } else { self.find_or_insert(receipt, key, quota)? };
        let (seen_ns, now_ns) = (self.slots.record(slot)?.seen_ns, receipt.now.mono_ns);
        let wait_ns = self.limits.as_mut()?.take(slot, seen_ns, now_ns);
        if wait_ns == 0 {
            // It is seen from now on, which has to be known of the next event of the same request;
            // whether it had been silent for too long is not known any more when it is scored.
            if self.expiry.is_expired(seen_ns, now_ns) {
                self.reset(slot);
            }
            let device = self.slots.record_mut(slot)?;
            device.seen_ns = device.seen_ns.max(now_ns);
        }
        Some(wait_ns)
    }
}
