//! `/devices`: pages in each order, searches, and queries that are wrong.

use std::collections::BTreeSet;

use crate::in_process::InProcessServer;
use serde_json::Value;
use testkit::{HttpClient, assert_problem, get, post};

fn send(client: &mut HttpClient, device: &str, cpu: u64) {
    let metric = format!(r#"{{"cpu":{cpu},"rps":1200,"device_id":"{device}"}}"#);
    assert_eq!(client.request(&post(metric.as_bytes())).status, 202);
}

fn list(client: &mut HttpClient, query: &str) -> Value {
    let answer = client.request(&get(&format!("/devices{query}")));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    page["devices"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect()
}

#[test]
fn an_empty_server_has_an_empty_list() {
    let running = InProcessServer::start(&[]);
    let answer = running.client().request(&get("/devices"));
    assert_eq!(answer.text(), "{\"devices\":[],\"next\":null,\"total\":0}\n");
}

#[test]
fn each_device_is_listed_with_its_figures() {
    let running = InProcessServer::start(&["--fields", "cpu,rps,load?"]);
    let mut client = running.client();
    for number in 0..20 {
        send(&mut client, "calm", 20 + number % 3);
        send(&mut client, "odd", 20 + number % 3);
    }
    send(&mut client, "odd", 90);
    let page = list(&mut client, "?sort=z");
    assert_eq!(
        (ids(&page), &page["total"], &page["next"]),
        (vec!["odd", "calm"], &2.into(), &Value::Null)
    );
    for device in page["devices"].as_array().unwrap() {
        let id = device["id"].as_str().unwrap();
        let analysis = client.request(&get(&format!("/analyze?device_id={id}"))).json();
        assert_eq!(device["anomalous"], id == "odd");
        assert_eq!(device["points"], analysis["anomalies"]["points"]);
        assert_eq!(device["episodes"], analysis["anomalies"]["episodes"]);
        assert_eq!(device["accepted"], analysis["totals"]["accepted"]);
        let fields = device["fields"].as_object().unwrap();
        // One that it never sent is left out.
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["cpu", "rps"]);
        for (name, field) in fields {
            for member in ["last", "rolling_average", "stddev", "z_score", "anomaly"] {
                assert_eq!(field[member], analysis[name][member], "{id} {name} {member}");
            }
        }
        let score = |name: &str| fields[name]["z_score"].as_f64().unwrap().abs();
        let worst = score("cpu").max(score("rps"));
        assert!((device["z"].as_f64().unwrap() - worst).abs() < 1e-12, "{device}");
        let seen = device["last_seen"].as_str().unwrap();
        let now = client.request(&get("/stats")).json();
        let started = now["started"].as_str().unwrap();
        assert!(started <= seen && seen <= now["time"].as_str().unwrap(), "{seen} of {now}");
    }
    let by_field = list(&mut client, "?sort=z&field=rps");
    assert!(by_field["devices"].as_array().unwrap().iter().all(|it| it["z"] == 0), "{by_field}");
    assert_eq!(ids(&by_field), ["calm", "odd"], "by id where they are equal");
    assert_eq!(ids(&list(&mut client, "?sort=anomalies&limit=1")), ["odd"]);
    send(&mut client, "calm", 20);
    assert_eq!(ids(&list(&mut client, "?sort=last_seen")), ["calm", "odd"]);
}

#[test]
fn pages_follow_one_another_in_every_order() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let all: BTreeSet<String> = (0..57).map(|number| format!("d:{number}.x")).collect();
    for id in &all {
        send(&mut client, id, 5);
    }
    for sort in ["id", "last_seen", "anomalies", "z", "z&field=cpu"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = list(&mut client, &format!("?sort={sort}&limit=10{after}"));
            assert_eq!(page["total"], 57);
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            assert_eq!(ids(&page).len(), 10, "{sort}");
            after = format!("&after={next}");
        }
        assert_eq!(seen.len(), 57, "{sort}");
        assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), all, "{sort}");
    }
    let found = list(&mut client, "?prefix=d%3A5");
    let expected: Vec<&String> = all.iter().filter(|id| id.starts_with("d:5")).collect();
    assert_eq!(ids(&found), expected);
    assert_eq!(found["total"], expected.len());
}

#[test]
fn a_wrong_query_is_told_what_is_possible() {
    let running = InProcessServer::start(&["--fields", "temperature?,humidity?"]);
    let mut client = running.client();
    for (query, named) in [
        ("limit=0", "limit: expected a whole number from 1 to 1000"),
        ("sort=worst", "sort: expected id, last_seen, anomalies or z"),
        ("sort=z&field=cpu", "field: expected one of temperature, humidity"),
        ("after=d1", "after: expected `next`"),
        ("prefix=%3Cscript%3E", "prefix: expected"),
        ("page=2", "limit, after, prefix, sort, field and scope, found \"page\""),
        ("limit=1&limit=2", "limit: expected once"),
    ] {
        let target = format!("/devices?{query}");
        let problem = assert_problem(&client.request(&get(&target)), 400, target.as_bytes());
        assert!(problem["detail"].as_str().unwrap().contains(named), "{target}: {problem}");
    }
}

/// The paths that the read token covers.
const READ: [&str; 5] = ["/analyze", "/devices", "/devices/d1", "/anomalies", "/stats"];

#[test]
fn the_read_token_covers_what_is_known_of_metrics() {
    let with = |target: &str, token: &str| {
        let line = format!("GET {target} HTTP/1.1\r\nHost: test\r\n");
        format!("{line}Authorization: Bearer {token}\r\n\r\n").into_bytes()
    };
    let running = InProcessServer::start(&["--read-token", "eye", "--ingest-token", "pen"]);
    let mut client = running.client();
    let metric = br#"{"timestamp":17,"cpu":1,"rps":2,"device_id":"d1"}"#;
    let authorization = "Authorization: Bearer pen\r\n";
    let sent = client.request(&testkit::http_client::post_with(authorization, metric));
    assert_eq!(sent.status, 202);
    for path in READ {
        for request in [get(path), with(path, "pen"), with(path, "eye2")] {
            let answer = client.request(&request);
            let problem = assert_problem(&answer, 401, path.as_bytes());
            assert_eq!(problem["detail"], "Authorization: expected Bearer and the read token");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(client.request(&with(path, "eye")).status, 200, "{path}");
        let options = format!("OPTIONS {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.request(options.as_bytes()).status, 200, "{path}");
    }
    // Who may write a metric may look it up as well.
    for path in ["/metrics/d1:17", "/devices/d1/latest"] {
        assert_eq!(client.request(&with(path, "eye")).status, 200);
        assert_eq!(client.request(&with(path, "pen")).status, 200);
        assert_problem(&client.request(&get(path)), 401, b"");
    }
    for open in ["/health", "/ready", "/metrics/prometheus", "/openapi.json", "/", "/ping"] {
        assert!(client.request(&get(open)).status < 300, "{open}");
    }
    // The read token writes nothing.
    let authorization = "Authorization: Bearer eye\r\n";
    let sent = client.request(&testkit::http_client::post_with(authorization, metric));
    assert_eq!(sent.status, 401);
}

#[test]
fn with_one_token_alone_look_ups_need_that_one() {
    for flag in ["--read-token", "--ingest-token"] {
        let running = InProcessServer::start(&[flag, "t"]);
        let mut client = running.client();
        for path in ["/metrics/d1:17", "/devices/d1/latest"] {
            assert_eq!(client.request(&get(path)).status, 401, "{flag}");
            let line = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\n\r\n");
            assert_eq!(client.request(line.as_bytes()).status, 404, "{flag}");
        }
        let expected = if flag == "--read-token" { 401 } else { 200 };
        for path in READ.into_iter().filter(|path| *path != "/devices/d1") {
            assert_eq!(client.request(&get(path)).status, expected, "{flag} {path}");
        }
    }
}

#[test]
fn a_device_has_what_its_analysis_has_and_its_values() {
    let running = InProcessServer::start(&["--fields", "cpu,rps,load?", "--window", "20"]);
    let mut client = running.client();
    for number in 0..30_u64 {
        let load = if number % 2 == 0 { r#","load":0.5"# } else { "" };
        let cpu = if number == 25 { 900 } else { 20 + number % 3 };
        let timestamp = 1_700_000_000 + number;
        let metric =
            format!(r#"{{"timestamp":{timestamp},"cpu":{cpu},"rps":5,"device_id":"a:1"{load}}}"#);
        assert_eq!(client.request(&post(metric.as_bytes())).status, 202);
    }
    let answer = client.request(&get("/devices/a%3A1"));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let mut device = answer.json();
    let values = device["values"].take();
    let seen = device["last_seen"].take();
    assert!(seen.as_str().unwrap().ends_with('Z'), "{seen}");
    let members = device.as_object_mut().unwrap();
    members.remove("values");
    members.remove("last_seen");
    assert_eq!(device, client.request(&get("/analyze?device_id=a:1")).json());
    let timestamps = values["timestamps"].as_array().unwrap();
    // The window of the optional field goes back to the first event that had it.
    assert_eq!(timestamps.len(), 25, "{timestamps:?}");
    assert!(timestamps.is_sorted_by_key(|text| text.as_str().unwrap()));
    assert_eq!(timestamps[24], "2023-11-14T22:13:49.000Z");
    let column = |field: &str, name: &str| values[field][name].as_array().unwrap().clone();
    let cpu = column("cpu", "values");
    assert_eq!((cpu.len(), &cpu[4], &cpu[5], &cpu[24]), (25, &Value::Null, &21.into(), &22.into()));
    let load = column("load", "values");
    let [half, none] = [Value::from(0.5), Value::Null];
    let found = [0, 4, 5, 6, 24].map(|at| &load[at]);
    assert_eq!(found, [&half, &half, &half, &none, &none]);
    let marked: Vec<usize> = column("cpu", "anomalies")
        .iter()
        .enumerate()
        .filter_map(|(at, is_anomaly)| is_anomaly.as_bool().unwrap().then_some(at))
        .collect();
    assert_eq!(marked, [20]);
    let scores = column("cpu", "z_scores");
    assert_eq!(scores[20], device["anomalies"]["recent"][0]["z"]);
    assert_eq!(scores[24], device["cpu"]["z_score"]);
    assert_eq!(scores[5], Value::Null, "too few before it");
}

#[test]
fn the_latest_metric_is_the_one_that_came_last() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let latest = |client: &mut HttpClient| client.request(&get("/devices/d1/latest"));
    for body in [
        r#"{"timestamp":1700000009,"cpu":41.50,"rps":1e3,"device_id":"d1"}"#,
        r#"{"timestamp":1700000000123456789,"cpu":2,"rps":3,"device_id":"d1"}"#,
        r#"{"cpu":7,"rps":8,"device_id":"d1"}"#,
    ] {
        let taken = client.request(&post(body.as_bytes())).json();
        let found = latest(&mut client);
        assert_eq!((found.status, found.header("cache-control")), (200, Some("no-store")));
        let text = found.text();
        match taken["timestamp"].as_u64() {
            Some(timestamp) => {
                assert!(text.contains(&format!("{{\"timestamp\":{timestamp},")), "{text}");
            }
            None => assert_eq!(text, format!("{body}\n")),
        }
        let key = found.json()["timestamp"].to_string();
        assert_eq!(client.request(&get(&format!("/metrics/d1:{key}"))).text(), text);
    }
    client.send(b"HEAD /devices/d1/latest HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive_response_to_head().status, 200);
}

#[test]
fn a_device_that_there_is_not_is_not_found() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    send(&mut client, "a", 1);
    for id in ["b", "%2561", "a%2Fb", "%3Cb%3E", "a%20b", &"x".repeat(200)] {
        for target in [format!("/devices/{id}"), format!("/devices/{id}/latest")] {
            let problem = assert_problem(&client.request(&get(&target)), 404, target.as_bytes());
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("no device of that name"), "{target}: {detail}");
        }
    }
    // Decoded once.
    assert_eq!(client.request(&get("/devices/%61")).status, 200);
}

/// A thousand devices of sixteen fields, all names and numbers as long as they can be.
#[test]
fn the_largest_page_has_the_bytes_that_the_documentation_says() {
    let names: Vec<String> = (0..16).map(|number| format!("{number:f>64}")).collect();
    let fields = names.join(",");
    let running = InProcessServer::start(&["--fields", &fields, "--max-body", "8MiB"]);
    let mut client = running.client();
    // Negative numbers of seventeen digits, and means and scores of as many.
    for (round, value) in ["-1.2345678901234567e-100", "-9.876543210987654e-101"].iter().enumerate()
    {
        for _ in 0..9 + round {
            let line = |number: usize| {
                let values: Vec<_> =
                    names.iter().map(|name| format!("\"{name}\":{value}")).collect();
                format!("{{\"device_id\":\"{number:d>128}\",{}}}\n", values.join(","))
            };
            let body: String = (0..1000).map(line).collect();
            assert_eq!(client.request(&post(body.as_bytes())).json()["accepted"], 1000);
        }
    }
    let answer = client.request(&get("/devices?limit=1000"));
    assert_eq!(answer.json()["devices"].as_array().unwrap().len(), 1000);
    let bytes = answer.body.len();
    assert!((3_000_000..4_000_000).contains(&bytes), "{bytes}");
}
