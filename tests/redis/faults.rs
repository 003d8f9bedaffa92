//! Faults of the Redis process: absent, killed, frozen, paused, busy. None costs an event.

use std::time::{Duration, Instant};
use testkit::metric_load::metric;
use testkit::{ANSWER_TIME_MAX, HttpClient, Redis, ServerUnderLoad, get, post, wait_until};

/// Events that a killed Redis had confirmed are there when it runs again: the kernel keeps what a
/// killed process has written.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "no"];

#[test]
fn absent_at_start() {
    let mut redis = Redis::absent(&[]);
    let mut outage = ServerUnderLoad::start(&redis.url(), &[]);
    outage.wait_until_up_is(false);
    outage.observe_for(Duration::from_secs(2));
    assert_eq!(outage.counters().stored, 0);
    redis.run();
    outage.wait_for_recovery(&mut redis);
    let counters = outage.reconcile_without_loss(&mut redis).counters;
    assert!(counters.coalesced > 0, "{counters:?}");
}

#[test]
fn killed_and_started_again() {
    let mut redis = Redis::start(&DURABLE);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    for _ in 0..2 {
        redis.kill();
        outage.wait_until_up_is(false);
        outage.observe_for(Duration::from_secs(1));
        redis.run();
        outage.wait_for_recovery(&mut redis);
    }
    let counters = outage.reconcile_without_loss(&mut redis).counters;
    assert!(counters.reconnects >= 2, "{counters:?}");
}

#[test]
fn frozen_for_five_seconds() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.freeze();
    outage.observe_for(Duration::from_secs(5));
    assert!(!outage.counters().is_up);
    redis.thaw();
    outage.recover_without_loss(&mut redis);
}

/// A frozen Redis runs what it had received once it thaws, and that is older than what comes by the
/// new connection: it has to end the old one before it gets anything new.
#[test]
fn what_a_frozen_redis_had_received_does_not_overwrite_what_is_newer() {
    const KEYS: usize = 200;
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    let mut client = outage.server.client();
    let mut newest: Vec<(String, String)> = Vec::new();
    let mut send = |outage: &ServerUnderLoad, round: u32| {
        let cpu = round.to_string();
        newest.clear();
        for number in 0..KEYS {
            let (key, value) = metric(&format!("frozen-{number}"), 1, &cpu);
            assert_eq!(client.request(&post(value.as_bytes())).status, 202);
            outage.record_sent(&key, &value);
            newest.push((key, value));
        }
    };
    // Several times, as it is by chance how much has left the server when it stops.
    for round in 0..3 {
        send(&outage, round * 10);
        redis.freeze();
        // Into the buffers of a connection that looks well, and then behind it.
        send(&outage, round * 10 + 1);
        outage.wait_until_up_is(false);
        send(&outage, round * 10 + 2);
        redis.thaw();
        outage.wait_for_recovery(&mut redis);
    }
    outage.reconcile_without_loss(&mut redis);
    let found = redis.values(newest.iter().map(|(key, _)| key.as_str()));
    for ((key, value), found) in newest.into_iter().zip(found) {
        assert_eq!(found, Some(value), "{key}");
    }
}

#[test]
fn paused_by_client_pause() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.execute(&["CLIENT", "PAUSE", "3000", "ALL"]).assert_ok();
    outage.observe_for(Duration::from_secs(2));
    // Paused too: the reply comes with the end of the pause.
    redis.execute(&["PING"]);
    outage.recover_without_loss(&mut redis);
}

#[test]
fn paused_for_writes_only() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.execute(&["CLIENT", "PAUSE", "60000", "WRITE"]).assert_ok();
    outage.observe_for(Duration::from_secs(3));
    redis.execute(&["CLIENT", "UNPAUSE"]).assert_ok();
    outage.recover_without_loss(&mut redis);
}

#[test]
fn busy_by_debug_sleep() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.begin(&["DEBUG", "SLEEP", "3"]);
    outage.observe_for(Duration::from_secs(2));
    redis.receive_reply().assert_ok();
    outage.recover_without_loss(&mut redis);
}

/// Asks again and again for two seconds; no answer may wait for Redis.
fn ask_during_the_fault(outage: &ServerUnderLoad, target: &str) {
    let mut client = outage.server.client();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(client.request(&get(target)).status, 200);
        assert!(asked.elapsed() < ANSWER_TIME_MAX, "{target}: {:?}", asked.elapsed());
    }
}

#[test]
fn analyze_does_not_wait_for_a_frozen_redis() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.freeze();
    ask_during_the_fault(&outage, "/analyze");
    outage.wait_until_up_is(false);
    let store = outage.server.client().request(&get("/analyze")).json()["store"].clone();
    assert!(store["pending"].as_u64().unwrap() > 0, "{store}");
    assert_eq!(store["up"], false, "{store}");
    redis.thaw();
    outage.recover_without_loss(&mut redis);
}

#[test]
fn a_scrape_does_not_wait_for_a_frozen_redis() {
    let mut redis = Redis::start(&[]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    redis.freeze();
    // Look-ups wait for Redis, and scrapes must not wait behind them.
    let mut waiting: Vec<HttpClient> = (0..8).map(|_| outage.server.client()).collect();
    for client in &mut waiting {
        client.send(&get("/metrics/nothing:1"));
    }
    ask_during_the_fault(&outage, "/metrics/prometheus");
    for client in &mut waiting {
        assert_eq!(client.receive().status, 503);
    }
    redis.thaw();
    outage.recover_without_loss(&mut redis);
}

/// The answer to a look-up comes in time in every state of Redis.
#[test]
fn look_ups_are_answered_in_time_throughout() {
    // The time-out of Redis and what a shared machine may add.
    const LOOK_UP_TIME_MAX: Duration = Duration::from_millis(1500);
    let mut redis = Redis::start(&DURABLE);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    let (key, value) = metric("looked-up", 1, "4.150e1");
    assert_eq!(outage.server.client().request(&post(value.as_bytes())).status, 202);
    outage.record_sent(&key, &value);
    wait_until("it is stored", || (redis.value(&key).as_ref() == Some(&value)).then_some(()));
    let path = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    let address = outage.server.address;
    let look_up = |target: &str| {
        let since = Instant::now();
        let answer = HttpClient::connect(address).request(&get(target));
        assert!(since.elapsed() < LOOK_UP_TIME_MAX, "{:?}", since.elapsed());
        answer
    };
    let assert_found = || {
        let answer = look_up(&path);
        assert_eq!((answer.status, answer.text().trim_end()), (200, value.as_str()));
        assert_eq!(look_up("/metrics/nobody:1").status, 404);
    };
    assert_found();
    redis.freeze();
    for _ in 0..3 {
        assert_eq!(look_up(&path).status, 503);
    }
    // Those that come together do not wait for one time-out after the other.
    let since = Instant::now();
    let mut clients: Vec<HttpClient> = (0..8).map(|_| HttpClient::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.send(&get(&path)));
    assert!(clients.iter_mut().all(|client| client.receive().status == 503));
    assert!(since.elapsed() < 2 * LOOK_UP_TIME_MAX, "{:?}", since.elapsed());
    redis.thaw();
    wait_until("it is found again", || (look_up(&path).status == 200).then_some(()));
    assert_found();
    redis.kill();
    for _ in 0..3 {
        assert_eq!(look_up(&path).status, 503);
    }
    redis.run();
    wait_until("it is found again", || (look_up(&path).status == 200).then_some(()));
    assert_found();
    outage.recover_without_loss(&mut redis);
}
