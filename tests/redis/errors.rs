//! Error replies of a Redis that runs: each is counted by its kind, and writing goes on after it.

use std::time::Duration;
use testkit::{
    CloseMode, Direction, FaultProxy, Reconciliation, Redis, ServerUnderLoad, wait_until,
};

const FAULT: Duration = Duration::from_secs(2);

/// Waits until the server has counted such a reply, lets the fault last, and returns how many there
/// have been.
fn lasts_with_errors(outage: &ServerUnderLoad, kind: &str) -> u64 {
    wait_until("an error is counted", || (outage.counters().errors(kind) > 0).then_some(()));
    outage.observe_for(FAULT);
    outage.counters().errors(kind)
}

/// Events refused for good were dropped and counted; no others are missing.
fn assert_most_is_there(settled: &Reconciliation) {
    let counters = &settled.counters;
    assert!(counters.stored > 100, "{counters:?}");
    assert!(settled.missing.len() as u64 <= counters.dropped, "{settled:?}");
}

#[test]
fn a_wrong_password_until_it_is_right() {
    let mut redis = Redis::start(&["--requirepass", "right"]);
    let url = format!("redis://:wrong@{}/", redis.address());
    let mut outage = ServerUnderLoad::start(&url, &[]);
    outage.wait_until_up_is(false);
    outage.observe_for(FAULT);
    assert_eq!(outage.counters().stored, 0);
    redis.configure("requirepass", "wrong");
    outage.recover_without_loss(&mut redis);
}

#[test]
fn a_password_set_while_it_runs() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.configure("requirepass", "secret");
    // Open connections would go on, so they are closed.
    redis.execute(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).integer();
    lasts_with_errors(&outage, "noauth");
    redis.configure("requirepass", "");
    outage.wait_for_recovery(&mut redis);
    assert_most_is_there(&outage.reconcile(&mut redis));
}

#[test]
fn no_memory_left() {
    let mut redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.configure("maxmemory", "1");
    lasts_with_errors(&outage, "oom");
    redis.configure("maxmemory", "0");
    outage.wait_for_recovery(&mut redis);
    assert_most_is_there(&outage.reconcile(&mut redis));
}

#[test]
fn a_primary_that_becomes_a_replica() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    // Of no real server: a replica that never gets its data keeps its own, and takes no writes.
    redis.execute(&["REPLICAOF", "127.0.0.1", "1"]).assert_ok();
    lasts_with_errors(&outage, "readonly");
    redis.execute(&["REPLICAOF", "NO", "ONE"]).assert_ok();
    outage.wait_for_recovery(&mut redis);
    assert_most_is_there(&outage.reconcile(&mut redis));
}

#[test]
fn too_few_replicas_for_a_write() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.configure("min-replicas-to-write", "1");
    lasts_with_errors(&outage, "noreplicas");
    redis.configure("min-replicas-to-write", "0");
    outage.wait_for_recovery(&mut redis);
    assert_most_is_there(&outage.reconcile(&mut redis));
}

/// A Redis that reads its data back answers every few kilobytes, and each answer is LOADING.
#[test]
fn loading() {
    const KEYS: usize = 4_000;
    let mut redis = Redis::start(&["--loading-process-events-interval-bytes", "1024"]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    let count = KEYS.to_string();
    redis.execute(&["DEBUG", "POPULATE", &count, "filler", "100"]).assert_ok();
    // In microseconds a key: three seconds for the filler alone.
    redis.configure("key-load-delay", "750");
    redis.begin(&["DEBUG", "RELOAD"]);
    lasts_with_errors(&outage, "loading");
    // The time depends on the number of keys; it may exceed the time-out of a check.
    redis.receive_reply().assert_ok();
    outage.wait_for_recovery(&mut redis);
    assert_most_is_there(&outage.reconcile(&mut redis));
}

/// A Redis with too many clients sends an error to each new connection and closes it: that error
/// is the reply to no command.
#[test]
fn too_many_clients() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.configure("maxclients", "1");
    redis.execute(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).integer();
    outage.wait_until_up_is(false);
    outage.observe_for(FAULT);
    redis.configure("maxclients", "100");
    outage.recover_without_loss(&mut redis);
}

/// A user that may do no more than needed: where the old connection cannot be ended at the server,
/// writing goes on all the same.
#[test]
fn a_user_that_may_not_end_connections() {
    let mut redis = Redis::start(&[]);
    let rules = ["on", ">pw", "~metric:*", "-@all", "+set", "+get", "+hello", "+auth", "+ping"];
    redis.execute(&[&["ACL", "SETUSER", "writer"], &rules[..]].concat()).assert_ok();
    let proxy = FaultProxy::start(redis.address());
    let url = format!("redis://writer:pw@{}/", proxy.address);
    let mut outage = ServerUnderLoad::start_healthy(&url, &[]);
    for round in 1..=3 {
        proxy.cut_after(Direction::ToServer, 1, CloseMode::Reset);
        wait_until("the cut", || (proxy.cuts() == round).then_some(()));
        outage.wait_for_recovery(&mut redis);
    }
    outage.reconcile_without_loss(&mut redis);
}
