//! The state of TLS on a connection.

use crate::buffer_pool::BufferPool;
use crate::tls::session::Session;

/// The TLS of a connection.
pub(super) struct Tls {
    pub(super) session: Session,
    /// Part of a record, or of a message in several; without memory while empty.
    pub(super) pending: Vec<u8>,
    /// The name in the client's certificate.
    pub(super) identity: Option<Box<str>>,
    /// True if bytes of the client have come.
    pub(super) has_begun: bool,
    /// True once the handshake was told of as done.
    pub(super) is_established: bool,
    /// True once it has failed: nothing can be sent or received any more.
    pub(super) has_failed: bool,
    /// True if the client has said that it sends no more.
    pub(super) is_closed: bool,
    /// True if the client has ended the stream without having said so.
    pub(super) is_truncated: bool,
    /// True if the client was told that no more is sent.
    pub(super) is_close_sent: bool,
}

impl Tls {
    /// Returns TLS of which nothing has come yet.
    pub(super) const fn new(session: Session) -> Self {
        Self {
            session,
            pending: Vec::new(),
            identity: None,
            has_begun: false,
            is_established: false,
            has_failed: false,
            is_closed: false,
            is_truncated: false,
            is_close_sent: false,
        }
    }

    /// Returns the memory of what is pending.
    pub(super) const fn pending_bytes(&self) -> usize {
        self.pending.capacity()
    }

    /// Releases its buffer.
    pub(super) fn release_buffers(&mut self, buffers: &mut BufferPool) {
        buffers.release(std::mem::take(&mut self.pending));
    }
}
