//! Instructions of our own code for a request, an event and an `/analyze`: callgrind's count over
//! one core without a kernel, whose turns, connection and handler are those that serve.
//!
//! Seconds depend on the machine and its neighbours, instructions hardly do, so a change of some
//! per cent is seen at once. They are not time: a cache miss counts as one. `ci/instructions`
//! divides these totals by the requests or events in them and compares them with the record.

#![expect(missing_docs, reason = "the macros of gungraun make modules without any")]
#![expect(clippy::panic, reason = "a count over wrong answers must not be reported")]

use corepulse::schema::Schema;
use corepulse_perf::offline::{OfflineServer, START_MS, memory_store};
use corepulse_perf::scenario::Scenario;
use corepulse_perf::traffic::Traffic;
use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

/// Batches before anything is counted: 1,000 devices get full windows, and the store is full, so
/// that each event lets an older one go.
const WARM_UP_BATCHES: usize = 60;

/// Further batches for those that ask the second judge: it decides on alerts from the 76th event of
/// a series on.
const NOVELTY_BATCHES: usize = 20;

/// A server that has warmed up, and the input of the turns to count.
struct Prepared {
    server: OfflineServer,
    turns: Vec<Vec<u8>>,
    /// The events accepted before the count.
    accepted: u64,
    /// The events that the counted turns bring.
    events: u64,
}

fn accepted(server: &OfflineServer) -> u64 {
    server.state().store.stats().totals.accepted
}

fn received(scenario: Scenario, turns: usize) -> Vec<Vec<u8>> {
    let mut traffic = Traffic::new(scenario, "corepulse:8080", START_MS);
    let turn = |_| {
        let mut bytes = Vec::new();
        traffic.next_turn(&mut bytes);
        bytes
    };
    (0..turns).map(turn).collect()
}

fn prepared(turns: Vec<Vec<u8>>, events: usize) -> Prepared {
    let schema = Schema::standard();
    let server = OfflineServer::new(|ids| memory_store(schema, ids), schema);
    prepared_of(server, WARM_UP_BATCHES, turns, events)
}

/// Prepares turns for a server, which is warmed up by so many batches.
fn prepared_of(
    mut server: OfflineServer,
    batches: usize,
    turns: Vec<Vec<u8>>,
    events: usize,
) -> Prepared {
    for turn in received(Scenario::Ndjson, batches) {
        server.turn(&turn);
    }
    // Memory that grows once, such as the buffer of a new kind of answer, has grown. The first turn
    // repeats nothing: that would not be judged.
    turns.iter().rev().take(1).for_each(|turn| _ = server.turn(turn));
    let accepted = accepted(&server);
    Prepared { server, turns, accepted, events: events as u64 }
}

/// Prepares so many turns of posts.
fn posts(scenario: Scenario, turns: usize) -> Prepared {
    let events = turns * scenario.requests_per_turn() * scenario.events_per_request();
    prepared(received(scenario, turns), events)
}

/// Prepares as many turns as [`posts`] of NDJSON for a server with `--novelty on`.
fn novelty(turns: usize) -> Prepared {
    let schema = Schema::standard();
    let server = OfflineServer::with_novelty(|ids| memory_store(schema, ids), schema);
    let events = turns * Scenario::Ndjson.events_per_request();
    let turns = received(Scenario::Ndjson, turns);
    prepared_of(server, WARM_UP_BATCHES + NOVELTY_BATCHES, turns, events)
}

/// Prepares as many turns as [`posts`] of NDJSON, with the same events in line protocol and their
/// timestamps in nanoseconds, as most clients send them.
fn lines(turns: usize) -> Prepared {
    let turns = received(Scenario::Ndjson, turns);
    let events = turns.len() * Scenario::Ndjson.events_per_request();
    prepared(turns.iter().map(|turn| as_lines(&String::from_utf8_lossy(turn))).collect(), events)
}

/// Returns the events of a request in line protocol.
fn as_lines(request: &str) -> Vec<u8> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap_or_default();
    let line = |event: &str| {
        let value = |name: &str| {
            let (_, rest) = event.split_once(&format!("\"{name}\":")).unwrap_or_default();
            rest.split([',', '}']).next().unwrap_or_default().trim_matches('"').to_owned()
        };
        let [id, time, cpu, rps] = ["device_id", "timestamp", "cpu", "rps"].map(value);
        format!("m,device_id={id} cpu={cpu},rps={rps} {time}000000\n")
    };
    let body: String = body.lines().map(line).collect();
    let head = "POST /api/v2/write?org=o&bucket=b&precision=ns HTTP/1.1\r\nHost: a\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Prepares so many requests for the analytics of 1,000 devices.
fn analyze(turns: usize) -> Prepared {
    prepared(vec![b"GET /analyze HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(); turns], 0)
}

/// Checks the answer to one more turn, and that each event of the counted ones was accepted.
fn check(mut prepared: Prepared) {
    let took = accepted(&prepared.server) - prepared.accepted;
    let last = prepared.turns.last().map(|turn| prepared.server.turn(turn)).unwrap_or_default();
    let text = String::from_utf8_lossy(last);
    let is_right = match prepared.events {
        0 => text.starts_with("HTTP/1.1 200 ") && text.contains("\"devices\":1000"),
        _ => text.starts_with("HTTP/1.1 202 ") || text.starts_with("HTTP/1.1 204 "),
    };
    if !is_right || took != prepared.events {
        panic!("{took} events were accepted of {}, and the answer is {text}", prepared.events);
    }
}

#[library_benchmark(teardown = check)]
#[bench::single(posts(Scenario::Single, 4000))]
#[bench::device(posts(Scenario::Device, 4000))]
#[bench::pipelined(posts(Scenario::Pipelined, 500))]
#[bench::ndjson(posts(Scenario::Ndjson, 20))]
#[bench::novelty(novelty(20))]
#[bench::lines(lines(20))]
#[bench::analyze(analyze(100))]
fn turns(mut prepared: Prepared) -> Prepared {
    for turn in &prepared.turns {
        prepared.server.turn(turn);
    }
    prepared
}

library_benchmark_group!(name = instructions; benchmarks = turns);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = instructions
);
