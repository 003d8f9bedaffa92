//! Redis as several servers, of which one is lost.

use testkit::redis_cluster::RedisCluster;
use testkit::redis_sentinel::{self, RedisSentinel};
use testkit::wait_until_within;

use crate::fleet::{DIRECTORY, Fleet, none_complete};

#[test]
fn a_fail_over_by_sentinels() {
    let mut sentinels = RedisSentinel::start();
    let mut fleet = Fleet::start(&sentinels.url(), 3);
    sentinels.kill_primary();
    fleet.observe("nobody can be asked", none_complete);
    wait_until_within(redis_sentinel::FAILOVER_TIME_MAX, "the failover", || {
        fleet.look();
        sentinels.has_failed_over().then_some(())
    });
    fleet.wait_until_whole();
    sentinels.replica().run();
    sentinels.demote_old_primary();
    fleet.wait_until_whole();
}

#[test]
fn a_primary_of_a_cluster_is_lost() {
    let mut cluster = RedisCluster::start();
    let mut fleet = Fleet::start(&cluster.url(), 3);
    let slot = cluster.slot_of(DIRECTORY);
    let owner = cluster.owner_of(slot);
    cluster.kill(owner);
    fleet.observe("nobody can be asked", none_complete);
    let next = (owner + 3) % 6;
    wait_until_within(testkit::redis_cluster::FAILOVER_TIME_MAX, "the failover", || {
        fleet.look();
        cluster.is_primary(next).then_some(())
    });
    fleet.wait_until_whole();
}

/// The keys of the fleet go to another node, while it is asked.
#[test]
fn the_slot_of_the_fleet_moves() {
    let mut cluster = RedisCluster::start();
    let mut fleet = Fleet::start(&cluster.url(), 3);
    let slot = cluster.slot_of(DIRECTORY);
    let from = cluster.owner_of(slot);
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    (0..20).for_each(|_| drop(fleet.look()));
    cluster.move_keys(slot, from, to);
    (0..20).for_each(|_| drop(fleet.look()));
    cluster.end_move(slot, from, to);
    fleet.wait_until_whole();
}
