//! `/anomalies`: pollers see each anomaly once, and are told what they have missed.

use crate::in_process::InProcessServer;
use serde_json::{Value, json};
use testkit::{HttpClient, assert_problem, get, post};

/// Sends a device's usual values and then so many spikes, each larger than the one before.
fn send_spikes(client: &mut HttpClient, device: &str, count: u64) {
    let mut send = |cpu: f64| {
        let metric = format!(r#"{{"cpu":{cpu},"rps":1,"device_id":"{device}"}}"#);
        let answer = client.request(&post(metric.as_bytes()));
        assert_eq!(answer.status, 202);
        answer.json()["anomalies"].as_u64().unwrap()
    };
    for number in 0..16 {
        send(f64::from(number % 3));
    }
    for number in 0..count {
        assert_eq!(send(100.0 * 10_f64.powi(i32::try_from(number).unwrap())), 1);
    }
}

fn page(client: &mut HttpClient, query: &str) -> Value {
    let answer = client.request(&get(&format!("/anomalies{query}")));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    answer.json()
}

fn numbers(page: &Value) -> Vec<u64> {
    let anomalies = page["anomalies"].as_array().unwrap();
    anomalies.iter().map(|anomaly| anomaly["number"].as_u64().unwrap()).collect()
}

#[test]
fn a_poller_sees_each_anomaly_once() {
    // One shard: of two, anomalies within 17 ms have no order in time.
    let running = InProcessServer::start(&["--workers", "1"]);
    let mut client = running.client();
    let empty = page(&mut client, "");
    assert_eq!((&empty["anomalies"], &empty["missed"]), (&Value::Array(Vec::new()), &0.into()));
    send_spikes(&mut client, "d1", 3);
    send_spikes(&mut client, "d2", 2);
    let mut cursor = empty["next"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    for expected in [vec![2, 1], vec![4, 3], vec![5], vec![]] {
        let page = page(&mut client, &format!("?limit=2&since={cursor}"));
        assert_eq!((numbers(&page), &page["missed"]), (expected, &0.into()));
        seen.extend(page["anomalies"].as_array().unwrap().iter().rev().cloned());
        cursor = page["next"].as_str().unwrap().to_owned();
    }
    let newest = page(&mut client, "?limit=2");
    assert_eq!((numbers(&newest), &newest["next"]), (vec![5, 4], &cursor.into()));
    // They are those of the analysis.
    let analysis = client.request(&get("/analyze")).json();
    let recent = analysis["anomalies"]["recent"].as_array().unwrap();
    for (found, expected) in seen.iter().rev().zip(recent) {
        for member in ["device_id", "field", "value", "mean", "stddev", "z", "timestamp"] {
            assert_eq!(found[member], expected[member], "{member}");
        }
    }
    assert_eq!((seen.len(), recent.len()), (5, 5));
}

/// Posts events, and returns what the answer counts.
fn send_all(client: &mut HttpClient, events: &[Value]) -> [u64; 2] {
    let body = Value::from_iter(events.iter().cloned()).to_string();
    let answer = client.request(&post(body.as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = answer.json();
    [&answer["anomalies"], &answer["novelties"]].map(|count| count.as_u64().unwrap_or_default())
}

/// Has so many devices do one thing for 16 hours, and then another one. Returns the novelties.
fn send_novelties(client: &mut HttpClient, devices: usize) -> u64 {
    let event = |device: usize, step: u64| {
        let cpu = if step == 99 { 90 } else { 1 + step % 2 };
        let (id, at) = (format!("steady-{device}"), 1_700_000_000 + 600 * step);
        json!({"device_id": id, "timestamp": at, "cpu": cpu, "rps": 1 + step % 2})
    };
    let events: Vec<Value> =
        (0..devices).flat_map(|device| (0..100).map(move |step| event(device, step))).collect();
    let [_, novelties] = send_all(client, &events);
    assert!(novelties >= devices as u64, "{novelties}");
    novelties
}

/// Has twenty devices be noisy: each eighth value of theirs is an anomaly. Returns these.
fn send_noise(client: &mut HttpClient, spikes: u64) -> u64 {
    let event = |step: u64, device: u64| {
        let cpu = if step % 8 == 7 { 1000 + step } else { 1 + step % 2 };
        json!({"device_id": format!("noisy-{device}"), "cpu": cpu, "rps": 1 + step % 2})
    };
    let events: Vec<Value> =
        (0..8 * spikes).flat_map(|step| (0..20).map(move |device| event(step, device))).collect();
    let [anomalies, novelties] = send_all(client, &events);
    assert_eq!((anomalies, novelties), (20 * spikes, 0));
    anomalies
}

fn kinds(page: &Value) -> [usize; 2] {
    let all = page["anomalies"].as_array().unwrap();
    ["anomaly", "novelty"].map(|kind| all.iter().filter(|it| it["kind"] == kind).count())
}

#[test]
fn noisy_devices_push_no_novelty_out() {
    let flags = ["--workers", "1", "--novelty", "on", "--window", "5", "--min-samples", "3"];
    let running = InProcessServer::start(&flags);
    let mut client = running.client();
    let next = |page: &Value| page["next"].as_str().unwrap().to_owned();
    let first = ["", "?kind=anomaly", "?kind=novelty"].map(|query| next(&page(&mut client, query)));
    let novelties = send_novelties(&mut client, 3);
    let spikes = client.request(&get("/stats")).json()["totals"]["anomalies"].as_u64().unwrap();
    let told = usize::try_from(novelties).unwrap();
    let newest = page(&mut client, "?kind=novelty");
    assert_eq!((kinds(&newest), &newest["missed"]), ([0, told], &0.into()));
    let anomalies = spikes + send_noise(&mut client, 60) + send_noise(&mut client, 60);
    // What is new is where it was, whoever asks for it.
    assert_eq!(page(&mut client, "?kind=novelty"), newest);
    let [both, of_anomalies, of_novelties] = first;
    let found = page(&mut client, &format!("?kind=novelty&since={of_novelties}"));
    assert_eq!((kinds(&found), &found["missed"]), ([0, told], &0.into()));
    assert!(
        page(&mut client, &format!("?kind=novelty&since={}", next(&found)))["anomalies"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let found = page(&mut client, &format!("?limit=1000&since={both}"));
    assert_eq!(kinds(&found), [1000 - told, told]);
    // Anomalies alone: those that are missed are none of the others.
    let (mut cursor, mut seen, mut missed) = (of_anomalies, 0, 0);
    loop {
        let found = page(&mut client, &format!("?kind=anomaly&limit=300&since={cursor}"));
        let [of_kind, others] = kinds(&found);
        assert_eq!(others, 0);
        missed += found["missed"].as_u64().unwrap();
        seen += of_kind as u64;
        cursor = next(&found);
        if of_kind == 0 {
            break;
        }
    }
    assert_eq!((seen, missed), (1024, anomalies - 1024));
    let totals = client.request(&get("/stats")).json()["totals"].clone();
    assert_eq!(
        (&totals["anomalies"], &totals["novelties"]),
        (&anomalies.into(), &novelties.into())
    );
}

#[test]
fn a_kind_that_there_is_not_and_a_cursor_of_another_kind_are_errors() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    send_spikes(&mut client, "d1", 2);
    let cursors = ["", "anomaly", "novelty"].map(|kind| {
        let query = if kind.is_empty() { String::new() } else { format!("?kind={kind}") };
        (kind, page(&mut client, &query)["next"].as_str().unwrap().to_owned())
    });
    for (kind, cursor) in &cursors {
        for (other, _) in &cursors {
            let asked = if other.is_empty() { String::new() } else { format!("&kind={other}") };
            let target = format!("/anomalies?since={cursor}{asked}");
            let answer = client.request(&get(&target));
            if kind == other {
                assert_eq!((answer.status, numbers(&answer.json())), (200, vec![]), "{target}");
                continue;
            }
            let problem = assert_problem(&answer, 400, target.as_bytes());
            let expected = "since: expected `next` of an earlier answer with the same kind";
            assert_eq!(problem["detail"], expected, "{target}");
        }
    }
    for wrong in ["", "anomalies", "Novelty", "both", "anomaly,novelty"] {
        let target = format!("/anomalies?kind={wrong}");
        let problem = assert_problem(&client.request(&get(&target)), 400, target.as_bytes());
        assert_eq!(problem["detail"], "kind: expected anomaly or novelty", "{wrong}");
    }
    // Nobody asks the second judge here: it has told nothing.
    let page = page(&mut client, "?kind=novelty");
    assert_eq!((numbers(&page), &page["missed"]), (vec![], &0.into()));
    assert!(client.request(&get("/stats")).json()["totals"].get("novelties").is_none());
}

#[test]
fn a_cursor_of_another_life_is_none_and_a_wrong_one_is_an_error() {
    let old = {
        let running = InProcessServer::start(&[]);
        send_spikes(&mut running.client(), "d1", 3);
        page(&mut running.client(), "")["next"].as_str().unwrap().to_owned()
    };
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    send_spikes(&mut client, "d2", 1);
    let found = page(&mut client, &format!("?since={old}"));
    assert_eq!((numbers(&found), &found["missed"]), (vec![1], &Value::Null));
    let next = found["next"].as_str().unwrap();
    let ahead = next.replace(".1", ".2");
    for wrong in ["17", "", "x.1", &ahead, "18bcfe56800.", "-1.1"] {
        let target = format!("/anomalies?since={wrong}");
        let problem = assert_problem(&client.request(&get(&target)), 400, target.as_bytes());
        assert_eq!(problem["detail"], "since: expected `next` of an earlier answer", "{wrong}");
    }
    for (query, named) in
        [("limit=0", "from 1 to 1000"), ("until=1", "limit, since, kind and scope")]
    {
        let target = format!("/anomalies?{query}");
        let problem = assert_problem(&client.request(&get(&target)), 400, target.as_bytes());
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    }
}
