//! The live connections, and the patience with them.
//!
//! `may_minihttp` keeps sockets to itself and has no time-outs. It tells their descriptors, though,
//! so each connection gets a duplicate of its socket: receiving is shut down through that, and then
//! the connection's coroutine finds the end of the stream, sends what it has answered, and goes.

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

/// One connection, as its coroutine and the warden know it.
#[derive(Debug)]
pub(super) struct Peer {
    /// The worker that it runs at.
    pub(super) core: usize,
    /// How it was received.
    pub(super) admission: Admission,
    /// Whether it came from this machine; not, where that cannot be known.
    pub(super) is_loopback: bool,
    /// When it is too old.
    pub(super) age_ms: u64,
    socket: Option<TcpStream>,
    /// When patience ends; `u64::MAX` while the peer waits for us.
    deadline_ms: AtomicU64,
    /// What its end is then put down to.
    deadline_reason: AtomicU8,
    /// Why it ends, once that is known; otherwise the client's own end.
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

    /// Enters a connection by its descriptor, which is open.
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
            // As the other engine has them: no more of what waits than is counted on.
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

    /// Ends whoever is overdue, or everybody whose request is not under way.
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
    /// Whether it is over the limit.
    pub(super) fn is_over_limit(&self) -> bool {
        self.admission != Admission::Regular
    }

    /// Until when the peer may take its time, and what its end is put down to otherwise.
    pub(super) fn set_deadline(&self, deadline_ms: u64, reason: CloseReason) {
        self.deadline_reason.store(reason as u8, Ordering::Relaxed);
        self.deadline_ms.store(deadline_ms, Ordering::Relaxed);
    }

    /// The peer waits for us.
    pub(super) fn clear_deadline(&self) {
        self.set_deadline(u64::MAX, CloseReason::Client);
    }

    /// Whether it has sent something that the coroutine has not read. Ended now, that would be
    /// lost: `may_minihttp` drops what it has read when it finds the end of the stream behind it.
    fn has_unread(&self) -> bool {
        let unread = self.socket.as_ref().map(|socket| socket.peek(&mut [0]));
        matches!(unread, Some(Ok(1..)))
    }

    /// Receives nothing more, for the first of several reasons.
    pub(super) fn end(&self, reason: CloseReason) {
        let (client, relaxed) = (CloseReason::Client as u8, Ordering::Relaxed);
        // An end that has its reason keeps it.
        let _ = self.reason.compare_exchange(client, reason as u8, relaxed, relaxed);
        if let Some(socket) = &self.socket {
            // It fails only when the peer has gone.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    /// Why it ended, or is about to.
    pub(super) fn reason(&self) -> CloseReason {
        reason_of(self.reason.load(Ordering::Relaxed))
    }
}

fn reason_of(index: u8) -> CloseReason {
    CloseReason::ALL.get(usize::from(index)).copied().unwrap_or(CloseReason::Error)
}
