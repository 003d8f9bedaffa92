//! Every status of ingestion is described in `openapi.json`, and can be had.

use std::collections::BTreeSet;

use crate::in_process::InProcessServer;
use crate::openapi::{document, keys};
use crate::token_file::TokenFile;
use testkit::http_client::post_with;
use testkit::{assert_problem, post};

/// Requests that each get another status, beside those that take their time: 408 and 503.
fn provocations() -> Vec<(u16, Vec<u8>)> {
    let token = "Authorization: Bearer t\r\n";
    let posting = |fields: &str, body: &[u8]| post_with(&format!("{token}{fields}"), body);
    let metric = br#"{"device_id":"d","cpu":1,"rps":1}"#;
    let raw = |line: &str, fields: &str| {
        format!("{line}\r\nHost: test\r\n{token}{fields}\r\n").into_bytes()
    };
    let line = "POST /metrics HTTP/1.1";
    let long = format!("POST /metrics?{} HTTP/1.1", "a".repeat(9000));
    vec![
        (202, posting("", metric)),
        (429, posting("", metric)),
        (400, posting("", b"[]")),
        (401, post(metric)),
        (403, post_with("Authorization: Bearer gate\r\n", metric)),
        (413, raw(line, "Content-Length: 2000000\r\n")),
        (414, raw(&long, "Content-Length: 0\r\n")),
        (415, posting("Content-Type: text/html\r\n", metric)),
        (415, posting("Content-Encoding: br\r\n", metric)),
        (417, posting("Expect: more\r\n", metric)),
        (431, raw(line, &"A: b\r\n".repeat(101))),
        (421, raw("POST https://test/metrics HTTP/1.1", "Content-Length: 0\r\n")),
        (501, raw(line, "Transfer-Encoding: br, chunked\r\n")),
        (505, raw("POST /metrics HTTP/2.0", "Content-Length: 0\r\n")),
    ]
}

#[test]
fn every_status_of_ingestion_is_described_and_can_be_had() {
    let tokens = TokenFile::new("statuses", &[("gate", "write dev- -")]);
    let flags = ["--ingest-token", "t", "--tokens", tokens.path(), "--device-limit", "1:3600"];
    let running = InProcessServer::start(&flags);
    let document = document();
    let mut had = BTreeSet::from(["408".to_owned(), "503".to_owned()]);
    for (status, request) in provocations() {
        let answer = running.client().request(&request);
        assert_eq!(answer.status, status, "{answer:?}");
        if status >= 400 {
            assert_problem(&answer, status, b"");
        }
        had.insert(status.to_string());
    }
    let described = keys(&document["paths"]["/metrics"]["post"]["responses"]);
    assert_eq!(described, had.iter().map(String::as_str).collect());
}
