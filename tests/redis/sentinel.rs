//! A Redis with sentinels: writes follow the primary.
//!
//! Replication is asynchronous, and so Redis itself may lose what it has confirmed. What a primary
//! had not yet passed on is gone when it is killed. And a primary that was well when the sentinels
//! promoted the other one goes on confirming until they demote it, which is at their second INFO
//! of it, some ten seconds later; all of that is gone, too, as it starts anew with what the other
//! one has. A client that asks the sentinels in between is safe; one that stays connected is not.
//!
//! So these tests ask for what can be promised. Every event that was sent when the old primary
//! could not confirm anything any more is in the new one. Nothing is dropped, the counters balance
//! at every moment, and no request waits. Where Redis hands over without a loss, nothing is
//! missing.

use std::time::Duration;
use testkit::redis_sentinel::{FAILOVER_TIME_MAX, RedisSentinel};
use testkit::{MetricStore, Redis, ServerUnderLoad, StoreCounters, get, wait_until};

/// The phase of whose events none may be missing.
const SAFE: &str = "safe";

fn start() -> (RedisSentinel, ServerUnderLoad) {
    let sentinels = RedisSentinel::start();
    let outage = ServerUnderLoad::start_healthy(&sentinels.url(), &[]);
    (sentinels, outage)
}

/// Waits until the replica is the primary, and writing goes on there.
fn follows_the_failover(outage: &mut ServerUnderLoad, sentinels: &mut RedisSentinel) {
    outage.observe_until(FAILOVER_TIME_MAX, "the failover", || sentinels.has_failed_over());
    outage.wait_for_recovery(sentinels);
}

/// The old primary is back, and is one until it is demoted: checks that this changes nothing.
fn outlives_the_return(outage: &mut ServerUnderLoad, sentinels: &mut RedisSentinel) {
    outage.observe_for(Duration::from_secs(1));
    sentinels.demote_old_primary();
    outage.observe_for(Duration::from_secs(1));
    outage.wait_for_recovery(sentinels);
}

/// Ends the load: nothing was dropped, and the events of the last phase are in the primary and
/// found by a look-up.
fn reconcile(outage: &mut ServerUnderLoad, sentinels: &mut RedisSentinel) -> StoreCounters {
    let (counters, phases) = outage.stop_load();
    assert_eq!(counters.dropped, 0, "{counters:?}");
    let (safe, others) = phases.split_last().expect("there is a phase");
    assert!(safe.values.keys().any(|key| key.contains(SAFE)), "{:.5?}", safe.values);
    let missing = safe.missing_from(sentinels);
    assert!(missing.is_empty(), "{} missing, {missing:.5?}: {counters:?}", missing.len());
    outage.check_lookups(safe);
    let lost: usize = others.iter().map(|sent| sent.missing_from(sentinels).len()).sum();
    println!("{lost} keys of earlier phases lost by Redis");
    counters
}

#[test]
fn a_killed_primary_and_its_return() {
    let (mut sentinels, mut outage) = start();
    sentinels.kill_primary();
    outage.start_phase(SAFE);
    follows_the_failover(&mut outage, &mut sentinels);
    sentinels.replica().run();
    outlives_the_return(&mut outage, &mut sentinels);
    let counters = reconcile(&mut outage, &mut sentinels);
    assert!(counters.reconnects > 0, "{counters:?}");
}

/// A frozen primary runs the commands in its sockets when it thaws; no client gets the replies.
#[test]
fn a_frozen_primary_and_its_return() {
    let (mut sentinels, mut outage) = start();
    sentinels.freeze_primary();
    outage.start_phase(SAFE);
    follows_the_failover(&mut outage, &mut sentinels);
    sentinels.replica().thaw();
    outlives_the_return(&mut outage, &mut sentinels);
    reconcile(&mut outage, &mut sentinels);
}

/// A thawed primary is one until it is demoted, and answers that it does not have what was written
/// meanwhile: look-ups must not be sent there.
#[test]
fn look_ups_do_not_stay_with_a_primary_that_was_left() {
    let (mut sentinels, mut outage) = start();
    let looks_up = |outage: &ServerUnderLoad, key: &str| {
        let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
        outage.server.client().request(&get(&target)).status
    };
    let (first, value) = outage.send_marker();
    wait_until("it is there", || {
        (sentinels.values_of(&[&first])[0].as_ref() == Some(&value)).then_some(())
    });
    assert_eq!(looks_up(&outage, &first), 200);
    sentinels.freeze_primary();
    outage.start_phase(SAFE);
    follows_the_failover(&mut outage, &mut sentinels);
    let (later, value) = outage.send_marker();
    wait_until("it is there", || {
        (sentinels.values_of(&[&later])[0].as_ref() == Some(&value)).then_some(())
    });
    sentinels.replica().thaw();
    assert_eq!(looks_up(&outage, &later), 200);
    reconcile(&mut outage, &mut sentinels);
}

/// The old primary is healthy, and takes writes until it is demoted and its connections are closed.
#[test]
fn a_failover_on_demand() {
    let (mut sentinels, mut outage) = start();
    sentinels.fail_over();
    outage.observe_until(FAILOVER_TIME_MAX, "the failover", || sentinels.has_failed_over());
    sentinels.demote_old_primary();
    outage.start_phase(SAFE);
    outage.wait_for_recovery(&mut sentinels);
    outage.observe_for(Duration::from_secs(1));
    let counters = reconcile(&mut outage, &mut sentinels);
    assert!(counters.reconnects > 0, "{counters:?}");
}

/// A primary that answers READONLY and stays connected, while the sentinels still name it. Redis
/// loses nothing in such a swap, so nothing may be missing.
#[test]
fn a_primary_that_is_a_replica_for_a_while() {
    let (mut sentinels, mut outage) = start();
    sentinels.swap();
    outage.observe_for(Duration::from_secs(1));
    assert!(outage.counters().errors("readonly") > 0, "{:?}", outage.counters());
    sentinels.swap();
    outage.recover_without_loss(&mut sentinels);
}

/// The first sentinel that the URL names is lost, and after it the primary.
fn survives_without_a_sentinel(lose: impl FnOnce(&mut Redis)) {
    let mut sentinels = RedisSentinel::start();
    let url = sentinels.url();
    let mut lost = sentinels.sentinels.remove(0);
    lose(&mut lost);
    let mut outage = ServerUnderLoad::start_healthy(&url, &[]);
    sentinels.kill_primary();
    outage.start_phase(SAFE);
    follows_the_failover(&mut outage, &mut sentinels);
    reconcile(&mut outage, &mut sentinels);
}

#[test]
fn a_dead_sentinel() {
    survives_without_a_sentinel(Redis::kill);
}

#[test]
fn a_frozen_sentinel() {
    survives_without_a_sentinel(|sentinel| sentinel.freeze());
}

/// No sentinel answers at first, and later one does. Once the primary is known the sentinels may be
/// stopped again.
#[test]
fn no_sentinel_at_start() {
    let mut sentinels = RedisSentinel::start();
    sentinels.kill_sentinels();
    let mut outage = ServerUnderLoad::start(&sentinels.url(), &[]);
    outage.wait_until_up_is(false);
    outage.observe_for(Duration::from_secs(2));
    assert_eq!(outage.counters().stored, 0);
    sentinels.run_sentinels();
    outage.wait_for_recovery(&mut sentinels);
    let before = outage.counters().reconnects;
    sentinels.kill_sentinels();
    outage.observe_for(Duration::from_secs(2));
    assert!(outage.counters().is_up);
    assert_eq!(outage.counters().reconnects, before);
    outage.recover_without_loss(&mut sentinels);
}

/// One password for the servers, another for the sentinels.
#[test]
fn with_passwords() {
    let mut sentinels = RedisSentinel::start_with_passwords();
    let mut outage = ServerUnderLoad::start_healthy(&sentinels.url(), &[]);
    outage.start_phase(SAFE);
    outage.wait_for_recovery(&mut sentinels);
    reconcile(&mut outage, &mut sentinels);
}
