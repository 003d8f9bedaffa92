//! The writer to Redis beside `redis-benchmark`: commands a second and CPU time a command.
//!
//! Both write distinct keys into one `redis-server`, by turns in each round. The server has the
//! first core to itself; the writer, and the core that fills its blocks, have the second.
//!
//! ```text
//! cargo build --release --workspace && target/release/redis-writer --rounds 5
//! ```

use clap::Parser;
use corepulse::config::Secret;
use corepulse::config::redis_url::RedisUrl;
use corepulse::metric::event::Event;
use corepulse::store::key::KEY_PREFIX;
use corepulse::store::redis::{Observer, OutageReport};
use corepulse::store::{RedisSettings, Store};
use corepulse_perf::program::{self, Records};
use corepulse_perf::redis::Redis;
use corepulse_perf::report::Spread;
use corepulse_perf::{machine, usage};
use percore::clock::Clock;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a core takes between two ends of a turn.
const EVENTS_PER_TURN: u64 = 100;

/// How long the filling core stays away when the queue is full: a fraction of what is in it.
const PAUSE: Duration = Duration::from_micros(500);

/// Measures the writer beside redis-benchmark.
#[derive(Debug, Parser)]
struct Options {
    /// How often each writes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Commands of each round.
    #[arg(
        long,
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=20_000_000)
    )]
    commands: u64,
    /// The record's name after its date.
    #[arg(long, default_value = "redis-writer")]
    name: String,
    #[command(flatten)]
    records: Records,
}

/// One round of both.
struct Round {
    benchmark_rate: f64,
    rate: f64,
    cpu_us: f64,
}

struct Nobody;

impl Observer for Nobody {
    fn on_down(&self, report: &OutageReport<'_>) {
        eprintln!("redis-writer: {report:?}");
    }
}

fn main() -> ExitCode {
    program::end("redis-writer", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    // Threads that are started from here on, and redis-benchmark, inherit where this one is.
    let redis = Redis::start(program::leave_first_core()?)?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        redis.ask("FLUSHALL")?;
        let benchmark_rate = redis.benchmark(options.commands)?;
        redis.ask("FLUSHALL")?;
        let (rate, cpu_us) = write(&redis, options.commands)?;
        eprintln!(
            "round {number}: redis-benchmark {benchmark_rate:.0}/s, writer {rate:.0}/s, \
             {cpu_us:.3} µs"
        );
        rounds.push(Round { benchmark_rate, rate, cpu_us });
    }
    print!("{}", table(&rounds));
    options.records.keep(&options.name, || record(options, &rounds))
}

/// Writes so many distinct keys: commands a second, and microseconds of the writer's CPU time each.
fn write(redis: &Redis, commands: u64) -> Result<(f64, f64), String> {
    let mut clock = Clock::start();
    let url = Secret::from(format!("redis://127.0.0.1:{}/", redis.port).as_str());
    let settings = RedisSettings {
        url: RedisUrl::parse(&url)?,
        prefix: KEY_PREFIX.to_owned(),
        queue_bytes: 16 * 1024 * 1024,
        rejects: true,
        ttl: Duration::from_secs(300),
    };
    let store = Store::redis(1, settings, clock, Box::new(Nobody)).map_err(|e| e.to_string())?;
    let start = Instant::now();
    let mut written = 0;
    while written < commands {
        let many = EVENTS_PER_TURN.min(commands - written);
        let now = clock.now();
        let Some(mut block) = store.open(0, now, |_| 32 * 1024) else {
            // The queue is full: the writer has work, and needs the core for it.
            std::thread::sleep(PAUSE);
            continue;
        };
        for number in written..written + many {
            let device = format!("d{number:012}");
            block.append(&Event {
                device_id: Some(device.as_bytes()),
                timestamp: b"1700000000",
                timestamp_ms: 1_700_000_000_000,
                values: [41.5, 1200.0],
                literals: [b"41.5", b"1200"],
            });
        }
        drop(block);
        store.end_turn(0);
        written += many;
    }
    while store.stats().totals.stored < commands {
        std::thread::sleep(PAUSE);
    }
    let rate = count(commands) / start.elapsed().as_secs_f64();
    let cpu = usage::of_own_thread("store")?;
    if store.flush(Duration::from_secs(10)).lost > 0 || redis.keys()? != commands {
        return Err(format!("of {commands} keys {} are there", redis.keys()?));
    }
    Ok((rate, cpu.as_secs_f64() * 1e6 / count(commands)))
}

/// Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

fn table(rounds: &[Round]) -> String {
    let of = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    format!(
        "| | SET/s | CPU µs a SET | ratio of rates |\n|---|---|---|---|\n\
         | redis-benchmark -P 128 | {} | | |\n| writer | {} | {} | {} |\n",
        of(|round| round.benchmark_rate).text(0),
        of(|round| round.rate).text(0),
        of(|round| round.cpu_us).text(3),
        of(|round| round.rate / round.benchmark_rate).text(2),
    )
}

fn record(options: &Options, rounds: &[Round]) -> Value {
    let rows = rounds.iter().enumerate().map(|(number, round)| {
        json!({
            "round": number,
            "commands": options.commands,
            "benchmark_commands_per_second": round.benchmark_rate,
            "commands_per_second": round.rate,
            "cpu_us_per_command": round.cpu_us,
        })
    });
    json!({ "machine": machine::describe(), "measurements": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
