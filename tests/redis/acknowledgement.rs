//! Requests that wait until Redis has confirmed their events, and what they are told.

use std::time::{Duration, Instant};

use testkit::metric_load::metric;
use testkit::{
    CloseMode, Direction, FaultProxy, HttpClient, HttpResponse, Redis, Server, StoreCounters, get,
    wait_until,
};

/// A time that an answer to a request which waits may take beyond its time-out.
const LATE: Duration = Duration::from_secs(3);

fn start(redis: &Redis, arguments: &[&str]) -> Server {
    let url = redis.url();
    let server = Server::start(&[&["--redis-url", &url], arguments].concat());
    wait_until("Redis is up", || (figure(&server, "corepulse_store_up") == 1.0).then_some(()));
    server
}

/// The value of a metric without labels, or with those that are written behind it.
fn figure(server: &Server, name: &str) -> f64 {
    let text = server.client().get("/metrics/prometheus").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A request to a path, with this body.
fn post_to(target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

fn waiting(lines: &str) -> Vec<u8> {
    post_to("/metrics?ack=stored", lines)
}

/// Lines with events of a device, and their keys.
fn lines(device: &str, numbers: std::ops::Range<u64>) -> (Vec<String>, String) {
    let (keys, values): (Vec<_>, Vec<_>) =
        numbers.map(|number| metric(device, number, "1.5")).unzip();
    (keys, values.join("\n"))
}

/// The counts of an answer that not all events are stored.
fn counts(answer: &HttpResponse) -> [u64; 4] {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let json = answer.json();
    ["stored", "coalesced", "dropped", "unknown"]
        .map(|name| json[name].as_u64().unwrap_or_else(|| panic!("{name}: {json}")))
}

fn assert_stored(answer: &HttpResponse) {
    assert_eq!((answer.status, &answer.json()["stored"]), (202, &true.into()), "{answer:?}");
}

#[test]
fn what_is_said_to_be_stored_is_in_redis() {
    let mut redis = Redis::start(&[]);
    let server = start(&redis, &["--workers", "2"]);
    let mut client = server.client();
    for round in 0..50 {
        let (keys, body) = lines("a", round * 100..round * 100 + 1 + round);
        let answer = client.request(&waiting(&body));
        assert_stored(&answer);
        assert_eq!(answer.json()["accepted"], keys.len());
        let found = redis.values(keys.iter().map(String::as_str));
        assert!(found.iter().all(Option::is_some), "of {keys:?} only {found:?}");
    }
    // The same key in one batch, and with a literal of another length.
    let same = [1, 22, 3].map(|cpu| format!("{{\"timestamp\":7,\"cpu\":{cpu},\"rps\":1}}"));
    assert_stored(&client.request(&waiting(&same.join("\n"))));
    let usual = client.request(&post_to("/metrics?ack=accepted", &same[0]));
    assert_eq!((usual.status, usual.json().get("stored")), (202, None), "{usual:?}");
    let refused = client.request(&waiting("{\"cpu\":1}"));
    assert_eq!((refused.status, refused.json().get("stored")), (400, None), "{refused:?}");
    let wrong = client.request(&post_to("/metrics?ack=kept", &same[0]));
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert_eq!(wrong.json()["detail"], "ack: expected accepted or stored");
    assert_eq!(figure(&server, "corepulse_ack_waiting"), 0.0);
    assert_eq!(figure(&server, "corepulse_ack_requests_total{outcome=\"stored\"}"), 51.0);
}

#[test]
fn clients_of_influxdb_and_those_of_a_server_that_always_waits_do_too() {
    let mut redis = Redis::start(&[]);
    let server = start(&redis, &["--ack", "stored", "--ack-timeout", "300ms"]);
    let mut client = server.client();
    let line = "m,device_id=d cpu=1,rps=1 1700000000";
    for target in ["/write", "/api/v2/write?bucket=b", "/write?ack=stored"] {
        assert_eq!(client.request(&post_to(target, line)).status, 204);
        assert!(redis.value("metric:d:1700000000").is_some());
        redis.execute(&["FLUSHALL"]);
    }
    assert_stored(&client.post_without_type(lines("a", 0..3).1));
    redis.freeze();
    let [v1, v2] = ["/write", "/api/v2/write"].map(|target| {
        let answer = client.request(&post_to(target, line));
        assert_eq!(answer.status, 503, "{answer:?}");
        answer.json()
    });
    let text =
        "store: 1 of 1 events are not confirmed as stored: 0 were dropped, 1 may be stored yet";
    assert_eq!(v1, serde_json::json!({ "error": text }));
    assert_eq!(v2, serde_json::json!({ "code": "unavailable", "message": text }));
    assert_eq!(client.request(&post_to("/write?ack=accepted", line)).status, 204);
    let wrong = client.request(&post_to("/write?ack=", line));
    assert_eq!(
        (wrong.status, &wrong.json()["error"]),
        (400, &"ack: expected accepted or stored".into())
    );
}

/// The answers say no more than is known, and the books are those of any outage.
#[test]
fn a_frozen_redis_is_told_in_time_and_one_that_comes_back_too() {
    let redis = Redis::start(&[]);
    let server = start(&redis, &["--ack-timeout", "700ms"]);
    let (mut client, mut other) = (server.client(), server.client());
    redis.freeze();
    let since = Instant::now();
    assert_eq!(counts(&client.request(&waiting(&lines("a", 0..5).1))), [0, 0, 0, 5]);
    let took = since.elapsed();
    assert!((Duration::from_millis(700)..LATE).contains(&took), "{took:?}");
    // Others are served meanwhile, on the same connection behind it and on another.
    client.send(&[waiting(&lines("a", 5..6).1), get("/health")].concat());
    assert_eq!(other.get("/health").status, 200);
    redis.thaw();
    assert_stored(&client.receive());
    assert_eq!(client.receive().status, 200);
    wait_until("all is stored", || {
        let counters = StoreCounters::scrape(server.address);
        ((counters.accepted, counters.stored) == (6, 6)).then_some(())
    });
    assert_eq!(figure(&server, "corepulse_ack_requests_total{outcome=\"unconfirmed\"}"), 1.0);
}

#[test]
fn a_redis_that_is_killed_and_started_again_has_what_is_said() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = start(&redis, &["--ack-timeout", "20s"]);
    let mut clients: Vec<HttpClient> = (0..8).map(|_| server.client()).collect();
    for round in 0..3_u64 {
        let mut all = Vec::new();
        for (client, number) in clients.iter_mut().zip(0..) {
            let (keys, body) = lines(&format!("k{number}"), round * 500..round * 500 + 500);
            client.send(&waiting(&body));
            all.push(keys);
        }
        redis.kill();
        redis.run();
        for (client, keys) in clients.iter_mut().zip(all) {
            assert_stored(&client.receive());
            let found = redis.values(keys.iter().map(String::as_str));
            assert!(found.iter().all(Option::is_some), "round {round}: {found:?}");
        }
    }
}

/// The command runs, and its reply is lost: it is sent again, and confirmed by the second reply.
#[test]
fn a_lost_reply_is_waited_for_again() {
    let mut redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let url = proxy.url();
    let server = Server::start(&["--workers", "1", "--redis-url", &url, "--ack-timeout", "20s"]);
    let mut client = server.client();
    assert_stored(&client.request(&waiting(&lines("a", 0..1).1)));
    for (round, ending) in (1..).zip([CloseMode::Reset, CloseMode::End]) {
        proxy.cut_after(Direction::ToServer, 7, ending);
        let (keys, body) = lines("a", round * 10..round * 10 + 10);
        assert_stored(&client.request(&waiting(&body)));
        assert_eq!(proxy.cuts(), round);
        let found = redis.values(keys.iter().map(String::as_str));
        assert!(found.iter().all(Option::is_some), "{found:?}");
    }
}

#[test]
fn what_a_full_queue_drops_is_told_at_once() {
    let redis = Redis::start(&[]);
    let arguments = ["--workers", "1", "--store-queue", "1MiB", "--ack-timeout", "60s"];
    let server = start(&redis, &arguments);
    redis.freeze();
    let (mut client, mut flood) = (server.client(), server.client());
    // Behind what is in flight, and so among those that are dropped.
    for number in 0..4 {
        assert_eq!(
            flood
                .post_without_type(lines("first", number * 1_000..number * 1_000 + 1_000).1)
                .status,
            202
        );
    }
    client.send(&waiting(&lines("a", 0..10).1));
    for number in 4..40 {
        let body = lines("flood", number * 1_000..number * 1_000 + 1_000).1;
        assert_eq!(flood.post_without_type(body).status, 202);
    }
    assert_eq!(counts(&client.receive()), [0, 0, 10, 0]);
}

#[test]
fn a_queue_that_is_full_or_an_event_that_redis_refuses_is_told() {
    let mut redis = Redis::start(&[]);
    let arguments = ["--workers", "1", "--store-queue", "16MiB", "--store-overflow", "reject"];
    let server = start(&redis, &arguments);
    let mut client = server.client();
    redis.execute(&["ACL", "SETUSER", "default", "-set"]);
    let answer = client.request(&waiting(&lines("a", 0..3).1));
    assert_eq!(counts(&answer), [0, 0, 3, 0]);
    let told = &answer.json()["detail"];
    assert_eq!(told, "store: 3 of 3 events are not confirmed as stored");
    redis.execute(&["ACL", "SETUSER", "default", "+set"]);
    redis.freeze();
    let full = (0..200).find_map(|number| {
        let body = lines("flood", number * 2_000..number * 2_000 + 2_000).1;
        (client.post_without_type(body).status == 503).then_some(())
    });
    assert!(full.is_some());
    let answer = client.request(&waiting(&lines("flood", 0..2_000).1));
    let told = &answer.json()["detail"];
    assert_eq!(told, "store: the queue to Redis is full (--store-overflow reject)");
}

#[test]
fn too_many_that_wait_are_turned_away_before_anything_is_taken() {
    let redis = Redis::start(&[]);
    let server = start(&redis, &["--workers", "1", "--ack-timeout", "60s"]);
    redis.freeze();
    let mut clients: Vec<HttpClient> = (0..2).map(|_| server.client()).collect();
    for (client, number) in clients.iter_mut().zip(0..) {
        let (_, body) = lines("a", number * 10_000..number * 10_000 + 10_000);
        client.send(&waiting(&body));
        let accepted = (number + 1) * 10_000;
        wait_until("it is taken", || {
            (StoreCounters::scrape(server.address).accepted == accepted).then_some(())
        });
    }
    let since = Instant::now();
    let answer = server.client().request(&waiting(&lines("b", 0..1_000).1));
    assert_eq!(answer.status, 503, "{answer:?}");
    let told = &answer.json()["detail"];
    assert_eq!(
        told,
        "ack: too many wait for the store already, and nothing of this request was taken"
    );
    assert!(since.elapsed() < LATE, "{:?}", since.elapsed());
    assert_eq!(StoreCounters::scrape(server.address).accepted, 20_000);
    assert_eq!(server.client().post_without_type(lines("b", 0..1).1).status, 202);
    // Small ones have room of their own, which is bounded as well.
    let mut others = Vec::new();
    let refused = (0..200).find(|number| {
        let mut client = server.client();
        client.send(&waiting(&lines("c", number * 100..number * 100 + 100).1));
        others.push(client);
        let taken = 20_001 + 100 * (number + 1);
        wait_until("it is taken or turned away", || {
            let accepted = StoreCounters::scrape(server.address).accepted;
            let refused =
                figure(&server, "corepulse_ack_requests_total{outcome=\"refused\"}") > 1.0;
            (refused || accepted == taken).then_some(refused)
        })
    });
    assert_eq!(refused, Some(100));
    assert_eq!(others.pop().unwrap().receive().status, 503);
    clients.extend(others);
    redis.thaw();
    for mut client in clients {
        assert_stored(&client.receive());
    }
    assert_stored(&server.client().request(&waiting(&lines("b", 0..1).1)));
}

/// A client that is gone is not waited for, and a newer event of a key stands for an older one.
#[test]
fn whoever_goes_away_leaves_nothing_behind() {
    let redis = Redis::start(&[]);
    let server = start(&redis, &["--workers", "1", "--ack-timeout", "20s"]);
    redis.freeze();
    let (mut gone, mut stays) = (server.client(), server.client());
    gone.send(&waiting(&lines("a", 0..3).1));
    wait_until("it waits", || (figure(&server, "corepulse_ack_waiting") == 1.0).then_some(()));
    drop(gone);
    stays.send(&waiting(&lines("a", 0..6).1));
    wait_until("both wait", || (figure(&server, "corepulse_ack_waiting") == 2.0).then_some(()));
    redis.thaw();
    assert_stored(&stays.receive());
    wait_until("none waits", || (figure(&server, "corepulse_ack_waiting") == 0.0).then_some(()));
}

#[test]
fn a_stop_answers_those_who_wait() {
    for (drain_timeout, is_back) in [("3s", false), ("10s", true)] {
        let redis = Redis::start(&[]);
        let arguments = ["--workers", "2", "--ack-timeout", "60s", "--drain-timeout"];
        let mut server = start(&redis, &[&arguments[..], &[drain_timeout]].concat());
        redis.freeze();
        let mut clients: Vec<HttpClient> = (0..4).map(|_| server.client()).collect();
        for (client, number) in clients.iter_mut().zip(0..) {
            client.send(&waiting(&lines("a", number * 10..number * 10 + 10).1));
        }
        wait_until("all wait", || (figure(&server, "corepulse_ack_waiting") == 4.0).then_some(()));
        server.signal("TERM");
        server.wait_for_log("stopping");
        if is_back {
            redis.thaw();
        }
        for client in &mut clients {
            let answer = client.receive();
            // One that comes early may be told before the drain has begun.
            assert!(is_back || answer.closes_connection(), "{answer:?}");
            match is_back {
                true => assert_stored(&answer),
                false => assert_eq!(counts(&answer), [0, 0, 0, 10]),
            }
        }
        let code = server.wait_within(Duration::from_secs(15)).code();
        assert_eq!(code, Some(if is_back { 0 } else { 75 }));
    }
}
