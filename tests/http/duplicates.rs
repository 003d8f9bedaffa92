//! Events that are sent again, as after a time-out: stored once more, and not judged.

use crate::in_process::InProcessServer;
use serde_json::{Value, json};
use testkit::{Exposition, get, post};

fn send(running: &InProcessServer, body: &str) -> Value {
    let answer = running.client().request(&post(body.as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

fn event(number: u64, cpu: f64) -> String {
    format!(r#"{{"device_id":"d","timestamp":{number},"cpu":{cpu},"rps":7}}"#)
}

fn device(running: &InProcessServer) -> Value {
    running.client().request(&get("/analyze?device_id=d")).json()
}

/// A device whose client repeats every event, anomalies among them, is judged as if it had not.
#[test]
fn what_is_sent_again_changes_nothing_but_the_counts() {
    let (once, again) = (InProcessServer::start(&[]), InProcessServer::start(&[]));
    for number in 1..=60 {
        let cpu = if number == 50 { 900.0 } else { 40.0 + (number % 3) as f64 };
        let first = send(&once, &event(number, cpu));
        assert_eq!(send(&again, &event(number, cpu)), first);
        let repeated = send(&again, &event(number, cpu));
        assert_eq!(repeated, json!({"accepted": 1, "anomalies": 0, "duplicates": 1}));
    }
    let [mut one, mut other] = [&once, &again].map(device);
    assert_eq!((&one["anomalies"]["points"], &one["totals"]["accepted"]), (&json!(1), &json!(60)));
    assert_eq!(other["totals"]["accepted"], 120);
    for analysis in [&mut one, &mut other] {
        let analysis = analysis.as_object_mut().unwrap();
        analysis.remove("totals");
        let recent = analysis["anomalies"]["recent"].as_array_mut().unwrap();
        recent.iter_mut().for_each(|anomaly| _ = anomaly.as_object_mut().unwrap().remove("at"));
    }
    assert_eq!(one, other);
    let scraped = Exposition::scrape(again.address);
    assert_eq!(scraped.sum("corepulse_events_accepted_total"), 120.0);
    assert_eq!(scraped.sum("corepulse_events_duplicate_total"), 60.0);
    assert_eq!(scraped.sum("corepulse_store_stored_total"), 120.0);
}

#[test]
fn what_differs_in_anything_is_no_duplicate() {
    let running = InProcessServer::start(&["--fields", "cpu,rps,load?"]);
    let of = |device: &str, time: &str, rest: &str| {
        format!(r#"{{"device_id":"{device}","timestamp":{time},{rest}}}"#)
    };
    let usual = r#""cpu":1,"rps":2"#;
    let plain = |body: &str| send(&running, body)["duplicates"].is_null();
    assert!(plain(&of("d", "1700000000000", usual)));
    // Another device, another key of the same time, another value, one more field.
    assert!(plain(&of("e", "1700000000000", usual)));
    assert!(plain(&of("d", "1700000000", usual)));
    assert!(plain(&of("d", "1700000000", r#""cpu":1,"rps":3"#)));
    assert!(plain(&of("d", "1700000000", r#""cpu":1,"rps":3,"load":4"#)));
    assert!(!plain(&of("d", "1700000000", r#""cpu":1,"rps":3,"load":4"#)));
    assert!(!plain(&of("d", "1700000000", r#""load":4.0,"rps":3,"cpu":1e0"#)), "same numbers");
    assert!(!plain(&of("d", "1700000000", r#""cpu":1,"rps":3"#)), "it says nothing new");
    // What has no timestamp of its own gets another one each time.
    let timeless = r#"{"device_id":"t","cpu":1,"rps":2}"#;
    assert!((0..5).all(|_| plain(timeless)));
    // Without a device nobody knows whose it is.
    let anonymous = r#"{"timestamp":5,"cpu":1,"rps":2}"#;
    assert!((0..5).all(|_| plain(anonymous)));
    // An older one is not the last.
    assert!(plain(&of("d", "1700000000000", usual)));
}

#[test]
fn all_are_judged_again_if_the_operator_wants_that() {
    let running = InProcessServer::start(&["--judge-duplicates", "on"]);
    for number in 1..=40 {
        let expected = json!({"accepted": 1, "anomalies": 0});
        assert_eq!(send(&running, &event(number / 2, 40.0)), expected);
    }
    assert_eq!(device(&running)["window"]["count"], 40);
    let scraped = Exposition::scrape(running.address);
    assert_eq!(scraped.sum("corepulse_events_duplicate_total"), 0.0);
}

/// A duplicate is an event that arrived, and counts for the rate of its device.
#[test]
fn who_repeats_for_ever_is_limited_as_well() {
    let running = InProcessServer::start(&["--device-limit", "3:3600"]);
    let body = [event(1, 40.0), event(1, 40.0), event(1, 40.0), event(1, 40.0)].join("\n");
    let answer = send(&running, &body);
    let counts = ["accepted", "duplicates", "rejected"].map(|name| answer[name].clone());
    assert_eq!(counts, [json!(3), json!(2), json!(1)], "{answer}");
}
