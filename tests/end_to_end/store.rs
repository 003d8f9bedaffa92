//! The embedded store end to end: metrics are read back to the byte, the newest ones if there is
//! not room for all, and none past its time to live.

use super::event::{Event, ndjson};
use super::server::{InProcessServer, body_of, connect_to_each_core, poll, start};
use std::time::{Duration, Instant};
use testkit::{Exposition, HttpClient, StoreCounters};

const CAPACITY: u64 = 4 * 1024 * 1024;

/// Spellings of numbers that a parser and a printer would not give back.
const LITERALS: [&str; 9] = [
    "1e3",
    "0.10",
    "41.50",
    "0",
    "1E+2",
    "12.5e-1",
    "0.0000000000000000000001",
    "999999.9999999999999999999",
    "-0.0",
];

/// The nth metric, of a key that no other has.
fn metric(number: usize) -> Event {
    let id = format!("device-{}", number / 20_000);
    let literal = |at: usize| LITERALS[at % LITERALS.len()].to_owned();
    Event::of(number % 20_000, Some(&id), Vec::new()).with([literal(number), literal(number / 2)])
}

/// Posts so many metrics by the clients in turn; the store never holds more than it may.
fn fill(server: &InProcessServer, clients: &mut [HttpClient], count: usize) {
    for first in (0..count).step_by(500) {
        let batch: Vec<Event> = (first..first + 500).map(metric).collect();
        let turn = first / 500 % clients.len();
        let response = clients[turn].post_without_type(ndjson(&batch));
        assert_eq!(response.status, 202, "{}", response.text());
        let stats = server.state().store.stats();
        assert!(stats.capacity_bytes <= CAPACITY, "{stats:?}");
        assert!(server.state().store.allocated_bytes() as u64 <= stats.capacity_bytes, "{stats:?}");
    }
}

fn check_found(client: &mut HttpClient, number: usize) {
    let event = metric(number);
    assert_eq!(body_of(client, &event.key()), event.stored(), "{number}");
}

#[test]
fn one_core_keeps_exactly_the_newest() {
    const COUNT: usize = 150_000;
    let server = start(1, &["--memory-store=4MiB"]);
    let mut clients = [server.client()];
    fill(&server, &mut clients, COUNT);
    let [mut client] = clients;
    let scrape = Exposition::request(&mut client);
    StoreCounters::from_exposition(scrape.clone());
    assert_eq!(scrape.value("corepulse_store_stored_total"), COUNT as f64);
    let evicted = scrape.value("corepulse_store_evicted_total{reason=\"capacity\"}");
    assert_eq!(scrape.sum("corepulse_store_evicted_total"), evicted);
    let totals = server.state().store.stats().totals;
    let evicted = usize::try_from(totals.evicted.iter().sum::<u64>()).unwrap();
    assert_eq!(totals.evicted, [0, evicted as u64]);
    // A record takes about 60 bytes with its index: most of the room is used.
    assert!((COUNT / 2..COUNT - 50_000).contains(&evicted), "{evicted}");
    for number in (evicted..COUNT).step_by(17).chain([COUNT - 1]) {
        check_found(&mut client, number);
    }
    for number in (0..evicted).step_by(97).chain([evicted - 1]) {
        let response = client.get(&metric(number).key());
        assert_eq!(response.status, 404, "{number}: {}", response.text());
    }
}

#[test]
fn two_cores_keep_the_newest_of_both() {
    const COUNT: usize = 150_000;
    let server = start(2, &["--memory-store=4MiB"]);
    let mut clients = connect_to_each_core(&server);
    fill(&server, &mut clients, COUNT);
    assert!(server.state().store.stats().totals.evicted[1] > 0);
    // Each has dropped a sixteenth of its share at a time: what came last is safe with both.
    for number in COUNT - 20_000..COUNT {
        check_found(&mut clients[number % 2], number);
    }
    let response = clients[0].get(&metric(0).key());
    assert_eq!(response.status, 404, "{}", response.text());
}

#[test]
fn the_last_write_of_a_key_is_read_whichever_core_took_it() {
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    let mut event = metric(0);
    for number in 0..400 {
        event = event.with([format!("{number}.50"), LITERALS[0].to_owned()]);
        let response = clients[number / 3 % 2].post_without_type(event.json());
        assert_eq!(response.status, 202, "{}", response.text());
        for client in &mut clients {
            assert_eq!(body_of(client, &event.key()), event.stored());
        }
    }
    // In one request the last line wins too; the others were replaced before they were stored.
    let batch: Vec<Event> = (0..100)
        .map(|number| event.clone().with([format!("{number}.0"), "1".to_owned()]))
        .collect();
    assert_eq!(clients[0].post_without_type(ndjson(&batch)).status, 202);
    assert_eq!(body_of(&mut clients[1], &event.key()), batch[99].stored());
    let totals = server.state().store.stats().totals;
    assert_eq!((totals.stored, totals.coalesced), (401, 99));
}

#[test]
fn the_last_line_of_a_key_wins_over_a_long_batch() {
    let server = start(1, &[]);
    let mut client = server.client();
    // Some hundred kilobytes, which are stored under several holds of the lock.
    let batch: Vec<Event> = (0..3000)
        .map(|number| metric(number % 800).with([format!("{number}.0"), "1".to_owned()]))
        .collect();
    assert_eq!(client.post_without_type(ndjson(&batch)).status, 202);
    for event in &batch[2200..] {
        assert_eq!(body_of(&mut client, &event.key()), event.stored());
    }
    let totals = server.state().store.stats().totals;
    assert_eq!((totals.accepted, totals.pending()), (3000, 0));
    assert_eq!((totals.stored, totals.coalesced), (800, 2200));
}

#[test]
fn a_second_write_lives_its_own_time() {
    let server = start(2, &["--store-ttl=1s"]);
    let mut clients = connect_to_each_core(&server);
    let (once, twice) = (metric(1), metric(2));
    for event in [&once, &twice] {
        assert_eq!(clients[0].post_without_type(event.json()).status, 202);
    }
    let half = Instant::now() + Duration::from_millis(500);
    poll(&mut clients[0], "/health", |_| Instant::now() >= half);
    let again = Instant::now();
    assert_eq!(clients[1].post_without_type(twice.json()).status, 202);
    poll(&mut clients[0], &once.key(), |response| response.status == 404);
    let response = clients[0].get(&twice.key());
    // Unless this machine stood still for half a second.
    if again.elapsed() < Duration::from_secs(1) {
        assert_eq!(response.text(), twice.stored());
    }
    poll(&mut clients[0], &twice.key(), |response| response.status == 404);
    assert!(again.elapsed() >= Duration::from_secs(1), "expired too early");
}

#[test]
fn an_older_version_is_not_shown_where_the_newer_one_had_to_go() {
    let server = start(2, &["--memory-store=4MiB"]);
    let mut clients = connect_to_each_core(&server);
    let [older, newer] =
        [["1", "1"], ["2", "2"]].map(|literals| metric(0).with(literals.map(str::to_owned)));
    assert_eq!(clients[0].post_without_type(older.json()).status, 202);
    assert_eq!(clients[1].post_without_type(newer.json()).status, 202);
    let target = newer.key();
    // The second core alone is filled, so that its version leaves and the other's stays.
    for first in (0..150_000).step_by(1000) {
        let batch: Vec<Event> = (first + 1..=first + 1000).map(metric).collect();
        assert_eq!(clients[1].post_without_type(ndjson(&batch)).status, 202);
        let response = clients[0].get(&target);
        if response.status == 200 {
            assert_eq!(response.text(), newer.stored());
        } else {
            assert_eq!(response.status, 404, "{}", response.text());
            assert!(server.state().store.stats().totals.evicted[1] > 0);
        }
    }
    assert_eq!(clients[1].get(&target).status, 404);
}

#[test]
fn what_has_expired_is_gone_and_counted() {
    let server = start(2, &["--store-ttl=1s"]);
    let mut clients = connect_to_each_core(&server);
    let start = Instant::now();
    for number in 0..200 {
        let response = clients[number % 2].post_without_type(metric(number).json());
        assert_eq!(response.status, 202, "{}", response.text());
    }
    // On a machine this slow the first might have expired rightly; the last is read at once.
    check_found(&mut clients[0], 199);
    let client = &mut clients[1];
    poll(client, &metric(0).key(), |response| response.status == 404);
    assert!(start.elapsed() >= Duration::from_secs(1), "expired too early");
    poll(client, &metric(199).key(), |response| response.status == 404);
    // No client posts any more: the cores wake up by themselves and free the memory.
    let name = "corepulse_store_evicted_total{reason=\"expired\"}";
    poll(client, "/metrics/prometheus", |response| {
        let scrape = Exposition::parse(response.text());
        StoreCounters::from_exposition(scrape.clone());
        scrape.value(name) == 200.0
    });
    assert_eq!(server.state().store.allocated_bytes(), 0);
    assert_eq!(server.stop().store.stored, 200);
}
