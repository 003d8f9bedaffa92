//! What RFC 9112 has a server refuse: the status, and that nothing after it is ever parsed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "support/wire.rs"]
mod support;

use support::{Answer, Barrier, Client, Running, assert_problem, get, scrape};

/// Heads without the fields that [`post`] adds.
const LINES: &[(u16, &str)] = &[
    (400, "GET /health\r\n\r\n"),
    (400, "GET  /health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, " GET /health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /health HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, "GET /health http/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /health HTTQ/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /health#part HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET ftp://a/health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http:///health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://user@a/health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /h\u{e9}alth HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /health HTTP/1.1\nHost: a\n\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\n\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    (400, "GET /health HTTP/1.1\rHost: a\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX: b\r\n\tfolded\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nX: b\u{1}c\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "GET /health HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    (400, "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    (417, "GET /health HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"),
    (501, "BREW /health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (501, "get /health HTTP/1.1\r\nHost: a\r\n\r\n"),
    (505, "GET /health HTTP/2.0\r\nHost: a\r\n\r\n"),
    (505, "GET /health HTTP/0.9\r\nHost: a\r\n\r\n"),
];

/// What follows the first two lines of a POST to `/metrics`.
const BODIES: &[(u16, &str)] = &[
    (411, "\r\n"),
    (400, "Content-Length: abc\r\n\r\n"),
    (400, "Content-Length: +2\r\n\r\n{}"),
    (400, "Content-Length: 2, 2\r\n\r\n{}"),
    (400, "Content-Length: 0x2\r\n\r\n{}"),
    (400, "Content-Length: 2 2\r\n\r\n{}"),
    (400, "Content-Length:\r\n\r\n{}"),
    (400, "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    (400, "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    (413, "Content-Length: 1048577\r\n\r\n"),
    (413, "Content-Length: 99999999999999999999999999\r\n\r\n"),
    (413, "Content-Length: 2097152\r\nExpect: 100-continue\r\n\r\n"),
    (400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (501, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\nx\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n 2\r\n{}\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n2\n{}\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n2;a=\rb\r\n{}\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n"),
    (413, "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n"),
    (413, "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n100000\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n0\r\nX : a\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n folded\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n\r\n0\r\n\n"),
];

fn post(rest: &str) -> String {
    format!("POST /metrics HTTP/1.1\r\nHost: a\r\n{rest}")
}

/// Requests at and over the limits of DESIGN section 9.
fn oversize() -> Vec<(u16, String)> {
    let fields: String = (0..101).map(|number| format!("X-{number}: a\r\n")).collect();
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    vec![
        (414, format!("GET /{} HTTP/1.1\r\n", "a".repeat(8 * 1024))),
        (414, format!("GET /{}", "a".repeat(8 * 1024))),
        (431, format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(16 * 1024))),
        (431, format!("GET /health HTTP/1.1\r\nHost: a\r\n{fields}\r\n")),
        (400, post(&format!("{chunked}2;{}", "a".repeat(64)))),
        (400, post(&format!("{chunked}{}", "0".repeat(65)))),
        (400, post(&format!("{chunked}2\r\n{{}}\r\n{}", "0".repeat(65)))),
        (431, post(&format!("{chunked}0\r\nX: {}", "a".repeat(4 * 1024)))),
    ]
}

/// The largest of everything that is still taken.
#[test]
fn what_is_at_a_limit_is_taken() {
    let running = Running::start(&[]);
    let target = "/".to_owned() + &"a".repeat(8 * 1024 - "GET / HTTP/1.1".len());
    let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(line.find('\r'), Some(8 * 1024));
    let fields: String = (0..99).map(|number| format!("X-{number}: a\r\n")).collect();
    let fields = format!("GET /nothing HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let open = "GET /nothing HTTP/1.1\r\nHost: a\r\nX: ";
    let rest = "a".repeat(16 * 1024 - open.len() - 4);
    let head = format!("{open}{rest}\r\n\r\n");
    for request in [line, fields, head] {
        let answer = running.client().ask(request.as_bytes());
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    let size = format!("{}11", "0".repeat(14));
    let extension = format!(";{}", "a".repeat(47));
    let trailer = format!("X: {}", "a".repeat(4 * 1024 - "X: \r\n".len()));
    let last = "0".repeat(64);
    let body = r#"{"cpu":1,"rps":2}"#;
    let request = post(&format!(
        "Transfer-Encoding: chunked\r\n\r\n\
         {size}{extension}\r\n{body}\r\n{last}\r\n{trailer}\r\n\r\n"
    ));
    let answer = running.client().ask(request.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn table() -> Vec<(u16, Vec<u8>)> {
    let lines = LINES.iter().map(|&(status, text)| (status, text.to_owned()));
    let bodies = BODIES.iter().map(|&(status, rest)| (status, post(rest)));
    let old = "POST /metrics HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    lines
        .chain(bodies)
        .chain(oversize())
        .chain([(400, old.to_owned())])
        .map(|(status, text)| (status, text.into_bytes()))
        .collect()
}

/// Checks that all the server sends is one refusal, followed by the end of the stream.
fn assert_refused(client: &mut Client, status: u16, sent: &[u8]) -> Answer {
    let shown = String::from_utf8_lossy(&sent[..sent.len().min(120)]).into_owned();
    let bytes = client.rest();
    let Some((answer, end)) = Answer::parse(&bytes, false) else {
        panic!("{shown:?}: expected {status}, found {:?}", String::from_utf8_lossy(&bytes));
    };
    assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
    assert_problem(&answer, status, sent);
    assert!(answer.closes(), "{shown:?}: {answer:?}");
    let more = String::from_utf8_lossy(&bytes[end..]);
    assert_eq!(more, "", "{shown:?}: answered what follows a refusal");
    answer
}

#[test]
fn each_refusal_has_its_status_and_ends_the_connection() {
    let running = Running::start(&["--workers", "1"]);
    let mut barrier = Barrier::new(running.address);
    let mut faults = Vec::new();
    let address = running.address;
    for (status, request) in table() {
        let check = std::panic::catch_unwind(|| {
            let mut client = Client::connect(address);
            client.send(&[&request[..], &get("/health"), &get("/health")].concat());
            assert_refused(&mut client, status, &request);
        });
        if check.is_err() {
            faults.push((status, String::from_utf8_lossy(&request).into_owned()));
        }
        barrier.pass();
    }
    assert!(faults.is_empty(), "{faults:#?}");
    // What was behind a refusal was not even counted.
    let samples = scrape(running.address);
    let seen = samples[r#"corepulse_http_requests_total{route="/health",status="200"}"#];
    assert!((seen - table().len() as f64).abs() < 0.5, "{seen} answers");
}

#[test]
fn byte_by_byte_the_refusals_are_the_same() {
    let running = Running::start(&["--workers", "1"]);
    let mut barrier = Barrier::new(running.address);
    let mut faults = Vec::new();
    for (status, request) in table().into_iter().filter(|(_, bytes)| bytes.len() < 400) {
        let mut client = running.client();
        for byte in request.chunks(1) {
            // After the refusal the server may have closed already.
            if client.try_send(byte).is_err() {
                break;
            }
            barrier.pass();
        }
        let answer = client.try_answer(false).unwrap().unwrap();
        if answer.status != status {
            let shown = String::from_utf8_lossy(&request).into_owned();
            faults.push((status, answer.status, shown));
        }
    }
    assert!(faults.is_empty(), "expected, found, sent: {faults:#?}");
}

#[test]
fn a_refused_head_has_no_body() {
    // RFC 9110, section 9.3.2: content is never sent in an answer to HEAD.
    let running = Running::start(&[]);
    let mut client = running.client();
    client.send(b"HEAD /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!(answer.status, 400);
    client.assert_end();
}

/// Whoever uploads without looking must still be able to read why that was in vain.
#[test]
fn the_refusal_of_a_long_upload_can_be_read() {
    let running = Running::start(&[]);
    let body = vec![b' '; 2 * 1024 * 1024];
    let chunk = [b"200000\r\n", &body[..], b"\r\n0\r\n\r\n"].concat();
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    for (head, body) in [(&*length, &body), ("Transfer-Encoding: chunked\r\n\r\n", &chunk)] {
        for _ in 0..4 {
            let mut client = running.client();
            client.send(post(head).as_bytes());
            client.send(body);
            assert_refused(&mut client, 413, head.as_bytes());
        }
    }
    // The same when the refusal comes in the middle of the body.
    let small = "400\r\n".to_owned() + &" ".repeat(1024) + "\r\n";
    let mut client = running.client();
    client.send(post("Transfer-Encoding: chunked\r\n\r\n").as_bytes());
    client.send(small.repeat(2048).as_bytes());
    assert_refused(&mut client, 413, b"");
}

#[test]
fn what_follows_the_last_answer_is_never_answered() {
    let running = Running::start(&[]);
    let close = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let old = "GET /health HTTP/1.0\r\n\r\n";
    for last in [close, old] {
        let mut client = running.client();
        client.send(&[&get("/health")[..], last.as_bytes(), &get("/health")].concat());
        assert!(!client.answer().closes());
        assert!(client.answer().closes());
        client.assert_end();
    }
}
