//! `/stats`: the state of the server in one answer, and what it calls a problem.

use crate::in_process::InProcessServer;
use serde_json::Value;
use testkit::wait::wait_until;
use testkit::{HttpClient, assert_problem, get, post};

fn stats(client: &mut HttpClient, target: &str) -> Value {
    let answer = client.request(&get(target));
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.header("cache-control")),
        (200, Some("application/json"), Some("no-store")),
        "{answer:?}"
    );
    answer.json()
}

fn metric(device: &str, cpu: u64) -> String {
    format!(r#"{{"cpu":{cpu},"rps":1200,"device_id":"{device}"}}"#)
}

#[test]
fn a_server_that_has_just_started_knows_nothing_and_has_no_problem() {
    let running = InProcessServer::start(&["--instance", "here", "--fields", "a?=0..1,b?"]);
    let stats = stats(&mut running.client(), "/stats");
    assert_eq!(
        (&stats["instance"], &stats["version"]),
        (&"here".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(stats["problems"], Value::Array(Vec::new()));
    assert_eq!(stats["latency_seconds"]["count"], 0);
    for percentile in ["p50", "p99", "p99.9"] {
        assert_eq!(stats["latency_seconds"][percentile], Value::Null);
    }
    let fields = stats["fields"].as_array().unwrap();
    let names: Vec<&str> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((&fields[0]["min"], &fields[0]["max"]), (&0.into(), &1.into()));
    assert_eq!((&fields[1]["min"], &fields[1]["max"]), (&Value::Null, &Value::Null));
    assert!(fields.iter().all(|field| field["required"] == false && field["last"].is_null()));
    assert_eq!(stats["cores"].as_array().unwrap().len(), 2);
    assert_eq!((&stats["connections"]["open"], &stats["devices"]["held"]), (&1.into(), &0.into()));
    assert_eq!((&stats["store"]["kind"], &stats["fleet"]), (&"memory".into(), &Value::Null));
    assert_eq!(
        (&stats["store"]["up"], &stats["store"]["away_since"]),
        (&true.into(), &Value::Null)
    );
    let memory = &stats["memory"];
    let resident = memory["resident_bytes"].as_u64().unwrap();
    assert!(resident > 1 << 20 && resident < memory["limit_bytes"].as_u64().unwrap(), "{memory}");
    assert!(stats.get("history").is_none());
}

#[test]
fn figures_are_those_of_the_events() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for number in 0..20 {
        assert_eq!(client.request(&post(metric("d1", 20 + number % 3).as_bytes())).status, 202);
    }
    assert_eq!(client.request(&post(metric("d1", 900).as_bytes())).status, 202);
    assert_eq!(client.request(&post(b"{}")).status, 400);
    let analysis = client.request(&get("/analyze")).json();
    let now = stats(&mut client, "/stats");
    assert_eq!((&now["totals"]["accepted"], &now["totals"]["rejected"]), (&21.into(), &1.into()));
    assert_eq!(now["totals"]["anomalies"], analysis["anomalies"]["points"]);
    assert_eq!(now["totals"]["episodes"], analysis["anomalies"]["episodes"]);
    assert!(now["totals"]["anomalies"].as_u64().unwrap() >= 1, "{now}");
    assert_eq!((&now["devices"]["held"], &now["store"]["stored"]), (&1.into(), &21.into()));
    for field in now["fields"].as_array().unwrap() {
        let expected = &analysis[field["name"].as_str().unwrap()];
        for member in ["rolling_average", "stddev", "last", "z_score", "anomaly"] {
            assert_eq!(field[member], expected[member], "{field}");
        }
    }
    // A sample is taken within a second.
    let sampled = wait_until("a sample of the events", || {
        let stats = stats(&mut client, "/stats?history=300");
        (stats["latency_seconds"]["count"] == 22).then_some(stats)
    });
    let latency = &sampled["latency_seconds"];
    let [p50, p99, p999] = ["p50", "p99", "p99.9"].map(|name| latency[name].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 < 60.0, "{latency}");
    let uptime = sampled["uptime_seconds"].as_f64().unwrap();
    let per_second = sampled["rates"]["60s"]["accepted"].as_f64().unwrap();
    // The time is cut to milliseconds, and the sample was taken before it.
    assert!(per_second * uptime >= 20.0 && per_second <= 42.0, "{sampled}");
    let has_few_digits = |rate: &Value| {
        let text = rate.to_string();
        text.split('.').nth(1).is_none_or(|decimals| decimals.len() <= 3)
    };
    for time in ["1s", "10s", "60s"] {
        for (name, rate) in sampled["rates"][time].as_object().unwrap() {
            assert!(has_few_digits(rate), "{time} {name}: {rate}");
        }
    }
    assert!(sampled["cores"].as_array().unwrap().iter().all(|core| has_few_digits(&core["busy"])));
    let history = &sampled["history"];
    assert!(history["accepted"].as_array().unwrap().iter().all(has_few_digits), "{history}");
    let column = |name: &str| history[name].as_array().unwrap().clone();
    let sum: f64 = column("accepted").iter().map(|rate| rate.as_f64().unwrap()).sum();
    // The first second may be longer than one.
    assert!((10.0..=22.0).contains(&sum), "{history}");
    let seconds = column("accepted").len();
    for name in ["rejected", "anomalies", "p99_seconds", "pending"] {
        assert_eq!(column(name).len(), seconds, "{name}");
    }
    assert!(column("p99_seconds").iter().any(Value::is_number), "{history}");
    for field in ["cpu", "rps"] {
        for name in ["rolling_average", "stddev"] {
            let column = history["fields"][field][name].as_array().unwrap();
            assert_eq!(column.len(), seconds);
            let field = now["fields"].as_array().unwrap().iter().find(|it| it["name"] == field);
            assert_eq!(column.last(), field.map(|field| &field[name]));
        }
    }
    let last = stats(&mut client, "/stats?history=1");
    assert_eq!(last["history"]["pending"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_is_said_in_words_with_what_to_do() {
    let running = InProcessServer::start(&["--max-devices", "1"]);
    let mut client = running.client();
    let kinds = |client: &mut HttpClient| -> Vec<String> {
        let problems = stats(client, "/stats")["problems"].take();
        let kind = |problem: &Value| {
            for member in ["text", "advice", "since"] {
                assert!(!problem[member].as_str().unwrap().is_empty(), "{problem}");
            }
            problem["kind"].as_str().unwrap().to_owned()
        };
        problems.as_array().unwrap().iter().map(kind).collect()
    };
    client.request(&post(metric("d1", 1).as_bytes()));
    assert_eq!(kinds(&mut client), [""; 0]);
    client.request(&post(metric("d2", 1).as_bytes()));
    assert_eq!(kinds(&mut client), ["devices_refused"]);
    for _ in 0..9 {
        client.request(&post(b"{}"));
    }
    assert_eq!(kinds(&mut client), ["devices_refused"]);
    client.request(&post(b"{}"));
    assert_eq!(kinds(&mut client), ["devices_refused", "events_rejected"]);
    let problem = stats(&mut client, "/stats")["problems"][1].take();
    assert!(problem["text"].as_str().unwrap().contains("missing (10)"), "{problem}");
}

#[test]
fn a_wrong_history_is_told_what_is_possible() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for wrong in ["301", "-1", "", "all", "1.5"] {
        let target = format!("/stats?history={wrong}");
        let problem = assert_problem(&client.request(&get(&target)), 400, target.as_bytes());
        assert_eq!(problem["detail"], "history: expected a whole number from 0 to 300");
    }
    let answer = client.request(&get("/stats?seconds=1"));
    let problem = assert_problem(&answer, 400, b"");
    assert!(problem["detail"].as_str().unwrap().contains("history"), "{problem}");
    assert_eq!(client.request(b"DELETE /stats HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
}
