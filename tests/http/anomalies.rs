//! `/anomalies`: pollers see each anomaly once, and are told what they have missed.

use crate::in_process::InProcessServer;
use serde_json::Value;
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
    for (query, named) in [("limit=0", "from 1 to 1000"), ("until=1", "limit, since and scope")] {
        let target = format!("/anomalies?{query}");
        let problem = assert_problem(&client.request(&get(&target)), 400, target.as_bytes());
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    }
}
