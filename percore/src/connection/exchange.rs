//! The exchanges of a connection: its requests are read and answered, one after the other.

use std::ops::Range;

use super::{Connection, PendingAnswer, Stage};
use crate::buffer_pool::BufferPool;
use crate::context::CoreContext;
use crate::http::handler::{Context, Handler, Reply, RequestId};
use crate::http::head_cache::HeadCache;
use crate::http::headers::HeaderName;
use crate::http::request::{Method, Request, asks_for_head};
use crate::http::request_error::RequestError;
use crate::http::request_reader::{CompleteRequest, DecodeProgress, ReadProgress};
use crate::http::response::{Persistence, Response, encode_continue};
use crate::limits::{
    CHEAP_BYTES_MAX, OUT_BYTES_MAX, PIPELINED_REQUESTS_PER_TURN, REQUEST_COST_BYTES,
    REQUESTS_PER_SPENT_TURN, SHARE_BYTES_MAX,
};
use crate::network::Stream;
use crate::observer::CloseReason;

impl<S: Stream> Connection<S> {
    /// Answers the requests in `input` and the first `received` bytes of the receive buffer.
    pub(super) fn answer_received<H: Handler>(
        &mut self,
        received: usize,
        core: &mut CoreContext<'_, H>,
    ) {
        self.has_unparsed = false;
        let mut input = std::mem::take(&mut self.input);
        // The receive buffer is taken out of the pool while its bytes are parsed in place.
        let mut receive = std::mem::take(&mut core.buffers.receive);
        let fresh = receive.get_mut(..received).unwrap_or_default();
        if input.is_empty() {
            let rest = self.answer_all(fresh, core);
            let rest = fresh.get(rest).unwrap_or_default();
            if !rest.is_empty() {
                input = core.buffers.acquire(rest);
            }
        } else {
            core.buffers.append(&mut input, fresh);
            let rest = self.answer_all(&mut input, core);
            input.truncate(rest.end);
            input.drain(..rest.start.min(rest.end));
        }
        core.buffers.receive = receive;
        if input.is_empty() {
            core.buffers.release(input);
        } else {
            self.input = input;
        }
    }

    /// Answers as many of the requests in `bytes` as this turn allows, and returns the range of the
    /// bytes to keep.
    pub(super) fn answer_all<H: Handler>(
        &mut self,
        bytes: &mut [u8],
        core: &mut CoreContext<'_, H>,
    ) -> Range<usize> {
        let mut head_cache = std::mem::take(&mut core.buffers.head_cache);
        let kept = self.answer_each(bytes, &mut head_cache, core);
        core.buffers.head_cache = head_cache;
        kept
    }

    /// Answers request by request. What was read of one is passed by reference: a copy right after
    /// it was written, part by part, would wait for the writes.
    fn answer_each<H: Handler>(
        &mut self,
        bytes: &mut [u8],
        head_cache: &mut HeadCache,
        core: &mut CoreContext<'_, H>,
    ) -> Range<usize> {
        let body_bytes_max = core.limits.body_bytes_max;
        let mut at = 0;
        let requests_max =
            if core.share_spent { REQUESTS_PER_SPENT_TURN } else { PIPELINED_REQUESTS_PER_TURN };
        let mut requests = 0;
        while at < bytes.len() && self.closing.is_none() {
            let over_share = requests == requests_max
                || core.cost >= SHARE_BYTES_MAX
                || core.buffers.out.len() >= OUT_BYTES_MAX;
            if over_share || matches!(self.stage, Stage::Waiting(_)) {
                self.has_unparsed = true;
                return at..bytes.len();
            }
            let rest = bytes.get_mut(at..).unwrap_or_default();
            if !self.reader.has_read_head() {
                at += empty_lines(rest);
                if at == bytes.len() {
                    self.stage = Stage::Idle;
                    break;
                }
            } else if self.reader.is_skipping() {
                at += self.skip(rest, core);
                continue;
            }
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let before = core.share_spent.then_some(self.reader);
            match &self.reader.read(rest, head_cache, body_bytes_max) {
                Ok(ReadProgress::Complete(request)) => {
                    if let Some(before) = before.filter(|_| may_be_costly(&request.request)) {
                        self.reader = before;
                        // Its deadline was that of its arrival, which is over.
                        self.stage = Stage::Idle;
                        (self.has_unparsed, self.is_deferred) = (true, true);
                        return at..bytes.len();
                    }
                    let behind = rest.get(request.consumed..).unwrap_or_default();
                    let followed = empty_lines(behind) < behind.len();
                    at += request.consumed;
                    requests += 1;
                    self.answer_one(request, followed, core);
                }
                Ok(ReadProgress::Partial) => return self.keep(at..bytes.len(), core),
                Ok(ReadProgress::HeadComplete) => {
                    if !self.check_head(rest, head_cache, core) {
                        return self.keep(at..bytes.len(), core);
                    }
                    at = bytes.len();
                }
                Ok(ReadProgress::NeedsDecoding) => match self.reader.decode(rest, body_bytes_max) {
                    Ok(DecodeProgress::Complete) => {}
                    Ok(DecodeProgress::Partial { keep, head_complete }) => {
                        if !(head_complete && self.check_head(rest, head_cache, core)) {
                            return self.keep(at..at + keep, core);
                        }
                        at = bytes.len();
                    }
                    Err(error) => self.answer_body_error(error, rest, head_cache, core),
                },
                Err(error) => at += self.answer_unreadable(*error, rest, core),
            }
        }
        // Bytes after the last answer are not parsed.
        bytes.len()..bytes.len()
    }

    /// Answers what cannot be read, unless that is due to TLS alone. Returns the number of bytes
    /// after which to go on.
    #[cold]
    fn answer_unreadable<H: Handler>(
        &mut self,
        error: RequestError,
        input: &mut [u8],
        core: &mut CoreContext<'_, H>,
    ) -> usize {
        if error == RequestError::Misdirected && self.tls.is_some() {
            return without_https(input);
        }
        if self.is_hello(input) {
            self.refuse_hello(core);
        } else {
            self.answer_error(error, asks_for_head(input), core);
        }
        0
    }

    /// Answers a request with a malformed body. If its head alone would have been refused, that is
    /// the answer, as it is where the body comes later than the head.
    fn answer_body_error<H: Handler>(
        &mut self,
        error: RequestError,
        input: &[u8],
        head_cache: &mut HeadCache,
        core: &mut CoreContext<'_, H>,
    ) {
        self.closing = Some(CloseReason::Error);
        if !self.check_head(input, head_cache, core) {
            self.answer_error(error, asks_for_head(input), core);
        }
    }

    /// Keeps these bytes of half a request until more arrive.
    fn keep<H>(&mut self, bytes: Range<usize>, core: &CoreContext<'_, H>) -> Range<usize> {
        self.wait_for_rest(core);
        bytes
    }

    fn wait_for_rest<H>(&mut self, core: &CoreContext<'_, H>) {
        if self.stage == Stage::Idle {
            self.stage = Stage::Receiving { since_ms: core.now.mono_ms() };
        }
    }

    /// Has the handler check the head of a request whose body has not arrived, and returns true if
    /// that was enough for an answer. Then the body is skipped as it arrives, within the same
    /// limits of length and time, and the connection carries on. But a peer that waits for `100
    /// Continue` may send its body or not, and nobody can know which: then the answer is the last
    /// one (RFC 9110, section 10.1.1). If the head passes, `100 Continue` is sent.
    fn check_head<H: Handler>(
        &mut self,
        input: &[u8],
        head_cache: &mut HeadCache,
        core: &mut CoreContext<'_, H>,
    ) -> bool {
        self.wait_for_rest(core);
        let Some(incomplete) = self.reader.incomplete_request(input, head_cache) else {
            return false;
        };
        let context = self.context(self.requests + 1, core);
        core.buffers.body.clear();
        let early_answer =
            core.handler.check_head(&incomplete.request, &context, &mut core.buffers.body);
        let Some(response) = early_answer else {
            if incomplete.expects_continue {
                encode_continue(&mut core.buffers.out);
            }
            return false;
        };
        let stage = self.stage;
        let waiting = PendingAnswer {
            followed: false,
            answers_head: incomplete.request.method == Method::Head,
            keep_alive: incomplete.keep_alive && !incomplete.expects_continue,
            http_1_0: incomplete.http_1_0,
            ..self.take_request(core.now.mono_ms())
        };
        self.encode(&response, None, &waiting, core);
        if self.closing.is_none() {
            // The deadline of the request still counts from its first byte.
            self.stage = stage;
            self.reader.skip_body(input.len());
        }
        true
    }

    /// Skips the bytes of an answered request's body, and returns how many those were.
    fn skip<H>(&mut self, input: &mut [u8], core: &CoreContext<'_, H>) -> usize {
        match self.reader.skip(input, core.limits.body_bytes_max) {
            Ok(skipped) => {
                if skipped.done {
                    self.stage = Stage::Idle;
                    self.active_ms = core.now.mono_ms();
                }
                skipped.consumed
            }
            // The request has had its answer, and nobody knows where the next one would begin.
            Err(_) => {
                self.stage = Stage::Idle;
                self.closing = Some(CloseReason::Error);
                input.len()
            }
        }
    }

    /// Has the handler answer a request; `followed` is true if more bytes came with it.
    fn answer_one<H: Handler>(
        &mut self,
        request: &CompleteRequest<'_>,
        followed: bool,
        core: &mut CoreContext<'_, H>,
    ) {
        let waiting = PendingAnswer {
            followed,
            answers_head: request.request.method == Method::Head,
            keep_alive: request.keep_alive,
            http_1_0: request.http_1_0,
            ..self.take_request(core.now.mono_ms())
        };
        let context = self.context(self.requests, core);
        core.buffers.body.clear();
        let reply = core.handler.handle(&request.request, &context, &mut core.buffers.body);
        core.cost += REQUEST_COST_BYTES + core.handler.take_cost();
        match &reply {
            Reply::Now(response) => self.encode(response, None, &waiting, core),
            Reply::Later => self.stage = Stage::Waiting(waiting),
        }
    }

    /// Counts a request that is about to be answered.
    fn take_request(&mut self, now_ms: u64) -> PendingAnswer {
        if self.requests > 0 {
            self.pause_ms = self.pause_ms.max(now_ms.saturating_sub(self.active_ms));
        }
        self.requests += 1;
        self.stage = Stage::Idle;
        self.active_ms = now_ms;
        PendingAnswer {
            number: self.requests,
            followed: false,
            answers_head: false,
            keep_alive: false,
            http_1_0: false,
            since_ns: self.readable_ns,
        }
    }

    fn context<'c, H>(&'c self, number: u64, core: &CoreContext<'c, H>) -> Context<'c> {
        Context {
            now: core.now,
            peer_is_loopback: self.peer_is_loopback,
            peer: &self.stream,
            identity: self.identity(),
            over_limit: self.over_limit(),
            draining: core.draining,
            request: RequestId { connection: self.id, number },
            answer_sink: core.answer_sink,
            extra_headers: "",
        }
    }

    /// Appends an answer to the out-buffer, and decides whether it is the last one. Its body is the
    /// one from another thread, or else that in the core's buffer.
    pub(super) fn encode<H: Handler>(
        &mut self,
        response: &Response,
        posted: Option<&[u8]>,
        of: &PendingAnswer,
        core: &mut CoreContext<'_, H>,
    ) {
        self.closing = self.closing.or_else(|| self.close_reason_of(of, core));
        let persistence = match (self.closing, of.http_1_0) {
            (Some(_), _) => Persistence::Close,
            (None, true) => Persistence::OpenSaid,
            (None, false) => Persistence::Open,
        };
        let BufferPool { out, body, .. } = &mut *core.buffers;
        let body = posted.unwrap_or(body);
        core.encoder.encode(out, response, body, of.answers_head, persistence, core.now);
        core.handler.request_answered(response, of.since_ns);
    }

    /// Returns the reason for which an answer is the connection's last; `None` if it is not.
    fn close_reason_of<H>(
        &self,
        of: &PendingAnswer,
        core: &CoreContext<'_, H>,
    ) -> Option<CloseReason> {
        // Requests that arrived with this one are answered as well, once: they were under way when
        // the end was decided. A client that goes on sending is told so with its next answer.
        let spared = of.followed && !self.close_on_next_answer;
        let reasons = [
            (!of.keep_alive, CloseReason::Client),
            (self.over_limit(), CloseReason::Limit),
            (core.draining && !spared, CloseReason::Drain),
            (self.will_be_too_old(core.now) && !spared, CloseReason::Age),
        ];
        reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// Answers a request that cannot be read, as the connection's last; a HEAD without a body.
    pub(super) fn answer_error<H: Handler>(
        &mut self,
        error: RequestError,
        answers_head: bool,
        core: &mut CoreContext<'_, H>,
    ) {
        self.stage = Stage::Idle;
        let BufferPool { out, body, .. } = &mut *core.buffers;
        body.clear();
        let response = core.handler.answer_error(error, body);
        core.encoder.encode(out, &response, body, answers_head, Persistence::Close, core.now);
        // A time-out or the connection limit ends it now; every other error came with the input.
        let asked = !matches!(error, RequestError::Timeout | RequestError::ConnectionLimit);
        let since_ns = if asked { self.readable_ns } else { core.now.mono_ns };
        core.handler.request_answered(&response, since_ns);
        self.closing = Some(match error {
            RequestError::Timeout => CloseReason::RequestTimeout,
            RequestError::ConnectionLimit | RequestError::MemoryLimit => CloseReason::Limit,
            _ => CloseReason::Error,
        });
    }
}

/// Returns true if a request may take so long that it waits for the turn's share: its body is more
/// than a few metrics, or coded, and so may become large.
fn may_be_costly(request: &Request<'_>) -> bool {
    let is_coded = || request.headers.first(HeaderName::ContentEncoding).is_some();
    request.body.len() > CHEAP_BYTES_MAX || (!request.body.is_empty() && is_coded())
}

/// Makes a request line of `https` one of `http`, which has the same path, and returns the number
/// of bytes by which it begins later. It came over TLS, so nothing is misdirected (RFC 9110,
/// section 7.4); the parser and its cache of heads need not know of that.
#[cold]
fn without_https(request: &mut [u8]) -> usize {
    let scheme = request.windows(8).position(|window| window.eq_ignore_ascii_case(b"https://"));
    let Some(line) = scheme.and_then(|at| request.get_mut(..at + 5)) else {
        return request.len();
    };
    line.copy_within(..line.len() - 1, 1);
    1
}

/// Returns the number of bytes of the empty lines at the start, which a server may skip before a
/// request line (RFC 9112, section 2.2): some clients end a body with one. They do not begin a
/// request.
fn empty_lines(bytes: &[u8]) -> usize {
    2 * bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count()
}
