//! What idle connections cost: memory each, and the time of those that are active beside them.
//!
//! For each engine two servers run on the first core: one with thousands of connections that have
//! posted once and are idle since, one without. The same 64 active connections are driven against
//! both by turns.
//!
//! ```text
//! cargo build --release --workspace && target/release/idle-connections
//! ```

use clap::Parser;
use core_affinity::CoreId;
use corepulse_perf::generator::drive;
use corepulse_perf::program::{self, Records};
use corepulse_perf::report::Spread;
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::{Kind, Server};
use corepulse_perf::tally::Outcome;
use corepulse_perf::usage::Usage;
use corepulse_perf::{idle, machine};
use percore::descriptors;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Before anything is measured: the first pages of every buffer, the tables of a first use.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures idle connections.
#[derive(Debug, Parser)]
struct Options {
    /// Values of the server's `--engine`.
    #[arg(long, value_delimiter = ',', default_value = "percore")]
    engines: Vec<String>,
    /// Connections that post once and are idle.
    #[arg(
        long,
        default_value_t = 15_000,
        value_parser = clap::value_parser!(u32).range(1..=200_000)
    )]
    connections: u32,
    /// Keep-alive connections that are active.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    active: u16,
    /// How often each server is driven.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The record's name after its date.
    #[arg(long, default_value = "idle-connections")]
    name: String,
    #[command(flatten)]
    records: Records,
}

/// What was found of one engine.
struct Found {
    engine: String,
    /// By which the resident memory of the server grew with the idle connections.
    grown_bytes: u64,
    /// By which that of the other grew with as many metrics over one connection.
    metrics_bytes: u64,
    rounds: Vec<Round>,
}

/// One drive beside the idle connections and one without.
struct Round {
    beside: Drive,
    without: Drive,
}

#[derive(Clone, Copy)]
struct Drive {
    cpu_us: f64,
    rate: f64,
}

fn main() -> ExitCode {
    program::end("idle-connections", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    let folder = &program::folder()?;
    let needed = u64::from(options.connections) + u64::from(options.active) + 200;
    // The servers inherit it.
    let granted = descriptors::raise_limit();
    if granted < needed {
        return Err(format!("needs {needed} open files, and the system grants {granted}"));
    }
    let core = program::leave_first_core()?;
    let mut found = Vec::new();
    for engine in &options.engines {
        let measured = of_engine(options, engine, folder, core);
        found.push(measured.map_err(|e| format!("{engine}: {e}"))?);
    }
    print!("{}", table(options, &found));
    options.records.keep(&options.name, || record(options, &found))
}

fn of_engine(
    options: &Options,
    engine: &str,
    folder: &Path,
    core: Option<CoreId>,
) -> Result<Found, String> {
    let (beside, without) = (start(engine, folder, core)?, start(engine, folder, core)?);
    let active = usize::from(options.active);
    for server in [&beside, &without] {
        drive(server.address, Scenario::Single, active, WARM_UP)?;
    }
    let connections = options.connections as usize;
    let before = Usage::of(beside.id())?;
    let mut idle = idle::open(beside.address, connections)?;
    let grown_bytes = growth(beside.id(), &before)?;
    let before = Usage::of(without.id())?;
    idle::post_in_turn(without.address, connections)?;
    let metrics_bytes = growth(without.id(), &before)?;
    eprintln!("{engine}: {:.0} bytes a connection", ratio(grown_bytes, options.connections));
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        let round = round(options, number, &beside, &without)?;
        let ratio = round.beside.cpu_us / round.without.cpu_us;
        eprintln!("{engine}, round {number}: CPU a request {ratio:.3} of that without");
        rounds.push(round);
    }
    let open = idle::still_open(&mut idle)?;
    if open < connections {
        return Err(format!("of {connections} idle connections {open} are still open"));
    }
    Ok(Found { engine: engine.to_owned(), grown_bytes, metrics_bytes, rounds })
}

fn start(engine: &str, folder: &Path, core: Option<CoreId>) -> Result<Server, String> {
    let own = ["--engine", engine, "--idle-timeout", "1h", "--max-connection-age", "0s"];
    let arguments = [Kind::Corepulse.arguments(), &own].concat();
    Server::start_with(Kind::Corepulse, &arguments, folder, core)
}

fn growth(id: u32, before: &Usage) -> Result<u64, String> {
    Ok(Usage::of(id)?.resident_bytes.saturating_sub(before.resident_bytes))
}

/// Drives both, the one first that was second the last time.
fn round(
    options: &Options,
    number: u16,
    beside: &Server,
    without: &Server,
) -> Result<Round, String> {
    if number.is_multiple_of(2) {
        let beside = drive_once(options, beside)?;
        Ok(Round { beside, without: drive_once(options, without)? })
    } else {
        let without = drive_once(options, without)?;
        Ok(Round { beside: drive_once(options, beside)?, without })
    }
}

fn drive_once(options: &Options, server: &Server) -> Result<Drive, String> {
    let before = Usage::of(server.id())?;
    let duration = Duration::from_secs(options.seconds);
    let active = usize::from(options.active);
    let outcome = drive(server.address, Scenario::Single, active, duration)?;
    let usage = Usage::of(server.id())?.since(&before);
    let Outcome { requests, accepted, elapsed, .. } = outcome;
    if accepted != requests {
        return Err(format!("accepted {accepted} of {requests} events"));
    }
    let requests = number(requests);
    let cpu_us = usage.cpu.as_secs_f64() * 1e6 / requests;
    Ok(Drive { cpu_us, rate: requests / elapsed.as_secs_f64() })
}

/// Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

fn ratio(bytes: u64, connections: u32) -> f64 {
    number(bytes) / f64::from(connections)
}

const HEAD: &str = "\
| engine | bytes a connection | of it the metric | CPU µs/request beside them | without | ratio \
| requests/s beside them | without | ratio |
|---|---|---|---|---|---|---|---|---|
";

/// A Markdown table: medians, in brackets the smallest and the largest; the ratios are of a round.
fn table(options: &Options, found: &[Found]) -> String {
    let row = |found: &Found| {
        let of = |value: fn(&Round) -> f64| Spread::of(found.rounds.iter().map(value));
        format!(
            "| {} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} |\n",
            found.engine,
            ratio(found.grown_bytes, options.connections),
            ratio(found.metrics_bytes, options.connections),
            of(|round| round.beside.cpu_us).text(2),
            of(|round| round.without.cpu_us).text(2),
            of(|round| round.beside.cpu_us / round.without.cpu_us).text(2),
            of(|round| round.beside.rate).text(0),
            of(|round| round.without.rate).text(0),
            of(|round| round.beside.rate / round.without.rate).text(2),
        )
    };
    found.iter().fold(HEAD.to_owned(), |text, found| text + &row(found))
}

fn record(options: &Options, found: &[Found]) -> Value {
    let drive = |drive: &Drive| {
        let Drive { cpu_us, rate } = drive;
        json!({ "cpu_us_per_request": cpu_us, "requests_per_second": rate })
    };
    let rounds = |rounds: &[Round]| -> Vec<Value> {
        let rows = rounds.iter().enumerate().map(|(number, round)| {
            let (beside, without) = (drive(&round.beside), drive(&round.without));
            json!({ "round": number, "beside": beside, "without": without })
        });
        rows.collect()
    };
    let rows = found.iter().map(|found| {
        json!({
            "engine": found.engine,
            "connections": options.connections,
            "active": options.active,
            "grown_bytes": found.grown_bytes,
            "metrics_bytes": found.metrics_bytes,
            "bytes_per_connection": ratio(found.grown_bytes, options.connections),
            "rounds": rounds(&found.rounds),
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
    fn the_table_has_a_row_for_each_engine() {
        let drive = |cpu_us, rate| Drive { cpu_us, rate };
        let round = Round { beside: drive(9.0, 90.0), without: drive(6.0, 120.0) };
        let found = Found {
            engine: "percore".to_owned(),
            grown_bytes: 30_000,
            metrics_bytes: 7_500,
            rounds: vec![round],
        };
        let options = Options::parse_from(["idle-connections", "--connections", "100"]);
        let text = table(&options, &[found]);
        assert_eq!(
            text.lines().nth(2),
            Some(
                "| percore | 300 | 75 | 9.00 (9.00–9.00) | 6.00 (6.00–6.00) | 1.50 (1.50–1.50) \
                 | 90 (90–90) | 120 (120–120) | 0.75 (0.75–0.75) |"
            )
        );
    }
}
