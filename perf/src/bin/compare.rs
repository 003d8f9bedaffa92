//! Compares servers: CPU time per request, side by side, in one interleaved run.
//!
//! Prints a Markdown table and keeps the raw numbers under `perf/record/`.
//!
//! ```text
//! cargo build --release --workspace && target/release/compare --rounds 5 --seconds 2
//! ```

use clap::Parser;
use core_affinity::CoreId;
use corepulse_perf::generator::drive;
use corepulse_perf::report::Measurement;
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::{Kind, Server};
use corepulse_perf::usage::Usage;
use corepulse_perf::{machine, report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Before a measurement: caches, branch predictors, the first pages of every buffer.
const WARM_UP: Duration = Duration::from_millis(300);

/// Measures servers beside each other.
#[derive(Debug, Parser)]
struct Options {
    /// Servers, in order; the first is what the others are compared with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "floor,corepulse")]
    servers: Vec<Kind>,
    /// What is sent.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "single,device,pipelined,ndjson"
    )]
    scenarios: Vec<Scenario>,
    /// How often each scenario is driven against each server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// The record's name after its date.
    #[arg(long, default_value = "compare")]
    name: String,
    /// Where records are kept.
    #[arg(long, default_value = "perf/record")]
    record: PathBuf,
    /// Print the table only.
    #[arg(long)]
    no_record: bool,
}

/// The first core for the servers, the second for the generator.
struct Cores {
    server: Option<CoreId>,
    generator: Option<CoreId>,
}

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("compare: {message}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = own.parent().ok_or("this program lies in no folder")?;
    let cores = cores();
    if cores.generator.is_some_and(|core| !core_affinity::set_for_current(core)) {
        return Err("cannot pin the generator".to_owned());
    }
    let labels = labels(&options.servers);
    let mut measurements = Vec::new();
    for round in 0..usize::from(options.rounds) {
        for &scenario in &options.scenarios {
            for (kind, label) in options.servers.iter().zip(&labels) {
                let measured = measure(options, *kind, scenario, folder, cores.server);
                let (outcome, usage) = measured.map_err(|e| format!("{label}: {e}"))?;
                let measurement =
                    Measurement { round, scenario, server: label.clone(), outcome, usage };
                let cpu_us = measurement.cpu_us();
                eprintln!("round {round}: {}, {label}: {cpu_us:.2} µs", scenario.name());
                measurements.push(measurement);
            }
        }
    }
    print!("{}", report::table(&measurements));
    if options.no_record {
        return Ok(());
    }
    let record = report::record(&machine::describe(), &measurements);
    let path = report::keep(&options.record, &options.name, &record)?;
    println!("\nraw numbers: {}", path.display());
    Ok(())
}

/// A fresh process for each measurement, so that none inherits another's memory.
fn measure(
    options: &Options,
    kind: Kind,
    scenario: Scenario,
    folder: &Path,
    core: Option<CoreId>,
) -> Result<(corepulse_perf::generator::Outcome, Usage), String> {
    let server = Server::start(kind, folder, core)?;
    let connections = usize::from(options.connections);
    drive(server.address, scenario, connections, WARM_UP)?;
    let before = Usage::of(server.id())?;
    let duration = Duration::from_secs(options.seconds);
    let outcome = drive(server.address, scenario, connections, duration)?;
    let usage = Usage::of(server.id())?.since(&before);
    let events = u64::try_from(scenario.events_per_request()).unwrap_or(0);
    let expected = outcome.requests * kind.accepted(events);
    if outcome.accepted != expected {
        return Err(format!("accepted {} of {expected} events", outcome.accepted));
    }
    Ok((outcome, usage))
}

fn cores() -> Cores {
    let mut ids = core_affinity::get_core_ids().unwrap_or_default().into_iter();
    let (first, second) = (ids.next(), ids.next());
    if second.is_none() {
        eprintln!("compare: one core only; server and generator share it");
        return Cores { server: None, generator: None };
    }
    Cores { server: first, generator: second }
}

/// Names, with a number behind a server that is measured more than once.
fn labels(servers: &[Kind]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for (at, kind) in servers.iter().enumerate() {
        let before = servers.iter().take(at).filter(|other| *other == kind).count();
        labels.push(match before {
            0 => kind.name().to_owned(),
            _ => format!("{} #{}", kind.name(), before + 1),
        });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let options = Options::parse_from(["compare"]);
        assert_eq!(options.servers, [Kind::Floor, Kind::Corepulse]);
        assert_eq!(options.scenarios, Scenario::value_variants());
    }

    #[test]
    fn a_server_measured_twice_has_a_number() {
        assert_eq!(labels(&[Kind::Floor, Kind::Floor]), ["floor", "floor #2"]);
    }
}
