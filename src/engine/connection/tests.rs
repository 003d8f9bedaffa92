//! One connection with a real socket and a time of the test's choice.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream as Peer};
use std::sync::Arc;

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use super::{Accepted, Connection};
use crate::clock::Now;
use crate::engine::buffers::Buffers;
use crate::engine::connections::Admission;
use crate::engine::lent::{Desk, Lent, Next, Patience};
use crate::engine::meter::Meter;
use crate::http::handler::{ConnectionId, Context, Handler, Mailbox, Reply, RequestId};
use crate::http::request::Request;
use crate::http::response::{Answer, Encoder, Response};
use crate::limits::{LENT_BYTES_MAX, NEWCOMER_MS, PIPELINED_REQUESTS_PER_TURN};
use crate::telemetry::counters::{CloseReason, Counters, Labels};
use crate::telemetry::latency::Latency;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// More than fits into a socket whose peer does not read.
const LARGE_BYTES: usize = 32 * 1024;

struct Fine;

impl Handler for Fine {
    fn handle(&mut self, of: &Request<'_>, _: &Context<'_>, body: &mut Vec<u8>) -> Reply {
        if of.path == "/later" {
            return Reply::Later;
        }
        body.resize(if of.path == "/large" { LARGE_BYTES } else { 2 }, b' ');
        Reply::Now(Response::ok("text/plain", 0))
    }
}

#[derive(Debug)]
struct Nobody;

impl Mailbox for Nobody {
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

fn expire(connection: &mut Connection, now_ms: u64) -> Next {
    with(connection, now_ms, Connection::expire)
}

fn with(
    connection: &mut Connection,
    now_ms: u64,
    act: impl FnOnce(&mut Connection, &mut Lent<'_, Fine>) -> Next,
) -> Next {
    lending(&mut Buffers::new(1024), false, connection, now_ms, act)
}

/// The same with buffers that others have a share of, and perhaps while the server drains.
fn lending(
    buffers: &mut Buffers,
    draining: bool,
    connection: &mut Connection,
    now_ms: u64,
    act: impl FnOnce(&mut Connection, &mut Lent<'_, Fine>) -> Next,
) -> Next {
    let labels = Labels { routes: &["any"], statuses: &[200], possible: &[], reject_reasons: &[] };
    let (counters, latency) = (Counters::new(1, labels), Latency::new(1, 1));
    let patience = Patience { idle_ms: 1000, request_ms: 1000, body_bytes_max: 1024 };
    let mut lent = Lent {
        handler: &mut Fine,
        desk: &Desk { mailbox: Arc::new(Nobody), patience },
        buffers,
        encoder: &mut Encoder::default(),
        meter: &mut Meter::new(0, Arc::new(counters), Arc::new(latency)),
        now: Now { mono_ns: now_ms * 1_000_000, wall_us: 0 },
        draining,
    };
    act(connection, &mut lent)
}

fn answer(mut peer: &Peer) -> String {
    let mut bytes = [0; 1024];
    let length = peer.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn who_has_sent_nothing_is_closed() {
    let (mut old, _peer) = connected(500, b"");
    assert_eq!(expire(&mut old, 1000), Next::Close(CloseReason::Age));
    // An idle one is told first, and gone when it closes as well.
    let (mut idle, peer) = connected(u64::MAX, b"");
    assert_eq!(expire(&mut idle, 1000), Next::Wait);
    assert_eq!(answer(&peer), "");
    drop(peer);
    idle.note(true, true);
    assert_eq!(with(&mut idle, 1001, Connection::serve), Next::Close(CloseReason::Idle));
}

/// Its answer stays with the kernel, which would go on offering it after the connection is closed.
#[test]
fn an_idle_peer_that_has_not_read_is_reset() {
    let request = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut idle, mut peer) = connected(u64::MAX, request);
    idle.note(true, false);
    assert_eq!(with(&mut idle, 0, Connection::serve), Next::Wait);
    assert_eq!(expire(&mut idle, 1000), Next::Wait);
    assert_eq!(expire(&mut idle, 2000), Next::Close(CloseReason::Idle));
    drop(idle);
    let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_request_that_came_at_the_last_moment_is_answered() {
    let (mut idle, peer) = connected(u64::MAX, REQUEST);
    assert_eq!(expire(&mut idle, 1000), Next::Wait);
    let text = answer(&peer);
    assert!(text.starts_with("HTTP/1.1 200 ") && !text.contains("close"), "{text}");
    // Too old, the connection ends with that answer.
    let (mut old, peer) = connected(500, REQUEST);
    assert_eq!(expire(&mut old, 1000), Next::Wait);
    let text = answer(&peer);
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(answer(&peer), "");
    assert_eq!(expire(&mut old, 2000), Next::Close(CloseReason::Age));
}

#[test]
fn the_beginning_of_a_request_is_waited_for() {
    let (mut idle, _peer) = connected(u64::MAX, &REQUEST[..10]);
    assert_eq!(expire(&mut idle, 1000), Next::Wait);
    assert!(idle.idle_since_ms().is_none(), "half a request is under way");
}

/// Whoever has more than its share ready goes to the end of the queue.
#[test]
fn a_turn_answers_so_many_requests_and_no_more() {
    let (mut greedy, peer) = connected(u64::MAX, &REQUEST.repeat(2 * PIPELINED_REQUESTS_PER_TURN));
    greedy.note(true, false);
    assert_eq!(with(&mut greedy, 0, Connection::serve), Next::Again);
    assert_eq!(greedy.requests, PIPELINED_REQUESTS_PER_TURN as u64);
    assert_ne!(with(&mut greedy, 0, Connection::serve), Next::Close(CloseReason::Error));
    assert_eq!(greedy.requests, 2 * PIPELINED_REQUESTS_PER_TURN as u64);
    assert!(answer(&peer).starts_with("HTTP/1.1 200 "));
}

/// There is no room for what follows it, but it was taken.
#[test]
fn out_of_memory_a_later_answer_is_waited_for_all_the_same() {
    let request = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut waiting, peer) = connected(u64::MAX, &[request, REQUEST].concat());
    let buffers = &mut Buffers::new(1024);
    let taken = buffers.lend(&vec![0; LENT_BYTES_MAX]);
    waiting.note(true, false);
    assert_eq!(lending(buffers, false, &mut waiting, 0, Connection::serve), Next::Wait);
    waiting.note(true, false);
    assert_eq!(lending(buffers, false, &mut waiting, 0, Connection::serve), Next::Wait);
    let asked = RequestId { connection: ConnectionId::default(), number: 1 };
    let late = Answer { response: Response::ok("text/plain", 0), body: b"late".to_vec() };
    let deliver = |of: &mut Connection, lent: &mut Lent<'_, Fine>| of.deliver(asked, &late, lent);
    assert_eq!(lending(buffers, false, &mut waiting, 1, deliver), Next::Wait);
    let text = answer(&peer);
    assert!(text.contains("Connection: close") && text.ends_with("late"), "{text}");
    assert_eq!(answer(&peer), "");
    drop(taken);
}

/// Some clients end a body with an empty line. Nothing follows it that could be the last answer.
#[test]
fn an_empty_line_behind_the_last_request_does_not_keep_it_open() {
    let (mut last, peer) = connected(u64::MAX, &[REQUEST, b"\r\n"].concat());
    last.note(true, false);
    let buffers = &mut Buffers::new(1024);
    assert_eq!(lending(buffers, true, &mut last, 0, Connection::serve), Next::Wait);
    let text = answer(&peer);
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(answer(&peer), "");
}

/// It would not get the place of one over the limit, which has its second to send a request.
#[test]
fn only_who_is_within_the_limit_is_closed_for_a_newcomer() {
    let (mut silent, _peer) = connected(u64::MAX, b"");
    assert_eq!(silent.evictable_since_ms(NEWCOMER_MS), Some(0));
    silent.admission = Admission::Reserved;
    assert_eq!(silent.evictable_since_ms(NEWCOMER_MS), None);
}
