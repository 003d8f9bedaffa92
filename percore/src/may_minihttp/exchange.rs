//! The exchanges of one connection of `may_minihttp`: a request in, an answer out.
//!
//! The head is written out again for our own parser, with all its limits and errors; only then is
//! the body read, as long as the head says and no longer. The parser cannot see what `may_minihttp`
//! has dropped by then: line ends, white space around values, and the order in which bytes came.

use std::io::{self, Read};
use std::sync::Arc;

use may_minihttp::{HttpService, Request as Received, Response as Sent};

use super::answer_slot::AnswerSlot;
use super::connections::Peer;
use super::shared::{Shared, Worker};
use crate::admission::Admission;
use crate::clock::Now;
use crate::http::handler::{AnswerSink, ConnectionId, Context, Handler, Reply, RequestId};
use crate::http::head_cache::HeadCache;
use crate::http::problem::problem;
use crate::http::request::Method;
use crate::http::request_error::RequestError;
use crate::http::request_reader::{ReadProgress, RequestReader};
use crate::http::response::{Answer, Persistence, Response};
use crate::http::status::Status;
use crate::limits::AGE_GRACE_MS;
use crate::observer::CloseReason;
use crate::server_state::ServerState;
use crate::shutdown::Phase;
use crate::sync::Mutex;

/// The memory of a connection that is kept between requests.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// One connection, which `may_minihttp` calls with each of its requests.
pub(super) struct Exchange<H: Handler> {
    shared: Arc<Shared<H>>,
    peer: Arc<Peer>,
    slot: usize,
    /// Head and body of the request.
    bytes: Vec<u8>,
    head_cache: HeadCache,
    answer_slot: Arc<AnswerSlot>,
    answer_sink: Arc<dyn AnswerSink>,
    requests: u64,
    /// The reason for which nothing more is read. Later requests may have been received already, so
    /// `may_minihttp` asks for answers to them as well.
    closed_by: Option<RequestError>,
}

/// The outcome of reading a request.
enum ReadOutcome {
    /// The request is in `bytes`, as far as it has come.
    Complete,
    Failed(RequestError),
    /// The head was enough for an answer.
    Answered(Response, Vec<u8>, PendingAnswer),
    /// The body comes in a coding that `may_minihttp` cannot read.
    Chunked,
}

/// An answer, and the facts about its request.
struct Outcome {
    response: Response,
    /// The body; `None` if it is in the worker's buffer.
    posted: Option<Vec<u8>>,
    of: PendingAnswer,
}

/// The facts about a request that its answer needs.
#[derive(Clone, Copy, Default)]
struct PendingAnswer {
    answers_head: bool,
    http_1_0: bool,
    /// The reason for which the answer is the connection's last, if it is.
    last: Option<CloseReason>,
}

impl Outcome {
    fn refused(response: Response) -> Self {
        let of = PendingAnswer { last: Some(CloseReason::Error), ..PendingAnswer::default() };
        Self { response, posted: None, of }
    }
}

impl PendingAnswer {
    const fn persistence(self) -> Persistence {
        match (self.last, self.http_1_0) {
            (Some(_), _) => Persistence::Close,
            (None, true) => Persistence::OpenSaid,
            (None, false) => Persistence::Open,
        }
    }
}

impl<H: Handler> Exchange<H> {
    /// Returns the exchange of a connection that `may_minihttp` has just accepted.
    pub(super) fn new(shared: Arc<Shared<H>>, descriptor: usize) -> Self {
        let server = &shared.server;
        let now_ms = shared.now_ms();
        let core = descriptor % shared.workers.len().max(1);
        let admission = server.admission_control.admit();
        let age_ms = server.age_limit_ms(now_ms);
        let (slot, peer) = shared.connections.enter(descriptor, core, admission, age_ms);
        if let Some(worker) = shared.workers.get(core) {
            let mut worker = worker.lock();
            worker.handler.connection_opened();
            if admission != Admission::Regular {
                let now = worker.clock.now();
                worker.handler.connection_limit_reached(
                    &*peer,
                    server.admission_control.limit(),
                    now,
                );
            }
        }
        match admission {
            Admission::Regular | Admission::Reserved => {}
            Admission::Rejected | Admission::Dropped => peer.end(CloseReason::Limit),
        }
        if server.shutdown.phase() == Phase::Closing {
            peer.end(CloseReason::Drain);
        }
        let answer_slot = Arc::new(AnswerSlot::default());
        let answer_sink = Arc::clone(&answer_slot) as _;
        let (bytes, requests, closed_by) = (Vec::new(), 0, None);
        let head_cache = HeadCache::default();
        let exchange = Self {
            shared,
            peer,
            slot,
            bytes,
            head_cache,
            answer_slot,
            answer_sink,
            requests,
            closed_by,
        };
        exchange.start_idle_deadline(now_ms);
        exchange
    }

    /// Sets the deadline of the next request.
    fn start_idle_deadline(&self, now_ms: u64) {
        let idle_ms = now_ms.saturating_add(self.shared.server.limits.idle_ms);
        let old_ms = self.peer.age_ms.max(now_ms + AGE_GRACE_MS);
        if old_ms < idle_ms {
            self.peer.set_deadline(old_ms, CloseReason::Age);
        } else {
            self.peer.set_deadline(idle_ms, CloseReason::Idle);
        }
    }

    /// Reads the request: its head, and as much of a body as that announces.
    fn read_request(&mut self, received: Received<'_, '_, '_>) -> ReadOutcome {
        if let Some(error) = self.closed_by {
            return ReadOutcome::Failed(error);
        }
        self.bytes.clear();
        write_head(&received, &mut self.bytes);
        let parsed = self.parse();
        // `may_minihttp` panics at a length that is no number, or too great a one.
        let ReadOutcome::Failed(error @ (RequestError::Timeout | RequestError::BodyTooLarge)) =
            parsed
        else {
            return parsed;
        };
        if error == RequestError::BodyTooLarge && !has_readable_length(&received) {
            return parsed;
        }
        let early_answer = if error == RequestError::Timeout { self.check_head() } else { None };
        if let Some((response, body, pending)) = &early_answer
            && pending.last.is_some()
        {
            // The body may never come, and nothing that comes is looked at.
            self.closed_by = Some(RequestError::RequestLine);
            return ReadOutcome::Answered(*response, body.clone(), *pending);
        }
        let late_ms = self.shared.now_ms().saturating_add(self.shared.server.limits.request_ms);
        self.peer.set_deadline(late_ms, CloseReason::RequestTimeout);
        let mut body = received.body();
        // Dropping it reads it: an unread body would pass for the next request.
        if let Some((response, body, pending)) = early_answer {
            return ReadOutcome::Answered(response, body, pending);
        }
        if error == RequestError::BodyTooLarge {
            return parsed;
        }
        // A broken connection ends the body too early, as does one that was ended for being slow:
        // the parser finds that out.
        let _ = body.read_to_end(&mut self.bytes);
        ReadOutcome::Complete
    }

    /// Parses the part of the request that is in `bytes`; it is late while more is missing.
    fn parse(&mut self) -> ReadOutcome {
        let body_bytes_max = self.shared.server.limits.body_bytes_max;
        match RequestReader::default().read(&self.bytes, &mut self.head_cache, body_bytes_max) {
            Ok(ReadProgress::Complete(_)) => ReadOutcome::Complete,
            Ok(ReadProgress::NeedsDecoding) => ReadOutcome::Chunked,
            Ok(ReadProgress::Partial | ReadProgress::HeadComplete) => {
                ReadOutcome::Failed(RequestError::Timeout)
            }
            Err(error) => ReadOutcome::Failed(error),
        }
    }

    /// Has the handler check the head in `bytes`; returns an answer if that is enough for one.
    fn check_head(&mut self) -> Option<(Response, Vec<u8>, PendingAnswer)> {
        let shared = Arc::clone(&self.shared);
        let mut reader = RequestReader::default();
        let body_bytes_max = shared.server.limits.body_bytes_max;
        let mut head_cache = std::mem::take(&mut self.head_cache);
        let Ok(ReadProgress::HeadComplete) =
            reader.read(&self.bytes, &mut head_cache, body_bytes_max)
        else {
            return None;
        };
        let incomplete = reader.incomplete_request(&self.bytes, &mut head_cache)?;
        let mut worker = shared.workers.get(self.peer.core)?.lock();
        let now = worker.clock.now();
        let context = self.context(&shared.server, now, self.requests + 1);
        let mut body = Vec::new();
        let response = worker.handler.check_head(&incomplete.request, &context, &mut body)?;
        let keep_alive = incomplete.keep_alive && !incomplete.expects_continue;
        let answers_head = incomplete.request.method == Method::Head;
        let http_1_0 = incomplete.http_1_0;
        let last = self.close_reason_of(keep_alive, context.draining, now);
        self.requests += 1;
        self.head_cache = head_cache;
        Some((response, body, PendingAnswer { answers_head, http_1_0, last }))
    }

    fn context<'c>(&'c self, server: &ServerState, now: Now, number: u64) -> Context<'c> {
        let connection = ConnectionId { slot: self.slot, number: 0 };
        Context {
            now,
            peer_is_loopback: self.peer.is_loopback,
            peer: &*self.peer,
            identity: None,
            over_limit: self.peer.is_over_limit(),
            draining: server.shutdown.phase() >= Phase::Draining,
            request: RequestId { connection, number },
            answer_sink: &self.answer_sink,
            extra_headers: "",
        }
    }

    /// Returns the reason for which an answer is the connection's last; `None` if it is not.
    fn close_reason_of(&self, keep_alive: bool, draining: bool, now: Now) -> Option<CloseReason> {
        let reasons = [
            (!keep_alive, CloseReason::Client),
            (self.peer.is_over_limit(), CloseReason::Limit),
            (draining, CloseReason::Drain),
            (now.mono_ms() >= self.peer.age_ms, CloseReason::Age),
        ];
        reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// Has the handler answer the request in `bytes`.
    fn handle(
        &mut self,
        worker: &mut Worker<H>,
        now: Now,
    ) -> Result<(Reply, PendingAnswer), RequestError> {
        let shared = Arc::clone(&self.shared);
        let body_bytes_max = shared.server.limits.body_bytes_max;
        let mut head_cache = std::mem::take(&mut self.head_cache);
        let advance =
            RequestReader::default().read(&self.bytes, &mut head_cache, body_bytes_max)?;
        let ReadProgress::Complete(request) = advance else {
            return Err(RequestError::Timeout);
        };
        let context = self.context(&shared.server, now, self.requests + 1);
        let reply = worker.handler.handle(&request.request, &context, &mut worker.body);
        // Coroutines have no turns that could be shared.
        let _ = worker.handler.take_cost();
        let pending = PendingAnswer {
            answers_head: request.request.method == Method::Head,
            http_1_0: request.http_1_0,
            last: self.close_reason_of(request.keep_alive, context.draining, now),
        };
        self.requests += 1;
        self.head_cache = head_cache;
        Ok((reply, pending))
    }

    fn answer_error(&mut self, error: RequestError, worker: &mut Worker<H>) -> Outcome {
        self.closed_by = Some(error);
        Outcome::refused(worker.handler.answer_error(error, &mut worker.body))
    }

    fn refuse_chunked(&mut self, worker: &mut Worker<H>) -> Outcome {
        self.closed_by = Some(RequestError::UnknownTransferCoding);
        let detail = "Transfer-Encoding: the engine may-minihttp takes Content-Length only";
        let status = Status::NotImplemented;
        Outcome::refused(problem(&mut worker.body, status, detail, None, 0))
    }

    fn answer(&mut self, taken: &ReadOutcome, worker: &Mutex<Worker<H>>, sent: &mut Sent<'_>) {
        let mut guard = worker.lock();
        let since = guard.clock.now();
        let mut began = since;
        guard.body.clear();
        let outcome = match *taken {
            ReadOutcome::Failed(error) => self.answer_error(error, &mut guard),
            ReadOutcome::Answered(response, ref body, of) => {
                Outcome { response, posted: Some(body.clone()), of }
            }
            ReadOutcome::Chunked => self.refuse_chunked(&mut guard),
            ReadOutcome::Complete => match self.handle(&mut guard, since) {
                Err(error) => self.answer_error(error, &mut guard),
                Ok((Reply::Now(response), of)) => Outcome { response, posted: None, of },
                Ok((Reply::Later, of)) => {
                    drop(guard);
                    let Answer { response, body } = self.answer_slot.wait(self.requests);
                    guard = worker.lock();
                    began = guard.clock.now();
                    Outcome { response, posted: Some(body), of }
                }
            },
        };
        let Worker { handler, clock, body } = &mut *guard;
        // Other workers see what the handler took before the client sees its answer.
        handler.publish(began);
        let _ = handler.end_turn(began);
        let Outcome { response, posted, of } = outcome;
        sent.status_code(response.status.code().into(), response.status.reason());
        self.shared.fields.each(response, of.persistence(), |line| _ = sent.header(line));
        if !of.answers_head {
            sent.body_mut().extend_from_slice(posted.as_deref().unwrap_or(body));
        }
        let ended = clock.now();
        handler.request_answered(&response, since.mono_ns);
        handler.turn_ended(began.mono_ns, ended.mono_ns);
        drop(guard);
        match of.last {
            Some(reason) => {
                // A client that asked for the end has sent nothing after that.
                if reason == CloseReason::Client {
                    self.closed_by = Some(RequestError::RequestLine);
                }
                self.peer.end(reason);
            }
            None => self.start_idle_deadline(ended.mono_ms()),
        }
    }
}

impl<H: Handler> HttpService for Exchange<H> {
    fn call(&mut self, received: Received<'_, '_, '_>, sent: &mut Sent<'_>) -> io::Result<()> {
        self.peer.clear_deadline();
        let outcome = self.read_request(received);
        let shared = Arc::clone(&self.shared);
        if let Some(worker) = shared.workers.get(self.peer.core) {
            self.answer(&outcome, worker, sent);
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }
}

impl<H: Handler> Drop for Exchange<H> {
    /// Removes the connection when `may_minihttp` drops it.
    fn drop(&mut self) {
        self.shared.connections.leave(self.slot);
        self.shared.server.admission_control.leave(self.peer.admission);
        if let Some(worker) = self.shared.workers.get(self.peer.core) {
            worker.lock().handler.connection_closed(self.peer.reason());
        }
    }
}

/// Returns true if `may_minihttp` can read the length of a head that our parser has accepted.
fn has_readable_length(received: &Received<'_, '_, '_>) -> bool {
    let is_length = |name: &str| name.eq_ignore_ascii_case("content-length");
    let length = received.headers().iter().find(|field| is_length(field.name));
    let digits = length.and_then(|field| std::str::from_utf8(field.value).ok());
    digits.is_some_and(|digits| digits.parse::<usize>().is_ok())
}

/// Writes a head as it was received, except for what `may_minihttp` does not pass on.
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
