//! Bytes into answers: the requests of a connection, one after the other.

use std::net::SocketAddr;
use std::ops::Range;

use mio::net::TcpStream;

use super::{Connection, Stage, Waiting};
use crate::buffer_pool::BufferPool;
use crate::context::CoreContext;
use crate::http::handler::{Context, Handler, Peer, Reply, RequestId};
use crate::http::head_cache::HeadCache;
use crate::http::headers::Name;
use crate::http::request::{Method, Request};
use crate::http::request_error::RequestError;
use crate::http::request_reader::{Advance, Decode, Whole};
use crate::http::response::{Persistence, Response, encode_continue};
use crate::limits::{
    CHEAP_BYTES_MAX, OUT_BYTES_MAX, PIPELINED_REQUESTS_PER_TURN, REQUEST_COST_BYTES,
    REQUESTS_PER_SPENT_TURN, SHARE_BYTES_MAX,
};
use crate::observer::CloseReason;

impl Connection {
    /// Answers the requests in `input` and the first `received` bytes of the receive buffer.
    pub(super) fn answer_received<H: Handler>(
        &mut self,
        received: usize,
        lent: &mut CoreContext<'_, H>,
    ) {
        self.unparsed = false;
        let mut input = std::mem::take(&mut self.input);
        // The receive buffer is lent out whole while its bytes are parsed in place.
        let mut receive = std::mem::take(&mut lent.buffers.receive);
        let fresh = receive.get_mut(..received).unwrap_or_default();
        if input.is_empty() {
            let rest = self.answer_all(fresh, lent);
            let rest = fresh.get(rest).unwrap_or_default();
            if !rest.is_empty() {
                input = lent.buffers.lend(rest);
            }
        } else {
            lent.buffers.grow(&mut input, fresh);
            let rest = self.answer_all(&mut input, lent);
            input.truncate(rest.end);
            input.drain(..rest.start.min(rest.end));
        }
        lent.buffers.receive = receive;
        if input.is_empty() {
            lent.buffers.take_back(input);
        } else {
            self.input = input;
        }
    }

    /// Answers the requests in `bytes`, as many as this turn allows, and says which bytes are to
    /// be kept.
    pub(super) fn answer_all<H: Handler>(
        &mut self,
        bytes: &mut [u8],
        lent: &mut CoreContext<'_, H>,
    ) -> Range<usize> {
        let mut heads = std::mem::take(&mut lent.buffers.heads);
        let kept = self.answer_each(bytes, &mut heads, lent);
        lent.buffers.heads = heads;
        kept
    }

    fn answer_each<H: Handler>(
        &mut self,
        bytes: &mut [u8],
        heads: &mut HeadCache,
        lent: &mut CoreContext<'_, H>,
    ) -> Range<usize> {
        let body_bytes_max = lent.desk.patience.body_bytes_max;
        let mut at = 0;
        let requests_max =
            if lent.spent { REQUESTS_PER_SPENT_TURN } else { PIPELINED_REQUESTS_PER_TURN };
        let mut requests = 0;
        while at < bytes.len() && self.closing.is_none() {
            let over_share = requests == requests_max
                || lent.cost >= SHARE_BYTES_MAX
                || lent.buffers.out.len() >= OUT_BYTES_MAX;
            if over_share || matches!(self.stage, Stage::Waiting(_)) {
                self.unparsed = true;
                return at..bytes.len();
            }
            let rest = bytes.get_mut(at..).unwrap_or_default();
            if !self.intake.has_begun() {
                at += empty_lines(rest);
                if at == bytes.len() {
                    self.stage = Stage::Idle;
                    break;
                }
            } else if self.intake.skips() {
                at += self.skip(rest, lent);
                continue;
            }
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let before = lent.spent.then_some(self.intake);
            match self.intake.advance(rest, heads, body_bytes_max) {
                Ok(Advance::Whole(whole)) => {
                    if let Some(before) = before.filter(|_| may_be_costly(&whole.request)) {
                        self.intake = before;
                        // It is here in full, so patience with its sender is over.
                        self.stage = Stage::Idle;
                        (self.unparsed, self.waits_its_turn) = (true, true);
                        return at..bytes.len();
                    }
                    let behind = rest.get(whole.consumed..).unwrap_or_default();
                    let followed = empty_lines(behind) < behind.len();
                    at += whole.consumed;
                    requests += 1;
                    self.answer_one(&whole, followed, lent);
                }
                Ok(Advance::Partial) => return self.keep(at..bytes.len(), lent),
                Ok(Advance::Begun) => {
                    if !self.judge(rest, heads, lent) {
                        return self.keep(at..bytes.len(), lent);
                    }
                    at = bytes.len();
                }
                Ok(Advance::Undecoded) => match self.intake.decode(rest, body_bytes_max) {
                    Ok(Decode::Whole) => {}
                    Ok(Decode::Partial { keep, begun }) => {
                        if !(begun && self.judge(rest, heads, lent)) {
                            return self.keep(at..at + keep, lent);
                        }
                        at = bytes.len();
                    }
                    Err(refusal) => self.refuse_body(refusal, rest, heads, lent),
                },
                Err(refusal) => self.refuse(refusal, asks_for_head(rest), lent),
            }
        }
        // Whatever follows the last answer is not parsed.
        bytes.len()..bytes.len()
    }

    /// Answers a request whose body is wrong: for what is wrong with its head, if anything is, as
    /// where the body comes later than the head.
    fn refuse_body<H: Handler>(
        &mut self,
        refusal: RequestError,
        input: &[u8],
        heads: &mut HeadCache,
        lent: &mut CoreContext<'_, H>,
    ) {
        self.closing = Some(CloseReason::Error);
        if !self.judge(input, heads, lent) {
            self.refuse(refusal, asks_for_head(input), lent);
        }
    }

    /// Keeps these bytes of half a request until more come.
    fn keep<H>(&mut self, bytes: Range<usize>, lent: &CoreContext<'_, H>) -> Range<usize> {
        self.wait_for_rest(lent);
        bytes
    }

    fn wait_for_rest<H>(&mut self, lent: &CoreContext<'_, H>) {
        if self.stage == Stage::Idle {
            self.stage = Stage::Receiving { since_ms: lent.now.mono_ms() };
        }
    }

    /// Has the handler look at the head of a request whose body is on its way, and says whether
    /// that was enough for an answer. The body is thrown away then as it comes, within the same
    /// limits of length and time, and the connection carries on. But where the peer waits for the
    /// word to send it, nobody can know whether it still will: the answer is the last one (RFC
    /// 9110, section 10.1.1). If the request passes, that word is said.
    fn judge<H: Handler>(
        &mut self,
        input: &[u8],
        heads: &mut HeadCache,
        lent: &mut CoreContext<'_, H>,
    ) -> bool {
        self.wait_for_rest(lent);
        let Some(begun) = self.intake.begun(input, heads) else {
            return false;
        };
        let context = self.context(self.requests + 1, lent);
        lent.buffers.body.clear();
        let judged = lent.handler.judge(&begun.request, &context, &mut lent.buffers.body);
        let Some(response) = judged else {
            if begun.waits {
                encode_continue(&mut lent.buffers.out);
            }
            return false;
        };
        let stage = self.stage;
        let waiting = Waiting {
            followed: false,
            answers_head: begun.request.method == Method::Head,
            keep_alive: begun.keep_alive && !begun.waits,
            http_1_0: begun.http_1_0,
            ..self.take_request(lent.now.mono_ms())
        };
        self.encode(response, None, waiting, lent);
        if self.closing.is_none() {
            // The time that it may take goes on from its first byte.
            self.stage = stage;
            self.intake.begin_to_skip(input.len());
        }
        true
    }

    /// Throws away what has come of the body of an answered request, and says how much that was.
    fn skip<H>(&mut self, input: &mut [u8], lent: &CoreContext<'_, H>) -> usize {
        match self.intake.skip(input, lent.desk.patience.body_bytes_max) {
            Ok(skipped) => {
                if skipped.done {
                    self.stage = Stage::Idle;
                    self.active_ms = lent.now.mono_ms();
                }
                skipped.consumed
            }
            // It has had its answer, and nobody knows where the next request would begin.
            Err(_) => {
                self.stage = Stage::Idle;
                self.closing = Some(CloseReason::Error);
                input.len()
            }
        }
    }

    /// Asks the handler; `followed` says that more bytes came with the request.
    fn answer_one<H: Handler>(
        &mut self,
        whole: &Whole<'_>,
        followed: bool,
        lent: &mut CoreContext<'_, H>,
    ) {
        let waiting = Waiting {
            followed,
            answers_head: whole.request.method == Method::Head,
            keep_alive: whole.keep_alive,
            http_1_0: whole.http_1_0,
            ..self.take_request(lent.now.mono_ms())
        };
        let context = self.context(self.requests, lent);
        lent.buffers.body.clear();
        let reply = lent.handler.handle(&whole.request, &context, &mut lent.buffers.body);
        lent.cost += REQUEST_COST_BYTES + lent.handler.take_cost();
        match reply {
            Reply::Now(response) => self.encode(response, None, waiting, lent),
            Reply::Later => self.stage = Stage::Waiting(waiting),
        }
    }

    /// Counts a request that is about to be answered.
    fn take_request(&mut self, now_ms: u64) -> Waiting {
        if self.requests > 0 {
            self.pause_ms = self.pause_ms.max(now_ms.saturating_sub(self.active_ms));
        }
        self.requests += 1;
        self.stage = Stage::Idle;
        self.active_ms = now_ms;
        Waiting {
            number: self.requests,
            followed: false,
            answers_head: false,
            keep_alive: false,
            http_1_0: false,
            since_ns: self.readable_ns,
        }
    }

    const fn context<'c, H>(&'c self, number: u64, lent: &CoreContext<'c, H>) -> Context<'c> {
        Context {
            now: lent.now,
            peer_is_loopback: self.peer_is_loopback,
            peer: &self.stream,
            over_limit: self.over_limit(),
            draining: lent.draining,
            request: RequestId { connection: self.id, number },
            mailbox: &lent.desk.mailbox,
            lines: "",
        }
    }

    /// Appends the answer to the out-buffer and decides whether it is the last. Its body is the
    /// posted one, or else the core's.
    pub(super) fn encode<H: Handler>(
        &mut self,
        response: Response,
        posted: Option<&[u8]>,
        of: Waiting,
        lent: &mut CoreContext<'_, H>,
    ) {
        self.closing = self.closing.or_else(|| self.reason_to_end(of, lent));
        let persistence = match (self.closing, of.http_1_0) {
            (Some(_), _) => Persistence::Close,
            (None, true) => Persistence::OpenSaid,
            (None, false) => Persistence::Open,
        };
        let BufferPool { out, body, .. } = &mut *lent.buffers;
        let body = posted.unwrap_or(body);
        lent.encoder.encode(out, response, body, of.answers_head, persistence, lent.now);
        lent.handler.request_answered(response, of.since_ns);
    }

    /// Why an answer is the connection's last, if it is.
    fn reason_to_end<H>(&self, of: Waiting, lent: &CoreContext<'_, H>) -> Option<CloseReason> {
        // What came with this request is answered as well, once: it was under way when the end
        // was decided. Whoever goes on sending is told with its next answer.
        let spared = of.followed && !self.last_call;
        let reasons = [
            (!of.keep_alive, CloseReason::Client),
            (self.over_limit(), CloseReason::Limit),
            (lent.draining && !spared, CloseReason::Drain),
            (self.is_leaving(lent.now) && !spared, CloseReason::Age),
        ];
        reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// Answers what could not be taken, as the connection's last; a HEAD without a body.
    pub(super) fn refuse<H: Handler>(
        &mut self,
        refusal: RequestError,
        answers_head: bool,
        lent: &mut CoreContext<'_, H>,
    ) {
        self.stage = Stage::Idle;
        let BufferPool { out, body, .. } = &mut *lent.buffers;
        body.clear();
        let response = lent.handler.refuse(refusal, body);
        lent.encoder.encode(out, response, body, answers_head, Persistence::Close, lent.now);
        // ConnectionLimits ended now; all else was asked for by what was received.
        let asked = !matches!(refusal, RequestError::Timeout | RequestError::ConnectionLimit);
        let since_ns = if asked { self.readable_ns } else { lent.now.mono_ns };
        lent.handler.request_answered(response, since_ns);
        self.closing = Some(match refusal {
            RequestError::Timeout => CloseReason::RequestTimeout,
            RequestError::ConnectionLimit | RequestError::MemoryLimit => CloseReason::Limit,
            _ => CloseReason::Error,
        });
    }
}

impl Peer for TcpStream {
    fn address(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
}

/// Whether answering may take long enough for others to wait their turn: it has more than a metric
/// or a few for a body, or one that may become large.
fn may_be_costly(request: &Request<'_>) -> bool {
    let is_coded = || request.headers.first(Name::ContentEncoding).is_some();
    request.body.len() > CHEAP_BYTES_MAX || (!request.body.is_empty() && is_coded())
}

/// Bytes of the empty lines before a request line, which RFC 9112, section 2.2, lets a server skip:
/// some clients end a body with one. They do not begin a request.
fn empty_lines(bytes: &[u8]) -> usize {
    2 * bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count()
}

/// Whether the request at the start of `bytes` is a HEAD, whose refusal has no body either
/// (RFC 9110, section 9.3.2).
pub(super) fn asks_for_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HEAD ")
}
