//! The requests of the simulation that wait until their events are stored.

use std::sync::Arc;

use super::server::SimServer;
use super::{Confirmation, SharedState};
use crate::store::confirmations::{Answer, RequestSize, WaiterId};
use percore::sync::Mutex;

/// The longest wait for an answer.
const TIMEOUT_NS: u64 = 2_000_000_000;

/// All of them, and what they were told.
#[derive(Default)]
pub(super) struct Waiters {
    all: Vec<Waiter>,
    answers: Arc<Mutex<Vec<(usize, Confirmation)>>>,
    told: Arc<Mutex<Confirmation>>,
}

struct Waiter {
    /// Keys and values of its events.
    events: Vec<(String, u64)>,
    deadline_ns: u64,
    is_answered: bool,
}

impl Waiters {
    /// Returns the sum of what all were told.
    pub(super) fn told(&self) -> Arc<Mutex<Confirmation>> {
        Arc::clone(&self.told)
    }

    pub(super) fn begin(&self, core: usize, shared: &SharedState) -> Option<WaiterId> {
        let waiter = shared.confirmations.begin(core, RequestSize::Small)?;
        shared.open.at(core).lock().begin_waiter(waiter);
        Some(waiter)
    }

    /// Ends the request, whose events are these; without any it has its answer.
    pub(super) fn end(
        &mut self,
        waiter: WaiterId,
        events: Vec<(String, u64)>,
        now_ns: u64,
        shared: &SharedState,
    ) {
        if events.is_empty() {
            return shared.end_waiter(waiter, 0, None);
        }
        let (number, answers) = (self.all.len(), Arc::clone(&self.answers));
        let deadline_ns = now_ns + TIMEOUT_NS;
        self.all.push(Waiter { events, deadline_ns, is_answered: false });
        let give = Box::new(move |confirmation| answers.lock().push((number, confirmation)));
        shared.end_waiter(waiter, deadline_ns, Some(Answer { give, bytes: 0 }));
    }

    /// Checks the answers since the last call, and that nobody waits for longer than allowed.
    pub(super) fn check(&mut self, now_ns: u64, server: &SimServer) {
        for (number, confirmation) in self.answers.lock().drain(..) {
            let waiter = &mut self.all[number];
            assert!(!std::mem::replace(&mut waiter.is_answered, true), "answered again");
            let Confirmation { stored, coalesced, dropped, unknown } = confirmation;
            let events = waiter.events.len() as u64;
            assert_eq!(stored + coalesced + dropped + unknown, events, "{confirmation:?}");
            let held = waiter.events.iter().filter(|(key, value)| server.has_had(key, *value));
            let held = held.count() as u64;
            assert!(held >= stored + coalesced, "of {events} are {held} there: {confirmation:?}");
            let mut told = self.told.lock();
            told.stored += stored;
            told.coalesced += coalesced;
            told.dropped += dropped;
            told.unknown += unknown;
        }
        let overdue = |waiter: &&Waiter| !waiter.is_answered && waiter.deadline_ns <= now_ns;
        assert_eq!(self.all.iter().filter(overdue).count(), 0, "still wait");
    }
}
