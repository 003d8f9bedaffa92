//! A Redis Cluster: each event is written to the node that has its slot, whichever that is.
//!
//! Replication is asynchronous, and so Redis itself may lose what it has confirmed: what a primary
//! had not yet passed on when it was killed is gone. So after a kill these tests ask for the events
//! that were sent when the dead primary could not confirm anything any more. Where Redis hands over
//! without a loss (`CLUSTER FAILOVER`, a slot that moves), nothing at all may be missing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::load::metric;
use testkit::redis_cluster::{Cluster, FAILOVER_TIME_MAX};
use testkit::{Accounts, Keeper, Outage, Process, Redis, Sent, get, post, until};

/// What a metric is stored for, and how much of that may be over when it is written.
const TTL_MS: i64 = 300_000;
const LATE_MS: i64 = 5_000;

fn start() -> (Cluster, Outage) {
    let cluster = Cluster::start();
    let outage = Outage::start_healthy(&cluster.url(), &[]);
    (cluster, outage)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Checks that writing goes on by itself at every primary.
fn recovers_everywhere(outage: &mut Outage, cluster: &mut Cluster) {
    for primary in cluster.primaries() {
        let (key, value) = until("a key of that primary's", || {
            let (key, value) = outage.sends_mark();
            let slot = cluster.slot_of(&key);
            (cluster.owner_of(slot) == primary).then_some((key, value))
        });
        until("an event from after the fault is there", || {
            (cluster.held(&[&key])[0].as_ref() == Some(&value)).then_some(())
        });
    }
}

/// Waits until all nodes are in sync, and looks whether anything comes of it.
fn outlives_the_return(outage: &mut Outage, cluster: &mut Cluster) {
    outage.lasts_until(FAILOVER_TIME_MAX, "the return", || cluster.is_whole());
    cluster.until_whole();
    outage.lasts(Duration::from_secs(1));
    recovers_everywhere(outage, cluster);
}

/// Ends the load: nothing was dropped, all that was sent in the last phase is where it belongs and
/// is answered to who looks it up. Answers what that was.
fn settles(outage: &mut Outage, cluster: &mut Cluster) -> Sent {
    let (accounts, mut phases) = outage.drains();
    assert_eq!(accounts.dropped, 0, "{accounts:?}");
    let safe = phases.pop().expect("there is a phase");
    let missing = safe.missing_from(cluster);
    assert!(missing.is_empty(), "{} missing, {missing:.5?}: {accounts:?}", missing.len());
    outage.finds(&safe);
    let lost: usize = phases.iter().map(|sent| sent.missing_from(cluster).len()).sum();
    println!("{lost} keys of earlier phases lost by Redis");
    safe
}

#[test]
fn each_event_is_on_the_node_that_has_its_slot() {
    let mut cluster = Cluster::start();
    let started_at = now_ms();
    let mut outage = Outage::start_healthy(&cluster.url(), &[]);
    outage.lasts(Duration::from_secs(1));
    let sent = settles(&mut outage, &mut cluster);
    let keys: Vec<&str> = sent.values.keys().map(String::as_str).collect();
    let allowed = started_at + TTL_MS - LATE_MS..=now_ms() + TTL_MS;
    for (key, expiry) in keys.iter().zip(cluster.expiries(&keys)) {
        assert!(allowed.contains(&expiry), "{key} until {expiry}, not in {allowed:?}");
    }
    let sizes = [0, 1, 2].map(|number| cluster.nodes[number].ask(&["DBSIZE"]).integer());
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<i64>(), keys.len() as i64, "and nothing else is there");
}

#[test]
fn a_killed_primary_and_its_return() {
    let (mut cluster, mut outage) = start();
    cluster.kill(0);
    outage.begins_phase("safe");
    outage.lasts_until(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(3));
    recovers_everywhere(&mut outage, &mut cluster);
    cluster.nodes[0].run();
    outlives_the_return(&mut outage, &mut cluster);
    settles(&mut outage, &mut cluster);
    assert_eq!(cluster.primaries(), [1, 2, 3]);
}

/// What a frozen primary has in its sockets it runs when it thaws, and confirms to nobody.
#[test]
fn a_frozen_primary_and_its_return() {
    let (mut cluster, mut outage) = start();
    cluster.freeze(1);
    outage.begins_phase("safe");
    outage.lasts_until(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(4));
    recovers_everywhere(&mut outage, &mut cluster);
    cluster.thaw();
    outlives_the_return(&mut outage, &mut cluster);
    settles(&mut outage, &mut cluster);
    assert_eq!(cluster.primaries(), [0, 2, 4]);
}

/// The replica has all that its primary has when it takes over, and the old primary answers MOVED.
#[test]
fn a_failover_on_demand() {
    let (mut cluster, mut outage) = start();
    cluster.nodes[3].ask(&["CLUSTER", "FAILOVER"]).assert_ok();
    outage.lasts_until(FAILOVER_TIME_MAX, "the failover", || cluster.is_primary(3));
    recovers_everywhere(&mut outage, &mut cluster);
    outage.settles_without_loss(&mut cluster);
    assert_eq!(cluster.primaries(), [1, 2, 3]);
}

/// The key that the load writes again and again, and where it is.
fn busy_slot(cluster: &mut Cluster) -> (i64, usize) {
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
        until("the old owner is asked for it", || {
            outage.accounts();
            (cluster.redirections(from) > before).then_some(())
        });
        outage.lasts(Duration::from_millis(500));
        recovers_everywhere(&mut outage, &mut cluster);
        from = to;
    }
    outage.settles_without_loss(&mut cluster);
}

/// As long as a slot moves, what has gone already is with the new owner, and the old one says ASK.
#[test]
fn a_slot_that_takes_its_time_to_move() {
    let (mut cluster, mut outage) = start();
    let (slot, from) = busy_slot(&mut cluster);
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.move_keys(slot, from, to);
    until("the old owner is asked for it", || {
        outage.accounts();
        (cluster.redirections(from) > 0).then_some(())
    });
    outage.lasts(Duration::from_secs(2));
    // Resharding may take hours, and all that time there is a slot that moves: writing goes on.
    recovers_everywhere(&mut outage, &mut cluster);
    cluster.end_move(slot, from, to);
    recovers_everywhere(&mut outage, &mut cluster);
    outage.settles_without_loss(&mut cluster);
}

/// A node that had no slot gets its first one: nobody who asks for slots is told of it before.
#[test]
fn a_slot_that_moves_to_a_new_node() {
    let (mut cluster, mut outage) = start();
    let (slot, from) = busy_slot(&mut cluster);
    let to = cluster.add_node();
    cluster.begin_move(slot, from, to);
    cluster.move_keys(slot, from, to);
    outage.lasts(Duration::from_secs(1));
    outage.recovers(&mut cluster);
    cluster.end_move(slot, from, to);
    outage.recovers(&mut cluster);
    outage.settles_without_loss(&mut cluster);
    assert_eq!(cluster.primaries(), [0, 1, 2, to]);
}

/// The URL names nodes from which the others were learnt; those do without them.
fn outlives_the_nodes_of_the_url(is_looked_up_before: bool) {
    let mut cluster = Cluster::start();
    let mut outage = Outage::start_healthy(&cluster.url_of(&[3, 4, 5]), &[]);
    let (key, value) = outage.sends_mark();
    until("it is there", || (cluster.held(&[&key])[0].as_ref() == Some(&value)).then_some(()));
    if is_looked_up_before {
        let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
        assert_eq!(outage.process.client().ask(&get(&target)).status, 200);
    }
    outage.begins_phase("safe");
    for replica in 3..6 {
        cluster.nodes[replica].kill();
    }
    for primary in 0..3 {
        let others = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        cluster.nodes[primary].ask(&others).integer();
    }
    recovers_everywhere(&mut outage, &mut cluster);
    settles(&mut outage, &mut cluster);
}

#[test]
fn the_nodes_of_the_url_are_gone() {
    outlives_the_nodes_of_the_url(true);
}

/// The first look-up comes when nobody of the URL is there to ask.
#[test]
fn the_nodes_of_the_url_are_gone_before_the_first_look_up() {
    outlives_the_nodes_of_the_url(false);
}

#[test]
fn no_node_at_start() {
    let mut cluster = Cluster::start();
    cluster.kill_all();
    let mut outage = Outage::start(&cluster.url(), &[]);
    outage.until_up_is(false);
    outage.lasts(Duration::from_secs(2));
    assert_eq!(outage.accounts().stored, 0);
    cluster.run_all();
    outage.lasts_until(FAILOVER_TIME_MAX, "the nodes find each other", || cluster.is_whole());
    recovers_everywhere(&mut outage, &mut cluster);
    let accounts = outage.settles_without_loss(&mut cluster).accounts;
    assert!(accounts.coalesced > 0, "{accounts:?}");
}

/// A server that knows all six nodes and has found a metric there; then they take connections and
/// never answer. Returns the metric, too, and the path by which it is looked up.
fn start_and_freeze_all() -> (Cluster, Process, String, String) {
    let cluster = Cluster::start();
    let url = cluster.url_of(&[0, 1, 2, 3, 4, 5]);
    let process = Process::start(&["--redis-url", &url, "--drain-timeout", "1s"]);
    let mut client = process.client();
    let (key, value) = metric("frozen", 1, "1");
    assert_eq!(client.ask(&post(value.as_bytes())).status, 202);
    let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    until("it is found", || (client.ask(&get(&target)).status == 200).then_some(()));
    cluster.nodes.iter().for_each(Redis::freeze);
    (cluster, process, value, target)
}

/// The time-out of a look-up is one for all nodes, and not one for each.
#[test]
fn frozen_nodes_do_not_hold_up_a_look_up() {
    let (_cluster, process, _, target) = start_and_freeze_all();
    for _ in 0..3 {
        let since = Instant::now();
        assert_eq!(process.client().ask(&get(&target)).status, 503);
        // The time-out, and what a shared machine may add.
        assert!(since.elapsed() < Duration::from_millis(1500), "{:?}", since.elapsed());
    }
}

/// The end comes while node after node is tried.
#[test]
fn frozen_nodes_do_not_hold_up_the_end() {
    let (_cluster, mut process, value, _) = start_and_freeze_all();
    assert_eq!(process.client().ask(&post(value.as_bytes())).status, 202);
    let is_down = || (!Accounts::scrape(process.address).is_up).then_some(());
    until("the server notices", is_down);
    let since = Instant::now();
    process.signal("TERM");
    // What nobody took is lost.
    assert_eq!(process.wait().code(), Some(75));
    // The second that it has, and what a shared machine may add.
    assert!(since.elapsed() < Duration::from_millis(1800), "{:?}", since.elapsed());
}
