//! One connection: what it has sent, what it is owed, and when patience ends.
//!
//! A readable socket is received from once, its requests are answered into the core's out-buffer,
//! and that is sent once. Only what is left over, half a request or an unsent answer, is kept here
//! in a buffer lent by the core. [`exchange`] turns bytes into answers, [`transfer`] moves them.

mod eviction;
mod exchange;
#[cfg(test)]
mod tests;
mod transfer;

use std::fmt;

use super::admission::Admission;
use super::buffer_pool::BufferPool;
use super::context::{AfterServe, ConnectionLimits, CoreContext};
use crate::clock::Now;
use crate::http::handler::{ConnectionId, Handler, RequestId};
use crate::http::request::asks_for_head;
use crate::http::request_error::RequestError;
use crate::http::request_reader::RequestReader;
use crate::http::response::Answer;
use crate::limits::{AGE_GRACE_MS, FIRST_REQUEST_GRACE_MS, LINGER_MS};
use crate::network::Stream;
use crate::observer::CloseReason;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between requests.
    Idle,
    /// Span of a request is here, the first of it since this moment.
    Receiving { since_ms: u64 },
    /// A later answer is due.
    Waiting(PendingAnswer),
    /// The last answer is in the kernel; what the peer still sends is thrown away until then.
    Lingering { until_ms: u64 },
}

/// What is to be remembered of a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PendingAnswer {
    /// The request's number on this connection.
    number: u64,
    /// Whether more bytes came with it.
    followed: bool,
    answers_head: bool,
    keep_alive: bool,
    http_1_0: bool,
    since_ns: u64,
}

/// One connection of a core.
pub struct Connection<S> {
    stream: S,
    id: ConnectionId,
    peer_is_loopback: bool,
    admission: Admission,
    stage: Stage,
    reader: RequestReader,
    /// Received and not consumed; without memory while empty.
    input: Vec<u8>,
    /// Whether `input` may hold a whole request.
    has_unparsed: bool,
    /// Since when what was received last may have been readable.
    readable_ns: u64,
    /// Answered and not sent; without memory while empty.
    output: Vec<u8>,
    sent: usize,
    /// Whether the socket may hold more: the edge was seen and not yet drained.
    readable: bool,
    /// Whether the kernel has said that the peer sends no more.
    peer_closed: bool,
    /// Whether the kernel has said that the peer takes no answers either.
    peer_gone: bool,
    /// Whether a request waits here that the turn had no share left for.
    is_deferred: bool,
    /// Why the connection ends once its output is sent.
    closing: Option<CloseReason>,
    /// Whether what came with the end's decision has been answered: the next answer is the last.
    close_on_next_answer: bool,
    /// Requests taken.
    requests: u64,
    /// The last request taken, or bytes sent.
    active_ms: u64,
    /// The longest time so far between that and the next request.
    pause_ms: u64,
    /// When it is too old.
    pub age_ms: u64,
    /// Whether it stands in the core's queue for the next turn.
    pub queued: bool,
}

impl<S> fmt::Debug for Connection<S> {
    /// Without what was received and answered: one may be a token, the other somebody's metrics.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, stage, requests, closing, .. } = self;
        let mut shown = out.debug_struct("Connection");
        shown.field("id", id).field("stage", stage).field("requests", requests);
        shown.field("closing", closing).finish_non_exhaustive()
    }
}

/// What is known of a connection when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Its place and number.
    pub id: ConnectionId,
    /// Whether it came from this machine.
    pub peer_is_loopback: bool,
    /// How it was received.
    pub admission: Admission,
    /// Now.
    pub now_ms: u64,
    /// When it is too old.
    pub age_ms: u64,
}

impl<S: Stream> Connection<S> {
    /// A connection that has not sent anything.
    #[must_use]
    pub fn new(stream: S, accepted: &Accepted) -> Self {
        Self {
            stream,
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

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// The socket, to deregister it.
    pub const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// How it was received.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// Requests taken so far.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Takes its reserved place from it.
    pub const fn demote(&mut self) {
        self.admission = Admission::Rejected;
    }

    /// Whether it has had its last answer.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether it is over the limit: it gets one answer and goes.
    const fn over_limit(&self) -> bool {
        !matches!(self.admission, Admission::Regular)
    }

    /// Since when nothing is under way, if nothing is.
    #[must_use]
    pub fn idle_since_ms(&self) -> Option<u64> {
        let idle = self.stage == Stage::Idle && self.output.is_empty() && !self.has_unparsed;
        idle.then_some(self.active_ms)
    }

    /// Since when it may be closed for a newcomer, if it may: it is idle, and its first request is
    /// not on its way any more.
    #[must_use]
    pub fn evictable_since_ms(&self, now_ms: u64) -> Option<u64> {
        let settled = self.requests > 0 || now_ms >= self.active_ms + FIRST_REQUEST_GRACE_MS;
        // One over the limit takes no place that a newcomer could have.
        self.idle_since_ms().filter(|_| settled && !self.over_limit())
    }

    /// Whether it waits with a request that the turn had no share left for.
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// Gives back what was lent, before it is dropped.
    pub fn release_buffers(&mut self, buffers: &mut BufferPool) {
        buffers.release(std::mem::take(&mut self.input));
        buffers.release(std::mem::take(&mut self.output));
    }

    /// Notes what the kernel said.
    pub const fn set_readiness(&mut self, readable: bool, peer_closed: bool) {
        self.readable |= readable;
        self.peer_closed |= peer_closed;
    }

    /// Notes that nobody is there any more: whatever has come is not begun.
    pub const fn mark_peer_gone(&mut self) {
        self.peer_gone = true;
    }

    /// Sends what is owed, then receives once, answers and sends.
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
        // One that ends all the same has a request that was taken, and gets its answer first.
        if matches!(self.stage, Stage::Waiting(_)) {
            return AfterServe::Wait;
        }
        if self.closing.is_some() {
            return self.begin_lingering(core);
        }
        let received = match self.receive(core) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return AfterServe::Wait,
            Err(reason) => return AfterServe::Close(reason),
        };
        self.answer_received(received, core);
        let ends = core.draining || self.will_be_too_old(core.now);
        self.close_on_next_answer |= ends && !self.has_unparsed;
        self.publish_and_send(core)
    }

    /// Takes the answer to the request that waits for it.
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
        self.encode(answer.response, Some(&answer.body), waiting, core);
        self.publish_and_send(core)
    }

    /// Answers a newcomer that no slot is left for.
    pub fn reject<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        self.answer_error(RequestError::ConnectionLimit, false, core);
        self.publish_and_send(core)
    }

    /// Publishes what was taken and sends what was answered.
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

    /// Whether its next request would find it too old: it pauses as long as it has before, perhaps
    /// a quarter longer. Then this is the moment to say so, or that request would be on its way
    /// while the connection is closed.
    fn will_be_too_old(&self, now: Now) -> bool {
        now.mono_ms() + self.pause_ms + self.pause_ms / 4 >= self.age_ms
    }

    fn close_reason(&self) -> CloseReason {
        self.closing.unwrap_or(CloseReason::Client)
    }

    /// When patience with the peer ends, in monotonic milliseconds.
    #[must_use]
    pub fn deadline_ms(&self, limits: &ConnectionLimits) -> u64 {
        if !self.output.is_empty() {
            return self.active_ms + limits.request_ms;
        }
        match self.stage {
            Stage::Idle if self.over_limit() => self.active_ms + LINGER_MS,
            // Whoever sends often is told by its next answer that the connection is too old.
            Stage::Idle => {
                let old_ms = self.age_ms.max(self.active_ms + AGE_GRACE_MS);
                (self.active_ms + limits.idle_ms).min(old_ms)
            }
            Stage::Receiving { since_ms } if self.over_limit() => since_ms + LINGER_MS,
            Stage::Receiving { since_ms } => since_ms + limits.request_ms,
            // Every ticket is answered; its holder has a deadline of its own.
            Stage::Waiting(_) => u64::MAX,
            Stage::Lingering { until_ms } => until_ms,
        }
    }

    /// Ends a connection whose deadline has passed.
    pub fn expire<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        if !self.output.is_empty() {
            self.stream.reset_on_close();
            return AfterServe::Close(CloseReason::WriteStall);
        }
        match self.stage {
            Stage::Idle if self.over_limit() => AfterServe::Close(CloseReason::Limit),
            Stage::Idle => self.expire_idle(core),
            // It has been answered, and what it sends is thrown away.
            Stage::Receiving { .. } if self.reader.is_skipping() => {
                self.closing = Some(CloseReason::RequestTimeout);
                self.begin_lingering(core)
            }
            Stage::Receiving { .. } => {
                self.answer_error(RequestError::Timeout, asks_for_head(&self.input), core);
                self.publish_and_send(core)
            }
            Stage::Waiting(_) => AfterServe::Wait,
            Stage::Lingering { .. } => {
                // All this time it has not read its last answer either, if there is any left.
                if self.close_reason() == CloseReason::Idle {
                    self.stream.reset_on_close();
                }
                AfterServe::Close(self.close_reason())
            }
        }
    }

    /// Ends a connection between two requests, unless one has come since the kernel was asked: it
    /// was sent to an open connection, and nobody would know whether it was taken.
    fn expire_idle<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        let requests = self.requests;
        self.set_readiness(true, false);
        let next = self.serve(core);
        let still_idle = next == AfterServe::Wait && self.stage == Stage::Idle;
        if !still_idle || self.requests > requests {
            return next;
        }
        if self.is_too_old(core.now) {
            return AfterServe::Close(CloseReason::Age);
        }
        self.closing = Some(CloseReason::Idle);
        self.begin_lingering(core)
    }
}
