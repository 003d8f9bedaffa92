//! How long polite clients wait beside one that sends 10,000 requests at once, again and again.
//!
//! The server has the first core, with one worker; the clients have the second. Fifty polite
//! connections post one metric after the other, some 2,000 a second in all; in every round once
//! alone, and once beside the greedy connection.
//!
//! ```text
//! cargo build --release --workspace && target/release/greedy
//! ```

use clap::Parser;
use corepulse_perf::idle::{self, Requests};
use corepulse_perf::program::{self, Records};
use corepulse_perf::report::Spread;
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::{Kind, Server};
use corepulse_perf::{answers, machine};
use rustix::process::setpriority_process;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the greedy connection sends at once.
const AT_ONCE: usize = 10_000;

/// Between two polite requests, in microseconds.
const PAUSE_US: std::ops::RangeInclusive<u64> = 200..=600;

/// The lowest priority that a thread can have.
const NICENESS_MAX: i32 = 19;

/// Measures the wait of polite clients.
#[derive(Debug, Parser)]
struct Options {
    /// The server's `--engine`.
    #[arg(long, default_value = "percore")]
    engine: String,
    /// Polite connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    polite: u16,
    /// How often each is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The record's name after its date.
    #[arg(long, default_value = "greedy")]
    name: String,
    #[command(flatten)]
    records: Records,
}

/// What polite clients saw in one go, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Waits {
    requests: usize,
    median: f64,
    p99: f64,
}

/// Alone, and beside the greedy one, with the requests a second that it was answered meanwhile.
struct Round {
    quiet: Waits,
    beside: Waits,
    greedy_rate: f64,
}

fn main() -> ExitCode {
    program::end("greedy", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    let folder = &program::folder()?;
    let core = program::leave_first_core()?;
    let arguments = [Kind::Corepulse.arguments(), &["--engine", &options.engine]].concat();
    let server = Server::start_with(Kind::Corepulse, &arguments, folder, core)?;
    let mut polite = idle::open(server.address, usize::from(options.polite))?;
    let duration = Duration::from_secs(options.seconds);
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        let quiet = be_polite(server.address, &mut polite, duration)?;
        let (beside, greedy_rate) = be_both(server.address, &mut polite, duration)?;
        let (p99, beside_p99) = (quiet.p99, beside.p99);
        eprintln!("round {number}: p99 {p99:.0} µs alone, {beside_p99:.0} µs beside");
        rounds.push(Round { quiet, beside, greedy_rate });
    }
    print!("{}", table(&rounds));
    options.records.keep(&options.name, || record(options, &rounds))
}

fn be_both(
    address: SocketAddr,
    polite: &mut [TcpStream],
    duration: Duration,
) -> Result<(Waits, f64), String> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let greedy = scope.spawn(|| be_greedy(address, &is_over));
        let waits = be_polite(address, polite, duration);
        is_over.store(true, Ordering::Relaxed);
        let rate = greedy.join().map_err(|_| "the greedy client panicked")?;
        Ok((waits?, rate?))
    })
}

/// Posts in turn over all connections, each request after the answer to the one before.
fn be_polite(
    address: SocketAddr,
    connections: &mut [TcpStream],
    duration: Duration,
) -> Result<Waits, String> {
    let mut requests = Requests::new(address, Scenario::Device);
    let (start, mut waits) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        for stream in &mut *connections {
            thread::sleep(Duration::from_micros(fastrand::u64(PAUSE_US)));
            let request = requests.make();
            let asked = Instant::now();
            idle::post(stream, request)?;
            waits.push(asked.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(Waits::of(waits))
}

/// Sends as many requests at once, reads all answers, and begins again; how many a second.
fn be_greedy(address: SocketAddr, is_over: &AtomicBool) -> Result<f64, String> {
    let fault = |e: std::io::Error| format!("the greedy client: {e}");
    // This thread's, and its writer's: the polite ones shall wait for the server, not for these.
    setpriority_process(None, NICENESS_MAX).map_err(|e| e.to_string())?;
    let mut stream = TcpStream::connect(address).map_err(fault)?;
    stream.set_read_timeout(Some(idle::ANSWER_MAX)).map_err(fault)?;
    let mut writer = stream.try_clone().map_err(fault)?;
    let request = Requests::new(address, Scenario::Single).make().to_vec();
    // All answers are alike but for their date: their length tells how many have come.
    let answer_bytes = first_answer(&mut stream, &request)?;
    let series = request.repeat(AT_ONCE);
    let (start, mut answered) = (Instant::now(), 0.0);
    let mut chunk = vec![0; 256 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        let mut left = AT_ONCE * answer_bytes;
        thread::scope(|scope| {
            let sending = scope.spawn(|| writer.write_all(&series));
            while left > 0 {
                let length = stream.read(&mut chunk).map_err(fault)?;
                left = left.checked_sub(length).ok_or("more answers than requests")?;
                if length == 0 {
                    return Err("the greedy client was closed".to_owned());
                }
            }
            let sent = sending.join().map_err(|_| "the greedy client panicked")?;
            sent.map_err(fault)
        })?;
        answered += f64::from(u32::try_from(AT_ONCE).unwrap_or(0));
    }
    Ok(answered / start.elapsed().as_secs_f64())
}

fn first_answer(stream: &mut TcpStream, request: &[u8]) -> Result<usize, String> {
    stream.write_all(request).map_err(|e| e.to_string())?;
    let (mut received, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut chunk).map_err(|e| e.to_string())?;
        received.extend(chunk.iter().take(length));
        if let Some(answer) = answers::first(&received)? {
            return Ok(answer.length);
        }
    }
}

impl Waits {
    fn of(mut waits: Vec<f64>) -> Self {
        waits.sort_by(f64::total_cmp);
        let at = |hundredths: usize| {
            let place = waits.len() * hundredths / 100;
            waits.get(place.min(waits.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        Self { requests: waits.len(), median: at(50), p99: at(99) }
    }
}

fn table(rounds: &[Round]) -> String {
    let of = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let greedy = of(|round| round.greedy_rate).text(0);
    format!(
        "| polite clients | median µs | p99 µs |\n|---|---|---|\n\
         | alone | {} | {} |\n| beside the greedy one | {} | {} |\n| ratio | {} | {} |\n\n\
         the greedy one had {greedy} requests a second answered\n",
        of(|round| round.quiet.median).text(0),
        of(|round| round.quiet.p99).text(0),
        of(|round| round.beside.median).text(0),
        of(|round| round.beside.p99).text(0),
        of(|round| round.beside.median / round.quiet.median).text(2),
        of(|round| round.beside.p99 / round.quiet.p99).text(2),
    )
}

fn record(options: &Options, rounds: &[Round]) -> Value {
    let waits = |waits: &Waits| {
        let Waits { requests, median, p99 } = waits;
        json!({ "requests": requests, "median_us": median, "p99_us": p99 })
    };
    let rows = rounds.iter().enumerate().map(|(number, round)| {
        json!({
            "round": number,
            "engine": options.engine,
            "polite": options.polite,
            "quiet": waits(&round.quiet),
            "beside": waits(&round.beside),
            "greedy_requests_per_second": round.greedy_rate,
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

    #[test]
    fn of_a_hundred_waits_the_last_is_the_p99() {
        let waits = Waits::of((1..=100_u8).rev().map(f64::from).collect());
        assert_eq!(waits, Waits { requests: 100, median: 51.0, p99: 100.0 });
    }
}
