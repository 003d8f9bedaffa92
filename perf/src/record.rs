//! Records: raw numbers as JSON, with where and when they were made. Nothing in them names the
//! machine.

use crate::measurement::Measurement;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Options that say where raw numbers are kept.
#[derive(Debug, Args)]
pub struct Records {
    /// Keep the raw numbers among the records, or in this folder: `--record=FOLDER`. Without it
    /// they go where nothing is kept for good.
    #[arg(
        long,
        value_name = "FOLDER",
        num_args = 0..=1,
        require_equals = true,
        default_value = "target/perf",
        default_missing_value = "perf/record"
    )]
    record: PathBuf,
    /// Print the table only.
    #[arg(long, conflicts_with = "record")]
    no_record: bool,
}

impl Records {
    /// Writes a record under its date and `name`, and says where it is, unless none is wanted.
    pub fn keep(&self, name: &str, mut record: Value) -> Result<(), String> {
        if self.no_record {
            return Ok(());
        }
        let day = output("date", &["-u", "+%Y-%m-%d"]);
        let path = self.record.join(format!("{day}-{name}.json"));
        if let Some(fields) = record.as_object_mut() {
            fields.insert("machine".to_owned(), describe_machine());
        }
        let text = serde_json::to_string_pretty(&record).map_err(|e| e.to_string())?;
        fs::create_dir_all(&self.record)
            .and_then(|()| fs::write(&path, text + "\n"))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        println!("\nraw numbers: {}", path.display());
        Ok(())
    }
}

/// Reads the measurements of a record of `compare`.
pub fn measurements(path: &PathBuf) -> Result<Vec<Measurement>, String> {
    let fault = |e: &dyn Display| format!("{}: {e}", path.display());
    let text = fs::read_to_string(path).map_err(|e| fault(&e))?;
    let mut record: Value = serde_json::from_str(&text).map_err(|e| fault(&e))?;
    let rows = record.get_mut("measurements").map(Value::take).unwrap_or_default();
    serde_json::from_value(rows).map_err(|e| fault(&e))
}

/// Ends a program, with a message on standard error if something failed.
pub fn end(name: &str, outcome: Result<(), String>) -> ExitCode {
    let Err(message) = outcome else { return ExitCode::SUCCESS };
    eprintln!("{name}: {message}");
    ExitCode::FAILURE
}

/// Returns processor, cores, kernel, commit, date and command line.
pub fn describe_machine() -> Value {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut arguments: Vec<String> = std::env::args().collect();
    if let Some(program) = arguments.first_mut() {
        let name = Path::new(program).file_name().unwrap_or_default();
        *program = name.to_string_lossy().into_owned();
    }
    json!({
        "date": output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": output("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        "command": arguments.join(" "),
        "cpu": processor.unwrap_or_default().trim_start_matches(['\t', ':', ' ']),
        "cores": cores,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "rustc": output("rustc", &["--version"]),
    })
}

/// Returns what a command prints, or nothing where it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let printed = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&printed).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Options {
        #[command(flatten)]
        records: Records,
    }

    #[test]
    fn the_oldest_records_can_still_be_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/record/2026-11-23-peers.json");
        let table = crate::report::table(&measurements(&path.into()).unwrap());
        let rows: Vec<&str> = table.lines().filter(|row| row.contains(" | corepulse | ")).collect();
        // As they stand in the documents.
        assert!(rows[0].contains(" 6.43 (5.98–7.34) ") && rows[0].ends_with("1.09 (1.06–1.11) |"));
        assert!(table.contains("pipelined ×16, Redis | corepulse"), "{table}");
    }

    #[test]
    fn nothing_is_kept_for_good_unless_it_is_asked_for() {
        for (arguments, folder) in
            [(&[][..], "target/perf"), (&["--record"], "perf/record"), (&["--record=here"], "here")]
        {
            let options = Options::try_parse_from(["program"].iter().chain(arguments)).unwrap();
            assert_eq!(options.records.record, PathBuf::from(folder), "{options:?}");
        }
        assert!(Options::try_parse_from(["program", "--record", "--no-record"]).is_err());
    }
}
