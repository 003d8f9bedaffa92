//! The engine as a library: what `examples/echo.rs` serves, over real sockets.

#![expect(
    clippy::expect_used,
    reason = "a test that panics has failed, which is all that it can do"
)]

#[expect(
    dead_code,
    unreachable_pub,
    reason = "the example is a program; its handler is what we ask for"
)]
#[path = "../examples/echo.rs"]
mod echo;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use percore::cores::{self, serve};
use percore::engine::{Engine, EngineConfig};
use percore::http::handler::{Context, Handler, Reply};
use percore::http::request::Request;
use percore::http::response::Response;
use percore::listener;
use percore::observer::{CloseReason, Observer};
use testkit::{HttpClient, TIMEOUT, assert_problem, get};

const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn echo() -> Engine {
    serve(ANYWHERE.into(), 2, |_core| echo::Echo).expect("a port is free")
}

fn address(engine: &Engine) -> SocketAddr {
    engine.bound().internet().expect("it has a port")
}

fn post(framing: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn the_example_says_ok_and_echoes_what_was_posted() {
    let engine = echo();
    let mut client = HttpClient::connect(address(&engine));
    let answer = client.request(&get("/"));
    assert_eq!((answer.status, answer.text()), (200, "OK"));
    client.send(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.receive_response_to_head().header("content-length"), Some("2"));
    let answer = client.request(&post("Content-Length: 5", b"hello"));
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    // The handler gets the body without its chunks.
    let chunks = b"5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nTrailer: x\r\n\r\n";
    let answer = client.request(&post("Transfer-Encoding: chunked", chunks));
    assert_eq!((answer.status, answer.text()), (200, "hello, world"));
    assert_problem(&client.request(&get("/elsewhere")), 404, b"");
    // RFC 9110, section 15.5.6: 405 says what would have been taken, and OPTIONS is how to ask.
    const ALLOW: Option<&str> = Some("GET, HEAD, POST, OPTIONS");
    for target in ["/", "*"] {
        let options = format!("OPTIONS {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = client.request(options.as_bytes());
        assert_eq!((answer.status, answer.header("allow"), answer.text()), (200, ALLOW, ""));
    }
    for method in ["DELETE", "PUT", "PATCH", "TRACE"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        let answer = client.request(request.as_bytes());
        assert_problem(&answer, 405, b"");
        assert_eq!(answer.header("allow"), ALLOW, "{method}");
    }
    engine.drain(TIMEOUT).unwrap();
    client.assert_end();
}

#[test]
fn the_engine_s_own_refusals_hold_for_any_handler() {
    let engine = echo();
    let mut client = HttpClient::connect(address(&engine));
    let answer = client.request(&post("Content-Length: abc", b""));
    assert_problem(&answer, 400, b"abc");
    assert!(answer.closes_connection());
    engine.drain(TIMEOUT).unwrap();
}

/// The counts of the observers of all cores.
#[derive(Debug, Default)]
struct Counts {
    opened: AtomicUsize,
    closed: AtomicUsize,
    answered: AtomicUsize,
    turns: AtomicUsize,
}

/// The echo with an observer that counts.
struct Counted(echo::Echo, Arc<Counts>);

impl Handler for Counted {
    fn handle(&mut self, request: &Request<'_>, of: &Context<'_>, body: &mut Vec<u8>) -> Reply {
        self.0.handle(request, of, body)
    }
}

impl Observer for Counted {
    fn connection_opened(&mut self) {
        self.1.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn connection_closed(&mut self, _: CloseReason) {
        self.1.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn request_answered(&mut self, _: &Response, _: u64) {
        self.1.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn turn_ended(&mut self, _: u64, _: u64) {
        self.1.turns.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn each_core_gets_a_handler_of_its_own_and_counts() {
    let (sender, made) = mpsc::channel();
    let listeners = listener::open(&SocketAddr::from(ANYWHERE).into(), 3).unwrap();
    let counts = Arc::new(Counts::default());
    let engine = cores::start(listeners, &EngineConfig::for_workers(3), |number| {
        sender.send(number).unwrap();
        Counted(echo::Echo, Arc::clone(&counts))
    });
    let engine = engine.unwrap();
    assert_eq!(made.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(engine.workers() == 3 && engine.is_running());
    assert_eq!(HttpClient::connect(address(&engine)).request(&get("/")).status, 200);
    engine.drain(TIMEOUT).unwrap();
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    assert_eq!(
        [&counts.opened, &counts.answered, &counts.closed].map(count),
        [1; 3],
        "one connection with one request"
    );
    assert!(count(&counts.turns) > 0);
}

#[test]
fn draining_is_told_to_clients_before_the_end() {
    let engine = echo();
    let mut client = HttpClient::connect(address(&engine));
    assert!(!client.request(&get("/")).closes_connection());
    engine.begin_drain();
    assert!(client.request(&get("/")).closes_connection());
    let answer = HttpClient::connect(address(&engine)).request(&get("/"));
    assert!(answer.status == 200 && answer.closes_connection(), "still taken: {answer:?}");
    engine.drain(TIMEOUT).unwrap();
}

#[test]
fn a_port_in_use_is_an_error() {
    let engine = echo();
    let taken: SocketAddr = address(&engine);
    let error = serve(taken, 1, |_core| echo::Echo).expect_err("somebody listens there");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    engine.drain(TIMEOUT).unwrap();
}

#[test]
fn readme_shows_the_example_as_it_is() {
    let shown = format!("```rust\n{}```\n", include_str!("../examples/echo.rs"));
    assert!(include_str!("../README.md").contains(&shown));
}
