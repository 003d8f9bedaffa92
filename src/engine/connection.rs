//! One connection: what it has sent, what it is owed, and when patience ends.
//!
//! A readable socket is received from once, its requests are answered into the core's out-buffer,
//! and that is sent once. Only what is left over, half a request or an unsent answer, is kept here
//! in a buffer lent by the core.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::sync::Arc;

use mio::net::TcpStream;

use super::buffers::Buffers;
use super::connections::Admission;
use super::meter::Meter;
use crate::clock::Now;
use crate::http::handler::{ConnectionId, Context, Handler, Mailbox, Reply};
use crate::http::head::HeaderSlots;
use crate::http::intake::{Advance, Decode, Intake, Whole};
use crate::http::refusal::Refusal;
use crate::http::request::{Method, Request};
use crate::http::response::{Answer, Encoder, Persistence, Response, encode_continue};
use crate::limits::{LINGER_MS, OUT_BYTES_MAX, PIPELINED_REQUESTS_PER_TURN};
use crate::telemetry::counters::CloseReason;

/// The patience of one server with its peers.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between requests.
    pub idle_ms: u64,
    /// For one request to arrive, and for an answer to move on.
    pub request_ms: u64,
    /// For one body.
    pub body_bytes_max: usize,
}

/// What a connection borrows from its core while it is served.
#[derive(Debug)]
pub struct Lent<'c, H> {
    /// Answers requests.
    pub handler: &'c mut H,
    /// Makes the context of a request.
    pub desk: &'c Desk,
    /// Buffers to receive into and answer from.
    pub buffers: &'c mut Buffers,
    /// Writes heads.
    pub encoder: &'c mut Encoder,
    /// Counts.
    pub meter: &'c mut Meter,
    /// The reading of this turn.
    pub now: Now,
    /// Whether each answer is its connection's last.
    pub draining: bool,
}

/// What is the same for every request of a core.
#[derive(Debug)]
pub struct Desk {
    /// Where later answers are posted.
    pub mailbox: Arc<dyn Mailbox>,
    /// Deadlines and sizes.
    pub patience: Patience,
}

/// What the core does with a connection after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for the kernel, a later answer or a deadline.
    Wait,
    /// Serve again in the next turn: there may be more to do at once.
    Again,
    /// Gone.
    Close(CloseReason),
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between requests.
    Idle,
    /// Part of a request is here, the first of it since this moment.
    Receiving { since_ms: u64 },
    /// A later answer is due.
    Waiting(Waiting),
    /// The last answer is in the kernel; what the peer still sends is thrown away until then.
    Lingering { until_ms: u64 },
}

/// A request that is answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    answers_head: bool,
    keep_alive: bool,
    http_1_0: bool,
    since_ns: u64,
}

/// One connection of a core.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    id: ConnectionId,
    peer_is_loopback: bool,
    admission: Admission,
    stage: Stage,
    intake: Intake,
    /// Received and not consumed; without memory while empty.
    input: Vec<u8>,
    /// Whether `input` may hold a whole request.
    unparsed: bool,
    /// Answered and not sent; without memory while empty.
    output: Vec<u8>,
    sent: usize,
    /// Whether the socket may hold more: the edge was seen and not yet drained.
    readable: bool,
    /// Whether the kernel has said that the peer sends no more.
    peer_closed: bool,
    /// Why the connection ends once its output is sent.
    closing: Option<CloseReason>,
    /// The last request taken, or bytes sent.
    active_ms: u64,
    /// When it is too old.
    pub age_ms: u64,
    /// The tick of its timer that counts.
    pub timer_tick: u64,
    /// Whether it stands in the core's queue for the next turn.
    pub queued: bool,
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

impl Connection {
    /// A connection that has not sent anything.
    #[must_use]
    pub fn new(stream: TcpStream, accepted: &Accepted) -> Self {
        Self {
            stream,
            id: accepted.id,
            peer_is_loopback: accepted.peer_is_loopback,
            admission: accepted.admission,
            stage: Stage::Idle,
            intake: Intake::default(),
            input: Vec::new(),
            unparsed: false,
            output: Vec::new(),
            sent: 0,
            readable: false,
            peer_closed: false,
            closing: None,
            active_ms: accepted.now_ms,
            age_ms: accepted.age_ms,
            timer_tick: u64::MAX,
            queued: false,
        }
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// The socket, to deregister it.
    pub const fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// How it was received.
    #[must_use]
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// Whether it is over the limit: it gets one answer and goes.
    fn over_limit(&self) -> bool {
        self.admission != Admission::Regular
    }

    /// Since when nothing is under way, if nothing is.
    #[must_use]
    pub fn idle_since_ms(&self) -> Option<u64> {
        let idle = self.stage == Stage::Idle && self.output.is_empty() && !self.unparsed;
        idle.then_some(self.active_ms)
    }

    /// Notes what the kernel said.
    pub const fn note(&mut self, readable: bool, peer_closed: bool) {
        self.readable |= readable;
        self.peer_closed |= peer_closed;
    }

    /// Sends what is owed, then receives once, answers and sends.
    pub fn serve<H: Handler>(&mut self, lent: &mut Lent<'_, H>) -> Next {
        if !self.output.is_empty() {
            if let Err(reason) = self.flush(lent) {
                return Next::Close(reason);
            }
            if !self.output.is_empty() {
                return Next::Wait;
            }
        }
        if matches!(self.stage, Stage::Lingering { .. }) {
            return self.discard(lent);
        }
        if self.closing.is_some() {
            return self.finish(lent);
        }
        if matches!(self.stage, Stage::Waiting(_)) {
            return Next::Wait;
        }
        let received = match self.receive(lent) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Next::Wait,
            Err(reason) => return Next::Close(reason),
        };
        self.answer_received(received, lent);
        self.settle(lent)
    }

    /// Receives once, unless whole requests wait already; `None` when there is nothing to do.
    fn receive<H>(&mut self, lent: &mut Lent<'_, H>) -> Result<Option<usize>, CloseReason> {
        if self.unparsed {
            return Ok(Some(0));
        }
        if !self.readable {
            return Ok(None);
        }
        match self.read(&mut lent.buffers.receive) {
            Ok(Some(0)) => Err(CloseReason::Client),
            Ok(received) => Ok(received),
            Err(_) => Err(CloseReason::Error),
        }
    }

    /// Reads once; `None` when the socket is empty, 0 at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(bytes) => {
                    // A short read has drained the socket (man 7 epoll, question 9), unless the
                    // end of the stream stands behind it.
                    self.readable = bytes == buffer.len() || self.peer_closed;
                    return Ok(Some(bytes));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes once; 0 when the socket is full.
    fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                outcome => return outcome,
            }
        }
    }

    /// Answers the requests in `input` and the first `received` bytes of the receive buffer.
    fn answer_received<H: Handler>(&mut self, received: usize, lent: &mut Lent<'_, H>) {
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
            input.extend_from_slice(fresh);
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
    fn answer_all<H: Handler>(&mut self, bytes: &mut [u8], lent: &mut Lent<'_, H>) -> Range<usize> {
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
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let mut slots = HeaderSlots::new();
            match self.intake.advance(rest, &mut slots, body_bytes_max) {
                Ok(Advance::Whole(whole)) => {
                    at += whole.consumed;
                    requests += 1;
                    self.answer_one(&whole, lent);
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
                    Err(refusal) => self.refuse(refusal, lent),
                },
                Err(refusal) => self.refuse(refusal, lent),
            }
        }
        // Whatever follows the last answer is not parsed.
        bytes.len()..bytes.len()
    }

    fn wait_for_rest<H>(&mut self, send_continue: bool, lent: &mut Lent<'_, H>) {
        if send_continue {
            encode_continue(&mut lent.buffers.out);
        }
        if self.stage == Stage::Idle {
            self.stage = Stage::Receiving { since_ms: lent.now.mono_ms() };
        }
    }

    fn answer_one<H: Handler>(&mut self, whole: &Whole<'_>, lent: &mut Lent<'_, H>) {
        let answers_head = whole.request.method == Method::Head;
        let waiting = Waiting {
            answers_head,
            keep_alive: whole.keep_alive,
            http_1_0: whole.http_1_0,
            since_ns: lent.now.mono_ns,
        };
        self.stage = Stage::Idle;
        self.active_ms = lent.now.mono_ms();
        match self.ask(&whole.request, lent) {
            Reply::Now(response) => self.encode(response, None, waiting, lent),
            Reply::Later => self.stage = Stage::Waiting(waiting),
        }
    }

    fn ask<H: Handler>(&self, request: &Request<'_>, lent: &mut Lent<'_, H>) -> Reply {
        let context = Context {
            now: lent.now,
            peer_is_loopback: self.peer_is_loopback,
            over_limit: self.over_limit(),
            draining: lent.draining,
            connection: self.id,
            mailbox: &lent.desk.mailbox,
        };
        lent.buffers.body.clear();
        lent.handler.handle(request, &context, &mut lent.buffers.body)
    }

    /// Appends the answer to the out-buffer and decides whether it is the last. Its body is the
    /// posted one, or else the core's.
    fn encode<H>(
        &mut self,
        response: Response,
        posted: Option<&[u8]>,
        of: Waiting,
        lent: &mut Lent<'_, H>,
    ) {
        let too_old = lent.now.mono_ms() >= self.age_ms;
        let persistence = if !of.keep_alive {
            self.closing = Some(CloseReason::Client);
            Persistence::Close
        } else if lent.draining {
            self.closing = Some(CloseReason::Drain);
            Persistence::Close
        } else if self.over_limit() {
            self.closing = Some(CloseReason::Limit);
            Persistence::Close
        } else if too_old {
            self.closing = Some(CloseReason::Age);
            Persistence::Close
        } else if of.http_1_0 {
            Persistence::OpenSaid
        } else {
            Persistence::Open
        };
        let Buffers { out, body, .. } = &mut *lent.buffers;
        let body = posted.unwrap_or(body);
        lent.encoder.encode(out, response, body, of.answers_head, persistence, lent.now);
        lent.meter.answered(response, of.since_ns);
    }

    /// Answers what could not be taken, as the connection's last.
    fn refuse<H: Handler>(&mut self, refusal: Refusal, lent: &mut Lent<'_, H>) {
        self.stage = Stage::Idle;
        let Buffers { out, body, .. } = &mut *lent.buffers;
        body.clear();
        let response = lent.handler.refuse(refusal, body);
        lent.encoder.encode(out, response, body, false, Persistence::Close, lent.now);
        lent.meter.answered(response, lent.now.mono_ns);
        self.closing = Some(match refusal {
            Refusal::Timeout => CloseReason::RequestTimeout,
            Refusal::ConnectionLimit => CloseReason::Limit,
            _ => CloseReason::Error,
        });
    }

    /// Takes the answer to the request that waits for it.
    pub fn deliver<H: Handler>(&mut self, answer: &Answer, lent: &mut Lent<'_, H>) -> Next {
        let Stage::Waiting(waiting) = self.stage else {
            return Next::Wait;
        };
        self.stage = Stage::Idle;
        self.active_ms = lent.now.mono_ms();
        self.encode(answer.response, Some(&answer.body), waiting, lent);
        self.settle(lent)
    }

    /// Answers a newcomer that no slot is left for.
    pub fn turn_away<H: Handler>(&mut self, lent: &mut Lent<'_, H>) -> Next {
        self.refuse(Refusal::ConnectionLimit, lent);
        self.settle(lent)
    }

    /// Publishes what was taken and sends what was answered.
    fn settle<H: Handler>(&mut self, lent: &mut Lent<'_, H>) -> Next {
        if !lent.buffers.out.is_empty() {
            lent.handler.publish(lent.now);
            if let Err(reason) = self.send(lent) {
                return Next::Close(reason);
            }
        }
        if !self.output.is_empty() {
            return Next::Wait;
        }
        if self.closing.is_some() {
            return self.finish(lent);
        }
        let waits = matches!(self.stage, Stage::Waiting(_));
        if !waits && (self.unparsed || self.readable) { Next::Again } else { Next::Wait }
    }

    /// Sends the out-buffer once and keeps what the kernel does not take.
    fn send<H>(&mut self, lent: &mut Lent<'_, H>) -> Result<(), CloseReason> {
        let mut out = std::mem::take(&mut lent.buffers.out);
        let outcome = Self::write(&mut self.stream, &out);
        let rest = outcome.as_ref().ok().and_then(|sent| out.get(*sent..)).unwrap_or_default();
        if !rest.is_empty() {
            self.output = lent.buffers.lend(rest);
            self.sent = 0;
        }
        out.clear();
        lent.buffers.out = out;
        outcome.map(|_| ()).map_err(|_| CloseReason::Error)
    }

    /// Sends kept output, as much as the kernel takes.
    fn flush<H>(&mut self, lent: &mut Lent<'_, H>) -> Result<(), CloseReason> {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = Self::write(&mut self.stream, rest).map_err(|_| CloseReason::Error)?;
            if sent == 0 {
                return Ok(());
            }
            self.sent += sent;
            self.active_ms = lent.now.mono_ms();
        }
        lent.buffers.take_back(std::mem::take(&mut self.output));
        self.sent = 0;
        Ok(())
    }

    /// After the last answer: says that nothing more is sent, and lets the peer read it. Closing
    /// with unread bytes would reset the connection, and a reset eats the answer (RFC 9112, 9.6).
    fn finish<H>(&mut self, lent: &mut Lent<'_, H>) -> Next {
        lent.buffers.take_back(std::mem::take(&mut self.input));
        self.unparsed = false;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Next::Close(self.reason());
        }
        self.stage = Stage::Lingering { until_ms: lent.now.mono_ms() + LINGER_MS };
        self.discard(lent)
    }

    /// Throws away what the peer sends, until it closes.
    fn discard<H>(&mut self, lent: &mut Lent<'_, H>) -> Next {
        if !self.readable && !self.peer_closed {
            return Next::Wait;
        }
        match self.read(&mut lent.buffers.receive) {
            Ok(Some(0)) | Err(_) => Next::Close(self.reason()),
            Ok(_) if self.readable => Next::Again,
            Ok(_) => Next::Wait,
        }
    }

    fn reason(&self) -> CloseReason {
        self.closing.unwrap_or(CloseReason::Client)
    }

    /// When patience with the peer ends, in monotonic milliseconds.
    #[must_use]
    pub fn deadline_ms(&self, patience: &Patience) -> u64 {
        if !self.output.is_empty() {
            return self.active_ms + patience.request_ms;
        }
        match self.stage {
            Stage::Idle if self.over_limit() => self.active_ms + LINGER_MS,
            Stage::Idle => (self.active_ms + patience.idle_ms).min(self.age_ms),
            Stage::Receiving { since_ms } => since_ms + patience.request_ms,
            // Every ticket is answered; its holder has a deadline of its own.
            Stage::Waiting(_) => u64::MAX,
            Stage::Lingering { until_ms } => until_ms,
        }
    }

    /// Ends a connection whose deadline has passed.
    pub fn expire<H: Handler>(&mut self, lent: &mut Lent<'_, H>) -> Next {
        if !self.output.is_empty() {
            return Next::Close(CloseReason::WriteStall);
        }
        match self.stage {
            Stage::Idle if self.over_limit() => Next::Close(CloseReason::Limit),
            Stage::Idle if lent.now.mono_ms() >= self.age_ms => Next::Close(CloseReason::Age),
            Stage::Idle => Next::Close(CloseReason::Idle),
            Stage::Receiving { .. } => {
                self.refuse(Refusal::Timeout, lent);
                self.settle(lent)
            }
            Stage::Waiting(_) => Next::Wait,
            Stage::Lingering { .. } => Next::Close(self.reason()),
        }
    }

    /// Whether the end of serving may close it at once.
    #[must_use]
    pub fn may_close(&self) -> bool {
        self.idle_since_ms().is_some()
    }
}
