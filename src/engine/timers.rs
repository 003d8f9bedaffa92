//! Deadlines of connections: a wheel whose entries are moved only when they fire.
//!
//! Almost every deadline is put off by the next request before it is reached. So a connection has
//! one entry, at or before its deadline; when the entry fires the connection is asked for its real
//! deadline and entered again if that lies ahead. Putting a deadline off costs nothing here.

/// Deadlines hold to this; an idle core wakes at most four times a second for them.
pub const TICK_MS: u64 = 250;

/// One turn of the wheel is 128 s; what lies further ahead is entered at its far side and again
/// from there.
const SLOTS: usize = 512;

/// What an entry fires for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The connection's slot.
    pub slot: usize,
    /// The tick at which it fires. An entry that its connection no longer counts on is stale.
    pub tick: u64,
}

/// The wheel of one core.
#[derive(Debug)]
pub struct Timers {
    slots: Vec<Vec<Entry>>,
    /// Every entry of this tick and before has fired.
    fired: u64,
    /// No entry fires before this tick.
    next: u64,
}

impl Timers {
    /// A wheel without entries.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], fired: 0, next: u64::MAX }
    }

    /// Enters `slot` for the first tick at or after `deadline_ms`, or the last that the wheel
    /// reaches; answers the tick.
    pub fn enter(&mut self, slot: usize, deadline_ms: u64) -> u64 {
        let tick = self.tick_of(deadline_ms);
        self.place(Entry { slot, tick });
        tick
    }

    /// The tick that [`Timers::enter`] would choose.
    #[must_use]
    pub fn tick_of(&self, deadline_ms: u64) -> u64 {
        let farthest = self.fired + SLOTS as u64 - 1;
        deadline_ms.div_ceil(TICK_MS).clamp(self.fired + 1, farthest)
    }

    fn place(&mut self, entry: Entry) {
        if let Some(entries) = self.slots.get_mut(entry.tick as usize % SLOTS) {
            entries.push(entry);
        }
        self.next = self.next.min(entry.tick);
    }

    /// Moves every entry that is due at `now_ms` into `due`.
    pub fn fire(&mut self, now_ms: u64, due: &mut Vec<Entry>) {
        let now = now_ms / TICK_MS;
        if now < self.next {
            self.fired = self.fired.max(now);
            return;
        }
        // After a pause longer than a turn of the wheel each slot needs one look, no more.
        let first = self.next.max(now.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=now {
            if let Some(entries) = self.slots.get_mut(tick as usize % SLOTS) {
                due.append(entries);
            }
        }
        self.fired = now;
        let ahead = now + 1..now + SLOTS as u64;
        let occupied =
            |tick: &u64| self.slots.get(*tick as usize % SLOTS).is_some_and(|s| !s.is_empty());
        self.next = ahead.into_iter().find(occupied).unwrap_or(u64::MAX);
    }

    /// When the next entry fires.
    #[must_use]
    pub const fn next_ms(&self) -> Option<u64> {
        if self.next == u64::MAX { None } else { Some(self.next.saturating_mul(TICK_MS)) }
    }
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

    #[test]
    fn an_entry_fires_at_its_tick_and_not_before() {
        let mut timers = Timers::new();
        assert_eq!(timers.next_ms(), None);
        timers.enter(7, 1001);
        assert_eq!(timers.next_ms(), Some(1250));
        let mut due = Vec::new();
        timers.fire(1249, &mut due);
        assert_eq!(due, []);
        timers.fire(1250, &mut due);
        assert_eq!(due, [Entry { slot: 7, tick: 5 }]);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn a_deadline_past_the_wheel_is_entered_at_its_far_side() {
        let mut timers = Timers::new();
        let tick = timers.enter(1, 10 * TICK_MS * SLOTS as u64);
        assert_eq!(tick, SLOTS as u64 - 1);
    }

    proptest! {
        /// Against a sorted list: nothing fires early, and nothing later than one tick.
        #[test]
        fn entries_fire_within_one_tick(
            steps in prop::collection::vec((0_u64..200_000, 0_u64..30_000), 1..60)
        ) {
            let mut timers = Timers::new();
            let mut waiting: Vec<(usize, u64)> = Vec::new();
            let mut now_ms = 0;
            let mut due = Vec::new();
            for (slot, (ahead_ms, pause_ms)) in steps.into_iter().enumerate() {
                let tick = timers.enter(slot, now_ms + ahead_ms);
                waiting.push((slot, tick * TICK_MS));
                now_ms += pause_ms;
                due.clear();
                timers.fire(now_ms, &mut due);
                let mut fired: Vec<usize> = due.iter().map(|entry| entry.slot).collect();
                fired.sort_unstable();
                let (expected, rest): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|(_, at_ms)| *at_ms <= now_ms);
                waiting = rest;
                prop_assert_eq!(fired, expected.iter().map(|e| e.0).collect::<Vec<_>>());
                let next = waiting.iter().map(|(_, at_ms)| *at_ms).min();
                prop_assert_eq!(timers.next_ms(), next);
            }
        }
    }
}
