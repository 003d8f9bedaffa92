//! One connection with a real socket and a time of the test's choice.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream as Peer};
use std::sync::Arc;

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use super::{Accepted, Stage};
use crate::admission::Admission;
use crate::buffer_pool::BufferPool;
use crate::clock::Now;
use crate::context::{AfterServe, ConnectionLimits, CoreContext};
use crate::http::handler::{AnswerSink, ConnectionId, Context, Handler, Reply, RequestId};
use crate::http::problem::problem;
use crate::http::request::Request;
use crate::http::response::{Answer, Encoder, Response};
use crate::http::status::Status;
use crate::limits::{
    CHEAP_BYTES_MAX, FIRST_REQUEST_GRACE_MS, PIPELINED_REQUESTS_PER_TURN, REQUESTS_PER_SPENT_TURN,
    SHARE_BYTES_MAX,
};
use crate::observer::{CloseReason, Observer};

type Connection = super::Connection<TcpStream>;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const BODY_BYTES_MAX: usize = 64 * 1024;

const LIMITS: ConnectionLimits =
    ConnectionLimits { idle_ms: 1000, request_ms: 1000, body_bytes_max: BODY_BYTES_MAX };

impl Connection {
    /// Bytes kept of what was received.
    fn buffered(&self) -> usize {
        self.input.len()
    }

    fn wait_readable(&self) {
        while self.stream.peek(&mut [0]).is_err() {
            std::thread::yield_now();
        }
    }
}

/// More than fits into a socket whose peer does not read.
const LARGE_BYTES: usize = 32 * 1024;

#[derive(Default)]
struct Fine {
    cost: usize,
}

impl Observer for Fine {}

impl Handler for Fine {
    fn handle(&mut self, of: &Request<'_>, _: &Context<'_>, body: &mut Vec<u8>) -> Reply {
        if of.path == "/later" {
            return Reply::Later;
        }
        self.cost = if of.path == "/costly" { SHARE_BYTES_MAX } else { 1 };
        body.resize(if of.path == "/large" { LARGE_BYTES } else { 2 }, b' ');
        Reply::Now(Response::ok("text/plain", 0))
    }

    fn check_head(
        &mut self,
        head: &Request<'_>,
        _: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Response> {
        assert!(head.body.is_empty());
        let refused = problem(body, Status::NotFound, "no", None, 0);
        (head.path == "/none").then_some(refused)
    }

    fn take_cost(&mut self) -> usize {
        std::mem::take(&mut self.cost)
    }
}

#[derive(Debug)]
struct NoSink;

impl AnswerSink for NoSink {
    fn deliver(&self, _: RequestId, _: Answer) {}
}

/// A connection that came at 0 and is too old at `age_ms`, and its peer, which has sent `bytes`.
fn connected(age_ms: u64, bytes: &[u8]) -> (Connection, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(&listener.local_addr().unwrap().into()).unwrap();
    let mut peer = Peer::from(socket);
    let (stream, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    peer.write_all(bytes).unwrap();
    if !bytes.is_empty() {
        // Waits until they are here.
        stream.peek(&mut [0]).unwrap();
    }
    stream.set_nonblocking(true).unwrap();
    let accepted = Accepted {
        id: ConnectionId::default(),
        peer_is_loopback: true,
        admission: Admission::Regular,
        now_ms: 0,
        age_ms,
    };
    (Connection::new(TcpStream::from_std(stream), &accepted), peer)
}

fn expire(connection: &mut Connection, now_ms: u64) -> AfterServe {
    with(connection, now_ms, Connection::expire)
}

fn with(
    connection: &mut Connection,
    now_ms: u64,
    act: impl FnOnce(&mut Connection, &mut CoreContext<'_, Fine>) -> AfterServe,
) -> AfterServe {
    with_pool(&mut BufferPool::new(1024), false, connection, now_ms, act)
}

/// The same with buffers that others have a share of, and perhaps while the server drains.
fn with_pool(
    buffers: &mut BufferPool,
    draining: bool,
    connection: &mut Connection,
    now_ms: u64,
    act: impl FnOnce(&mut Connection, &mut CoreContext<'_, Fine>) -> AfterServe,
) -> AfterServe {
    let draining = |core: &mut CoreContext<'_, Fine>| core.draining = draining;
    with_core(buffers, draining, connection, now_ms, act)
}

/// The same in a turn that has no share left for what is costly.
fn serve_spent(connection: &mut Connection) -> AfterServe {
    let spent = |core: &mut CoreContext<'_, Fine>| core.share_spent = true;
    with_core(&mut BufferPool::new(1024), spent, connection, 0, Connection::serve)
}

fn with_core(
    buffers: &mut BufferPool,
    change: impl FnOnce(&mut CoreContext<'_, Fine>),
    connection: &mut Connection,
    now_ms: u64,
    act: impl FnOnce(&mut Connection, &mut CoreContext<'_, Fine>) -> AfterServe,
) -> AfterServe {
    let mut core = CoreContext {
        handler: &mut Fine::default(),
        answer_sink: &(Arc::new(NoSink) as _),
        limits: &LIMITS,
        buffers,
        encoder: &mut Encoder::default(),
        now: Now { mono_ns: now_ms * 1_000_000, wall_us: 0 },
        readable_ns: now_ms * 1_000_000,
        draining: false,
        share_spent: false,
        handshake_steps: &mut 1,
        cost: 0,
    };
    change(&mut core);
    act(connection, &mut core)
}

/// Sends more, and waits until it is here.
fn send(connection: &mut Connection, peer: &mut Peer, bytes: &[u8]) {
    peer.write_all(bytes).unwrap();
    connection.wait_readable();
    connection.set_readiness(true, false);
}

fn answer(mut peer: &Peer) -> String {
    let mut bytes = [0; 1024];
    let length = peer.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn who_has_sent_nothing_is_closed() {
    let (mut old, _peer) = connected(500, b"");
    assert_eq!(expire(&mut old, 1000), AfterServe::Close(CloseReason::Age));
    // An idle one is told first, and gone when it closes as well.
    let (mut idle, peer) = connected(u64::MAX, b"");
    assert_eq!(expire(&mut idle, 1000), AfterServe::Wait);
    assert_eq!(answer(&peer), "");
    drop(peer);
    idle.set_readiness(true, true);
    assert_eq!(with(&mut idle, 1001, Connection::serve), AfterServe::Close(CloseReason::Idle));
}

/// Its answer stays with the kernel, which would go on offering it after the connection is closed.
#[test]
fn an_idle_peer_that_has_not_read_is_reset() {
    let request = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut idle, mut peer) = connected(u64::MAX, request);
    idle.set_readiness(true, false);
    assert_eq!(with(&mut idle, 0, Connection::serve), AfterServe::Wait);
    assert_eq!(expire(&mut idle, 1000), AfterServe::Wait);
    assert_eq!(expire(&mut idle, 2000), AfterServe::Close(CloseReason::Idle));
    drop(idle);
    let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_request_that_came_at_the_last_moment_is_answered() {
    let (mut idle, peer) = connected(u64::MAX, REQUEST);
    assert_eq!(expire(&mut idle, 1000), AfterServe::Wait);
    let text = answer(&peer);
    assert!(text.starts_with("HTTP/1.1 200 ") && !text.contains("close"), "{text}");
    // Too old, the connection ends with that answer.
    let (mut old, peer) = connected(500, REQUEST);
    assert_eq!(expire(&mut old, 1000), AfterServe::Wait);
    let text = answer(&peer);
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(answer(&peer), "");
    assert_eq!(expire(&mut old, 2000), AfterServe::Close(CloseReason::Age));
}

#[test]
fn the_beginning_of_a_request_is_waited_for() {
    let (mut idle, _peer) = connected(u64::MAX, &REQUEST[..10]);
    assert_eq!(expire(&mut idle, 1000), AfterServe::Wait);
    assert!(idle.idle_since_ms().is_none(), "half a request is under way");
}

/// A connection with more than its share ready goes to the end of the queue.
#[test]
fn a_turn_answers_so_many_requests_and_no_more() {
    let (mut greedy, peer) = connected(u64::MAX, &REQUEST.repeat(2 * PIPELINED_REQUESTS_PER_TURN));
    greedy.set_readiness(true, false);
    assert_eq!(with(&mut greedy, 0, Connection::serve), AfterServe::Again);
    assert_eq!(greedy.requests, PIPELINED_REQUESTS_PER_TURN as u64);
    assert_ne!(with(&mut greedy, 0, Connection::serve), AfterServe::Close(CloseReason::Error));
    assert_eq!(greedy.requests, 2 * PIPELINED_REQUESTS_PER_TURN as u64);
    assert!(answer(&peer).starts_with("HTTP/1.1 200 "));
}

/// Its share of the turn ends, however few they are.
#[test]
fn a_turn_answers_what_costs_so_much_and_no_more() {
    let costly = b"GET /costly HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut greedy, peer) = connected(u64::MAX, &[REQUEST, costly, costly, REQUEST].concat());
    greedy.set_readiness(true, false);
    for requests in [2, 3] {
        assert_eq!(with(&mut greedy, 0, Connection::serve), AfterServe::Again);
        assert_eq!(greedy.requests, requests);
        // The rest may be cheap: the next turn finds out.
        assert!(!greedy.is_deferred());
    }
    assert_eq!(with(&mut greedy, 0, Connection::serve), AfterServe::Wait);
    assert_eq!((greedy.requests, greedy.buffered()), (4, 0));
    assert_eq!(answer(&peer).matches("HTTP/1.1 200 ").count(), 4);
}

#[test]
fn what_may_be_costly_waits_where_the_turn_has_no_share_left() {
    let large = vec![b'x'; CHEAP_BYTES_MAX + 1];
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large.len());
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        large.len()
    );
    let coded = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: x\r\nContent-Length: 1\r\n\r\nx";
    for costly in [
        [head.as_bytes(), &large].concat(),
        [chunked.as_bytes(), &large, b"\r\n0\r\n\r\n"].concat(),
        coded.to_vec(),
    ] {
        let (mut waiting, peer) = connected(u64::MAX, &[REQUEST, &costly, REQUEST].concat());
        waiting.set_readiness(true, false);
        for _ in 0..3 {
            assert_eq!(serve_spent(&mut waiting), AfterServe::Again);
            assert_eq!((waiting.requests, waiting.is_deferred()), (1, true));
        }
        assert_eq!(with(&mut waiting, 0, Connection::serve), AfterServe::Wait);
        assert_eq!((waiting.requests, waiting.is_deferred()), (3, false));
        assert_eq!(answer(&peer).matches("HTTP/1.1 200 ").count(), 3);
    }
    // A cheap request does not wait, as long as they are not many.
    let (mut cheap, _peer) = connected(u64::MAX, &REQUEST.repeat(REQUESTS_PER_SPENT_TURN + 1));
    cheap.set_readiness(true, false);
    assert_eq!(serve_spent(&mut cheap), AfterServe::Again);
    assert_eq!(cheap.requests, REQUESTS_PER_SPENT_TURN as u64);
    assert!(!cheap.is_deferred());
    assert_eq!(serve_spent(&mut cheap), AfterServe::Wait);
}

/// The time that a request may take to arrive is not that which it waits for others.
#[test]
fn who_waits_its_turn_is_not_late() {
    let large = vec![b'x'; CHEAP_BYTES_MAX + 1];
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large.len());
    let (mut waiting, mut peer) = connected(u64::MAX, head.as_bytes());
    waiting.set_readiness(true, false);
    assert_eq!(with(&mut waiting, 0, Connection::serve), AfterServe::Wait);
    send(&mut waiting, &mut peer, &large);
    assert_eq!(serve_spent(&mut waiting), AfterServe::Again);
    assert_eq!((waiting.stage, waiting.idle_since_ms()), (Stage::Idle, None));
    // Even when its time comes as that of an idle one it is answered.
    assert_eq!(expire(&mut waiting, 5000), AfterServe::Again);
    assert!(answer(&peer).starts_with("HTTP/1.1 200 "));
}

/// In one piece and in two: the answer is that to the head.
#[test]
fn of_a_wrong_head_and_a_wrong_body_the_head_comes_first() {
    let head = b"POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut wrong, peer) = connected(u64::MAX, &[head, &b"x"[..]].concat());
    wrong.set_readiness(true, false);
    assert_eq!(with(&mut wrong, 0, Connection::serve), AfterServe::Wait);
    let told = answer(&peer);
    assert!(told.starts_with("HTTP/1.1 404 ") && told.contains("close"), "{told}");
    assert_eq!(answer(&peer), "");
}

/// Its requests are here; nobody is left to be answered.
#[test]
fn nothing_is_begun_for_who_has_gone() {
    let (mut left, peer) = connected(u64::MAX, &REQUEST.repeat(10));
    socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    left.set_readiness(true, true);
    left.mark_peer_gone();
    assert_eq!(with(&mut left, 0, Connection::serve), AfterServe::Close(CloseReason::Error));
    assert_eq!(left.requests, 0);
}

/// Bodies of ten bytes.
const FRAMINGS: [(&str, &str, &str); 2] = [
    ("Content-Length: 10", "01234", "56789"),
    ("Transfer-Encoding: chunked", "5\r\n01234\r\n5", "\r\n56789\r\n0\r\n\r\n"),
];

#[test]
fn who_is_refused_by_its_head_is_told_so_and_its_body_thrown_away() {
    for (field, begin, end) in FRAMINGS {
        let head = format!("POST /none HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{begin}");
        let (mut refused, mut peer) = connected(u64::MAX, head.as_bytes());
        refused.set_readiness(true, false);
        assert_eq!(with(&mut refused, 0, Connection::serve), AfterServe::Wait);
        let told = answer(&peer);
        assert!(told.starts_with("HTTP/1.1 404 ") && !told.contains("close"), "{told}");
        assert_eq!(refused.buffered(), 0, "nothing is kept of it");
        assert_eq!(refused.idle_since_ms(), None, "its body is under way");
        send(&mut refused, &mut peer, &[end.as_bytes(), REQUEST].concat());
        assert_eq!(with(&mut refused, 500, Connection::serve), AfterServe::Wait);
        assert!(answer(&peer).starts_with("HTTP/1.1 200 "), "{field}");
        assert_eq!((refused.requests, refused.idle_since_ms()), (2, Some(500)));
    }
}

/// A second answer to one request would be taken for that to the next.
#[test]
fn a_body_that_is_thrown_away_and_does_not_end_ends_its_connection_without_a_word() {
    for (field, begin, _) in FRAMINGS {
        let head = format!("POST /none HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{begin}");
        let (mut late, peer) = connected(u64::MAX, head.as_bytes());
        late.set_readiness(true, false);
        assert_eq!(with(&mut late, 0, Connection::serve), AfterServe::Wait);
        assert!(answer(&peer).starts_with("HTTP/1.1 404 "));
        assert_eq!(late.deadline_ms(&LIMITS), 1000);
        assert_eq!(expire(&mut late, 1000), AfterServe::Wait);
        assert_eq!(answer(&peer), "", "{field}");
        assert_eq!(expire(&mut late, 2000), AfterServe::Close(CloseReason::RequestTimeout));
    }
    let (field, begin, _) = FRAMINGS[1];
    let head = format!("POST /none HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{begin}");
    let (mut wrong, mut peer) = connected(u64::MAX, head.as_bytes());
    wrong.set_readiness(true, false);
    assert_eq!(with(&mut wrong, 0, Connection::serve), AfterServe::Wait);
    assert!(answer(&peer).starts_with("HTTP/1.1 404 "));
    send(&mut wrong, &mut peer, b"\r\n56789x\r\n");
    let _ = with(&mut wrong, 0, Connection::serve);
    assert_eq!((answer(&peer).as_str(), wrong.requests), ("", 1));
}

/// The client may send the body or not, and the server could not tell it from a request.
#[test]
fn who_waits_to_send_its_body_and_is_refused_gets_its_last_answer() {
    for (field, begin, end) in FRAMINGS {
        for path in ["/none", "/"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{field}\r\n\r\n"
            );
            let (mut asking, mut peer) = connected(u64::MAX, head.as_bytes());
            asking.set_readiness(true, false);
            assert_eq!(with(&mut asking, 0, Connection::serve), AfterServe::Wait);
            let told = answer(&peer);
            if path == "/none" {
                assert!(told.starts_with("HTTP/1.1 404 ") && told.contains("close"), "{told}");
                assert_eq!(answer(&peer), "", "{field}");
                continue;
            }
            assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n", "{field}");
            send(&mut asking, &mut peer, [begin, end].concat().as_bytes());
            assert_eq!(with(&mut asking, 0, Connection::serve), AfterServe::Wait);
            assert!(answer(&peer).starts_with("HTTP/1.1 200 "), "{field}");
        }
    }
}

#[test]
fn who_holds_more_and_for_longer_is_the_greater_burden() {
    let half = [REQUEST, &REQUEST[..10]].concat();
    let (mut early, _one) = connected(u64::MAX, &half);
    let (mut late, _two) = connected(u64::MAX, &half);
    let (mut idle, _three) = connected(u64::MAX, REQUEST);
    for (connection, at_ms) in [(&mut early, 0), (&mut late, 500), (&mut idle, 0)] {
        connection.set_readiness(true, false);
        assert_eq!(with(connection, at_ms, Connection::serve), AfterServe::Wait);
    }
    assert!(
        early.eviction_weight(600) > late.eviction_weight(600) && late.eviction_weight(600) > 0
    );
    assert_eq!(idle.eviction_weight(600), 0);
    assert_eq!(with(&mut early, 600, Connection::evict), AfterServe::Wait);
    assert_eq!((early.eviction_weight(600), early.closing), (0, Some(CloseReason::Limit)));
}

/// There is no room for what follows it, but it was taken.
#[test]
fn out_of_memory_a_later_answer_is_waited_for_all_the_same() {
    let request = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut waiting, peer) = connected(u64::MAX, &[request, REQUEST].concat());
    let buffers = &mut BufferPool::new(1024);
    waiting.set_readiness(true, false);
    assert_eq!(with_pool(buffers, false, &mut waiting, 0, Connection::serve), AfterServe::Wait);
    assert_eq!(with_pool(buffers, false, &mut waiting, 0, Connection::evict), AfterServe::Wait);
    assert_eq!(waiting.buffered(), 0);
    waiting.set_readiness(true, false);
    assert_eq!(with_pool(buffers, false, &mut waiting, 0, Connection::serve), AfterServe::Wait);
    let asked = RequestId { connection: ConnectionId::default(), number: 1 };
    let late = Answer { response: Response::ok("text/plain", 0), body: b"late".to_vec() };
    let deliver =
        |of: &mut Connection, core: &mut CoreContext<'_, Fine>| of.deliver(asked, &late, core);
    assert_eq!(with_pool(buffers, false, &mut waiting, 1, deliver), AfterServe::Wait);
    let text = answer(&peer);
    assert!(text.contains("Connection: close") && text.ends_with("late"), "{text}");
    assert_eq!(answer(&peer), "");
}

/// Some clients end a body with an empty line. Nothing follows it that could be the last answer.
#[test]
fn an_empty_line_behind_the_last_request_does_not_keep_it_open() {
    let (mut last, peer) = connected(u64::MAX, &[REQUEST, b"\r\n"].concat());
    last.set_readiness(true, false);
    let buffers = &mut BufferPool::new(1024);
    assert_eq!(with_pool(buffers, true, &mut last, 0, Connection::serve), AfterServe::Wait);
    let text = answer(&peer);
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(answer(&peer), "");
}

/// A new connection would not get the place of one over the limit, which has its second to send a
/// request.
#[test]
fn only_a_connection_within_the_limit_is_closed_for_a_new_one() {
    let (mut silent, _peer) = connected(u64::MAX, b"");
    assert_eq!(silent.evictable_since_ms(FIRST_REQUEST_GRACE_MS), Some(0));
    silent.admission = Admission::Reserved;
    assert_eq!(silent.evictable_since_ms(FIRST_REQUEST_GRACE_MS), None);
}
