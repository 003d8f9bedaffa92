//! Log lines about Redis: each kind of error is reported at once, and none without end.

use testkit::metric_load::metric;
use testkit::redis::ReservedPort;
use testkit::redis_sentinel::RedisSentinel;
use testkit::{Redis, Server, ServerUnderLoad, StoreCounters, get, post, wait_until};

fn start(url: &str, arguments: &[&str]) -> Server {
    let fixed = ["--workers", "2", "--redis-url", url];
    Server::start(&[&fixed, arguments].concat())
}

/// The first report, of any kind of error, has the server, its message and the pending events.
#[test]
fn a_redis_that_was_never_reachable_is_told() {
    let redis = Redis::start(&[]);
    let port = ReservedPort::reserve();
    let (there, nowhere) = (redis.address().to_string(), format!("127.0.0.1:{}", port.number));
    for (url, at, why, said) in [
        (format!("redis://{nowhere}"), &nowhere, "connect", "Connection refused"),
        (format!("redis://{there}/99"), &there, "other", "ERR DB index is out of range"),
        (format!("redis://:pw@{there}"), &there, "other", "ERR AUTH <password> called without"),
        (format!("redis+cluster://{there}"), &there, "other", "cluster support disabled"),
        (format!("redis+sentinel://{there}/main"), &there, "other", "unknown command 'SENTINEL'"),
        (format!("rediss://{there}"), &there, "connect", "no answer in time"),
    ] {
        let server = start(&url, &[]);
        let line = server.first_line("redis is down");
        assert_eq!((&line["level"], &line["at"]), (&"WARN".into(), &at.as_str().into()), "{line}");
        let text = line["said"].as_str().unwrap();
        assert!(line["why"] == why && text.contains(said), "{url}: {line}");
        assert_eq!((&line["away"], &line["waiting"]), (&"0s".into(), &0.into()), "{line}");
        assert!(!StoreCounters::scrape(server.address).is_up, "{url}");
    }
}

/// Redis repeats the arguments of a command that it does not know. None of them is for the log.
#[test]
fn a_password_that_redis_repeats_is_not_told() {
    let redis = Redis::start(&["--rename-command", "AUTH", "", "--rename-command", "HELLO", ""]);
    let at = redis.address();
    let long = format!("hunter2{}", "x".repeat(200));
    for (url, said) in [
        (format!("redis://:hunter2@{at}"), "ERR unknown command"),
        (format!("redis://hunter1:hunter2@{at}"), "ERR unknown command"),
        (format!("redis://hunter1:{long}@{at}"), "ERR unknown command"),
        (format!("redis://:hunter2@{at}?protocol=resp3"), "ERR unknown command"),
        (format!("redis+cluster://:hunter2@{at}"), "ERR unknown command"),
        (format!("redis+sentinel://{at}/main?sentinel_password=hunter2"), "ERR unknown command"),
    ] {
        let mut server = start(&url, &[]);
        let line = server.first_line("redis is down");
        assert!(line["said"].as_str().unwrap().starts_with(said), "{line}");
        // A look-up asks for itself.
        let answer = server.client().request(&get("/metrics/a:1"));
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!format!("{answer:?}").contains("hunter"), "{answer:?}");
        server.signal("TERM");
        server.wait();
        let log = server.full_log();
        assert!(log.contains("stopped") && !log.contains("hunter"), "{log}");
    }
}

/// Each time that it comes and goes is in the counters; the log has it as one state.
#[test]
fn a_redis_that_comes_and_goes_fills_no_log() {
    let mut redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let mut outage = ServerUnderLoad::start_healthy(&redis.url(), &[]);
    let mut losses = 0;
    for _ in 0..20 {
        redis.configure("maxmemory", "1");
        wait_until("it is down", || (outage.counters().errors("oom") > losses).then_some(()));
        redis.configure("maxmemory", "0");
        outage.wait_until_up_is(true);
        losses = outage.counters().errors("oom");
    }
    outage.reconcile_without_loss(&mut redis);
    outage.server.signal("TERM");
    outage.server.wait();
    let log = outage.server.full_log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("redis is")).collect();
    // Up at first, down, and for each minute that these tests may take another line.
    assert!((2..=5).contains(&lines.len()), "{lines:#?}");
    assert!(lines[1].contains("OOM command not allowed"), "{lines:#?}");
}

#[test]
fn events_lost_to_a_full_queue_are_told_once_a_minute() {
    let port = ReservedPort::reserve();
    let url = format!("redis://127.0.0.1:{}", port.number);
    let mut server = start(&url, &["--store-queue", "1MiB", "--drain-timeout", "0s"]);
    let mut client = server.client();
    for batch in 0..100 {
        let numbers = batch * 100..batch * 100 + 100;
        let lines: Vec<String> = numbers.map(|number| metric("lost", number, "1").1).collect();
        assert_eq!(client.request(&post(lines.join("\n").as_bytes())).status, 202);
    }
    let counters = StoreCounters::scrape(server.address);
    assert!(counters.dropped_by("overflow") > 1_000, "{counters:?}");
    server.signal("TERM");
    server.wait();
    let log = server.full_log();
    assert!(log.lines().last().unwrap().contains("\"stopped\""), "{log}");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("events are lost"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The first block at once, and the rest of them at the end.
    let told: u64 = lines.iter().map(|line| line["events"].as_u64().unwrap()).sum();
    assert_eq!(told, counters.dropped_by("overflow"), "{lines:?}");
    assert!((1..=3).contains(&lines.len()), "{lines:?}");
    assert!(lines.iter().all(|line| line["reason"] == "overflow" && line["level"] == "WARN"));
}

/// A server with nothing to write notices a new primary as well.
#[test]
fn an_idle_writer_hears_of_a_failover() {
    let mut sentinels = RedisSentinel::start();
    let server = start(&sentinels.url(), &[]);
    let is_up = |up: bool| move |counters: StoreCounters| (counters.is_up == up).then_some(());
    wait_until("it is up", || is_up(true)(StoreCounters::scrape(server.address)));
    // The sentinels still name the one that is a replica now.
    sentinels.swap();
    wait_until("it is no primary", || is_up(false)(StoreCounters::scrape(server.address)));
    let line = server.wait_for_log("redis is down");
    assert_eq!((&line["why"], &line["said"]), (&"readonly".into(), &"its role is slave".into()));
    sentinels.swap();
    wait_until("it is one again", || is_up(true)(StoreCounters::scrape(server.address)));
}
