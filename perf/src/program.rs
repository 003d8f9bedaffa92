//! What the programs here have in common: where their fellows lie, who has which core, where
//! records go, and how they end.

use crate::report;
use clap::Args;
use core_affinity::CoreId;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Ends a program, with a message on standard error if something failed.
#[must_use]
pub fn end(name: &str, outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{name}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Where the programs lie that were built with this one.
///
/// # Errors
///
/// The system does not say where this one is.
pub fn folder() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    own.parent().map(Into::into).ok_or_else(|| "this program lies in no folder".to_owned())
}

/// Pins this thread, and those that it starts, to the second core, and says which is the first: the
/// server's. Where there is only one, nobody is pinned.
///
/// # Errors
///
/// The kernel refuses.
pub fn leave_first_core() -> Result<Option<CoreId>, String> {
    let mut cores = core_affinity::get_core_ids().unwrap_or_default().into_iter();
    let (first, second) = (cores.next(), cores.next());
    if second.is_some_and(|core| !core_affinity::set_for_current(core)) {
        return Err("cannot pin this program".to_owned());
    }
    Ok(second.and(first))
}

/// Whether raw numbers are kept, and where.
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
    /// Writes a record under its date and `name`, and says where, unless none is wanted.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn keep(&self, name: &str, record: impl FnOnce() -> Value) -> Result<(), String> {
        if !self.no_record {
            let path = report::keep(&self.record, name, &record())?;
            println!("\nraw numbers: {}", path.display());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Options {
        scenario: Option<String>,
        #[command(flatten)]
        records: Records,
    }

    #[test]
    fn nothing_is_kept_for_good_unless_it_is_asked_for() {
        for (arguments, folder) in [
            (&[][..], "target/perf"),
            (&["--record"], "perf/record"),
            (&["--record", "single"], "perf/record"),
            (&["--record=/tmp/here", "single"], "/tmp/here"),
        ] {
            let arguments = ["program"].iter().chain(arguments);
            let options = Options::try_parse_from(arguments).unwrap();
            assert_eq!(options.records.record, PathBuf::from(folder), "{options:?}");
        }
        assert!(Options::try_parse_from(["program", "--record", "--no-record"]).is_err());
    }
}
