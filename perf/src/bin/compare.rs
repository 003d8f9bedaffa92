//! Compares servers: CPU time per request, side by side, in one interleaved run.
//!
//! Prints a Markdown table and writes the raw numbers to `target/perf/`, or with `--record` to
//! `perf/record/`.
//!
//! ```text
//! cargo build --release --workspace && make peers && target/release/compare --redis
//! ```

use clap::{Parser, ValueEnum};
use corepulse_perf::contest::{Contender, Contest, Prepared};
use corepulse_perf::cores::{Cores, run_on};
use corepulse_perf::devices::{DEVICES_MAX, Devices, Order};
use corepulse_perf::drive::oha::RATE_MAX;
use corepulse_perf::drive::{Generator, Load};
use corepulse_perf::measurement::{Heat, Measurement, Store};
use corepulse_perf::prepare::{Memory, raise_descriptor_limit};
use corepulse_perf::record::{self, Records};
use corepulse_perf::report;
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::Kind;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use testkit::Redis;

/// The server's `--max-devices`, unless it is told another.
const DEVICES_DEFAULT: u32 = 100_000;

/// Measures servers beside each other.
#[derive(Debug, Parser)]
struct Options {
    /// Servers, in order; the first is what the others are compared with. Unless they are named,
    /// all that are built.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Kinds of requests.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "single,device,pipelined,ndjson"
    )]
    scenarios: Vec<Scenario>,
    /// Measure those that can write to Redis with one as well, beside the first server.
    #[arg(long)]
    redis: bool,
    /// Offer every server so many requests a second, instead of as many as it answers.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    rate: Option<u32>,
    /// Offer every server this share of what it answers at most, up to what `--rate` can be.
    #[arg(long, conflicts_with = "rate", value_parser = share)]
    share: Option<f64>,
    /// Measure a server that runs on this machine, at `http://ADDRESS`, instead of starting any.
    #[arg(long, conflicts_with_all = ["servers", "redis"], value_parser = loopback)]
    url: Option<SocketAddr>,
    /// Rounds: in each, every scenario is driven against every server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Workers of corepulse; with several numbers, one server of each.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    workers: Vec<u16>,
    /// Devices with full windows at corepulse; with several numbers, one server of each.
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX))
    )]
    devices: Vec<u32>,
    /// The orders in which these send.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "in-turn")]
    orders: Vec<Order>,
    /// Idle connections to corepulse; with several numbers, one server of each.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0",
        value_parser = clap::value_parser!(u32).range(0..=25_000)
    )]
    idle: Vec<u32>,
    /// A page, such as `/analyze`: another server is asked for it beside the load.
    #[arg(long, value_name = "PAGE")]
    beside: Option<String>,
    /// Requests for that page, each second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    asks: u32,
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

fn main() -> ExitCode {
    let options = Options::parse();
    record::end("compare", options.show.as_ref().map_or_else(|| compare(&options), show))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a share above 0, 1 at most".to_owned())
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
    raise_descriptor_limit();
    let workers = options.workers.iter().copied().max().unwrap_or(1);
    let cores = Cores::share(workers.into(), options.threads.into());
    let start_redis = || run_on(cores.redis, || Ok(Redis::start(&["--appendonly", "no"])));
    let mut contest = Contest {
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
        share: options.share,
        asks_per_second: options.asks,
        attached: options.attach.clone(),
        notes: Vec::new(),
        memory: Vec::new(),
        cores,
    };
    contest.note(contest.cores.note.clone());
    let contenders = contenders(options, &mut contest)?;
    let measurements = run(options, &mut contest, &contenders)?;
    let memory: Vec<String> = contest.memory.iter().map(Memory::text).collect();
    contest.notes.extend(memory);
    println!("{}{}", report::table(&measurements), contest.notes.join("\n"));
    let record = json!({
        "notes": contest.notes,
        "memory": contest.memory,
        "measurements": measurements,
    });
    options.records.keep(&options.name, record)
}

/// Measures in each round, under each of the conditions, every server that takes part.
fn run(
    options: &Options,
    contest: &mut Contest,
    contenders: &[Contender],
) -> Result<Vec<Measurement>, String> {
    let heats = heats(options);
    let mut kept: Vec<Option<Prepared>> = contenders.iter().map(|_| None).collect();
    let mut measurements = Vec::new();
    for round in 0..usize::from(options.rounds) {
        for &heat in &heats {
            let mut entrants = entrants(contenders, heat.store);
            let mut measured = Vec::new();
            // Whoever was first in a round is last in the next.
            let first = round % entrants.len();
            entrants.rotate_left(first);
            for at in entrants {
                let (Some(contender), Some(kept)) = (contenders.get(at), kept.get_mut(at)) else {
                    continue;
                };
                let measurement = contest.measure(heat, contender, round, kept)?;
                let (name, cpu_us) = (measurement.heat(), measurement.cpu_us_per_request);
                eprintln!("round {round}: {name}, {}: {cpu_us:.2} µs", contender.label);
                measured.push((at, measurement));
            }
            // In the order of the servers again.
            measured.sort_by_key(|(at, _)| *at);
            measurements.extend(measured.into_iter().map(|(_, measurement)| measurement));
        }
    }
    Ok(measurements)
}

fn heats(options: &Options) -> Vec<Heat> {
    let stores = if options.redis { &[Store::Memory, Store::Redis][..] } else { &[Store::Memory] };
    let mut heats = Vec::new();
    for &scenario in &options.scenarios {
        for &order in &options.orders {
            heats.extend(stores.iter().map(|&store| Heat { scenario, order, store }));
        }
    }
    heats
}

/// Returns who takes part: with Redis those that write to it, and whom they are compared with.
fn entrants(contenders: &[Contender], store: Store) -> Vec<usize> {
    let writes = |at: usize| contenders.get(at).and_then(|c| c.kind).is_some_and(Kind::writes);
    (0..contenders.len()).filter(|&at| store == Store::Memory || at == 0 || writes(at)).collect()
}

/// Returns the servers asked for, or all; those that cannot be had are left out, and that is said.
fn contenders(options: &Options, contest: &mut Contest) -> Result<Vec<Contender>, String> {
    if let Some(address) = options.url {
        let label = address.to_string();
        return Ok(vec![Contender { label, address: Some(address), ..Contender::default() }]);
    }
    let all = Kind::value_variants();
    let kinds = if options.servers.is_empty() { all } else { &options.servers };
    let mut found: Vec<Contender> = Vec::new();
    for &kind in kinds {
        if let Some(why) = kind.missing() {
            let is_needed = !options.servers.is_empty() || matches!(kind, Kind::Floor);
            if is_needed && kind != Kind::GoSeed {
                return Err(format!("{}: {why}", kind.name()));
            }
            contest.note(format!("{}: {why}, left out", kind.name()));
            continue;
        }
        match kind {
            Kind::Corepulse => found.extend(variants(options)),
            _ => found.push(Contender {
                label: kind.name().to_owned(),
                kind: Some(kind),
                ..Contender::default()
            }),
        }
    }
    number(&mut found);
    if found.is_empty() { Err("no server is left".to_owned()) } else { Ok(found) }
}

/// Returns corepulse with each number of workers, devices and idle connections, and beside each
/// another that is asked for a page.
fn variants(options: &Options) -> Vec<Contender> {
    let fleets: Vec<Option<u32>> = match &options.devices[..] {
        [] => vec![None],
        devices => devices.iter().copied().map(Some).collect(),
    };
    let mut found = Vec::new();
    for &workers in &options.workers {
        for &devices in &fleets {
            for &idle in &options.idle {
                let mut label = vec![Kind::Corepulse.name().to_owned()];
                label.extend((options.workers.len() > 1).then(|| format!("{workers} workers")));
                label.extend(devices.map(|devices| format!("{devices} devices")));
                label.extend((idle > 0).then(|| format!("{idle} idle")));
                // One worker is pinned from outside, as every server; several pin themselves.
                let pin =
                    if options.workers.iter().all(|&workers| workers == 1) { "off" } else { "on" };
                let max_devices = devices.unwrap_or(0).max(DEVICES_DEFAULT);
                let lasting = "--max-connection-age 0s --idle-timeout 1h";
                let own = format!(
                    "--workers {workers} --pin {pin} --max-devices {max_devices} {} {}",
                    if idle > 0 { lasting } else { "" },
                    options.arguments
                );
                let contender = Contender {
                    label: label.join(", "),
                    kind: Some(Kind::Corepulse),
                    arguments: own.split_whitespace().map(str::to_owned).collect(),
                    devices,
                    idle,
                    ..Contender::default()
                };
                found.push(contender.clone());
                found.extend(options.beside.as_ref().map(|page| Contender {
                    label: format!("{} beside {page}", contender.label),
                    asked: Some(page.clone()),
                    ..contender
                }));
            }
        }
    }
    found
}

/// Puts a number behind the name of a server that is measured more than once.
fn number(contenders: &mut [Contender]) {
    let labels: Vec<String> = contenders.iter().map(|c| c.label.clone()).collect();
    for (at, contender) in contenders.iter_mut().enumerate() {
        let before = labels.iter().take(at).filter(|label| **label == contender.label).count();
        if before > 0 {
            contender.label = format!("{} #{}", contender.label, before + 1);
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
        found.into_iter().map(|contender| contender.label).collect()
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
            &["--rate", "1000", "--share", "0.5"],
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
        let of = |kind| Contender { kind: Some(kind), ..Contender::default() };
        let contenders = kinds.map(of);
        assert_eq!(entrants(&contenders, Store::Memory), [0, 1, 2, 3]);
        assert_eq!(entrants(&contenders, Store::Redis), [0, 2, 3]);
    }
}
