//! One connection: its stream, its buffers, its stage and its deadlines.
//!
//! A readable stream is received from once, its requests are answered into the core's out-buffer,
//! and that is sent once. Only half a request or an unsent answer is kept here, in a buffer from
//! the pool. [`exchange`] answers requests, [`transfer`] moves bytes, [`deadlines`] end it in time,
//! [`eviction`] frees the memory that it holds, and [`secure`] puts [`tls`] between stream and
//! requests.

mod deadlines;
mod eviction;
mod exchange;
mod secure;
#[cfg(test)]
mod tests;
mod tls;
mod transfer;

use std::fmt;

use super::admission::Admission;
use super::buffer_pool::BufferPool;
use super::context::{AfterServe, CoreContext};
use crate::clock::Now;
use crate::http::handler::{ConnectionId, Handler, RequestId};
use crate::http::request_error::RequestError;
use crate::http::request_reader::RequestReader;
use crate::http::response::Answer;
use crate::limits::{FIRST_REQUEST_GRACE_MS, HANDSHAKE_GRACE_MS};
use crate::network::Stream;
use crate::observer::CloseReason;
use tls::Tls;

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In the handshake of TLS, which began at this time.
    Handshaking { since_ms: u64 },
    /// Between requests.
    Idle,
    /// Part of a request has arrived, the first of it at this time.
    Receiving { since_ms: u64 },
    /// A request waits for its later answer.
    Waiting(PendingAnswer),
    /// The last answer is in the kernel; until this time, input is discarded.
    Lingering { until_ms: u64 },
}

/// The facts about a request that its answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PendingAnswer {
    /// The request's number on this connection.
    number: u64,
    /// True if more bytes came with the request.
    followed: bool,
    answers_head: bool,
    keep_alive: bool,
    http_1_0: bool,
    since_ns: u64,
}

/// One connection of a core.
pub struct Connection<S> {
    stream: S,
    /// Between the stream and the requests, where TLS is spoken: the stream then has records.
    tls: Option<Box<Tls>>,
    id: ConnectionId,
    peer_is_loopback: bool,
    admission: Admission,
    stage: Stage,
    reader: RequestReader,
    /// Bytes received and not consumed; without memory while empty.
    input: Vec<u8>,
    /// True if `input` may hold a whole request.
    has_unparsed: bool,
    /// The earliest time at which the last input may have been readable.
    readable_ns: u64,
    /// Answers that are not sent; without memory while empty.
    output: Vec<u8>,
    sent: usize,
    /// True if the stream may hold more: epoll reports an edge, and it has not been drained since.
    readable: bool,
    /// True if the kernel has reported that the peer sends no more.
    peer_closed: bool,
    /// True if the kernel has reported that the peer takes no answers either.
    peer_gone: bool,
    /// True if a costly request waits here for the share of a later turn.
    is_deferred: bool,
    /// The reason for which the connection closes once its output is sent.
    closing: Option<CloseReason>,
    /// True if the requests that had arrived when the end was decided are answered: the next answer
    /// is the last.
    close_on_next_answer: bool,
    /// The number of requests handled.
    requests: u64,
    /// The time of the last request, or of the last bytes sent.
    active_ms: u64,
    /// The longest pause so far between a request and the next.
    pause_ms: u64,
    /// The time at which it is too old.
    pub age_ms: u64,
    /// True if it is in a queue of the core for the next turn.
    pub queued: bool,
}

impl<S> fmt::Debug for Connection<S> {
    /// Leaves out the bytes received and to be sent: they may hold a token, or somebody's metrics.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, stage, requests, closing, .. } = self;
        let mut shown = out.debug_struct("Connection");
        shown.field("id", id).field("stage", stage).field("requests", requests);
        shown.field("closing", closing).finish_non_exhaustive()
    }
}

/// The facts about a connection when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Its slot and number.
    pub id: ConnectionId,
    /// True if the peer is on this machine.
    pub peer_is_loopback: bool,
    /// The way in which it was admitted.
    pub admission: Admission,
    /// The time.
    pub now_ms: u64,
    /// The time at which it is too old.
    pub age_ms: u64,
}

impl<S: Stream> Connection<S> {
    /// Returns a connection that has not received anything.
    #[must_use]
    pub fn new(stream: S, accepted: &Accepted) -> Self {
        Self {
            stream,
            tls: None,
            id: accepted.id,
            peer_is_loopback: accepted.peer_is_loopback,
            admission: accepted.admission,
            stage: Stage::Idle,
            reader: RequestReader::default(),
            input: Vec::new(),
            has_unparsed: false,
            readable_ns: 0,
            output: Vec::new(),
            sent: 0,
            readable: false,
            peer_closed: false,
            peer_gone: false,
            is_deferred: false,
            closing: None,
            close_on_next_answer: false,
            requests: 0,
            active_ms: accepted.now_ms,
            pause_ms: 0,
            age_ms: accepted.age_ms,
            queued: false,
        }
    }

    /// Returns its slot and number.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Returns the stream, to deregister it.
    pub const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the way in which it was admitted.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// Returns the number of requests handled.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Takes the reserved place from it: it is to be rejected.
    pub const fn demote(&mut self) {
        self.admission = Admission::Rejected;
    }

    /// Returns true if its last answer was given.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.closing.is_some()
    }

    /// Returns true if it is over the limit: it gets one answer and closes.
    const fn over_limit(&self) -> bool {
        !matches!(self.admission, Admission::Regular)
    }

    /// Returns the time since when it is idle; `None` while a request is under way.
    #[must_use]
    pub fn idle_since_ms(&self) -> Option<u64> {
        let idle = match self.stage {
            Stage::Idle => self.output.is_empty() && !self.has_unparsed,
            Stage::Handshaking { .. } => true,
            _ => false,
        };
        idle.then_some(self.active_ms)
    }

    /// Returns the time since when it may be closed for a new connection; `None` while a request is
    /// under way, or its first one may be.
    #[must_use]
    pub fn evictable_since_ms(&self, now_ms: u64) -> Option<u64> {
        let grace_ms =
            if self.is_handshaking() { HANDSHAKE_GRACE_MS } else { FIRST_REQUEST_GRACE_MS };
        let settled = self.requests > 0 || now_ms >= self.active_ms + grace_ms;
        // Closing one over the limit would free no place within the limit.
        self.idle_since_ms().filter(|_| settled && !self.over_limit())
    }

    /// Returns true if a costly request waits here for the share of a later turn.
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// Releases its buffers, before it is dropped.
    pub fn release_buffers(&mut self, buffers: &mut BufferPool) {
        if let Some(tls) = &mut self.tls {
            tls.release_buffers(buffers);
        }
        buffers.release(std::mem::take(&mut self.input));
        buffers.release(std::mem::take(&mut self.output));
    }

    /// Adds a report of the kernel to what is known of the stream.
    pub const fn set_readiness(&mut self, readable: bool, peer_closed: bool) {
        self.readable |= readable;
        self.peer_closed |= peer_closed;
    }

    /// Marks the peer as gone: no request that has arrived is begun any more.
    pub const fn mark_peer_gone(&mut self) {
        self.peer_gone = true;
    }

    /// Sends unsent output, then receives once, answers, and sends.
    pub fn serve<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        self.is_deferred = false;
        if self.peer_gone {
            return AfterServe::Close(self.closing.unwrap_or(CloseReason::Error));
        }
        if !self.output.is_empty() {
            if let Err(reason) = self.flush(core) {
                return AfterServe::Close(reason);
            }
            if !self.output.is_empty() {
                return AfterServe::Wait;
            }
        }
        if matches!(self.stage, Stage::Lingering { .. }) {
            return self.discard_input(core);
        }
        // A connection that is about to close waits for the answer to its last request all the
        // same.
        if matches!(self.stage, Stage::Waiting(_)) {
            return AfterServe::Wait;
        }
        if self.closing.is_some() {
            return self.begin_lingering(core);
        }
        let received = match self.receive(core) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.after_no_request(core),
            Err(reason) => return AfterServe::Close(reason),
        };
        self.answer_received(received, core);
        let ends = core.draining || self.will_be_too_old(core.now);
        self.close_on_next_answer |= ends && !self.has_unparsed;
        self.publish_and_send(core)
    }

    /// Sends the later answer to `request`, if that is the one that waits.
    pub fn deliver<H: Handler>(
        &mut self,
        request: RequestId,
        answer: &Answer,
        core: &mut CoreContext<'_, H>,
    ) -> AfterServe {
        let waiting = match self.stage {
            Stage::Waiting(waiting) if waiting.number == request.number => waiting,
            _ => return AfterServe::Wait,
        };
        self.stage = Stage::Idle;
        self.active_ms = core.now.mono_ms();
        self.encode(&answer.response, Some(&answer.body), &waiting, core);
        self.publish_and_send(core)
    }

    /// Answers a connection that no place is left for.
    pub fn reject<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        if self.is_handshaking() {
            // An answer would cost the handshake.
            return AfterServe::Close(CloseReason::Limit);
        }
        self.answer_error(RequestError::ConnectionLimit, false, core);
        self.publish_and_send(core)
    }

    /// Publishes what the handler took, and sends the answers.
    fn publish_and_send<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        if !core.buffers.out.is_empty() {
            core.handler.publish(core.now);
            if let Err(reason) = self.send(core) {
                return AfterServe::Close(reason);
            }
        }
        if !self.output.is_empty() || matches!(self.stage, Stage::Waiting(_)) {
            return AfterServe::Wait;
        }
        if self.closing.is_some() {
            return self.begin_lingering(core);
        }
        if self.has_unparsed || self.readable { AfterServe::Again } else { AfterServe::Wait }
    }

    fn is_too_old(&self, now: Now) -> bool {
        now.mono_ms() >= self.age_ms
    }

    /// Returns true if its next request is likely to come when the connection is too old, after the
    /// longest pause so far and a quarter of that. Then this answer has to be the last, or that
    /// request would be on its way while the connection is closed.
    fn will_be_too_old(&self, now: Now) -> bool {
        now.mono_ms() + self.pause_ms + self.pause_ms / 4 >= self.age_ms
    }

    fn close_reason(&self) -> CloseReason {
        self.closing.unwrap_or(CloseReason::Client)
    }
}
