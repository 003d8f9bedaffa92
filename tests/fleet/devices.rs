//! Devices of the whole fleet: their list, and each from whichever replica.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::{HttpResponse, Redis, assert_problem, wait_until};

use crate::fleet::{Fleet, Replica};

/// Follows the pages of a list, each asked of the next replica.
fn pages(fleet: &Fleet, query: &str, total: usize) -> Vec<Value> {
    let (mut seen, mut after) = (Vec::new(), String::new());
    for round in 0.. {
        let replica = &fleet.replicas[round % fleet.replicas.len()];
        let page = replica.complete_json(&format!("/devices?scope=fleet&limit=7{query}{after}"));
        assert_eq!(page["total"], total, "{query}");
        let devices = page["devices"].as_array().unwrap();
        seen.extend(devices.iter().cloned());
        let Some(next) = page["next"].as_str() else {
            return seen;
        };
        assert_eq!(devices.len(), 7, "{query}: {page}");
        after = format!("&after={next}");
    }
    panic!("the list does not end")
}

/// Requests a page until nobody is missing any more.
fn get_unless_late(replica: &Replica, path: &str) -> HttpResponse {
    wait_until("an answer of all", || {
        let answer = replica.get(path);
        (answer.status != 503).then_some(answer)
    })
}

fn id(device: &Value) -> &str {
    device["id"].as_str().expect("it has one")
}

/// Every device once, in the order that was asked for, whichever replica answers.
#[test]
fn pages_follow_one_another_in_every_order() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    // No more events from here on, as they would change orders.
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for number in 0..40 {
        for replica in &mut fleet.replicas {
            replica.post(&format!("{}:{number:02}", replica.name.clone()), f64::from(number % 5));
        }
    }
    for number in 0..10 {
        let replica = &mut fleet.replicas[number % 3];
        for cpu in (0..16).map(|turn| f64::from(turn % 3)).chain([1e3 * (number + 1) as f64]) {
            replica.post(&format!("odd:{number}"), cpu);
        }
    }
    fleet.wait_until_judged();
    for replica in &fleet.replicas {
        let own = replica.json("/devices?scope=instance&limit=1000");
        expected.extend(own["devices"].as_array().unwrap().iter().map(|it| id(it).to_owned()));
    }
    let total = expected.len();
    assert!(total >= 130, "{total}");
    for sort in ["id", "last_seen", "anomalies", "z", "z&field=cpu", "z&field=rps"] {
        let seen = pages(&fleet, &format!("&sort={sort}"), total);
        let ids: BTreeSet<String> = seen.iter().map(|device| id(device).to_owned()).collect();
        assert_eq!((seen.len(), &ids), (total, &expected), "{sort}");
        let is_sorted = match sort {
            "id" => seen.is_sorted_by_key(id),
            "last_seen" => {
                seen.iter().rev().is_sorted_by_key(|it| it["last_seen"].as_str().unwrap())
            }
            "anomalies" => seen.iter().rev().is_sorted_by_key(|it| it["points"].as_u64().unwrap()),
            _ => seen.iter().rev().map(|it| it["z"].as_f64().unwrap_or(0.0)).is_sorted(),
        };
        assert!(is_sorted, "{sort}: {seen:?}");
    }
    let odd = pages(&fleet, "&prefix=odd%3A", 10);
    assert_eq!(odd.iter().map(id).collect::<Vec<_>>().len(), 10);
    let worst = fleet.replicas[0].complete_json("/devices?scope=fleet&sort=anomalies&limit=10");
    assert!(worst["devices"].as_array().unwrap().iter().all(|it| id(it).starts_with("odd:")));
}

/// The window of a device goes along, and who had it lists it no more.
#[test]
fn a_device_that_changes_replicas_is_listed_once() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    for round in 0..3_usize {
        for number in 0..20 {
            for _ in 0..=round {
                fleet.replicas[(number + round) % 3].post(&format!("w:{number:02}"), 1.0);
            }
        }
    }
    for number in 0..20 {
        let found = fleet.replicas[0].complete_json(&format!("/devices/w%3A{number:02}"));
        let holder = ["a", "b", "c"][(number + 2) % 3];
        assert_eq!((&found["instance"], &found["totals"]["accepted"]), (&holder.into(), &6.into()));
    }
    let seen = pages(&fleet, "&prefix=w%3A", 20);
    assert_eq!(seen.len(), 20, "{seen:?}");
    assert!(seen.is_sorted_by_key(id));
    assert!(seen.iter().all(|device| device["accepted"] == 6), "{seen:?}");
    for replica in &fleet.replicas {
        let found = replica.complete_json("/devices/w%3A00");
        assert_eq!((&found["instance"], &found["totals"]["accepted"]), (&"c".into(), &6.into()));
    }
}

#[test]
fn a_device_is_found_from_every_replica() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    for number in 0..30 {
        fleet.replicas[1].post("d1", f64::from(20 + number % 3));
        fleet.replicas[1].post("d2", 1.0);
    }
    fleet.wait_until_judged();
    let own = fleet.replicas[1].json("/devices/d1?scope=instance");
    for replica in &fleet.replicas {
        let found = replica.complete_json("/devices/d1");
        for member in
            ["cpu", "rps", "window", "values", "totals", "anomalies", "series", "instance"]
        {
            assert_eq!(found[member], own[member], "{member}");
        }
        let analysis = replica.complete_json("/analyze?device_id=d1");
        assert_eq!((&analysis["cpu"], &analysis["values"]), (&own["cpu"], &Value::Null));
        assert_eq!((&analysis["scope"], &analysis["instance"]), (&"fleet".into(), &"b".into()));
        let latest = wait_until("it is stored", || {
            let answer = replica.get("/devices/d1/latest");
            (answer.status == 200).then(|| answer.json())
        });
        assert_eq!((&latest["device_id"], &latest["cpu"]), (&"d1".into(), &22.into()));
        // Nobody holds this one.
        for path in ["/devices/none", "/devices/none/latest", "/analyze?device_id=none"] {
            assert_problem(&get_unless_late(replica, path), 404, b"");
        }
    }
    // It goes to another replica, and its window with it.
    fleet.replicas[2].post("d1", 7.0);
    for replica in &fleet.replicas {
        let found = replica.complete_json("/devices/d1");
        assert_eq!((&found["instance"], &found["totals"]["accepted"]), (&"c".into(), &31.into()));
        let latest = wait_until("it is stored", || {
            let answer = replica.get("/devices/d1/latest");
            (answer.status == 200).then(|| answer.json())
        });
        assert_eq!(latest["cpu"], 7);
    }
    // Who is missing may hold it, or does.
    fleet.replicas[2].server.signal("STOP");
    for path in ["/devices/none", "/devices/none/latest", "/analyze?device_id=none", "/devices/d1"]
    {
        let problem = assert_problem(&fleet.replicas[0].get(path), 503, b"");
        assert!(problem["detail"].as_str().unwrap().ends_with("missing is c"), "{problem}");
        let answer = fleet.replicas[0].get(path);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    let found = fleet.replicas[0].json("/devices/d2");
    assert_eq!((&found["instance"], &found["complete"]), (&"b".into(), &false.into()));
    fleet.replicas[2].server.signal("CONT");
    fleet.wait_until_whole();
    // Nobody else knows of what this one holds, and it says so while Redis is away.
    drop(redis);
    let answer = fleet.replicas[0].get("/devices/none");
    assert_eq!(answer.status, 503, "{answer:?}");
    let found = fleet.replicas[1].json("/devices/d2");
    assert_eq!((&found["instance"], &found["complete"]), (&"b".into(), &false.into()));
}

/// A device that a replica held which was stopped in order is held by nobody.
#[test]
fn a_device_goes_with_its_replica() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let mut fleet = Fleet::start(&url, 2);
    fleet.replicas[1].post("d1", 5.0);
    let mut stopped = fleet.replicas.remove(1);
    stopped.stop();
    fleet.of_gone += stopped.acknowledged;
    assert_problem(&get_unless_late(&fleet.replicas[0], "/devices/d1"), 404, b"");
    fleet.replicas.push(Replica::start(&url, "b", &[]));
    fleet.wait_until_whole();
    assert_problem(&get_unless_late(&fleet.replicas[0], "/devices/d1"), 404, b"");
}
