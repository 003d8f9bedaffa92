//! The end of a core: requests under way are finished, and no new ones are begun.

use super::EventLoop;
use crate::http::handler::Handler;
use crate::limits::FIRST_REQUEST_GRACE_MS;
use crate::network::Network;
use crate::observer::CloseReason;
use crate::shutdown::Phase;

/// The rounds of accepting before the listener closes: they empty its backlog, but not what a flood
/// adds meanwhile.
const FINAL_ACCEPT_ROUNDS: usize = 64;

impl<H: Handler, N: Network> EventLoop<H, N> {
    /// Adopts the phase of the server, and acts on it when it changes.
    pub(super) fn follow_phase(&mut self) {
        let phase = self.server.shutdown.phase();
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        if phase < Phase::Closing {
            return;
        }
        // Clients that have connected are still served; closing the listener would reset them.
        for _ in 0..FINAL_ACCEPT_ROUNDS {
            self.accepting = true;
            self.accept_retry_ms = None;
            self.accept();
            if !self.accepting || self.accept_retry_ms.is_some() {
                break;
            }
        }
        self.network.close_listener();
        self.accepting = false;
        self.accept_retry_ms = None;
        for slot in self.connections.occupied() {
            self.close_if_inactive(slot);
        }
    }

    /// Closes a connection unless a request is under way on it. One may have arrived since the last
    /// turn, and that of a new connection may not have arrived yet.
    pub(super) fn close_if_inactive(&mut self, slot: usize) {
        if let Some(connection) = self.connections.at(slot) {
            connection.set_readiness(true, false);
        }
        self.serve(slot);
        let now_ms = self.now.mono_ms();
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        if connection.evictable_since_ms(now_ms).is_some() {
            self.close(slot, CloseReason::Drain);
        } else if connection.idle_since_ms().is_some() {
            self.grace_until_ms = Some(now_ms + FIRST_REQUEST_GRACE_MS);
        }
    }

    /// Closes the connections that have not sent their first request in time.
    pub(super) fn close_silent_connections(&mut self) {
        let is_time = |until_ms: u64| until_ms <= self.now.mono_ms();
        if self.grace_until_ms.take_if(|until_ms| is_time(*until_ms)).is_some() {
            for slot in self.connections.occupied() {
                self.close_if_inactive(slot);
            }
        }
    }

    /// Closes the connections that did not end in time.
    pub(super) fn close_all(&mut self) {
        self.inbox.close();
        for slot in self.connections.occupied() {
            self.close(slot, CloseReason::Drain);
        }
    }
}

impl<H, N: Network> Drop for EventLoop<H, N> {
    /// Closes the inbox however the loop ends, by a panic of a handler too: no other core may hand
    /// connections to it any more.
    fn drop(&mut self) {
        self.inbox.close();
    }
}
