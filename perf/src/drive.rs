//! Load on a server: by wrk as much as it answers, by oha at a fixed rate.
//!
//! [`wrk`] is a closed loop: each connection sends its next turn when all answers to the one before
//! have come. [`oha`] is an open loop: requests are due at fixed times, and latency counts from
//! then, also where the connections were still waiting for other answers.

pub mod oha;
pub mod wrk;

use crate::cores::run_on;
use crate::devices::Devices;
use crate::scenario::Scenario;
use crate::usage;
use core_affinity::CoreId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// The name by which requests call the server.
pub const HOST: &str = "localhost";

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The requests.
    pub scenario: Scenario,
    /// Where the events come from, if they are a device's.
    pub devices: Devices,
    /// Keep-alive connections.
    pub connections: u16,
    /// Threads of the generator.
    pub threads: u16,
    /// Duration, in whole seconds.
    pub seconds: u64,
    /// Requests a second; `None` for as many as are answered.
    pub rate: Option<u32>,
}

/// Percentiles of the time from a request, or from when it was due, to its answer, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// Exceeded by one in ten.
    pub p90: f64,
    /// Exceeded by one in a hundred.
    pub p99: f64,
    /// Exceeded by one in a thousand.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// The result of a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Drive {
    /// Requests answered.
    pub requests: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Times until the answers.
    pub latency: Latency,
    /// Answers with another status than 2xx, and requests without an answer, in words.
    pub faults: Option<String>,
    /// CPU seconds of the generator.
    pub generator: f64,
}

/// The generator, with the files that it reads.
#[derive(Debug)]
pub struct Generator {
    core: Option<CoreId>,
    folder: PathBuf,
}

impl Generator {
    /// Makes one that runs on `core`, if there is one, and has a folder for its files.
    pub fn new(core: Option<CoreId>) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("corepulse-perf-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { core, folder })
    }

    /// Drives a server. The events go on from `position`, the number of the first turn, which is
    /// moved behind the last.
    pub fn drive(
        &self,
        address: SocketAddr,
        load: &Load,
        position: &mut u64,
    ) -> Result<Drive, String> {
        match load.rate {
            None => wrk::drive(self, address, load, position),
            Some(rate) => oha::drive(self, address, load, rate),
        }
    }

    /// Runs a command to its end; returns what it printed, and the CPU seconds that it used.
    fn run(&self, mut command: Command) -> Result<(String, f64), String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let before = usage::of_children()?;
        let missing = |e: io::Error| format!("{name}: {e} (ci/setup-perf installs it)");
        let output = run_on(self.core, || command.output().map_err(missing))?;
        let used = usage::of_children()?.saturating_sub(before);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok((said, used.as_secs_f64()));
        }
        Err(format!("{name}: {said}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Writes a file for the generator.
    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Writes the same unless it is there.
    fn write_once(&self, name: &str, content: impl FnOnce() -> Vec<u8>) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        if path.exists() { Ok(path) } else { self.write(name, &content()) }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // What is left lies where the system tidies up.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since_epoch: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(0)
}
