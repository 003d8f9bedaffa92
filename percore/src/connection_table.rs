//! The table of one core's connections, and the order in which they give way to others.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use super::admission::{Admission, AdmissionControl};
use super::connection::Connection;
use crate::http::handler::ConnectionId;
use crate::limits::RESERVED_PER_CORE;
use crate::network::Stream;

/// The longest-idle connections found by one look over all of them: enough that a flood of
/// newcomers costs one look for many.
const CANDIDATES: usize = 64;

/// After a look that found nobody idle, the next one waits this long.
const SCAN_PAUSE_MS: u64 = 10;

/// The table of one core. Slots are used again; numbers are not.
#[derive(Debug)]
pub struct ConnectionTable<S> {
    slots: Slab<Connection<S>>,
    admission_control: Arc<AdmissionControl>,
    accepted: u64,
    /// Idle connections, longest last, as they stood at the last look.
    candidates: Vec<(u64, ConnectionId)>,
    next_scan_ms: u64,
    /// Who has a reserved place, the first to come first. Some may have gone.
    reserved: VecDeque<ConnectionId>,
    /// How many those are that have not gone.
    reserved_count: usize,
}

impl<S: Stream> ConnectionTable<S> {
    /// An empty table.
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

    /// Counts a newcomer, and says how to receive it and who it is.
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

    /// Whether a newcomer would be over the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.admission_control.is_full()
    }

    /// Enters the connection that was admitted last.
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

    /// Who has had a reserved place of this core longest, if all of them are taken: a probe sends
    /// its request as soon as it is connected, so whoever has come last is the likeliest to be one.
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

    /// Takes the reserved place from a connection that has not been answered, and says whether
    /// there is a place left to tell it so.
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

    /// Takes back an admission that came to nothing.
    pub fn withdraw(&self, admission: Admission) {
        self.admission_control.leave(admission);
    }

    /// Takes a connection out of the table.
    pub fn remove(&mut self, slot: usize) -> Option<Connection<S>> {
        let connection = self.slots.try_remove(slot)?;
        self.admission_control.leave(connection.admission());
        self.reserved_count -= usize::from(connection.admission() == Admission::Reserved);
        Some(connection)
    }

    /// The connection in `slot`.
    pub fn at(&mut self, slot: usize) -> Option<&mut Connection<S>> {
        self.slots.get_mut(slot)
    }

    /// The connection `id`, unless it is gone.
    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
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
    pub fn by_eviction_weight(&self, now_ms: u64) -> Vec<(u64, ConnectionId)> {
        let each = self.slots.iter();
        let all = each.map(|(_, connection)| (connection.eviction_weight(now_ms), connection.id()));
        let mut by_eviction_weight: Vec<_> =
            all.filter(|(eviction_weight, _)| *eviction_weight > 0).collect();
        by_eviction_weight
            .sort_unstable_by_key(|(eviction_weight, id)| (*eviction_weight, id.number));
        by_eviction_weight
    }

    /// The connection that has been idle longest, of those of this core.
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

    /// The next candidate that has stayed idle since the look.
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
