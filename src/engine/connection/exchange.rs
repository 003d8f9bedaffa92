//! Bytes into answers: the requests of a connection, one after the other.

use std::net::SocketAddr;
use std::ops::Range;

use mio::net::TcpStream;

use super::{Connection, Stage, Waiting};
use crate::engine::buffers::Buffers;
use crate::engine::lent::Lent;
use crate::http::handler::{Context, Handler, Peer, Reply, RequestId};
use crate::http::heads::Heads;
use crate::http::intake::{Advance, Decode, Whole};
use crate::http::refusal::Refusal;
use crate::http::request::{Method, Request};
use crate::http::response::{Persistence, Response, encode_continue};
use crate::limits::{OUT_BYTES_MAX, PIPELINED_REQUESTS_PER_TURN};
use crate::telemetry::counters::CloseReason;

impl Connection {
    /// Answers the requests in `input` and the first `received` bytes of the receive buffer.
    pub(super) fn answer_received<H: Handler>(&mut self, received: usize, lent: &mut Lent<'_, H>) {
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
        } else if lent.buffers.are_exhausted() {
            lent.buffers.take_back(input);
            self.give_up(lent);
        } else {
            self.input = input;
        }
    }

    /// Ends a connection whose input the core has no room for. Its last request may still wait for
    /// a later answer, which then is the last; nothing may be said before that.
    fn give_up<H: Handler>(&mut self, lent: &mut Lent<'_, H>) {
        self.unparsed = false;
        if matches!(self.stage, Stage::Waiting(_)) {
            self.closing = Some(CloseReason::Limit);
        } else {
            self.refuse(Refusal::MemoryLimit, false, lent);
        }
    }

    /// Answers the requests in `bytes`, as many as this turn allows, and says which bytes are to
    /// be kept.
    pub(super) fn answer_all<H: Handler>(
        &mut self,
        bytes: &mut [u8],
        lent: &mut Lent<'_, H>,
    ) -> Range<usize> {
        let mut heads = std::mem::take(&mut lent.buffers.heads);
        let kept = self.answer_each(bytes, &mut heads, lent);
        lent.buffers.heads = heads;
        kept
    }

    fn answer_each<H: Handler>(
        &mut self,
        bytes: &mut [u8],
        heads: &mut Heads,
        lent: &mut Lent<'_, H>,
    ) -> Range<usize> {
        let body_bytes_max = lent.desk.patience.body_bytes_max;
        let mut at = 0;
        let mut requests = 0;
        while at < bytes.len() && self.closing.is_none() {
            let over_share =
                requests == PIPELINED_REQUESTS_PER_TURN || lent.buffers.out.len() >= OUT_BYTES_MAX;
            if over_share || matches!(self.stage, Stage::Waiting(_)) {
                self.unparsed = true;
                return at..bytes.len();
            }
            if !self.intake.has_begun() {
                at += empty_lines(bytes.get(at..).unwrap_or_default());
                if at == bytes.len() {
                    self.stage = Stage::Idle;
                    break;
                }
            }
            let rest = bytes.get_mut(at..).unwrap_or_default();
            match self.intake.advance(rest, heads, body_bytes_max) {
                Ok(Advance::Whole(whole)) => {
                    let behind = rest.get(whole.consumed..).unwrap_or_default();
                    let followed = empty_lines(behind) < behind.len();
                    at += whole.consumed;
                    requests += 1;
                    self.answer_one(&whole, followed, lent);
                }
                Ok(Advance::Partial { send_continue }) => {
                    self.wait_for_rest(send_continue, lent);
                    return at..bytes.len();
                }
                Ok(Advance::Undecoded) => match self.intake.decode(rest, body_bytes_max) {
                    Ok(Decode::Whole) => {}
                    Ok(Decode::Partial { keep, send_continue }) => {
                        self.wait_for_rest(send_continue, lent);
                        return at..at + keep;
                    }
                    Err(refusal) => self.refuse(refusal, asks_for_head(rest), lent),
                },
                Err(refusal) => self.refuse(refusal, asks_for_head(rest), lent),
            }
        }
        // Whatever follows the last answer is not parsed.
        bytes.len()..bytes.len()
    }

    pub(super) fn wait_for_rest<H>(&mut self, send_continue: bool, lent: &mut Lent<'_, H>) {
        if send_continue {
            encode_continue(&mut lent.buffers.out);
        }
        if self.stage == Stage::Idle {
            self.stage = Stage::Receiving { since_ms: lent.now.mono_ms() };
        }
    }

    /// Asks the handler; `followed` says that more bytes came with the request.
    fn answer_one<H: Handler>(
        &mut self,
        whole: &Whole<'_>,
        followed: bool,
        lent: &mut Lent<'_, H>,
    ) {
        let answers_head = whole.request.method == Method::Head;
        let now_ms = lent.now.mono_ms();
        if self.requests > 0 {
            self.pause_ms = self.pause_ms.max(now_ms.saturating_sub(self.active_ms));
        }
        self.requests += 1;
        let waiting = Waiting {
            followed,
            number: self.requests,
            answers_head,
            keep_alive: whole.keep_alive,
            http_1_0: whole.http_1_0,
            since_ns: self.readable_ns,
        };
        self.stage = Stage::Idle;
        self.active_ms = now_ms;
        match self.ask(&whole.request, lent) {
            Reply::Now(response) => self.encode(response, None, waiting, lent),
            Reply::Later => self.stage = Stage::Waiting(waiting),
        }
    }

    pub(super) fn ask<H: Handler>(&self, request: &Request<'_>, lent: &mut Lent<'_, H>) -> Reply {
        let context = Context {
            now: lent.now,
            peer_is_loopback: self.peer_is_loopback,
            peer: &self.stream,
            over_limit: self.over_limit(),
            draining: lent.draining,
            request: RequestId { connection: self.id, number: self.requests },
            mailbox: &lent.desk.mailbox,
            lines: "",
        };
        lent.buffers.body.clear();
        lent.handler.handle(request, &context, &mut lent.buffers.body)
    }

    /// Appends the answer to the out-buffer and decides whether it is the last. Its body is the
    /// posted one, or else the core's.
    pub(super) fn encode<H>(
        &mut self,
        response: Response,
        posted: Option<&[u8]>,
        of: Waiting,
        lent: &mut Lent<'_, H>,
    ) {
        self.closing = self.closing.or_else(|| self.reason_to_end(of, lent));
        let persistence = match (self.closing, of.http_1_0) {
            (Some(_), _) => Persistence::Close,
            (None, true) => Persistence::OpenSaid,
            (None, false) => Persistence::Open,
        };
        let Buffers { out, body, .. } = &mut *lent.buffers;
        let body = posted.unwrap_or(body);
        lent.encoder.encode(out, response, body, of.answers_head, persistence, lent.now);
        lent.meter.answered(response, of.since_ns);
    }

    /// Why an answer is the connection's last, if it is.
    fn reason_to_end<H>(&self, of: Waiting, lent: &Lent<'_, H>) -> Option<CloseReason> {
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
        refusal: Refusal,
        answers_head: bool,
        lent: &mut Lent<'_, H>,
    ) {
        self.stage = Stage::Idle;
        let Buffers { out, body, .. } = &mut *lent.buffers;
        body.clear();
        let response = lent.handler.refuse(refusal, body);
        lent.encoder.encode(out, response, body, answers_head, Persistence::Close, lent.now);
        // Patience ended now; all else was asked for by what was received.
        let asked = !matches!(refusal, Refusal::Timeout | Refusal::ConnectionLimit);
        let since_ns = if asked { self.readable_ns } else { lent.now.mono_ns };
        lent.meter.answered(response, since_ns);
        self.closing = Some(match refusal {
            Refusal::Timeout => CloseReason::RequestTimeout,
            Refusal::ConnectionLimit | Refusal::MemoryLimit => CloseReason::Limit,
            _ => CloseReason::Error,
        });
    }
}

impl Peer for TcpStream {
    fn address(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
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
