//! The eviction of a connection when its core's memory is short.

use super::{Connection, Stage};
use crate::context::{AfterServe, CoreContext};
use crate::http::handler::Handler;
use crate::http::request::asks_for_head;
use crate::http::request_error::RequestError;
use crate::network::Stream;
use crate::observer::CloseReason;

impl<S: Stream> Connection<S> {
    /// Returns the memory that the connection has acquired, times the time for which nothing has
    /// come of it; 0 without any. The connection with the largest weight is evicted first.
    #[must_use]
    pub fn eviction_weight(&self, now_ms: u64) -> u64 {
        let pending = self.tls.as_ref().map_or(0, |tls| tls.pending_bytes());
        let bytes = (self.input.capacity() + self.output.capacity() + pending) as u64;
        let since_ms = match self.stage {
            Stage::Receiving { since_ms } if self.output.is_empty() => since_ms,
            _ => self.active_ms,
        };
        bytes.saturating_mul(1 + now_ms.saturating_sub(since_ms))
    }

    /// Ends a connection for the memory that it holds. Its last request may still wait for a later
    /// answer, which then is the last one; nothing may be sent before it.
    pub fn evict<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        if !self.output.is_empty() {
            self.stream.reset_on_close();
            return AfterServe::Close(CloseReason::Limit);
        }
        if self.is_handshaking() {
            return AfterServe::Close(CloseReason::Limit);
        }
        let input = std::mem::take(&mut self.input);
        self.has_unparsed = false;
        if matches!(self.stage, Stage::Waiting(_)) {
            self.closing = Some(CloseReason::Limit);
        } else {
            self.answer_error(RequestError::MemoryLimit, asks_for_head(&input), core);
        }
        core.buffers.release(input);
        self.publish_and_send(core)
    }
}
