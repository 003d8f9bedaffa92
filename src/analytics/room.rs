//! How many devices all shards together hold, and who looks for room when there is none.
//!
//! A device that is refused must not cost more than one that is known, or whoever makes ids up
//! slows all others down. So nobody looks for room before some device may have fallen silent, which
//! is one atomic read for each event that is refused; and when one may have, one core looks, in
//! steps of a few slots and with a pause after each that found nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::Mutex;

/// Between two looks that found nothing, while a pass goes on: some microseconds of work in each
/// millisecond.
const PAUSE_NS: u64 = 1_000_000;

/// Devices that all shards together may hold, and do.
#[derive(Debug)]
pub(super) struct Room {
    devices: AtomicUsize,
    devices_max: usize,
    ttl_ns: u64,
    /// Until then no device can have been silent for too long, as far as is known.
    none_until_ns: AtomicU64,
    /// Where the next look begins; who holds it looks.
    looking_at: Mutex<usize>,
}

/// What one look at a shard found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Devices whose slots are free now; there may be more.
    Freed(usize),
    /// None, and before this time there is none.
    NoneUntil(u64),
}

impl Room {
    /// For so many devices, each of which is forgotten after so long a silence.
    pub(super) const fn new(devices_max: usize, ttl_ns: u64) -> Self {
        Self {
            devices: AtomicUsize::new(0),
            devices_max,
            ttl_ns,
            none_until_ns: AtomicU64::new(0),
            looking_at: Mutex::new(0),
        }
    }

    /// Devices that hold a slot.
    pub(super) fn devices(&self) -> usize {
        self.devices.load(Ordering::Relaxed)
    }

    /// Takes the place of one device, if there is one. The lock of its shard is held.
    pub(super) fn take(&self) -> bool {
        // Nothing is published through this count: the shard's lock guards what it counts.
        self.devices
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |devices| {
                (devices < self.devices_max).then_some(devices + 1)
            })
            .is_ok()
    }

    pub(super) fn give_back(&self, devices: usize) {
        self.devices.fetch_sub(devices, Ordering::Relaxed);
    }

    /// Makes room if there can be any, and says whether it did. `look` is asked of one shard after
    /// the other, until one has freed something.
    #[cold]
    pub(super) fn make(
        &self,
        shards: usize,
        now_ns: u64,
        mut look: impl FnMut(usize) -> Look,
    ) -> bool {
        if now_ns < self.none_until_ns.load(Ordering::Relaxed) {
            return false;
        }
        let Some(mut looking_at) = self.looking_at.try_lock() else {
            return false;
        };
        // Whoever enters while we look cannot fall silent before this.
        let mut none_until_ns = now_ns.saturating_add(self.ttl_ns).saturating_add(1);
        for _ in 0..shards {
            let shard = *looking_at % shards;
            match look(shard) {
                Look::Freed(devices) => {
                    self.give_back(devices);
                    return true;
                }
                // It has more to look at: its turn comes again after the pause.
                Look::NoneUntil(at_ns) if at_ns <= now_ns => {
                    none_until_ns = now_ns.saturating_add(PAUSE_NS);
                    break;
                }
                Look::NoneUntil(at_ns) => none_until_ns = none_until_ns.min(at_ns),
            }
            *looking_at = (shard + 1) % shards;
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
        let room = Room::new(3, TTL_NS);
        let mut looks = Vec::new();
        let mut make = |now_ns, answers: [Look; 3]| {
            looks.clear();
            let made = room.make(3, now_ns, |shard| {
                looks.push(shard);
                answers[shard]
            });
            (made, looks.clone())
        };
        let until = |ns: [u64; 3]| ns.map(Look::NoneUntil);
        assert_eq!(make(10, until([u64::MAX, 700, 900])), (false, vec![0, 1, 2]));
        assert_eq!(make(699, until([0; 3])), (false, vec![]));
        // The pass of shard 1 goes on; nobody looks again at once, and then there first.
        assert_eq!(make(700, until([u64::MAX, 0, 900])), (false, vec![0, 1]));
        assert_eq!(make(700 + PAUSE_NS - 1, until([0; 3])), (false, vec![]));
        let later = 700 + PAUSE_NS;
        assert_eq!(
            make(later, [Look::NoneUntil(0), Look::Freed(0), Look::Freed(0)]),
            (true, vec![1])
        );
        // Where something was free there may be more.
        assert_eq!(make(later, until([u64::MAX; 3])), (false, vec![1, 2, 0]));
        assert_eq!(make(later + TTL_NS, until([0; 3])), (false, vec![]));
        assert_eq!(make(later + TTL_NS + 1, until([u64::MAX; 3])).1.len(), 3);
    }

    #[test]
    fn one_core_looks_at_a_time() {
        let room = Room::new(1, TTL_NS);
        let mut inner = None;
        let outer = room.make(1, 5, |_| {
            inner = Some(room.make(1, 5, |_| Look::Freed(0)));
            Look::Freed(0)
        });
        assert_eq!((outer, inner), (true, Some(false)));
    }
}
