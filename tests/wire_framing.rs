//! Requests of every shape, however their bytes arrive: the same answers, in the same order.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "support/wire.rs"]
mod support;

use support::client::metric;
use support::{Answer, Barrier, Client, Running, get, post};

/// One or more requests as they are sent, and what has to come back.
struct Shape {
    name: &'static str,
    bytes: Vec<u8>,
    /// For each answer its status and whether it answers a HEAD.
    answers: Vec<(u16, bool)>,
    /// Whether the server closes after the last of them.
    closes: bool,
}

fn shape(name: &'static str, bytes: impl Into<Vec<u8>>, answers: &[(u16, bool)]) -> Shape {
    Shape { name, bytes: bytes.into(), answers: answers.to_vec(), closes: false }
}

fn last(mut shape: Shape) -> Shape {
    shape.closes = true;
    shape
}

const OK: (u16, bool) = (200, false);
const ACCEPTED: (u16, bool) = (202, false);

/// A chunked POST of one metric in three chunks, with extensions and trailers.
fn chunked(body: &str) -> Vec<u8> {
    let (a, rest) = body.split_at(10);
    let (b, c) = rest.split_at(17);
    format!(
        "POST /metrics HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
         A;name=value\r\n{a}\r\n011 ; quoted=\"a;b\"\r\n{b}\r\n{:x}\r\n{c}\r\n\
         0;last\r\nX-Checksum: 1\r\nX-Empty:\r\n\r\n",
        c.len()
    )
    .into_bytes()
}

/// Shapes after which the connection stays open. `now` is a timestamp of this moment.
fn kept_alive(body: &str) -> Vec<Shape> {
    let length = body.len();
    let expecting = format!(
        "POST /metrics HTTP/1.1\r\nHost: test\r\nExpect: 100-Continue\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let with_body = "GET /health HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    let odd = "GET /health HTTP/1.1\r\nhOST:test\r\nAccept:  */* \t\r\nX-Empty:\r\n\r\n";
    let old = "GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    vec![
        shape("GET", get("/health"), &[OK]),
        shape("HEAD", "HEAD /health HTTP/1.1\r\nHost: test\r\n\r\n", &[(200, true)]),
        shape("POST with a length", post(body.as_bytes()), &[ACCEPTED]),
        shape("POST in chunks", chunked(body), &[ACCEPTED]),
        shape("POST that waits for 100", expecting, &[ACCEPTED]),
        shape("GET with a body", with_body, &[OK]),
        shape("odd but right fields", odd, &[OK]),
        shape("empty line before", [b"\r\n", &get("/health")[..]].concat(), &[OK]),
        shape("absolute-form", get("http://other:80/health?x=y"), &[OK]),
        shape("absolute-form without a path", get("http://other"), &[OK]),
        shape("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", &[OK]),
        shape("answered later", get("/metrics/d1:1700000000"), &[OK]),
        shape("HTTP/1.0 kept alive", old, &[OK]),
        shape("not found", get("/nothing"), &[(404, false)]),
        shape("malformed body", post(b"{"), &[(400, false)]),
    ]
}

/// Shapes that are their connection's last.
fn closing() -> Vec<Shape> {
    let close = "GET /health HTTP/1.1\r\nHost: test\r\nConnection: foo, Close\r\n\r\n";
    let old = "GET /health HTTP/1.0\r\n\r\n";
    let old_head = "HEAD / HTTP/1.0\r\n\r\n";
    vec![
        last(shape("Connection: close", close, &[OK])),
        last(shape("HTTP/1.0", old, &[OK])),
        last(shape("HTTP/1.0 HEAD", old_head, &[(200, true)])),
    ]
}

/// All that may be kept alive, one behind the other, and then one that closes.
fn pipelined(body: &str) -> Shape {
    let mut shapes = kept_alive(body);
    shapes.extend(closing().into_iter().take(1));
    let bytes = shapes.iter().flat_map(|shape| shape.bytes.clone()).collect::<Vec<_>>();
    let answers = shapes.iter().flat_map(|shape| shape.answers.clone()).collect::<Vec<_>>();
    last(shape("all pipelined", bytes, &answers))
}

/// A server that has the metric of the later answer, with one worker: see [`Barrier`].
fn server() -> (Running, String) {
    let running = Running::start(&["--workers", "1"]);
    // Old enough to be late, which nothing here depends on; but always the same.
    let body = metric("d1", 1_700_000_000);
    assert_eq!(running.client().ask(&post(body.as_bytes())).status, 202);
    (running, body)
}

/// Sends `pieces`, each only when the one before it has been received, and reads the answers.
fn exchange<'p>(
    running: &Running,
    barrier: &mut Barrier,
    shape: &Shape,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Vec<Answer> {
    let mut client = running.client();
    for piece in pieces {
        client.send(piece);
        barrier.pass();
    }
    read(&mut client, shape)
}

fn read(client: &mut Client, shape: &Shape) -> Vec<Answer> {
    let mut answers = Vec::new();
    for &(status, answers_head) in &shape.answers {
        let answer = loop {
            let answer = client.try_answer(answers_head).unwrap().expect(shape.name);
            if answer.status >= 200 {
                break answer;
            }
            assert_eq!(answer.status, 100, "{}", shape.name);
        };
        assert_eq!(answer.status, status, "{}: {answer:?}", shape.name);
        answers.push(answer.timeless());
    }
    let said = answers.last().is_some_and(Answer::closes);
    assert_eq!(said, shape.closes, "{}: {answers:?}", shape.name);
    if shape.closes {
        client.assert_end();
    } else {
        // Nothing more came, and the connection is still good.
        assert_eq!(client.ask(&get("/nothing")).status, 404, "{}", shape.name);
    }
    answers
}

#[test]
fn byte_by_byte_and_split_anywhere_is_answered_as_in_one_piece() {
    let (running, body) = server();
    let mut barrier = Barrier::new(running.address);
    for shape in kept_alive(&body).into_iter().chain(closing()) {
        let whole = exchange(&running, &mut barrier, &shape, [&shape.bytes[..]]);
        let single = exchange(&running, &mut barrier, &shape, shape.bytes.chunks(1));
        assert_eq!(single, whole, "{} byte by byte", shape.name);
        for at in 1..shape.bytes.len() {
            let (one, two) = shape.bytes.split_at(at);
            let split = exchange(&running, &mut barrier, &shape, [one, two]);
            assert_eq!(split, whole, "{} split at byte {at}", shape.name);
        }
    }
}

#[test]
fn a_pipelined_series_is_answered_like_its_requests_one_by_one() {
    let (running, body) = server();
    let mut barrier = Barrier::new(running.address);
    let mut singly = Vec::new();
    for shape in kept_alive(&body).into_iter().chain(closing().into_iter().take(1)) {
        singly.extend(exchange(&running, &mut barrier, &shape, [&shape.bytes[..]]));
    }
    let series = pipelined(&body);
    let at_once = exchange(&running, &mut barrier, &series, [&series.bytes[..]]);
    assert_eq!(at_once, singly);
    for size in [1, 2, 7, 64, 1000] {
        let pieces = series.bytes.chunks(size);
        let answers = exchange(&running, &mut barrier, &series, pieces);
        assert_eq!(answers, singly, "in pieces of {size}");
    }
    for at in (1..series.bytes.len()).step_by(3) {
        let (one, two) = series.bytes.split_at(at);
        let answers = exchange(&running, &mut barrier, &series, [one, two]);
        assert_eq!(answers, singly, "split at byte {at}");
    }
}

#[test]
fn continue_is_said_to_those_who_wait_and_before_the_answer() {
    let (running, body) = server();
    for framing in ["Content-Length", "Transfer-Encoding"] {
        let (value, sent) = if framing == "Content-Length" {
            (body.len().to_string(), body.clone())
        } else {
            let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            ("chunked".to_owned(), chunks)
        };
        let head = format!(
            "POST /metrics HTTP/1.1\r\nHost: a\r\n{framing}: {value}\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        let mut client = running.client();
        let interim = client.ask(head.as_bytes());
        assert_eq!(interim.status, 100, "{framing}");
        assert_eq!(client.ask(sent.as_bytes()).status, 202, "{framing}");
    }
}

#[test]
fn a_thousand_pipelined_requests_are_all_answered_in_order() {
    let (running, body) = server();
    let mut client = running.client();
    let mut series = Vec::new();
    for number in 0..1000 {
        let target = if number % 3 == 0 { "/health" } else { "/nothing" };
        series.extend(get(target));
        series.extend(post(body.as_bytes()));
    }
    client.send(&series);
    for number in 0..1000 {
        let status = if number % 3 == 0 { 200 } else { 404 };
        assert_eq!(client.answer().status, status, "request {number}");
        assert_eq!(client.answer().status, 202, "request {number}");
    }
}

#[test]
fn empty_lines_between_requests_are_passed_over() {
    let (running, body) = server();
    let mut client = running.client();
    for _ in 0..3 {
        let request = [&post(body.as_bytes())[..], b"\r\n"].concat();
        assert_eq!(client.ask(&request).status, 202);
    }
}
