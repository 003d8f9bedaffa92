//! Faults between the server and Redis: resets, half replies, silence, and bytes that come late.

use std::time::{Duration, Instant};
use testkit::metric_load::metric;
use testkit::{
    CloseMode, Direction, FaultProxy, ProxyMode, Redis, Server, ServerUnderLoad, get,
    get_as_localhost, post, wait_until,
};

/// More than the largest handshake, less than what one block of the load takes.
const IN_A_PIPELINE: usize = 1500;

/// A healthy server whose Redis is behind a proxy.
fn start() -> (Redis, FaultProxy, ServerUnderLoad) {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let outage = ServerUnderLoad::start_healthy(&proxy.url(), &[]);
    (redis, proxy, outage)
}

/// Cuts the stream so many times, each behind another byte, and checks that writing goes on.
fn cut_often(direction: Direction, ending: CloseMode, bytes: [usize; 4]) {
    let (mut redis, proxy, mut outage) = start();
    for bytes in bytes {
        let before = proxy.cuts();
        proxy.cut_after(direction, bytes, ending);
        wait_until("the cut", || {
            outage.counters();
            (proxy.cuts() > before).then_some(())
        });
        outage.wait_for_recovery(&mut redis);
    }
    let counters = outage.reconcile_without_loss(&mut redis).counters;
    assert!(counters.reconnects >= 4, "{counters:?}");
}

#[test]
fn a_reset_in_the_middle_of_a_pipeline() {
    let bytes = [IN_A_PIPELINE, IN_A_PIPELINE + 333, 1, 40_000];
    cut_often(Direction::ToRedis, CloseMode::Reset, bytes);
}

#[test]
fn an_end_in_the_middle_of_a_pipeline() {
    cut_often(Direction::ToRedis, CloseMode::End, [1, 2, IN_A_PIPELINE, 40_000]);
}

#[test]
fn a_truncated_reply() {
    // Behind the first byte of `+OK\r\n`, before its last one, between two, and far into many.
    cut_often(Direction::ToServer, CloseMode::End, [1, 4, 5, 512]);
}

#[test]
fn a_reset_in_the_middle_of_a_reply() {
    cut_often(Direction::ToServer, CloseMode::Reset, [1, 4, 5, 512]);
}

/// A hole for connections old and new, until the server has tried for a while.
fn fall_into_a_hole(redis: &mut Redis, proxy: &FaultProxy, outage: &mut ServerUnderLoad) {
    proxy.set(ProxyMode::BlackHole);
    outage.wait_until_up_is(false);
    let before = proxy.connections();
    let since = Instant::now();
    assert_eq!(outage.server.client().request(&get("/metrics/some:1")).status, 503);
    // The time-out of a look-up, and what a shared machine may add.
    assert!(since.elapsed() < Duration::from_millis(1500), "{:?}", since.elapsed());
    outage.observe_for(Duration::from_secs(4));
    let tried = proxy.connections() - before;
    assert!(tried > 0, "it never tried again");
    // The pauses grow and have jitter, so that a Redis that fails gets few attempts.
    assert!(tried < 40, "{tried} connections in four seconds");
    proxy.set(ProxyMode::Forward);
    outage.wait_for_recovery(redis);
    outage.reconcile_without_loss(redis);
}

#[test]
fn a_black_hole_that_accepts_and_never_answers() {
    let (mut redis, proxy, mut outage) = start();
    fall_into_a_hole(&mut redis, &proxy, &mut outage);
}

/// Here the first thing unanswered is the password.
#[test]
fn a_black_hole_for_passwords() {
    let mut redis = Redis::start(&["--requirepass", "pw"]);
    let proxy = FaultProxy::start(redis.address());
    let url = format!("redis://:pw@{}/2", proxy.address);
    redis.execute(&["SELECT", "2"]).assert_ok();
    let mut outage = ServerUnderLoad::start_healthy(&url, &[]);
    fall_into_a_hole(&mut redis, &proxy, &mut outage);
}

/// And here it is the greeting of TLS.
#[test]
fn a_black_hole_for_tls() {
    let mut redis = Redis::start_with_tls(&[]);
    let proxy = FaultProxy::start(redis.address());
    let authority = redis.authority().to_str().unwrap().to_owned();
    let url = format!("rediss://{}/", proxy.address);
    let server =
        Server::start_with_environment(&[("SSL_CERT_FILE", &authority)], &["--redis-url", &url]);
    let mut outage = ServerUnderLoad::of(server);
    wait_until("the first metrics are stored", || (outage.counters().stored > 100).then_some(()));
    fall_into_a_hole(&mut redis, &proxy, &mut outage);
}

#[test]
fn a_closed_port() {
    let (mut redis, proxy, mut outage) = start();
    proxy.set(ProxyMode::Refuse);
    outage.wait_until_up_is(false);
    outage.observe_for(Duration::from_secs(2));
    proxy.set(ProxyMode::Forward);
    outage.recover_without_loss(&mut redis);
}

#[test]
fn a_slow_network() {
    let (mut redis, proxy, mut outage) = start();
    let before = outage.counters().reconnects;
    proxy.set(ProxyMode::Delay(Duration::from_millis(100)));
    outage.observe_for(Duration::from_secs(3));
    // Slow is not away: the connection stays.
    assert!(outage.counters().is_up);
    assert_eq!(outage.counters().reconnects, before);
    proxy.set(ProxyMode::Forward);
    outage.recover_without_loss(&mut redis);
}

#[test]
fn one_key_ends_with_its_last_value_however_often_the_stream_is_reset() {
    const POSTS: u64 = 10_000;
    const RESETS: u64 = 8;
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let server = Server::start(&["--workers", "2", "--redis-url", &proxy.url()]);
    let mut outage = ServerUnderLoad::without_load(server);
    let mut client = outage.server.client();
    let (mut last, mut highest) = (String::new(), 0);
    for number in 1..=POSTS {
        if number % (POSTS / RESETS) == 0 {
            // By turns within a command, where Redis sees half of it, and within a reply, where it
            // has done what the server does not know of.
            let is_even = (number / (POSTS / RESETS)).is_multiple_of(2);
            let at = if is_even { Direction::ToRedis } else { Direction::ToServer };
            proxy.cut_after(at, 3, CloseMode::Reset);
        }
        let (key, value) = metric("ordered", 0, &number.to_string());
        assert_eq!(client.request(&post(value.as_bytes())).status, 202);
        outage.record_sent(&key, &value);
        if number % 100 == 0 {
            highest = assert_not_older(redis.value(&key), highest);
            outage.counters();
        }
        last = key;
    }
    assert!(proxy.cuts() >= RESETS / 2, "{} resets", proxy.cuts());
    outage.reconcile_without_loss(&mut redis);
    assert_eq!(assert_not_older(redis.value(&last), highest), POSTS);
}

/// While a profile is taken, signals come, and each ends a wait that has a time-out (man 7 signal).
/// It is waited on.
#[test]
fn signals_of_the_profiler_cost_neither_connections_nor_answers() {
    let (mut redis, proxy, mut outage) = start();
    let (key, _) = outage.send_marker();
    wait_until("the mark is in Redis", || redis.value(&key));
    let mut profile = wait_until("a profile is taken", || {
        let mut profile = outage.server.client();
        profile.send(&get_as_localhost("/debug/pprof/profile?seconds=6"));
        let second =
            outage.server.client().request(&get_as_localhost("/debug/pprof/profile?seconds=1"));
        // Only one is taken at a time, and the second may have come first.
        (second.status == 429).then_some(profile)
    });
    // Replies have to be waited for, and come in time.
    proxy.set(ProxyMode::Delay(Duration::from_millis(50)));
    for _ in 0..50 {
        outage.server.signal_thread("store", "PROF");
        outage.counters();
    }
    let mut client = outage.server.client();
    let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    for _ in 0..3 {
        client.send(&get(&target));
        for _ in 0..3 {
            outage.server.signal_thread("lookup", "PROF");
        }
        assert_eq!(client.receive().status, 200);
    }
    proxy.set(ProxyMode::Forward);
    assert_eq!(profile.receive().status, 200);
    let counters = outage.reconcile_without_loss(&mut redis).counters;
    let errors = ["io", "timeout", "protocol"].map(|kind| counters.errors(kind));
    assert_eq!((counters.reconnects, errors), (0, [0; 3]), "{counters:?}");
}

/// Checks that the value in Redis is never older than before; returns its number.
fn assert_not_older(value: Option<String>, highest: u64) -> u64 {
    let Some(value) = value else {
        assert_eq!(highest, 0, "it was there before");
        return 0;
    };
    let metric: serde_json::Value = serde_json::from_str(&value).unwrap();
    let number = metric["cpu"].as_u64().unwrap();
    assert!(number >= highest, "{number} after {highest}");
    number
}

/// Random faults find cases without a test of their own: the seed in the message repeats a run.
#[test]
fn cuts_at_random_bytes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut redis, proxy, mut outage) = start();
    for _ in 0..12 {
        let direction = if random.bool() { Direction::ToRedis } else { Direction::ToServer };
        let ending = if random.bool() { CloseMode::Reset } else { CloseMode::End };
        let before = proxy.cuts();
        proxy.cut_after(direction, 1 + random.usize(..3000), ending);
        wait_until("the cut", || (proxy.cuts() > before).then_some(()));
        outage.counters();
    }
    outage.recover_without_loss(&mut redis);
}
