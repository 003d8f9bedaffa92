//! The live connections of the second engine, and their deadlines.
//!
//! `may_minihttp` keeps its sockets to itself and has no time-outs. But it passes on their
//! descriptors, so each connection gets a duplicate of its socket. Receiving is shut down through
//! that; then the connection's coroutine finds the end of the stream, sends its answers, and ends.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use slab::Slab;

use crate::admission::Admission;
use crate::descriptors::Duplicator;
use crate::http::peer;
use crate::listener::bound_buffers;
use crate::observer::CloseReason;
use crate::sync::Mutex;

/// All connections of the engine.
#[derive(Debug)]
pub(super) struct Connections {
    live: Mutex<Slab<Arc<Peer>>>,
    duplicator: Option<Duplicator>,
}

/// One connection, as its coroutine and the reaper know it.
#[derive(Debug)]
pub(super) struct Peer {
    /// The worker that it runs at.
    pub(super) core: usize,
    /// The way in which it was admitted.
    pub(super) admission: Admission,
    /// True if the peer is on this machine; false where that cannot be known.
    pub(super) is_loopback: bool,
    /// The time at which it is too old.
    pub(super) age_ms: u64,
    socket: Option<TcpStream>,
    /// The time at which it is ended; `u64::MAX` while the peer waits for us.
    deadline_ms: AtomicU64,
    /// The reason that is then counted.
    deadline_reason: AtomicU8,
    /// The reason for which it ends, once that is known; before, the client's own end.
    reason: AtomicU8,
}

impl peer::Peer for Peer {
    fn address(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.peer_addr().ok()
    }
}

impl Connections {
    pub(super) fn new() -> Self {
        Self { live: Mutex::new(Slab::new()), duplicator: Duplicator::new() }
    }

    /// Inserts a connection by its descriptor, which is open.
    pub(super) fn enter(
        &self,
        descriptor: usize,
        core: usize,
        admission: Admission,
        age_ms: u64,
    ) -> (usize, Arc<Peer>) {
        let duplicate = self.duplicator.as_ref().and_then(|this| this.duplicate(descriptor));
        let socket = duplicate.map(TcpStream::from);
        if let Some(socket) = &socket {
            // A second small answer must not wait for the acknowledgement of the first.
            let _ = socket.set_nodelay(true);
            // As in the other engine: the kernel holds no more of it than is counted on.
            let _ = bound_buffers(socket);
        }
        let address = socket.as_ref().and_then(|socket| socket.peer_addr().ok());
        let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let peer = Arc::new(Peer {
            core,
            admission,
            is_loopback: address.is_some_and(is_loopback),
            age_ms,
            socket,
            deadline_ms: AtomicU64::new(u64::MAX),
            deadline_reason: AtomicU8::new(0),
            reason: AtomicU8::new(CloseReason::Client as u8),
        });
        (self.live.lock().insert(Arc::clone(&peer)), peer)
    }

    pub(super) fn leave(&self, slot: usize) {
        self.live.lock().try_remove(slot);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.lock().is_empty()
    }

    /// Ends the connections that are overdue, and while the engine closes, those without a request
    /// under way.
    pub(super) fn reap(&self, now_ms: u64, closing: bool) {
        for (_, peer) in self.live.lock().iter() {
            let reason = reason_of(peer.deadline_reason.load(Ordering::Relaxed));
            let late = now_ms >= peer.deadline_ms.load(Ordering::Relaxed);
            let receives = reason == CloseReason::RequestTimeout;
            if late && receives {
                peer.end(reason);
            } else if (late || closing && !receives) && !peer.has_unread() {
                peer.end(if late { reason } else { CloseReason::Drain });
            }
        }
    }
}

impl Peer {
    /// Returns true if it is over the limit.
    pub(super) fn is_over_limit(&self) -> bool {
        self.admission != Admission::Regular
    }

    /// Sets the deadline, and the reason that is counted if it passes.
    pub(super) fn set_deadline(&self, deadline_ms: u64, reason: CloseReason) {
        self.deadline_reason.store(reason as u8, Ordering::Relaxed);
        self.deadline_ms.store(deadline_ms, Ordering::Relaxed);
    }

    /// Clears the deadline: the peer waits for us.
    pub(super) fn clear_deadline(&self) {
        self.set_deadline(u64::MAX, CloseReason::Client);
    }

    /// Returns true if it has sent bytes that the coroutine has not read. They would be lost if it
    /// were ended now: `may_minihttp` drops the bytes that it has read when it finds the end of the
    /// stream after them.
    fn has_unread(&self) -> bool {
        let unread = self.socket.as_ref().map(|socket| socket.peek(&mut [0]));
        matches!(unread, Some(Ok(1..)))
    }

    /// Receives nothing more. The first of several reasons is counted.
    pub(super) fn end(&self, reason: CloseReason) {
        let (client, relaxed) = (CloseReason::Client as u8, Ordering::Relaxed);
        // An earlier reason stays.
        let _ = self.reason.compare_exchange(client, reason as u8, relaxed, relaxed);
        if let Some(socket) = &self.socket {
            // It fails only when the peer has gone.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    /// Returns the reason for which it has ended, or is about to.
    pub(super) fn reason(&self) -> CloseReason {
        reason_of(self.reason.load(Ordering::Relaxed))
    }
}

fn reason_of(index: u8) -> CloseReason {
    CloseReason::ALL.get(usize::from(index)).copied().unwrap_or(CloseReason::Error)
}
