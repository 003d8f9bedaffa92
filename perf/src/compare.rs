//! Compares servers: CPU time per request, side by side, in one interleaved run.

use crate::comparison::{Candidate, Comparison, Prepared};
use crate::cores::{Cores, run_on};
use crate::devices::{DEVICES_MAX, Devices, Order};
use crate::drive::open_loop::RATE_MAX;
use crate::generator::{Generator, Load};
use crate::measurement::{Conditions, Measurement, Store};
use crate::record::{self, Records};
use crate::report;
use crate::scenario::Scenario;
use crate::server::{Kind, Stores};
use crate::traffic::Dialect;
use clap::{Parser, ValueEnum, value_parser};
use serde_json::json;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use testkit::Redis;

/// Measures servers beside each other.
#[derive(Debug, Parser)]
struct Options {
    /// Servers; the first is what the others are compared with. Without names, all that are built.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Kinds of requests.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::USUAL)]
    scenarios: Vec<Scenario>,
    /// Measure those that can write to Redis with one as well, beside the first server.
    #[arg(long)]
    redis: bool,
    /// Offer every server so many requests a second, instead of as many as it answers.
    #[arg(long, value_parser = value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    rate: Option<u32>,
    /// Offer every server so many per cent of what it answers at most, as is found in the first
    /// round, up to what `--rate` can be.
    #[arg(long, conflicts_with = "rate", value_parser = value_parser!(u32).range(1..=100))]
    percent: Option<u32>,
    /// Measure a server that runs on this machine, at `http://ADDRESS`, instead of starting any.
    #[arg(long, conflicts_with_all = ["servers", "redis"], value_parser = loopback)]
    url: Option<SocketAddr>,
    /// Rounds: in each, every scenario is driven against every server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: u16,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
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
    /// A page, such as `/analyze`, or several with blanks between them: another server is asked for
    /// it once a second by each of ten browsers beside the load.
    #[arg(long, value_name = "PAGE")]
    beside: Option<String>,
    /// Have so many further replicas of corepulse in a fleet with each one that is measured, which
    /// then writes to Redis, and is not measured without.
    #[arg(long, default_value_t = 0, requires = "redis")]
    replicas: u16,
    /// Further arguments of corepulse, in one: `--arguments="--engine may-minihttp"`; given several
    /// times, one server of each.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    arguments: Vec<String>,
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

pub fn main() -> ExitCode {
    let options = Options::parse();
    let show = |path| record::measurements(path).map(|all| print!("{}", report::table(&all)));
    record::end("compare", options.show.as_ref().map_or_else(|| compare(&options), show))
}

/// Returns the address in a URL. A load is nothing to send to others.
fn loopback(url: &str) -> Result<SocketAddr, String> {
    let address = url.strip_prefix("http://").map(|url| url.trim_end_matches('/'));
    let address = address.and_then(|address| address.parse().ok());
    let is_ours = |address: &SocketAddr| address.ip().is_loopback();
    address.filter(is_ours).ok_or("expected a loopback address: http://127.0.0.1:8080".to_owned())
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
            dialect: Dialect::default(),
            devices: Devices::default(),
            connections: options.connections,
            threads: options.threads,
            seconds: options.seconds,
            rate: options.rate,
        },
        percent: options.percent,
        replicas: options.replicas,
        fleets: 0,
        rates: Vec::new(),
        attached: options.attach.clone(),
        notes: vec![cores.note.clone()],
        memory: Vec::new(),
        cores,
    };
    let candidates = candidates(options, &mut comparison.notes)?;
    let _stores = Stores;
    let measurements = run(options, &mut comparison, &candidates)?;
    let Comparison { notes, memory, .. } = &comparison;
    println!("{}{}", report::table(&measurements), notes.join("\n"));
    let record = json!({ "notes": notes, "memory": memory, "measurements": measurements });
    options.records.keep(&options.name, record)
}

/// Measures in each round, under each of the conditions, every server that takes part.
fn run(
    options: &Options,
    comparison: &mut Comparison,
    candidates: &[Candidate],
) -> Result<Vec<Measurement>, String> {
    let stores = match options.redis {
        true if options.replicas > 0 => &[Store::Redis][..],
        true => &[Store::Memory, Store::Redis],
        false => &[Store::Memory],
    };
    let mut conditions = Vec::new();
    for &scenario in &options.scenarios {
        for &order in &options.orders {
            conditions.extend(stores.iter().map(|&store| Conditions { scenario, order, store }));
        }
    }
    let mut kept: HashMap<(&str, bool, Vec<String>), Option<Prepared>> = HashMap::new();
    let mut measurements = Vec::new();
    for round in 0..options.rounds {
        for &conditions in &conditions {
            let mut all: Vec<_> = participants(candidates, conditions).collect();
            // Whoever was first in a round is last in the next.
            let first = round % all.len().max(1);
            all.rotate_left(first);
            for candidate in all {
                let (writes, own) =
                    (conditions.store == Store::Redis, conditions.scenario.arguments());
                let kept = kept.entry((&candidate.label, writes, own)).or_default();
                let name = format!("{}, {}", conditions.scenario.name(), candidate.label);
                let measured = comparison.measure(conditions, candidate, kept);
                let measured = measured.map_err(|e| format!("{name}: {e}"))?;
                eprintln!("round {round}: {name}: {:.2} µs", measured.cpu_us_per_request);
                measurements.push(Measurement { round, ..measured });
            }
        }
    }
    if measurements.is_empty() { Err("no server takes part".to_owned()) } else { Ok(measurements) }
}

/// Returns who takes part: those that take such requests; with Redis those that write to it, and
/// whom they are compared with.
fn participants(
    candidates: &[Candidate],
    conditions: Conditions,
) -> impl Iterator<Item = &Candidate> {
    let Conditions { scenario, store, .. } = conditions;
    let takes_part = move |(at, candidate): &(usize, &Candidate)| {
        let writes = *at == 0 || candidate.kind.is_some_and(Kind::writes);
        (store == Store::Memory || writes) && candidate.kind.is_none_or(|kind| kind.takes(scenario))
    };
    candidates.iter().enumerate().filter(takes_part).map(|(_, candidate)| candidate)
}

/// Returns the servers asked for, or all; those that cannot be had are left out, and that is said.
fn candidates(options: &Options, notes: &mut Vec<String>) -> Result<Vec<Candidate>, String> {
    let mut found: Vec<Candidate> = Vec::new();
    if let Some(address) = options.url {
        let label = address.to_string();
        found.push(Candidate { label, address: Some(address), ..Candidate::default() });
        return Ok(found);
    }
    let all = Kind::value_variants();
    for &kind in if options.servers.is_empty() { all } else { &options.servers } {
        let missing = kind.missing().map(|why| format!("{}: {why}", kind.name()));
        match (missing, kind) {
            (Some(why), _) if options.servers.is_empty() => notes.push(why),
            (Some(why), _) => return Err(why),
            (None, Kind::Corepulse) => found.extend(variants(options)),
            (None, _) => {
                let (label, kind) = (kind.name().to_owned(), Some(kind));
                found.push(Candidate { label, kind, ..Candidate::default() });
            }
        }
    }
    number(&mut found);
    if found.is_empty() { Err("no server is left".to_owned()) } else { Ok(found) }
}

/// Returns corepulse with each number of workers, devices and idle connections and each of the
/// further arguments, and beside each another that is asked for a page.
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
                for arguments in &options.arguments {
                    let mut label = Kind::Corepulse.name().to_owned();
                    let mut own = format!("--workers {workers} --pin {pin} {arguments}");
                    if options.workers.len() > 1 {
                        label += &format!(", {workers} workers");
                    }
                    if let Some(devices) = devices {
                        label += &format!(", {devices} devices");
                        own += &format!(" --max-devices {}", devices.max(100_000));
                    }
                    if idle > 0 {
                        label += &format!(", {idle} idle");
                        own += " --max-connection-age 0s --idle-timeout 1h";
                    }
                    if options.arguments.len() > 1 && !arguments.is_empty() {
                        label += &format!(", {arguments}");
                    }
                    let arguments = own.split_whitespace().map(str::to_owned).collect();
                    let kind = Some(Kind::Corepulse);
                    let plain =
                        Candidate { label, kind, arguments, devices, idle, ..Candidate::default() };
                    let beside = options.beside.clone().map(|page| {
                        let label = format!("{} beside {page}", plain.label);
                        Candidate { label, page: Some(page), ..plain.clone() }
                    });
                    found.push(plain);
                    found.extend(beside);
                }
            }
        }
    }
    found
}

/// Puts a number behind the name of a server that is measured more than once.
fn number(candidates: &mut [Candidate]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for candidate in candidates {
        let count = seen.entry(candidate.label.clone()).or_default();
        *count += 1;
        if *count > 1 {
            candidate.label += &format!(" #{count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels of corepulse twice.
    fn labels(arguments: &[&str]) -> Vec<String> {
        let options = Options::try_parse_from([&["compare"], arguments].concat()).unwrap();
        let mut found = [variants(&options), variants(&options)].concat();
        number(&mut found);
        found.into_iter().map(|candidate| candidate.label).collect()
    }

    #[test]
    fn no_other_machine_is_loaded_and_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        for wrong in [
            &["--url", "http://192.0.2.1:8080"][..],
            &["--url", "http://127.0.0.1:8080/metrics"],
            &["--url", "http://127.0.0.1:8080", "--redis"],
            &["--rate", "1000", "--percent", "50"],
            &["--rate", "50001"],
        ] {
            assert!(Options::try_parse_from([&["compare"], wrong].concat()).is_err(), "{wrong:?}");
        }
        assert_eq!(loopback("http://[::1]:81/"), Ok("[::1]:81".parse().unwrap()));
    }

    #[test]
    fn each_combination_is_a_server_and_the_second_of_a_kind_has_a_number() {
        assert_eq!(labels(&[]), ["corepulse", "corepulse #2"]);
        let pages = labels(&["--workers", "1,2", "--beside", "/analyze"]);
        assert_eq!(pages[1], "corepulse, 1 workers beside /analyze");
        assert_eq!((pages.len(), pages[6].as_str()), (8, "corepulse, 2 workers #2"));
        let states = labels(&["--devices", "10,20", "--idle", "0,5"]);
        assert_eq!(states[..2], ["corepulse, 10 devices", "corepulse, 10 devices, 5 idle"]);
        let judges = labels(&["--arguments=", "--arguments=--novelty on"]);
        assert_eq!(judges[..2], ["corepulse", "corepulse, --novelty on"]);
    }

    #[test]
    fn those_take_part_that_take_it_and_write_to_redis() {
        use Kind::{Corepulse, Floor, GoSeed, Hyper, VictoriaMetrics};
        let kinds = [Floor, Hyper, Corepulse, GoSeed, VictoriaMetrics];
        let all = kinds.map(|kind| Candidate { kind: Some(kind), ..Candidate::default() });
        let kinds_in = |scenario, store| -> Vec<Kind> {
            let conditions = Conditions { scenario, order: Order::InTurn, store };
            participants(&all, conditions).filter_map(|candidate| candidate.kind).collect()
        };
        let lines = Scenario::LineProtocol;
        assert_eq!(kinds_in(Scenario::Ndjson, Store::Memory), kinds);
        assert_eq!(kinds_in(Scenario::Ndjson, Store::Redis), [Floor, Corepulse, GoSeed]);
        assert_eq!(kinds_in(Scenario::Array, Store::Memory), kinds[..4]);
        assert_eq!(kinds_in(lines, Store::Memory), [Floor, Corepulse, VictoriaMetrics]);
        assert_eq!(kinds_in(lines, Store::Redis), [Floor, Corepulse]);
    }
}
