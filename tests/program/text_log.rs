//! The log without flags: lines of pairs. A log that is not read does not end the server.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStderr, Stdio};
use testkit::{ChildProcess, HttpClient, get, post};

/// The program with its log in text, and the first line of that.
fn start() -> (ChildProcess, BufReader<ChildStderr>, String) {
    let mut command = testkit::server::command(&["--listen", "127.0.0.1:0", "--workers", "1"]);
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::with_capacity(1, process.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    (ChildProcess(process), log, line)
}

/// The pairs of a line, with values as they were meant.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut rest = line;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').unwrap_or_else(|| panic!("{rest:?} in {line}"));
        assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{key:?} in {line}");
        let (value, end) = if after.starts_with('"') {
            // A quoted value is a string of JSON.
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {line}"));
            (value, values.byte_offset())
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            assert!(!after[..end].contains(['"', '=', '\\']), "{line}");
            (after[..end].to_owned(), end)
        };
        pairs.push((key.to_owned(), value));
        let behind = &after[end..];
        assert!(behind.is_empty() || behind.starts_with(' '), "{behind:?} in {line}");
        rest = behind.trim_start_matches(' ');
    }
    pairs
}

#[test]
fn every_line_is_pairs_whatever_a_peer_sent() {
    let (process, mut log, first) = start();
    let started = pairs(first.trim_end());
    let value = |name: &str| {
        let found = started.iter().find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("{name} in {first}")).1.clone()
    };
    let address = value("address");
    assert_eq!(value("msg"), format!("listening on http://{address}"));
    assert_eq!((value("ingest_token"), value("read_token")), ("none".into(), "none".into()));
    let bad = br#"{"cpu":1,"rps":-1,"device_id":"\" level=ERROR msg=\"forged\nlevel=ERROR"}"#;
    assert_eq!(HttpClient::connect(address.parse().unwrap()).request(&post(bad)).status, 400);
    process.signal("TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().count() >= 3, "{rest}");
    for line in rest.lines().chain([first.trim_end()]) {
        let pairs = pairs(line);
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert!(keys.starts_with(&["time", "level", "msg"]), "{line}");
        assert_eq!(keys.last(), Some(&"target"), "{line}");
        let levels: Vec<_> = pairs.iter().filter(|(key, _)| key == "level").collect();
        assert!(levels.len() == 1 && ["INFO", "WARN"].contains(&&*levels[0].1), "{line}");
    }
}

#[test]
fn a_closed_standard_error_ends_nothing() {
    let (mut process, log, line) = start();
    drop(log);
    let (_, address) = line.split_once(" address=").unwrap();
    let address = address.split(' ').next().unwrap();
    let answer = HttpClient::connect(address.parse().unwrap()).request(&get("/health"));
    assert_eq!(answer.status, 200, "{answer:?}");
    // Its last line goes nowhere, and its exit code still tells that it ended in order.
    process.signal("TERM");
    assert!(process.0.wait().unwrap().success());
}
