//! The sweeps of all shards: which core frees the slots of expired devices, and when.

use super::Analytics;
use super::device_quota::ScanResult;
use super::expiry::STEPS_PER_CALL;
use super::shard::Shard;
use percore::clock::Now;
use percore::sync::Mutex;

impl Analytics {
    /// Frees some of the slots of expired devices, if a sweep is due.
    ///
    /// Returns the monotonic time, in nanoseconds, of this core's next call; `None` when no device
    /// is held. A core that got `None` calls again after each turn in which it applied events,
    /// which costs one atomic read while there are no devices.
    pub fn sweep(&self, core: usize, now: Now) -> Option<u64> {
        if self.quota.devices() == 0 {
            return None;
        }
        let sweeper = self.core(core).number;
        let next =
            self.shards.iter().map(|shard| self.sweep_shard(shard, sweeper, now.mono_ns)).min();
        next.filter(|&next_ns| next_ns != u64::MAX)
    }

    /// Sweeps expired devices early, so that they do not keep new ones out until the next sweep.
    /// Returns true if a slot was freed.
    #[cold]
    pub(super) fn reclaim_slots(&self, core: u32, now_ns: u64) -> bool {
        self.quota.reclaim(self.shards.len(), now_ns, |at| {
            let Some(shard) = self.shards.get(at) else {
                return ScanResult::NoneUntil(u64::MAX);
            };
            for _ in 0..STEPS_PER_CALL {
                let mut held = shard.lock();
                let may_free_ns = held.may_free_ns();
                if may_free_ns > now_ns {
                    return ScanResult::NoneUntil(may_free_ns);
                }
                let freed = held.sweep_step(core, now_ns).freed;
                if freed > 0 {
                    return ScanResult::Freed(freed);
                }
            }
            ScanResult::NoneUntil(now_ns)
        })
    }

    /// Sweeps a shard if it is due, and returns when this core should do so next.
    fn sweep_shard(&self, shard: &Mutex<Shard>, core: u32, now_ns: u64) -> u64 {
        let mut due_ns = shard.lock().sweep_due_ns(core);
        if due_ns > now_ns {
            return due_ns;
        }
        for _ in 0..STEPS_PER_CALL {
            // The lock is released between steps, so that other cores do not wait for the sweep.
            let mut held = shard.lock();
            let swept = held.sweep_step(core, now_ns);
            due_ns = held.sweep_due_ns(core);
            drop(held);
            self.quota.release(swept.freed);
            if swept.ended {
                break;
            }
        }
        due_ns
    }
}
