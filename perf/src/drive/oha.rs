//! The open loop: oha, with latencies from when requests were due.
//!
//! It does not saturate this server. How much of a latency is its own is seen beside the floor, at
//! the same rate.

use crate::generator::{Drive, Generator, HOST, Latency, Load, now_ms};
use crate::scenario::{Scenario, Traffic};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

/// The highest rate that one thread of oha keeps up for sure, in requests a second.
pub const RATE_MAX: u32 = 50_000;

/// Bodies of single events that oha draws from.
const BODIES: usize = 100_000;

/// Part of oha's JSON; times are in seconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    summary: BTreeMap<String, Option<f64>>,
    latency_percentiles: BTreeMap<String, Option<f64>>,
    status_code_distribution: BTreeMap<u16, u64>,
    error_distribution: BTreeMap<String, u64>,
}

/// Drives a server at a rate. As many requests as are due are sent, however long that takes.
pub(super) fn drive(
    generator: &Generator,
    address: SocketAddr,
    load: &Load,
    rate: u32,
) -> Result<Drive, String> {
    let Load { scenario, devices, .. } = *load;
    if scenario == Scenario::Pipelined {
        return Err("oha does not pipeline: a rate is for other scenarios".to_owned());
    }
    let mut traffic = Traffic::of(scenario, devices, HOST, now_ms());
    let head = traffic.layout.head;
    let turns = if scenario == Scenario::Ndjson { 1 } else { BODIES };
    let (mut bodies, mut turn) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        traffic.next_turn(&mut turn);
        bodies.extend(turn.iter().skip(head));
        bodies.extend((turns > 1).then_some(b'\n'));
    }
    let bodies = generator.write("bodies", &bodies)?;
    let mut command = Command::new("oha");
    command.args(["--no-tui", "--output-format", "json", "--latency-correction", "-m", "POST"]);
    command.args(["-T", scenario.media_type(), "-t", "10s", "-q", &rate.to_string()]);
    command.args(["-n", &(u64::from(rate) * load.seconds).to_string()]);
    command.args(["-c", &load.connections.to_string()]);
    command.args(["--worker-threads", &load.threads.to_string()]);
    command.arg(if turns > 1 { "-Z" } else { "-D" }).arg(bodies);
    command.arg(format!("http://{address}/metrics"));
    let (said, used) = generator.run(command)?;
    let report = serde_json::from_str(&said).map_err(|e| format!("oha: {e} in: {said}"))?;
    Ok(outcome(&report, used))
}

fn outcome(report: &Report, generator: f64) -> Drive {
    let Report { summary, latency_percentiles: all, .. } = report;
    let seconds = |of: &BTreeMap<_, _>, name| of.get(name).copied().flatten().unwrap_or(f64::NAN);
    let [p50, p90, p99, p999] = ["p50", "p90", "p99", "p99.9"].map(|name| seconds(all, name) * 1e6);
    let others = report.status_code_distribution.iter().filter(|(status, _)| **status != 202);
    let others = others.map(|(status, count)| format!("{count} with {status}"));
    let errors = report.error_distribution.iter().map(|(what, count)| format!("{count} {what}"));
    let faults: Vec<String> = others.chain(errors).collect();
    Drive {
        requests: report.status_code_distribution.values().sum(),
        seconds: seconds(summary, "total"),
        latency: Latency { p50, p90, p99, p999, max: seconds(summary, "slowest") * 1e6 },
        faults: (!faults.is_empty()).then(|| faults.join(", ")),
        generator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_microseconds_and_whatever_is_no_202_is_said() {
        let text = r#"{"summary": {"total": 2.0, "slowest": 0.005},
            "latencyPercentiles": {"p50": 0.0001, "p99.9": 0.0004, "p99.99": null},
            "statusCodeDistribution": {"202": 10, "503": 3}, "errorDistribution": {"timeout": 2}}"#;
        let drive = outcome(&serde_json::from_str(text).unwrap(), 0.5);
        assert_eq!((drive.requests, drive.seconds, drive.generator), (13, 2.0, 0.5));
        assert!((drive.latency.p999 - 400.0).abs() < 1e-6, "{:?}", drive.latency);
        assert!((drive.latency.max - 5000.0).abs() < 1e-6, "{:?}", drive.latency);
        assert_eq!(drive.faults.as_deref(), Some("3 with 503, 2 timeout"));
    }
}
