//! Replies of a faulty Redis: without end, byte by byte, or an error to every command.

use std::time::{Duration, Instant};
use testkit::metric_load::metric;
use testkit::{FakeRedis, FakeReply, Redis, Server, StoreCounters, get, post, wait_until};

const MEBIBYTE: u64 = 1024 * 1024;

/// The time-out of a look-up, and what a shared machine may add.
const LOOK_UP_TIME_MAX: Duration = Duration::from_millis(1500);

fn start(url: &str) -> Server {
    Server::start(&["--workers", "2", "--redis-url", url, "--drain-timeout", "2s"])
}

fn send(server: &Server, device: &str, number: u64) -> (String, String) {
    let (key, value) = metric(device, number, "1.5");
    assert_eq!(server.client().request(&post(value.as_bytes())).status, 202);
    let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    (target, value)
}

fn errors(server: &Server, kind: &str) -> u64 {
    StoreCounters::scrape(server.address).errors(kind)
}

/// Writes to a Redis that answers so, several times, and ends.
fn outlives(url: &str, kind: &str) {
    let mut server = start(url);
    let before = server.resident_bytes();
    send(&server, "endless", 1);
    wait_until("it has been given up twice", || (errors(&server, kind) >= 2).then_some(()));
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 32 * MEBIBYTE, "{grown} bytes");
    assert!(!StoreCounters::scrape(server.address).is_up);
    let since = Instant::now();
    server.signal("TERM");
    let code = server.wait().code();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // Not that of a thread which could not be waited for.
    assert!(code == Some(0) || code == Some(75), "{code:?}: {}", server.full_log());
}

#[test]
fn a_reply_without_end_costs_neither_memory_nor_the_end() {
    let redis = FakeRedis::start(|_, words| {
        (words[0] == "SET").then_some(FakeReply::Endlessly("$1000000000000\r\n", "x"))
    });
    outlives(&redis.url(), "protocol");
}

#[test]
fn pushes_without_end_are_a_broken_connection() {
    let redis = FakeRedis::start(|_, words| {
        (words[0] == "SET").then_some(FakeReply::Endlessly("", ">2\r\n+invalidate\r\n_\r\n"))
    });
    outlives(&format!("{}?protocol=resp3", redis.url()), "protocol");
}

#[test]
fn a_reply_drop_by_drop_is_given_up() {
    let redis = FakeRedis::start(|_, words| {
        (words[0] == "SET").then_some(FakeReply::DropByDrop("$1000\r\n"))
    });
    outlives(&redis.url(), "timeout");
}

/// A reply that comes byte by byte does not hold a look-up up either, whatever its type.
#[test]
fn a_look_up_is_answered_in_time_whatever_comes_drop_by_drop() {
    for (command, first) in [("GET", "$1000\r\n"), ("AUTH", "+")] {
        let redis = FakeRedis::start(move |_, words| {
            (words[0] == command).then_some(FakeReply::DropByDrop(first))
        });
        let server = start(&format!("redis://:pw@{}", redis.address));
        for _ in 0..2 {
            let since = Instant::now();
            assert_eq!(server.client().request(&get("/metrics/d1:1")).status, 503, "{command}");
            assert!(since.elapsed() < LOOK_UP_TIME_MAX, "{command}: {:?}", since.elapsed());
        }
        assert!(redis.count(command) > 0);
    }
}

/// A server that has an error for everything is not up, also if there is nothing to write.
#[test]
fn whoever_refuses_everything_is_not_up() {
    let redis = FakeRedis::start(|_, _| Some(FakeReply::text("-ERR this is no\x1b[31m Redis\r\n")));
    let server = start(&redis.url());
    let line = server.first_line("redis is down");
    assert_eq!((&line["why"], &line["level"]), (&"other".into(), &"WARN".into()), "{line}");
    assert_eq!(line["said"], "ERR this is no\\u{1b}[31m Redis", "{line}");
    assert_eq!(line["at"], redis.address.to_string(), "{line}");
    wait_until("it is asked again", || (redis.count("PING") > 2).then_some(()));
    assert!(!StoreCounters::scrape(server.address).is_up);
}

/// Keys of the same form that another program has stored.
#[test]
fn a_value_that_is_no_metric_of_ours_is_not_found_and_stops_nobody() {
    let mut redis = Redis::start(&[]);
    let server = start(&redis.url());
    let (found, value) = send(&server, "ours", 1);
    let key = found.replace("/metrics/", "metric:");
    wait_until("it is stored", || redis.value(&key));
    redis.execute(&["HSET", "metric:d1:1", "a", "b"]).integer();
    redis.execute(&["SET", "metric:d1:2", "a secret"]).assert_ok();
    redis.execute(&["SET", "metric:d1:3", &"x".repeat(3 << 20)]).assert_ok();
    redis.execute(&["SET", "metric:d1:4", &value]).assert_ok();
    let mut client = server.client();
    for _ in 0..20 {
        for foreign in ["d1:1", "d1:2", "d1:3", "d1:4"] {
            assert_eq!(
                client.request(&get(&format!("/metrics/{foreign}"))).status,
                404,
                "{foreign}"
            );
            let answer = client.request(&get(&found));
            assert_eq!((answer.status, answer.text().trim_end()), (200, value.as_str()));
        }
    }
    assert_eq!(errors(&server, "wrongtype"), 20);
}

/// A look-up that the ACL forbids gets 503, and nothing else waits for it.
#[test]
fn an_error_reply_ends_its_look_up_alone() {
    let mut redis = Redis::start(&[]);
    let rules = ["on", ">pw", "~metric:ours-*", "-@all", "+set", "+get", "+ping", "+client"];
    redis.execute(&[&["ACL", "SETUSER", "some"], &rules[..]].concat()).assert_ok();
    let server = start(&format!("redis://some:pw@{}", redis.address()));
    let (found, _) = send(&server, "ours-1", 1);
    let key = found.replace("/metrics/", "metric:");
    wait_until("it is stored", || redis.value(&key));
    let mut client = server.client();
    for _ in 0..20 {
        assert_eq!(client.request(&get("/metrics/theirs:1")).status, 503);
        assert_eq!(client.request(&get(&found)).status, 200);
    }
    assert_eq!(errors(&server, "noperm"), 20);
}

#[test]
fn a_key_that_no_event_can_have_is_not_asked_for() {
    let redis = FakeRedis::start(|_, _| None);
    let server = start(&redis.url());
    let mut client = server.client();
    for none in ["%7Ba%7D", "%7Ba%7D:1", "d1", "d1:x", "d1:-1", "*", "a%20b:1", ":1", "d1:1%0a"] {
        let answer = client.request(&get(&format!("/metrics/{none}")));
        assert_eq!(answer.status, 404, "{none}: {answer:?}");
    }
    assert_eq!(redis.count("GET"), 0, "{:?}", redis.commands());
    assert_eq!(client.request(&get("/metrics/d1:1")).status, 404);
    assert_eq!(redis.count("GET"), 1);
}

#[test]
fn events_refused_for_good_are_told() {
    let redis = FakeRedis::start(|_, words| {
        (words[0] == "SET").then_some(FakeReply::text("-NOPERM no permissions to access a key\r\n"))
    });
    let server = start(&redis.url());
    send(&server, "refused", 1);
    let line = server.wait_for_log("events are lost");
    assert_eq!(line["reason"], "refused", "{line}");
    assert_eq!((&line["events"], &line["level"]), (&1.into(), &"WARN".into()), "{line}");
    let counters = StoreCounters::scrape(server.address);
    assert_eq!((counters.dropped_by("refused"), counters.is_up), (1, false), "{counters:?}");
}
