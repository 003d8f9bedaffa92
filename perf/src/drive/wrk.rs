//! The closed loop: wrk, whose requests `wrk.lua` makes.

use crate::generator::{Drive, Generator, HOST, Latency, Load, now_ms};
use crate::traffic::{SPAN_MS, Traffic};
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Command;

const SCRIPT: &str = include_str!("wrk.lua");

/// Turns that are made before, where they are compressed. Their keys come again and again, and each
/// time they replace what is kept under them.
const READY_TURNS: usize = 256;

/// The line of JSON that the script prints in the end.
#[derive(Debug, Deserialize)]
struct Summary {
    requests: u64,
    elapsed_us: f64,
    position: u64,
    refused: u64,
    broken: u64,
    cpu_seconds: f64,
    latency_us: Latency,
}

/// Drives a server as fast as it answers. What is under way in the end is not counted, and its
/// connections are closed: the server has had up to a turn of each connection more.
pub(super) fn drive(
    generator: &Generator,
    address: SocketAddr,
    load: &Load,
    position: &mut u64,
) -> Result<Drive, String> {
    let arguments = arguments(generator, load, *position)?;
    let script = generator.write("wrk.lua", SCRIPT.as_bytes())?;
    let mut command = Command::new("wrk");
    command.args(["--threads", &load.threads.to_string()]);
    command.args(["--connections", &load.connections.to_string()]);
    command.args(["--duration", &format!("{}s", load.seconds), "--timeout", "10s", "--script"]);
    command.arg(script).arg(format!("http://{address}/metrics")).arg("--").args(arguments);
    let (said, _) = generator.run(command)?;
    let summary = summary(&said).ok_or_else(|| format!("wrk: no summary in: {said}"))?;
    *position = summary.position;
    Ok(outcome(&summary))
}

/// Writes the turn and the devices where the script finds them, and says how to patch them; or
/// several turns as they are to be sent, and their lengths.
fn arguments(generator: &Generator, load: &Load, position: u64) -> Result<[OsString; 3], String> {
    let now_ms = now_ms();
    let mut traffic = Traffic::of(load.scenario, load.dialect, load.devices, HOST, now_ms);
    let digits = traffic.layout.digits;
    let ids: String = traffic.listed.iter().map(|device| format!("{device:0digits$}")).collect();
    let (mut turns, mut turn, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if traffic.is_compressed { READY_TURNS } else { 1 } {
        traffic.next_turn(&mut turn);
        turns.extend_from_slice(&turn);
        lengths.extend(traffic.is_compressed.then_some(turn.len()));
    }
    let plan = json!({
        "layout": traffic.layout,
        "lengths": lengths,
        "position": position,
        "threads": load.threads,
        "connections": load.connections,
        "oldest": now_ms - SPAN_MS,
        "span": SPAN_MS,
        "listed": traffic.listed.len(),
        "together": traffic.together,
    });
    let (turns, devices) =
        (generator.write("turns", &turns)?, generator.write("devices", ids.as_bytes())?);
    Ok([turns.into(), devices.into(), plan.to_string().into()])
}

/// Finds the script's line among those of wrk itself.
fn summary(said: &str) -> Option<Summary> {
    let line = said.lines().rfind(|line| line.starts_with('{'))?;
    serde_json::from_str(line).ok()
}

fn outcome(summary: &Summary) -> Drive {
    let Summary { refused, broken, .. } = *summary;
    let is_wrong = refused + broken > 0;
    Drive {
        requests: summary.requests,
        seconds: summary.elapsed_us / 1e6,
        latency: summary.latency_us,
        shares: None,
        faults: is_wrong.then(|| format!("{refused} refused, {broken} without an answer")),
        generator: summary.cpu_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_among_the_lines_of_wrk() {
        let said = "Running 1s test @ http://127.0.0.1:1/metrics\n  1 threads and 8 connections\n\
            {\"requests\":300,\"elapsed_us\":1500000,\"position\":12,\"refused\":0,\"broken\":0,\
            \"cpu_seconds\":0.5,\
            \"latency_us\":{\"p50\":10,\"p90\":20,\"p99\":30,\"p99.9\":40,\"max\":50}}\n";
        let mut summary = summary(said).unwrap();
        let drive = outcome(&summary);
        assert_eq!((drive.requests, drive.seconds, drive.faults), (300, 1.5, None));
        assert_eq!((drive.latency.p999, drive.latency.max, summary.position), (40.0, 50.0, 12));
        summary.refused = 2;
        let said = outcome(&summary).faults.unwrap();
        assert_eq!(said, "2 refused, 0 without an answer");
        assert!(super::summary("unable to connect").is_none());
    }
}
