//! Bad input over real sockets: each is answered as what it is, leaves nothing behind, and the
//! same server serves the next client.

use std::io::Write;

use crate::in_process::InProcessServer;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use testkit::http_client::{metric, post_with};
use testkit::{HttpResponse, assert_problem, get, post};

const JSON: &str = "Content-Type: application/json\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const GZIP: &str = "Content-Encoding: gzip\r\n";

/// A server, and how many events it ought to have accepted.
struct Tried {
    running: InProcessServer,
    accepted: u64,
}

impl Tried {
    fn new() -> Self {
        Self { running: InProcessServer::start(&[]), accepted: 0 }
    }

    /// Sends a body on a connection of its own, checks that it is refused as a whole and has left
    /// nothing behind, and that the next client is served. Answers the problem.
    fn refuse(&mut self, status: u16, fields: &str, body: &[u8]) -> Value {
        let answer = self.running.client().request(&post_with(fields, body));
        let problem = assert_problem(&answer, status, body);
        self.assert_sound();
        problem
    }

    /// Sends a body of which some is taken.
    fn accept(&mut self, fields: &str, body: &[u8]) -> HttpResponse {
        let answer = self.running.client().request(&post_with(fields, body));
        assert_eq!(answer.status, 202, "{answer:?}");
        self.accepted += answer.json()["accepted"].as_u64().unwrap();
        self.assert_sound();
        answer
    }

    /// The next client is served, and finds exactly what was accepted.
    fn assert_sound(&mut self) {
        let mut next = self.running.client();
        let before = next.request(&get("/analyze")).json();
        assert_eq!(before["totals"]["accepted"], self.accepted);
        let outcome = |name: &str| before["store"][name].as_u64().unwrap();
        let outcomes = outcome("stored") + outcome("coalesced");
        assert_eq!(outcomes, self.accepted, "{before}");
        assert_eq!(next.request(&post(metric("next", 1_700_000_000).as_bytes())).status, 202);
        self.accepted += 1;
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

/// Parameters that a path does not know are refused: `?deviceId=` would otherwise mean all devices.
#[test]
fn unknown_parameters_are_named_with_the_known_ones() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for (target, detail) in [
        (
            "/analyze?deviceId=d1",
            "query: the parameters of this path are device_id and scope, found \"deviceId\"",
        ),
        (
            "/analyze?device_id=",
            "device_id: expected 1 to 128 of A-Z a-z 0-9 . _ : -, found nothing",
        ),
        ("/analyze?device_id=d1&device_id=d2", "device_id: expected once, found it again"),
        ("/metrics/prometheus?x", "query: this path takes no parameters, found \"x\""),
        ("/metrics/1?device_id=d1", "query: this path takes no parameters, found \"device_id\""),
        ("/openapi.json?v=3", "query: this path takes no parameters, found \"v\""),
        ("/?x=%22", "query: this path takes no parameters, found \"x\""),
    ] {
        let problem = assert_problem(&client.request(&get(target)), 400, b"");
        assert_eq!(problem["detail"], detail, "{target}");
    }
    let metric = br#"{"cpu":1,"rps":1}"#;
    let head =
        format!("POST /metrics?sync=1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}", metric.len());
    let posted = [head.as_bytes(), b"\r\n\r\n", metric].concat();
    assert_problem(&client.request(&posted), 400, b"");
    // Probes and what monitors add to get past caches.
    for target in ["/health?1795872076", "/ready?a=b&a=b", "/analyze?", "/?&"] {
        assert_eq!(client.request(&get(target)).status, 200, "{target}");
    }
    assert_eq!(running.stop().store.accepted, 0);
}

/// Several lines of a list are one (RFC 9110, section 5.3): an empty one adds nothing, and two
/// codings in two lines are as many as in one.
#[test]
fn content_encoding_in_two_lines_is_one_list() {
    let running = InProcessServer::start(&[]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(br#"{"cpu":1,"rps":1}"#).unwrap();
    let gzipped = encoder.finish().unwrap();
    for (first, second, status) in
        [("", "gzip", 202), ("gzip", "", 202), ("gzip", "gzip", 415), ("identity", "gzip", 415)]
    {
        let fields = format!("Content-Encoding: {first}\r\nX: y\r\ncontent-encoding: {second}\r\n");
        let answer = running.client().request(&post_with(&fields, &gzipped));
        assert_eq!(answer.status, status, "{first:?} {second:?}: {answer:?}");
    }
}

/// A request for a path that is nearly right gets an error that names the right one.
#[test]
fn a_near_miss_names_what_was_meant() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let problem = assert_problem(&client.request(&get("/metrics")), 405, b"");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("GET /metrics/prometheus"), "{detail}");
    for (target, named) in [("/analyze/", "/analyze is"), ("/metrics/1/", "/metrics/{key} is")] {
        let problem = assert_problem(&client.request(&get(target)), 404, b"");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{detail}");
    }
    for target in ["//", "/nothing", "/nothing/"] {
        let problem = assert_problem(&client.request(&get(target)), 404, b"");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("GET / lists"), "{target}: {detail}");
    }
}

#[test]
fn malformed_bodies_name_the_place() {
    let mut tried = Tried::new();
    for (body, at) in [
        (&b"{"[..], 1),
        (b"}", 0),
        (b"nul", 3),
        (b"hello", 0),
        (b"{\"cpu\":1,\"rps\":2,}", 17),
        (b"{\"cpu\":1 \"rps\":2}", 9),
        (b"{\"cpu\":01,\"rps\":2}", 8),
        (b"{\"cpu\":+1,\"rps\":2}", 7),
        (b"{\"cpu\":.5,\"rps\":2}", 7),
        (b"{\"cpu\":1.,\"rps\":2}", 9),
        (b"{\"cpu\":NaN,\"rps\":2}", 7),
        (b"{\"cpu\":Infinity,\"rps\":2}", 7),
        (b"{cpu:1}", 1),
        (b"{'cpu':1}", 1),
        (b"{\"cpu\":1,\"rps\":2} x", 18),
        (b"[{\"cpu\":1,\"rps\":2}", 18),
        (b"[{\"cpu\":1,\"rps\":2},]", 19),
        (b"[{\"cpu\":1,\"rps\":2}]]", 19),
        (b"{\"cpu\":1,\"rps\":2,\"a\":\"\\x\"}", 22),
        (b"{\"cpu\":1,\"rps\":2,\"a\":\"\\u12g4\"}", 22),
        (b"{\"cpu\":1,\"rps\":2,\"a\":\"tab\there\"}", 25),
        (b" \xef\xbb\xbf{\"cpu\":1,\"rps\":2}", 1),
        (b"{\"cpu\":1,\"rps\":2,\"a\":\"\xff\"}", 22),
        (b"{\"cpu\":1,\"rps\":2,\"a\":\"\xed\xa0\x80\"}", 22),
        (b"{\"cpu\":1,\"rps\":2,\"\xc3\x28\":1}", 18),
        (b"{\"cpu\":1,\"rps\":2,\"device_id\":\"\xc0\xaf\"}", 30),
    ] {
        let problem = tried.refuse(400, JSON, body);
        let (shown, detail) = (String::from_utf8_lossy(body), detail(&problem));
        let place = detail.split("at byte ").nth(1).and_then(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse::<i64>().ok())
        });
        let place = place.unwrap_or_else(|| panic!("{shown}: no place in {detail:?}"));
        // A token's start or the byte within it that is wrong: both tell the sender where.
        assert!((place - at).abs() <= 5, "{shown}: expected about {at}, found {detail:?}");
    }
}

#[test]
fn a_body_truncated_at_any_byte_is_refused() {
    let mut tried = Tried::new();
    let event =
        r#"{"timestamp":"2026-11-23T08:00:00Z","cpu":1.5e1,"rps":20,"device_id":"d\u0031"}"#;
    let zipped = gzip(event.as_bytes());
    let array = format!("[{event},\n {event}]");
    for (fields, body) in [
        (JSON, event.as_bytes()),
        (JSON, array.as_bytes()),
        (NDJSON, event.as_bytes()),
        (GZIP, &zipped),
    ] {
        for end in 0..body.len() {
            tried.refuse(400, fields, &body[..end]);
        }
        tried.accept(fields, body);
    }
}

/// A parser that counts in 64 bits must not fail at these.
#[test]
fn lengths_that_are_too_great_are_refused() {
    let mut tried = Tried::new();
    for length in ["18446744073709551616", "99999999999999999999999999"] {
        let mut client = tried.running.client();
        let head = format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        assert_problem(&client.request(head.as_bytes()), 413, head.as_bytes());
        tried.accept(JSON, metric("d1", 1_700_000_000).as_bytes());
    }
}

#[test]
fn a_request_truncated_at_any_byte_is_never_applied() {
    let mut tried = Tried::new();
    let body = metric("d1", 1_700_000_000);
    let chunked = format!(
        "POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for request in [&post(body.as_bytes())[..], chunked.as_bytes()] {
        for end in 0..request.len() {
            let mut client = tried.running.client();
            client.send(&request[..end]);
            // Half of them end politely, and half are simply gone.
            if end % 2 == 0 {
                client.shutdown_write();
                client.assert_end();
            }
            drop(client);
            if end % 16 == 0 {
                tried.assert_sound();
            }
        }
    }
    tried.assert_sound();
}

#[test]
fn nesting_without_end_is_refused() {
    let mut tried = Tried::new();
    let deep = |open: &str| open.repeat(20_000);
    for open in ["[", "{", "{\"a\":", "[[]]["] {
        let bodies = [
            deep(open),
            format!(r#"{{"cpu":1,"rps":2,"unknown":{}"#, deep(open)),
            format!(r#"{{"cpu":1,"rps":2,"device_id":{}"#, deep(open)),
            format!(r#"{{"cpu":{}"#, deep(open)),
            format!(r#"[{{"cpu":1,"rps":2,"unknown":{}"#, deep(open)),
        ];
        for body in bodies {
            tried.refuse(400, JSON, body.as_bytes());
        }
    }
    // Closed in good order it is JSON, and still too deep.
    let closed = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for field in ["unknown", "device_id", "timestamp", "cpu"] {
        let body = format!(r#"{{"cpu":1,"rps":2,"{field}":{closed}}}"#);
        let problem = tried.refuse(400, JSON, body.as_bytes());
        assert!(detail(&problem).contains("levels"), "{problem}");
    }
    // Brackets in a string are no nesting.
    let quoted = format!(r#"{{"cpu":1,"rps":2,"unknown":"{}"}}"#, deep("["));
    tried.accept(JSON, quoted.as_bytes());
    let lines = format!("{}\n{}\n", deep("["), metric("d1", 1_700_000_000));
    let answer = tried.accept(NDJSON, lines.as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!(1)));
}

#[test]
fn oversize_bodies_are_refused_however_they_come() {
    let mut tried = Tried::new();
    let large = b" ".repeat(1024 * 1024 + 1);
    tried.refuse(413, JSON, &large);
    let announced = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n";
    assert_problem(&tried.running.client().request(announced), 413, announced);
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
    let head = "POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = tried.running.client();
    client.send(head.as_bytes());
    client.send(chunk.repeat(257).as_bytes());
    assert_problem(&client.receive(), 413, b"");
    tried.assert_sound();
    // As large as may be, in both ways.
    let mut largest = metric("d1", 1_700_000_000).into_bytes();
    largest.resize(1024 * 1024, b' ');
    tried.accept(JSON, &largest);
    tried.accept(GZIP, &gzip(&largest));
    let bomb = gzip(&b" ".repeat(256 * 1024 * 1024));
    assert!(bomb.len() < 1024 * 1024);
    let problem = tried.refuse(413, GZIP, &bomb);
    assert!(detail(&problem).contains("inflation"), "{problem}");
    largest.push(b' ');
    tried.refuse(413, GZIP, &gzip(&largest));
}

#[test]
fn damaged_gzip_is_refused() {
    let mut tried = Tried::new();
    let plain = metric("d1", 1_700_000_000);
    let good = gzip(plain.as_bytes());
    tried.refuse(400, GZIP, plain.as_bytes());
    tried.refuse(400, GZIP, b"");
    tried.refuse(400, GZIP, &[&good[..], b"trailing"].concat());
    tried.refuse(400, GZIP, &gzip(&good));
    for at in [0, 1, 2, good.len() / 2, good.len() - 8, good.len() - 1] {
        let mut damaged = good.clone();
        damaged[at] ^= 0x55;
        tried.refuse(400, GZIP, &damaged);
    }
    // Several members are one stream (RFC 1952, section 2.2).
    let (one, two) = plain.split_at(10);
    let members = [gzip(one.as_bytes()), gzip(two.as_bytes())].concat();
    tried.accept(GZIP, &members);
}
