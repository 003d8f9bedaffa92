//! One request of `may_minihttp` into one answer.
//!
//! The head is written out again and judged by our own parser, with all its limits and refusals;
//! only then is the body read, as long as the head says and no longer. What cannot be judged is
//! what `may_minihttp` has swallowed by then: line ends, white space around values, the order in
//! which bytes came.

use std::io::{self, Read};
use std::sync::Arc;

use may_minihttp::{HttpService, Request as Received, Response as Sent};

use super::answer_slot::AnswerSlot;
use super::connections::Peer;
use super::{Desk, Shared};
use crate::clock::Now;
use crate::connection_table::Admission;
use crate::event_loop::ServerState;
use crate::http::handler::{AnswerSink, ConnectionId, Context, Handler, Reply, RequestId};
use crate::http::head_cache::HeadCache;
use crate::http::problem::problem;
use crate::http::request::Method;
use crate::http::request_error::RequestError;
use crate::http::request_reader::{Advance, RequestReader};
use crate::http::response::{Answer, Persistence, Response};
use crate::http::status::Status;
use crate::limits::AGE_GRACE_MS;
use crate::observer::CloseReason;
use crate::shutdown::Phase;
use crate::sync::Mutex;

/// CachedHead of a connection's memory between requests.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// One connection, as `may_minihttp` knows it: what it calls with each request.
pub(super) struct Exchange<H: Handler> {
    office: Arc<Shared<H>>,
    peer: Arc<Peer>,
    slot: usize,
    /// Head and body of the request.
    bytes: Vec<u8>,
    heads: HeadCache,
    letterbox: Arc<AnswerSlot>,
    mailbox: Arc<dyn AnswerSink>,
    requests: u64,
    /// Why nothing more is taken. What stands behind it was received already, so `may_minihttp`
    /// asks for answers to that as well.
    ended: Option<RequestError>,
}

/// What became of reading a request.
enum Taken {
    /// It stands in `bytes`, as far as it has come.
    Whole,
    Refused(RequestError),
    /// Its head was enough for an answer.
    Judged(Response, Vec<u8>, Asked),
    /// Its body comes in a coding that `may_minihttp` cannot read.
    Chunked,
}

/// What is to be sent, and what becomes of the connection.
struct Outcome {
    response: Response,
    /// The body, unless the desk has it.
    posted: Option<Vec<u8>>,
    of: Asked,
}

/// What is to be remembered of a request until it is answered.
#[derive(Clone, Copy, Default)]
struct Asked {
    answers_head: bool,
    http_1_0: bool,
    /// Why its answer is the connection's last, if it is.
    last: Option<CloseReason>,
}

impl Outcome {
    fn refused(response: Response) -> Self {
        let of = Asked { last: Some(CloseReason::Error), ..Asked::default() };
        Self { response, posted: None, of }
    }
}

impl Asked {
    const fn persistence(self) -> Persistence {
        match (self.last, self.http_1_0) {
            (Some(_), _) => Persistence::Close,
            (None, true) => Persistence::OpenSaid,
            (None, false) => Persistence::Open,
        }
    }
}

impl<H: Handler> Exchange<H> {
    /// A connection that `may_minihttp` has just accepted.
    pub(super) fn new(office: Arc<Shared<H>>, descriptor: usize) -> Self {
        let common = &office.common;
        let now_ms = office.now_ms();
        let core = descriptor % office.desks.len().max(1);
        let admission = common.population.admit();
        let age_ms = common.age_limit_ms(now_ms);
        let (slot, peer) = office.connections.enter(descriptor, core, admission, age_ms);
        if let Some(desk) = office.desks.get(core) {
            let mut desk = desk.lock();
            desk.handler.connection_opened();
            if admission != Admission::Regular {
                let now = desk.clock.now();
                desk.handler.connection_limit_reached(&*peer, common.population.limit(), now);
            }
        }
        match admission {
            Admission::Regular | Admission::Reserved => {}
            Admission::TurnedAway | Admission::Dropped => peer.end(CloseReason::Limit),
        }
        if common.shutdown.phase() == Phase::Closing {
            peer.end(CloseReason::Drain);
        }
        let letterbox = Arc::new(AnswerSlot::default());
        let mailbox = Arc::clone(&letterbox) as _;
        let (bytes, requests, ended) = (Vec::new(), 0, None);
        let heads = HeadCache::default();
        let exchange =
            Self { office, peer, slot, bytes, heads, letterbox, mailbox, requests, ended };
        exchange.expect_next(now_ms);
        exchange
    }

    /// ConnectionLimits with the next request begins.
    fn expect_next(&self, now_ms: u64) {
        let idle_ms = now_ms.saturating_add(self.office.common.patience.idle_ms);
        let old_ms = self.peer.age_ms.max(now_ms + AGE_GRACE_MS);
        if old_ms < idle_ms {
            self.peer.expect(old_ms, CloseReason::Age);
        } else {
            self.peer.expect(idle_ms, CloseReason::Idle);
        }
    }

    /// Reads the request: its head, and as much body as that announces.
    fn take(&mut self, received: Received<'_, '_, '_>) -> Taken {
        if let Some(refusal) = self.ended {
            return Taken::Refused(refusal);
        }
        self.bytes.clear();
        write_head(&received, &mut self.bytes);
        let parsed = self.parse();
        // `may_minihttp` panics at a length that is no number, or too great a one.
        let Taken::Refused(refusal @ (RequestError::Timeout | RequestError::BodyTooLarge)) = parsed
        else {
            return parsed;
        };
        if refusal == RequestError::BodyTooLarge && !has_countable_length(&received) {
            return parsed;
        }
        let judged = if refusal == RequestError::Timeout { self.judge() } else { None };
        if let Some((response, body, asked)) = &judged
            && asked.last.is_some()
        {
            // Its body may never come, and whatever comes is not looked at.
            self.ended = Some(RequestError::RequestLine);
            return Taken::Judged(*response, body.clone(), *asked);
        }
        let late_ms = self.office.now_ms().saturating_add(self.office.common.patience.request_ms);
        self.peer.expect(late_ms, CloseReason::RequestTimeout);
        let mut body = received.body();
        // Dropping it reads it: what is not read would pass for the next request.
        if let Some((response, body, asked)) = judged {
            return Taken::Judged(response, body, asked);
        }
        if refusal == RequestError::BodyTooLarge {
            return parsed;
        }
        // A broken connection ends the body too early, like a slow one that was ended: asking finds
        // that out.
        let _ = body.read_to_end(&mut self.bytes);
        Taken::Whole
    }

    /// What our own parser says to what is there of the request; it is late while more is missing.
    fn parse(&mut self) -> Taken {
        let body_bytes_max = self.office.common.patience.body_bytes_max;
        match RequestReader::default().advance(&self.bytes, &mut self.heads, body_bytes_max) {
            Ok(Advance::Whole(_)) => Taken::Whole,
            Ok(Advance::Undecoded) => Taken::Chunked,
            Ok(Advance::Partial | Advance::Begun) => Taken::Refused(RequestError::Timeout),
            Err(refusal) => Taken::Refused(refusal),
        }
    }

    /// What the handler says to the head in `bytes`, if that is enough for an answer.
    fn judge(&mut self) -> Option<(Response, Vec<u8>, Asked)> {
        let office = Arc::clone(&self.office);
        let mut intake = RequestReader::default();
        let body_bytes_max = office.common.patience.body_bytes_max;
        let mut heads = std::mem::take(&mut self.heads);
        let Ok(Advance::Begun) = intake.advance(&self.bytes, &mut heads, body_bytes_max) else {
            return None;
        };
        let begun = intake.begun(&self.bytes, &mut heads)?;
        let mut desk = office.desks.get(self.peer.core)?.lock();
        let now = desk.clock.now();
        let context = self.context(&office.common, now, self.requests + 1);
        let mut body = Vec::new();
        let response = desk.handler.judge(&begun.request, &context, &mut body)?;
        let keep_alive = begun.keep_alive && !begun.waits;
        let answers_head = begun.request.method == Method::Head;
        let http_1_0 = begun.http_1_0;
        let last = self.reason_to_end(keep_alive, context.draining, now);
        self.requests += 1;
        self.heads = heads;
        Some((response, body, Asked { answers_head, http_1_0, last }))
    }

    fn context<'c>(&'c self, common: &ServerState, now: Now, number: u64) -> Context<'c> {
        let connection = ConnectionId { slot: self.slot, number: 0 };
        Context {
            now,
            peer_is_loopback: self.peer.is_loopback,
            peer: &*self.peer,
            over_limit: self.peer.is_over_limit(),
            draining: common.shutdown.phase() >= Phase::Draining,
            request: RequestId { connection, number },
            mailbox: &self.mailbox,
            lines: "",
        }
    }

    /// Why an answer is the connection's last, if it is.
    fn reason_to_end(&self, keep_alive: bool, draining: bool, now: Now) -> Option<CloseReason> {
        let reasons = [
            (!keep_alive, CloseReason::Client),
            (self.peer.is_over_limit(), CloseReason::Limit),
            (draining, CloseReason::Drain),
            (now.mono_ms() >= self.peer.age_ms, CloseReason::Age),
        ];
        reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// Asks the handler about the request in `bytes`.
    fn ask(&mut self, desk: &mut Desk<H>, now: Now) -> Result<(Reply, Asked), RequestError> {
        let office = Arc::clone(&self.office);
        let body_bytes_max = office.common.patience.body_bytes_max;
        let mut heads = std::mem::take(&mut self.heads);
        let advance = RequestReader::default().advance(&self.bytes, &mut heads, body_bytes_max)?;
        let Advance::Whole(whole) = advance else {
            return Err(RequestError::Timeout);
        };
        let context = self.context(&office.common, now, self.requests + 1);
        let reply = desk.handler.handle(&whole.request, &context, &mut desk.body);
        // Coroutines have no turns that could be shared.
        let _ = desk.handler.take_cost();
        let asked = Asked {
            answers_head: whole.request.method == Method::Head,
            http_1_0: whole.http_1_0,
            last: self.reason_to_end(whole.keep_alive, context.draining, now),
        };
        self.requests += 1;
        self.heads = heads;
        Ok((reply, asked))
    }

    fn refuse(&mut self, refusal: RequestError, desk: &mut Desk<H>) -> Outcome {
        self.ended = Some(refusal);
        Outcome::refused(desk.handler.refuse(refusal, &mut desk.body))
    }

    fn refuse_chunked(&mut self, desk: &mut Desk<H>) -> Outcome {
        self.ended = Some(RequestError::UnknownTransferCoding);
        let detail = "Transfer-Encoding: the engine may-minihttp takes Content-Length only";
        let status = Status::NotImplemented;
        Outcome::refused(problem(&mut desk.body, status, detail, None, 0))
    }

    fn answer(&mut self, taken: &Taken, desk: &Mutex<Desk<H>>, sent: &mut Sent<'_>) {
        let mut guard = desk.lock();
        let since = guard.clock.now();
        let mut began = since;
        guard.body.clear();
        let outcome = match *taken {
            Taken::Refused(refusal) => self.refuse(refusal, &mut guard),
            Taken::Judged(response, ref body, of) => {
                Outcome { response, posted: Some(body.clone()), of }
            }
            Taken::Chunked => self.refuse_chunked(&mut guard),
            Taken::Whole => match self.ask(&mut guard, since) {
                Err(refusal) => self.refuse(refusal, &mut guard),
                Ok((Reply::Now(response), of)) => Outcome { response, posted: None, of },
                Ok((Reply::Later, of)) => {
                    drop(guard);
                    let Answer { response, body } = self.letterbox.wait(self.requests);
                    guard = desk.lock();
                    began = guard.clock.now();
                    Outcome { response, posted: Some(body), of }
                }
            },
        };
        let Desk { handler, clock, body } = &mut *guard;
        // What was taken is seen by others before its answer is.
        handler.publish(began);
        let _ = handler.end_turn(began);
        let Outcome { response, posted, of } = outcome;
        sent.status_code(response.status.code().into(), response.status.reason());
        self.office.fields.each(response, of.persistence(), |line| _ = sent.header(line));
        if !of.answers_head {
            sent.body_mut().extend_from_slice(posted.as_deref().unwrap_or(body));
        }
        let ended = clock.now();
        handler.request_answered(response, since.mono_ns);
        handler.turn_ended(began.mono_ns, ended.mono_ns);
        drop(guard);
        match of.last {
            Some(reason) => {
                // Whoever asked for the end has sent nothing behind that.
                if reason == CloseReason::Client {
                    self.ended = Some(RequestError::RequestLine);
                }
                self.peer.end(reason);
            }
            None => self.expect_next(ended.mono_ms()),
        }
    }
}

impl<H: Handler> HttpService for Exchange<H> {
    fn call(&mut self, received: Received<'_, '_, '_>, sent: &mut Sent<'_>) -> io::Result<()> {
        self.peer.expect_nothing();
        let taken = self.take(received);
        let office = Arc::clone(&self.office);
        if let Some(desk) = office.desks.get(self.peer.core) {
            self.answer(&taken, desk, sent);
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }
}

impl<H: Handler> Drop for Exchange<H> {
    /// `may_minihttp` lets go of a connection.
    fn drop(&mut self) {
        self.office.connections.leave(self.slot);
        self.office.common.population.leave(self.peer.admission);
        if let Some(desk) = self.office.desks.get(self.peer.core) {
            desk.lock().handler.connection_closed(self.peer.reason());
        }
    }
}

/// Whether `may_minihttp` can read the length of a head that our parser has found right.
fn has_countable_length(received: &Received<'_, '_, '_>) -> bool {
    let is_length = |name: &str| name.eq_ignore_ascii_case("content-length");
    let length = received.headers().iter().find(|field| is_length(field.name));
    let digits = length.and_then(|field| std::str::from_utf8(field.value).ok());
    digits.is_some_and(|digits| digits.parse::<usize>().is_ok())
}

/// Writes a head as it was received, but for what `may_minihttp` does not tell of it.
fn write_head(received: &Received<'_, '_, '_>, out: &mut Vec<u8>) {
    let version = if received.version() == 0 { " HTTP/1.0" } else { " HTTP/1.1" };
    for part in [received.method(), " ", received.path(), version, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for field in received.headers() {
        for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}
