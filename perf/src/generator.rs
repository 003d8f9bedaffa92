//! The generator of a load: what it is asked for and what it has found, its core and its files.

use crate::cores::run_on;
use crate::devices::Devices;
use crate::scenario::Scenario;
use crate::traffic::Dialect;
use core_affinity::CoreId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::usage;

/// The name by which requests call the server.
pub const HOST: &str = "localhost";

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub scenario: Scenario,
    pub dialect: Dialect,
    /// Where the events come from, if they are a device's.
    pub devices: Devices,
    pub connections: u16,
    pub threads: u16,
    pub seconds: u64,
    /// Requests a second; `None` for as many as are answered.
    pub rate: Option<u32>,
}

/// Percentiles of the time from a request, or from when it was due, to its answer, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    /// Sums up nanoseconds; of none, all are NaN.
    pub fn of(nanoseconds: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = nanoseconds.collect();
        sorted.sort_unstable();
        let per_thousand = |share: usize| {
            let at = (sorted.len() * share).div_ceil(1000).saturating_sub(1);
            sorted.get(at).map_or(f64::NAN, |&nanoseconds| number(nanoseconds) / 1e3)
        };
        let [p50, p90, p99, p999, max] = [500, 900, 990, 999, 1000].map(per_thousand);
        Self { p50, p90, p99, p999, max }
    }
}

/// A latency at a fixed rate, told apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// The time that the server's side took, the kernel's part of it included.
    pub server: Latency,
    /// The time that the generator was late itself.
    pub generator: Latency,
}

/// The result of a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Drive {
    pub requests: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    pub latency: Latency,
    /// The shares in it, where they are known.
    pub shares: Option<Shares>,
    /// Answers with another status than 2xx, and requests without an answer, in words.
    pub faults: Option<String>,
    pub generator: f64,
}

/// The generator, with the files that it reads where it is a program of its own.
#[derive(Debug)]
pub struct Generator {
    core: Option<CoreId>,
    folder: PathBuf,
}

impl Generator {
    /// Makes one that runs on `core`, if there is one, and has a folder for its files.
    pub fn new(core: Option<CoreId>) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("corepulse-perf-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        Ok(Self { core, folder })
    }

    pub const fn core(&self) -> Option<CoreId> {
        self.core
    }

    /// Runs a command to its end; returns what it printed, and the CPU seconds that it used.
    pub fn run(&self, mut command: Command) -> Result<(String, f64), String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let before = usage::of_children()?;
        let run = || command.stderr(Stdio::inherit()).output().map_err(|e| e.to_string());
        let missing = |e| format!("{name}: {e} (ci/setup installs wrk)");
        let output = run_on(self.core, run).map_err(missing)?;
        let used = usage::of_children()?.saturating_sub(before);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_done = output.status.success();
        if is_done { Ok((said, used.as_secs_f64())) } else { Err(format!("{name}: {said}")) }
    }

    /// Writes a file for the generator.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(0)
}

/// Returns a count as a number to divide by. Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_that_came() {
        let Latency { p50, p90, p99, p999, max } = Latency::of((1..=100).map(|us| us * 1000));
        assert_eq!([p50, p90, p99, p999, max], [50.0, 90.0, 99.0, 100.0, 100.0]);
    }
}
