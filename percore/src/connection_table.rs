//! The table of one core's connections, and the order in which they give way to new ones.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use super::admission::{Admission, AdmissionControl};
use super::connection::Connection;
use crate::http::handler::ConnectionId;
use crate::limits::RESERVED_PER_CORE;
use crate::network::Stream;

/// The longest-idle connections that one scan finds: enough that a flood of new connections costs
/// one scan for many.
const CANDIDATES: usize = 64;

/// The pause after a scan that found no idle connection.
const SCAN_PAUSE_MS: u64 = 10;

/// The connections of one core by their slots. A slot is used again; the number of a connection is
/// not.
#[derive(Debug)]
pub struct ConnectionTable<S> {
    slots: Slab<Connection<S>>,
    admission_control: Arc<AdmissionControl>,
    accepted: u64,
    /// Idle connections at the time of the last scan, the longest-idle last.
    candidates: Vec<(u64, ConnectionId)>,
    next_scan_ms: u64,
    /// Connections with a reserved place in the order of their arrival. Some may have closed.
    reserved: VecDeque<ConnectionId>,
    /// The number of those that are open.
    reserved_count: usize,
}

impl<S: Stream> ConnectionTable<S> {
    /// Returns an empty table.
    #[must_use]
    pub const fn new(admission_control: Arc<AdmissionControl>) -> Self {
        Self {
            slots: Slab::new(),
            admission_control,
            accepted: 0,
            candidates: Vec::new(),
            next_scan_ms: 0,
            reserved: VecDeque::new(),
            reserved_count: 0,
        }
    }

    /// Counts a new connection, and returns how it is admitted and its identity.
    pub fn admit(&mut self) -> (Admission, ConnectionId) {
        self.accepted += 1;
        let id = ConnectionId { slot: self.slots.vacant_key(), number: self.accepted };
        let admission = self.admission_control.admit();
        let is_short = self.reserved_count < RESERVED_PER_CORE;
        if is_short && matches!(admission, Admission::Rejected | Admission::Dropped) {
            self.admission_control.leave(admission);
            return (self.admission_control.reserve_for_core(), id);
        }
        (admission, id)
    }

    /// Returns true if a new connection would be over the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.admission_control.is_full()
    }

    /// Inserts the connection that was admitted last.
    pub fn insert(&mut self, connection: Connection<S>) -> usize {
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

    /// Returns the connection that has had a reserved place of this core longest, if all of them
    /// are taken. A probe sends its request as soon as it is connected, so the latest to come is
    /// the likeliest to be one.
    pub fn longest_reserved(&mut self) -> Option<usize> {
        if !self.admission_control.is_reserve_full() || self.reserved_count < RESERVED_PER_CORE {
            return None;
        }
        while let Some(id) = self.reserved.pop_front() {
            if self.holds(id) {
                return Some(id.slot);
            }
        }
        None
    }

    /// Takes the reserved place from a connection that has not been answered, and returns true if
    /// it may be rejected with an answer.
    pub fn demote(&mut self, slot: usize) -> bool {
        let unanswered = self.slots.get_mut(slot).filter(|connection| !connection.is_answered());
        let Some(connection) = unanswered else {
            return false;
        };
        let demoted = self.admission_control.demote();
        if demoted {
            connection.demote();
            self.reserved_count -= 1;
        }
        demoted
    }

    /// Withdraws an admission for which no connection was inserted.
    pub fn withdraw(&self, admission: Admission) {
        self.admission_control.leave(admission);
    }

    /// Removes the connection in `slot`.
    pub fn remove(&mut self, slot: usize) -> Option<Connection<S>> {
        let connection = self.slots.try_remove(slot)?;
        self.admission_control.leave(connection.admission());
        self.reserved_count -= usize::from(connection.admission() == Admission::Reserved);
        Some(connection)
    }

    /// Returns the connection in `slot`.
    pub fn at(&mut self, slot: usize) -> Option<&mut Connection<S>> {
        self.slots.get_mut(slot)
    }

    /// Returns the connection `id`, unless it has closed.
    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.slots.get_mut(id.slot).filter(|connection| connection.id() == id)
    }

    /// Returns true if there are no connections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns all slots in use.
    #[must_use]
    pub fn occupied(&self) -> Vec<usize> {
        self.slots.iter().map(|(slot, _)| slot).collect()
    }

    /// Returns the connections that hold memory, with their weights, the heaviest last.
    #[must_use]
    pub fn by_eviction_weight(&self, now_ms: u64) -> Vec<(u64, ConnectionId)> {
        let each = self.slots.iter();
        let all = each.map(|(_, connection)| (connection.eviction_weight(now_ms), connection.id()));
        let mut by_eviction_weight: Vec<_> =
            all.filter(|(eviction_weight, _)| *eviction_weight > 0).collect();
        by_eviction_weight
            .sort_unstable_by_key(|(eviction_weight, id)| (*eviction_weight, id.number));
        by_eviction_weight
    }

    /// Returns the connection of this core that has been idle longest.
    pub fn longest_idle(&mut self, now_ms: u64) -> Option<usize> {
        if let Some(slot) = self.next_candidate() {
            return Some(slot);
        }
        if now_ms < self.next_scan_ms {
            return None;
        }
        self.scan_idle(now_ms);
        self.next_candidate()
    }

    /// Returns the next candidate that has stayed idle since the scan.
    fn next_candidate(&mut self) -> Option<usize> {
        while let Some((since_ms, id)) = self.candidates.pop() {
            let idle_since_ms = self.get(id).and_then(|connection| connection.idle_since_ms());
            if idle_since_ms == Some(since_ms) {
                return Some(id.slot);
            }
        }
        None
    }

    fn scan_idle(&mut self, now_ms: u64) {
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
        self.next_scan_ms = if found { now_ms } else { now_ms + SCAN_PAUSE_MS };
    }
}
