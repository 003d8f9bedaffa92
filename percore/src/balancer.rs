//! Load balancing: the number of connections on each core, and the hand-over of new ones.
//!
//! SO_REUSEPORT spreads connections by a hash, and a few of them unevenly: an Ingress keeps a
//! handful, and all of those may fall to one core. So the core that accepts a connection assigns it
//! to the core with the fewest. They are counted by atomics, which only a connection that opens or
//! closes touches.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::inbox::{Inbox, Message, NewConnection};
use crate::network::Stream;
use crate::sync::CachePadded;

/// After a connection was forwarded through all cores in vain, none is forwarded for this long: a
/// flood must not keep the cores busy with passing connections round.
const FORWARD_PAUSE_MS: u64 = 10;

/// The inboxes of all cores, and the number of connections on each.
#[derive(Debug)]
pub struct Balancer<S> {
    inboxes: OnceLock<Box<[Arc<Inbox<S>>]>>,
    connections_on: Box<[CachePadded<AtomicUsize>]>,
    forward_again_ms: AtomicU64,
}

impl<S: Stream> Balancer<S> {
    /// Returns a balancer of so many cores without connections.
    pub fn new(cores: usize) -> Self {
        let connections_on = (0..cores).map(|_| CachePadded::default()).collect();
        Self { inboxes: OnceLock::new(), connections_on, forward_again_ms: AtomicU64::new(0) }
    }

    /// Sets the inboxes of all cores, once, before any core runs.
    pub fn set_inboxes(&self, inboxes: impl IntoIterator<Item = Arc<Inbox<S>>>) {
        // A second call could only bring the same ones.
        let _ = self.inboxes.set(inboxes.into_iter().collect());
    }

    /// Assigns a connection that core `from` has accepted to the core with the fewest, and posts it
    /// there. Returns it if that is core `from` itself.
    #[must_use]
    pub fn assign(&self, from: usize, connection: NewConnection<S>) -> Option<NewConnection<S>> {
        let core = self.claim_least_loaded(from);
        if core == from { Some(connection) } else { self.send(from, core, connection) }
    }

    /// Counts a connection on `core`, however many it has.
    pub fn add_connection(&self, core: usize) {
        if let Some(connections_on) = self.connections_on.get(core) {
            connections_on.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the end of a connection on `core`.
    pub fn remove_connection(&self, core: usize) {
        if let Some(connections_on) = self.connections_on.get(core) {
            connections_on.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forwards a connection to the next core, which may have an idle connection to close for it.
    /// Returns it when every core has been asked.
    #[must_use]
    pub fn forward(
        &self,
        from: usize,
        mut connection: NewConnection<S>,
        now_ms: u64,
    ) -> Option<NewConnection<S>> {
        connection.cores_asked += 1;
        if connection.cores_asked >= self.connections_on.len() {
            self.forward_again_ms.fetch_max(now_ms + FORWARD_PAUSE_MS, Ordering::Relaxed);
            return Some(connection);
        }
        if now_ms < self.forward_again_ms.load(Ordering::Relaxed) {
            return Some(connection);
        }
        let next = (from + 1) % self.connections_on.len();
        self.remove_connection(from);
        self.add_connection(next);
        self.send(from, next, connection)
    }

    /// Posts a connection to the core that it is counted on. If that core has ended, the connection
    /// is counted on core `from` again and returned.
    fn send(
        &self,
        from: usize,
        to: usize,
        connection: NewConnection<S>,
    ) -> Option<NewConnection<S>> {
        let inbox = self.inboxes.get().and_then(|inboxes| inboxes.get(to));
        let posted = match inbox {
            Some(inbox) => inbox.post(Message::Connection(connection)),
            None => Err(Message::Connection(connection)),
        };
        let Err(Message::Connection(connection)) = posted else {
            return None;
        };
        self.remove_connection(to);
        self.add_connection(from);
        Some(connection)
    }

    /// Counts a connection on the core with the fewest, on `from` among equals, and returns that
    /// core.
    ///
    /// While connections only arrive, the cores differ by at most one: a core whose count has not
    /// changed since it was found to be the smallest still has the smallest, for the others have
    /// only grown.
    pub fn claim_least_loaded(&self, from: usize) -> usize {
        loop {
            let counts = self
                .connections_on
                .iter()
                .map(|connections_on| connections_on.load(Ordering::Relaxed));
            let fewest = counts.enumerate().min_by_key(|(core, count)| (*count, *core != from));
            let Some((core, count)) = fewest else {
                return from;
            };
            let claimed = self.connections_on.get(core).is_some_and(|connections_on| {
                let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
                connections_on.compare_exchange(count, count + 1, success, failure).is_ok()
            });
            if claimed {
                return core;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::TcpStream;
    use std::thread;

    fn counts(balancer: &Balancer<TcpStream>) -> Vec<usize> {
        balancer
            .connections_on
            .iter()
            .map(|connections_on| connections_on.load(Ordering::Relaxed))
            .collect()
    }

    #[test]
    fn a_seat_is_taken_where_the_fewest_are_and_here_among_equals() {
        let balancer = Balancer::new(3);
        assert_eq!(balancer.claim_least_loaded(1), 1);
        assert_eq!(balancer.claim_least_loaded(1), 0);
        assert_eq!(balancer.claim_least_loaded(1), 2);
        balancer.remove_connection(0);
        assert_eq!(balancer.claim_least_loaded(2), 0);
        assert_eq!(counts(&balancer), [1, 1, 1]);
    }

    #[test]
    fn while_connections_only_arrive_the_cores_differ_by_at_most_one() {
        let balancer = Balancer::new(4);
        let differs_by_more = || {
            // Not a snapshot: what is read later may have grown, so the smallest is read first
            // and last.
            let before = counts(&balancer).into_iter().min();
            let largest = counts(&balancer).into_iter().max();
            let after = counts(&balancer).into_iter().min();
            before == after && largest > before.map(|count| count + 1)
        };
        thread::scope(|scope| {
            for from in 0..4 {
                let balancer = &balancer;
                // All hash to the same core, or each to its own.
                scope.spawn(move || {
                    (0..5_000).for_each(|_| _ = balancer.claim_least_loaded(from / 2));
                });
            }
            for _ in 0..1_000 {
                assert!(!differs_by_more());
            }
        });
        assert_eq!(counts(&balancer), [5_000; 4]);
    }
}
