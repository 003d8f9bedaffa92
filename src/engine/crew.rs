//! The cores of one server, as they know each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::mailbox::{Inbox, Newcomer, Posted};

/// After a newcomer has asked every core in vain, others do not ask for this long: a flood must not
/// keep the cores busy with passing it round.
const ASK_AGAIN_MS: u64 = 10;

/// All inboxes, by core.
#[derive(Debug, Default)]
pub struct Crew {
    inboxes: OnceLock<Box<[Arc<Inbox>]>>,
    ask_again_ms: AtomicU64,
}

impl Crew {
    /// Tells every core of all of them, once, before any runs.
    pub fn introduce(&self, inboxes: impl IntoIterator<Item = Arc<Inbox>>) {
        // A second introduction could only name the same ones.
        let _ = self.inboxes.set(inboxes.into_iter().collect());
    }

    /// Passes a newcomer on to the next core, which may have an idle connection to close for it.
    /// It comes back when all have been asked.
    #[must_use]
    pub fn pass_on(&self, from: usize, mut newcomer: Newcomer, now_ms: u64) -> Option<Newcomer> {
        let inboxes: &[_] = self.inboxes.get().map_or(&[], |inboxes| inboxes);
        newcomer.asked += 1;
        if newcomer.asked >= inboxes.len() {
            self.ask_again_ms.fetch_max(now_ms + ASK_AGAIN_MS, Ordering::Relaxed);
            return Some(newcomer);
        }
        if now_ms < self.ask_again_ms.load(Ordering::Relaxed) {
            return Some(newcomer);
        }
        match inboxes.get((from + 1) % inboxes.len()) {
            Some(next) => {
                next.post(Posted::Newcomer(newcomer));
                None
            }
            None => Some(newcomer),
        }
    }
}
