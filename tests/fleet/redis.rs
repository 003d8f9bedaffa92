//! Faults of Redis, and of the way to it.

use std::time::Duration;

use testkit::{FaultProxy, ProxyMode, Redis, wait_until};

use crate::fleet::{DIRECTORY, Fleet, FleetAnswer, Replica, none_complete};

/// Replicas that find Redis through a proxy.
fn start_behind_proxy() -> (Redis, FaultProxy, Fleet) {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let fleet = Fleet::start(&proxy.url(), 3);
    (redis, proxy, fleet)
}

/// Returns true if each answer misses the two other replicas.
fn all_miss_the_others(answers: &[FleetAnswer]) -> bool {
    answers.iter().all(|it| it.missing().len() == 2) && none_complete(answers)
}

#[test]
fn redis_is_away() {
    let (_redis, proxy, mut fleet) = start_behind_proxy();
    proxy.set(ProxyMode::Refuse);
    fleet.observe("nobody can be asked", all_miss_the_others);
    fleet.wait_until_up_is(false);
    fleet.observe("nobody can be asked", all_miss_the_others);
    proxy.set(ProxyMode::Forward);
    fleet.wait_until_whole();
    fleet.wait_until_up_is(true);
    for replica in &fleet.replicas {
        assert!(replica.figure("corepulse_fleet_lease_lapses_total") >= 1.0);
    }
}

/// Whoever is alone cannot know that nobody has joined.
#[test]
fn redis_is_away_from_the_only_replica() {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut fleet = Fleet::start(&proxy.url(), 1);
    proxy.set(ProxyMode::Refuse);
    // The proxy takes a moment, and the replica none.
    fleet.look();
    assert!(none_complete(&fleet.look()) && fleet.replicas[0].is_up());
    fleet.observe("nobody can be asked", none_complete);
    proxy.set(ProxyMode::Forward);
    fleet.wait_until_whole();
}

#[test]
fn redis_is_away_at_the_start() {
    let mut redis = Redis::absent(&[]);
    let replicas = ["a", "b"].map(|name| Replica::start(&redis.url(), name, &[]));
    let mut fleet = Fleet::of(replicas.into());
    fleet.observe("nobody can be asked", none_complete);
    redis.run();
    fleet.wait_until_whole();
}

/// A replica that cannot say that it leaves ends in time, and is missed.
#[test]
fn redis_is_away_at_the_end_of_a_replica() {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let (url, cut) = (redis.url(), proxy.url());
    let mut fleet = Fleet::start_at(&[&url, &url]);
    fleet.replicas.push(Replica::start(&cut, "c", &["--drain-timeout", "2s"]));
    fleet.wait_until_whole();
    let mut stopped = fleet.replicas.remove(2);
    wait_until("nothing is pending", || {
        let answer = stopped.json("/analyze?scope=instance");
        (answer["store"]["pending"] == 0).then_some(())
    });
    proxy.set(ProxyMode::Refuse);
    stopped.server.signal("TERM");
    stopped.server.wait();
    fleet.of_gone += stopped.acknowledged;
    fleet.observe("it is missed", |answers| answers.iter().all(|it| it.missing() == ["c"]));
    assert_eq!(fleet.ask(0).accepted(), fleet.acknowledged());
    assert_eq!(stopped.server.log_entries("a panic").len(), 0);
}

#[test]
fn redis_is_frozen() {
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    redis.freeze();
    fleet.observe("nobody answers", all_miss_the_others);
    fleet.wait_until_up_is(false);
    fleet.observe("nobody answers", all_miss_the_others);
    redis.thaw();
    fleet.wait_until_whole();
}

/// The time for a question and an answer is over before Redis has passed on the question.
#[test]
fn redis_is_slow() {
    let (_redis, proxy, mut fleet) = start_behind_proxy();
    proxy.set(ProxyMode::Delay(Duration::from_millis(200)));
    fleet.observe("nobody answers in time", all_miss_the_others);
    fleet.observe("nor later", all_miss_the_others);
    // It is slow, but it is there.
    assert!(fleet.replicas.iter().all(Replica::is_up));
    proxy.set(ProxyMode::Forward);
    fleet.wait_until_whole();
}

/// The replicas that live write their counters again, and those of the one that has left.
#[test]
fn redis_is_restarted_empty() {
    let mut redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    let mut left = fleet.replicas.remove(0);
    left.stop();
    fleet.of_gone += left.acknowledged;
    fleet.wait_until_whole();
    redis.kill();
    fleet.observe("nobody can be asked", none_complete);
    redis.run();
    fleet.wait_until_whole();
    assert_eq!(redis.execute(&["HLEN", DIRECTORY]).integer(), 3);
    for replica in &fleet.replicas {
        replica.server.wait_for_log("redis has lost what the fleet keeps there");
    }
}

/// Redis loses its memory between two heartbeats, and no connection.
#[test]
fn redis_is_flushed() {
    let mut redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    for _ in 0..3 {
        redis.execute(&["FLUSHALL"]).assert_ok();
        wait_until("all are there again", || {
            fleet.look();
            (redis.execute(&["HLEN", DIRECTORY]).integer() == 3).then_some(())
        });
        fleet.wait_until_whole();
    }
}

#[test]
fn the_memory_of_redis_is_full() {
    let mut redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let mut fleet = Fleet::start(&redis.url(), 3);
    redis.configure("maxmemory", "1");
    let lapses = |fleet: &Fleet| -> Vec<f64> {
        let of = |replica: &Replica| replica.figure("corepulse_fleet_lease_lapses_total");
        fleet.replicas.iter().map(of).collect()
    };
    // Before that they may be down for a moment: transactions are refused, as one that takes mail.
    let run_out = || Some(lapses(&fleet)).filter(|counts| counts.iter().all(|count| *count > 0.0));
    let before = wait_until("their leases run out", run_out);
    // To read is possible all the time: it makes nobody believe that it is counted on.
    for _ in 0..3 {
        fleet.observe("nobody can be asked", none_complete);
        assert!(fleet.replicas.iter().all(|replica| !replica.is_up()));
    }
    assert_eq!(lapses(&fleet), before);
    assert!(fleet.replicas[0].figure("corepulse_fleet_errors_total{kind=\"oom\"}") > 0.0);
    redis.configure("maxmemory", "0");
    fleet.wait_until_whole();
}

#[test]
fn redis_evicts_keys() {
    let redis = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let fleet = Fleet::start(&redis.url(), 1);
    let line = fleet.replicas[0].server.first_line("redis evicts keys");
    assert_eq!((&line["level"], &line["policy"]), (&"WARN".into(), &"allkeys-lru".into()));
}

/// The commands that `docs/operating.md` names for a writer and for a fleet.
const RIGHTS: &str = "on >pw ~metric:* ~cp:* -@all +set +get +hello +auth +ping +time +hset \
                      +hsetnx +hgetall +hdel +rpush +blpop +expire +watch +multi +exec +info \
                      +mget";

#[test]
fn a_user_has_no_right_to_a_command() {
    let mut redis = Redis::start(&[]);
    let rights: Vec<&str> = RIGHTS.split_whitespace().collect();
    redis.execute(&[&["ACL", "SETUSER", "writer"], &rights[..]].concat()).assert_ok();
    let url = format!("redis://writer:pw@{}/", redis.address());
    let mut fleet = Fleet::start(&url, 2);
    for command in ["hset", "hgetall", "time"] {
        redis.execute(&["ACL", "SETUSER", "writer", &format!("-{command}")]).assert_ok();
        fleet.wait_until_up_is(false);
        fleet.observe("nobody can be asked", none_complete);
        redis.execute(&["ACL", "SETUSER", "writer", &format!("+{command}")]).assert_ok();
        fleet.wait_until_whole();
    }
    let line = fleet.replicas[0].server.first_line("the fleet cannot be asked");
    assert_eq!((&line["level"], &line["why"]), (&"WARN".into(), &"noperm".into()), "{line}");
}

/// Questions and answers are forbidden, and the rest is not.
#[test]
fn a_user_has_no_right_to_mailboxes() {
    let mut redis = Redis::start(&[]);
    let rights: Vec<&str> = RIGHTS.split_whitespace().collect();
    redis.execute(&[&["ACL", "SETUSER", "writer"], &rights[..]].concat()).assert_ok();
    let url = format!("redis://writer:pw@{}/", redis.address());
    let mut fleet = Fleet::start(&url, 2);
    for command in ["rpush", "blpop"] {
        redis.execute(&["ACL", "SETUSER", "writer", &format!("-{command}")]).assert_ok();
        fleet.observe("nobody answers", |answers| {
            none_complete(answers) && answers.iter().all(|it| it.missing().len() == 1)
        });
        if command == "blpop" {
            // Who cannot be answered cannot ask.
            fleet.wait_until_up_is(false);
        }
        redis.execute(&["ACL", "SETUSER", "writer", &format!("+{command}")]).assert_ok();
        fleet.wait_until_whole();
    }
}

/// A mailbox that its replica must not read gets nothing: it would stay there for as long as
/// somebody goes on asking.
#[test]
fn who_cannot_hear_is_not_asked() {
    let mut redis = Redis::start(&[]);
    let users = ["writer", "deaf"].map(|user| {
        let rights: Vec<&str> = RIGHTS.split_whitespace().collect();
        redis.execute(&[&["ACL", "SETUSER", user], &rights[..]].concat()).assert_ok();
        format!("redis://{user}:pw@{}/", redis.address())
    });
    redis.execute(&["ACL", "SETUSER", "deaf", "-blpop"]).assert_ok();
    let deaf = Replica::start(&users[1], "deaf", &[]);
    wait_until("it says so", || {
        let entries = redis.execute(&["HGETALL", DIRECTORY]).fields();
        entries.values().any(|entry| entry.contains("\"moves\":false")).then_some(())
    });
    let mut fleet = Fleet::of(vec![Replica::start(&users[0], "a", &[]), deaf]);
    for _ in 0..5 {
        assert_eq!(fleet.ask(0).missing(), ["deaf"]);
    }
    assert_eq!(redis.execute(&["KEYS", "cp:{f}:mail:*"]).list().len(), 0);
    redis.execute(&["ACL", "SETUSER", "deaf", "+blpop"]).assert_ok();
    fleet.wait_until_whole();
}

/// Copies of windows are forbidden, and the rest is not: the member is up, and what it cannot save
/// grows old.
#[test]
fn a_user_has_no_right_to_copies_of_windows() {
    let mut redis = Redis::start(&[]);
    let rights: Vec<&str> = RIGHTS.split_whitespace().collect();
    redis.execute(&[&["ACL", "SETUSER", "writer"], &rights[..]].concat()).assert_ok();
    let keys = ["resetkeys", "~metric:*", "~cp:{f}:*", "~cp:f:o:*"];
    redis.execute(&[&["ACL", "SETUSER", "writer"], &keys[..]].concat()).assert_ok();
    let url = format!("redis://writer:pw@{}/", redis.address());
    let replica = Replica::start(&url, "a", &["--window-save", "1s"]);
    let mut fleet = Fleet::of(vec![replica]);
    fleet.wait_until_whole();
    let new = fleet.replicas[0].figure("corepulse_window_save_lag_seconds");
    assert_eq!(new, 0.0);
    fleet.replicas[0].post("forbidden", 5.0);
    let replica = &fleet.replicas[0];
    let lag = || replica.figure("corepulse_window_save_lag_seconds");
    assert_eq!(replica.figure("corepulse_window_save_interval_seconds"), 1.0);
    wait_until("its copy grows old", || (lag() > 2.0).then_some(()));
    for name in ["corepulse_window_saves_failed_total", "corepulse_fleet_errors_total"] {
        assert!(replica.figure(&format!("{name}{{kind=\"noperm\"}}")) > 0.0, "{name}");
    }
    assert!(replica.is_up());
    redis.execute(&["ACL", "SETUSER", "writer", "~cp:f:w:*"]).assert_ok();
    wait_until("its copy is saved", || (lag() == 0.0).then_some(()));
}
