//! Instructions of our own code for a request, an event, an `/analyze`: callgrind's count over a
//! deterministic replay of one core.
//!
//! Seconds depend on the machine and its neighbours, instructions hardly do, so a change of some
//! per cent is seen at once. They are not time: a cache miss counts as one. Figures are compared
//! with a record; one that has grown by more than 2 % is a failure until there is a new record.
//!
//! ```text
//! cargo build --release --workspace && target/release/instructions [--write]
//! ```

use clap::{Parser, ValueEnum};
use corepulse_perf::callgrind;
use corepulse_perf::record;
use corepulse_perf::replay::{Replay, START_MS, memory_store};
use corepulse_perf::scenario::{Scenario, Traffic};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A figure may grow by this share of the recorded one.
const GROWTH_MAX: f64 = 0.02;

/// Batches before anything is counted: 1,000 devices get full windows, and the store is full, so
/// that each event lets an older one go.
const WARM_UP_BATCHES: usize = 60;

/// Counts instructions and compares them with the record.
#[derive(Debug, Parser)]
struct Options {
    /// The recorded figures.
    #[arg(long, default_value = "perf/record/instructions.json")]
    record: PathBuf,
    /// Record these figures instead of comparing them.
    #[arg(long)]
    write: bool,
    /// Only replay: what is run under callgrind.
    #[arg(long, hide = true)]
    replay: Option<Workload>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    Single,
    Device,
    Pipelined,
    Ndjson,
    Analyze,
}

impl Workload {
    /// In the order of the table.
    const ALL: [Self; 5] =
        [Self::Single, Self::Device, Self::Pipelined, Self::Ndjson, Self::Analyze];

    /// As in the table and in the record.
    const fn name(self) -> &'static str {
        match self {
            Self::Single => "single POST",
            Self::Device => "single POST with a device id",
            Self::Pipelined => "pipelined POST, 16 at once",
            Self::Ndjson => "event of a batch of 1,000 devices",
            Self::Analyze => "GET /analyze with 1,000 devices",
        }
    }

    /// For the command line of the replay.
    const fn argument(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Device => "device",
            Self::Pipelined => "pipelined",
            Self::Ndjson => "ndjson",
            Self::Analyze => "analyze",
        }
    }

    const fn scenario(self) -> Option<Scenario> {
        match self {
            Self::Single => Some(Scenario::Single),
            Self::Device => Some(Scenario::Device),
            Self::Pipelined => Some(Scenario::Pipelined),
            Self::Ndjson => Some(Scenario::Ndjson),
            Self::Analyze => None,
        }
    }

    /// Turns of the core that are counted.
    const fn turns(self) -> usize {
        match self {
            Self::Single | Self::Device => 4000,
            Self::Pipelined => 500,
            Self::Ndjson => 20,
            Self::Analyze => 100,
        }
    }

    /// Requests or events that they have together.
    const fn units(self) -> u64 {
        let of_a_turn = match self.scenario() {
            Some(scenario) => scenario.requests_per_turn() * scenario.events_per_request(),
            None => 1,
        };
        (self.turns() * of_a_turn) as u64
    }

    /// What is received in each turn.
    fn input(self) -> Vec<Vec<u8>> {
        match self.scenario() {
            Some(scenario) => received(scenario, self.turns()),
            None => vec![b"GET /analyze HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(); self.turns()],
        }
    }
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

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.replay {
        Some(workload) => replay(workload),
        None => compare(&options),
    };
    record::end("instructions", outcome)
}

/// Warms a core up and has it do the counted turns, whose answers have to be right.
fn replay(workload: Workload) -> Result<(), String> {
    let mut core = Replay::new(memory_store());
    for turn in received(Scenario::Ndjson, WARM_UP_BATCHES) {
        core.turn(&turn)?;
    }
    let input = workload.input();
    // What grows once, such as the buffer of a new kind of answer, has grown.
    let (first, counted) = input.split_first().ok_or("nothing to replay")?;
    core.turn(first)?;
    let accepted = |core: &Replay| core.state().store.stats().totals.accepted;
    let before = accepted(&core);
    counted_turns(&mut core, counted)?;
    counted_turns(&mut core, std::slice::from_ref(first))?;
    let took = accepted(&core) - before;
    let last = core.turn(first)?;
    if workload == Workload::Analyze {
        let text = String::from_utf8_lossy(last);
        let is_right = text.starts_with("HTTP/1.1 200 ") && text.contains("\"devices\":1000");
        return if is_right && took == 0 { Ok(()) } else { Err(format!("wrong: {text}")) };
    }
    if !last.starts_with(b"HTTP/1.1 202 ") {
        return Err(format!("wrong: {}", String::from_utf8_lossy(last)));
    }
    if took == workload.units() {
        Ok(())
    } else {
        Err(format!("{took} events were taken of {}", workload.units()))
    }
}

/// Callgrind counts while this function runs.
#[inline(never)]
fn counted_turns(core: &mut Replay, input: &[Vec<u8>]) -> Result<(), String> {
    for turn in input {
        core.turn(turn)?;
    }
    Ok(())
}

fn compare(options: &Options) -> Result<(), String> {
    let counted = count_all()?;
    if options.write {
        write_record(&options.record, &counted)?;
        print!("{}", table(&counted, None));
        println!("\nrecorded in {}", options.record.display());
        return Ok(());
    }
    let record = read_record(&options.record)?;
    print!("{}", table(&counted, Some(&record)));
    let grown = grown(&counted, &record);
    if grown.is_empty() {
        return Ok(());
    }
    let compiler = record.pointer("/machine/rustc").and_then(Value::as_str).unwrap_or("unknown");
    Err(format!(
        "more than {} % over the record: {}. Where that is meant, or the compiler is not the \
         recorded one ({compiler}), `make instructions-record` writes a new record",
        GROWTH_MAX * 100.0,
        grown.join(", ")
    ))
}

/// Instructions of each workload, for one request or event.
fn count_all() -> Result<Vec<(&'static str, f64)>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let count = |workload: Workload| {
        let arguments = ["--replay", workload.argument()];
        let total = callgrind::count(&program, &arguments, "counted_turns")?;
        Ok((workload.name(), number(total) / number(workload.units())))
    };
    Workload::ALL.into_iter().map(count).collect()
}

/// Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

fn recorded(record: &Value, name: &str) -> Option<f64> {
    record.get("instructions")?.get(name)?.as_f64()
}

/// What has grown too much, and what the record does not have.
fn grown(counted: &[(&'static str, f64)], record: &Value) -> Vec<&'static str> {
    let has_grown = |(name, count): &&(&str, f64)| {
        recorded(record, name).is_none_or(|before| *count > before * (1.0 + GROWTH_MAX))
    };
    counted.iter().filter(has_grown).map(|(name, _)| *name).collect()
}

fn table(counted: &[(&'static str, f64)], record: Option<&Value>) -> String {
    let mut text = "| instructions | now | recorded | change |\n|---|---|---|---|\n".to_owned();
    for (name, count) in counted {
        let (before, change) = match record.and_then(|record| recorded(record, name)) {
            Some(before) => {
                (format!("{before:.1}"), format!("{:+.2} %", (count / before - 1.0) * 100.0))
            }
            None => Default::default(),
        };
        let _ = writeln!(text, "| {name} | {count:.1} | {before} | {change} |");
    }
    text
}

fn read_record(path: &Path) -> Result<Value, String> {
    let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| fault(&error))?;
    serde_json::from_str(&text).map_err(|error| fault(&error))
}

fn write_record(path: &Path, counted: &[(&'static str, f64)]) -> Result<(), String> {
    let tenths = |count: f64| (count * 10.0).round() / 10.0;
    let figures: Map<String, Value> =
        counted.iter().map(|(name, count)| ((*name).to_owned(), json!(tenths(*count)))).collect();
    let record = json!({ "machine": record::describe_machine(), "instructions": figures });
    let text = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
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
    fn every_workload_can_be_replayed_and_is_answered_right() {
        for workload in Workload::ALL {
            let options = Options::parse_from(["instructions", "--replay", workload.argument()]);
            assert_eq!(options.replay, Some(workload));
            assert_eq!(replay(workload), Ok(()), "{workload:?}");
        }
    }

    #[test]
    fn growth_is_a_fault_past_two_per_cent_and_so_is_a_missing_record() {
        let record = json!({ "instructions": { "a": 100.0, "b": 100.0, "c": 100.0 } });
        let counted = [("a", 101.9), ("b", 102.1), ("c", 50.0), ("d", 1.0)];
        assert_eq!(grown(&counted, &record), ["b", "d"]);
        let text = table(&counted, Some(&record));
        assert!(text.contains("| b | 102.1 | 100.0 | +2.10 % |\n"), "{text}");
        assert!(text.ends_with("| d | 1.0 |  |  |\n"), "{text}");
    }
}
