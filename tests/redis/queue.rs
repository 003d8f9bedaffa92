//! The queue to a Redis that is down: it stays inside its bound, and clients and log are told.

use std::time::{Duration, Instant};

use corepulse::schema::Schema;
use corepulse::store::redis::queue_bytes_needed;
use testkit::metric_load::metric;
use testkit::redis::ReservedPort;
use testkit::{
    ANSWER_TIME_MAX, HttpClient, HttpResponse, Redis, SentMetrics, Server, ServerUnderLoad,
    assert_problem, post, wait_until,
};

const MEBIBYTE: u64 = 1024 * 1024;

/// Memory that may come on top of the queue and a tenth of it: connections, windows of devices, and
/// the reserves of the allocator.
const MEMORY_SLACK: u64 = 3 * MEBIBYTE;

fn start(redis: &Redis, arguments: &[&str]) -> ServerUnderLoad {
    let url = redis.url();
    let fixed = ["--workers", "2", "--redis-url", &url];
    ServerUnderLoad::without_load(Server::start(&[&fixed, arguments].concat()))
}

/// Sends so many keys of a device's own in one request, whatever the answer.
fn try_send(client: &mut HttpClient, metrics: &[(String, String)]) -> HttpResponse {
    let lines: Vec<&str> = metrics.iter().map(|(_, value)| value.as_str()).collect();
    let since = Instant::now();
    let answer = client.request(&post(lines.join("\n").as_bytes()));
    assert!(since.elapsed() < ANSWER_TIME_MAX, "{:?}", since.elapsed());
    answer
}

/// Posts metrics of a device, so many in a request, and notes them.
fn send(outage: &ServerUnderLoad, device: &str, numbers: std::ops::Range<u64>, batch: usize) {
    let mut client = outage.server.client();
    let metrics: Vec<_> = numbers.map(|number| metric(device, number, "1.5")).collect();
    for part in metrics.chunks(batch) {
        assert_eq!(try_send(&mut client, part).status, 202);
        part.iter().for_each(|(key, value)| outage.record_sent(key, value));
    }
}

/// More than four times what the queue holds, as batches and as singles.
#[test]
fn a_frozen_redis_costs_no_more_memory_than_the_queue() {
    const QUEUE: u64 = 4 * MEBIBYTE;
    let mut redis = Redis::start(&[]);
    let mut outage = start(&redis, &["--store-queue", "4MiB"]);
    // Whole blocks: a little less may be what fits.
    assert!((QUEUE * 9 / 10..=QUEUE).contains(&outage.counters().capacity_bytes));
    // First with Redis there: what the work itself needs is no part of the queue.
    send(&outage, "batches", 0..20_000, 1000);
    send(&outage, "singles", 0..3_000, 1);
    wait_until("all is stored", || (outage.counters().pending == 0).then_some(()));
    let before = outage.server.resident_bytes();
    redis.freeze();
    let mut largest = 0;
    for round in 1..=15 {
        send(&outage, "batches", round * 10_000 + 10_000..round * 10_000 + 20_000, 1000);
        send(&outage, "singles", round * 400 + 2_600..round * 400 + 3_000, 1);
        outage.counters();
        largest = largest.max(outage.server.resident_bytes());
    }
    let counters = outage.counters();
    assert!(counters.dropped_by("overflow") > 50_000, "{counters:?}");
    // The queue is used: a bound that is never reached would be none.
    assert!(counters.pending_bytes > QUEUE / 2, "{counters:?}");
    let (grown, allowed) = (largest.saturating_sub(before), QUEUE + QUEUE / 10 + MEMORY_SLACK);
    assert!(grown <= allowed, "{grown} bytes more, {allowed} allowed");
    redis.thaw();
    outage.wait_for_recovery(&mut redis);
    outage.reconcile(&mut redis);
}

#[test]
fn singles_alone_stay_in_the_bound_too() {
    const QUEUE: u64 = MEBIBYTE;
    let mut redis = Redis::start(&[]);
    let mut outage = start(&redis, &["--store-queue", "1MiB"]);
    send(&outage, "singles", 0..2_000, 1);
    wait_until("all is stored", || (outage.counters().pending == 0).then_some(()));
    let before = outage.server.resident_bytes();
    redis.freeze();
    send(&outage, "singles", 2_000..17_000, 1);
    let counters = outage.counters();
    assert!(counters.dropped_by("overflow") > 0, "{counters:?}");
    // Small blocks are filled further while others wait: a thousand events fit in any case.
    assert!(counters.pending > 1_000, "{counters:?}");
    let grown = outage.server.resident_bytes().saturating_sub(before);
    assert!(grown <= QUEUE + QUEUE / 10 + MEMORY_SLACK, "{grown} bytes more");
    redis.thaw();
    outage.wait_for_recovery(&mut redis);
    outage.reconcile(&mut redis);
}

/// The oldest events are dropped; each event that is missing was counted.
#[test]
fn a_full_queue_drops_the_oldest() {
    const EVENTS: u64 = 60_000;
    let mut redis = Redis::start(&[]);
    let mut outage = start(&redis, &["--store-queue", "1MiB"]);
    redis.freeze();
    send(&outage, "queued", 0..EVENTS, 500);
    wait_until("the full queue is noticed", || (outage.counters().dropped > 0).then_some(()));
    redis.thaw();
    outage.wait_for_recovery(&mut redis);
    let settled = outage.reconcile(&mut redis);
    let dropped = settled.counters.dropped;
    assert_eq!(settled.counters.dropped_by("overflow"), dropped, "{:?}", settled.counters);
    assert!(dropped < EVENTS && dropped > EVENTS / 2, "{:?}", settled.counters);
    // The newest are there. Not all that was dropped is older than all that was kept: blocks in
    // flight are never dropped, and two cores fill blocks of their own.
    let newest: Vec<String> =
        (EVENTS - 1_000..EVENTS).map(|number| metric("queued", number, "1.5").0).collect();
    let found = redis.values(newest.iter().map(String::as_str));
    assert!(found.iter().all(Option::is_some), "one of the newest is missing");
}

/// A request that cannot be stored is refused before anything of it is applied.
#[test]
fn a_full_queue_may_refuse_instead() {
    let mut redis = Redis::start(&[]);
    let mut outage = start(&redis, &["--store-queue", "8MiB", "--store-overflow", "reject"]);
    redis.freeze();
    let mut client = outage.server.client();
    let mut refusals: u32 = 0;
    let mut sent = SentMetrics::default();
    for number in 0..600 {
        // Singles too, which fit where a batch does not.
        let size = if number % 10 == 0 { 1 } else { 100 };
        let numbers = number * 100..number * 100 + size;
        let metrics: Vec<_> = numbers.map(|n| metric("refused", n, "2.5")).collect();
        let answer = try_send(&mut client, &metrics);
        if answer.status == 202 {
            metrics.iter().for_each(|(key, value)| outage.record_sent(key, value));
            continue;
        }
        assert_problem(&answer, 503, b"");
        let seconds: u32 = answer.header("retry-after").expect("when to retry").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{answer:?}");
        refusals += 1;
        metrics.into_iter().for_each(|(key, value)| sent.add(key, value));
    }
    assert!(refusals > 10, "{refusals} refusals");
    let counters = outage.counters();
    assert!(counters.accepted > 0 && counters.dropped == 0, "{counters:?}");
    redis.thaw();
    wait_until("events are taken again", || {
        let (key, value) = metric("taken", 1, "1");
        let is_taken = try_send(&mut client, &[(key.clone(), value.clone())]).status == 202;
        is_taken.then(|| outage.record_sent(&key, &value))
    });
    outage.recover_without_loss(&mut redis);
    // No event of the refused requests is there.
    assert_eq!(sent.missing_from(&mut redis).len() as u64, sent.events);
}

/// A metric whose time is over while it waits is not written any more.
#[test]
fn what_expires_in_the_queue_is_dropped_and_counted() {
    let mut redis = Redis::start(&[]);
    let mut outage = start(&redis, &["--store-ttl", "3s"]);
    redis.freeze();
    send(&outage, "expires", 0..100, 10);
    let since = Instant::now();
    wait_until("their time is over", || {
        let counters = outage.counters();
        assert_eq!(counters.stored, 0, "{counters:?}");
        (since.elapsed() > Duration::from_millis(3500)).then_some(())
    });
    redis.thaw();
    outage.wait_for_recovery(&mut redis);
    let counters = wait_until("nothing is pending", || {
        let counters = outage.counters();
        (counters.pending == 0).then_some(counters)
    });
    assert_eq!(counters.dropped_by("expired"), counters.dropped, "{counters:?}");
    // Those that were on their way when it froze may have come in time.
    assert!(counters.dropped > 50, "{counters:?}");
}

/// The least that a queue has to be is enough: with nothing else in it, the largest request finds
/// room, though nothing is taken out of it.
#[test]
fn a_queue_that_refuses_takes_the_largest_request() {
    const BODY: usize = 1024 * 1024;
    const EVENTS: u64 = 10_000;
    let least = queue_bytes_needed(Schema::standard(), 2, BODY, "metric:".len()).to_string();
    let port = ReservedPort::reserve();
    let url = format!("redis://127.0.0.1:{}", port.number);
    let server = Server::start(&[
        "--workers",
        "2",
        "--redis-url",
        &url,
        "--store-overflow",
        "reject",
        "--store-queue",
        &format!("{least}B"),
        "--max-body",
        &format!("{BODY}B"),
        "--drain-timeout",
        "0s",
    ]);
    let mut client = server.client();
    // Its records are the longest that a body of this size can have: short numbers, no timestamps.
    let lines: Vec<String> = (0..EVENTS)
        .map(|number| format!("{{\"device_id\":\"{number:070}\",\"cpu\":1,\"rps\":1}}"))
        .collect();
    let body = lines.join("\n");
    assert!((BODY - 20_000..=BODY).contains(&body.len()), "{}", body.len());
    let answer = client.request(&post(body.as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["accepted"], EVENTS);
    // And another one does not.
    assert_problem(&client.request(&post(body.as_bytes())), 503, b"");
}
