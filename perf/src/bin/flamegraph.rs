//! A flamegraph of a server under load, taken from outside: with `perf`, which sees the kernel too.
//!
//! What the server itself shows at `/debug/pprof/flamegraph` ends where a system call begins. Here
//! the kernel's part is drawn as well, which is most of what small requests cost. The stacks come
//! by frame pointers, so that the C library's own frames may be missing.
//!
//! ```text
//! cargo build --release --workspace && target/release/flamegraph single device pipelined ndjson
//! ```

use clap::Parser;
use corepulse_perf::generator::drive;
use corepulse_perf::program;
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::{Kind, Server};
use corepulse_perf::{machine, report};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options as Drawing};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

/// Frames narrower than this share of the whole, in per cent, are left out: nobody could see them.
const WIDTH_PERCENT_MIN: f64 = 0.1;

/// Before samples are taken: the windows fill, and the store.
const WARM_UP: Duration = Duration::from_secs(2);

const CONNECTIONS: usize = 64;

/// Draws where CPU time goes.
#[derive(Debug, Parser)]
struct Options {
    /// What is sent meanwhile; a picture of each.
    #[arg(value_enum, required = true)]
    scenarios: Vec<Scenario>,
    /// How long samples are taken.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Samples a second of CPU time; 997 keeps step with nothing.
    #[arg(long, default_value_t = 997, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frequency: u32,
    /// Keep the pictures among those of this project, or in this folder: `--record=FOLDER`.
    /// Without it they go where nothing is kept for good.
    #[arg(
        long,
        value_name = "FOLDER",
        num_args = 0..=1,
        require_equals = true,
        default_value = "target/perf",
        default_missing_value = "flamegraphs"
    )]
    record: PathBuf,
}

fn main() -> ExitCode {
    program::end("flamegraph", draw_all(&Options::parse()))
}

fn draw_all(options: &Options) -> Result<(), String> {
    let has_perf = Command::new("perf").arg("--version").stdout(Stdio::null()).status();
    if !has_perf.is_ok_and(|status| status.success()) {
        return Err("perf is not installed (Debian: linux-perf); without it, see \
                    /debug/pprof/flamegraph of the server"
            .to_owned());
    }
    fs::create_dir_all(&options.record)
        .map_err(|e| format!("{}: {e}", options.record.display()))?;
    let programs = &program::folder()?;
    let core = program::leave_first_core()?;
    for scenario in &options.scenarios {
        let server = Server::start(Kind::Corepulse, programs, core)?;
        let duration = WARM_UP + Duration::from_secs(options.seconds) + WARM_UP / 4;
        let samples = programs.join("flamegraph.data");
        thread::scope(|scope| {
            let load = scope.spawn(|| drive(server.address, *scenario, CONNECTIONS, duration));
            thread::sleep(WARM_UP);
            let recorded = record(options, server.id(), &samples);
            let outcome = load.join().unwrap_or_else(|_| Err("the load panicked".to_owned()));
            recorded.and(outcome.map(|_| ()))
        })?;
        let path = options.record.join(file_name(*scenario)?);
        draw(&samples, scenario.name(), &path)?;
        fs::remove_file(&samples).map_err(|e| e.to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Has `perf` take the stacks of a process.
fn record(options: &Options, id: u32, samples: &Path) -> Result<(), String> {
    let output = Command::new("perf")
        .args(["record", "--quiet", "-e", "cpu-clock", "--call-graph", "fp"])
        .args(["-F", &options.frequency.to_string(), "-p", &id.to_string(), "-o"])
        .arg(samples)
        .args(["--", "sleep", &options.seconds.to_string()])
        .output()
        .map_err(|e| format!("perf record: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("perf record: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn draw(samples: &Path, title: &str, path: &Path) -> Result<(), String> {
    let script = Command::new("perf").args(["script", "-i"]).arg(samples).output();
    let script = script.map_err(|e| format!("perf script: {e}"))?;
    let mut folded = Vec::new();
    let collapsed = Folder::default().collapse(script.stdout.as_slice(), &mut folded);
    collapsed.map_err(|e| format!("the samples: {e}"))?;
    let mut drawing = Drawing::default();
    title.clone_into(&mut drawing.title);
    drawing.min_width = WIDTH_PERCENT_MIN;
    let mut svg = Vec::new();
    flamegraph::from_reader(&mut drawing, folded.as_slice(), &mut svg)
        .map_err(|e| format!("the samples: {e}"))?;
    fs::write(path, svg).map_err(|e| format!("{}: {e}", path.display()))
}

/// As records are named: the day, and what was done.
fn file_name(scenario: Scenario) -> Result<String, String> {
    let value = clap::ValueEnum::to_possible_value(&scenario).ok_or("a scenario without a name")?;
    Ok(format!("{}-{}.svg", report::day(&machine::describe()), value.get_name()))
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
    fn pictures_are_named_by_day_and_scenario() {
        let name = file_name(Scenario::Ndjson).unwrap();
        assert!(name.starts_with("20") && name.ends_with("-ndjson.svg"), "{name}");
    }
}
