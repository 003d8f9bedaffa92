//! Acknowledged means accounted for: the counters balance at every scrape under load, and at rest
//! they equal the sums of the answers.

use super::json::Json;
use super::server::{InProcessServer, body_of, connect_to_each_core, poll, start};
use corepulse::server::DrainReport;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use testkit::{Exposition, HttpClient, StoreCounters};

/// Clients that post, and requests of each.
const CLIENTS: usize = 4;
const REQUESTS: usize = 700;

/// The counts of the clients. Sent is counted before a request, the others after its answer.
#[derive(Default)]
struct Known {
    sent: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
    anomalies: AtomicU64,
    requests: AtomicU64,
}

fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::SeqCst);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::SeqCst)
}

/// A body of some lines: good ones, several of one key, bad ones, and some that no store takes.
/// Answers how many of them are bad.
fn body(random: &mut fastrand::Rng, lines: usize, text: &mut String) -> u64 {
    let mut bad = 0;
    text.clear();
    for _ in 0..lines {
        let device = random.u32(..40);
        // Few timestamps, so keys repeat inside a batch.
        let time = 1_750_000_000 + random.u32(..8);
        let cpu = if random.u8(..) < 6 { 9e5 } else { random.f64() };
        write!(text, "{{\"device_id\":\"d{device}\",\"timestamp\":{time},\"rps\":1,").unwrap();
        match random.u8(..) {
            0..20 => {
                bad += 1;
                text.push_str("\"cpu\":-1}\n");
            }
            20..25 => {
                bad += 1;
                text.push_str("\"cpu\":\n");
            }
            // A literal longer than any that the store would have to hold.
            25..30 => {
                bad += 1;
                writeln!(text, "\"cpu\":1.{}}}", "0".repeat(2100)).unwrap();
            }
            _ => writeln!(text, "\"cpu\":{cpu}}}").unwrap(),
        }
    }
    bad
}

/// Posts singles and batches, and notes what the answers say.
fn load(mut client: HttpClient, seed: u64, known: &Known) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::new();
    for _ in 0..REQUESTS {
        let lines = if random.bool() { 1 } else { random.usize(2..300) };
        let bad = body(&mut random, lines, &mut text);
        let good = lines as u64 - bad;
        add(&known.sent, good);
        let response = client.post_without_type(&text);
        let json = Json(response.text());
        add(&known.requests, 1);
        if response.status == 202 {
            assert_eq!(json.whole("accepted"), good, "{}", response.text());
            add(&known.accepted, good);
            add(&known.anomalies, json.whole("anomalies"));
        } else {
            assert_eq!((response.status, good), (400, 0), "{}", response.text());
        }
        // A single line that is no JSON costs the body, and counts as no event.
        if let Some(rejected) = json.find("rejected") {
            assert_eq!(rejected.0, bad.to_string(), "{}", response.text());
            add(&known.rejected, bad);
        } else {
            assert!(bad == 0 || (lines == 1 && response.status == 400), "{}", response.text());
        }
    }
}

/// Scrapes until the load is over, and checks each scrape; how many there were.
fn scrape_on(mut client: HttpClient, known: &Known, over: &AtomicBool) -> u64 {
    let mut before = Exposition::default();
    let mut scrapes = 0;
    loop {
        let was_over = over.load(Ordering::SeqCst);
        let acknowledged = read(&known.accepted);
        let scrape = Exposition::request(&mut client);
        scrapes += 1;
        add(&known.requests, 1);
        StoreCounters::from_exposition(scrape.clone());
        scrape.check_histograms();
        assert!(scrape.value("corepulse_devices") <= 30.0);
        let checked = scrape.check_monotonic_since(&before);
        assert!(scrapes == 1 || checked > 100, "{checked} samples only");
        let accepted = scrape.value("corepulse_events_accepted_total");
        assert!(accepted >= acknowledged as f64, "{accepted} of {acknowledged}");
        assert!(accepted <= read(&known.sent) as f64, "{accepted}");
        before = scrape;
        if was_over {
            return scrapes;
        }
    }
}

/// Reads the store's books until the load is over: thousands of readings for each scrape, so that
/// one falls between any two steps of a core.
fn audit(server: &InProcessServer, over: &AtomicBool) {
    let mut before = server.state().store.stats().totals;
    while !over.load(Ordering::SeqCst) {
        let now = server.state().store.stats().totals;
        let settled = now.stored + now.coalesced + now.dropped_all();
        assert!(settled <= now.accepted, "{now:?}");
        assert!(now.evicted.iter().sum::<u64>() <= now.stored, "{now:?}");
        let pairs = [
            (before.accepted, now.accepted),
            (before.stored, now.stored),
            (before.coalesced, now.coalesced),
            (before.dropped_all(), now.dropped_all()),
        ];
        assert!(pairs.iter().all(|(old, new)| old <= new), "{before:?} {now:?}");
        before = now;
    }
}

/// Checks the last scrape, and the store's own walk, against what clients know.
fn check_at_rest(server: &InProcessServer, client: &mut HttpClient, known: &Known) {
    let text = body_of(client, "/metrics/prometheus");
    add(&known.requests, 1);
    let scrape = Exposition::parse(&text);
    StoreCounters::from_exposition(scrape.clone());
    let accepted = read(&known.accepted) as f64;
    assert_eq!(scrape.value("corepulse_events_accepted_total"), accepted);
    assert_eq!(scrape.value("corepulse_store_pending"), 0.0);
    assert_eq!(server.state().store.walk_pending(), 0);
    assert_eq!(server.state().store.stats().totals.pending(), 0);
    for route in ["/metrics", "/metrics/prometheus", "/health", "refused"] {
        // Requests are counted in one place and measured in another.
        let status = format!("corepulse_http_requests_total{{route=\"{route}\",");
        let count = format!("corepulse_http_request_duration_seconds_count{{route=\"{route}\"}}");
        assert_eq!(scrape.sum_with_prefix(&status), scrape.value(&count), "{route}");
    }
    let rejected = read(&known.rejected) as f64;
    assert_eq!(scrape.sum("corepulse_events_rejected_total"), rejected);
    let anomalies = read(&known.anomalies) as f64;
    assert_eq!(scrape.sum("corepulse_anomalies_total"), anomalies);
    // Everything happened that should have, or this would have been a test of nothing.
    for name in [
        "corepulse_store_coalesced_total",
        "corepulse_store_evicted_total{reason=\"capacity\"}",
        "corepulse_events_rejected_total{reason=\"range\"}",
        "corepulse_events_rejected_total{reason=\"syntax\"}",
        "corepulse_anomalies_total{field=\"cpu\"}",
        "corepulse_devices_refused_total",
    ] {
        assert!(scrape.value(name) > 0.0, "{name}");
    }
    let analyze = body_of(client, "/analyze");
    add(&known.requests, 1);
    let json = Json(&analyze);
    assert_eq!(json.whole("totals.accepted") as f64, accepted, "{analyze}");
    assert_eq!(json.whole("totals.rejected") as f64, rejected, "{analyze}");
    assert_eq!(json.whole("anomalies.points") as f64, anomalies, "{analyze}");
}

fn check_report(report: &DrainReport, known: &Known) {
    assert_eq!(report.store.accepted, read(&known.accepted), "{report:?}");
    assert_eq!(report.rejected, read(&known.rejected), "{report:?}");
    assert_eq!(report.requests, read(&known.requests), "{report:?}");
    let store = &report.store;
    let settled = store.stored + store.coalesced + store.dropped_all();
    assert_eq!(store.accepted, settled, "{report:?}");
    assert_eq!((report.walked_pending, report.threads_failed), (0, 0));
}

#[test]
fn the_books_balance_at_every_scrape_and_equal_the_answers_at_rest() {
    let server = start(2, &["--memory-store=4MiB", "--max-devices=30"]);
    let known = Known::default();
    let over = AtomicBool::new(false);
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        // Each core has half of the load.
        clients.extend(connect_to_each_core(&server));
    }
    let scrapes = thread::scope(|scope| {
        let scraper = scope.spawn(|| scrape_on(server.client(), &known, &over));
        let auditor = scope.spawn(|| audit(&server, &over));
        let known = &known;
        let seeds = 1_u64..;
        let loads: Vec<_> = clients
            .into_iter()
            .zip(seeds)
            .map(|(client, seed)| scope.spawn(move || load(client, seed, known)))
            .collect();
        // The others must be told even where a load failed.
        let ends: Vec<_> = loads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ends.into_iter().all(|end| end.is_ok()), "a client failed");
        auditor.join().unwrap();
        scraper.join().unwrap()
    });
    assert!(scrapes > 10, "{scrapes} scrapes only");
    let mut client = server.client();
    check_at_rest(&server, &mut client, &known);
    let connected = Exposition::request(&mut client);
    add(&known.requests, 1);
    // The requests of connecting to each core were counted as well.
    let health = connected.sum("corepulse_http_requests_total{route=\"/health\",status=\"200\"}");
    add(&known.requests, health as u64);
    check_report(&server.stop(), &known);
}

#[test]
fn requests_are_counted_when_they_are_answered() {
    let server = start(2, &[]);
    let mut client = server.client();
    for _ in 0..50 {
        assert_eq!(client.post_without_type("{\"cpu\":1,\"rps\":1}").status, 202);
        assert_eq!(client.post_without_type("{").status, 400);
    }
    // Counters of requests are advanced once the answer is sent: the scrape may come before.
    let name = "corepulse_http_requests_total{route=\"/metrics\",status=\"202\"}";
    poll(&mut client, "/metrics/prometheus", |response| {
        Exposition::parse(response.text()).value(name) == 50.0
    });
    assert_eq!(server.stop().store.accepted, 50);
}
