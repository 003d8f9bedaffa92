//! What a core lends to a connection while it serves it, and what it is told afterwards.

use std::sync::Arc;

use super::buffer_pool::BufferPool;
use crate::clock::Now;
use crate::http::handler::AnswerSink;
use crate::http::response::Encoder;
use crate::observer::CloseReason;

/// The patience of one server with its peers.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Between requests.
    pub idle_ms: u64,
    /// For one request to arrive, and for an answer to move on.
    pub request_ms: u64,
    /// For one body.
    pub body_bytes_max: usize,
}

/// A core's things, in the hands of one connection.
#[derive(Debug)]
pub struct CoreContext<'c, H> {
    /// Answers requests.
    pub handler: &'c mut H,
    /// Makes the context of a request.
    pub desk: &'c Desk,
    /// BufferPool to receive into and answer from.
    pub buffers: &'c mut BufferPool,
    /// Writes heads.
    pub encoder: &'c mut Encoder,
    /// The reading of this turn.
    pub now: Now,
    /// Since when what is received in this turn may have been readable.
    pub readable_ns: u64,
    /// Whether each answer is its connection's last.
    pub draining: bool,
    /// Whether the turn has had its share of costly requests: others wait for the next.
    pub spent: bool,
    /// What was handled so far has cost this, as [`Handler::take_cost`] counts it.
    ///
    /// [`Handler::take_cost`]: crate::http::handler::Handler::take_cost
    pub cost: usize,
}

/// What is the same for every request of a core.
#[derive(Debug)]
pub struct Desk {
    /// Where later answers are posted.
    pub mailbox: Arc<dyn AnswerSink>,
    /// Deadlines and sizes.
    pub patience: ConnectionLimits,
}

/// What the core does with a connection after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterServe {
    /// Wait for the kernel, a later answer or a deadline.
    Wait,
    /// Serve again in the next turn: there may be more to do at once.
    Again,
    /// Gone.
    Close(CloseReason),
}
