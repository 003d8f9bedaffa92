//! The network as a core sees it: streams, and the place where they come from.
//!
//! A core serves whatever implements these traits: sockets under [`epoll`](crate::epoll), or bytes
//! in memory under [`offline`](crate::offline), so that tests and counts run the code that serves.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use crate::http::peer::Peer;

/// The stream of a connection; reading and writing never block.
pub trait Stream: Read + Write + Peer + Send + 'static {
    /// Ends the stream to the peer, which still may send.
    ///
    /// # Errors
    ///
    /// The peer has gone.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Has the peer reset when the stream is closed, and what was written but not yet received
    /// thrown away.
    fn reset_on_close(&self);
}

/// The source of a core's streams.
pub trait Network: fmt::Debug {
    /// The type of its streams.
    type Stream: Stream;

    /// Accepts a connection that waits.
    ///
    /// # Errors
    ///
    /// None waits (`WouldBlock`), or see man 2 accept.
    fn accept(&mut self) -> io::Result<Incoming<Self::Stream>>;

    /// Asks for the readiness of a stream, to be reported by its slot.
    ///
    /// # Errors
    ///
    /// The kernel is out of memory.
    fn register(&mut self, stream: &mut Self::Stream, slot: usize) -> io::Result<()>;

    /// Ends the reports on a stream that is about to be closed.
    fn deregister(&mut self, stream: &mut Self::Stream);

    /// Closes the listener: no more connections are accepted.
    fn close_listener(&mut self);
}

/// A stream that was accepted.
#[derive(Debug)]
pub struct Incoming<S> {
    /// The stream.
    pub stream: S,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// True if TLS is spoken where it came to.
    pub is_secure: bool,
    /// True if the peer is a proxy that may speak for others.
    pub is_proxied: bool,
    /// True if the peer has too many connections.
    pub is_refused: bool,
}

impl<S> Incoming<S> {
    /// Returns a stream that is taken for what it is.
    pub const fn new(stream: S, peer: SocketAddr, is_secure: bool) -> Self {
        Self { stream, peer, is_secure, is_proxied: false, is_refused: false }
    }
}

/// A report of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections wait to be accepted.
    Incoming,
    /// Another thread has woken the core.
    WakeUp,
    /// A stream has become ready.
    Stream(Readiness),
}

/// The readiness of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The slot that the stream was registered with.
    pub slot: usize,
    /// True if bytes, or the end of the stream, may be read.
    pub readable: bool,
    /// True if the peer sends no more.
    pub read_closed: bool,
    /// True if the peer takes no answers either.
    pub write_closed: bool,
}
