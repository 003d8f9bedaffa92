//! When and where a shard looks for devices that have gone silent.
//!
//! A silent device is unknown at once, whether or not it has been swept; sweeping gives its slot
//! back. It goes through all slots in short holds of the shard's lock, and a pass takes about a
//! sixteenth of the time to live, so a slot is free an eighth after its device expired at the
//! latest. Between passes nothing wakes: no pass starts before the longest-silent device expires.
//!
//! Any core may sweep any shard, or a core that sleeps would leave its shard's dead where they
//! are while others fill it. One core at a time, the *sweeper*, does it when it is due; others
//! step in when the sweeper is late.

use std::ops::Range;

/// Slots that one hold of the lock looks at: at a cache miss each, about a microsecond.
const SLOTS_PER_STEP: u32 = 16;

/// Holds of one call, after which the core turns to its connections again.
pub(super) const STEPS_PER_CALL: u32 = 16;

/// A pass takes this share of the time to live; another core is late by the same share.
const PASSES_PER_TTL: u64 = 16;

/// Calls are at least this far apart: waking costs more than the slots that it frees.
const PAUSE_NS_MIN: u64 = 1_000_000;

/// Where one shard's sweeping stands.
#[derive(Debug)]
pub(super) struct ExpirySweep {
    ttl_ns: u64,
    first: u32,
    next: u32,
    /// When the longest-silent device that this pass has met was last heard.
    oldest_ns: u64,
    due_ns: u64,
    sweeper: u32,
}

impl ExpirySweep {
    /// Over the slots from `first` on; nothing is due yet.
    pub(super) const fn new(ttl_ns: u64, first: u32) -> Self {
        Self { ttl_ns, first, next: first, oldest_ns: u64::MAX, due_ns: u64::MAX, sweeper: 0 }
    }

    /// Whether a device last heard at `seen_ns` has been silent for too long.
    pub(super) const fn is_expired(&self, seen_ns: u64, now_ns: u64) -> bool {
        now_ns.saturating_sub(seen_ns) > self.ttl_ns
    }

    /// A device entered; into an empty shard, it makes its receiver the sweeper: that core is awake.
    pub(super) fn add(&mut self, core: u32, now_ns: u64) {
        self.oldest_ns = self.oldest_ns.min(now_ns);
        if self.due_ns == u64::MAX {
            self.sweeper = core;
            self.due_ns = self.expiry_ns(now_ns);
        }
    }

    /// When this core should sweep; `u64::MAX` for never.
    pub(super) fn due_ns(&self, core: u32) -> u64 {
        let late = if core == self.sweeper { 0 } else { self.ttl_ns / PASSES_PER_TTL };
        self.due_ns.saturating_add(late)
    }

    /// When some device may have been silent for too long: while a pass goes on, at any time.
    pub(super) const fn may_free_ns(&self) -> u64 {
        if self.next == self.first { self.due_ns } else { 0 }
    }

    /// The slots that this hold has to look at.
    pub(super) fn begin_step(&mut self, core: u32, slots: u32) -> Range<u32> {
        self.sweeper = core;
        if self.next == self.first {
            self.oldest_ns = u64::MAX;
        }
        let from = self.next;
        self.next = from.saturating_add(SLOTS_PER_STEP).min(slots);
        from..self.next
    }

    /// A device stays.
    pub(super) fn keep(&mut self, seen_ns: u64) {
        self.oldest_ns = self.oldest_ns.min(seen_ns);
    }

    /// The hold is over: says when the next one is due, and whether a pass ended with it.
    pub(super) fn end_step(&mut self, now_ns: u64, slots: u32, devices: usize) -> bool {
        let ended = self.next >= slots;
        if ended {
            self.next = self.first;
        }
        self.due_ns = if devices == 0 {
            self.next = self.first;
            u64::MAX
        } else if ended {
            self.expiry_ns(self.oldest_ns).max(now_ns)
        } else {
            now_ns.saturating_add(self.pause_ns(slots))
        };
        ended
    }

    fn expiry_ns(&self, seen_ns: u64) -> u64 {
        seen_ns.saturating_add(self.ttl_ns).saturating_add(1)
    }

    fn pause_ns(&self, slots: u32) -> u64 {
        let calls = u64::from(slots.div_ceil(SLOTS_PER_STEP * STEPS_PER_CALL)).max(1);
        (self.ttl_ns / PASSES_PER_TTL / calls).max(PAUSE_NS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: u64 = 16_000_000_000;

    #[test]
    fn nothing_is_due_without_devices_and_a_newcomers_expiry_with_one() {
        let mut sweep = ExpirySweep::new(TTL, 1);
        assert_eq!(sweep.due_ns(0), u64::MAX);
        sweep.add(3, 100);
        assert_eq!(sweep.due_ns(3), 100 + TTL + 1);
        // The others leave it to the sweeper, until it is late.
        assert_eq!(sweep.due_ns(0), 100 + TTL + 1 + TTL / 16);
        sweep.begin_step(0, 2);
        assert!(sweep.end_step(200 + TTL, 2, 0));
        assert_eq!(sweep.due_ns(0), u64::MAX);
    }

    #[test]
    fn a_pass_meets_every_slot_once_in_short_holds_and_in_time() {
        for slots in [2_u32, 17, 18, 255, 1000, 10_000] {
            let mut sweep = ExpirySweep::new(TTL, 1);
            sweep.add(0, 0);
            let start = sweep.due_ns(0);
            let (mut now, mut met) = (start, Vec::new());
            'pass: loop {
                for _ in 0..STEPS_PER_CALL {
                    let hold = sweep.begin_step(0, slots);
                    assert!(hold.len() <= SLOTS_PER_STEP as usize);
                    met.extend(hold);
                    sweep.keep(now);
                    if sweep.end_step(now, slots, 1) {
                        break 'pass;
                    }
                }
                assert!(sweep.due_ns(0) > now);
                now = sweep.due_ns(0);
            }
            assert_eq!(met, (1..slots).collect::<Vec<_>>());
            assert!(now - start <= TTL / 16);
            // The oldest that stays decides when the next pass starts.
            assert_eq!(sweep.due_ns(0), start + TTL + 1);
        }
    }
}
