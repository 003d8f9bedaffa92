//! The sentinels and the cluster that the tests stand on, tried by themselves.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use testkit::redis_cluster::Cluster;
use testkit::redis_sentinel::Sentinels;
use testkit::{Keeper, Redis, until, until_within};

#[test]
fn sentinels_promote_the_replica_of_a_dead_primary() {
    let mut all = Sentinels::start();
    let (old, new) = (all.primary().address(), all.replica().address());
    all.primary().ask(&["SET", "a", "1"]).assert_ok();
    all.primary().ask(&["WAIT", "1", "0"]).integer();
    all.kill_primary();
    until_within(testkit::redis_sentinel::FAILOVER_TIME_MAX, "the failover", || {
        all.has_failed_over().then_some(())
    });
    assert_eq!((all.primary().address(), all.replica().address()), (new, old));
    assert_eq!(all.held(&["a", "b"]), [Some("1".to_owned()), None]);
    all.replica().run();
    assert!(all.is_old_primary_in_power());
    all.demote_old_primary();
    assert!(!all.is_old_primary_in_power());
}

#[test]
fn sentinels_with_passwords_change_the_primary_when_told_to() {
    let mut all = Sentinels::start_with_passwords();
    all.fail_over();
    until_within(testkit::redis_sentinel::FAILOVER_TIME_MAX, "the failover", || {
        all.has_failed_over().then_some(())
    });
    assert!(all.is_old_primary_in_power());
    all.demote_old_primary();
    assert!(!all.is_old_primary_in_power());
}

#[test]
fn sentinels_do_not_mind_a_swap_and_are_back_where_they_were() {
    let mut all = Sentinels::start();
    let address = all.primary().address();
    all.swap();
    assert_ne!(all.primary().address(), address);
    all.swap();
    assert_eq!(all.primary().address(), address);
    all.kill_sentinels();
    all.run_sentinels();
    until_within(testkit::redis_sentinel::FAILOVER_TIME_MAX, "all is well", || {
        all.is_whole().then_some(())
    });
}

/// Sets a hundred keys where they belong; answers how many nodes that were.
fn fill(cluster: &mut Cluster, keys: &[String]) -> usize {
    let mut counts = [0; 6];
    for key in keys {
        let slot = cluster.slot_of(key);
        let owner = cluster.owner_of(slot);
        cluster.nodes[owner].ask(&["SET", key, key, "EX", "300"]).assert_ok();
        counts[owner] += 1;
    }
    counts.iter().filter(|count| **count > 0).count()
}

fn assert_held(cluster: &mut Cluster, keys: &[String]) {
    let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found = cluster.held(&texts);
    assert!(found.iter().flatten().eq(keys), "{found:?}");
    assert!(cluster.expiries(&texts).iter().all(|expiry| *expiry > 0));
}

#[test]
fn a_cluster_promotes_the_replica_of_a_dead_primary() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.primaries(), [0, 1, 2]);
    let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
    assert_eq!(fill(&mut cluster, &keys), 3);
    assert_held(&mut cluster, &keys);
    cluster.nodes[0].ask(&["WAIT", "1", "0"]).integer();
    cluster.kill(0);
    until_within(testkit::redis_cluster::FAILOVER_TIME_MAX, "the failover", || {
        cluster.is_primary(3).then_some(())
    });
    assert_held(&mut cluster, &keys);
    cluster.nodes[0].run();
    cluster.until_whole();
    assert_eq!(cluster.primaries(), [1, 2, 3]);
    cluster.kill_all();
    cluster.run_all();
    cluster.until_whole();
}

#[test]
fn a_slot_moves_from_node_to_node() {
    let mut cluster = Cluster::start();
    let keys: Vec<String> = (0..100).map(|number| format!("{{same}}-{number}")).collect();
    assert_eq!(fill(&mut cluster, &keys), 1);
    let slot = cluster.slot_of("same");
    let from = cluster.owner_of(slot);
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.nodes[from].ask(&["GET", "{same}-none"]);
    assert_eq!(cluster.redirections(from), 1);
    cluster.move_keys(slot, from, to);
    cluster.end_move(slot, from, to);
    until("all agree", || (0..3).all(|n| owner_seen_by(&mut cluster, n, slot) == to).then_some(()));
    assert_held(&mut cluster, &keys);
    assert!(cluster.redirections(from) > 1);
}

/// The owner that a node redirects to, or itself.
fn owner_seen_by(cluster: &mut Cluster, number: usize, slot: i64) -> usize {
    let node: &mut Redis = &mut cluster.nodes[number];
    assert_eq!(node.ask(&["CLUSTER", "KEYSLOT", "same"]).integer(), slot);
    match node.ask(&["GET", "{same}-0"]) {
        testkit::Reply::Text(_) => number,
        reply => cluster.redirection(&reply).expect("it redirects"),
    }
}
