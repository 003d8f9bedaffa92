//! The sentinels and the cluster that the tests stand on, tried by themselves.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

use testkit::redis_cluster::RedisCluster;
use testkit::redis_sentinel::RedisSentinel;
use testkit::{MetricStore, Redis, wait_until, wait_until_within};

#[test]
fn sentinels_promote_the_replica_of_a_dead_primary() {
    let mut all = RedisSentinel::start();
    let (old, new) = (all.primary().address(), all.replica().address());
    all.primary().execute(&["SET", "a", "1"]).assert_ok();
    all.primary().execute(&["WAIT", "1", "0"]).integer();
    all.kill_primary();
    wait_until_within(testkit::redis_sentinel::FAILOVER_TIME_MAX, "the failover", || {
        all.has_failed_over().then_some(())
    });
    assert_eq!((all.primary().address(), all.replica().address()), (new, old));
    assert_eq!(all.values_of(&["a", "b"]), [Some("1".to_owned()), None]);
    all.replica().run();
    assert!(all.is_old_primary_in_power());
    all.demote_old_primary();
    assert!(!all.is_old_primary_in_power());
}

#[test]
fn sentinels_with_passwords_change_the_primary_when_told_to() {
    let mut all = RedisSentinel::start_with_passwords();
    all.fail_over();
    wait_until_within(testkit::redis_sentinel::FAILOVER_TIME_MAX, "the failover", || {
        all.has_failed_over().then_some(())
    });
    assert!(all.is_old_primary_in_power());
    all.demote_old_primary();
    assert!(!all.is_old_primary_in_power());
}

#[test]
fn sentinels_do_not_mind_a_swap_and_are_back_where_they_were() {
    let mut all = RedisSentinel::start();
    let address = all.primary().address();
    all.swap();
    assert_ne!(all.primary().address(), address);
    all.swap();
    assert_eq!(all.primary().address(), address);
    all.kill_sentinels();
    all.run_sentinels();
    wait_until_within(testkit::redis_sentinel::FAILOVER_TIME_MAX, "all is well", || {
        all.is_whole().then_some(())
    });
}

/// Sets a hundred keys where they belong; answers how many nodes that were.
fn fill(cluster: &mut RedisCluster, keys: &[String]) -> usize {
    let mut counts = [0; 6];
    for key in keys {
        let slot = cluster.slot_of(key);
        let owner = cluster.owner_of(slot);
        cluster.nodes[owner].execute(&["SET", key, key, "EX", "300"]).assert_ok();
        counts[owner] += 1;
    }
    counts.iter().filter(|count| **count > 0).count()
}

fn assert_held(cluster: &mut RedisCluster, keys: &[String]) {
    let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found = cluster.values_of(&texts);
    assert!(found.iter().flatten().eq(keys), "{found:?}");
    assert!(cluster.expiries(&texts).iter().all(|expiry| *expiry > 0));
}

#[test]
fn a_cluster_promotes_the_replica_of_a_dead_primary() {
    let mut cluster = RedisCluster::start();
    assert_eq!(cluster.primaries(), [0, 1, 2]);
    let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
    assert_eq!(fill(&mut cluster, &keys), 3);
    assert_held(&mut cluster, &keys);
    cluster.nodes[0].execute(&["WAIT", "1", "0"]).integer();
    cluster.kill(0);
    wait_until_within(testkit::redis_cluster::FAILOVER_TIME_MAX, "the failover", || {
        cluster.is_primary(3).then_some(())
    });
    assert_held(&mut cluster, &keys);
    cluster.nodes[0].run();
    cluster.wait_until_whole();
    assert_eq!(cluster.primaries(), [1, 2, 3]);
    cluster.kill_all();
    cluster.run_all();
    cluster.wait_until_whole();
}

#[test]
fn a_slot_moves_from_node_to_node() {
    let mut cluster = RedisCluster::start();
    let keys: Vec<String> = (0..100).map(|number| format!("{{same}}-{number}")).collect();
    assert_eq!(fill(&mut cluster, &keys), 1);
    let slot = cluster.slot_of("same");
    let from = cluster.owner_of(slot);
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.nodes[from].execute(&["GET", "{same}-none"]);
    assert_eq!(cluster.redirections(from), 1);
    cluster.move_keys(slot, from, to);
    cluster.end_move(slot, from, to);
    wait_until("all agree", || {
        (0..3).all(|n| owner_seen_by(&mut cluster, n, slot) == to).then_some(())
    });
    assert_held(&mut cluster, &keys);
    assert!(cluster.redirections(from) > 1);
}

/// The owner that a node redirects to, or itself.
fn owner_seen_by(cluster: &mut RedisCluster, number: usize, slot: i64) -> usize {
    let node: &mut Redis = &mut cluster.nodes[number];
    assert_eq!(node.execute(&["CLUSTER", "KEYSLOT", "same"]).integer(), slot);
    match node.execute(&["GET", "{same}-0"]) {
        testkit::RedisReply::Text(_) => number,
        reply => cluster.redirection(&reply).expect("it redirects"),
    }
}
