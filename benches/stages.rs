//! The stages of a request one by one: head, body, shard, block, and what `/analyze` merges.
//!
//! Each asserts its answer, so that nothing is timed that went wrong or was left out. The times are
//! for comparing two states of the code on one quiet machine; what is recorded and checked is
//! instructions (`perf/benches/instructions.rs`).

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that panics has failed, and criterion's macros document nothing"
)]

use corepulse::analytics::{Analytics, AnalyticsSettings, Arrived};
use corepulse::limits::{EVENTS_PER_HOLD, HEAD_CACHE_ENTRIES};
use corepulse::metric::decode::{Decoder, LineMode};
use corepulse::metric::event::{Event, Literals};
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::{FieldSet, Schema};
use corepulse::store::Store;
use corepulse::store::block::{Appended, Block};
use corepulse::store::encoding::Encoding;
use corepulse::store::key::KEY_PREFIX;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use percore::clock::Now;
use percore::http::head_cache::HeadCache;
use percore::http::request::Method;
use std::hint::black_box;

const DEVICES: usize = 1000;

/// Events that give each device a full window.
const WINDOW: usize = 50;

const METRIC: &str =
    r#"{"device_id":"device-0042","timestamp":1800000000000,"cpu":41.5,"rps":1000.5}"#;

const HEAD: &[u8] = b"POST /metrics HTTP/1.1\r\nHost: corepulse:8080\r\n\
    User-Agent: device/1.0\r\nContent-Type: application/json\r\nContent-Length: 77\r\n\r\n";

const NOW: Now = Now { mono_ns: 1_000_000, wall_us: 1_800_000_000_000_000 };

fn names() -> Vec<String> {
    (0..DEVICES).map(|number| format!("device-{number:04}")).collect()
}

/// The event of a device; values go up and down a little, so that nothing is anomalous.
fn event(device: &str, number: usize) -> Event<'_> {
    let values = if number.is_multiple_of(2) { &[41.5, 1000.5] } else { &[42.5, 1000.5] };
    Event {
        device_id: Some(device.as_bytes()),
        // Those of one time would be duplicates.
        timestamp: 1_800_000_000_000 + number as u64,
        timestamp_ms: 1_800_000_000_000 + number as i64,
        present: FieldSet::from_bits(3),
        values,
        literals: Literals::Given(&[b"41.5", b"1000.5"]),
    }
}

fn read_head(criterion: &mut Criterion) {
    // One more than is kept, so that each is gone when it comes again.
    let others: Vec<_> = (0..=HEAD_CACHE_ENTRIES)
        .map(|number| {
            let name = format!("/metrics?{number}");
            String::from_utf8(HEAD.to_vec()).unwrap().replace("/metrics", &name).into_bytes()
        })
        .collect();
    let mut cache = HeadCache::default();
    criterion.bench_function("head of a POST, kept", |bencher| {
        bencher.iter(|| {
            let head = cache.read(black_box(HEAD)).unwrap().unwrap();
            assert!(head.method == Method::Post && head.path == "/metrics");
            assert_eq!(head.bytes, HEAD.len());
        });
    });
    let mut turn = others.iter().cycle();
    criterion.bench_function("head of a POST, new", |bencher| {
        bencher.iter(|| {
            let input = turn.next().unwrap();
            let head = cache.read(black_box(input)).unwrap().unwrap();
            assert!(head.method == Method::Post && head.path == "/metrics");
            assert_eq!(head.bytes, input.len());
        });
    });
}

fn decode(criterion: &mut Criterion) {
    let mut decoder = Decoder::new(Schema::standard());
    criterion.bench_function("decode a metric", |bencher| {
        bencher.iter(|| {
            let body = black_box(METRIC.as_bytes());
            let batch = decoder.decode(body, LineMode::Detect, NOW).unwrap();
            let event = batch.iter().next().unwrap().unwrap();
            assert_eq!(event.values, [41.5, 1000.5]);
            assert_eq!(event.timestamp, 1_800_000_000_000);
        });
    });
    let lines: String =
        names().iter().map(|name| METRIC.replace("device-0042", name) + "\n").collect();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(DEVICES as u64));
    group.bench_function("NDJSON of 1,000 events", |bencher| {
        bencher.iter(|| {
            let body = black_box(lines.as_bytes());
            let batch = decoder.decode(body, LineMode::Always, NOW).unwrap();
            assert_eq!(batch.iter().flatten().count(), DEVICES);
        });
    });
    group.finish();
}

/// Literals that are hard to round, or look so: just beside the middle between two neighbours, with
/// many digits, with extreme exponents. None may cost more than 0.3 µs, taken or refused.
const HARD: [(&str, &str, bool); 9] = [
    ("middle beside 41.5", "41.500000000000003552713678800500929355621337890625", true),
    (
        "middle at 1e-300",
        "2.50000000000000014554819017260284902327873478735335812466374741353007\
         77131797929903288344273501203582788359713907210674e-300",
        true,
    ),
    (
        "middle at 1e-310",
        "1.00000000000002164821504234205209640576449737493577242975633854007962\
         12826071110322467459884197961106683503782137421565e-310",
        true,
    ),
    (
        "middle at 5e-324",
        "7.41098468761869816264853189302332058547589703921487146638378523751013\
         26090531312779794975454245398856969484704316857659e-324",
        true,
    ),
    ("middle at 1e308", "1.70000000000000003862e308", false),
    (
        "many digits",
        "0.333333333333333333333333333333333333333333333333333333333333333333\
         333333333333333333333333333333333333333333333333333",
        true,
    ),
    (
        "many zeros",
        "0.000000000000000000000000000000000000000000000000000000000000000000\
         000000000000000000000000000000000000000000000000001",
        true,
    ),
    ("small exponent", "9007199254740993.5e-99999999999999999999", true),
    (
        "long exponent",
        "2.00000000000000022204460492503130808472633361816406251e00000000000000\
         0000000000000000000000000000000000000000000000005",
        true,
    ),
];

/// Events with such a literal, of the usual shape and of another: an event each, literal included.
fn hard_literals(criterion: &mut Criterion) {
    let mut decoder = Decoder::new(Schema::standard());
    let mut group = criterion.benchmark_group("hard literals");
    group.throughput(Throughput::Elements(DEVICES as u64));
    for (name, literal, good) in HARD {
        for (form, start) in [("", "{\"cpu\":1,\"rps\":"), (", spread", "{ \"cpu\":1,\"rps\":")] {
            let lines = format!("{start}{literal}}}\n").repeat(DEVICES);
            group.bench_function(format!("{name}{form}"), |bencher| {
                bencher.iter(|| {
                    let body = black_box(lines.as_bytes());
                    let batch = decoder.decode(body, LineMode::Always, NOW).unwrap();
                    assert_eq!(
                        (batch.len(), batch.events()),
                        (DEVICES, DEVICES * usize::from(good))
                    );
                });
            });
        }
    }
    group.finish();
}

fn analytics(cores: usize, ids: &IdHasher) -> Analytics {
    let settings = AnalyticsSettings {
        schema: Schema::standard(),
        window: WINDOW,
        threshold: 2.0,
        min_samples: 16,
        cooldown: 50,
        devices_max: 100_000,
        device_ttl_ns: 3_600_000_000_000,
        device_limit: None,
        judge_duplicates: false,
    };
    let analytics = Analytics::new(settings, cores, ids.clone());
    let names = names();
    for core in 0..cores {
        let mut pending = analytics.pending_events(core);
        for (number, name) in (0..WINDOW).flat_map(|n| names.iter().map(move |name| (n, name))) {
            let event = event(name, number);
            let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
            analytics.writer(core, NOW, 1).apply(&[arrived], &mut Vec::new());
            pending.push(NOW, 0, || event);
        }
        analytics.publish(&mut pending);
    }
    analytics
}

fn update_shard(criterion: &mut Criterion) {
    let ids = IdHasher::default();
    let (analytics, names) = (analytics(1, &ids), names());
    let mut turn = 0;
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(DEVICES as u64));
    group.bench_function("an event of each of 1,000 devices", |bencher| {
        bencher.iter(|| {
            turn += 1;
            for names in names.chunks(EVENTS_PER_HOLD) {
                let arrived = names.iter().map(|name| {
                    let event = event(name, turn);
                    Arrived { event, hash: ids.hash_of(&event), index: 0 }
                });
                let group: Vec<_> = arrived.collect();
                let mut points = Vec::new();
                assert_eq!(analytics.writer(0, NOW, 1).apply(&group, &mut points).refused(), 0);
                assert!(points.is_empty());
            }
        });
    });
    group.finish();
}

fn merge(criterion: &mut Criterion) {
    let analytics = analytics(4, &IdHasher::default());
    criterion.bench_function("merge four cores and 1,000 devices", |bencher| {
        bencher.iter(|| {
            let summary = black_box(&analytics).instance(NOW);
            let devices = usize::try_from(summary.totals.devices).unwrap();
            assert_eq!((summary.series.window.count, devices), (WINDOW, DEVICES));
        });
    });
}

fn store(criterion: &mut Criterion) {
    let (names, ids) = (names(), IdHasher::default());
    let schema = Schema::standard();
    let count = 100;
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(count as u64));
    let mut block = Block::new(Encoding::redis_set(schema, 300, KEY_PREFIX));
    group.bench_function("pack 100 events as SET", |bencher| {
        bencher.iter(|| {
            for device in names.iter().take(count) {
                let event = black_box(event(device, 0));
                let appended = block.append(&event, ids.hash_of(&event), NOW);
                assert_eq!(appended, Appended::Fresh);
            }
            assert_eq!(block.live(), count as u64);
            block.clear();
        });
    });
    let store = Store::memory(schema, 1, 64 << 20, 300_000, ids.clone());
    let mut now = NOW;
    group.bench_function("keep 100 events in memory", |bencher| {
        bencher.iter(|| {
            now.mono_ns += 1_000;
            let mut appender = store.open(0, now, |_| 0).unwrap();
            for device in names.iter().take(count) {
                let event = black_box(event(device, 0));
                let appended = appender.append(&event, ids.hash_of(&event));
                assert_eq!(appended, Appended::Fresh);
            }
        });
    });
    group.finish();
}

criterion_group!(stages, read_head, decode, hard_literals, update_shard, merge, store);
criterion_main!(stages);
