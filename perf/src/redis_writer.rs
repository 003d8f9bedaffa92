//! Compares the writer to Redis with `redis-benchmark`: commands a second, CPU time a command.
//!
//! Both write distinct keys into one `redis-server`, by turns in each round. The server has the
//! first core to itself; the writer, and the core that fills its blocks, have the second.

use crate::cores::{Cores, run_on};
use crate::generator::number;
use crate::record::{self, Records};
use crate::summary::Spread;
use clap::Parser;
use corepulse::config::Secret;
use corepulse::config::redis_url::RedisUrl;
use corepulse::metric::event::{Event, Literals};
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::{FieldSet, Schema};
use corepulse::store::key::KEY_PREFIX;
use corepulse::store::redis::Observer;
use corepulse::store::{RedisSettings, Store};
use percore::clock::Clock;
use serde_json::json;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};
use testkit::usage;
use testkit::{Redis, RedisReply};

const NAME: &str = "redis-writer";

/// Events that a core takes between two ends of a turn.
const EVENTS_PER_TURN: u64 = 100;

/// Pause of the filling core when the queue is full: a fraction of what is in it.
const PAUSE: Duration = Duration::from_micros(500);

/// Measures the writer beside redis-benchmark.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which both write.
    #[arg(long, default_value_t = 5)]
    rounds: u16,
    /// Commands of each round.
    #[arg(long, default_value_t = 1_000_000)]
    commands: u64,
    #[command(flatten)]
    records: Records,
}

struct Nobody;

impl Observer for Nobody {}

pub fn main() -> ExitCode {
    let options = Options::parse();
    let cores = Cores::share(1, 1);
    let started = run_on(cores.server, || Ok(Redis::start(&["--appendonly", "no"])));
    // Threads and programs that are started there stay there.
    let measured = started.and_then(|redis| run_on(cores.generator, || measure(&options, redis)));
    record::end(NAME, measured)
}

fn measure(options: &Options, mut redis: Redis) -> Result<(), String> {
    let Options { rounds, commands, .. } = *options;
    // Commands a second of redis-benchmark and of the writer, and microseconds of the writer's
    // each.
    let mut found: Vec<[f64; 3]> = Vec::new();
    for _ in 0..rounds {
        redis.execute(&["FLUSHALL"]);
        let benchmark = benchmark(&redis, commands)?;
        redis.execute(&["FLUSHALL"]);
        let (rate, cpu_us) = write(&mut redis, commands)?;
        found.push([benchmark, rate, cpu_us]);
    }
    let of = |value: fn(&[f64; 3]) -> f64| Spread::of(found.iter().map(value));
    print!(
        "| | SET/s | CPU µs a SET | ratio of rates |\n|---|---|---|---|\n\
         | redis-benchmark -P 128 | {} | | |\n| writer | {} | {} | {} |\n",
        of(|[benchmark, ..]| *benchmark).text(0),
        of(|[_, rate, _]| *rate).text(0),
        of(|[.., cpu_us]| *cpu_us).text(3),
        of(|[benchmark, rate, _]| rate / benchmark).text(2),
    );
    let rows = found.iter().enumerate().map(|(round, [benchmark, rate, cpu_us])| {
        json!({
            "round": round,
            "commands": commands,
            "benchmark_commands_per_second": benchmark,
            "commands_per_second": rate,
            "cpu_us_per_command": cpu_us,
        })
    });
    options.records.keep(NAME, json!({ "measurements": rows.collect::<Vec<_>>() }))
}

/// Returns the commands a second with which `redis-benchmark -P 128` sets `count` keys to a metric,
/// for five minutes each.
fn benchmark(redis: &Redis, count: u64) -> Result<f64, String> {
    let value = r#"{"timestamp":1700000000,"cpu":41.5,"rps":1200,"device_id":"d000000000001"}"#;
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &redis.address().port().to_string(), "-P", "128", "--csv"])
        .args(["-n", &count.to_string(), "-r", "100000000"])
        .args(["SET", "metric:d__rand_int__:1700000000", value, "EX", "300"])
        .output()
        .map_err(|e| format!("redis-benchmark: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The line after the head: the command, then the rate, each in quotes.
    let rate = text.lines().last().and_then(|line| {
        let fields: Vec<&str> = line.rsplit("\",\"").collect();
        fields.get(fields.len().checked_sub(2)?)?.parse().ok()
    });
    rate.ok_or_else(|| format!("redis-benchmark printed {text}"))
}

/// Writes so many distinct keys; returns commands a second, and microseconds of the writer's CPU
/// time each.
fn write(redis: &mut Redis, commands: u64) -> Result<(f64, f64), String> {
    let mut clock = Clock::start();
    let settings = RedisSettings {
        schema: Schema::standard(),
        url: RedisUrl::parse(&Secret::from(redis.url().as_str()))?,
        prefix: KEY_PREFIX.to_owned(),
        queue_bytes: 16 * 1024 * 1024,
        rejects: true,
        ttl: Duration::from_secs(300),
        spill: None,
    };
    let store = Store::redis(1, settings, clock, Box::new(Nobody)).map_err(|e| e.to_string())?;
    let (start, ids) = (Instant::now(), IdHasher::default());
    let mut written = 0;
    while written < commands {
        let many = EVENTS_PER_TURN.min(commands - written);
        let now = clock.now();
        let Some(mut block) = store.open(0, now, |_| 32 * 1024) else {
            // The queue is full: the writer has work, and needs the core for it.
            thread::sleep(PAUSE);
            continue;
        };
        for number in written..written + many {
            let device = format!("d{number:012}");
            let event = Event {
                device_id: Some(device.as_bytes()),
                timestamp: 1_700_000_000,
                timestamp_ms: 1_700_000_000_000,
                present: FieldSet::from_bits(3),
                values: &[41.5, 1200.0],
                literals: Literals::Given(&[b"41.5", b"1200"]),
            };
            block.append(&event, ids.hash_of(&event));
        }
        drop(block);
        store.end_turn(0);
        written += many;
    }
    while store.stats().totals.stored < commands {
        thread::sleep(PAUSE);
    }
    let rate = number(commands) / start.elapsed().as_secs_f64();
    let threads = usage::threads(std::process::id())?;
    let cpu = threads.get("store").copied().unwrap_or(f64::NAN);
    let lost = store.flush(Duration::from_secs(10)).lost;
    let keys = redis.execute(&["DBSIZE"]);
    if lost > 0 || keys != RedisReply::Integer(i64::try_from(commands).unwrap_or(0)) {
        return Err(format!("of {commands} keys {keys:?} are there, {lost} were lost"));
    }
    Ok((rate, cpu * 1e6 / number(commands)))
}
