//! Order: a value that Redis gets for a key is never older than one that it got before.

use std::thread;
use std::time::{Duration, Instant};
use testkit::metric_load::metric;
use testkit::redis_client::RedisClient;
use testkit::{
    CloseMode, Direction, FaultProxy, HttpClient, ProxyMode, Redis, RedisReply, Server,
    ServerUnderLoad, post, wait_until,
};

/// A connection that receives every command that Redis runs from now on.
fn monitor(redis: &Redis) -> RedisClient {
    let mut monitor = redis.connect().unwrap();
    monitor.try_execute(&["MONITOR"]).unwrap().assert_ok();
    monitor
}

/// Returns the next write of a metric that the monitor receives: its device, and its number as
/// `cpu`.
fn next_write(monitor: &mut RedisClient) -> (String, u64) {
    loop {
        let RedisReply::Status(line) = monitor.receive().expect("the last value gets there") else {
            panic!("a monitor is told of commands");
        };
        let Some((_, key)) = line.split_once(r#""metric:"#) else {
            continue;
        };
        let (device, _) = key.split_once(':').expect("a device and a time");
        let (_, value) = key.split_once(r#"\"cpu\":"#).expect("a value");
        return (device.to_owned(), value.split(',').next().unwrap().parse().unwrap());
    }
}

/// The numbers written for a device, in their order, up to the last.
fn values_until(monitor: &mut RedisClient, device: &str, last: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let (found, number) = next_write(monitor);
        if found == device {
            seen.push(number);
        }
    }
    seen
}

/// Without any fault: blocks of one core reach Redis in the order in which they were filled, also
/// where the writer takes the open ones away from cores that are about to hand them over.
#[test]
fn values_of_a_key_reach_redis_in_order() {
    const CONNECTIONS: usize = 8;
    const POSTS: u64 = 3_000;
    let redis = Redis::start(&[]);
    let server = Server::start(&["--workers", "2", "--redis-url", &redis.url()]);
    let mut monitor = monitor(&redis);
    let address = server.address;
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            thread::spawn(move || {
                let (mut client, device) = (HttpClient::connect(address), format!("{number}"));
                for post_number in 1..=POSTS {
                    let (_, value) = metric(&device, 0, &post_number.to_string());
                    assert_eq!(client.request(&post(value.as_bytes())).status, 202);
                }
            })
        })
        .collect();
    let mut highest = [0; CONNECTIONS];
    while highest.iter().any(|&number| number < POSTS) {
        let (device, number) = next_write(&mut monitor);
        let highest = &mut highest[device.parse::<usize>().unwrap()];
        assert!(number >= *highest, "{number} after {highest} of device {device}");
        *highest = number;
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// The order in which Redis itself saw the values: what is sent again after a reset is never older
/// than what it has already.
#[test]
fn a_retried_command_never_overwrites_a_newer_value() {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let server = Server::start(&["--workers", "2", "--redis-url", &proxy.url()]);
    let outage = ServerUnderLoad::without_load(server);
    let mut monitor = monitor(&redis);
    let mut client = outage.server.client();
    let mut number = 0;
    let mut send = || {
        number += 1;
        // The others fill the block: the next value of the key that counts is in another one.
        let mut metrics: Vec<_> = (1..=250).map(|other| metric("filler", other, "1")).collect();
        metrics.push(metric("monitored", 0, &number.to_string()));
        let lines: Vec<&str> = metrics.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(client.request(&post(lines.join("\n").as_bytes())).status, 202);
        number
    };
    // Slow, so that several blocks are on their way when their replies are lost.
    proxy.set(ProxyMode::Delay(Duration::from_millis(20)));
    for _ in 0..5 {
        let (before, stored) = (proxy.cuts(), outage.counters().stored);
        wait_until("the greetings are over", || {
            send();
            (outage.counters().stored > stored).then_some(())
        });
        proxy.cut_after(Direction::ToServer, 1, CloseMode::Reset);
        wait_until("the cut", || {
            send();
            (proxy.cuts() > before).then_some(())
        });
    }
    proxy.set(ProxyMode::Forward);
    let last = send();
    let seen = values_until(&mut monitor, "monitored", last);
    // Now and then a cut falls into a greeting, and no connection is lost by it.
    assert!(outage.counters().reconnects >= 3, "{:?}", outage.counters());
    assert!(seen.is_sorted(), "an older value after a newer one: {seen:?}");
}

/// Commands that the network held back arrive when newer values are in Redis already: by then their
/// connection must have been ended.
#[test]
fn late_commands_of_an_abandoned_connection_change_nothing() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let server = Server::start(&["--workers", "2", "--redis-url", &proxy.url()]);
    // No load: it would write the newest value again and again, and hide an older one.
    let mut outage = ServerUnderLoad::without_load(server);
    let send = |outage: &ServerUnderLoad, version: u64| {
        let (key, value) = metric("late", 0, &version.to_string());
        assert_eq!(outage.server.client().request(&post(value.as_bytes())).status, 202);
        outage.record_sent(&key, &value);
        (key, value)
    };
    let mut version = 0;
    for _ in 0..3 {
        let (key, value) = send(&outage, version + 1);
        wait_until("the first value", || {
            (redis.value(&key).as_ref() == Some(&value)).then_some(())
        });
        let before = outage.counters().reconnects;
        proxy.hold_back();
        send(&outage, version + 2);
        wait_until("the server tries anew", || {
            (outage.counters().reconnects > before).then_some(())
        });
        version += 3;
        let (key, value) = send(&outage, version);
        wait_until("the last value", || (redis.value(&key).as_ref() == Some(&value)).then_some(()));
        proxy.release();
        // Far longer than it takes Redis to run what has come late, if it does.
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(300) {
            assert_eq!(redis.value(&key).as_ref(), Some(&value));
        }
    }
    outage.reconcile_without_loss(&mut redis);
}
