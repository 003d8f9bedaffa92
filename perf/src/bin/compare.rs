//! Compares servers: CPU time per request, side by side, in one interleaved run.
//!
//! Prints a Markdown table and writes the raw numbers to `target/perf/`, or with `--record` to
//! `perf/record/`.
//!
//! ```text
//! cargo build --release --workspace && make peers && target/release/compare --redis
//! ```

use clap::{Parser, ValueEnum as _};
use corepulse_perf::contest::{Contest, Entry};
use corepulse_perf::cores::Cores;
use corepulse_perf::program::{self, Records};
use corepulse_perf::report::{Heat, Measurement, Store};
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::Kind;
use corepulse_perf::{machine, report};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Measures servers beside each other.
#[derive(Debug, Parser)]
struct Options {
    /// Servers, in order; the first is what the others are compared with. Unless they are named,
    /// all that are built.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// What is sent.
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
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
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
    #[command(flatten)]
    records: Records,
}

fn main() -> ExitCode {
    program::end("compare", compare(&Options::parse()))
}

fn compare(options: &Options) -> Result<(), String> {
    let folder = &program::folder()?;
    let mut notes = Vec::new();
    let entries = entries(&options.servers, folder, &mut notes)?;
    let mut note = |what| say(&mut notes, what);
    let cores = Cores::share(1, 1, &mut note);
    let redis = options.redis.then(|| cores.start_redis(&mut note)).transpose()?;
    cores.take_generator()?;
    let contest = Contest {
        folder,
        core: cores.server,
        redis: redis.as_ref(),
        connections: usize::from(options.connections),
        duration: Duration::from_secs(options.seconds),
    };
    let measurements = run(options, &contest, &entries, &mut notes)?;
    print!("{}\n{}", report::table(&measurements), notes.join("\n"));
    println!();
    options
        .records
        .keep(&options.name, || report::record(&machine::describe(), &notes, &measurements))
}

/// All rounds; in each, every heat against every server of it.
fn run(
    options: &Options,
    contest: &Contest,
    entries: &[Entry],
    notes: &mut Vec<String>,
) -> Result<Vec<Measurement>, String> {
    let mut heats = Vec::new();
    for heat in heats_of(&options.scenarios, options.redis) {
        let entrants = entrants(entries, heat.store);
        let rate = match options.rate {
            Some(rate) => Some(f64::from(rate)),
            None => contest.common_rate(heat, &entrants)?.map(|(rate, why)| {
                say(notes, why);
                rate
            }),
        };
        heats.push((heat, entrants, rate));
    }
    let mut measurements = Vec::new();
    for round in 0..usize::from(options.rounds) {
        for (heat, entrants, rate) in &heats {
            for entry in entrants {
                let measurement = contest.measure(*heat, entry, round, *rate)?;
                let (name, cpu_us) = (heat.name(), measurement.cpu_us());
                eprintln!("round {round}: {name}, {}: {cpu_us:.2} µs", entry.label);
                measurements.push(measurement);
            }
        }
    }
    let fell_behind = |m: &&Measurement| {
        let is_slow = m.offered.is_some_and(|rate| m.requests_per_second() < rate * 0.95);
        is_slow || m.dropped > 0
    };
    for m in measurements.iter().filter(fell_behind) {
        let (name, rate) = (m.heat.name(), m.requests_per_second());
        let kept = m.kept_share() * 100.0;
        notes.push(format!(
            "{name}, {}, round {}: {rate:.0} requests/s, {} of {} events dropped, {kept:.0} % kept",
            m.server, m.round, m.dropped, m.outcome.accepted,
        ));
    }
    Ok(measurements)
}

/// Says something at once and again below the table.
fn say(notes: &mut Vec<String>, what: String) {
    eprintln!("compare: {what}");
    notes.push(what);
}

fn heats_of(scenarios: &[Scenario], with_redis: bool) -> Vec<Heat> {
    let stores = if with_redis { &[Store::Memory, Store::Redis][..] } else { &[Store::Memory] };
    let heats = |&scenario| stores.iter().map(move |&store| Heat { scenario, store });
    scenarios.iter().flat_map(heats).collect()
}

/// Who takes part: with Redis those that write to it, and whom they are compared with.
fn entrants(entries: &[Entry], store: Store) -> Vec<&Entry> {
    let numbered = entries.iter().enumerate();
    let takes_part = |(at, entry): &(usize, &Entry)| *at == 0 || entry.kind.writes();
    numbered.filter(|both| store == Store::Memory || takes_part(both)).map(|(_, e)| e).collect()
}

/// The servers asked for, or all; those that cannot be had are left out, and that is said.
fn entries(asked: &[Kind], folder: &Path, notes: &mut Vec<String>) -> Result<Vec<Entry>, String> {
    let all = if asked.is_empty() { Kind::value_variants() } else { asked };
    let mut found = Vec::new();
    for &kind in all {
        let Some(why) = kind.missing(folder) else {
            found.push(kind);
            continue;
        };
        let is_needed = !asked.is_empty() || matches!(kind, Kind::Floor | Kind::Corepulse);
        if is_needed && kind != Kind::GoSeed {
            return Err(format!("{}: {why}", kind.name()));
        }
        say(notes, format!("{}: {why}, left out", kind.name()));
    }
    if found.is_empty() {
        return Err("no server is left".to_owned());
    }
    let labels = labels(&found);
    Ok(found.into_iter().zip(labels).map(|(kind, label)| Entry { kind, label }).collect())
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

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let options = Options::parse_from(["compare"]);
        assert!(options.servers.is_empty() && !options.redis);
        assert_eq!(options.scenarios, Scenario::value_variants());
    }

    #[test]
    fn a_server_measured_twice_has_a_number() {
        assert_eq!(labels(&[Kind::Floor, Kind::Floor]), ["floor", "floor #2"]);
    }

    #[test]
    fn with_redis_those_that_write_are_measured_beside_the_first() {
        let kinds = [Kind::Floor, Kind::Hyper, Kind::Corepulse, Kind::GoSeed];
        let labels = labels(&kinds);
        let entry = |(kind, label)| Entry { kind, label };
        let entries: Vec<Entry> = kinds.into_iter().zip(labels).map(entry).collect();
        let kinds_in = |store| -> Vec<Kind> {
            entrants(&entries, store).into_iter().map(|entry| entry.kind).collect()
        };
        assert_eq!(kinds_in(Store::Memory), kinds);
        assert_eq!(kinds_in(Store::Redis), [Kind::Floor, Kind::Corepulse, Kind::GoSeed]);
    }

    #[test]
    fn what_is_not_built_is_left_out_unless_it_is_asked_for() {
        let nowhere = Path::new("/nowhere");
        let mut notes = Vec::new();
        assert!(entries(&[], nowhere, &mut notes).unwrap_err().contains("floor: not built"));
        let asked = entries(&[Kind::Axum], nowhere, &mut notes).unwrap_err();
        assert!(asked.contains("make peers"), "{asked}");
        // Whether there is a Go toolchain or not.
        let left = entries(&[Kind::GoSeed], nowhere, &mut notes).unwrap_err();
        assert!(
            left.contains("no server is left") && notes[0].starts_with("go-seed: "),
            "{notes:?}"
        );
    }
}
