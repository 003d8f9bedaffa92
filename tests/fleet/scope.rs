//! The scope of an answer: which routes have one, and what the answers add up to.

use serde_json::Value;
use testkit::http_client::post_with;
use testkit::{HttpClient, Redis, Server, assert_problem, get, wait_until};

use crate::fleet::{Fleet, Replica};

/// The routes that have a scope, and the one that they have if none is given.
const ROUTES: [(&str, &str); 7] = [
    ("/analyze", "instance"),
    ("/analyze?device_id=a-1", "fleet"),
    ("/devices", "instance"),
    ("/devices/a-1", "fleet"),
    ("/devices/a-1/latest", "fleet"),
    ("/anomalies", "instance"),
    ("/stats", "instance"),
];

fn with_scope(path: &str, scope: &str) -> String {
    format!("{path}{}scope={scope}", if path.contains('?') { '&' } else { '?' })
}

#[test]
fn every_route_has_both_scopes() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 2);
    fleet.replicas[0].post("a-1", 5.0);
    fleet.replicas[1].complete_json("/devices/a-1");
    for (path, usual) in ROUTES {
        for replica in &fleet.replicas {
            let is_holder = replica.name == "a";
            let is_about_device = path.contains("a-1");
            let whole = replica.get(&with_scope(path, "fleet"));
            assert_eq!(whole.status, 200, "{path}: {whole:?}");
            assert_eq!(whole.header("cache-control"), Some("no-store"), "{path}");
            let own = replica.get(&with_scope(path, "instance"));
            let expected = if is_about_device && !is_holder { 404 } else { 200 };
            assert_eq!(own.status, expected, "{path}: {own:?}");
            let plain = replica.get(path);
            let as_usual = if usual == "fleet" { &whole } else { &own };
            assert_eq!(plain.status, as_usual.status, "{path}");
            let members = |it: &Value| it["members"].as_array().map(Vec::len);
            if path.ends_with("latest") {
                assert_eq!(plain.text(), whole.text());
                continue;
            }
            assert_eq!(members(&plain.json()), members(&as_usual.json()), "{path}");
            let whole = whole.json();
            assert_eq!((members(&whole), &whole["scope"]), (Some(2), &"fleet".into()), "{path}");
            assert_eq!(
                (&whole["complete"], &whole["missing"]),
                (&true.into(), &Value::Array(vec![]))
            );
        }
        let target = with_scope(path, "all");
        let problem = assert_problem(&fleet.replicas[0].get(&target), 400, target.as_bytes());
        assert_eq!(problem["detail"], "scope: expected instance or fleet", "{path}");
        let target = with_scope(&with_scope(path, "fleet"), "instance");
        assert_problem(&fleet.replicas[0].get(&target), 400, target.as_bytes());
    }
    // Nothing else has one.
    for path in ["/health", "/metrics/a-1:1", "/ready"] {
        let answer = fleet.replicas[0].get(&with_scope(path, "fleet"));
        assert!(!answer.text().contains("\"scope\":\"fleet\""), "{path}: {answer:?}");
    }
}

/// Wrong queries are refused before anybody is asked.
#[test]
fn a_wrong_query_is_refused() {
    let redis = Redis::start(&[]);
    let fleet = Fleet::start(&redis.url(), 2);
    let asked = |fleet: &Fleet| fleet.replicas[1].figure("corepulse_fleet_questions_total");
    let before = asked(&fleet);
    for target in [
        "/analyze?scope=fleet&device_id=",
        "/analyze?scope=fleet&x=1",
        "/devices?scope=fleet&limit=0",
        "/devices?scope=fleet&sort=worst",
        "/devices?scope=fleet&after=x",
        "/anomalies?scope=fleet&since=x",
        "/anomalies?scope=fleet&since=f~1",
        "/anomalies?scope=fleet&limit=1001",
        "/stats?scope=fleet&history=-1",
        "/devices/x?scope=fleet&y=1",
    ] {
        assert_problem(&fleet.replicas[0].get(target), 400, target.as_bytes());
    }
    for id in ["%3Cb%3E", "a%20b", &"x".repeat(200)] {
        for path in [format!("/devices/{id}"), format!("/devices/{id}/latest")] {
            assert_eq!(fleet.replicas[0].get(&path).status, 404, "{path}");
        }
    }
    assert_eq!(asked(&fleet), before);
}

#[test]
fn without_a_fleet_there_is_one_scope() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    let metric = br#"{"timestamp":17,"cpu":1,"rps":2,"device_id":"a-1"}"#;
    assert_eq!(client.request(&testkit::post(metric)).status, 202);
    for (path, _) in ROUTES {
        let target = with_scope(path, "fleet");
        let problem = assert_problem(&client.get(&target), 400, target.as_bytes());
        assert_eq!(problem["detail"], "scope: this instance is in no fleet; see --fleet");
        let [own, plain] = [with_scope(path, "instance"), path.to_owned()].map(|target| {
            let answer = client.get(&target);
            assert_eq!(answer.status, 200, "{target}");
            answer.json()
        });
        assert!(own["members"].is_null() && plain["members"].is_null(), "{own}");
    }
}

#[test]
fn the_read_token_covers_the_fleet() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let token = ["--read-token", "eye", "--ingest-token", "pen"];
    let replicas = ["a", "b"].map(|name| Replica::start(&url, name, &token));
    let metric = br#"{"timestamp":17,"cpu":1,"rps":2,"device_id":"a-1"}"#;
    let sent = replicas[0].server.client();
    let mut sent = sent;
    let post = post_with("Authorization: Bearer pen\r\n", metric);
    assert_eq!(sent.request(&post).status, 202);
    for (path, _) in ROUTES {
        let target = with_scope(path, "fleet");
        let mut client = HttpClient::connect(replicas[1].server.address);
        let problem = assert_problem(&client.request(&get(&target)), 401, b"");
        assert_eq!(problem["status"], 401);
        let line = format!("GET {target} HTTP/1.1\r\nHost: test\r\n");
        let request = format!("{line}Authorization: Bearer eye\r\n\r\n");
        // The device is known to the whole fleet in a moment.
        let answer = wait_until("the fleet has the device", || {
            let answer = client.request(request.as_bytes());
            (answer.status != 503).then_some(answer)
        });
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        if !path.ends_with("latest") {
            let members = answer.json()["members"].as_array().map(Vec::len);
            assert_eq!(members, Some(2), "{target}: {answer:?}");
        }
    }
}

/// Sums of `/stats` are those of the instances.
#[test]
fn the_state_of_the_fleet_is_that_of_its_members() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let mut fleet = Fleet::start(&url, 2);
    fleet.replicas.push(Replica::start(&url, "c", &["--max-devices", "500"]));
    fleet.wait_until_whole();
    for number in 0..30 {
        for replica in &mut fleet.replicas {
            let cpu = if number == 25 { 900.0 } else { f64::from(number % 3) };
            replica.post(&format!("spiky-{}", replica.name), cpu);
        }
    }
    fleet.wait_until_judged();
    let bad = fleet.replicas[1].server.client().request(&testkit::post(b"{\"cpu\":1}"));
    assert_eq!(bad.status, 400, "{bad:?}");
    let whole = fleet.replicas[0].complete_json("/stats?scope=fleet&history=60");
    let own = |number: usize| fleet.replicas[number].json("/stats?scope=instance");
    let own: Vec<Value> = (0..3).map(own).collect();
    let sum = |pointer: &str| {
        own.iter()
            .map(|it| it.pointer(pointer).and_then(Value::as_u64).expect(pointer))
            .sum::<u64>()
    };
    for pointer in [
        "/totals/accepted",
        "/totals/rejected",
        "/totals/anomalies",
        "/totals/episodes",
        "/connections/max",
        "/devices/held",
        "/devices/max",
        "/devices/refused",
    ] {
        let found = whole.pointer(pointer).and_then(Value::as_u64);
        assert_eq!(found, Some(sum(pointer)), "{pointer}: {whole}");
    }
    assert_eq!(whole["totals"]["accepted"], fleet.acknowledged());
    assert!(whole["totals"]["anomalies"].as_u64() >= Some(3), "{whole}");
    let cores = whole["cores"].as_array().unwrap();
    let own_cores = own.iter().map(|it| it["cores"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(cores.len(), own_cores);
    let of_c = cores.iter().filter(|core| core["instance"] == "c").count();
    assert_eq!((of_c, &whole["instance"], &whole["scope"]), (1, &"a".into(), &"fleet".into()));
    assert!(
        whole["memory"]["resident_bytes"].as_u64() > own[0]["memory"]["resident_bytes"].as_u64()
    );
    // Everything that an answer of one instance has is in that of the fleet, which has `members`.
    for member in own[0].as_object().unwrap().keys().filter(|name| *name != "fleet") {
        assert!(!whole[member].is_null() || own[0][member].is_null(), "{member}: {whole}");
    }
}
