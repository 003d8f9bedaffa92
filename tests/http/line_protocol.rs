//! InfluxDB's line protocol over real sockets, as its clients of both versions send it.

use std::io::Write;

use crate::in_process::InProcessServer;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use testkit::{HttpResponse, get};

const V1: &str = "/write?db=telegraf&rp=&precision=";
const V2: &str = "/api/v2/write?org=o&bucket=db%2Frp&precision=";

/// Returns a POST with further header lines, each with its line end.
fn write(target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn send(running: &InProcessServer, target: &str, fields: &str, body: &[u8]) -> HttpResponse {
    running.client().request(&write(target, fields, body))
}

/// Sends lines of which some are bad, and returns the error.
fn refuse(running: &InProcessServer, target: &str, body: &str) -> Value {
    let answer = send(running, target, "", body.as_bytes());
    assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")));
    answer.json()
}

fn stored(running: &InProcessServer, key: &str) -> Value {
    let answer = running.client().request(&get(&format!("/metrics/{key}")));
    assert_eq!(answer.status, 200, "{key}: {answer:?}");
    answer.json()
}

/// Returns a time that the server takes, in seconds.
fn now_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[test]
fn good_lines_are_answered_without_content_and_stored_as_any_metric() {
    let running = InProcessServer::start(&[]);
    let now = now_s();
    for (path, precision, factor) in
        [(V1, "n", 1_000_000_000), (V1, "s", 1), (V2, "us", 1_000_000), (V2, "ms", 1000)]
    {
        let timestamp = now * factor + 1;
        let line = format!("m,host=d1,z=1 cpu=41.5,rps=1200i,on=true {timestamp}\n");
        let answer = send(&running, &format!("{path}{precision}"), "", line.as_bytes());
        assert_eq!((answer.status, answer.text()), (204, ""), "{path}{precision}");
        let expected = json!({"timestamp": timestamp, "device_id": "d1", "cpu": 41.5, "rps": 1200});
        assert_eq!(stored(&running, &format!("d1:{timestamp}")), expected);
    }
    let lines = "m,device_id=d2 cpu=1,rps=2\n".repeat(20);
    assert_eq!(send(&running, "/write", "", lines.as_bytes()).status, 204);
    let analysis = running.client().request(&get("/analyze?device_id=d2")).json();
    assert_eq!(analysis["totals"]["accepted"], 20, "{analysis}");
}

#[test]
fn the_good_lines_of_a_body_are_kept() {
    let running = InProcessServer::start(&[]);
    let body = "m,host=d1 cpu=1,rps=2\n# no line\nm,host=d1 cpu=t,rps=2\nm,host=d1 rps=2\n";
    let message = "partial write: 2 of 3 lines rejected\n\
                   line 3: cpu: expected a finite number from 0 to 1000000, found a boolean at \
                   byte 14\nline 4: cpu: missing";
    assert_eq!(refuse(&running, "/write", body), json!({"error": message}));
    let error = json!({"code": "invalid", "message": message, "line": 3});
    assert_eq!(refuse(&running, "/api/v2/write", body), error);
    let message = "unable to parse: 1 of 1 lines rejected\nline 1: expected a space and a field, \
                   found the end of the line at byte 1";
    assert_eq!(refuse(&running, "/write", "m"), json!({"error": message}));
    let error = json!({"code": "invalid", "message": message, "line": 1});
    assert_eq!(refuse(&running, "/api/v2/write", "m"), error);
    let analysis = running.client().request(&get("/analyze")).json();
    assert_eq!(analysis["totals"]["accepted"], 2);
    // A hundred errors are told; all are counted.
    let many = refuse(&running, "/api/v2/write", &"m\n".repeat(1000));
    let message = many["message"].as_str().unwrap();
    assert!(message.starts_with("unable to parse: 1000 of 1000 lines rejected\nline 1: "));
    assert_eq!(message.lines().count(), 101);
}

#[test]
fn a_request_that_is_refused_whole_says_why_in_the_form_of_its_version() {
    let running = InProcessServer::start(&["--ingest-token", "t", "--max-body", "4KiB"]);
    let token = "Authorization: Token t\r\n";
    let with = |fields: &str| format!("{token}{fields}");
    let good = b"m cpu=1,rps=2".as_slice();
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&[b'\n'; 100_000]).unwrap();
    let bomb = bomb.finish().unwrap();
    for (status, code, query, fields, body, message) in [
        (401, "unauthorized", "", String::new(), good, "unauthorized access: expected "),
        (400, "invalid", "?precision=ps", with(""), good, "precision: expected ns, us, ms, s, "),
        (400, "invalid", "", with(""), b"# nothing", "expected an event, found an empty body"),
        (400, "invalid", "", with("Content-Encoding: gzip\r\n"), good, "body: expected gzip"),
        (415, "unsupported media type", "", with("Content-Encoding: br\r\n"), good, "Content-E"),
        (413, "request too large", "", with("Content-Encoding: gzip\r\n"), &bomb, "body: longer"),
    ] {
        for (path, member) in [("/write", "error"), ("/api/v2/write", "message")] {
            let answer = send(&running, &format!("{path}{query}"), &fields, body);
            assert_eq!(answer.status, status, "{path} {message}: {answer:?}");
            let error = answer.json();
            let found = error[member].as_str().unwrap_or_else(|| panic!("{error}"));
            assert!(found.starts_with(message), "{found}");
            let members = error.as_object().unwrap().len();
            let is_v2 = member == "message";
            assert_eq!(
                (members, is_v2),
                if error["code"] == code { (2, true) } else { (1, false) }
            );
        }
    }
    let many = "m cpu=1,rps=2\n".repeat(200);
    let answer = send(&running, "/write", token, many.as_bytes());
    assert_eq!(answer.status, 204);
}

#[test]
fn a_token_has_the_schemes_of_both_versions() {
    let running = InProcessServer::start(&["--ingest-token", "s3cret"]);
    let line = b"m cpu=1,rps=2";
    for (expected, authorization) in [
        (204, "Token s3cret"),
        (204, "Bearer s3cret"),
        (204, "Token user:s3cret"),
        // user:s3cret
        (204, "Basic dXNlcjpzM2NyZXQ="),
        (401, "Token s3cre"),
        (401, "Token"),
        (401, "Basic s3cret"),
        (401, "Basic dXNlcjpzM2NyZQ=="),
    ] {
        let fields = format!("Authorization: {authorization}\r\n");
        for path in ["/write", "/api/v2/write"] {
            let answer = send(&running, path, &fields, line);
            assert_eq!(answer.status, expected, "{path} {authorization}");
            let challenge = (expected == 401).then_some("Bearer");
            assert_eq!(answer.header("www-authenticate"), challenge);
        }
    }
    // In a query it would get into the logs of proxies.
    assert_eq!(send(&running, "/write?u=user&p=s3cret", "", line).status, 401);
    // A password is no bearer token elsewhere, and the scheme Token is one.
    let metric = br#"{"cpu":1,"rps":2}"#;
    for (expected, authorization) in [(202, "Token s3cret"), (401, "Basic dXNlcjpzM2NyZXQ=")] {
        let fields = format!("Authorization: {authorization}\r\n");
        let answer = send(&running, "/metrics", &fields, metric);
        assert_eq!(answer.status, expected, "{authorization}");
    }
    // Where none is asked for, any is as good as none.
    let open = InProcessServer::start(&[]);
    for authorization in ["Token", "Token ", "Basic cm9vdDpyb290", "Basic %"] {
        let fields = format!("Authorization: {authorization}\r\n");
        assert_eq!(send(&open, "/write", &fields, line).status, 204, "{authorization}");
    }
}

#[test]
fn bodies_are_taken_as_clients_send_them() {
    let running = InProcessServer::start(&[]);
    let line = b"m,host=d1 cpu=1,rps=2";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(line).unwrap();
    let gzip = gzip.finish().unwrap();
    for content_type in ["text/plain; charset=utf-8", "application/octet-stream", "text/csv"] {
        let fields = format!("Content-Type: {content_type}\r\nContent-Encoding: identity\r\n");
        assert_eq!(send(&running, "/api/v2/write", &fields, line).status, 204, "{content_type}");
    }
    assert_eq!(send(&running, "/write", "Content-Encoding: gzip\r\n", &gzip).status, 204);
    let chunked = [
        b"POST /api/v2/write HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
          Content-Encoding: gzip\r\n\r\n",
        format!("{:x}\r\n", gzip.len()).as_bytes(),
        &gzip,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    assert_eq!(running.client().request(&chunked).status, 204);
    // Several on one connection: without content, each answer still has its end.
    let mut client = running.client();
    client.send(&[write("/write", "", line), write("/write", "", b"m"), get("/health")].concat());
    let statuses = [client.receive().status, client.receive().status, client.receive().status];
    assert_eq!(statuses, [204, 400, 200]);
}

#[test]
fn a_ping_needs_no_token_and_tells_a_version() {
    let running = InProcessServer::start(&["--ingest-token", "t"]);
    let mut client = running.client();
    for request in [get("/ping"), get("/ping?verbose=true")] {
        let answer = client.request(&request);
        assert_eq!((answer.status, answer.text()), (204, ""));
        let version = concat!("corepulse-", env!("CARGO_PKG_VERSION"));
        assert_eq!(answer.header("x-influxdb-version"), Some(version));
    }
    client.send(b"HEAD /ping HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive_response_to_head().status, 204);
    assert_eq!(client.request(&write("/ping", "", b"")).status, 405);
}
