//! The observer: what the engine tells of its connections, requests and turns, for whoever counts.
//!
//! Every method has a default that does nothing, so that a handler which counts nothing says only
//! `impl Observer for Echo {}`. They are called on the core's own thread, several times for each
//! request: an implementation is an addition or two, and never waits.

use std::io;

use crate::clock::Now;
use crate::http::peer::Peer;
use crate::http::response::Response;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client ended it, or asked for it.
    Client,
    /// No request for the idle time-out.
    Idle,
    /// A request was not complete in time.
    RequestTimeout,
    /// The client did not take its answers.
    WriteStall,
    /// It reached the maximum connection age.
    Age,
    /// A request that could not be framed, or an error of the socket.
    Error,
    /// The connection limit: closed for a new connection, or a new one turned away.
    Limit,
    /// The server stops.
    Drain,
}

impl CloseReason {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 8] = [
        Self::Client,
        Self::Idle,
        Self::RequestTimeout,
        Self::WriteStall,
        Self::Age,
        Self::Error,
        Self::Limit,
        Self::Drain,
    ];

    /// The name, as a metric's label has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Idle => "idle",
            Self::RequestTimeout => "request_timeout",
            Self::WriteStall => "write_stall",
            Self::Age => "age",
            Self::Error => "error",
            Self::Limit => "limit",
            Self::Drain => "drain",
        }
    }

    /// The place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
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

    /// Counts an answer to a request that may have been readable since `since_ns`. Its duration
    /// ends with the turn, when the answer has been given to the kernel.
    fn request_answered(&mut self, _response: Response, _since_ns: u64) {}

    /// Counts a turn of the event loop.
    fn turn_ended(&mut self, _began_ns: u64, _ended_ns: u64) {}

    /// Returns true if the observer could not record everything at the end of the turn, and wants
    /// another turn soon although no request may come.
    fn wants_turn(&self) -> bool {
        false
    }

    /// Notes a new connection past the limit of connections.
    fn connection_limit_reached(&mut self, _peer: &dyn Peer, _connections_max: usize, _now: Now) {}

    /// Notes that the kernel did not hand a connection over. With `exhausted` the connections wait,
    /// because descriptors or memory have run out; otherwise it was lost.
    fn accept_failed(&mut self, _error: &io::Error, _exhausted: bool, _now: Now) {}
}
