//! Limits of events: what is over one is rejected by name, and all else is as without limits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::in_process::InProcessServer;
use corepulse::config::token_digest::TokenDigest;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::http_client::post_with;
use testkit::{Exposition, HttpResponse, assert_problem, get, post, wait_until};

/// A limit of which hardly anything comes back within a test: one event in twelve minutes.
const FIVE_AN_HOUR: [&str; 2] = ["--device-limit", "5:3600"];

const DEVICE_DETAIL: &str = "rate: expected no more events of the device (--device-limit), the \
                             next one passes in ";

fn start(workers: &str) -> InProcessServer {
    InProcessServer::start(&[&["--workers", workers][..], &FIVE_AN_HOUR].concat())
}

fn event(device: &str, number: usize) -> String {
    format!(r#"{{"device_id":"{device}","timestamp":{number},"cpu":1,"rps":2}}"#)
}

fn accepted_of(running: &InProcessServer, device: &str) -> Value {
    let answer = running.client().request(&get(&format!("/analyze?device_id={device}")));
    answer.json()["totals"]["accepted"].clone()
}

/// The seconds after which an event passes, as a detail has them at its end.
fn seconds_of(detail: &str) -> u64 {
    let seconds = detail.strip_suffix(" s").and_then(|text| text.rsplit_once(' '));
    seconds.expect(detail).1.parse().expect(detail)
}

/// Asserts that an answer is that of a request whose every event is over the limit.
fn assert_too_many(answer: &HttpResponse) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    let seconds = answer.header("retry-after").expect("a time").parse().unwrap();
    // One event in 720 s, from which the time of the test is subtracted.
    assert!((600..=720).contains(&seconds), "{seconds}");
    seconds
}

#[test]
fn what_is_over_the_limit_of_its_device_is_named_and_neither_judged_nor_stored() {
    for workers in ["1", "3"] {
        let running = start(workers);
        let mut client = running.client();
        // Eight of one device, and between them what has no limit or another one.
        let mut events: Vec<_> = (1..=8).map(|number| event("hot", number)).collect();
        events.insert(3, event("cool", 1));
        events.insert(6, r#"{"cpu":1,"rps":2}"#.to_owned());
        events.insert(7, r#"{"device_id":"hot","cpu":-1,"rps":2}"#.to_owned());
        events.push(event("cool", 2));
        let answer = client.request(&post(format!("[{}]", events.join(",")).as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        let answer = answer.json();
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(8), &json!(4)), "{answer}");
        let errors = answer["errors"].as_array().unwrap();
        let indexes: Vec<_> = errors.iter().map(|error| error["index"].clone()).collect();
        assert_eq!(indexes, [7, 8, 9, 10], "{answer}");
        assert!(errors[0]["detail"].as_str().unwrap().starts_with("cpu: expected"), "{answer}");
        for error in &errors[1..] {
            let detail = error["detail"].as_str().unwrap();
            assert!(detail.starts_with(DEVICE_DETAIL), "{detail}");
            assert!((600..=720).contains(&seconds_of(detail)), "{detail}");
        }
        for (number, status) in (1..=8).map(|it| (it, if it <= 5 { 200 } else { 404 })) {
            let found = client.request(&get(&format!("/metrics/hot:{number}")));
            assert_eq!(found.status, status, "{number}");
        }
        assert_eq!(accepted_of(&running, "hot"), 5);
        assert_eq!(accepted_of(&running, "cool"), 2);
        // One alone has its error as that of the request.
        let answer = client.request(&post(event("hot", 9).as_bytes()));
        let seconds = assert_too_many(&answer);
        let problem = assert_problem(&answer, 429, b"\"hot\"");
        assert_eq!(problem["detail"], format!("{DEVICE_DETAIL}{seconds} s"), "{problem}");
        assert_eq!((&problem["rejected"], &problem["errors"][0]["index"]), (&json!(1), &json!(0)));
        // What is wrong stays wrong; the rest would pass later.
        let body = format!("[{},{}]", event("hot", 9), r#"{"cpu":1}"#);
        let answer = client.request(&post(body.as_bytes()));
        assert_too_many(&answer);
        let problem = answer.json();
        let detail = "rate: expected fewer events, all are over a limit";
        assert_eq!((&problem["detail"], &problem["rejected"]), (&json!(detail), &json!(2)));
        let scraped = Exposition::scrape(running.address);
        let of = |reason| {
            scraped.value(&format!("corepulse_events_rejected_total{{reason=\"{reason}\"}}"))
        };
        assert_eq!((of("rate"), of("range"), of("missing")), (5.0, 1.0, 1.0));
        assert_eq!(scraped.sum("corepulse_events_accepted_total"), 8.0);
        assert_eq!(scraped.sum("corepulse_store_stored_total"), 8.0);
        assert_eq!(scraped.sum("corepulse_values_total"), 16.0);
    }
}

#[test]
fn every_form_of_a_body_is_answered_in_its_own_way() {
    let running = start("2");
    let mut client = running.client();
    let rows = |device: &str| {
        let rows = (1..=7).map(|number| format!("{device},{number},1,2\n"));
        format!("device_id,timestamp,cpu,rps\n{}", rows.collect::<String>())
    };
    let table = "Content-Type: text/csv\r\n";
    let answer = client.request(&post_with(table, rows("csv").as_bytes())).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(5), &json!(2)), "{answer}");
    let answer = client.request(&post_with(table, rows("csv").as_bytes()));
    assert_too_many(&answer);
    assert_eq!(answer.json()["rejected"], 7);
    let ndjson = "Content-Type: application/x-ndjson\r\n";
    let lines: Vec<_> = (1..=6).map(|number| event("ndjson", number)).collect();
    let answer = client.request(&post_with(ndjson, lines.join("\n").as_bytes())).json();
    assert_eq!((&answer["accepted"], &answer["errors"][0]["index"]), (&json!(5), &json!(5)));

    let line = |device: &str| format!("m,host={device} cpu=1,rps=2\n");
    let write = |path: &str, body: &str| {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        running.client().request(&[head.as_bytes(), body.as_bytes()].concat())
    };
    for (path, code) in [("/write", None), ("/api/v2/write", Some("too many requests"))] {
        let device = if code.is_none() { "v1" } else { "v2" };
        assert_eq!(write(path, &line(device).repeat(5)).status, 204);
        let mixed = format!("# a comment\n{}{}", line(device), line(&format!("{device}-other")));
        let answer = write(path, &mixed);
        assert_eq!(answer.status, 400, "{answer:?}");
        let answer = answer.json();
        let message = answer.get("error").unwrap_or(&answer["message"]).as_str().unwrap();
        let expected = "partial write: 1 of 2 lines rejected\nline 2: ";
        let expected = format!("{expected}{DEVICE_DETAIL}");
        assert!(message.starts_with(&expected), "{message}");
        let answer = write(path, &line(device).repeat(2));
        let seconds = assert_too_many(&answer);
        let answer = answer.json();
        assert_eq!(answer.get("code").map(|code| code.as_str().unwrap()), code);
        let message = answer.get("error").unwrap_or(&answer["message"]).as_str().unwrap();
        let expected = "too many events: 2 of 2 lines rejected\nline 1: ";
        assert!(message.starts_with(&format!("{expected}{DEVICE_DETAIL}{seconds} s")), "{message}");
    }
}

#[test]
fn a_device_without_a_window_and_events_without_a_device_have_no_limit() {
    let flags = ["--max-devices", "1"];
    let running = InProcessServer::start(&[&flags[..], &FIVE_AN_HOUR].concat());
    let mut client = running.client();
    let batch = |device: &str| {
        let events: Vec<_> = (1..=20).map(|number| event(device, number)).collect();
        format!("[{}]", events.join(","))
    };
    assert_eq!(client.request(&post(batch("first").as_bytes())).json()["accepted"], 5);
    let answer = client.request(&post(batch("second").as_bytes())).json();
    assert_eq!((&answer["accepted"], &answer["unjudged"]), (&json!(20), &json!(20)), "{answer}");
    for _ in 0..20 {
        assert_eq!(client.request(&post(b"{\"cpu\":1,\"rps\":2}")).status, 202);
    }
}

/// The limit is of what arrives, whatever the clocks of the devices say.
#[test]
fn timestamps_that_go_back_get_nobody_more() {
    let running = start("2");
    let mut client = running.client();
    let mut accepted = 0;
    for timestamp in [1_700_000_000, 1_600_000_000, 0, 1_700_000_000_000, 5, 1, 1_700_000_001_u64] {
        let body = format!(r#"{{"device_id":"d","timestamp":{timestamp},"cpu":1,"rps":2}}"#);
        accepted += u32::from(client.request(&post(body.as_bytes())).status == 202);
    }
    assert_eq!(accepted, 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Batches of any devices in any order, over several connections and cores at once: of each
    /// device just the limit is accepted, or all that it sent.
    #[test]
    fn each_device_gets_its_limit_in_whatever_order_events_come(
        batches in prop::collection::vec(prop::collection::vec(0..12_usize, 1..60), 4..12),
    ) {
        let running = start("3");
        let (accepted, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for batches in batches.chunks(2) {
                let (running, accepted, rejected) = (&running, &accepted, &rejected);
                scope.spawn(move || {
                    let mut client = running.client();
                    for batch in batches {
                        let events: Vec<_> =
                            batch.iter().map(|device| event(&format!("d{device}"), 1)).collect();
                        let body = format!("[{}]", events.join(","));
                        let answer = client.request(&post(body.as_bytes())).json();
                        let count = |name: &str| answer[name].as_u64().unwrap_or(0);
                        assert_eq!(count("accepted") + count("rejected"), batch.len() as u64);
                        accepted.fetch_add(count("accepted"), Ordering::Relaxed);
                        rejected.fetch_add(count("rejected"), Ordering::Relaxed);
                    }
                });
            }
        });
        let mut expected = 0;
        for device in 0..12 {
            let sent = batches.iter().flatten().filter(|it| **it == device).count();
            if sent > 0 {
                prop_assert_eq!(accepted_of(&running, &format!("d{device}")), sent.min(5));
            }
            expected += sent.min(5) as u64;
        }
        let all = batches.iter().map(Vec::len).sum::<usize>() as u64;
        prop_assert_eq!((accepted.into_inner(), rejected.into_inner()), (expected, all - expected));
        let scraped = Exposition::scrape(running.address);
        prop_assert_eq!(scraped.sum("corepulse_events_accepted_total"), expected as f64);
    }
}

/// One device sends all that it can, in bursts, beside fifty that keep to their limit. Nothing of
/// theirs is rejected, and it gets its burst and its rate.
#[test]
fn a_device_far_over_its_limit_takes_nothing_from_polite_ones() {
    const LIMIT: u64 = 20;
    let running = InProcessServer::start(&["--device-limit", "20:1"]);
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let (hot_sent, hot_accepted, elapsed) = thread::scope(|scope| {
        let hot = scope.spawn(|| {
            let events: Vec<_> = (1..=100).map(|number| event("hot", number)).collect();
            let body = format!("[{}]", events.join(","));
            let mut client = running.client();
            let (mut sent, mut accepted) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let answer = client.request(&post(body.as_bytes())).json();
                sent += 100;
                accepted += answer["accepted"].as_u64().unwrap_or(0);
            }
            (sent, accepted, begun.elapsed())
        });
        let mut client = running.client();
        // Ten rounds in a second at most, half of what each may send.
        for round in 1..=LIMIT {
            let events: Vec<_> =
                (0..50).map(|device| event(&format!("polite{device}"), round as usize)).collect();
            let answer = client.request(&post(format!("[{}]", events.join(",")).as_bytes())).json();
            assert_eq!(answer["accepted"], 50, "{answer}");
            let due = Duration::from_millis(100 * round);
            wait_until("the next round", || (begun.elapsed() >= due).then_some(()));
        }
        is_over.store(true, Ordering::Relaxed);
        hot.join().unwrap()
    });
    assert!(hot_sent >= 100 * LIMIT, "{hot_sent} were too few to show anything");
    let most = LIMIT as f64 * (1.0 + elapsed.as_secs_f64());
    assert!(hot_accepted as f64 <= most, "{hot_accepted} in {elapsed:?}");
    assert!(hot_accepted >= LIMIT, "{hot_accepted} are not even its burst");
    assert_eq!(accepted_of(&running, "hot"), hot_accepted);
}

/// The limit of a token is of all its events together, whatever devices, connections and cores they
/// come by.
#[test]
fn a_token_has_a_limit_of_its_own_beside_that_of_each_device() {
    let digest = |token: &str| TokenDigest::of(token.as_bytes());
    let lines = format!(
        "seven {} write * 7:3600\nfree {} write * -\n",
        digest("seven-token"),
        digest("free-token"),
    );
    let path = std::env::temp_dir().join(format!("corepulse-limits-{}", std::process::id()));
    std::fs::write(&path, lines).unwrap();
    let flags = ["--workers", "3", "--tokens", path.to_str().unwrap(), "--device-limit", "3:3600"];
    let running = InProcessServer::start(&flags);
    let send = |token: &str, devices: &[&str]| {
        let events: Vec<_> = devices.iter().map(|device| event(device, 1)).collect();
        let body = format!("[{}]", events.join(","));
        let fields = format!("Authorization: Bearer {token}-token\r\n");
        running.client().request(&post_with(&fields, body.as_bytes()))
    };
    // Two are over the limit of their device, and are given back to the token.
    let answer = send("seven", &["a", "a", "b", "a", "a", "a", "b"]).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(5), &json!(2)), "{answer}");
    // Two are left of the seven: those that are over do not count for their devices.
    let answer = send("seven", &["c", "d", "c", "d", "e"]).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(3)), "{answer}");
    let detail = answer["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("rate: expected no more events with this token, "), "{detail}");
    assert!((400..=515).contains(&seconds_of(detail)), "{detail}");
    let answer = send("seven", &["e", "e"]);
    assert_eq!((answer.status, answer.json()["rejected"].clone()), (429, json!(2)));
    assert!(answer.header("retry-after").is_some());
    // Another token has none, and the devices are where they were.
    let answer = send("free", &["c", "c", "c", "e", "e", "e", "e"]).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(5), &json!(2)), "{answer}");
    std::fs::remove_file(&path).unwrap();
}
