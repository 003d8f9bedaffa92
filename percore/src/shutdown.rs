//! The shutdown of a server, in phases that every core sees.
//!
//! `Serving` → `Draining` (connections are still accepted, and each answer is the last of its
//! connection) → `Closing` (no connection is accepted, and requests under way are finished until
//! the deadline).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Everything is accepted.
    Serving,
    /// The server is being taken out of service, which `/ready` tells.
    Draining,
    /// No connection and no request is accepted.
    Closing,
}

/// The phase, shared by all threads; it only ever moves on.
#[derive(Debug, Default)]
pub struct Shutdown {
    phase: AtomicU8,
    /// The monotonic time at which a closing core gives up what is left.
    deadline_ns: AtomicU64,
}

impl Shutdown {
    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Moves on to `Draining`.
    pub fn begin_drain(&self) {
        self.phase.fetch_max(Phase::Draining as u8, Ordering::AcqRel);
    }

    /// Moves on to `Closing`, with a deadline.
    pub fn close(&self, deadline_ns: u64) {
        self.deadline_ns.store(deadline_ns, Ordering::Release);
        self.phase.fetch_max(Phase::Closing as u8, Ordering::AcqRel);
    }

    /// Returns the monotonic time, in nanoseconds, at which a closing core gives up.
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
