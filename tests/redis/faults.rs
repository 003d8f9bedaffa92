//! Faults of the Redis process: absent, killed, frozen, paused, busy. None costs an event.

use std::time::{Duration, Instant};
use testkit::load::metric;
use testkit::{ANSWER_TIME_MAX, Client, Outage, Redis, get, post, until};

/// What a killed Redis had answered for is there again when it runs again: the kernel keeps what a
/// killed process has written.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "no"];

#[test]
fn absent_at_start() {
    let mut redis = Redis::absent(&[]);
    let mut outage = Outage::start(&redis.url(), &[]);
    outage.until_up_is(false);
    outage.lasts(Duration::from_secs(2));
    assert_eq!(outage.accounts().stored, 0);
    redis.run();
    outage.recovers(&mut redis);
    let accounts = outage.settles_without_loss(&mut redis).accounts;
    assert!(accounts.coalesced > 0, "{accounts:?}");
}

#[test]
fn killed_and_started_again() {
    let mut redis = Redis::start(&DURABLE);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    for _ in 0..2 {
        redis.kill();
        outage.until_up_is(false);
        outage.lasts(Duration::from_secs(1));
        redis.run();
        outage.recovers(&mut redis);
    }
    let accounts = outage.settles_without_loss(&mut redis).accounts;
    assert!(accounts.reconnects >= 2, "{accounts:?}");
}

#[test]
fn frozen_for_five_seconds() {
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    redis.freeze();
    outage.lasts(Duration::from_secs(5));
    assert!(!outage.accounts().is_up);
    redis.thaw();
    outage.recovers_without_loss(&mut redis);
}

/// A frozen Redis runs what it had received once it thaws, and that is older than what comes by the
/// new connection: it has to end the old one before it gets anything new.
#[test]
fn what_a_frozen_redis_had_received_does_not_overwrite_what_is_newer() {
    const KEYS: usize = 200;
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    let mut client = outage.process.client();
    let mut newest: Vec<(String, String)> = Vec::new();
    let mut send = |outage: &Outage, round: u32| {
        let cpu = round.to_string();
        newest.clear();
        for number in 0..KEYS {
            let (key, value) = metric(&format!("frozen-{number}"), 1, &cpu);
            assert_eq!(client.ask(&post(value.as_bytes())).status, 202);
            outage.add_sent(&key, &value);
            newest.push((key, value));
        }
    };
    // Several times, as it is by chance how much has left the server when it stops.
    for round in 0..3 {
        send(&outage, round * 10);
        redis.freeze();
        // Into the buffers of a connection that looks well, and then behind it.
        send(&outage, round * 10 + 1);
        outage.until_up_is(false);
        send(&outage, round * 10 + 2);
        redis.thaw();
        outage.recovers(&mut redis);
    }
    outage.settles_without_loss(&mut redis);
    let found = redis.values(newest.iter().map(|(key, _)| key.as_str()));
    for ((key, value), found) in newest.into_iter().zip(found) {
        assert_eq!(found, Some(value), "{key}");
    }
}

#[test]
fn paused_by_client_pause() {
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    redis.ask(&["CLIENT", "PAUSE", "3000", "ALL"]).assert_ok();
    outage.lasts(Duration::from_secs(2));
    // Paused too: the reply comes with the end of the pause.
    redis.ask(&["PING"]);
    outage.recovers_without_loss(&mut redis);
}

#[test]
fn paused_for_writes_only() {
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    redis.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]).assert_ok();
    outage.lasts(Duration::from_secs(3));
    redis.ask(&["CLIENT", "UNPAUSE"]).assert_ok();
    outage.recovers_without_loss(&mut redis);
}

#[test]
fn busy_by_debug_sleep() {
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    redis.begin(&["DEBUG", "SLEEP", "3"]);
    outage.lasts(Duration::from_secs(2));
    redis.await_reply().assert_ok();
    outage.recovers_without_loss(&mut redis);
}

/// Asks again and again for two seconds; no answer may wait for Redis.
fn ask_during_the_fault(outage: &Outage, target: &str) {
    let mut client = outage.process.client();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(client.ask(&get(target)).status, 200);
        assert!(asked.elapsed() < ANSWER_TIME_MAX, "{target}: {:?}", asked.elapsed());
    }
}

#[test]
fn analyze_does_not_wait_for_a_frozen_redis() {
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    redis.freeze();
    ask_during_the_fault(&outage, "/analyze");
    outage.until_up_is(false);
    let store = outage.process.client().ask(&get("/analyze")).json()["store"].clone();
    assert!(store["pending"].as_u64().unwrap() > 0, "{store}");
    assert_eq!(store["up"], false, "{store}");
    redis.thaw();
    outage.recovers_without_loss(&mut redis);
}

#[test]
fn a_scrape_does_not_wait_for_a_frozen_redis() {
    let mut redis = Redis::start(&[]);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    redis.freeze();
    // Look-ups wait for Redis, and scrapes must not wait behind them.
    let mut waiting: Vec<Client> = (0..8).map(|_| outage.process.client()).collect();
    for client in &mut waiting {
        client.send(&get("/metrics/nothing:1"));
    }
    ask_during_the_fault(&outage, "/metrics/prometheus");
    for client in &mut waiting {
        assert_eq!(client.answer().status, 503);
    }
    redis.thaw();
    outage.recovers_without_loss(&mut redis);
}

/// Whatever state Redis is in, the answer to a look-up comes in time.
#[test]
fn look_ups_are_answered_in_time_throughout() {
    // The time-out of Redis and what a shared machine may add.
    const LOOK_UP_TIME_MAX: Duration = Duration::from_millis(1500);
    let mut redis = Redis::start(&DURABLE);
    let mut outage = Outage::start_healthy(&redis.url(), &[]);
    let (key, value) = metric("looked-up", 1, "4.150e1");
    assert_eq!(outage.process.client().ask(&post(value.as_bytes())).status, 202);
    outage.add_sent(&key, &value);
    until("it is stored", || (redis.value(&key).as_ref() == Some(&value)).then_some(()));
    let path = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    let address = outage.process.address;
    let look_up = |target: &str| {
        let since = Instant::now();
        let answer = Client::connect(address).ask(&get(target));
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
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.send(&get(&path)));
    assert!(clients.iter_mut().all(|client| client.answer().status == 503));
    assert!(since.elapsed() < 2 * LOOK_UP_TIME_MAX, "{:?}", since.elapsed());
    redis.thaw();
    until("it is found again", || (look_up(&path).status == 200).then_some(()));
    assert_found();
    redis.kill();
    for _ in 0..3 {
        assert_eq!(look_up(&path).status, 503);
    }
    redis.run();
    until("it is found again", || (look_up(&path).status == 200).then_some(()));
    assert_found();
    outage.recovers_without_loss(&mut redis);
}
