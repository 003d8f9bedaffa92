//! The admission of new connections: within the limit, in place of another, or rejected.

use std::io::ErrorKind;
use std::net::SocketAddr;

use super::EventLoop;
use crate::admission::Admission;
use crate::connection::{Accepted, Connection};
use crate::descriptors::are_exhausted;
use crate::http::handler::Handler;
use crate::inbox::NewConnection;
use crate::network::{Incoming, Network};
use crate::observer::CloseReason;
use crate::shutdown::Phase;
use crate::tls::acceptor::Acceptor;

/// The connections that are accepted in one turn; more wait in the kernel for the next.
const ACCEPTS_PER_TURN: usize = 64;

/// The idle connections that are tried before one is closed; those that have just sent a request
/// stay.
const IDLE_CANDIDATES_TRIED: usize = 8;

/// The errors in one turn after which accepting pauses. Each may be about the connection that was
/// to be accepted (man 2 accept); more of them are about the machine.
const FAILURES_MAX: usize = 8;

/// The pause after descriptors have run out: a listener that stays ready must not spin.
const ACCEPT_RETRY_MS: u64 = 100;

impl<H: Handler, N: Network> EventLoop<H, N> {
    pub(super) fn accept(&mut self) {
        let now_ms = self.now.mono_ms();
        if self.accept_retry_ms.is_some_and(|retry_ms| now_ms < retry_ms) {
            return;
        }
        if self.accept_retry_ms.take().is_none() && !self.accepting {
            return;
        }
        let mut failures = 0;
        for _ in 0..ACCEPTS_PER_TURN {
            match self.network.accept() {
                Ok(incoming) if incoming.is_refused => self.refuse(incoming.peer),
                Ok(incoming) => self.assign_core(NewConnection { incoming, cores_asked: 0 }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accepting = false;
                    return;
                }
                Err(error) if are_exhausted(&error) => {
                    self.handler.accept_failed(&error, true, self.now);
                    // Close one, and try again after a while.
                    self.close_longest_idle(now_ms);
                    self.accept_retry_ms = Some(now_ms + ACCEPT_RETRY_MS);
                    return;
                }
                Err(error) => {
                    self.handler.accept_failed(&error, false, self.now);
                    failures += 1;
                }
            }
            if failures == FAILURES_MAX {
                self.accept_retry_ms = Some(now_ms + ACCEPT_RETRY_MS);
                return;
            }
        }
    }

    /// Refuses a connection of a peer that has too many: it is closed without an answer, which
    /// could cost more than the connection.
    #[cold]
    fn refuse(&mut self, peer: SocketAddr) {
        self.handler.connection_opened();
        self.handler.connection_closed(CloseReason::PeerLimit);
        self.handler.peer_limit_reached(&Some(peer), self.now);
    }

    /// Assigns a new connection to the core with the fewest connections. While this core closes it
    /// stays here: the others may have ended.
    fn assign_core(&mut self, connection: NewConnection<N::Stream>) {
        let balancer = &self.server.balancer;
        let here = if self.phase == Phase::Closing {
            balancer.add_connection(self.number);
            Some(connection)
        } else {
            balancer.assign(self.number, connection)
        };
        if let Some(connection) = here {
            self.admit_or_forward(connection);
        }
    }

    /// Admits a connection that is assigned to this core. At the limit, the longest-idle connection
    /// of this core is closed for it or, if none is idle here, the connection is forwarded to
    /// another core.
    pub(super) fn admit_or_forward(&mut self, connection: NewConnection<N::Stream>) {
        let now_ms = self.now.mono_ms();
        let closing = self.phase == Phase::Closing;
        let peer = connection.incoming.peer;
        let mut here = Some(connection);
        if self.connections.is_full() {
            if self.close_longest_idle(now_ms) {
                self.note_limit(peer);
            } else if !closing {
                let balancer = &self.server.balancer;
                here =
                    here.and_then(|connection| balancer.forward(self.number, connection, now_ms));
            }
        }
        if let Some(connection) = here {
            self.admit(connection, now_ms);
        }
    }

    /// Notes that the limit has cost a connection its place: an idle one, or the newcomer. A core
    /// may close an idle one in vain, because another core is faster to fill its place.
    fn note_limit(&mut self, newcomer: SocketAddr) {
        let limit = self.server.admission_control.limit();
        self.handler.connection_limit_reached(&Some(newcomer), limit, self.now);
    }

    /// Closes the connection that has been idle longest, and returns true if there was one. Its
    /// next request may have arrived since the last poll: then it is answered, and the connection
    /// stays.
    fn close_longest_idle(&mut self, now_ms: u64) -> bool {
        for _ in 0..IDLE_CANDIDATES_TRIED {
            let Some(slot) = self.connections.longest_idle(now_ms) else {
                return false;
            };
            let requests = self.connections.at(slot).map(|found| {
                found.set_readiness(true, false);
                found.requests()
            });
            self.serve(slot);
            let Some(connection) = self.connections.at(slot) else {
                return true;
            };
            let is_idle = connection.evictable_since_ms(now_ms).is_some();
            if is_idle && Some(connection.requests()) == requests {
                self.close(slot, CloseReason::Limit);
                return true;
            }
        }
        false
    }

    /// Takes a reserved place back for a new connection. The one that has it may have sent its
    /// request since the last poll, which is answered first.
    fn reclaim_reserved(&mut self, slot: usize) {
        if let Some(connection) = self.connections.at(slot) {
            connection.set_readiness(true, false);
        }
        self.serve(slot);
        if self.connections.demote(slot) {
            self.apply(slot, Connection::reject);
        } else {
            self.close(slot, CloseReason::Limit);
        }
    }

    fn admit(&mut self, connection: NewConnection<N::Stream>, now_ms: u64) {
        if let Some(slot) = self.connections.longest_reserved() {
            self.reclaim_reserved(slot);
        }
        let Incoming { mut stream, peer, is_secure, is_proxied, .. } = connection.incoming;
        let (admission, id) = self.connections.admit();
        if admission != Admission::Regular {
            self.note_limit(peer);
        }
        self.handler.connection_opened();
        if admission == Admission::Dropped {
            self.handler.connection_closed(CloseReason::Limit);
            self.server.balancer.remove_connection(self.number);
            return;
        }
        if self.network.register(&mut stream, id.slot).is_err() {
            self.handler.connection_closed(CloseReason::Error);
            self.connections.withdraw(admission);
            self.server.balancer.remove_connection(self.number);
            return;
        }
        let accepted = Accepted {
            id,
            // Who stands behind a proxy is elsewhere.
            peer_is_loopback: !is_proxied && peer.ip().to_canonical().is_loopback(),
            admission,
            now_ms,
            age_ms: self.server.age_limit_ms(now_ms),
        };
        let mut connection = Connection::new(stream, &accepted);
        let session = self.server.acceptor.as_deref().filter(|_| is_secure);
        let session = session.and_then(Acceptor::session);
        let has_no_session = is_secure && session.is_none();
        if let Some(session) = session {
            connection.secure(session);
        }
        let slot = self.connections.insert(connection);
        if has_no_session {
            self.close(slot, CloseReason::Error);
        } else if admission == Admission::Rejected {
            self.apply(slot, Connection::reject);
        } else if self.phase == Phase::Closing {
            self.close_if_inactive(slot);
        } else {
            self.set_timer(slot);
        }
    }
}
