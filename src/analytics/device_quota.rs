//! The device quota: limits the devices of all shards, and frees expired ones when it is used up.
//!
//! An event that is refused must not cost more than one of a known device, or a client that invents
//! ids would slow down all others. So no core scans before some device can have expired, which
//! costs each refused event one atomic read. After that one core at a time scans, a few slots at
//! once, and pauses after each scan that found nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use percore::sync::Mutex;

/// The pause between two scans that found nothing: some microseconds of work in each millisecond.
const SCAN_PAUSE_NS: u64 = 1_000_000;

/// The number of devices of all shards, and its limit.
#[derive(Debug)]
pub(super) struct DeviceQuota {
    devices: AtomicUsize,
    devices_max: usize,
    ttl_ns: u64,
    /// No device can expire before this time, as far as is known.
    none_until_ns: AtomicU64,
    /// The shard at which the next scan begins; the core that holds the lock scans.
    next_shard: Mutex<usize>,
}

/// The result of scanning one shard for expired devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanResult {
    /// So many slots were freed; there may be more.
    Freed(usize),
    /// None was freed, and none can be before this time.
    NoneUntil(u64),
}

impl DeviceQuota {
    /// Returns the quota for so many devices, each of which expires after so long a silence.
    pub(super) const fn new(devices_max: usize, ttl_ns: u64) -> Self {
        Self {
            devices: AtomicUsize::new(0),
            devices_max,
            ttl_ns,
            none_until_ns: AtomicU64::new(0),
            next_shard: Mutex::new(0),
        }
    }

    /// Returns the number of devices that hold a slot.
    pub(super) fn devices(&self) -> usize {
        self.devices.load(Ordering::Relaxed)
    }

    /// Returns the time for which a device may be silent.
    pub(super) const fn ttl_ns(&self) -> u64 {
        self.ttl_ns
    }

    /// Acquires one unit, if one is left. The caller holds the lock of the device's shard.
    pub(super) fn try_acquire(&self) -> bool {
        // Relaxed suffices: the shard's lock guards the devices themselves.
        self.devices
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |devices| {
                (devices < self.devices_max).then_some(devices + 1)
            })
            .is_ok()
    }

    /// Releases the units of so many devices.
    pub(super) fn release(&self, devices: usize) {
        self.devices.fetch_sub(devices, Ordering::Relaxed);
    }

    /// Frees slots of expired devices, unless it is too early or another core does so. Calls `scan`
    /// for one shard after the other until one has freed something. Returns true if one has.
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
        // A device that is added during the scan cannot expire before this.
        let mut none_until_ns = now_ns.saturating_add(self.ttl_ns).saturating_add(1);
        for _ in 0..shards {
            let shard = *next_shard % shards;
            match scan(shard) {
                ScanResult::Freed(devices) => {
                    self.release(devices);
                    return true;
                }
                // It has more slots to scan: continue there after the pause.
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
    fn no_scan_starts_before_a_device_can_have_expired() {
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
        // The pass of shard 1 goes on: no scan before the pause, and then there first.
        assert_eq!(reclaim(700, until([u64::MAX, 0, 900])), (false, vec![0, 1]));
        assert_eq!(reclaim(700 + SCAN_PAUSE_NS - 1, until([0; 3])), (false, vec![]));
        let later = 700 + SCAN_PAUSE_NS;
        assert_eq!(
            reclaim(later, [ScanResult::NoneUntil(0), ScanResult::Freed(0), ScanResult::Freed(0)]),
            (true, vec![1])
        );
        // Where a slot was freed there may be more.
        assert_eq!(reclaim(later, until([u64::MAX; 3])), (false, vec![1, 2, 0]));
        assert_eq!(reclaim(later + TTL_NS, until([0; 3])), (false, vec![]));
        assert_eq!(reclaim(later + TTL_NS + 1, until([u64::MAX; 3])).1.len(), 3);
    }

    #[test]
    fn one_core_scans_at_a_time() {
        let quota = DeviceQuota::new(1, TTL_NS);
        let mut inner = None;
        let outer = quota.reclaim(1, 5, |_| {
            inner = Some(quota.reclaim(1, 5, |_| ScanResult::Freed(0)));
            ScanResult::Freed(0)
        });
        assert_eq!((outer, inner), (true, Some(false)));
    }
}
