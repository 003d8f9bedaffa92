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
use corepulse_perf::scenario::{Scenario, Traffic};
use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

/// Batches before anything is counted: 1,000 devices get full windows, and the store is full, so
/// that each event lets an older one go.
const WARM_UP_BATCHES: usize = 60;

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
    let mut server = OfflineServer::new(memory_store(Schema::standard()), Schema::standard());
    for turn in received(Scenario::Ndjson, WARM_UP_BATCHES) {
        server.turn(&turn);
    }
    // Memory that grows once, such as the buffer of a new kind of answer, has grown.
    turns.iter().take(1).for_each(|turn| _ = server.turn(turn));
    let accepted = accepted(&server);
    Prepared { server, turns, accepted, events: events as u64 }
}

/// Prepares so many turns of posts.
fn posts(scenario: Scenario, turns: usize) -> Prepared {
    let events = turns * scenario.requests_per_turn() * scenario.events_per_request();
    prepared(received(scenario, turns), events)
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
        _ => text.starts_with("HTTP/1.1 202 "),
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
