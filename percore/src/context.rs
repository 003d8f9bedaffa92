//! The context in which a core serves a connection, and the connection's answer to it.

use std::sync::Arc;

use super::buffer_pool::BufferPool;
use crate::clock::Now;
use crate::http::handler::AnswerSink;
use crate::http::response::Encoder;
use crate::observer::CloseReason;

/// Deadlines of every connection of a server, and the size of its bodies.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The longest pause between two requests.
    pub idle_ms: u64,
    /// The longest time for one request to arrive, and for a client to take bytes of its answers.
    pub request_ms: u64,
    /// The largest body of a request.
    pub body_bytes_max: usize,
}

/// The parts of a core that serve a connection, borrowed by it for one call.
#[derive(Debug)]
pub struct CoreContext<'c, H> {
    /// Answers requests.
    pub handler: &'c mut H,
    /// Receives answers that are made on other threads.
    pub answer_sink: &'c Arc<dyn AnswerSink>,
    /// Deadlines and sizes.
    pub limits: &'c ConnectionLimits,
    /// Buffers to receive into and to answer from.
    pub buffers: &'c mut BufferPool,
    /// Writes the heads of answers.
    pub encoder: &'c mut Encoder,
    /// The time of this turn.
    pub now: Now,
    /// The earliest time at which the bytes received in this turn may have been readable.
    pub readable_ns: u64,
    /// True if the server drains: each answer is the last one of its connection.
    pub draining: bool,
    /// True if the turn's share of costly requests is spent: further ones wait for the next turn.
    pub share_spent: bool,
    /// The steps of TLS handshakes that this turn has left.
    pub handshake_steps: &'c mut usize,
    /// The cost of the requests handled so far, as [`Handler::take_cost`] counts it.
    ///
    /// [`Handler::take_cost`]: crate::http::handler::Handler::take_cost
    pub cost: usize,
}

/// The next step of the core for a connection that it has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterServe {
    /// Wait for the kernel, for a later answer or for a deadline.
    Wait,
    /// Serve again in the next turn: more may be ready at once.
    Again,
    /// Close.
    Close(CloseReason),
}
