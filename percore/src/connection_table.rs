//! The connections of one core, and the limit that all cores share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slab::Slab;

use super::connection::Connection;
use crate::http::handler::ConnectionId;
use crate::limits::{RESERVED_CONNECTIONS, RESERVED_PER_CORE};

/// The longest-idle connections found by one look over all of them: enough that a flood of
/// newcomers costs one look for many.
const CANDIDATES: usize = 64;

/// After a look that found nobody idle, the next one waits this long.
const LOOK_AGAIN_MS: u64 = 10;

/// ConnectionTable of all cores, against their limit.
#[derive(Debug)]
pub struct AdmissionControl {
    regular: AtomicUsize,
    reserved: AtomicUsize,
    turned_away: AtomicUsize,
    limit: usize,
}

/// How a newcomer is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As one of those that the limit allows.
    Regular,
    /// Over the limit: one answer, and only probes get what they ask for.
    Reserved,
    /// Not even that: a 503 without being asked.
    TurnedAway,
    /// There are too many even to be told so.
    Dropped,
}

impl AdmissionControl {
    /// Nobody, of at most `limit`.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            regular: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            limit,
        }
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a newcomer would be over the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.regular.load(Ordering::Relaxed) >= self.limit
    }

    /// Counts a newcomer, and says how to receive it.
    pub fn admit(&self) -> Admission {
        if enter(&self.regular, self.limit) {
            Admission::Regular
        } else if enter(&self.reserved, RESERVED_CONNECTIONS) {
            Admission::Reserved
        } else if enter(&self.turned_away, RESERVED_CONNECTIONS) {
            Admission::TurnedAway
        } else {
            Admission::Dropped
        }
    }

    /// Whether a newcomer would not even get a reserved place.
    fn is_crowded(&self) -> bool {
        self.is_full() && self.reserved.load(Ordering::Relaxed) >= RESERVED_CONNECTIONS
    }

    /// Gives a core a reserved place although the others have all of them.
    fn reserve_for_core(&self) -> Admission {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        Admission::Reserved
    }

    /// Counts one on a reserved place among those that are turned away, if there may be one more.
    fn demote(&self) -> bool {
        let enters = enter(&self.turned_away, RESERVED_CONNECTIONS);
        if enters {
            self.leave(Admission::Reserved);
        }
        enters
    }

    /// Counts one that has gone.
    pub fn leave(&self, admission: Admission) {
        match admission {
            Admission::Regular => self.regular.fetch_sub(1, Ordering::Relaxed),
            Admission::Reserved => self.reserved.fetch_sub(1, Ordering::Relaxed),
            Admission::TurnedAway => self.turned_away.fetch_sub(1, Ordering::Relaxed),
            Admission::Dropped => 0,
        };
    }
}

fn enter(count: &AtomicUsize, limit: usize) -> bool {
    let below = |count| if count < limit { Some(count + 1) } else { None };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
}

/// The table of one core. Slots are used again; numbers are not.
#[derive(Debug)]
pub struct ConnectionTable {
    slots: Slab<Connection>,
    population: Arc<AdmissionControl>,
    accepted: u64,
    /// Idle connections, longest last, as they stood at the last look.
    candidates: Vec<(u64, ConnectionId)>,
    look_again_ms: u64,
    /// Who has a reserved place, the first to come first. Some may have gone.
    reserved: VecDeque<ConnectionId>,
    /// How many those are that have not gone.
    reserved_count: usize,
}

impl ConnectionTable {
    /// An empty table.
    #[must_use]
    pub const fn new(population: Arc<AdmissionControl>) -> Self {
        Self {
            slots: Slab::new(),
            population,
            accepted: 0,
            candidates: Vec::new(),
            look_again_ms: 0,
            reserved: VecDeque::new(),
            reserved_count: 0,
        }
    }

    /// Counts a newcomer, and says how to receive it and who it is.
    pub fn admit(&mut self) -> (Admission, ConnectionId) {
        self.accepted += 1;
        let id = ConnectionId { slot: self.slots.vacant_key(), number: self.accepted };
        let admission = self.population.admit();
        let is_short = self.reserved_count < RESERVED_PER_CORE;
        if is_short && matches!(admission, Admission::TurnedAway | Admission::Dropped) {
            self.population.leave(admission);
            return (self.population.reserve_for_core(), id);
        }
        (admission, id)
    }

    /// Whether a newcomer would be over the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.population.is_full()
    }

    /// Enters the connection that was admitted last.
    pub fn insert(&mut self, connection: Connection) -> usize {
        if connection.admission() == Admission::Reserved {
            while self.reserved.front().is_some_and(|id| !self.holds(*id)) {
                self.reserved.pop_front();
            }
            self.reserved.push_back(connection.id());
            self.reserved_count += 1;
        }
        self.slots.insert(connection)
    }

    fn holds(&self, id: ConnectionId) -> bool {
        self.slots.get(id.slot).is_some_and(|connection| connection.id() == id)
    }

    /// Who has had a reserved place of this core longest, if all of them are taken: a probe sends
    /// its request as soon as it is connected, so whoever has come last is the likeliest to be one.
    pub fn longest_reserved(&mut self) -> Option<usize> {
        if !self.population.is_crowded() || self.reserved_count < RESERVED_PER_CORE {
            return None;
        }
        while let Some(id) = self.reserved.pop_front() {
            if self.holds(id) {
                return Some(id.slot);
            }
        }
        None
    }

    /// Takes the reserved place from a connection that has not been answered, and says whether
    /// there is a place left to tell it so.
    pub fn demote(&mut self, slot: usize) -> bool {
        let unanswered = self.slots.get_mut(slot).filter(|connection| !connection.is_answered());
        let Some(connection) = unanswered else {
            return false;
        };
        let demoted = self.population.demote();
        if demoted {
            connection.demote();
            self.reserved_count -= 1;
        }
        demoted
    }

    /// Takes back an admission that came to nothing.
    pub fn forget(&self, admission: Admission) {
        self.population.leave(admission);
    }

    /// Takes a connection out of the table.
    pub fn remove(&mut self, slot: usize) -> Option<Connection> {
        let connection = self.slots.try_remove(slot)?;
        self.population.leave(connection.admission());
        self.reserved_count -= usize::from(connection.admission() == Admission::Reserved);
        Some(connection)
    }

    /// The connection in `slot`.
    pub fn at(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)
    }

    /// The connection `id`, unless it is gone.
    pub fn of(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot).filter(|connection| connection.id() == id)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All slots in use.
    #[must_use]
    pub fn occupied(&self) -> Vec<usize> {
        self.slots.iter().map(|(slot, _)| slot).collect()
    }

    /// Who holds memory, the heaviest burden last.
    #[must_use]
    pub fn burdens(&self, now_ms: u64) -> Vec<(u64, ConnectionId)> {
        let each = self.slots.iter();
        let all = each.map(|(_, connection)| (connection.burden(now_ms), connection.id()));
        let mut burdens: Vec<_> = all.filter(|(burden, _)| *burden > 0).collect();
        burdens.sort_unstable_by_key(|(burden, id)| (*burden, id.number));
        burdens
    }

    /// The connection that has been idle longest, of those of this core.
    pub fn longest_idle(&mut self, now_ms: u64) -> Option<usize> {
        if let Some(slot) = self.next_candidate() {
            return Some(slot);
        }
        if now_ms < self.look_again_ms {
            return None;
        }
        self.look(now_ms);
        self.next_candidate()
    }

    /// The next candidate that has stayed idle since the look.
    fn next_candidate(&mut self) -> Option<usize> {
        while let Some((since_ms, id)) = self.candidates.pop() {
            let idle_since_ms = self.of(id).and_then(|connection| connection.idle_since_ms());
            if idle_since_ms == Some(since_ms) {
                return Some(id.slot);
            }
        }
        None
    }

    fn look(&mut self, now_ms: u64) {
        let idle = self.slots.iter().filter_map(|(_, connection)| {
            connection.evictable_since_ms(now_ms).map(|since_ms| (since_ms, connection.id()))
        });
        self.candidates.extend(idle);
        // Numbers break ties: of two that went idle together the older goes first.
        let order = |(since_ms, id): &(u64, ConnectionId)| (*since_ms, id.number);
        if self.candidates.len() > CANDIDATES {
            self.candidates.select_nth_unstable_by_key(CANDIDATES, order);
            self.candidates.truncate(CANDIDATES);
        }
        self.candidates.sort_unstable_by_key(|candidate| std::cmp::Reverse(order(candidate)));
        let found = !self.candidates.is_empty();
        self.look_again_ms = if found { now_ms } else { now_ms + LOOK_AGAIN_MS };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_one_for_all_and_some_places_are_reserved() {
        let population = AdmissionControl::new(2);
        assert_eq!([population.admit(), population.admit()], [Admission::Regular; 2]);
        assert!(population.is_full());
        for _ in 0..RESERVED_CONNECTIONS {
            assert_eq!(population.admit(), Admission::Reserved);
        }
        for _ in 0..RESERVED_CONNECTIONS {
            assert_eq!(population.admit(), Admission::TurnedAway);
        }
        assert_eq!(population.admit(), Admission::Dropped);
        population.leave(Admission::Dropped);
        assert_eq!(population.admit(), Admission::Dropped);
        population.leave(Admission::Reserved);
        assert_eq!(population.admit(), Admission::Reserved);
        population.leave(Admission::TurnedAway);
        assert!(population.is_full());
        population.leave(Admission::Regular);
        assert!(!population.is_full());
        assert_eq!(population.admit(), Admission::Regular);
    }
}
