//! Faults of replicas, and replicas that differ.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{FaultProxy, HttpClient, ProxyMode, Redis, RedisReply, Server, get, wait_until};

use crate::fleet::{DIRECTORY, Fleet, FleetAnswer, Replica, none_complete};

/// Returns true if each answer misses exactly this replica.
fn miss(name: &'static str) -> impl Fn(&[FleetAnswer]) -> bool {
    move |answers| answers.iter().all(|it| it.missing() == [name]) && none_complete(answers)
}

/// Returns true if the answers call a replica lapsed.
fn lapsed(name: &'static str) -> impl Fn(&[FleetAnswer]) -> bool {
    move |answers| {
        miss(name)(answers) && answers.iter().all(|it| it.members().contains(&(name, "lapsed")))
    }
}

/// Each event that an answer has shown stays in the totals. Those that were acknowledged after the
/// last answer, and so late that no entry has them, are lost.
#[test]
fn a_replica_is_killed() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    let mut killed = fleet.replicas.remove(1);
    let shown = killed.acknowledged;
    for _ in 0..50 {
        killed.post("late", 1.0);
    }
    killed.server.signal("KILL");
    killed.server.wait();
    fleet.of_gone += killed.acknowledged;
    fleet.observe("it is missed", miss("b"));
    fleet.observe("its lease runs out", lapsed("b"));
    let living: u64 = fleet.replicas.iter().map(|replica| replica.acknowledged).sum();
    for number in [0, 1] {
        let accepted = fleet.ask(number).accepted();
        let kept = accepted - living;
        assert!((shown..=killed.acknowledged).contains(&kept), "{kept} of {shown} and 50");
    }
    // Another one takes its place, under its name.
    let again = Replica::start(&redis.url(), "b", &[]);
    fleet.replicas.push(again);
    wait_until("it answers", || {
        let answers = fleet.look();
        let is_there = |it: &FleetAnswer| it.members().contains(&("b", "live"));
        answers.iter().all(is_there).then_some(())
    });
}

/// After an orderly end nobody is missing, and nothing is lost.
#[test]
fn a_replica_is_stopped_and_started() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 2);
    for name in ["c", "d"] {
        let mut stopped = fleet.replicas.remove(0);
        for _ in 0..50 {
            stopped.post("late", 1.0);
        }
        stopped.stop();
        fleet.of_gone += stopped.acknowledged;
        let answer = fleet.ask_for_all(0);
        assert_eq!(answer.members().len(), 1, "{}", answer.0);
        fleet.replicas.push(Replica::start(&redis.url(), name, &[]));
        // Those who were there know of it before its first event.
        let answer = fleet.ask(0);
        assert_eq!(answer.members().len(), 2, "{}", answer.0);
        fleet.wait_until_whole();
    }
}

#[test]
fn a_replica_is_frozen_and_thawed() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    fleet.replicas[2].server.signal("STOP");
    fleet.replicas[2].is_frozen = true;
    fleet.observe("it is missed", miss("c"));
    fleet.observe("its lease runs out", lapsed("c"));
    fleet.replicas[2].server.signal("CONT");
    fleet.replicas[2].is_frozen = false;
    fleet.wait_until_whole();
}

#[test]
fn a_replica_is_cut_off_alone() {
    for fault in [ProxyMode::BlackHole, ProxyMode::Refuse] {
        let redis = Redis::start(&[]);
        let proxy = FaultProxy::start(redis.address());
        let (url, cut) = (redis.url(), proxy.url());
        let mut fleet = Fleet::start_at(&[&url, &url, &cut]);
        proxy.set(fault);
        let is_cut = |answers: &[FleetAnswer]| {
            let missing: Vec<_> = answers.iter().map(FleetAnswer::missing).collect();
            missing == [vec!["c"], vec!["c"], vec!["a", "b"]] && none_complete(answers)
        };
        fleet.observe("it is missed, and misses the others", is_cut);
        fleet
            .observe("its lease runs out", |answers| is_cut(answers) && lapsed("c")(&answers[..2]));
        assert!(!fleet.replicas[2].is_up() && fleet.replicas[0].is_up());
        proxy.set(ProxyMode::Forward);
        fleet.wait_until_whole();
    }
}

/// They are two members all the same, and both are told of.
#[test]
fn two_replicas_have_one_name() {
    let redis = Redis::start(&[]);
    let replicas = ["a", "a", "b"].map(|name| Replica::start(&redis.url(), name, &[]));
    let mut fleet = Fleet::of(replicas.into());
    fleet.wait_until_whole();
    let told = "another live member of the fleet has the name of this instance";
    for replica in &fleet.replicas[..2] {
        let line = replica.server.first_line(told);
        assert_eq!((&line["level"], &line["instance"]), (&"WARN".into(), &"a".into()));
    }
    fleet.replicas[1].server.signal("STOP");
    fleet.replicas[1].is_frozen = true;
    fleet.observe("one of them is missed", miss("a"));
    fleet.replicas[1].server.signal("CONT");
    fleet.replicas[1].is_frozen = false;
    fleet.wait_until_whole();
}

fn write_entry(redis: &mut Redis, name: &str, entry: &Value) {
    redis.execute(&["HSET", DIRECTORY, name, &entry.to_string()]).integer();
}

fn now_us(redis: &mut Redis) -> i64 {
    let time: Vec<_> = redis.execute(&["TIME"]).list().into_iter().map(RedisReply::text).collect();
    let number = |at: usize| time[at].as_ref().unwrap().parse::<i64>().unwrap();
    number(0) * 1_000_000 + number(1)
}

/// A later version has another protocol: nobody can ask it, so it is missing, and its counters are
/// in the totals.
#[test]
fn a_replica_has_another_protocol() {
    let mut redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 2);
    fleet.of_gone += 7;
    let mut entry = json!({
        "protocol": 99, "instance": "later", "version": "9.9.9", "mailbox": "x",
        "started_us": 0, "seen_us": 0, "later": {"member": [1, 2]},
        "totals": {"accepted": 7, "stored": 7, "of_later": 3},
    });
    let name = "00000000000000ff";
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        entry["seen_us"] = now_us(&mut redis).into();
        write_entry(&mut redis, name, &entry);
        let answers = fleet.look();
        assert!(miss("later")(&answers), "{}", answers[0].0);
        assert!(answers.iter().all(|it| it.members().contains(&("later", "silent"))));
        assert!(answers.iter().all(|it| it.accepted() + 1 >= fleet.acknowledged()));
    }
    let line = fleet.replicas[0].server.first_line("has a version that this one cannot ask");
    assert_eq!((&line["instance"], &line["version"]), (&"later".into(), &"9.9.9".into()));
    // It leaves.
    entry["left"] = true.into();
    write_entry(&mut redis, name, &entry);
    fleet.wait_until_whole();
    // Nor does nonsense in the directory or in a mailbox do any harm.
    // What is nested deeply would take the stack of a parser.
    let deep = "[".repeat(100_000);
    for (field, value) in [
        ("x", "{}"),
        ("00000000000000fe", "{"),
        ("00000000000000fd", "3"),
        ("00000000000000fc", &deep),
        ("0", &deep),
    ] {
        redis.execute(&["HSET", DIRECTORY, field, value]).integer();
    }
    let directory = redis.execute(&["HGETALL", DIRECTORY]).fields();
    for entry in directory.values().filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
        if let Some(mailbox) = entry["mailbox"].as_str().filter(|name| *name != "x") {
            let key = format!("cp:{{f}}:mail:{mailbox}");
            redis.execute(&["RPUSH", &key, "nonsense", "{}\n", "{\"kind\":\"ask\"}\n"]).integer();
            let until_us = now_us(&mut redis) + 5_000_000;
            let ask = |texts: usize, length: usize| {
                let lengths = vec![length; texts];
                json!({
                    "kind": "ask", "from": "00000000000000fa", "mailbox": "x", "round": 1,
                    "until_us": until_us, "lengths": lengths,
                })
            };
            let question = format!("{}\n{deep}", ask(1, deep.len()));
            let many = format!("{}\n", ask(10_000, 0));
            redis.execute(&["RPUSH", &key, &format!("{deep}\n"), &question, &many]).integer();
        }
    }
    fleet.wait_until_whole();
    for replica in &fleet.replicas {
        wait_until("it is counted", || {
            (replica.figure("corepulse_fleet_unreadable_total") >= 10.0).then_some(())
        });
    }
}

/// An answer that cannot be read is none: who gave it is missing.
#[test]
fn a_replica_answers_what_nobody_can_read() {
    let mut redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 1);
    fleet.wait_until_whole();
    let deep = "[".repeat(100_000);
    for (path, text) in [
        ("/analyze", r#"{"later":1}"#),
        ("/stats", "null"),
        ("/devices", "[1,2"),
        ("/anomalies", &deep),
        ("/devices/d1", r#"{"later":1}"#),
    ] {
        let entry = json!({
            "protocol": 1, "instance": "odd", "mailbox": "odd", "moves": true,
            "seen_us": now_us(&mut redis),
        });
        write_entry(&mut redis, "00000000000000fa", &entry);
        let address = fleet.replicas[0].server.address;
        let answer = std::thread::scope(|scope| {
            let request = get(&format!("{path}?scope=fleet"));
            let asked = scope.spawn(move || HttpClient::connect(address).request(&request));
            let taken = redis.execute(&["BLPOP", "cp:{f}:mail:odd", "2"]).list();
            let message = taken.into_iter().nth(1).and_then(RedisReply::text).unwrap();
            let line: Value = serde_json::from_str(message.lines().next().unwrap()).unwrap();
            let said = json!({
                "kind": "answer", "from": "00000000000000fa", "round": line["round"],
                "at_us": now_us(&mut redis), "totals": {}, "lengths": [text.len()],
            });
            let key = format!("cp:{{f}}:mail:{}", line["mailbox"].as_str().unwrap());
            redis.execute(&["RPUSH", &key, &format!("{said}\n{text}")]).integer();
            asked.join().unwrap()
        });
        if path == "/devices/d1" {
            assert_eq!(answer.status, 503, "{answer:?}");
            continue;
        }
        let answer = FleetAnswer(answer.json());
        assert_eq!((answer.is_complete(), answer.missing()), (false, vec!["odd"]), "{path}");
        assert!(answer.members().contains(&("odd", "silent")), "{}", answer.0);
    }
    assert!(fleet.replicas[0].figure("corepulse_fleet_unreadable_total") >= 5.0);
}

/// Clocks order nothing: the figures and times of an answer are by the clock of Redis.
#[test]
fn clocks_are_minutes_apart() {
    let redis = Redis::start(&[]);
    let library = fake_clock();
    let replica = |name: &str, seconds: &str| {
        let variables = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", seconds),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let url = redis.url();
        let arguments = ["--workers", "1", "--fleet", "f", "--redis-url", &url, "--instance", name];
        Replica::of(Server::start_with_environment(&variables, &arguments), name)
    };
    let mut fleet =
        Fleet::of(vec![replica("a", "+300s"), replica("b", "-300s"), replica("c", "+0s")]);
    fleet.wait_until_whole();
    // They do differ.
    let own = |number: usize| {
        let stats = fleet.replicas[number].json("/stats?scope=instance");
        stats["time"].as_str().unwrap().to_owned()
    };
    assert!(own(1) < own(2) && own(2) < own(0), "{} {} {}", own(0), own(1), own(2));
    let times: Vec<String> =
        (0..3).map(|number| fleet.ask(number).0["as_of"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for answer in fleet.look() {
        for member in answer.0["members"].as_array().unwrap() {
            let [at, of] = [&answer.0["as_of"], &member["as_of"]].map(|it| it.as_str().unwrap());
            // Within one second of each other, but for the turn of a minute.
            assert!(of <= at, "{}", answer.0);
        }
    }
    // A device goes from one to the other, and its window with it.
    for round in 1..=3_u64 {
        for number in [0, 1, 2] {
            fleet.replicas[number].post("wanderer", round as f64);
            let sent = (round - 1) * 3 + number as u64 + 1;
            for asked in 0..3 {
                let found = fleet.replicas[asked].complete_json("/devices/wanderer");
                assert_eq!(found["instance"], fleet.replicas[number].name, "{found}");
                assert_eq!(found["totals"]["accepted"], sent, "{found}");
            }
        }
    }
    // The window of all is in the order of events, be they judged or not.
    let sent: Vec<f64> = (0..60_u64)
        .map(|number| {
            let cpu = 10.0 + (number * 7 % 11) as f64;
            fleet.replicas[number as usize % 3].post("line", cpu);
            cpu
        })
        .collect();
    let mean = sent[10..].iter().sum::<f64>() / 50.0;
    let answer = fleet.ask_for_all(1);
    let found = answer.0["cpu"]["rolling_average"].as_f64().unwrap();
    assert!((found - mean).abs() < 1e-9, "{found} and {mean}: {}", answer.0);
}

/// Returns the library that fakes the clock, which `ci/setup` installs.
fn fake_clock() -> String {
    let mut command = std::process::Command::new("faketime");
    let said = command.args(["-f", "+0s", "printenv", "LD_PRELOAD"]).output();
    let said = said.expect("ci/setup installs faketime");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// Of equal questions one goes out in each round, and a round takes all that wait.
#[test]
fn ten_thousand_questions_at_once() {
    const CONNECTIONS: usize = 200;
    const EACH: usize = 50;
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 2);
    let before = fleet.replicas[1].figure("corepulse_fleet_questions_total");
    let acknowledged = fleet.acknowledged();
    let question = get("/analyze?scope=fleet").repeat(EACH);
    let address = fleet.replicas[0].server.address;
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| HttpClient::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.send(&question));
    let mut refused = 0;
    for client in &mut clients {
        for _ in 0..EACH {
            let answer = client.receive();
            if answer.status == 503 {
                refused += 1;
                continue;
            }
            assert_eq!(answer.status, 200, "{answer:?}");
            let answer = FleetAnswer(answer.json());
            assert!(!answer.is_complete() || answer.accepted() == acknowledged);
        }
    }
    let after = fleet.replicas[1].figure("corepulse_fleet_questions_total");
    let asked = after - before;
    println!("10,000 questions, {refused} refused, {asked} asked");
    assert!(asked * 5.0 < (CONNECTIONS * EACH) as f64, "{asked}");
    fleet.wait_until_whole();
}
