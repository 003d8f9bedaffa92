//! The way from serving to silence, seen by every core.
//!
//! `Serving` → `Draining` (connections are still taken, each answer is its connection's last) →
//! `Closing` (nothing new is taken; what is under way is finished until the deadline).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Where the server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// All is taken.
    Serving,
    /// Being taken out of service: `/ready` says so.
    Draining,
    /// No new connections, no new requests.
    Closing,
}

/// The phase, shared by all threads; it only ever moves on.
#[derive(Debug, Default)]
pub struct Shutdown {
    phase: AtomicU8,
    /// Monotonic time at which a closing core gives up what is left.
    deadline_ns: AtomicU64,
}

impl Shutdown {
    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Starts to drain.
    pub fn begin_drain(&self) {
        self.phase.fetch_max(Phase::Draining as u8, Ordering::AcqRel);
    }

    /// Starts to close, with a deadline.
    pub fn close(&self, deadline_ns: u64) {
        self.deadline_ns.store(deadline_ns, Ordering::Release);
        self.phase.fetch_max(Phase::Closing as u8, Ordering::AcqRel);
    }

    /// When a closing core gives up, in monotonic nanoseconds.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_move_on() {
        let shutdown = Shutdown::default();
        assert_eq!(shutdown.phase(), Phase::Serving);
        shutdown.begin_drain();
        assert_eq!(shutdown.phase(), Phase::Draining);
        shutdown.close(7);
        shutdown.begin_drain();
        assert_eq!((shutdown.phase(), shutdown.deadline_ns()), (Phase::Closing, 7));
    }
}
