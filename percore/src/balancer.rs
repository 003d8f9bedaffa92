//! The cores of one server, as they know each other.
//!
//! SO_REUSEPORT spreads connections by a hash, and few of them unevenly: an Ingress keeps a
//! handful, and all of those may fall to one core. So whoever accepts a connection gives it a seat
//! where the fewest are taken. Seats are counted by atomics that only coming and going touches.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::inbox::{Inbox, Message, NewConnection};
use crate::sync::CachePadded;

/// After a newcomer has asked every core in vain, others do not ask for this long: a flood must not
/// keep the cores busy with passing it round.
const ASK_AGAIN_MS: u64 = 10;

/// All inboxes and the seats taken, by core.
#[derive(Debug)]
pub struct Balancer {
    inboxes: OnceLock<Box<[Arc<Inbox>]>>,
    taken: Box<[CachePadded<AtomicUsize>]>,
    ask_again_ms: AtomicU64,
}

impl Balancer {
    /// So many cores, without connections.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let taken = (0..cores).map(|_| CachePadded::default()).collect();
        Self { inboxes: OnceLock::new(), taken, ask_again_ms: AtomicU64::new(0) }
    }

    /// Tells every core of all of them, once, before any runs.
    pub fn introduce(&self, inboxes: impl IntoIterator<Item = Arc<Inbox>>) {
        // A second introduction could only name the same ones.
        let _ = self.inboxes.set(inboxes.into_iter().collect());
    }

    /// Gives a newcomer that core `from` has accepted a seat where the fewest are taken. It comes
    /// back if that is here.
    #[must_use]
    pub fn place(&self, from: usize, newcomer: NewConnection) -> Option<NewConnection> {
        let core = self.take_seat(from);
        if core == from { Some(newcomer) } else { self.send(from, core, newcomer) }
    }

    /// Takes a seat at `core`, however many are taken there.
    pub fn take_seat_at(&self, core: usize) {
        if let Some(taken) = self.taken.get(core) {
            taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection of `core` has gone.
    pub fn leave(&self, core: usize) {
        if let Some(taken) = self.taken.get(core) {
            taken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Passes a newcomer on to the next core, which may have an idle connection to close for it.
    /// It comes back when all have been asked.
    #[must_use]
    pub fn pass_on(
        &self,
        from: usize,
        mut newcomer: NewConnection,
        now_ms: u64,
    ) -> Option<NewConnection> {
        newcomer.asked += 1;
        if newcomer.asked >= self.taken.len() {
            self.ask_again_ms.fetch_max(now_ms + ASK_AGAIN_MS, Ordering::Relaxed);
            return Some(newcomer);
        }
        if now_ms < self.ask_again_ms.load(Ordering::Relaxed) {
            return Some(newcomer);
        }
        let next = (from + 1) % self.taken.len();
        self.leave(from);
        self.take_seat_at(next);
        self.send(from, next, newcomer)
    }

    /// Posts a newcomer to the core where it has its seat. From one that has ended already it comes
    /// back, with a seat here.
    fn send(&self, from: usize, to: usize, newcomer: NewConnection) -> Option<NewConnection> {
        let inbox = self.inboxes.get().and_then(|inboxes| inboxes.get(to));
        let posted = match inbox {
            Some(inbox) => inbox.post(Message::NewConnection(newcomer)),
            None => Err(Message::NewConnection(newcomer)),
        };
        let Err(Message::NewConnection(newcomer)) = posted else {
            return None;
        };
        self.leave(to);
        self.take_seat_at(from);
        Some(newcomer)
    }

    /// Takes a seat where the fewest are taken, at `from` among equals.
    ///
    /// While connections only arrive, the cores differ by at most one: a core whose count has not
    /// moved since it was found to be the smallest still is, for the others have only grown.
    fn take_seat(&self, from: usize) -> usize {
        loop {
            let counts = self.taken.iter().map(|taken| taken.load(Ordering::Relaxed));
            let fewest = counts.enumerate().min_by_key(|(core, count)| (*count, *core != from));
            let Some((core, count)) = fewest else {
                return from;
            };
            let claimed = self.taken.get(core).is_some_and(|taken| {
                let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
                taken.compare_exchange(count, count + 1, success, failure).is_ok()
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
    use std::thread;

    fn counts(crew: &Balancer) -> Vec<usize> {
        crew.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_seat_is_taken_where_the_fewest_are_and_here_among_equals() {
        let crew = Balancer::new(3);
        assert_eq!(crew.take_seat(1), 1);
        assert_eq!(crew.take_seat(1), 0);
        assert_eq!(crew.take_seat(1), 2);
        crew.leave(0);
        assert_eq!(crew.take_seat(2), 0);
        assert_eq!(counts(&crew), [1, 1, 1]);
    }

    #[test]
    fn while_connections_only_arrive_the_cores_differ_by_at_most_one() {
        let crew = Balancer::new(4);
        let differs_by_more = || {
            // Not a snapshot: what is read later may have grown, so the smallest is read first
            // and last.
            let before = counts(&crew).into_iter().min();
            let largest = counts(&crew).into_iter().max();
            let after = counts(&crew).into_iter().min();
            before == after && largest > before.map(|count| count + 1)
        };
        thread::scope(|scope| {
            for from in 0..4 {
                let crew = &crew;
                // All hash to the same core, or each to its own.
                scope.spawn(move || (0..5_000).for_each(|_| _ = crew.take_seat(from / 2)));
            }
            for _ in 0..1_000 {
                assert!(!differs_by_more());
            }
        });
        assert_eq!(counts(&crew), [5_000; 4]);
    }
}
