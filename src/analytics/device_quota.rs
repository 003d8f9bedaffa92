//! How many devices all shards together hold, and who scans for room when there is none.
//!
//! A device that is refused must not cost more than one that is known, or whoever makes ids up
//! slows all others down. So nobody scans for room before some device may have fallen silent, which
//! is one atomic read for each event that is refused; and when one may have, one core scans, in
//! steps of a few slots and with a pause after each that found nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use percore::sync::Mutex;

/// Between two scans that found nothing, while a pass goes on: some microseconds of work in each
/// millisecond.
const SCAN_PAUSE_NS: u64 = 1_000_000;

/// Devices that all shards together may hold, and do.
#[derive(Debug)]
pub(super) struct DeviceQuota {
    devices: AtomicUsize,
    devices_max: usize,
    ttl_ns: u64,
    /// Until then no device can have been silent for too long, as far as is known.
    none_until_ns: AtomicU64,
    /// Where the next look begins; who holds it scans.
    next_shard: Mutex<usize>,
}

/// What one look at a shard found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanResult {
    /// Devices whose slots are free now; there may be more.
    Freed(usize),
    /// None, and before this time there is none.
    NoneUntil(u64),
}

impl DeviceQuota {
    /// For so many devices, each of which is forgotten after so long a silence.
    pub(super) const fn new(devices_max: usize, ttl_ns: u64) -> Self {
        Self {
            devices: AtomicUsize::new(0),
            devices_max,
            ttl_ns,
            none_until_ns: AtomicU64::new(0),
            next_shard: Mutex::new(0),
        }
    }

    /// Devices that hold a slot.
    pub(super) fn devices(&self) -> usize {
        self.devices.load(Ordering::Relaxed)
    }

    /// Takes the place of one device, if there is one. The lock of its shard is held.
    pub(super) fn try_acquire(&self) -> bool {
        // Nothing is published through this count: the shard's lock guards what it counts.
        self.devices
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |devices| {
                (devices < self.devices_max).then_some(devices + 1)
            })
            .is_ok()
    }

    pub(super) fn release(&self, devices: usize) {
        self.devices.fetch_sub(devices, Ordering::Relaxed);
    }

    /// Makes room if there can be any, and says whether it did. `scan` is asked of one shard after
    /// the other, until one has freed something.
    #[cold]
    pub(super) fn reclaim(
        &self,
        shards: usize,
        now_ns: u64,
        mut scan: impl FnMut(usize) -> ScanResult,
    ) -> bool {
        if now_ns < self.none_until_ns.load(Ordering::Relaxed) {
            return false;
        }
        let Some(mut next_shard) = self.next_shard.try_lock() else {
            return false;
        };
        // Whoever enters while we look cannot fall silent before this.
        let mut none_until_ns = now_ns.saturating_add(self.ttl_ns).saturating_add(1);
        for _ in 0..shards {
            let shard = *next_shard % shards;
            match scan(shard) {
                ScanResult::Freed(devices) => {
                    self.release(devices);
                    return true;
                }
                // It has more to look at: its turn comes again after the pause.
                ScanResult::NoneUntil(at_ns) if at_ns <= now_ns => {
                    none_until_ns = now_ns.saturating_add(SCAN_PAUSE_NS);
                    break;
                }
                ScanResult::NoneUntil(at_ns) => none_until_ns = none_until_ns.min(at_ns),
            }
            *next_shard = (shard + 1) % shards;
        }
        self.none_until_ns.store(none_until_ns, Ordering::Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL_NS: u64 = 1_000_000_000;

    #[test]
    fn nobody_looks_before_something_can_be_free() {
        let quota = DeviceQuota::new(3, TTL_NS);
        let mut scans = Vec::new();
        let mut reclaim = |now_ns, answers: [ScanResult; 3]| {
            scans.clear();
            let freed = quota.reclaim(3, now_ns, |shard| {
                scans.push(shard);
                answers[shard]
            });
            (freed, scans.clone())
        };
        let until = |ns: [u64; 3]| ns.map(ScanResult::NoneUntil);
        assert_eq!(reclaim(10, until([u64::MAX, 700, 900])), (false, vec![0, 1, 2]));
        assert_eq!(reclaim(699, until([0; 3])), (false, vec![]));
        // The pass of shard 1 goes on; nobody scans again at once, and then there first.
        assert_eq!(reclaim(700, until([u64::MAX, 0, 900])), (false, vec![0, 1]));
        assert_eq!(reclaim(700 + SCAN_PAUSE_NS - 1, until([0; 3])), (false, vec![]));
        let later = 700 + SCAN_PAUSE_NS;
        assert_eq!(
            reclaim(later, [ScanResult::NoneUntil(0), ScanResult::Freed(0), ScanResult::Freed(0)]),
            (true, vec![1])
        );
        // Where something was free there may be more.
        assert_eq!(reclaim(later, until([u64::MAX; 3])), (false, vec![1, 2, 0]));
        assert_eq!(reclaim(later + TTL_NS, until([0; 3])), (false, vec![]));
        assert_eq!(reclaim(later + TTL_NS + 1, until([u64::MAX; 3])).1.len(), 3);
    }

    #[test]
    fn one_core_looks_at_a_time() {
        let quota = DeviceQuota::new(1, TTL_NS);
        let mut inner = None;
        let outer = quota.reclaim(1, 5, |_| {
            inner = Some(quota.reclaim(1, 5, |_| ScanResult::Freed(0)));
            ScanResult::Freed(0)
        });
        assert_eq!((outer, inner), (true, Some(false)));
    }
}
