//! The deadlines of a connection, and what becomes of it when they have passed.

use super::{Connection, Stage};
use crate::context::{AfterServe, ConnectionLimits, CoreContext};
use crate::http::handler::Handler;
use crate::http::request::asks_for_head;
use crate::http::request_error::RequestError;
use crate::limits::{AGE_GRACE_MS, LINGER_MS};
use crate::network::Stream;
use crate::observer::CloseReason;

impl<S: Stream> Connection<S> {
    /// Returns the deadline of its current stage, in monotonic milliseconds.
    #[must_use]
    pub fn deadline_ms(&self, limits: &ConnectionLimits) -> u64 {
        if !self.output.is_empty() {
            return self.active_ms + limits.request_ms;
        }
        match self.stage {
            Stage::Handshaking { since_ms } if self.over_limit() => since_ms + LINGER_MS,
            Stage::Handshaking { since_ms } => since_ms + limits.request_ms,
            Stage::Idle if self.over_limit() => self.active_ms + LINGER_MS,
            // A client that sends often is told by its next answer that the connection is too old.
            Stage::Idle => {
                let old_ms = self.age_ms.max(self.active_ms + AGE_GRACE_MS);
                (self.active_ms + limits.idle_ms).min(old_ms)
            }
            Stage::Receiving { since_ms } if self.over_limit() => since_ms + LINGER_MS,
            Stage::Receiving { since_ms } => since_ms + limits.request_ms,
            // Every ticket is answered; the job behind it has a deadline of its own.
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
            Stage::Handshaking { .. } => self.expire_handshake(core),
            Stage::Idle if self.over_limit() => AfterServe::Close(CloseReason::Limit),
            Stage::Idle => self.expire_idle(core),
            // Its request has been answered, and the rest of the body is discarded.
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
                // In all this time the peer has not read its last answer either, if any of it is
                // left.
                if self.close_reason() == CloseReason::Idle {
                    self.stream.reset_on_close();
                }
                AfterServe::Close(self.close_reason())
            }
        }
    }

    /// Ends an idle connection, unless a request has arrived since the last poll: it was sent on an
    /// open connection, and the client could not know whether it was handled.
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
