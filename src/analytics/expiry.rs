//! The expiry sweep: schedules the search for expired devices of a shard.
//!
//! A device expires when it has been silent for its time to live (TTL), and is unknown from then
//! on; the sweep frees its slot. A *pass* goes through all slots in short steps, each under one
//! hold of the shard's lock, and takes about a sixteenth of the TTL. So a slot is free at most an
//! eighth of the TTL after its device expired. No pass starts before the longest-silent device
//! expires.
//!
//! Any core may sweep any shard: a sleeping core could not free slots that other cores need. One
//! core, the *sweeper*, sweeps when a step is due; the others do so if the sweeper is late.

use std::ops::Range;

/// Slots of one step: with a cache miss each, it takes about a microsecond.
const SLOTS_PER_STEP: u32 = 16;

/// Steps of one call, after which the core serves its connections again.
pub(super) const STEPS_PER_CALL: u32 = 16;

/// A pass takes the TTL divided by this; other cores wait as long for a late sweeper.
const PASSES_PER_TTL: u64 = 16;

/// The least time between two calls: waking a core costs more than looking at a few slots.
const PAUSE_NS_MIN: u64 = 1_000_000;

/// The state of one shard's sweep.
#[derive(Debug)]
pub(super) struct ExpirySweep {
    ttl_ns: u64,
    first: u32,
    next: u32,
    /// The time of the last event of the longest-silent device in this pass.
    oldest_ns: u64,
    due_ns: u64,
    sweeper: u32,
}

impl ExpirySweep {
    /// Returns a sweep of the slots from `first` on, with nothing due yet.
    pub(super) const fn new(ttl_ns: u64, first: u32) -> Self {
        Self { ttl_ns, first, next: first, oldest_ns: u64::MAX, due_ns: u64::MAX, sweeper: 0 }
    }

    /// Returns true if a device whose last event was at `seen_ns` has expired.
    pub(super) const fn is_expired(&self, seen_ns: u64, now_ns: u64) -> bool {
        now_ns.saturating_sub(seen_ns) > self.ttl_ns
    }

    /// Adds a device. The core that adds the first one becomes the sweeper, because it is awake.
    pub(super) fn add(&mut self, core: u32, now_ns: u64) {
        self.oldest_ns = self.oldest_ns.min(now_ns);
        if self.due_ns == u64::MAX {
            self.sweeper = core;
            self.due_ns = self.expiry_ns(now_ns);
        }
    }

    /// Returns when this core should sweep; `u64::MAX` for never.
    pub(super) fn due_ns(&self, core: u32) -> u64 {
        let late = if core == self.sweeper { 0 } else { self.ttl_ns / PASSES_PER_TTL };
        self.due_ns.saturating_add(late)
    }

    /// Returns when a step may find an expired device; during a pass that may be at any time.
    pub(super) const fn may_free_ns(&self) -> u64 {
        if self.next == self.first { self.due_ns } else { 0 }
    }

    /// Begins a step, and returns its slots.
    pub(super) fn begin_step(&mut self, core: u32, slots: u32) -> Range<u32> {
        self.sweeper = core;
        if self.next == self.first {
            self.oldest_ns = u64::MAX;
        }
        let from = self.next;
        self.next = from.saturating_add(SLOTS_PER_STEP).min(slots);
        from..self.next
    }

    /// Keeps a device that has not expired.
    pub(super) fn keep(&mut self, seen_ns: u64) {
        self.oldest_ns = self.oldest_ns.min(seen_ns);
    }

    /// Ends a step and schedules the next one. Returns true if the pass ended with it.
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
    fn nothing_is_due_without_devices_and_the_expiry_of_the_first_with_one() {
        let mut sweep = ExpirySweep::new(TTL, 1);
        assert_eq!(sweep.due_ns(0), u64::MAX);
        sweep.add(3, 100);
        assert_eq!(sweep.due_ns(3), 100 + TTL + 1);
        // The others leave it to the sweeper until it is late.
        assert_eq!(sweep.due_ns(0), 100 + TTL + 1 + TTL / 16);
        sweep.begin_step(0, 2);
        assert!(sweep.end_step(200 + TTL, 2, 0));
        assert_eq!(sweep.due_ns(0), u64::MAX);
    }

    #[test]
    fn a_pass_meets_every_slot_once_in_short_steps_and_in_time() {
        for slots in [2_u32, 17, 18, 255, 1000, 10_000] {
            let mut sweep = ExpirySweep::new(TTL, 1);
            sweep.add(0, 0);
            let start = sweep.due_ns(0);
            let (mut now, mut met) = (start, Vec::new());
            'pass: loop {
                for _ in 0..STEPS_PER_CALL {
                    let step = sweep.begin_step(0, slots);
                    assert!(step.len() <= SLOTS_PER_STEP as usize);
                    met.extend(step);
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
            // The oldest device that is kept decides when the next pass starts.
            assert_eq!(sweep.due_ns(0), start + TTL + 1);
        }
    }
}
