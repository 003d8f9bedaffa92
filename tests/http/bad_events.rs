//! Good and bad events in one request: exactly the bad ones are named, and only the good applied.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::in_process::InProcessServer;
use serde_json::{Value, json};
use testkit::http_client::{metric, post_with};
use testkit::{Exposition, assert_problem, get, post};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

fn accepted(running: &InProcessServer) -> u64 {
    let answer = running.client().request(&get("/analyze")).json();
    answer["totals"]["accepted"].as_u64().unwrap()
}

/// Bad events, with the field that the detail has to name.
fn bad_events() -> Vec<(String, &'static str)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let long = "x".repeat(129);
    let with = |rest: &str| format!(r#"{{"cpu":1,"rps":2,{rest}}}"#);
    vec![
        (r#"{"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":1}"#.into(), "rps"),
        (r#"{"cpu":null,"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":"hot","rps":2}"#.into(), "cpu"),
        (r#"{"cpu":"","rps":2}"#.into(), "cpu"),
        (r#"{"cpu":"-1","rps":2}"#.into(), "cpu"),
        (r#"{"cpu":1,"rps":"1,5"}"#.into(), "rps"),
        (r#"{"cpu":true,"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":[1],"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":1e400,"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":-1e400,"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":-0.001,"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":1000000.5,"rps":2}"#.into(), "cpu"),
        (r#"{"cpu":1,"rps":-1}"#.into(), "rps"),
        (r#"{"cpu":1,"rps":1e400}"#.into(), "rps"),
        (r#"{"cpu":1,"rps":1000000000001}"#.into(), "rps"),
        (r#"{"cpu":1,"rps":{"a":[1]}}"#.into(), "rps"),
        (with(r#""CPU":1"#), "cpu"),
        (with(r#""c\u0070u":1"#), "cpu"),
        (with(r#""device_id":"a","Device_ID":"a""#), "device_id"),
        (with(r#""device_id":"""#), "device_id"),
        (with(r#""device_id":"a b""#), "device_id"),
        (with(r#""device_id":"a/b""#), "device_id"),
        (with(r#""device_id":"\u0000""#), "device_id"),
        (with(r#""device_id":"é""#), "device_id"),
        (with(r#""device_id":-7"#), "device_id"),
        (with(r#""device_id":7.5"#), "device_id"),
        (with(&format!(r#""device_id":"{long}""#)), "device_id"),
        (with(&format!(r#""timestamp":{}"#, now + 700)), "timestamp"),
        (with(&format!(r#""timestamp":{}"#, (now + 700) * 1000)), "timestamp"),
        (with(r#""timestamp":-1"#), "timestamp"),
        (with(&format!(r#""timestamp":"{}""#, now + 700)), "timestamp"),
        (with(&format!(r#""timestamp":{}.5"#, now + 700)), "timestamp"),
        (with(r#""timestamp":-1.5"#), "timestamp"),
        (with(r#""timestamp":5e18"#), "timestamp"),
        (with(r#""timestamp":"2026-11-23""#), "timestamp"),
        (with(r#""timestamp":"yesterday""#), "timestamp"),
        (with(r#""timestamp":"2026-13-01T00:00:00Z""#), "timestamp"),
        (with(r#""timestamp":"2999-01-01T00:00:00Z""#), "timestamp"),
        (with(r#""timestamp":99999999999999999999"#), "timestamp"),
        (with(r#""timestamp":true"#), "timestamp"),
        ("[]".into(), "object"),
        ("[1700000000,1,2]".into(), "object"),
        ("null".into(), "object"),
        ("7".into(), "object"),
        (r#""text""#.into(), "object"),
    ]
}

fn assert_errors(answer: &Value, expected: &[(usize, &str)]) {
    assert_eq!(answer["rejected"], expected.len(), "{answer}");
    let errors = answer["errors"].as_array().unwrap();
    let indexes: Vec<_> = errors.iter().map(|error| error["index"].clone()).collect();
    let expected_indexes: Vec<_> = expected.iter().map(|(index, _)| json!(index)).collect();
    assert_eq!(indexes, expected_indexes, "{answer}");
    for (error, (_, field)) in errors.iter().zip(expected) {
        assert!(error["detail"].as_str().unwrap().contains(field), "{field}: {error}");
    }
}

#[test]
fn a_single_bad_event_is_400_and_named() {
    let running = InProcessServer::start(&[]);
    for (event, field) in bad_events() {
        // An array as a whole body is a batch.
        if event.starts_with('[') {
            continue;
        }
        let answer = running.client().request(&post(event.as_bytes()));
        let problem = assert_problem(&answer, 400, event.as_bytes());
        assert_errors(&problem, &[(0, field)]);
    }
    assert_eq!(accepted(&running), 0);
}

#[test]
fn good_and_bad_ones_are_told_apart_in_arrays_and_lines() {
    let bad = bad_events();
    let good = metric("d1", 1_700_000_000);
    for (open, separator, close, fields) in
        [("[", ",", "]", ""), ("", "\n", "\n", NDJSON), ("", "\r\n\r\n", "", NDJSON)]
    {
        let running = InProcessServer::start(&[]);
        let mut events = Vec::new();
        let mut expected = Vec::new();
        for (event, field) in &bad {
            events.push(good.as_str());
            expected.push((events.len(), *field));
            events.push(event);
        }
        events.push(&good);
        let body = [open, &events.join(separator), close].concat();
        let answer = running.client().request(&post_with(fields, body.as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["accepted"], bad.len() + 1);
        assert_eq!(answer["anomalies"], 0);
        assert_errors(&answer, &expected);
        assert_eq!(accepted(&running), bad.len() as u64 + 1);
        let samples = Exposition::scrape(running.address);
        let rejected = samples.sum("corepulse_events_rejected_total");
        assert_eq!(rejected, bad.len() as f64);
        assert_eq!(samples.value("corepulse_events_accepted_total"), bad.len() as f64 + 1.0);
    }
}

#[test]
fn a_line_that_is_not_json_or_not_utf8_costs_that_line_alone() {
    let running = InProcessServer::start(&[]);
    let good = metric("d1", 1_700_000_000);
    let lines: [&[u8]; 8] = [
        good.as_bytes(),
        b"{\"cpu\":NaN,\"rps\":2}",
        good.as_bytes(),
        b"{\"cpu\":1,\"rps\":2,\"a\":\"\xff\"}",
        b"{\"cpu\":1,",
        b"\"rps\":2}",
        good.as_bytes(),
        b"{\"cpu\":1,\"rps\":2",
    ];
    let answer = running.client().request(&post_with(NDJSON, &lines.join(&b'\n')));
    assert_eq!(answer.status, 202, "{answer:?}");
    let not_a_number = "cpu: expected a finite number, found NaN or infinity at byte 7";
    let expected = [(1, not_a_number), (3, "UTF-8"), (4, "byte 9"), (5, "byte"), (7, "byte 16")];
    assert_eq!(answer.json()["accepted"], 3);
    assert_errors(&answer.json(), &expected);
    assert_eq!(accepted(&running), 3);
}

#[test]
fn values_as_a_template_engine_writes_them_are_numbers() {
    let running = InProcessServer::start(&[]);
    let event = r#"{"timestamp":"1700000000","cpu":"41.5","rps":"1200","device_id":17}"#;
    let answer = running.client().request(&post(event.as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    let stored = running.client().request(&get("/metrics/17:1700000000"));
    let value = "{\"timestamp\":1700000000,\"cpu\":41.5,\"rps\":1200,\"device_id\":\"17\"}\n";
    assert_eq!(stored.text(), value);
    let seen = running.client().request(&get("/analyze?device_id=17")).json();
    assert_eq!(seen["cpu"]["last"], 41.5, "{seen}");
}

#[test]
fn a_body_without_a_good_event_is_400_with_errors() {
    let running = InProcessServer::start(&[]);
    for fields in ["", NDJSON] {
        for body in ["", " ", "\n\r\n\t"] {
            let answer = running.client().request(&post_with(fields, body.as_bytes()));
            let problem = assert_problem(&answer, 400, b"");
            assert_eq!(problem["errors"], json!([]), "{body:?}: {problem}");
        }
    }
    for body in ["[]", " [ ] "] {
        let problem = assert_problem(&running.client().request(&post(body.as_bytes())), 400, b"");
        assert_eq!(problem["errors"], json!([]), "{body:?}: {problem}");
    }
    let body = r#"[{"cpu":1},{"rps":1},7]"#;
    let problem = assert_problem(&running.client().request(&post(body.as_bytes())), 400, b"");
    assert_errors(&problem, &[(0, "rps"), (1, "cpu"), (2, "object")]);
    assert_eq!(accepted(&running), 0);
}

#[test]
fn a_syntax_error_in_an_array_costs_all_of_it() {
    let running = InProcessServer::start(&[]);
    let good = metric("d1", 1_700_000_000);
    let many = [good.as_str()].repeat(500).join(",");
    for end in ["", ",", ",]", ",{]", ",nan]", ",{\"cpu\":1,}]", "]]", "] 1", "}"] {
        let body = format!("[{many}{end}");
        let problem = assert_problem(&running.client().request(&post(body.as_bytes())), 400, b"");
        assert!(problem["detail"].as_str().unwrap().contains("byte"), "{problem}");
    }
    assert_eq!(accepted(&running), 0);
    let stored = running.client().request(&get("/metrics/d1:1700000000"));
    assert_eq!(stored.status, 404, "{stored:?}");
}

#[test]
fn more_than_ten_thousand_events_cost_all_of_them() {
    let running = InProcessServer::start(&[]);
    let event = r#"{"cpu":1,"rps":2}"#;
    for (good, bad) in [(10_001, 0), (1, 10_000)] {
        let events = [[event].repeat(good), ["7"].repeat(bad)].concat();
        for (body, fields) in [(format!("[{}]", events.join(",")), ""), (events.join("\n"), NDJSON)]
        {
            let answer = running.client().request(&post_with(fields, body.as_bytes()));
            let problem = assert_problem(&answer, 413, b"");
            assert!(problem["detail"].as_str().unwrap().contains("10000"), "{problem}");
        }
    }
    assert_eq!(accepted(&running), 0);
    let most = format!("[{}]", [event].repeat(10_000).join(","));
    let answer = running.client().request(&post(most.as_bytes()));
    assert_eq!(answer.json()["accepted"], 10_000);
    assert_eq!(accepted(&running), 10_000);
}

#[test]
fn lists_are_capped_and_counts_are_not() {
    let running = InProcessServer::start(&[]);
    let body = format!("[{}]", ["7"].repeat(9_999).join(","));
    let problem = assert_problem(&running.client().request(&post(body.as_bytes())), 400, b"");
    assert_eq!(problem["rejected"], 9_999);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
    // 150 devices, each with a level that is long enough to be judged by, and a jump from it in
    // both fields.
    let mut events = Vec::new();
    for device in 0..150 {
        let level = format!(r#"{{"cpu":1,"rps":1,"device_id":"d{device}"}}"#);
        events.extend(vec![level; 16]);
        events.push(format!(r#"{{"cpu":9,"rps":9,"device_id":"d{device}"}}"#));
        events.push("[]".to_owned());
    }
    let body = format!("[{}]", events.join(","));
    let answer = running.client().request(&post(body.as_bytes())).json();
    assert_eq!(answer["accepted"], 150 * 17);
    assert_eq!(answer["rejected"], 150);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 100);
    assert_eq!(answer["anomalies"], 300);
    let anomalous = answer["anomalous"].as_array().unwrap();
    assert_eq!(anomalous.len(), 100);
    for (place, entry) in anomalous.iter().enumerate() {
        let (device, field) = (place / 2, ["cpu", "rps"][place % 2]);
        assert_eq!(entry["index"], device * 18 + 16, "{entry}");
        assert_eq!(entry["device_id"], format!("d{device}"), "{entry}");
        assert_eq!(entry["field"], field, "{entry}");
        assert_eq!(entry["value"], 9.0, "{entry}");
    }
    let samples = Exposition::scrape(running.address);
    assert_eq!(samples.sum("corepulse_anomalies_total"), 300.0);
}
