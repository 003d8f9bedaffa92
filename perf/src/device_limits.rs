//! Measures what limits of devices cost at 100,000 devices, and what one device that is far over
//! its limit takes from others.
//!
//! The first is measured on the analytics alone: devices in an order by chance, so that nearly each
//! of them is in no cache, in groups as a batch has them. The second on a server: fifty devices
//! post at a fixed rate, by themselves and beside one that posts as much as it can. Their latencies
//! are compared within a round.

use crate::generator::number;
use crate::record::{self, Records};
use crate::summary::Spread;
use clap::Parser;
use corepulse::analytics::{Analytics, AnalyticsSettings, Arrived};
use corepulse::config::arguments::Arguments;
use corepulse::config::{Config, RateLimit};
use corepulse::limits::EVENTS_PER_HOLD;
use corepulse::metric::event::Event;
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::{FieldSet, Schema};
use corepulse::server::Server;
use percore::clock::Now;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{HttpClient, post};

/// The limits of the cases; the first has none.
const LIMITS: [&str; 4] =
    ["", "1000000:1", "1000000:1,2000:60", "1000000:1,2000:60,90000:3600,900000:86400"];

/// The limit of the devices of a server, in a second.
const PER_SECOND: u64 = 10;

/// The devices that keep to it.
const POLITE: usize = 50;

/// Measures what limits of devices cost, and what they are for.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which every case has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: u16,
    /// Devices of the first part.
    #[arg(long, default_value_t = 100_000)]
    devices: usize,
    /// Seconds of each measurement of the second part.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[command(flatten)]
    records: Records,
}

/// The devices of the first part under one limit.
struct Devices {
    analytics: Analytics,
    ids: IdHasher,
    order: Vec<String>,
    turn: u64,
}

impl Devices {
    fn new(devices: usize, limit: &str) -> Result<Self, String> {
        let limit = if limit.is_empty() { None } else { Some(limit.parse::<RateLimit>()?) };
        let settings = AnalyticsSettings {
            schema: Schema::standard(),
            window: 50,
            threshold: 2.0,
            min_samples: 16,
            cooldown: 50,
            devices_max: devices,
            device_ttl_ns: u64::MAX,
            device_limit: limit.map(|limit| limit.paces()),
            judge_duplicates: false,
        };
        let ids = IdHasher::default();
        let mut order: Vec<_> = (0..devices).map(|number| format!("device-{number:06}")).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut order);
        Ok(Self { analytics: Analytics::new(settings, 1, ids.clone()), ids, order, turn: 0 })
    }

    /// Sends an event of each device, and returns the CPU time of one in nanoseconds.
    fn send(&mut self) -> Result<f64, String> {
        let Self { analytics, ids, order, turn } = self;
        *turn += 1;
        let now = Now { mono_ns: *turn * 1_000_000_000, wall_us: 0 };
        let values = [40.0 + number(*turn % 3), 1000.0];
        let (mut points, before) = (Vec::new(), cpu_ns()?);
        let (gate, writer) = (analytics.gate(0, now), analytics.writer(0, now, order.len()));
        for names in order.chunks(EVENTS_PER_HOLD) {
            let mut group = [Arrived::default(); EVENTS_PER_HOLD];
            for (place, name) in group.iter_mut().zip(names) {
                let event = Event {
                    device_id: Some(name.as_bytes()),
                    timestamp: *turn,
                    present: FieldSet::from_bits(3),
                    values: &values,
                    ..Event::default()
                };
                *place = Arrived { event, hash: ids.hash_of(&event), index: 0 };
            }
            let group = group.get(..names.len()).unwrap_or_default();
            if gate.as_ref().is_some_and(|gate| gate.admit(group) != [0; EVENTS_PER_HOLD]) {
                return Err("an event within the limit was rejected".to_owned());
            }
            if !writer.apply(group, &mut points).is_none() {
                return Err("an event got no verdict".to_owned());
            }
        }
        Ok(number(cpu_ns()?.saturating_sub(before)) / number(order.len() as u64))
    }
}

fn cpu_ns() -> Result<u64, String> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let parts = [u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec)];
    let [Ok(seconds), Ok(ns)] = parts else {
        return Err("the clock of this thread is before its beginning".to_owned());
    };
    Ok(seconds * 1_000_000_000 + ns)
}

fn event(device: &str, number: u64) -> Vec<u8> {
    let body = format!(r#"{{"device_id":"{device}","timestamp":{number},"cpu":41.5,"rps":1200}}"#);
    post(body.as_bytes())
}

/// Starts a server of one core whose devices have this limit.
fn server(limit: &str) -> Result<Server, String> {
    let flags =
        ["--listen", "127.0.0.1:0", "--workers", "1", "--pin", "off", "--log-level", "error"];
    let all = ["corepulse"].into_iter().chain(flags).chain(["--device-limit", limit]);
    let arguments = Arguments::try_parse_from(all).map_err(|e| e.to_string())?;
    let config = Config::check(&arguments).map_err(|e| e.to_string())?;
    Server::start(&config).map_err(|e| e.to_string())
}

/// Returns the 99th percentile of the latency of polite devices, in microseconds, and the number of
/// events that a hot one beside them has sent for each that it may.
fn latency(has_hot: bool, seconds: u64) -> Result<(f64, f64), String> {
    let limit = format!("{PER_SECOND}:1");
    let server = server(&limit)?;
    let address = server.bound().internet().ok_or("the server has no port")?;
    let connect = || HttpClient::connect(address);
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    let outcome = thread::scope(|scope| {
        let hot = scope.spawn(|| {
            let (mut client, mut sent) = (connect(), 0_u64);
            while has_hot && !is_over.load(Ordering::Relaxed) {
                sent += 1;
                client.request(&event("hot", sent));
            }
            sent
        });
        let mut clients: Vec<HttpClient> = (0..POLITE).map(|_| connect()).collect();
        let mut taken_ns = Vec::new();
        let every = Duration::from_secs(1) / (PER_SECOND as u32 / 2 * POLITE as u32);
        let mut due = begun;
        for round in 1..=seconds * PER_SECOND / 2 {
            for (device, client) in clients.iter_mut().enumerate() {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += every;
                let sent = Instant::now();
                let status = client.request(&event(&format!("polite-{device}"), round)).status;
                taken_ns.push(sent.elapsed().as_nanos() as u64);
                if status != 202 {
                    return Err(format!("a polite device got {status}"));
                }
            }
        }
        let elapsed = begun.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        let sent = hot.join().map_err(|_| "the hot device panicked")?;
        taken_ns.sort_unstable();
        let at = taken_ns.len() * 99 / 100;
        let p99_ns = taken_ns.get(at).copied().ok_or("nothing was measured")?;
        Ok((number(p99_ns) / 1e3, number(sent) / (elapsed * number(PER_SECOND))))
    });
    let report = server.drain(|_| {});
    if report.threads_failed > 0 {
        return Err(format!("{} threads of the server failed", report.threads_failed));
    }
    outcome
}

fn run(options: &Options) -> Result<(), String> {
    let mut cases: Vec<(Devices, Vec<f64>)> = Vec::new();
    for limit in LIMITS {
        let mut devices = Devices::new(options.devices, limit)?;
        // Each has a window from which it is judged.
        for _ in 0..20 {
            devices.send()?;
        }
        cases.push((devices, Vec::new()));
    }
    for _ in 0..options.rounds {
        for (devices, times) in &mut cases {
            times.push(devices.send()?);
        }
    }
    println!("CPU time of an event of one of {} devices, in ns", options.devices);
    let mut costs = Vec::new();
    for (limit, (_, times)) in LIMITS.iter().zip(&cases) {
        let spread = Spread::of(times.iter().copied());
        println!("{:46}{}", if limit.is_empty() { "no limit" } else { limit }, spread.text(0));
        costs.push(json!({"limit": limit, "cpu_ns": times}));
    }
    let (mut alone, mut beside, mut times_over) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        alone.push(latency(false, options.seconds)?.0);
        let (p99_us, over) = latency(true, options.seconds)?;
        beside.push(p99_us);
        times_over.push(over);
    }
    let ratios: Vec<_> = beside.iter().zip(&alone).map(|(one, other)| one / other).collect();
    println!("\n99th percentile of the latency of {POLITE} polite devices, in µs");
    for (name, values) in
        [("by themselves", &alone), ("beside a hot one", &beside), ("ratio in a round", &ratios)]
    {
        println!("{name:46}{}", Spread::of(values.iter().copied()).text(2));
    }
    let over = Spread::of(times_over.iter().copied()).text(0);
    println!("{:46}{over}", "its limit, so many times");
    options.records.keep(
        "device-limits",
        json!({
            "devices": options.devices,
            "costs": costs,
            "p99_us": {"alone": alone, "beside": beside},
            "times_over": times_over,
        }),
    )
}

pub fn main() -> ExitCode {
    record::end("device-limits", run(&Options::parse()))
}
