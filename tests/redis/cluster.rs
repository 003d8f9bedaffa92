//! A Redis Cluster: each event is written to the node that has its slot, whichever that is.
//!
//! Replication is asynchronous, and so Redis itself may lose what it has confirmed: what a primary
//! had not yet passed on when it was killed is gone. So after a kill these tests ask for the events
//! that were sent when the dead primary could not confirm anything any more. Where Redis hands over
//! without a loss (`CLUSTER FAILOVER`, a slot that moves), nothing at all may be missing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::metric_load::metric;
use testkit::redis_cluster::{FAILOVER_TIME_MAX, RedisCluster};
use testkit::{
    MetricStore, Redis, SentMetrics, Server, ServerUnderLoad, StoreCounters, get, post, wait_until,
};

/// The time to live of a metric, and how much of it may be over when it is written.
const TTL_MS: i64 = 300_000;
const LATE_MS: i64 = 5_000;

fn start() -> (RedisCluster, ServerUnderLoad) {
    let cluster = RedisCluster::start();
    let outage = ServerUnderLoad::start_healthy(&cluster.url(), &[]);
    (cluster, outage)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Checks that writing goes on by itself at every primary.
fn recovers_everywhere(outage: &mut ServerUnderLoad, cluster: &mut RedisCluster) {
    for primary in cluster.primaries() {
        let (key, value) = wait_until("a key of that primary's", || {
            let (key, value) = outage.send_marker();
            let slot = cluster.slot_of(&key);
            (cluster.owner_of(slot) == primary).then_some((key, value))
        });
        wait_until("an event from after the fault is there", || {
            (cluster.values_of(&[&key])[0].as_ref() == Some(&value)).then_some(())
        });
    }
}

/// Waits until all nodes are in sync, and checks that this changes nothing.
fn outlives_the_return(outage: &mut ServerUnderLoad, cluster: &mut RedisCluster) {
    outage.observe_until(FAILOVER_TIME_MAX, "the return", || cluster.is_whole());
    cluster.wait_until_whole();
    outage.observe_for(Duration::from_secs(1));
    recovers_everywhere(outage, cluster);
}

/// Ends the load: nothing was dropped, and every event of the last phase is at its node and found
/// by a look-up. Returns these events.
fn reconcile(outage: &mut ServerUnderLoad, cluster: &mut RedisCluster) -> SentMetrics {
    let (counters, mut phases) = outage.stop_load();
    assert_eq!(counters.dropped, 0, "{counters:?}");
    let safe = phases.pop().expect("there is a phase");
    let missing = safe.missing_from(cluster);
    assert!(missing.is_empty(), "{} missing, {missing:.5?}: {counters:?}", missing.len());
    outage.check_lookups(&safe);
    let lost: usize = phases.iter().map(|sent| sent.missing_from(cluster).len()).sum();
    println!("{lost} keys of earlier phases lost by Redis");
    safe
}

#[test]
fn each_event_is_on_the_node_that_has_its_slot() {
    let mut cluster = RedisCluster::start();
    let started_at = now_ms();
    let mut outage = ServerUnderLoad::start_healthy(&cluster.url(), &[]);
    outage.observe_for(Duration::from_secs(1));
    let sent = reconcile(&mut outage, &mut cluster);
    let keys: Vec<&str> = sent.values.keys().map(String::as_str).collect();
    let allowed = started_at + TTL_MS - LATE_MS..=now_ms() + TTL_MS;
    for (key, expiry) in keys.iter().zip(cluster.expiries(&keys)) {
        assert!(allowed.contains(&expiry), "{key} until {expiry}, not in {allowed:?}");
    }
    let sizes = [0, 1, 2].map(|number| cluster.nodes[number].execute(&["DBSIZE"]).integer());
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<i64>(), keys.len() as i64, "and nothing else is there");
}

#[test]
fn a_killed_primary_and_its_return() {
    let (mut cluster, mut outage) = start();
    cluster.kill(0);
    outage.start_phase("safe");
    outage.observe_until(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(3));
    recovers_everywhere(&mut outage, &mut cluster);
    cluster.nodes[0].run();
    outlives_the_return(&mut outage, &mut cluster);
    reconcile(&mut outage, &mut cluster);
    assert_eq!(cluster.primaries(), [1, 2, 3]);
}

/// A frozen primary runs the commands in its sockets when it thaws; no client gets the replies.
#[test]
fn a_frozen_primary_and_its_return() {
    let (mut cluster, mut outage) = start();
    cluster.freeze(1);
    outage.start_phase("safe");
    outage.observe_until(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(4));
    recovers_everywhere(&mut outage, &mut cluster);
    cluster.thaw();
    outlives_the_return(&mut outage, &mut cluster);
    reconcile(&mut outage, &mut cluster);
    assert_eq!(cluster.primaries(), [0, 2, 4]);
}

/// The replica has all that its primary has when it takes over, and the old primary answers MOVED.
#[test]
fn a_failover_on_demand() {
    let (mut cluster, mut outage) = start();
    cluster.nodes[3].execute(&["CLUSTER", "FAILOVER"]).assert_ok();
    outage.observe_until(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(3));
    recovers_everywhere(&mut outage, &mut cluster);
    outage.reconcile_without_loss(&mut cluster);
    assert_eq!(cluster.primaries(), [1, 2, 3]);
}

/// The key that the load writes again and again, and where it is.
fn busy_slot(cluster: &mut RedisCluster) -> (i64, usize) {
    let (key, _) = metric("load-0", 0, "1");
    let slot = cluster.slot_of(&key);
    (slot, cluster.owner_of(slot))
}

#[test]
fn a_slot_that_moves_while_it_is_written_to() {
    let (mut cluster, mut outage) = start();
    let (slot, mut from) = busy_slot(&mut cluster);
    // Round once, so that it also comes back to where it was.
    for _ in 0..3 {
        let (to, before) = ((from + 1) % 3, cluster.redirections(from));
        cluster.begin_move(slot, from, to);
        cluster.move_keys(slot, from, to);
        cluster.end_move(slot, from, to);
        wait_until("the old owner is asked for it", || {
            outage.counters();
            (cluster.redirections(from) > before).then_some(())
        });
        outage.observe_for(Duration::from_millis(500));
        recovers_everywhere(&mut outage, &mut cluster);
        from = to;
    }
    outage.reconcile_without_loss(&mut cluster);
}

/// As long as a slot moves, what has gone already is with the new owner, and the old one says ASK.
#[test]
fn a_slot_that_takes_its_time_to_move() {
    let (mut cluster, mut outage) = start();
    let (slot, from) = busy_slot(&mut cluster);
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.move_keys(slot, from, to);
    wait_until("the old owner is asked for it", || {
        outage.counters();
        (cluster.redirections(from) > 0).then_some(())
    });
    outage.observe_for(Duration::from_secs(2));
    // Resharding may take hours, and all that time there is a slot that moves: writing goes on.
    recovers_everywhere(&mut outage, &mut cluster);
    cluster.end_move(slot, from, to);
    recovers_everywhere(&mut outage, &mut cluster);
    outage.reconcile_without_loss(&mut cluster);
}

/// A node that had no slot gets its first one; before, no reply about slots names it.
#[test]
fn a_slot_that_moves_to_a_new_node() {
    let (mut cluster, mut outage) = start();
    let (slot, from) = busy_slot(&mut cluster);
    let to = cluster.add_node();
    cluster.begin_move(slot, from, to);
    cluster.move_keys(slot, from, to);
    outage.observe_for(Duration::from_secs(1));
    outage.wait_for_recovery(&mut cluster);
    cluster.end_move(slot, from, to);
    outage.wait_for_recovery(&mut cluster);
    outage.reconcile_without_loss(&mut cluster);
    assert_eq!(cluster.primaries(), [0, 1, 2, to]);
}

/// The URL names nodes from which the others were learnt; those do without them.
fn outlives_the_nodes_of_the_url(is_looked_up_before: bool) {
    let mut cluster = RedisCluster::start();
    let mut outage = ServerUnderLoad::start_healthy(&cluster.url_of(&[3, 4, 5]), &[]);
    let (key, value) = outage.send_marker();
    wait_until("it is there", || {
        (cluster.values_of(&[&key])[0].as_ref() == Some(&value)).then_some(())
    });
    if is_looked_up_before {
        let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
        assert_eq!(outage.server.client().request(&get(&target)).status, 200);
    }
    outage.start_phase("safe");
    for replica in 3..6 {
        cluster.nodes[replica].kill();
    }
    for primary in 0..3 {
        let others = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        cluster.nodes[primary].execute(&others).integer();
    }
    recovers_everywhere(&mut outage, &mut cluster);
    reconcile(&mut outage, &mut cluster);
}

#[test]
fn the_nodes_of_the_url_are_gone() {
    outlives_the_nodes_of_the_url(true);
}

/// The first look-up comes when no node of the URL runs.
#[test]
fn the_nodes_of_the_url_are_gone_before_the_first_look_up() {
    outlives_the_nodes_of_the_url(false);
}

#[test]
fn no_node_at_start() {
    let mut cluster = RedisCluster::start();
    cluster.kill_all();
    let mut outage = ServerUnderLoad::start(&cluster.url(), &[]);
    outage.wait_until_up_is(false);
    outage.observe_for(Duration::from_secs(2));
    assert_eq!(outage.counters().stored, 0);
    cluster.run_all();
    outage.observe_until(FAILOVER_TIME_MAX, "the nodes find each other", || cluster.is_whole());
    recovers_everywhere(&mut outage, &mut cluster);
    let counters = outage.reconcile_without_loss(&mut cluster).counters;
    assert!(counters.coalesced > 0, "{counters:?}");
}

/// A server that knows all six nodes and has found a metric there; then they take connections and
/// never answer. Returns the metric, too, and the path by which it is looked up.
fn start_and_freeze_all() -> (RedisCluster, Server, String, String) {
    let cluster = RedisCluster::start();
    let url = cluster.url_of(&[0, 1, 2, 3, 4, 5]);
    let server = Server::start(&["--redis-url", &url, "--drain-timeout", "1s"]);
    let mut client = server.client();
    let (key, value) = metric("frozen", 1, "1");
    assert_eq!(client.request(&post(value.as_bytes())).status, 202);
    let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    wait_until("it is found", || (client.request(&get(&target)).status == 200).then_some(()));
    cluster.nodes.iter().for_each(Redis::freeze);
    (cluster, server, value, target)
}

/// The time-out of a look-up is one for all nodes, and not one for each.
#[test]
fn frozen_nodes_do_not_hold_up_a_look_up() {
    let (_cluster, server, _, target) = start_and_freeze_all();
    for _ in 0..3 {
        let since = Instant::now();
        assert_eq!(server.client().request(&get(&target)).status, 503);
        // The time-out, and what a shared machine may add.
        assert!(since.elapsed() < Duration::from_millis(1500), "{:?}", since.elapsed());
    }
}

/// The end comes while node after node is tried.
#[test]
fn frozen_nodes_do_not_hold_up_the_end() {
    let (_cluster, mut server, value, _) = start_and_freeze_all();
    assert_eq!(server.client().request(&post(value.as_bytes())).status, 202);
    let is_down = || (!StoreCounters::scrape(server.address).is_up).then_some(());
    wait_until("the server notices", is_down);
    let since = Instant::now();
    server.signal("TERM");
    // Events that no node took are lost.
    assert_eq!(server.wait().code(), Some(75));
    // The second that it has, and what a shared machine may add.
    assert!(since.elapsed() < Duration::from_millis(1800), "{:?}", since.elapsed());
}
