//! The interface between an engine and the handler that it serves.
//!
//! A [`Handler`] is sans-IO: it gets a whole request and returns the answer. For work of more than
//! some microseconds it takes a [`Ticket`] and returns `Later`; the holder of the ticket answers
//! from any thread.

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

/// The handler of an engine's requests. Each core has its own, so that nothing in it needs a lock.
pub trait Handler: Observer {
    /// Answers one request. `body` is empty and receives the body of the answer.
    fn handle(&mut self, request: &Request<'_>, context: &Context<'_>, body: &mut Vec<u8>)
    -> Reply;

    /// Checks a request whose head is complete and whose body, which is empty here, is not. An
    /// error that does not depend on the body is returned now, as `handle` would answer it: before
    /// the body is waited for, and before `100 Continue` is sent. `None` waits for the body.
    fn check_head(
        &mut self,
        _head: &Request<'_>,
        _context: &Context<'_>,
        _body: &mut Vec<u8>,
    ) -> Option<Response> {
        None
    }

    /// Returns the cost of the last request that was handled, in bytes of a plain body that would
    /// have cost as much; called once for each. The sum ends a connection's share of a turn.
    fn take_cost(&mut self) -> usize {
        0
    }

    /// Answers a request that cannot be read, after which the connection closes.
    fn answer_error(&mut self, error: RequestError, body: &mut Vec<u8>) -> Response {
        error_response(error, body, 0)
    }

    /// Makes the data that `handle` took visible to the other cores. The engine calls it before any
    /// answer reaches the kernel: a client that has its answer may ask another core the next
    /// moment.
    fn publish(&mut self, _now: Now) {}

    /// Ends a turn of the core. Returns the monotonic time, in nanoseconds, at which the core is to
    /// turn again even if nothing happens; `None` lets it sleep.
    fn end_turn(&mut self, _now: Now) -> Option<u64> {
        None
    }
}

/// Returns the usual answer to an error: a problem with the error as its detail.
pub fn error_response(error: RequestError, body: &mut Vec<u8>, route: usize) -> Response {
    let busy = matches!(error, RequestError::ConnectionLimit | RequestError::MemoryLimit);
    let field = busy.then(retry_after);
    problem(body, error.status(), error, field, route)
}

/// Returns a `Retry-After` of one to three seconds by chance: clients that were rejected together
/// do not come back together.
pub fn retry_after() -> Field {
    Field::RetryAfter(fastrand::u32(1..=3))
}

/// The reply of a handler.
#[derive(Debug)]
pub enum Reply {
    /// The head of the answer, whose body has been written.
    Now(Response),
    /// The answer comes through a ticket of the context.
    Later,
}

/// The facts that a handler may know beside the request.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time of this turn.
    pub now: Now,
    /// True if the peer is on this machine.
    pub peer_is_loopback: bool,
    /// The peer, for the log.
    pub peer: &'a dyn Peer,
    /// The name in the certificate that the client has shown, if it was asked for one.
    pub identity: Option<&'a str>,
    /// True if the connection is over the limit: only probes get their answer, others an error.
    pub over_limit: bool,
    /// True if the server is being taken out of service.
    pub draining: bool,
    /// The identity of the request, by which its answer finds it.
    pub request: RequestId,
    /// The sink for a later answer.
    pub answer_sink: &'a Arc<dyn AnswerSink>,
    /// Further lines of a later answer's head, see [`Response::extra_headers`].
    pub extra_headers: &'static str,
}

impl Context<'_> {
    /// Returns a ticket to answer this request later, once.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket {
            answer_sink: Some(Arc::clone(self.answer_sink)),
            request: self.request,
            extra_headers: self.extra_headers,
        }
    }
}

/// The identity of a connection of one core; its slot may be used again, its number never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionId {
    /// The slot in the core's table.
    pub slot: usize,
    /// The number of the connection on this core.
    pub number: u64,
}

/// The identity of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestId {
    /// The connection that it came on.
    pub connection: ConnectionId,
    /// The number of the request on its connection.
    pub number: u64,
}

/// Delivers answers to a core, and wakes it.
pub trait AnswerSink: fmt::Debug + Send + Sync {
    /// Delivers an answer; it is dropped if its request does not wait for it any more.
    fn deliver(&self, request: RequestId, answer: Answer);
}

/// The right, and the duty, to answer one request.
#[derive(Debug)]
pub struct Ticket {
    answer_sink: Option<Arc<dyn AnswerSink>>,
    request: RequestId,
    extra_headers: &'static str,
}

impl Ticket {
    /// Answers the request.
    pub fn answer(mut self, mut answer: Answer) {
        if let Some(answer_sink) = self.answer_sink.take() {
            answer.response.extra_headers = self.extra_headers;
            answer_sink.deliver(self.request, answer);
        }
    }

    /// Cancels the ticket: the request is answered in another way.
    pub fn cancel(mut self) {
        self.answer_sink = None;
    }
}

impl Drop for Ticket {
    /// Answers with an error: a lost ticket must not leave its connection waiting for ever.
    fn drop(&mut self) {
        if let Some(answer_sink) = self.answer_sink.take() {
            let mut body = Vec::new();
            let detail = "the answer was lost in the server";
            let mut response = problem(&mut body, Status::InternalServerError, detail, None, 0);
            response.extra_headers = self.extra_headers;
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
            identity: None,
            over_limit: false,
            draining: false,
            request: RequestId::default(),
            answer_sink: &answer_sink,
            extra_headers: "\r\nA: b",
        };
        let answer = Answer { response: Response::ok("text/plain", 0), body: b"a".to_vec() };
        context.ticket().answer(answer.clone());
        drop(context.ticket());
        context.ticket().cancel();
        let posted = posted.0.lock();
        assert_eq!(posted.len(), 2);
        let extra_headers = "\r\nA: b";
        assert_eq!(posted[0].body, answer.body);
        assert_eq!(
            [posted[0].response.extra_headers, posted[1].response.extra_headers],
            [extra_headers; 2]
        );
        assert_eq!(posted[1].response.status, Status::InternalServerError);
    }
}
