//! How long polite clients wait beside clients that want more than their share.
//!
//! The server has the first core, with one worker; the clients have the second. Fifty polite
//! connections post one metric after the other, some 2,000 a second in all; in every round once
//! alone, and once beside each of the attacks, which go on without a pause.
//!
//! ```text
//! cargo build --release --workspace && target/release/greedy [--attack inflating --greedy 16]
//! ```

use clap::{Parser, ValueEnum};
use corepulse::limits::DEFLATE_BLOCKS_MAX;
use corepulse_perf::cores::Cores;
use corepulse_perf::idle::{self, Requests};
use corepulse_perf::record::{self as records, Records};
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::Kind;
use corepulse_perf::summary::Spread;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::setpriority_process;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two polite requests, in microseconds.
const PAUSE_US: std::ops::RangeInclusive<u64> = 200..=600;

/// The lowest priority that a thread can have.
const NICENESS_MAX: i32 = 19;

/// A greedy reader looks this often whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// What a body may be after inflation, by default.
const BODY_BYTES: usize = 1024 * 1024;

/// Events that a request may have.
const EVENTS: usize = 10_000;

/// A block of DEFLATE with tables of its own and nothing in it, from the lowest bit on.
const EMPTY_BLOCK: u128 = 0x04d5_ff10_0000_0000_0081_c004;
const EMPTY_BLOCK_BITS: usize = 91;

/// Measures the wait of polite clients.
#[derive(Debug, Parser)]
struct Options {
    /// The server's `--engine`.
    #[arg(long, default_value = "percore")]
    engine: String,
    /// What the greedy ones do; all of it, one after the other, unless told.
    #[arg(long)]
    attack: Vec<Attack>,
    /// Greedy connections.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    greedy: u16,
    /// Polite connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    polite: u16,
    /// How often each is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
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

/// A way to want more than one's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Attack {
    /// 10,000 small requests at once.
    Pipelined,
    /// Pipelined bodies of three kilobytes that inflate to as many events as a request may have.
    Inflating,
    /// Pipelined batches of 1,000 events, as they are.
    Batches,
    /// Pipelined bodies that inflate to numbers that are hard to read, in repeated members.
    Literals,
    /// Pipelined bodies of blocks that hold nothing but tables, as many as are taken.
    Tables,
    /// What inflates, from connections that are closed as soon as it is sent.
    Leaving,
}

impl Attack {
    const ALL: [Self; 6] = [
        Self::Pipelined,
        Self::Inflating,
        Self::Batches,
        Self::Literals,
        Self::Tables,
        Self::Leaving,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Pipelined => "pipelined",
            Self::Inflating => "inflating",
            Self::Batches => "batches",
            Self::Literals => "literals",
            Self::Tables => "tables",
            Self::Leaving => "leaving",
        }
    }

    /// What a connection sends, again and again.
    fn series(self, address: SocketAddr) -> Result<Vec<u8>, String> {
        Ok(match self {
            Self::Pipelined => Requests::new(address, Scenario::Single).make().repeat(10_000),
            Self::Batches => Requests::new(address, Scenario::Ndjson).make().repeat(16),
            Self::Inflating | Self::Leaving => {
                zipped(&"{\"cpu\":1,\"rps\":1}\n".repeat(EVENTS))?.repeat(80)
            }
            Self::Literals => {
                let member = "\"cpu\":1.70000000000000003862e308,";
                let members = member.repeat(BODY_BYTES / member.len() - 1);
                zipped(&format!("{{{members}\"rps\":1}}"))?.repeat(80)
            }
            Self::Tables => {
                // Behind them a stored block, the last, which is empty.
                let bit = |at: usize| u8::from(EMPTY_BLOCK >> (at % EMPTY_BLOCK_BITS) & 1 == 1);
                let byte = |at: usize| (0..8).fold(0, |byte, of| byte | bit(8 * at + of) << of);
                let blocks: Vec<u8> = (0..EMPTY_BLOCK_BITS).map(byte).collect();
                let blocks = blocks.repeat((DEFLATE_BLOCKS_MAX - 1) / 8);
                posted("deflate", &[&blocks[..], b"\x01\0\0\xff\xff"].concat()).repeat(4)
            }
        })
    }
}

/// A POST of this body in gzip.
fn zipped(body: &str) -> Result<Vec<u8>, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_bytes()).map_err(|e| e.to_string())?;
    Ok(posted("gzip", &encoder.finish().map_err(|e| e.to_string())?))
}

/// A POST of this body, which is in this coding.
fn posted(coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /metrics HTTP/1.1\r\nHost: greedy\r\nContent-Encoding: {coding}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// What polite clients saw in one go, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Waits {
    requests: usize,
    median: f64,
    p99: f64,
}

/// Alone, and beside each attack.
struct Round {
    quiet: Waits,
    beside: Vec<Beside>,
}

struct Beside {
    attack: Attack,
    waits: Waits,
    /// Answers a second that the greedy ones had, or connections that they made.
    greedy_rate: f64,
}

fn main() -> ExitCode {
    records::end("greedy", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    let core = Cores::share(1, 1).server;
    let arguments = ["--workers", "1", "--pin", "off", "--engine", &options.engine];
    let server = Kind::Corepulse.start(&arguments, core)?;
    let mut polite = idle::open(server.address, usize::from(options.polite))?;
    let duration = Duration::from_secs(options.seconds);
    let attacks = if options.attack.is_empty() { &Attack::ALL[..] } else { &options.attack };
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        let quiet = be_polite(server.address, &mut polite, duration)?;
        eprintln!("round {number}: p99 {:.0} µs alone", quiet.p99);
        let mut beside = Vec::new();
        for &attack in attacks {
            let measured = be_both(attack, options.greedy, server.address, &mut polite, duration)?;
            eprintln!("round {number}: p99 {:.0} µs, {}", measured.waits.p99, attack.name());
            beside.push(measured);
        }
        rounds.push(Round { quiet, beside });
    }
    print!("{}", table(&rounds, attacks));
    options.records.keep(&options.name, record(options, &rounds))
}

fn be_both(
    attack: Attack,
    connections: u16,
    address: SocketAddr,
    polite: &mut [TcpStream],
    duration: Duration,
) -> Result<Beside, String> {
    let is_over = AtomicBool::new(false);
    let series = attack.series(address)?;
    thread::scope(|scope| {
        let be_greedy = || match attack {
            Attack::Leaving => send_and_leave(address, &series, &is_over),
            _ => send_and_read(address, &series, &is_over),
        };
        let greedy: Vec<_> = (0..connections).map(|_| scope.spawn(be_greedy)).collect();
        let waits = be_polite(address, polite, duration);
        is_over.store(true, Ordering::Relaxed);
        let mut greedy_rate = 0.0;
        for client in greedy {
            greedy_rate += client.join().map_err(|_| "a greedy client panicked")??;
        }
        Ok(Beside { attack, waits: waits?, greedy_rate })
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

/// The polite ones shall wait for the server, not for these threads.
fn yield_to_others() -> Result<(), String> {
    setpriority_process(None, NICENESS_MAX).map_err(|e| e.to_string())
}

fn fault(error: &std::io::Error) -> String {
    format!("a greedy client: {error}")
}

/// Sends without end while it reads all answers; how many a second.
fn send_and_read(address: SocketAddr, series: &[u8], is_over: &AtomicBool) -> Result<f64, String> {
    yield_to_others()?;
    let mut stream = TcpStream::connect(address).map_err(|e| fault(&e))?;
    stream.set_read_timeout(Some(LOOK)).map_err(|e| fault(&e))?;
    let mut writer = stream.try_clone().map_err(|e| fault(&e))?;
    thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<(), String> {
            yield_to_others()?;
            // The reader ends it, in the middle of a request.
            while !is_over.load(Ordering::Relaxed) && writer.write_all(series).is_ok() {}
            Ok(())
        });
        let read = count_answers(&mut stream, is_over);
        stream.shutdown(Shutdown::Both).map_err(|e| fault(&e))?;
        sending.join().map_err(|_| "a greedy client panicked")??;
        read
    })
}

fn count_answers(stream: &mut TcpStream, is_over: &AtomicBool) -> Result<f64, String> {
    let (start, mut answers) = (Instant::now(), 0_u32);
    let mut chunk = vec![0; 256 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut chunk) {
            Ok(0) => return Err("a greedy client was closed".to_owned()),
            // One that is divided between two reads is one that is not counted.
            Ok(length) => {
                let starts = chunk.get(..length).unwrap_or_default().windows(9);
                answers += u32::try_from(starts.filter(|it| *it == b"HTTP/1.1 ").count())
                    .unwrap_or(u32::MAX);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(fault(&error)),
        }
    }
    Ok(f64::from(answers) / start.elapsed().as_secs_f64())
}

/// Connects, sends all of it and leaves, again and again; how often a second.
fn send_and_leave(address: SocketAddr, series: &[u8], is_over: &AtomicBool) -> Result<f64, String> {
    yield_to_others()?;
    let (start, mut times) = (Instant::now(), 0_u32);
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).map_err(|e| fault(&e))?;
        stream.set_write_timeout(Some(LOOK)).map_err(|e| fault(&e))?;
        // What the server does not take by then is not sent.
        let _ = stream.write_all(series);
        times += 1;
    }
    Ok(f64::from(times) / start.elapsed().as_secs_f64())
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

fn table(rounds: &[Round], attacks: &[Attack]) -> String {
    let of = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let (median, p99) = (of(&|it| it.quiet.median).text(0), of(&|it| it.quiet.p99).text(0));
    let mut text = "| polite clients | median µs | p99 µs | p99, times that alone | \
                    answers to the greedy ones a second |\n|---|---|---|---|---|\n"
        .to_owned();
    let _ = writeln!(text, "| alone | {median} | {p99} | 1 |  |");
    for (place, attack) in attacks.iter().enumerate() {
        let beside = |value: fn(&Beside) -> f64| {
            of(&|round| round.beside.get(place).map_or(f64::NAN, value)).text(0)
        };
        let ratio = of(&|round| {
            round.beside.get(place).map_or(f64::NAN, |it| it.waits.p99 / round.quiet.p99)
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            attack.name(),
            beside(|it| it.waits.median),
            beside(|it| it.waits.p99),
            ratio.text(1),
            beside(|it| it.greedy_rate)
        );
    }
    text
}

fn record(options: &Options, rounds: &[Round]) -> Value {
    let waits = |waits: &Waits| {
        let Waits { requests, median, p99 } = waits;
        json!({ "requests": requests, "median_us": median, "p99_us": p99 })
    };
    let mut rows = Vec::new();
    for (number, round) in rounds.iter().enumerate() {
        for Beside { attack, waits: beside, greedy_rate } in &round.beside {
            rows.push(json!({
                "round": number,
                "engine": options.engine,
                "polite": options.polite,
                "greedy": options.greedy,
                "attack": attack.name(),
                "quiet": waits(&round.quiet),
                "beside": waits(beside),
                "greedy_answers_per_second": greedy_rate,
            }));
        }
    }
    json!({ "measurements": rows })
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
    fn what_is_sent_is_small_and_says_much() {
        let address = ([127, 0, 0, 1], 80).into();
        for attack in Attack::ALL {
            let series = attack.series(address).unwrap();
            assert!(series.starts_with(b"POST /metrics HTTP/1.1\r\n"), "{attack:?}");
            assert!(series.len() < 2 * BODY_BYTES, "{attack:?}: {} bytes", series.len());
        }
    }

    #[test]
    fn of_a_hundred_waits_the_last_is_the_p99() {
        let waits = Waits::of((1..=100_u8).rev().map(f64::from).collect());
        assert_eq!(waits, Waits { requests: 100, median: 51.0, p99: 100.0 });
    }
}
