//! The log of a replica: what it says of the others, and what other settings of theirs mean.

use serde_json::Value;
use testkit::{Redis, wait_until};

use crate::fleet::{DIRECTORY, Fleet, Replica};

/// A replica that was killed and is back at once does not take its own former life, which counts as
/// live for three seconds, for another member of its name.
#[test]
fn a_replica_is_killed_and_starts_again() {
    let mut redis = Redis::start(&[]);
    let mut killed = Replica::start(&redis.url(), "a", &[]);
    wait_until("it is in the directory", || {
        (redis.execute(&["HLEN", DIRECTORY]).integer() == 1).then_some(())
    });
    killed.server.signal("KILL");
    killed.server.wait();
    let mut fleet = Fleet::of(vec![Replica::start(&redis.url(), "a", &[])]);
    wait_until("the former life is over", || {
        let answer = fleet.ask(0);
        let members = answer.0["members"].as_array().expect("a list");
        members.iter().any(|member| member["state"] == "lapsed").then_some(())
    });
    fleet.replicas[0].stop();
    let told = fleet.replicas[0].server.log_entries("member of the fleet");
    assert_eq!(told, Vec::<Value>::new());
}

#[test]
fn a_replica_has_other_settings() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let mut other = vec!["--window", "20", "--z-threshold", "4"];
    let replicas = vec![Replica::start(&url, "a", &[]), Replica::start(&url, "b", &other)];
    let mut fleet = Fleet::of(replicas);
    fleet.wait_until_whole();
    let told = "a member of the fleet has another setting";
    let line = fleet.replicas[1].server.first_line(told);
    assert_eq!((&line["level"], &line["instance"]), (&"WARN".into(), &"a".into()));
    let found = [&line["flag"], &line["here"], &line["there"]];
    assert_eq!(found, ["window", "20", "50"]);
    let line = fleet.replicas[1].server.wait_for_log(told);
    let found = [&line["flag"], &line["here"], &line["there"]];
    assert_eq!(found, ["z-threshold", "4", "2"]);
    let line = fleet.replicas[0].server.first_line(told);
    assert_eq!((&line["instance"], &line["there"]), (&"b".into(), &"20".into()));
    // Fields that others do not have: each tells what it can.
    other = vec!["--fields", "cpu,rps,load?"];
    fleet.replicas.push(Replica::start(&url, "c", &other));
    fleet.wait_until_whole();
    for replica in &fleet.replicas {
        for target in [
            "/analyze?scope=fleet",
            "/devices?scope=fleet",
            "/devices?scope=fleet&sort=z",
            "/devices/a-1",
            "/anomalies?scope=fleet",
            "/stats?scope=fleet&history=60",
        ] {
            let answer = replica.complete_json(target);
            let members = answer["members"].as_array().map(Vec::len);
            assert_eq!(members, Some(3), "{target}: {answer}");
        }
    }
    // Who does not have a field cannot order by it.
    let answer = fleet.replicas[2].json("/devices?scope=fleet&sort=z&field=load");
    assert_eq!(answer["missing"].as_array().map(Vec::len), Some(2), "{answer}");
    let answer = fleet.replicas[0].get("/devices?scope=fleet&sort=z&field=load");
    assert_eq!(answer.status, 400, "{answer:?}");
}
