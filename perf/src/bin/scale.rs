//! Twice the workers, and a thousand times the devices: what either adds to the cost of an event.
//!
//! Everything is posted as NDJSON, 1,000 events a batch, over connections that stay open. Each case
//! has two servers that are alive at once, driven by turns at one rate.
//!
//! - **Workers**: one on the first core, beside two on the first two, all devices spread over both.
//! - **Devices**: a fleet whose ids are as long as the other's, with every window full, beside a
//!   thousand devices; both on the first core, in each order of [`corepulse_perf::devices`].
//!
//! ```text
//! cargo build --release --workspace && target/release/scale
//! ```

use clap::{Parser, ValueEnum};
use core_affinity::CoreId;
use corepulse_perf::cores::Cores;
use corepulse_perf::devices::{DEVICES_MAX, Devices, Order};
use corepulse_perf::generator::now_ms;
use corepulse_perf::growth::{Comparison, Findings, Memory};
use corepulse_perf::pair::{self, Plan, Side};
use corepulse_perf::program::{self, Records};
use corepulse_perf::report::number;
use corepulse_perf::scenario::{Extent, Scenario, Traffic};
use corepulse_perf::server::{Kind, Server};
use corepulse_perf::usage::Usage;
use corepulse_perf::{fill, inquiry, machine};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What two workers may cost an event, beside one.
const WORKERS_RATIO_MAX: f64 = 1.3;

/// What a million devices may cost an event, beside a thousand.
const DEVICES_RATIO_MAX: f64 = 2.5;

/// What a device with a full window may take in memory.
const DEVICE_BYTES_MAX: f64 = 1200.0;

const BATCH: u64 = 1000;

/// Between two looks at whether the store is full.
const BATCHES_PER_LOOK: u64 = 10;

/// A store that is not full after so many looks never is.
const LOOKS_MAX: u64 = 10_000;

/// The server's own default, which may not be larger than the window.
const MIN_SAMPLES: u16 = 16;

/// The server's own default.
const DEVICES_MAX_DEFAULT: u64 = 100_000;

/// Pairs of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Two workers beside one.
    Workers,
    /// A large fleet beside a small one.
    Devices,
}

impl Case {
    /// As in the notes and in the record.
    const fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Devices => "devices",
        }
    }
}

/// Measures what more workers and more devices cost.
#[derive(Debug, Parser)]
struct Options {
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "workers,devices")]
    cases: Vec<Case>,
    /// Devices of the large fleet.
    #[arg(
        long,
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(2..=DEVICES_MAX)
    )]
    devices: u64,
    /// Devices of the small fleet, and of both servers where workers are compared.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1000))]
    few: u64,
    /// The orders in which they send.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "shuffled,in-turn,random")]
    orders: Vec<Order>,
    /// The servers' `--window`.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    window: u16,
    /// The servers' `--memory-store`, full before anything is measured.
    #[arg(long, default_value = "256MiB")]
    memory_store: String,
    /// Offer so many batches a second, instead of what both servers of a case can follow.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// How often each server is driven.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each time, in milliseconds.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    duration_ms: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// The record's name after its date.
    #[arg(long, default_value = "scale")]
    name: String,
    #[command(flatten)]
    records: Records,
}

/// Where programs lie, and who runs where.
struct Place {
    folder: PathBuf,
    /// Beside servers with one worker.
    one: Cores,
    /// Beside one with two.
    two: Cores,
}

fn main() -> ExitCode {
    program::end("scale", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    if options.few >= options.devices {
        return Err("the small fleet is not smaller than the large one".to_owned());
    }
    let mut notes = Vec::new();
    let mut share = |case: Case, workers| {
        let is_measured = options.cases.contains(&case);
        let mut say = |what| notes.extend(is_measured.then(|| format!("{}: {what}", case.name())));
        Cores::share(workers, 1, &mut say)
    };
    // Both now: once this program is pinned, it knows of its own core only.
    let (two, one) = (share(Case::Workers, 2), share(Case::Devices, 1));
    let place = Place { folder: program::folder()?, one, two };
    let mut found = Findings::default();
    if options.cases.contains(&Case::Workers) {
        found.comparisons.push(workers(options, &place)?);
    }
    if options.cases.contains(&Case::Devices) {
        devices(options, &place, &mut found)?;
    }
    notes.extend(found.late());
    print!("{}\n{}\n", found.table(), notes.join("\n"));
    options.records.keep(&options.name, || record(options, &notes, &found))
}

fn workers(options: &Options, place: &Place) -> Result<Comparison, String> {
    // The second must inherit both cores, so this program is pinned afterwards.
    let one = start(options, place, 1, DEVICES_MAX_DEFAULT, place.one.server)?;
    let two = start(options, place, 2, DEVICES_MAX_DEFAULT, None)?;
    place.two.take_generator()?;
    for server in [&one, &two] {
        fill_store(options, server)?;
    }
    let order = Order::Shuffled;
    let few = Devices::of(options.few, order);
    let sides = [side("one worker", &one, few), side("two workers", &two, few)];
    compare(options, Case::Workers, order, sides, WORKERS_RATIO_MAX)
}

fn devices(options: &Options, place: &Place, found: &mut Findings) -> Result<(), String> {
    place.one.take_generator()?;
    let core = place.one.server;
    // The small one is as it comes: tables of the large one's size would slow it down.
    let small = start(options, place, 1, DEVICES_MAX_DEFAULT, core)?;
    let large = start(options, place, 1, options.devices, core)?;
    for server in [&small, &large] {
        fill_store(options, server)?;
    }
    found.memory = Some(fill_windows(options, &large)?);
    for &order in &options.orders {
        eprintln!("devices, {}:", order.name());
        let fleet = |count| Devices::of(count, order);
        let sides = [
            side(&format!("{} devices", options.few), &small, fleet(options.few)),
            side(&format!("{} devices", options.devices), &large, fleet(options.devices)),
        ];
        let comparison = compare(options, Case::Devices, order, sides, DEVICES_RATIO_MAX)?;
        found.comparisons.push(comparison);
    }
    Ok(())
}

/// A server with so many workers, for so many devices at most: on this core, or pinned by itself to
/// the first of all.
fn start(
    options: &Options,
    place: &Place,
    workers: usize,
    devices_max: u64,
    core: Option<CoreId>,
) -> Result<Server, String> {
    let numbers = [
        workers.to_string(),
        devices_max.to_string(),
        options.window.to_string(),
        options.window.min(MIN_SAMPLES).to_string(),
    ];
    let [workers, devices, window, min_samples] = &numbers;
    let arguments = [
        ["--listen", "127.0.0.1:0"],
        ["--workers", workers],
        ["--pin", if core.is_none() && !place.two.generators.is_empty() { "on" } else { "off" }],
        // A connection lives as long as its drive.
        ["--max-connection-age", "0s"],
        ["--max-devices", devices],
        ["--memory-store", &options.memory_store],
        ["--window", window],
        ["--min-samples", min_samples],
    ];
    Server::start_with(Kind::Corepulse, arguments.as_flattened(), &place.folder, core)
}

fn side<'s>(label: &str, server: &'s Server, devices: Devices) -> Side<'s> {
    Side { label: label.to_owned(), server, traffic: traffic(server, devices) }
}

fn traffic(server: &Server, devices: Devices) -> Traffic {
    let extent = Extent { devices, ..Extent::default() };
    Traffic::of(Scenario::Ndjson, extent, &server.address.to_string(), now_ms())
}

/// Has the small fleet post until the store lets go of what is oldest: from then on it grows no
/// more, and takes part in no difference. Their windows are full long before.
fn fill_store(options: &Options, server: &Server) -> Result<(), String> {
    let mut few = traffic(server, Devices::of(options.few, Order::InTurn));
    let (mut posted, windows) = (0, options.few * u64::from(options.window));
    for _ in 0..LOOKS_MAX {
        posted += fill::post(server.address, &mut few, BATCHES_PER_LOOK, |_| {})?;
        let counts = inquiry::exposition(server.address)?;
        if posted >= windows && inquiry::sum(&counts, "corepulse_store_evicted_total") > 0 {
            return Ok(());
        }
    }
    Err(format!("the store is not full with {posted} events"))
}

/// Fills the window of each device of the large fleet, where the small one has been.
fn fill_windows(options: &Options, server: &Server) -> Result<Memory, String> {
    let before_bytes = Usage::of(server.id())?.resident_bytes;
    let events = options.devices * u64::from(options.window);
    let batches = events.div_ceil(BATCH);
    let mut all = traffic(server, Devices::of(options.devices, Order::InTurn));
    eprintln!("filling the windows of {} devices", options.devices);
    let accepted = fill::post(server.address, &mut all, batches, |done| {
        eprintln!("{:.0} % of {events} events", number(done * 100) / number(batches));
    })?;
    let after_bytes = Usage::of(server.id())?.resident_bytes;
    let counts = inquiry::exposition(server.address)?;
    let held = inquiry::sum(&counts, "corepulse_devices");
    let last = format!("/analyze?device_id=device-{:07}", options.devices - 1);
    let window = inquiry::page(server.address, &last)?;
    let is_full = window.contains(&format!("\"count\":{0},", options.window));
    if accepted != batches * BATCH || held != options.devices || !is_full {
        return Err(format!(
            "{accepted} of {events} events accepted, {held} of {} devices held; the last: {window}",
            options.devices
        ));
    }
    Ok(Memory {
        devices: held,
        before_devices: options.few,
        before_bytes,
        after_bytes,
        bytes_max: DEVICE_BYTES_MAX,
    })
}

/// Measures both sides.
fn compare(
    options: &Options,
    case: Case,
    order: Order,
    sides: [Side<'_>; 2],
    ratio_max: f64,
) -> Result<Comparison, String> {
    let plan = Plan {
        connections: usize::from(options.connections),
        rounds: options.rounds,
        duration: Duration::from_millis(options.duration_ms),
        rate: options.rate.map(f64::from),
    };
    let labels = [sides[0].label.clone(), sides[1].label.clone()];
    Ok(Comparison {
        case: case.name(),
        order,
        labels,
        ratio_max,
        rounds: pair::measure(sides, &plan)?,
    })
}

fn record(options: &Options, notes: &[String], found: &Findings) -> Value {
    json!({
        "machine": machine::describe(),
        "notes": notes,
        "window": options.window,
        "memory_store": options.memory_store,
        "connections": options.connections,
        "memory": found.memory.as_ref().map(Memory::record),
        "measurements": found.comparisons.iter().map(Comparison::record).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let options = Options::parse_from(["scale"]);
        assert_eq!(options.orders, [Order::Shuffled, Order::InTurn, Order::Random]);
        assert_eq!(options.cases, Case::value_variants());
    }
}
