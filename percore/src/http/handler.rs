//! The seam between engines and what they serve.
//!
//! A [`Handler`] is sans-IO: it gets whole requests and says what to answer. What would take
//! longer than some microseconds it gives away with a [`Ticket`] and answers `Later`; whoever
//! holds the ticket answers from any thread.

use std::fmt;
use std::sync::Arc;

use super::peer::Peer;
use super::problem::problem;
use super::request::Request;
use super::request_error::RequestError;
use super::response::{Answer, Field, Response};
use super::status::Status;
use crate::clock::Now;
use crate::observer::Observer;

/// What an engine serves. Each core has its own, so that nothing in it needs a lock.
pub trait Handler: Observer {
    /// Answers one request. `body` is empty and belongs to the answer.
    fn handle(&mut self, request: &Request<'_>, context: &Context<'_>, body: &mut Vec<u8>)
    -> Reply;

    /// Looks at a request whose head is whole and whose body is not, which is empty here. What
    /// would be refused whatever the body says is answered now, as `handle` would answer it: before
    /// any of the body is waited for, and before `100 Continue` is said. `None` waits for the body.
    fn check_head(
        &mut self,
        _head: &Request<'_>,
        _context: &Context<'_>,
        _body: &mut Vec<u8>,
    ) -> Option<Response> {
        None
    }

    /// What the request that was handled last has cost, in bytes of a plain body that would have
    /// cost as much; asked for once. A connection's share of a turn ends by the sum.
    fn take_cost(&mut self) -> usize {
        0
    }

    /// Answers a request that could not be taken, after which the connection closes.
    fn answer_error(&mut self, error: RequestError, body: &mut Vec<u8>) -> Response {
        error_response(error, body, 0)
    }

    /// Makes what `handle` took visible to the other cores. The engine calls it before any answer
    /// reaches the kernel: who has been answered may ask another core the next moment.
    fn publish(&mut self, _now: Now) {}

    /// Ends a turn of the core. Answers the monotonic time, in nanoseconds, at which the core is
    /// to turn again even if nothing happens; `None` lets it sleep.
    fn end_turn(&mut self, _now: Now) -> Option<u64> {
        None
    }
}

/// The usual answer to a refusal: a problem that says what was wrong.
pub fn error_response(error: RequestError, body: &mut Vec<u8>, route: usize) -> Response {
    let busy = matches!(error, RequestError::ConnectionLimit | RequestError::MemoryLimit);
    let field = busy.then(retry_after);
    problem(body, error.status(), error, field, route)
}

/// `Retry-After` of one to three seconds: clients that were turned away together do not come back
/// together.
#[must_use]
pub fn retry_after() -> Field {
    Field::RetryAfter(fastrand::u32(1..=3))
}

/// What a handler decided.
#[derive(Debug)]
pub enum Reply {
    /// The head of the answer, whose body has been written.
    Now(Response),
    /// The answer comes through the ticket that was taken from the context.
    Later,
}

/// What a handler may know beside the request.
#[derive(Debug)]
pub struct Context<'a> {
    /// The reading of the clock that this turn goes by.
    pub now: Now,
    /// Whether the peer is this machine.
    pub peer_is_loopback: bool,
    /// Who the peer is, for the log.
    pub peer: &'a dyn Peer,
    /// Whether the connection is over the limit: only probes get their answer, others are turned
    /// away.
    pub over_limit: bool,
    /// Whether the server is being taken out of service.
    pub draining: bool,
    /// The request, so that its answer finds it.
    pub request: RequestId,
    /// Where answers are posted.
    pub answer_sink: &'a Arc<dyn AnswerSink>,
    /// Further lines of the head of a later answer, see [`Response::lines`].
    pub lines: &'static str,
}

impl Context<'_> {
    /// The right to answer this request later, once.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket {
            answer_sink: Some(Arc::clone(self.answer_sink)),
            request: self.request,
            lines: self.lines,
        }
    }
}

/// A connection of one core; its slot may be used again, its number never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionId {
    /// The place in the core's table.
    pub slot: usize,
    /// Counts the connections of the core.
    pub number: u64,
}

/// A request of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestId {
    /// The connection that it came on.
    pub connection: ConnectionId,
    /// Counts the requests of the connection.
    pub number: u64,
}

/// Takes answers to a core, and wakes it.
pub trait AnswerSink: fmt::Debug + Send + Sync {
    /// Posts an answer; one to a request that nobody waits for is dropped.
    fn deliver(&self, request: RequestId, answer: Answer);
}

/// The right, and the duty, to answer one request.
#[derive(Debug)]
pub struct Ticket {
    answer_sink: Option<Arc<dyn AnswerSink>>,
    request: RequestId,
    lines: &'static str,
}

impl Ticket {
    /// Answers.
    pub fn answer(mut self, mut answer: Answer) {
        if let Some(answer_sink) = self.answer_sink.take() {
            answer.response.lines = self.lines;
            answer_sink.deliver(self.request, answer);
        }
    }

    /// Gives the ticket up: the request is answered otherwise.
    pub fn cancel(mut self) {
        self.answer_sink = None;
    }
}

impl Drop for Ticket {
    /// A ticket that got lost must not leave its connection waiting for ever.
    fn drop(&mut self) {
        if let Some(answer_sink) = self.answer_sink.take() {
            let mut body = Vec::new();
            let detail = "the answer was lost in the server";
            let mut response = problem(&mut body, Status::InternalServerError, detail, None, 0);
            response.lines = self.lines;
            answer_sink.deliver(self.request, Answer { response, body });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    #[derive(Debug, Default)]
    struct Posted(Mutex<Vec<Answer>>);

    impl AnswerSink for Posted {
        fn deliver(&self, _: RequestId, answer: Answer) {
            self.0.lock().push(answer);
        }
    }

    #[test]
    fn a_ticket_is_answered_exactly_once_even_when_it_is_lost() {
        let posted = Arc::new(Posted::default());
        let answer_sink: Arc<dyn AnswerSink> = Arc::clone(&posted) as _;
        let context = Context {
            now: Now::default(),
            peer_is_loopback: true,
            peer: &None,
            over_limit: false,
            draining: false,
            request: RequestId::default(),
            answer_sink: &answer_sink,
            lines: "\r\nA: b",
        };
        let answer = Answer { response: Response::ok("text/plain", 0), body: b"a".to_vec() };
        context.ticket().answer(answer.clone());
        drop(context.ticket());
        context.ticket().cancel();
        let posted = posted.0.lock();
        assert_eq!(posted.len(), 2);
        let lines = "\r\nA: b";
        assert_eq!(posted[0].body, answer.body);
        assert_eq!([posted[0].response.lines, posted[1].response.lines], [lines; 2]);
        assert_eq!(posted[1].response.status, Status::InternalServerError);
    }
}
