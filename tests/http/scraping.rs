//! `GET /metrics/prometheus`: in the format and coding that is asked for, and with no series that
//! can never count anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use crate::in_process::InProcessServer;
use flate2::read::GzDecoder;
use testkit::http_client::post_with;
use testkit::{Exposition, HttpClient, HttpResponse, get, get_as_localhost, post};

const SCRAPE: &str = "/metrics/prometheus";
const OPEN_METRICS: &str = "application/openmetrics-text";

/// A scrape with further fields, each with its line end.
fn scrape_with(client: &mut HttpClient, fields: &str) -> HttpResponse {
    let request = format!("GET {SCRAPE} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let answer = client.request(request.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    // A cache has to know these fields, whichever form was chosen.
    assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
    answer
}

/// The names of all series, without their values.
fn series(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').expect("a series and a value").0).collect()
}

fn inflated(answer: &HttpResponse) -> String {
    let mut text = String::new();
    GzDecoder::new(&*answer.body).read_to_string(&mut text).expect("it is gzip of text");
    text
}

#[test]
fn whoever_takes_gzip_gets_the_same_series_in_a_tenth_of_the_bytes() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let plain = scrape_with(&mut client, "");
    assert_eq!(plain.header("content-encoding"), None);
    // As Prometheus asks.
    let gzipped = scrape_with(&mut client, "Accept-Encoding: gzip\r\n");
    assert_eq!(gzipped.header("content-encoding"), Some("gzip"));
    assert_eq!(gzipped.header("content-type"), plain.header("content-type"));
    assert_eq!(series(&inflated(&gzipped)), series(plain.text()));
    let (few, many) = (gzipped.body.len(), plain.body.len());
    assert!(few * 5 < many, "{few} beside {many}");
    for (fields, coded) in [
        ("Accept-Encoding: identity;q=0.5, gzip;q=0.4\r\n", false),
        ("Accept-Encoding: gzip;q=0\r\n", false),
        ("Accept-Encoding: br, deflate\r\n", false),
        ("Accept-Encoding: br\r\naccept-encoding: gzip;q=0.1\r\n", true),
        ("Accept-Encoding: *\r\n", true),
    ] {
        let answer = scrape_with(&mut client, fields);
        assert_eq!(answer.header("content-encoding"), coded.then_some("gzip"), "{fields}");
    }
    // HEAD is GET without the body.
    let head = format!("HEAD {SCRAPE} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    client.send(head.as_bytes());
    assert_eq!(client.receive_response_to_head().header("content-encoding"), Some("gzip"));
}

#[test]
fn accept_in_two_lines_is_one_list() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for (fields, open) in [
        (format!("Accept: text/html\r\nAccept: {OPEN_METRICS}\r\n"), true),
        (format!("Accept: {OPEN_METRICS};q=0.5\r\nAccept: text/plain\r\n"), false),
        (format!("Accept: text/plain;q=0.5\r\nX: y\r\naccept: {OPEN_METRICS}\r\n"), true),
        (format!("Accept:\r\nAccept: {OPEN_METRICS}\r\n"), true),
    ] {
        let answer = scrape_with(&mut client, &fields);
        let is_open = answer.header("content-type").unwrap().starts_with(OPEN_METRICS);
        assert_eq!(is_open, open, "{fields}");
        assert_eq!(answer.text().ends_with("# EOF\n"), open, "{fields}");
    }
}

/// Pairs of route and status with their counts.
fn requests(running: &InProcessServer) -> BTreeMap<String, f64> {
    Exposition::scrape(running.address).with_prefix("corepulse_http_requests_total{")
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

/// Sends every path with every method, with and without a token, and with unknown parameters.
fn ask_everything(running: &InProcessServer) {
    let paths = [
        "/",
        "/metrics",
        "/metrics/1",
        "/metrics/prometheus",
        "/analyze",
        "/analyze?device_id=nobody",
        "/health",
        "/ready",
        "/openapi.json",
        "/debug/pprof/",
        "/debug/pprof/latency",
        "/debug/pprof/latency?route=none",
        "/debug/pprof/threads",
        "/debug/pprof/profile?seconds=0",
        "/debug/pprof/flamegraph?seconds=x",
        "/nothing",
        "*",
    ];
    for path in paths {
        for query in ["", "?x=y"] {
            for method in METHODS {
                for fields in ["Host: localhost\r\nAuthorization: Bearer t\r\n", "Host: test\r\n"] {
                    let head = format!("{method} {path}{query} HTTP/1.1\r\n{fields}");
                    let request = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
                    let mut client = running.client();
                    client.send(request.as_bytes());
                    assert!(client.read_to_end().starts_with(b"HTTP/1.1 "), "{request}");
                }
            }
        }
    }
}

/// Sends requests that framing refuses, and requests that ingestion refuses.
fn ask_wrongly(running: &InProcessServer) {
    let token = "Authorization: Bearer t\r\n";
    let line = "POST /metrics HTTP/1.1";
    let raw = |line: &str, fields: &str| {
        format!("{line}\r\nHost: test\r\n{token}{fields}\r\n").into_bytes()
    };
    let posting = |fields: &str, body: &[u8]| post_with(&format!("{token}{fields}"), body);
    let metric = br#"{"cpu":1,"rps":1}"#;
    let long = format!("GET /{} HTTP/1.1", "a".repeat(9_000));
    for request in [
        posting("", metric),
        posting("", b"{}"),
        posting("Content-Type: text/html\r\n", metric),
        posting("Content-Encoding: br\r\n", metric),
        posting("", &b"{}\n".repeat(10_001)),
        post(metric),
        raw(line, ""),
        raw(line, "Content-Length: 2000000\r\n"),
        raw(line, "Content-Length: x\r\n"),
        raw(line, "Content-Length: 0\r\nExpect: more\r\n"),
        raw(line, &"A: b\r\n".repeat(101)),
        raw(line, "Transfer-Encoding: br, chunked\r\n"),
        raw("POST https://test/metrics HTTP/1.1", "Content-Length: 0\r\n"),
        raw(&long, ""),
        raw("GET / HTTP/2.0", ""),
        raw("BREW / HTTP/1.1", ""),
        raw("CONNECT test:80 HTTP/1.1", ""),
    ] {
        assert!(running.client().request(&request).status >= 202);
    }
    // One of the two is refused, whichever comes second.
    let mut first = running.client();
    first.send(&get_as_localhost("/debug/pprof/profile?seconds=1"));
    let second = running.client().request(&get_as_localhost("/debug/pprof/flamegraph?seconds=1"));
    let mut statuses = [first.receive().status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
}

/// A store of metrics keeps a series for whatever was ever exported, however long it stays 0.
#[test]
fn pairs_that_cannot_be_are_not_exported_and_those_that_can_are_from_the_start() {
    let running = InProcessServer::start(&["--ingest-token", "t"]);
    let before = requests(&running);
    for (route, status) in
        [("/health", 202), ("/health", 404), ("/analyze", 202), ("/", 431), ("unknown", 200 + 2)]
    {
        let series =
            format!("corepulse_http_requests_total{{route=\"{route}\",status=\"{status}\"}}");
        assert!(!before.contains_key(&series), "{series}");
    }
    for (route, status) in [("/metrics", 202), ("/health", 200), ("refused", 400)] {
        let series =
            format!("corepulse_http_requests_total{{route=\"{route}\",status=\"{status}\"}}");
        assert!(before.contains_key(&series), "{series}");
    }
    ask_everything(&running);
    ask_wrongly(&running);
    assert_eq!(running.client().request(&get("/health")).status, 200);
    let after = requests(&running);
    let new: Vec<_> = after.iter().filter(|(series, _)| !before.contains_key(*series)).collect();
    assert!(new.is_empty(), "these were not there from the start: {new:?}");
    // And most of those that can be had without a broken store or a full server have been had.
    let had = after.values().filter(|count| **count > 0.0).count();
    assert!(had > 60, "{had} of {}: {after:?}", after.len());
}
