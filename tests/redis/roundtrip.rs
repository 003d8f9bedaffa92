//! Round trips: Redis holds the series that were sent, over every kind of URL.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::metric_load::metric;
use testkit::redis::ReservedPort;
use testkit::{HttpClient, Redis, Server, ServerUnderLoad, StoreCounters, get, post, wait_until};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const CPU_SERIES: [&str; 4] = [
    "ec2_cpu_utilization_24ae8d",
    "ec2_cpu_utilization_5f5533",
    "ec2_cpu_utilization_825cc2",
    "rds_cpu_utilization_cc0c53",
];

const CONNECTIONS: usize = 16;

/// The time to live of a metric.
const TTL_MS: i64 = 300_000;

/// One metric, as it is sent and as it is in Redis.
struct Recorded {
    sent: String,
    key: String,
    value: String,
}

fn column(name: &str) -> Vec<(String, String)> {
    let path = format!("{}/tests/data/nab/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| (row[0].to_owned(), row[1].to_owned())).collect()
}

/// A CPU series beside the requests, under the name of a device or without one. A time is sent as
/// text by every other device, and as seconds by the rest.
fn recorded(series: &str, device: Option<&str>, is_text: bool) -> Vec<Recorded> {
    let rows = column(series).into_iter().zip(column("elb_request_count_8c0756"));
    rows.map(|((time, cpu), (_, rps))| {
        let text = format!("{}Z", time.replace(' ', "T"));
        let seconds = OffsetDateTime::parse(&text, &Rfc3339).unwrap().unix_timestamp();
        let (sent_time, time) = if is_text {
            (format!("\"{text}\""), (seconds * 1000).to_string())
        } else {
            (seconds.to_string(), seconds.to_string())
        };
        let own = device.map_or(String::new(), |id| format!(",\"device_id\":\"{id}\""));
        let json =
            |time: &str| format!("{{\"timestamp\":{time},\"cpu\":{cpu},\"rps\":{rps}{own}}}");
        let key = device.map_or(format!("metric:{time}"), |id| format!("metric:{id}:{time}"));
        Recorded { sent: json(&sent_time), key, value: json(&time) }
    })
    .collect()
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Posts metrics by a connection of their own, so many in a request; returns when each was sent.
fn replay(address: SocketAddr, metrics: &[Recorded], batch: usize) -> Vec<i64> {
    let mut client = HttpClient::connect(address);
    let mut times = Vec::new();
    for part in metrics.chunks(batch) {
        let lines: Vec<&str> = part.iter().map(|metric| metric.sent.as_str()).collect();
        times.extend(part.iter().map(|_| now_ms()));
        let answer = client.request(&post(lines.join("\n").as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json()["accepted"], part.len(), "{answer:?}");
    }
    times
}

#[test]
fn the_recorded_series_are_in_redis_as_they_were_sent() {
    let mut redis = Redis::start(&[]);
    let server = Server::start(&["--workers", "2", "--redis-url", &redis.url()]);
    let streams: Vec<Vec<Recorded>> = (0..CONNECTIONS)
        .map(|number| {
            let id = format!("device-{number}");
            // The first is no device: its keys are timestamps alone.
            let device = (number > 0).then_some(id.as_str());
            recorded(CPU_SERIES[number % 4], device, number % 8 > 3)
        })
        .collect();
    let address = server.address;
    let times: Vec<Vec<i64>> = thread::scope(|scope| {
        let threads: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(number, stream)| {
                let batch = [1, 7, 50, 499][number % 4];
                scope.spawn(move || replay(address, stream, batch))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let counters = wait_until("nothing is pending", || {
        let counters = StoreCounters::scrape(address);
        (counters.pending == 0).then_some(counters)
    });
    let settled_at = now_ms();
    let sent: u64 = streams.iter().map(|stream| stream.len() as u64).sum();
    assert_eq!((counters.accepted, counters.dropped), (sent, 0), "{counters:?}");
    assert_eq!(counters.stored + counters.coalesced, sent, "{counters:?}");
    let mut keys = 0;
    for (stream, times) in streams.iter().zip(times) {
        keys += check_stream(&mut redis, stream, &times, settled_at);
    }
    assert_eq!(redis.execute(&["DBSIZE"]).integer(), keys, "and nothing else is there");
}

/// Checks the values and the times to live of one connection's metrics; returns how many keys they
/// have. Where a device sent one timestamp twice, the later metric stays.
fn check_stream(redis: &mut Redis, stream: &[Recorded], times: &[i64], settled_at: i64) -> i64 {
    let mut expected: BTreeMap<&str, (&str, i64)> = BTreeMap::new();
    for (metric, &time) in stream.iter().zip(times) {
        expected.insert(&metric.key, (&metric.value, time));
    }
    let values = redis.values(expected.keys().copied());
    let expiries = redis.expiries(expected.keys().copied());
    for (((key, (value, sent_at)), found), expiry) in expected.iter().zip(values).zip(expiries) {
        assert_eq!(found.as_deref(), Some(*value), "{key}");
        // The time to live when it was written, which was at some time in between.
        let allowed = sent_at + TTL_MS - 5_000..=settled_at + TTL_MS;
        assert!(allowed.contains(&expiry), "{key} until {expiry}, not in {allowed:?}");
    }
    expected.len().try_into().unwrap()
}

/// Sends one metric, finds it in Redis, and reads it back.
fn make_round_trip(server: &Server, stored: impl FnMut(&str) -> Option<String>) {
    let (key, value) = metric("round-trip", 7, "1.250e1");
    assert_eq!(server.client().request(&post(value.as_bytes())).status, 202);
    let mut stored = stored;
    wait_until("it is in Redis", || (stored(&key).as_ref() == Some(&value)).then_some(()));
    let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
    let answer = server.client().request(&get(&target));
    assert_eq!((answer.status, answer.text().trim_end()), (200, value.as_str()), "{answer:?}");
    assert_eq!(server.client().request(&get("/metrics/round-trip:1")).status, 404);
    let counters = wait_until("it is counted", || {
        let counters = StoreCounters::scrape(server.address);
        (counters.pending == 0).then_some(counters)
    });
    assert_eq!((counters.accepted, counters.stored, counters.is_up), (1, 1, true));
}

#[test]
fn by_tls() {
    let mut redis = Redis::start_with_tls(&[]);
    let authority = redis.authority().to_str().unwrap().to_owned();
    let url = redis.url();
    // Both of the usual libraries take the authorities that they trust from this variable.
    let server =
        Server::start_with_environment(&[("SSL_CERT_FILE", &authority)], &["--redis-url", &url]);
    make_round_trip(&server, |key| redis.value(key));
}

/// A cluster of one node, which has not met another and so does not know its own address.
#[test]
fn by_tls_to_a_cluster() {
    let bus = ReservedPort::reserve();
    let number = bus.number.to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &number];
    let mut redis = Redis::start_with_tls(&cluster);
    redis.execute(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).assert_ok();
    wait_until("it is well", || {
        let state = redis.execute(&["CLUSTER", "INFO"]).text().unwrap();
        state.contains("cluster_state:ok").then_some(())
    });
    let authority = redis.authority().to_str().unwrap().to_owned();
    let url = format!("rediss+cluster://{}", redis.address());
    let server =
        Server::start_with_environment(&[("SSL_CERT_FILE", &authority)], &["--redis-url", &url]);
    make_round_trip(&server, |key| redis.value(key));
}

/// Both the sentinel and its primary speak TLS, each with an authority of its own.
#[test]
fn by_tls_to_a_sentinel() {
    let mut redis = Redis::start_with_tls(&[]);
    let mut sentinel = Redis::start_with_tls(&["--sentinel"]);
    let port = redis.address().port().to_string();
    sentinel.execute(&["SENTINEL", "MONITOR", "mymaster", "127.0.0.1", &port, "1"]).assert_ok();
    let authorities: String =
        [&redis, &sentinel].map(|one| fs::read_to_string(one.authority()).unwrap()).concat();
    let file = redis.authority().with_file_name("authorities");
    fs::write(&file, authorities).unwrap();
    let url = format!("rediss+sentinel://{}/mymaster", sentinel.address());
    let file = file.to_str().unwrap();
    let server = Server::start_with_environment(&[("SSL_CERT_FILE", file)], &["--redis-url", &url]);
    make_round_trip(&server, |key| redis.value(key));
}

#[test]
fn not_by_tls_with_a_certificate_that_nobody_knows() {
    let mut redis = Redis::start_with_tls(&[]);
    let server = Server::start(&["--redis-url", &redis.url()]);
    let (_, value) = metric("unknown", 1, "1");
    assert_eq!(server.client().request(&post(value.as_bytes())).status, 202);
    assert_eq!(server.client().request(&get("/metrics/unknown:1")).status, 503);
    let counters = StoreCounters::scrape(server.address);
    assert_eq!((counters.pending, counters.stored, counters.is_up), (1, 0, false));
    assert_eq!(redis.execute(&["DBSIZE"]).integer(), 0);
}

#[test]
fn by_a_unix_socket() {
    let mut redis = Redis::start(&[]);
    let url = format!("redis+unix://{}", redis.socket().to_str().unwrap());
    let server = Server::start(&["--redis-url", &url]);
    make_round_trip(&server, |key| redis.value(key));
}

#[test]
fn by_a_unix_socket_that_vanishes_and_comes_back() {
    let mut redis = Redis::start(&["--appendonly", "yes"]);
    let url = format!("redis+unix://{}", redis.socket().to_str().unwrap());
    let mut outage = ServerUnderLoad::start_healthy(&url, &[]);
    redis.kill();
    outage.wait_until_up_is(false);
    outage.observe_for(Duration::from_secs(1));
    redis.run();
    outage.recover_without_loss(&mut redis);
}

#[test]
fn with_a_password_into_a_database() {
    let mut redis = Redis::start(&["--requirepass", "pw"]);
    let url = format!("redis://:pw@{}/3", redis.address());
    let server = Server::start(&["--redis-url", &url]);
    redis.execute(&["SELECT", "3"]).assert_ok();
    make_round_trip(&server, |key| redis.value(key));
    redis.execute(&["SELECT", "0"]).assert_ok();
    assert_eq!(redis.execute(&["DBSIZE"]).integer(), 0);
}

/// The database is chosen again on each connection.
#[test]
fn into_a_database_also_after_a_reconnect() {
    let mut redis = Redis::start(&["--requirepass", "pw"]);
    let url = format!("redis://:pw@{}/3", redis.address());
    redis.execute(&["SELECT", "3"]).assert_ok();
    let mut outage = ServerUnderLoad::start_healthy(&url, &[]);
    redis.execute(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).integer();
    outage.recover_without_loss(&mut redis);
    redis.execute(&["SELECT", "0"]).assert_ok();
    assert_eq!(redis.execute(&["DBSIZE"]).integer(), 0);
}

#[test]
fn as_a_user_by_a_variable() {
    let mut redis = Redis::start(&[]);
    let rules = ["on", ">p%w", "~metric:*", "+@all"];
    redis.execute(&[&["ACL", "SETUSER", "writer"], &rules[..]].concat()).assert_ok();
    redis.execute(&["ACL", "SETUSER", "default", "resetpass", ">other"]).assert_ok();
    // In a URL a per cent sign is encoded.
    let url = format!("redis://writer:p%25w@{}/", redis.address());
    let server = Server::start_with_environment(&[("REDIS_URL", &url)], &[]);
    make_round_trip(&server, |key| redis.value(key));
    assert!(!server.client().request(&get("/analyze")).text().contains("p%"));
}

/// Several servers share a Redis: each has its own part, and may do nothing in the others'.
#[test]
fn under_a_prefix_of_its_own() {
    let mut redis = Redis::start(&[]);
    let rules = ["on", ">pw", "~fleet/a:*", "-@all", "+set", "+get", "+ping", "+client"];
    redis.execute(&[&["ACL", "SETUSER", "a"], &rules[..]].concat()).assert_ok();
    redis.execute(&["SET", "metric:round-trip:1", "of another"]).assert_ok();
    let url = format!("redis://a:pw@{}", redis.address());
    let server = Server::start(&["--redis-url", &url, "--redis-prefix", "fleet/a:"]);
    make_round_trip(&server, |key| redis.value(&key.replace("metric:", "fleet/a:")));
    assert_eq!(redis.execute(&["DBSIZE"]).integer(), 2);
}
