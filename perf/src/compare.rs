//! Compares servers: CPU time per request, side by side, in one interleaved run.
//!
//! Prints a Markdown table and writes the raw numbers to `target/perf/`, or with `--record` to
//! `perf/record/`.

use crate::comparison::{Candidate, Comparison, Prepared};
use crate::cores::{Cores, run_on};
use crate::devices::{DEVICES_MAX, Devices, Order};
use crate::drive::oha::RATE_MAX;
use crate::generator::{Generator, Load};
use crate::measurement::{Conditions, Measurement, Store};
use crate::preparation::Memory;
use crate::record::{self, Records};
use crate::report;
use crate::scenario::Scenario;
use crate::server::Kind;
use clap::{Parser, ValueEnum, value_parser};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use testkit::Redis;

/// The server's `--max-devices`, unless it is told another.
const DEVICES_DEFAULT: u32 = 100_000;

const ALL_SCENARIOS: &str = "single,device,pipelined,ndjson";

/// Measures servers beside each other.
#[derive(Debug, Parser)]
struct Options {
    /// Servers, in order; the first is what the others are compared with. Unless they are named,
    /// all that are built.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Kinds of requests.
    #[arg(long, value_enum, value_delimiter = ',', default_value = ALL_SCENARIOS)]
    scenarios: Vec<Scenario>,
    /// Measure those that can write to Redis with one as well, beside the first server.
    #[arg(long)]
    redis: bool,
    /// Offer every server so many requests a second, instead of as many as it answers.
    #[arg(long, value_parser = value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    rate: Option<u32>,
    /// Offer every server so many per cent of what it answers at most, up to what `--rate` can be.
    #[arg(long, conflicts_with = "rate", value_parser = value_parser!(u32).range(1..=100))]
    percent: Option<u32>,
    /// Measure a server that runs on this machine, at `http://ADDRESS`, instead of starting any.
    #[arg(long, conflicts_with_all = ["servers", "redis"], value_parser = loopback)]
    url: Option<SocketAddr>,
    /// Rounds: in each, every scenario is driven against every server.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Workers of corepulse; with several numbers, one server of each.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    workers: Vec<u16>,
    /// Devices with full windows at corepulse; with several numbers, one server of each.
    #[arg(long, value_delimiter = ',', value_parser = value_parser!(u32).range(1..=DEVICES_MAX))]
    devices: Vec<u32>,
    /// The orders in which these send.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "in-turn")]
    orders: Vec<Order>,
    /// Idle connections to corepulse; with several numbers, one server of each.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    idle: Vec<u32>,
    /// A page, such as `/analyze`: another server is asked for it beside the load.
    #[arg(long, value_name = "PAGE")]
    beside: Option<String>,
    /// Further arguments of corepulse, in one: `--arguments="--engine may-minihttp"`.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    arguments: String,
    /// A command to run beside each load; `PID` in its environment is the server's.
    #[arg(long, value_name = "COMMAND")]
    attach: Option<String>,
    /// Print the table of this record instead of measuring anything.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// The record's name after its date.
    #[arg(long, default_value = "compare")]
    name: String,
    #[command(flatten)]
    records: Records,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let options = Options::parse();
    record::end("compare", options.show.as_ref().map_or_else(|| compare(&options), show))
}

/// Returns the address in a URL. A load is nothing to send to others.
fn loopback(url: &str) -> Result<SocketAddr, String> {
    let address =
        url.strip_prefix("http://").and_then(|url| url.trim_end_matches('/').parse().ok());
    let address: Option<SocketAddr> = address.filter(|at: &SocketAddr| at.ip().is_loopback());
    address.ok_or_else(|| "expected a loopback address, such as http://127.0.0.1:8080".to_owned())
}

/// Prints the table of a record.
fn show(path: &PathBuf) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    print!("{}", report::table(&record::measurements(&text)?));
    Ok(())
}

fn compare(options: &Options) -> Result<(), String> {
    percore::descriptors::raise_limit();
    let workers = options.workers.iter().copied().max().unwrap_or(1);
    let cores = Cores::share(workers.into(), options.threads.into());
    let start_redis = || run_on(cores.redis, || Ok(Redis::start(&["--appendonly", "no"])));
    let mut comparison = Comparison {
        redis: options.redis.then(start_redis).transpose()?,
        generator: Generator::new(cores.generator)?,
        load: Load {
            scenario: Scenario::Single,
            devices: Devices::default(),
            connections: options.connections,
            threads: options.threads,
            seconds: options.seconds,
            rate: options.rate,
        },
        percent: options.percent,
        attached: options.attach.clone(),
        notes: Vec::new(),
        memory: Vec::new(),
        cores,
    };
    comparison.note(comparison.cores.note.clone());
    let candidates = candidates(options, &mut comparison)?;
    let measurements = run(options, &mut comparison, &candidates)?;
    let memory: Vec<String> = comparison.memory.iter().map(Memory::text).collect();
    comparison.notes.extend(memory);
    println!("{}{}", report::table(&measurements), comparison.notes.join("\n"));
    let record = json!({
        "notes": comparison.notes,
        "memory": comparison.memory,
        "measurements": measurements,
    });
    options.records.keep(&options.name, record)
}

/// Measures in each round, under each of the conditions, every server that takes part.
fn run(
    options: &Options,
    comparison: &mut Comparison,
    candidates: &[Candidate],
) -> Result<Vec<Measurement>, String> {
    let mut kept: HashMap<(String, bool), Option<Prepared>> = HashMap::new();
    let mut measurements = Vec::new();
    for round in 0..usize::from(options.rounds) {
        for conditions in conditions(options) {
            let mut all: Vec<_> = participants(candidates, conditions.store).collect();
            // Whoever was first in a round is last in the next.
            let first = round % all.len();
            all.rotate_left(first);
            for candidate in all {
                let key = (candidate.label.clone(), conditions.store == Store::Redis);
                let kept = kept.entry(key).or_default();
                let measurement = comparison.measure(conditions, candidate, round, kept)?;
                let (name, cpu_us) = (measurement.conditions(), measurement.cpu_us_per_request);
                eprintln!("round {round}: {name}, {}: {cpu_us:.2} µs", candidate.label);
                measurements.push(measurement);
            }
        }
    }
    Ok(measurements)
}

fn conditions(options: &Options) -> Vec<Conditions> {
    let stores = if options.redis { &[Store::Memory, Store::Redis][..] } else { &[Store::Memory] };
    let mut conditions = Vec::new();
    for &scenario in &options.scenarios {
        for &order in &options.orders {
            conditions.extend(stores.iter().map(|&store| Conditions { scenario, order, store }));
        }
    }
    conditions
}

/// Returns who takes part: with Redis those that write to it, and whom they are compared with.
fn participants(candidates: &[Candidate], store: Store) -> impl Iterator<Item = &Candidate> {
    let takes_part = move |(at, candidate): &(usize, &Candidate)| {
        store == Store::Memory || *at == 0 || candidate.kind.is_some_and(Kind::writes)
    };
    candidates.iter().enumerate().filter(takes_part).map(|(_, candidate)| candidate)
}

/// Returns the servers asked for, or all; those that cannot be had are left out, and that is said.
fn candidates(options: &Options, comparison: &mut Comparison) -> Result<Vec<Candidate>, String> {
    if let Some(address) = options.url {
        let label = address.to_string();
        return Ok(vec![Candidate { label, address: Some(address), ..Candidate::default() }]);
    }
    let all = Kind::value_variants();
    let kinds = if options.servers.is_empty() { all } else { &options.servers };
    let mut found: Vec<Candidate> = Vec::new();
    for &kind in kinds {
        if let Some(why) = kind.missing() {
            let is_needed = !options.servers.is_empty() || matches!(kind, Kind::Floor);
            if is_needed && kind != Kind::GoSeed {
                return Err(format!("{}: {why}", kind.name()));
            }
            comparison.note(format!("{}: {why}, left out", kind.name()));
            continue;
        }
        let (label, kind) = (kind.name().to_owned(), Some(kind));
        match kind {
            Some(Kind::Corepulse) => found.extend(variants(options)),
            _ => found.push(Candidate { label, kind, ..Candidate::default() }),
        }
    }
    number(&mut found);
    if found.is_empty() { Err("no server is left".to_owned()) } else { Ok(found) }
}

/// Returns corepulse with each number of workers, devices and idle connections, and beside each
/// another that is asked for a page.
fn variants(options: &Options) -> Vec<Candidate> {
    let mut fleets: Vec<Option<u32>> = options.devices.iter().copied().map(Some).collect();
    if fleets.is_empty() {
        fleets.push(None);
    }
    // One worker is pinned from outside, as every server; several pin themselves.
    let pin = if options.workers.iter().all(|&workers| workers == 1) { "off" } else { "on" };
    let mut found = Vec::new();
    for &workers in &options.workers {
        for &devices in &fleets {
            for &idle in &options.idle {
                let mut label = vec![Kind::Corepulse.name().to_owned()];
                label.extend((options.workers.len() > 1).then(|| format!("{workers} workers")));
                label.extend(devices.map(|devices| format!("{devices} devices")));
                label.extend((idle > 0).then(|| format!("{idle} idle")));
                let max_devices = devices.unwrap_or(0).max(DEVICES_DEFAULT);
                let lasting = "--max-connection-age 0s --idle-timeout 1h";
                let own = format!(
                    "--workers {workers} --pin {pin} --max-devices {max_devices} {} {}",
                    if idle > 0 { lasting } else { "" },
                    options.arguments
                );
                let candidate = Candidate {
                    label: label.join(", "),
                    kind: Some(Kind::Corepulse),
                    arguments: own.split_whitespace().map(str::to_owned).collect(),
                    devices,
                    idle,
                    ..Candidate::default()
                };
                found.push(candidate.clone());
                found.extend(options.beside.as_ref().map(|page| Candidate {
                    label: format!("{} beside {page}", candidate.label),
                    page: Some(page.clone()),
                    ..candidate
                }));
            }
        }
    }
    found
}

/// Puts a number behind the name of a server that is measured more than once.
fn number(candidates: &mut [Candidate]) {
    let labels: Vec<String> = candidates.iter().map(|c| c.label.clone()).collect();
    for (at, candidate) in candidates.iter_mut().enumerate() {
        let before = labels.iter().take(at).filter(|label| **label == candidate.label).count();
        if before > 0 {
            candidate.label = format!("{} #{}", candidate.label, before + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels of the servers of a command line, which all have to be built.
    fn labels(arguments: &[&str]) -> Vec<String> {
        let options = Options::try_parse_from([&["compare"], arguments].concat()).unwrap();
        let mut found = variants(&options);
        found.extend(variants(&options));
        number(&mut found);
        found.into_iter().map(|candidate| candidate.label).collect()
    }

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let options = Options::parse_from(["compare"]);
        assert!(options.servers.is_empty() && !options.redis);
        assert_eq!(options.scenarios, Scenario::value_variants());
        for wrong in [
            &["--url", "http://192.0.2.1:8080"][..],
            &["--url", "http://127.0.0.1:8080/metrics"],
            &["--url", "http://127.0.0.1:8080", "--redis"],
            &["--rate", "1000", "--percent", "50"],
            &["--rate", "50001"],
        ] {
            assert!(Options::try_parse_from([&["compare"], wrong].concat()).is_err(), "{wrong:?}");
        }
        let url = Options::parse_from(["compare", "--url", "http://[::1]:81/"]).url;
        assert_eq!(url, "[::1]:81".parse().ok());
    }

    #[test]
    fn each_combination_is_a_server_and_the_second_of_a_kind_has_a_number() {
        assert_eq!(labels(&[]), ["corepulse", "corepulse #2"]);
        let pages = labels(&["--workers", "1,2", "--beside", "/analyze"]);
        assert_eq!(pages[1], "corepulse, 1 workers beside /analyze");
        assert_eq!((pages.len(), pages[6].as_str()), (8, "corepulse, 2 workers #2"));
        let states = labels(&["--devices", "10,20", "--idle", "0,5"]);
        assert_eq!(states[..2], ["corepulse, 10 devices", "corepulse, 10 devices, 5 idle"]);
    }

    #[test]
    fn with_redis_those_that_write_are_measured_beside_the_first() {
        let kinds = [Kind::Floor, Kind::Hyper, Kind::Corepulse, Kind::GoSeed];
        let all = kinds.map(|kind| Candidate { kind: Some(kind), ..Candidate::default() });
        let kinds_in = |store| participants(&all, store).filter_map(|candidate| candidate.kind);
        assert!(kinds_in(Store::Memory).eq(kinds));
        assert!(kinds_in(Store::Redis).eq([Kind::Floor, Kind::Corepulse, Kind::GoSeed]));
    }
}
