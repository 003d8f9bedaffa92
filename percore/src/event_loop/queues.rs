//! The queues of what is costly: each turn has a share of it, and those go first that have waited
//! longest.

use super::EventLoop;
use crate::http::handler::{ConnectionId, Handler};
use crate::limits::HANDSHAKE_STEPS_PER_TURN;
use crate::network::Network;

impl<H: Handler, N: Network> EventLoop<H, N> {
    /// Serves the connections that have waited longest with a costly request, at least one, until
    /// the share of the turn is spent.
    pub(super) fn serve_costly(&mut self) {
        let waiting = self.costly_queue.len();
        if waiting > 0 {
            (self.cost, self.share_spent) = (0, false);
        }
        for _ in 0..waiting {
            if self.share_spent {
                break;
            }
            if let Some(id) = self.costly_queue.pop_front() {
                self.serve_queued(id);
            }
        }
        // Those that still wait have the share of the next turn, before others.
        self.share_spent |= !self.costly_queue.is_empty();
    }

    /// Takes steps of the handshakes that have waited longest, as many as a turn has.
    #[cold]
    pub(super) fn serve_handshakes(&mut self) {
        self.handshake_steps = HANDSHAKE_STEPS_PER_TURN;
        for _ in 0..self.handshake_queue.len() {
            if self.handshake_steps == 0 {
                return;
            }
            if let Some(id) = self.handshake_queue.pop_front() {
                self.serve_queued(id);
            }
        }
    }

    pub(super) fn serve_queued(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id) {
            connection.queued = false;
            self.serve(id.slot);
        }
    }
}
