//! Deadlines of connections: a timer wheel whose entries move only when they fire.
//!
//! Almost every deadline is put off by the next request before it is reached. So each slot has one
//! valid entry, at or before its deadline. When it fires, the connection is asked for its real
//! deadline, and scheduled again if that lies ahead. To put a deadline off costs nothing here. The
//! next connection in a slot takes over the entry of the last, so that connections which come and
//! go leave nothing behind.

/// The precision of deadlines; an idle core wakes at most four times a second for them.
pub const TICK_MS: u64 = 250;

/// The slots of the wheel: one turn of it is 128 s. A deadline that lies further ahead is scheduled
/// at its far side, and from there again.
const SLOTS: usize = 512;

/// An entry of the wheel: the slot of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    slot: usize,
    tick: u64,
}

/// The timer wheel of one core.
#[derive(Debug)]
pub struct Timers {
    wheel: Vec<Vec<Entry>>,
    /// The tick of the valid entry of each slot, which was scheduled later than the others but
    /// fires earlier; `u64::MAX` for none.
    scheduled: Vec<u64>,
    /// The last tick whose entries have fired, like those of all before it.
    fired: u64,
    /// The first tick at which an entry may fire.
    next: u64,
}

impl Timers {
    /// Returns a wheel without entries.
    pub fn new() -> Self {
        Self { wheel: vec![Vec::new(); SLOTS], scheduled: Vec::new(), fired: 0, next: u64::MAX }
    }

    /// Schedules `slot` to fire at the first tick at or after `deadline_ms`, or before. A deadline
    /// past the wheel's reach fires at its far side.
    pub fn schedule(&mut self, slot: usize, deadline_ms: u64) {
        // Mostly an earlier entry is there already: this deadline was only put off.
        let scheduled = self.scheduled.get(slot).copied().unwrap_or(u64::MAX);
        if scheduled.saturating_mul(TICK_MS) <= deadline_ms {
            return;
        }
        let farthest = self.fired + SLOTS as u64 - 1;
        let tick = deadline_ms.div_ceil(TICK_MS).clamp(self.fired + 1, farthest);
        if self.scheduled.len() <= slot {
            self.scheduled.resize(slot + 1, u64::MAX);
        }
        let Some(scheduled) = self.scheduled.get_mut(slot).filter(|scheduled| tick < **scheduled)
        else {
            return;
        };
        *scheduled = tick;
        if let Some(entries) = self.wheel.get_mut(tick as usize % SLOTS) {
            entries.push(Entry { slot, tick });
        }
        self.next = self.next.min(tick);
    }

    /// Lets the time pass, and returns true if entries are due.
    pub fn has_due(&mut self, now_ms: u64) -> bool {
        let now = now_ms / TICK_MS;
        if now < self.next {
            self.fired = self.fired.max(now);
        }
        now >= self.next
    }

    /// Moves every slot that is due at `now_ms` into `due`. It may hold another connection by now,
    /// or none, or one whose deadline lies ahead.
    pub fn fire(&mut self, now_ms: u64, due: &mut Vec<usize>) {
        if !self.has_due(now_ms) {
            return;
        }
        let now = now_ms / TICK_MS;
        let first = self.next.max(now.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=now {
            for entry in self.wheel.get_mut(tick as usize % SLOTS).into_iter().flat_map(take_all) {
                let scheduled = self.scheduled.get_mut(entry.slot);
                if let Some(scheduled) = scheduled.filter(|scheduled| **scheduled == entry.tick) {
                    *scheduled = u64::MAX;
                    due.push(entry.slot);
                }
            }
        }
        self.fired = now;
        let ahead = now + 1..now + SLOTS as u64;
        let occupied =
            |tick: &u64| self.wheel.get(*tick as usize % SLOTS).is_some_and(|s| !s.is_empty());
        self.next = ahead.into_iter().find(occupied).unwrap_or(u64::MAX);
    }

    /// Returns the time at which the next entry fires.
    pub const fn next_ms(&self) -> Option<u64> {
        if self.next == u64::MAX { None } else { Some(self.next.saturating_mul(TICK_MS)) }
    }
}

fn take_all(entries: &mut Vec<Entry>) -> std::vec::Drain<'_, Entry> {
    entries.drain(..)
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fired(timers: &mut Timers, now_ms: u64) -> Vec<usize> {
        let mut due = Vec::new();
        timers.fire(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_slot_fires_at_its_tick_and_not_before() {
        let mut timers = Timers::new();
        assert_eq!(timers.next_ms(), None);
        timers.schedule(7, 1001);
        assert_eq!(timers.next_ms(), Some(1250));
        assert!(fired(&mut timers, 1249).is_empty());
        assert_eq!(fired(&mut timers, 1250), [7]);
        assert_eq!(timers.next_ms(), None);
        timers.schedule(7, u64::MAX);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn of_several_deadlines_of_a_slot_only_the_earliest_fires() {
        let mut timers = Timers::new();
        timers.schedule(1, 5000);
        timers.schedule(1, 1000);
        timers.schedule(1, 9000);
        assert_eq!(fired(&mut timers, 1000), [1]);
        assert!(fired(&mut timers, 20_000).is_empty());
    }

    #[test]
    fn connections_that_come_and_go_leave_one_entry() {
        let mut timers = Timers::new();
        for arrival in 0..1000 {
            timers.schedule(3, 75_000 + arrival);
        }
        assert_eq!(timers.wheel.iter().map(Vec::len).sum::<usize>(), 1);
    }

    #[test]
    fn a_deadline_past_the_wheel_fires_at_its_far_side() {
        let mut timers = Timers::new();
        timers.schedule(1, 10 * TICK_MS * SLOTS as u64);
        assert_eq!(timers.next_ms(), Some((SLOTS as u64 - 1) * TICK_MS));
        // After an idle hour the wheel reaches as far as ever.
        assert_eq!(fired(&mut timers, 3_600_000), [1]);
        timers.schedule(1, 3_600_000 + 75_000);
        assert_eq!(timers.next_ms(), Some(3_600_000 + 75_000));
    }

    proptest! {
        /// Against a map of deadlines: nothing fires early, and nothing later than one tick.
        #[test]
        fn slots_fire_within_one_tick(
            steps in prop::collection::vec((0_usize..8, 0_u64..120_000, 0_u64..30_000), 1..80)
        ) {
            let mut timers = Timers::new();
            let mut waiting: BTreeMap<usize, u64> = BTreeMap::new();
            let mut now_ms = 0;
            for (slot, ahead_ms, pause_ms) in steps {
                let deadline_ms = now_ms + ahead_ms;
                let tick = deadline_ms.div_ceil(TICK_MS).max(now_ms / TICK_MS + 1);
                let tick_ms = tick * TICK_MS;
                timers.schedule(slot, deadline_ms);
                waiting.entry(slot).and_modify(|at| *at = tick_ms.min(*at)).or_insert(tick_ms);
                now_ms += pause_ms;
                let is_due = |(slot, at): (&usize, &u64)| (*at <= now_ms).then_some(*slot);
                let expected: Vec<usize> = waiting.iter().filter_map(is_due).collect();
                waiting.retain(|_, at| *at > now_ms);
                prop_assert_eq!(fired(&mut timers, now_ms), expected);
                // A stale entry may wake the core once for nothing, never too late.
                let next = waiting.values().min().copied();
                prop_assert!(next.is_none() || timers.next_ms() <= next);
            }
        }
    }
}
