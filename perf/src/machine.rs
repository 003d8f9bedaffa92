//! Where and when a run took place. Nothing in it names the machine.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Processor, cores, kernel, commit, date and command line.
#[must_use]
pub fn describe() -> Value {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "date": output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": output("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        "command": command_line(),
        "cpu": processor().unwrap_or_default(),
        "cores": cores,
        "kernel": kernel.trim(),
        "rustc": output("rustc", &["--version"]),
    })
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model.to_owned())
}

/// The arguments, and of the program only its name.
fn command_line() -> String {
    let mut arguments: Vec<String> = std::env::args().collect();
    if let Some(program) = arguments.first_mut() {
        let name = Path::new(program).file_name().and_then(|name| name.to_str());
        *program = name.unwrap_or_default().to_owned();
    }
    arguments.join(" ")
}

/// What a command prints, or nothing where it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
