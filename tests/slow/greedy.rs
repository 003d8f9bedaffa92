//! Polite clients beside greedy ones, which want more than their share of the server's time.
//!
//! Fifty polite connections post one metric after the other, some 2,000 a second in all: in every
//! round once alone, and once beside each of the attacks, which go on without a pause. None of
//! their requests may fail, and no greedy client that reads its responses may be closed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepulse::limits::DEFLATE_BLOCKS_MAX;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::setpriority_process;
use testkit::http_client::{metric, post_with};
use testkit::{HttpClient, Server, post};

use super::{batch_request, percentile, single_request};

const ROUNDS: usize = 5;
const POLITE_CONNECTIONS: usize = 50;
const GREEDY_CONNECTIONS: usize = 2;

/// Between two polite requests, in microseconds.
const PAUSE_US: std::ops::RangeInclusive<u64> = 200..=600;

/// The lowest priority that a thread can have.
const NICENESS_MAX: i32 = 19;

/// The interval in which a greedy client looks for the end of the test.
const TICK: Duration = Duration::from_millis(50);

/// The most that a body may be after inflation, by default.
const BODY_BYTES: usize = 1024 * 1024;

/// Events that a request may have.
const EVENTS: usize = 10_000;

/// A block of DEFLATE with tables of its own and nothing in it, from the lowest bit on.
const EMPTY_BLOCK: u128 = 0x04d5_ff10_0000_0000_0081_c004;
const EMPTY_BLOCK_BITS: usize = 91;

/// A way to want more than one's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Bodies that inflate, from connections that are closed as soon as they are sent.
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

    /// Returns what a connection sends again and again.
    fn series(self) -> Vec<u8> {
        match self {
            Self::Pipelined => single_request().repeat(10_000),
            Self::Batches => batch_request(1000).repeat(16),
            Self::Inflating | Self::Leaving => {
                gzip_request(&"{\"cpu\":1,\"rps\":1}\n".repeat(EVENTS)).repeat(80)
            }
            Self::Literals => {
                let member = "\"cpu\":1.70000000000000003862e308,";
                let members = member.repeat(BODY_BYTES / member.len() - 1);
                gzip_request(&format!("{{{members}\"rps\":1}}")).repeat(80)
            }
            Self::Tables => {
                // Behind them a stored block, the last, which is empty.
                let bit = |at: usize| u8::from(EMPTY_BLOCK >> (at % EMPTY_BLOCK_BITS) & 1 == 1);
                let byte = |at: usize| (0..8).fold(0, |byte, of| byte | bit(8 * at + of) << of);
                let blocks: Vec<u8> = (0..EMPTY_BLOCK_BITS).map(byte).collect();
                let blocks = blocks.repeat((DEFLATE_BLOCKS_MAX - 1) / 8);
                let body = [&blocks[..], b"\x01\0\0\xff\xff"].concat();
                post_with("Content-Encoding: deflate\r\n", &body).repeat(4)
            }
        }
    }

    /// Attacks until it is over, and returns how many responses came, or how many connections were
    /// made where none is read.
    fn run(self, address: SocketAddr, series: &[u8], is_over: &AtomicBool) -> u64 {
        match self {
            Self::Leaving => send_and_leave(address, series, is_over),
            _ => send_and_read(address, series, is_over),
        }
    }
}

fn gzip_request(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_bytes()).unwrap();
    post_with("Content-Encoding: gzip\r\n", &encoder.finish().unwrap())
}

/// Lowers the priority of a greedy client: the polite ones shall wait for the server, not for it.
fn yield_to_others() {
    setpriority_process(None, NICENESS_MAX).unwrap();
}

/// Sends without end while it reads all responses; returns how many.
fn send_and_read(address: SocketAddr, series: &[u8], is_over: &AtomicBool) -> u64 {
    yield_to_others();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TICK)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            yield_to_others();
            // The reader ends it, in the middle of a request.
            while !is_over.load(Ordering::Relaxed) && writer.write_all(series).is_ok() {}
        });
        let responses = count_responses(&mut stream, is_over);
        stream.shutdown(Shutdown::Both).unwrap();
        responses.expect("a greedy client is not closed")
    })
}

fn count_responses(stream: &mut TcpStream, is_over: &AtomicBool) -> std::io::Result<u64> {
    let (mut responses, mut chunk) = (0, vec![0; 256 * 1024]);
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            // One that is divided between two reads is one that is not counted.
            Ok(bytes) => {
                let starts = chunk[..bytes].windows(9).filter(|it| *it == b"HTTP/1.1 ");
                responses += starts.count() as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(responses)
}

/// Connects, sends all of it and leaves, again and again; returns how often.
fn send_and_leave(address: SocketAddr, series: &[u8], is_over: &AtomicBool) -> u64 {
    yield_to_others();
    let mut connections = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_write_timeout(Some(TICK)).unwrap();
        // The bytes that the server does not take by then are not sent.
        let _ = stream.write_all(series);
        connections += 1;
    }
    connections
}

/// Posts in turn over all connections, each request after the response to the one before; returns
/// how long each took, in microseconds.
fn post_politely(clients: &mut [HttpClient], duration: Duration) -> Vec<f64> {
    let (start, mut waits) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        for (number, client) in clients.iter_mut().enumerate() {
            thread::park_timeout(Duration::from_micros(fastrand::u64(PAUSE_US)));
            let request = post(metric(&format!("polite-{number}"), 1_700_000_000).as_bytes());
            let sent = Instant::now();
            let response = client.request(&request);
            waits.push(sent.elapsed().as_secs_f64() * 1e6);
            assert_eq!(response.status, 202, "{response:?}");
        }
    }
    waits
}

fn print_row(name: &str, waits: &mut [f64], quiet_p99: f64, greedy: &str) {
    let (median, p99) = (percentile(waits, 50), percentile(waits, 99));
    println!("| {name} | {median:.0} | {p99:.0} | {:.1} | {greedy} |", p99 / quiet_p99);
}

/// A flag that is set when it goes out of scope, also by a panic: the greedy ones have to end.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_polite_request_fails_beside_greedy_clients() {
    // No connection is closed for its age or its silence, however long it takes.
    let age = ["--max-connection-age", "0s", "--idle-timeout", "1h"];
    let server = Server::start(&[&["--workers", "1"], &age[..]].concat());
    let address = server.address;
    let duration = super::seconds(3);
    let mut polite: Vec<_> = (0..POLITE_CONNECTIONS).map(|_| server.client()).collect();
    let mut quiet = Vec::new();
    let mut beside = Attack::ALL.map(|attack| (attack, Vec::new(), 0));
    for round in 0..ROUNDS {
        quiet.extend(post_politely(&mut polite, duration));
        for (attack, waits, responses) in &mut beside {
            eprintln!("round {round}: {attack:?}");
            let (series, is_over) = (attack.series(), AtomicBool::new(false));
            thread::scope(|scope| {
                let run = || attack.run(address, &series, &is_over);
                let greedy: Vec<_> = (0..GREEDY_CONNECTIONS).map(|_| scope.spawn(run)).collect();
                let over = SetOnDrop(&is_over);
                waits.extend(post_politely(&mut polite, duration));
                drop(over);
                for client in greedy {
                    *responses += client.join().expect("a greedy client gets its responses");
                }
            });
        }
    }
    println!(
        "| beside polite clients | median µs | p99 µs | p99, times that alone | responses to the \
         greedy ones a second |\n|---|---|---|---|---|"
    );
    let quiet_p99 = percentile(&mut quiet, 99);
    print_row("nobody", &mut quiet, quiet_p99, "");
    for (attack, waits, responses) in &mut beside {
        let rate = *responses as f64 / (duration.as_secs_f64() * ROUNDS as f64);
        print_row(&format!("{attack:?}"), waits, quiet_p99, &format!("{rate:.0}"));
        assert!(*responses > 0, "{attack:?}: the greedy ones were kept out");
    }
}

#[test]
fn an_attack_is_small_and_says_much() {
    for attack in Attack::ALL {
        let series = attack.series();
        assert!(series.starts_with(b"POST /metrics HTTP/1.1\r\n"), "{attack:?}");
        assert!(series.len() < 3 * BODY_BYTES, "{attack:?}: {} bytes", series.len());
    }
}
