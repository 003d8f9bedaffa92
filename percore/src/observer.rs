//! The observer of an engine: it is told of connections, requests and turns, and counts them.
//!
//! Every method has a default that does nothing, so that a handler that counts nothing says only
//! `impl Observer for Echo {}`. They are called on the core's own thread, several times for each
//! request: an implementation adds a number or two, and never waits.

use std::fmt;
use std::io;

use crate::clock::Now;
use crate::http::peer::Peer;
use crate::http::response::Response;

crate::named_enum! {
    /// The reason for which a connection ended.
    pub enum CloseReason {
        /// The client ended it, or asked for it.
        Client = "client",
        /// There was no request for the idle time-out.
        Idle = "idle",
        /// A request was not complete in time.
        RequestTimeout = "request_timeout",
        /// The client did not take its answers.
        WriteStall = "write_stall",
        /// It reached the maximum connection age.
        Age = "age",
        /// A request could not be framed, or the socket failed.
        Error = "error",
        /// The limit of connections or of memory: it was closed for another, or rejected.
        Limit = "limit",
        /// Its peer had as many connections as it may have.
        PeerLimit = "peer_limit",
        /// A trusted proxy sent a header that cannot be understood.
        ProxyHeader = "proxy_header",
        /// The server stops.
        Drain = "drain",
        /// Its TLS handshake failed, or was not done in time.
        Handshake = "handshake",
    }
}

crate::named_enum! {
    /// The outcome of a TLS handshake.
    pub enum HandshakeOutcome {
        /// It is done, with certificates.
        Full = "full",
        /// It is done, with a ticket of an earlier one.
        Resumed = "resumed",
        /// The client offered nothing that is taken, or did not keep to the protocol.
        Refused = "refused",
        /// The client's certificate is missing, or is not taken.
        Certificate = "certificate",
        /// It was not done in time.
        Timeout = "timeout",
        /// The client went away, or the connection was closed for another reason.
        Aborted = "aborted",
        /// The client has connected and gone without a word, as probes of load balancers do.
        Unused = "unused",
        /// The client has sent a request in clear.
        Clear = "clear",
    }
}

crate::named_enum! {
    /// The version of TLS of a connection.
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "1.3",
    }
}

/// A handshake that has come to its end.
#[derive(Clone, Copy)]
pub struct HandshakeEnd<'a> {
    /// The outcome.
    pub outcome: HandshakeOutcome,
    /// The version, if it is done.
    pub version: Option<TlsVersion>,
    /// The reason of its failure in words.
    pub reason: &'a dyn fmt::Display,
}

impl fmt::Debug for HandshakeEnd<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome, version, reason } = self;
        let mut shown = out.debug_struct("HandshakeEnd");
        shown.field("outcome", outcome).field("version", version);
        shown.field("reason", &format_args!("{reason}")).finish()
    }
}

/// Counts what one core does. Times are monotonic nanoseconds of the server's [`Clock`].
///
/// [`Clock`]: crate::clock::Clock
pub trait Observer {
    /// Counts a connection that was accepted.
    fn connection_opened(&mut self) {}

    /// Counts a connection that ended.
    fn connection_closed(&mut self, _reason: CloseReason) {}

    /// Counts a TLS handshake.
    fn handshake_ended(&mut self, _end: &HandshakeEnd<'_>, _peer: &dyn Peer, _now: Now) {}

    /// Counts the end of a connection whose TLS handshake was done. It is truncated if the peer has
    /// ended the stream without having said so inside of TLS.
    fn tls_closed(&mut self, _is_truncated: bool) {}

    /// Counts an answer to a request that may have been readable since `since_ns`. Its duration
    /// ends with the turn, when the answer has been given to the kernel.
    fn request_answered(&mut self, _response: &Response, _since_ns: u64) {}

    /// Counts a turn of the event loop.
    fn turn_ended(&mut self, _began_ns: u64, _ended_ns: u64) {}

    /// Returns true if the observer could not record everything at the end of the turn, and wants
    /// another turn soon although no request may come.
    fn wants_turn(&self) -> bool {
        false
    }

    /// Notes that the limit has cost a connection its place: an idle one, for this newcomer, or the
    /// newcomer itself.
    fn connection_limit_reached(&mut self, _peer: &dyn Peer, _connections_max: usize, _now: Now) {}

    /// Notes that a peer has as many connections as it may have, and that a further one was
    /// refused.
    fn peer_limit_reached(&mut self, _peer: &dyn Peer, _now: Now) {}

    /// Notes that a trusted proxy has sent a header of the PROXY protocol that is none, or too
    /// long.
    fn proxy_header_malformed(&mut self, _proxy: &dyn Peer, _now: Now) {}

    /// Notes that the kernel did not hand over a connection. With `exhausted`, descriptors or
    /// memory have run out and the connection waits; otherwise it was lost.
    fn accept_failed(&mut self, _error: &io::Error, _exhausted: bool, _now: Now) {}
}
