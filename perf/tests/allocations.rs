//! In the steady state a core allocates nothing for what it takes, whatever store it goes to.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use allocation_counter::{AllocationInfo, measure};
use corepulse::analytics::Analytics;
use corepulse::analytics::shared_windows::SaveQueue;
use corepulse::config::Secret;
use corepulse::config::redis_url::RedisUrl;
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::Schema;
use corepulse::store::redis::Observer;
use corepulse::store::{RedisSettings, Store};
use corepulse_perf::offline::{OfflineServer, START_MS, TTL_MS, memory_store};
use corepulse_perf::scenario::Scenario;
use corepulse_perf::traffic::Traffic;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use percore::clock::{Clock, Now};
use percore::http::content_coding::{BodyDecoder, ContentCoding};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Batches that give 1,000 devices a full window and fill either store.
const WARM_UP: usize = 60;

/// More than two seconds of turns: what a second costs once, as the date line does, is among them.
const MEASURED: usize = 2500;

/// Opens a store.
type Open = fn(&IdHasher) -> Store;

const STORES: [Open; 2] = [memory, redis];

struct Nobody;

impl Observer for Nobody {}

fn memory(ids: &IdHasher) -> Store {
    memory_store(Schema::standard(), ids)
}

/// A queue to a Redis that is not there: once it is full, the oldest block makes room for the
/// newest.
fn redis(_: &IdHasher) -> Store {
    let url = Secret::from("redis+unix:///dev/null/none");
    let settings = RedisSettings {
        schema: Schema::standard(),
        url: RedisUrl::parse(&url).unwrap(),
        prefix: "metric:".to_owned(),
        queue_bytes: 1024 * 1024,
        rejects: false,
        ttl: Duration::from_millis(TTL_MS),
        spill: None,
    };
    Store::redis(1, settings, Clock::start(), Box::new(Nobody)).unwrap()
}

fn turns(scenario: Scenario, count: usize) -> Vec<Vec<u8>> {
    let mut traffic = Traffic::new(scenario, "corepulse:8080", START_MS);
    let turn = |_| {
        let mut bytes = Vec::new();
        traffic.next_turn(&mut bytes);
        bytes
    };
    (0..count).map(turn).collect()
}

/// Returns the allocations of a core for these turns, after it has been at work for a while with
/// such turns and others.
fn allocated(open: Open, warm_up: &[Vec<u8>], measured: &[Vec<u8>]) -> AllocationInfo {
    allocated_by(&mut OfflineServer::new(open, Schema::standard()), warm_up, measured)
}

/// Returns the allocations of this core.
fn allocated_by(
    server: &mut OfflineServer,
    warm_up: &[Vec<u8>],
    measured: &[Vec<u8>],
) -> AllocationInfo {
    for turn in turns(Scenario::Ndjson, WARM_UP).iter().chain(warm_up) {
        server.turn(turn);
    }
    let before = server.state().store.stats().totals.accepted;
    let info = measure(|| {
        for turn in measured {
            let answers = server.turn(turn);
            assert!(answers.starts_with(b"HTTP/1.1 202 "));
        }
    });
    assert!(server.state().store.stats().totals.accepted > before);
    info
}

fn request(body: &str) -> Vec<u8> {
    let length = body.len();
    let head = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: ";
    format!("{head}{length}\r\n\r\n{body}").into_bytes()
}

fn assert_none(scenario: Scenario, warm_up: usize, measured: usize) {
    for open in STORES {
        let all = turns(scenario, warm_up + measured);
        let (warm_up, measured) = all.split_at(warm_up);
        let info = allocated(open, warm_up, measured);
        assert_eq!((info.count_total, info.bytes_total), (0, 0), "{scenario:?}: {info:?}");
    }
}

#[test]
fn a_single_metric_allocates_nothing() {
    // Records without a device are short, so each block of the queue gets more of them than before.
    assert_none(Scenario::Single, 20_000, MEASURED);
}

#[test]
fn a_single_metric_of_a_device_allocates_nothing() {
    assert_none(Scenario::Device, MEASURED, MEASURED);
}

#[test]
fn pipelined_requests_allocate_nothing() {
    assert_none(Scenario::Pipelined, MEASURED, MEASURED);
}

#[test]
fn an_event_of_a_batch_allocates_nothing() {
    assert_none(Scenario::Ndjson, WARM_UP, WARM_UP);
}

#[test]
fn a_body_in_a_coding_allocates_nothing() {
    let plain = turns(Scenario::Ndjson, 1).concat();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&plain).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = compress_to_vec(&plain[..], CompressionLevel::Fastest);
    let bodies = [
        (ContentCoding::Gzip, gzip.finish().unwrap()),
        (ContentCoding::Deflate, zlib.finish().unwrap()),
        (ContentCoding::Zstd, zstd),
    ];
    let mut decoder = BodyDecoder::default();
    let mut decode = || {
        for (coding, body) in &bodies {
            assert_eq!(decoder.decode(*coding, body, 1024 * 1024), Ok(&plain[..]), "{coding:?}");
        }
    };
    decode();
    let info = measure(decode);
    assert_eq!((info.count_total, info.bytes_total), (0, 0), "{info:?}");
}

/// Lets the server hold all devices that wait for their windows.
fn adopt_all(analytics: &Analytics) {
    let mut wanted = Vec::new();
    analytics.take_wanted(&mut wanted);
    for id in wanted {
        assert!(analytics.adopt(&id, None, false, Some(1), Now::default()).is_held);
    }
}

/// Saves all that is unsaved. Returns the number of devices.
fn save_all(analytics: &Analytics, queue: &mut SaveQueue) -> usize {
    let mut saved = 0;
    analytics.begin_saves(queue);
    analytics.next_saves(queue, usize::MAX, Now::default(), |_| saved += 1);
    saved
}

/// Devices of a fleet that are here allocate no more than those of a single server, though it is
/// noted of each that it is to be saved.
#[test]
fn devices_whose_windows_are_shared_allocate_nothing() {
    let mut server = OfflineServer::new(memory, Schema::standard());
    let state = Arc::clone(server.state());
    state.analytics.share_windows(1, Box::new(|| {}));
    state.analytics.renew_lease(0, u64::MAX, Now::default());
    let all = turns(Scenario::Ndjson, 3 * WARM_UP);
    let (warm_up, measured) = all.split_at(2 * WARM_UP);
    let mut queue = SaveQueue::default();
    for (number, turn) in warm_up.iter().enumerate() {
        server.turn(turn);
        adopt_all(&state.analytics);
        // The lists of those to be saved change places.
        if number >= WARM_UP {
            assert!(save_all(&state.analytics, &mut queue) > 0);
        }
    }
    let pending = state.analytics.windows().pending_total;
    assert!(pending > 0, "each has waited");
    let info = measure(|| {
        for turn in measured {
            server.turn(turn);
        }
    });
    assert_eq!((info.count_total, info.bytes_total), (0, 0), "{info:?}");
    assert_eq!(state.analytics.windows().pending_total, pending);
    assert!(save_all(&state.analytics, &mut queue) > 900);
}

/// Verdicts and rejections are part of the steady state as well; their place in the answer grows
/// once.
#[test]
fn anomalies_and_bad_lines_allocate_nothing() {
    let turn = |cpu: u32| {
        let good = |number: u32| {
            format!("{{\"device_id\":\"device-{number:04}\",\"cpu\":{cpu},\"rps\":1}}\n")
        };
        request(&((0..200).map(good).collect::<String>() + "{\"cpu\":1}\n{\"cpu\":\"1\"}\n"))
    };
    let mut turns: Vec<Vec<u8>> = (0..300).map(|number| turn(40 + number % 2)).collect();
    for spike in [100, 200, 299] {
        turns[spike] = turn(1000);
    }
    let (warm_up, measured) = turns.split_at(150);
    for open in STORES {
        let info = allocated(open, warm_up, measured);
        assert_eq!((info.count_total, info.bytes_total), (0, 0), "{info:?}");
    }
}

/// The second judge has its memory from the first event of a field on, and what it tells has its
/// place in the answer.
#[test]
fn what_is_new_allocates_nothing() {
    const STEP_MS: u64 = 600_000;
    let turn = |number: u64, cpu: u64| {
        let timestamp = START_MS - 1000 * STEP_MS + number * STEP_MS;
        let event = |device: u32| {
            let id = format!("sensor-{device:04}");
            format!(
                "{{\"device_id\":\"{id}\",\"timestamp\":{timestamp},\"cpu\":{cpu},\"rps\":1}}\n"
            )
        };
        request(&(0..200).map(event).collect::<String>())
    };
    // Nothing is told in the first twelve hours, which are 72 steps.
    let spike = |number| [100, 150, 299].contains(&number);
    let cpu = |number| if spike(number) { 1000 } else { 40 + number % 2 };
    let turns: Vec<Vec<u8>> = (0..300).map(|number| turn(number, cpu(number))).collect();
    let (warm_up, measured) = turns.split_at(200);
    let batches = self::turns(Scenario::Ndjson, 3 * WARM_UP);
    for open in STORES {
        let mut server = OfflineServer::with_novelty(open, Schema::standard());
        let info = allocated_by(&mut server, warm_up, measured);
        assert_eq!((info.count_total, info.bytes_total), (0, 0), "{info:?}");
        let told: u64 = server.state().analytics.totals(Now::default()).novelties.iter().sum();
        assert!(told >= 3 * 200, "each device is told with each spike: {told}");
        let (warm_up, measured) = batches.split_at(2 * WARM_UP);
        let info = allocated_by(&mut server, warm_up, measured);
        assert_eq!((info.count_total, info.bytes_total), (0, 0), "{info:?}");
    }
}

/// The counter counts: a device that is new has to be remembered.
#[test]
fn a_new_device_with_a_long_name_allocates() {
    let name = "d".repeat(100);
    let body = format!(r#"{{"device_id":"{name}","cpu":1,"rps":1}}"#);
    let head =
        format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let turn = [(head + &body).into_bytes()];
    assert!(allocated(memory, &[], &turn).count_total > 0);
    assert_eq!(allocated(memory, &turn, &turn).count_total, 0);
}
