//! The store as the server uses it: every event is counted once at every step, also under look-ups.

use crate::metric::event::Literals;
use crate::schema::FieldSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use super::*;
use crate::limits::{DEVICE_ID_BYTES_MAX, NUMBER_BYTES_MAX};
use crate::store::event_counters::EventTotals;

static IDS: LazyLock<IdHasher> = LazyLock::new(IdHasher::default);

fn at(ms: u64) -> Now {
    Now { mono_ns: ms * 1_000_000, wall_us: 0 }
}

fn event<'a>(device_id: &'a str, timestamp: &'a str, cpu: &'a str) -> Event<'a> {
    Event {
        device_id: Some(device_id.as_bytes()),
        timestamp: timestamp.parse().unwrap(),
        present: FieldSet::from_bits(3),
        literals: Literals::Given(vec![cpu.as_bytes(), b"1200"].leak()),
        ..Event::default()
    }
}

/// A memory store that hashes as [`append`] does.
fn store(cores: usize) -> Store {
    Store::memory(Schema::standard(), cores, 1 << 20, 300_000, IDS.clone())
}

fn append(open: &mut Appender<'_>, event: &Event<'_>) -> Appended {
    open.append(event, IDS.hash_of(event))
}

fn assert_identity(store: &Store) {
    assert_eq!(store.stats().totals.pending(), store.walk_pending());
}

#[test]
fn what_was_appended_can_be_read_back_bit_for_bit() {
    let store = store(2);
    let mut open = store.open(1, at(1), |_| 0).unwrap();
    let cpu = "4.1500000000000000e+01";
    assert_eq!(append(&mut open, &event("d1", "1700000000", cpu)), Appended::Fresh);
    drop(open);
    let mut out = Vec::new();
    assert_eq!(store.lookup(b"metric:d1:1700000000", at(2), &mut out), LookupResult::Found);
    let expected =
        r#"{"timestamp":1700000000,"cpu":4.1500000000000000e+01,"rps":1200,"device_id":"d1"}"#;
    assert_eq!(out, expected.as_bytes());
    assert_eq!(store.lookup(b"metric:1700000000", at(2), &mut out), LookupResult::Absent);
    let gone = at(300_001);
    assert_eq!(store.lookup(b"metric:d1:1700000000", gone, &mut Vec::new()), LookupResult::Absent);
}

#[test]
fn the_books_balance_after_every_step() {
    let store = store(2);
    let long = format!("1{}", "0".repeat(NUMBER_BYTES_MAX - 1));
    let mut appended = 0;
    for turn in 0..200_u64 {
        let core = (turn % 2) as usize;
        let mut open = store.open(core, at(turn), |_| 0).unwrap();
        for number in 0..turn * 10 {
            let timestamp = (number % 300).to_string();
            let cpu = if number % 97 == 0 { &long } else { "1" };
            append(&mut open, &event("d", &timestamp, cpu));
            appended += 1;
        }
        drop(open);
        assert_identity(&store);
        assert_eq!(store.stats().totals.accepted, appended);
        store.end_turn(core);
        assert_identity(&store);
    }
    assert_eq!(store.flush(Duration::ZERO), FlushReport { lost: 0, in_order: true });
    let totals = store.stats().totals;
    assert_eq!(totals.pending(), 0);
    assert_eq!(totals.stored + totals.coalesced + totals.dropped_all(), appended);
    assert!(totals.coalesced > 0 && totals.dropped_all() == 0);
}

#[test]
fn a_dropped_handle_accepts() {
    let store = store(1);
    let mut open = store.open(0, at(1), |_| 0).unwrap();
    append(&mut open, &event("d", "1", "1"));
    assert_eq!(store.stats().totals.accepted, 0, "no other thread can see it");
    drop(open);
    let totals = store.stats().totals;
    assert_eq!((totals.accepted, totals.stored, totals.pending()), (1, 1, 0));
    assert_identity(&store);
    drop(store.open(0, at(2), |_| 0).unwrap());
    assert_eq!(store.stats().totals.accepted, 1);
}

#[test]
fn every_key_is_found_with_a_device_and_without_one() {
    let store = store(2);
    let devices = ["", "d", "d1", "1", "a:b", ":", "::", "d:1", "1:1", "a-name-of-20-letters-"]
        .map(str::to_owned)
        .into_iter()
        .chain([DEVICE_ID_BYTES_MAX - 1, DEVICE_ID_BYTES_MAX].map(|len| "x".repeat(len)));
    let timestamps = ["1", "17", "1700000000", "1700000000123456", "1700000000123456789"];
    let all: Vec<(String, &str, String)> = devices
        .flat_map(|device| timestamps.map(|timestamp| (device.clone(), timestamp)))
        .zip(1..)
        .map(|((device, timestamp), number)| (device, timestamp, number.to_string()))
        .collect();
    for (core, event_of) in [(0, 0), (1, 1)] {
        let mut open = store.open(core, at(1), |_| 0).unwrap();
        for (device, timestamp, cpu) in all.iter().skip(event_of).step_by(2) {
            let mut event = event(device, timestamp, cpu);
            event.device_id = event.device_id.filter(|id| !id.is_empty());
            assert_eq!(append(&mut open, &event), Appended::Fresh);
        }
        drop(open);
    }
    for (device, timestamp, cpu) in &all {
        let key =
            if device.is_empty() { timestamp.to_string() } else { format!("{device}:{timestamp}") };
        let mut out = Vec::new();
        assert_eq!(
            store.lookup(&store.full_key(key.as_bytes()), at(2), &mut out),
            LookupResult::Found
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("\"cpu\":{cpu},")), "{key}: {text}");
    }
}

/// Two cores append while a third thread scrapes and reads back. No counter ever falls, nothing is
/// counted as finished before it was accepted, and a value read is never older than one read
/// before.
#[test]
fn scrapes_and_reads_under_way_stay_consistent() {
    const EVENTS: u64 = 150_000;
    let store = Arc::new(store(2));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let cores: Vec<_> = (0..2_usize)
            .map(|core| {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    for number in 0..EVENTS / 10 {
                        let mut open = store.open(core, at(number), |_| 0).unwrap();
                        for _ in 0..9 {
                            append(&mut open, &event("filler", &number.to_string(), "1"));
                        }
                        append(&mut open, &event("watched", "1", &number.to_string()));
                        drop(open);
                    }
                })
            })
            .collect();
        let scraper = scope.spawn(|| {
            let mut last = EventTotals::default();
            let mut last_value = 0_u64;
            let mut scrapes = 0_u64;
            while !done.load(Ordering::Relaxed) || scrapes == 0 {
                let totals = store.stats().totals;
                let finished = totals.stored + totals.coalesced + totals.dropped_all();
                assert!(finished <= totals.accepted, "{totals:?}");
                assert!(totals.accepted >= last.accepted && totals.stored >= last.stored);
                assert!(totals.coalesced >= last.coalesced);
                assert!(totals.evicted.iter().sum::<u64>() <= totals.stored);
                last = totals;
                let mut out = Vec::new();
                if store.lookup(b"metric:watched:1", at(0), &mut out) == LookupResult::Found {
                    let text = String::from_utf8(out).unwrap();
                    let cpu = text.split("\"cpu\":").nth(1).unwrap().split(',').next().unwrap();
                    let value: u64 = cpu.parse().unwrap();
                    assert!(value >= last_value, "{value} after {last_value}");
                    last_value = value;
                }
                scrapes += 1;
            }
            scrapes
        });
        for core in cores {
            core.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(scraper.join().unwrap() > 0);
    });
    let totals = store.stats().totals;
    assert_eq!(totals.accepted, EVENTS * 2);
    assert_eq!(totals.pending(), 0);
    assert_identity(&store);
}
