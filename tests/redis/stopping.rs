//! The end of a server with a Redis: all that was acknowledged is there, or counted as dropped.

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::metric_load::metric;
use testkit::{
    CloseMode, Direction, FaultProxy, HttpClient, ProxyMode, Redis, SentMetrics, Server,
    ServerUnderLoad, post, wait_until,
};

/// Events that one connection sends in a request.
const BATCH: u64 = 20;

/// Posts ever new keys until the server ends the connection; notes what was acknowledged.
fn post_until_closed(address: SocketAddr, device: &str, sent: &Mutex<SentMetrics>) {
    let mut client = HttpClient::connect(address);
    for first in (0..).step_by(usize::try_from(BATCH).unwrap()) {
        let metrics: Vec<_> = (first..first + BATCH).map(|n| metric(device, n, "1.5")).collect();
        let lines: Vec<&str> = metrics.iter().map(|(_, value)| value.as_str()).collect();
        if client.try_send(&post(lines.join("\n").as_bytes())).is_err() {
            return;
        }
        let Ok(Some(answer)) = client.try_receive(false) else {
            return;
        };
        assert_eq!(answer.status, 202, "{answer:?}");
        let mut sent = sent.lock().unwrap();
        metrics.into_iter().for_each(|(key, value)| sent.add(key, value));
        if answer.closes_connection() {
            return;
        }
    }
}

/// The counters of the last line, which balance.
fn last_line(server: &Server) -> Value {
    let last = server.last_line();
    assert_eq!(last["message"], "stopped", "{last}");
    let outcomes = count(&last, "stored") + count(&last, "coalesced") + count(&last, "dropped");
    assert_eq!(count(&last, "accepted"), outcomes + count(&last, "pending"), "{last}");
    assert_eq!(count(&last, "pending"), 0, "{last}");
    last
}

fn count(last: &Value, name: &str) -> u64 {
    last[name].as_u64().unwrap_or_else(|| panic!("{name}: {last}"))
}

/// A rolling stop: 20,000 acknowledged events, and the signal some time after.
fn stop_under_load(redis: &mut Redis, url: &str) {
    const EVENTS: u64 = 20_000;
    let mut server = Server::start(&["--workers", "2", "--redis-url", url]);
    let sent = Mutex::new(SentMetrics::default());
    let goal = EVENTS + fastrand::u64(..EVENTS / 4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (sent, address) = (&sent, server.address);
            scope.spawn(move || post_until_closed(address, &format!("stop-{number}"), sent));
        }
        wait_until("a load", || (sent.lock().unwrap().events >= goal).then_some(()));
        server.signal("TERM");
    });
    // The drain time-out, and some more for a machine that is busy: five megabytes by blocks that
    // are 200 ms on their way are seven seconds at best.
    assert_eq!(server.wait_within(Duration::from_secs(25)).code(), Some(0));
    let sent = sent.into_inner().unwrap();
    let last = last_line(&server);
    // A last answer may have been lost with its connection, and its events are stored.
    assert!(count(&last, "accepted") >= sent.events, "{} acknowledged: {last}", sent.events);
    assert_eq!(count(&last, "dropped"), 0, "{last}");
    let missing = sent.missing_from(redis);
    assert_eq!(missing.len(), 0, "{goal}: {missing:.5?}");
}

#[test]
fn a_rolling_stop_loses_nothing() {
    let mut redis = Redis::start(&[]);
    let url = redis.url();
    for _ in 0..3 {
        stop_under_load(&mut redis, &url);
        redis.execute(&["FLUSHALL"]).assert_ok();
    }
}

#[test]
fn a_slow_redis_is_waited_for() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    proxy.set(ProxyMode::Delay(Duration::from_millis(100)));
    stop_under_load(&mut redis, &proxy.url());
}

#[test]
fn a_connection_that_breaks_during_the_flush_is_made_anew() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut outage = ServerUnderLoad::without_load(Server::start(&["--redis-url", &proxy.url()]));
    let (key, value) = metric("before", 1, "1");
    outage.record_sent(&key, &value);
    assert_eq!(outage.server.client().request(&post(value.as_bytes())).status, 202);
    wait_until("it is stored", || redis.value(&key));
    proxy.set(ProxyMode::BlackHole);
    let mut sent = SentMetrics::default();
    let mut client = outage.server.client();
    for number in 0..100 {
        let (key, value) = metric("during", number, "1");
        assert_eq!(client.request(&post(value.as_bytes())).status, 202);
        sent.add(key, value);
    }
    drop(client);
    outage.server.signal("TERM");
    wait_until("the end has begun", || TcpStream::connect(outage.server.address).err());
    // Back, but the next connection too does not live long.
    proxy.cut_after(Direction::ToServer, 200, CloseMode::Reset);
    proxy.set(ProxyMode::Forward);
    assert_eq!(outage.server.wait().code(), Some(0));
    let last = last_line(&outage.server);
    assert_eq!((count(&last, "accepted"), count(&last, "dropped")), (101, 0), "{last}");
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new());
}

/// Stops a server whose Redis does not come back.
fn stop_with_redis_away(hurt: impl FnOnce(&mut Redis)) {
    const EVENTS: u64 = 500;
    let mut redis = Redis::start(&[]);
    let url = redis.url();
    let mut server = Server::start(&["--redis-url", &url, "--drain-timeout", "2s"]);
    let mut client = server.client();
    let mut send = |device: &str| {
        for number in 0..EVENTS {
            let (_, value) = metric(device, number, "1");
            assert_eq!(client.request(&post(value.as_bytes())).status, 202);
        }
    };
    send("before");
    wait_until("all are stored", || {
        (testkit::StoreCounters::scrape(server.address).stored == EVENTS).then_some(())
    });
    hurt(&mut redis);
    send("after");
    let since = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(75), "whoever runs it has to learn of the loss");
    // The time-out, and what a shared machine may add.
    assert!(since.elapsed() < Duration::from_millis(3500), "{:?}", since.elapsed());
    // A line of its own says what was lost to the end, apart from other losses.
    let lost = server.wait_for_log("could be written in time");
    assert_eq!(count(&lost, "events"), EVENTS, "{lost}");
    let last = last_line(&server);
    assert_eq!(count(&last, "accepted"), 2 * EVENTS, "{last}");
    assert_eq!(count(&last, "dropped"), EVENTS, "{last}");
}

#[test]
fn a_killed_redis_does_not_hold_up_the_end() {
    stop_with_redis_away(Redis::kill);
}

#[test]
fn a_frozen_redis_does_not_hold_up_the_end() {
    stop_with_redis_away(|redis| redis.freeze());
}

#[test]
fn an_idle_server_ends_at_once_with_or_without_its_redis() {
    let mut redis = Redis::start(&[]);
    for is_away in [false, true] {
        if is_away {
            redis.kill();
        }
        let mut server = Server::start(&["--redis-url", &redis.url()]);
        let since = Instant::now();
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        // Less than any of the time-outs.
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        assert_eq!(count(&last_line(&server), "accepted"), 0);
    }
}
