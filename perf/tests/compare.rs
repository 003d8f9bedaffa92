//! The program `compare`, with wrk and at a rate, against real servers: counts agree, and the
//! record says so.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use serde_json::Value;
use std::fs;
use std::process::Command;

/// The record of a short run.
fn record(name: &str, arguments: &[&str]) -> Value {
    let folder = std::env::temp_dir().join(format!("corepulse-{name}-{}", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(["--rounds", "1", "--seconds", "1", "--connections", "8"]).args(arguments);
    let output = command.arg(format!("--record={}", folder.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(records.len(), 1);
    let text = fs::read_to_string(&records[0]).unwrap();
    fs::remove_dir_all(folder).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_event_of_a_pipelined_request_and_of_a_batch_is_counted() {
    let arguments = ["--servers", "floor,corepulse", "--scenarios", "pipelined,ndjson"];
    let record = record("counted", &arguments);
    assert!(record["machine"]["date"].is_string() && record["machine"]["commit"].is_string());
    let rows = record["measurements"].as_array().unwrap();
    let servers = rows.iter().map(|row| row["server"].as_str().unwrap());
    assert!(servers.eq(["floor", "corepulse", "floor", "corepulse"]));
    for row in rows {
        let of = |name: &str| row[name].as_f64().unwrap();
        let events =
            of("requests") * if row["scenario"] == "NDJSON, 1,000 events" { 1000.0 } else { 1.0 };
        assert!(of("requests") >= 8.0 && of("accepted") >= events, "{row}");
        assert!(of("cpu_seconds") > 0.0 && of("generator_cpu_seconds") > 0.0, "{row}");
        assert!(row["latency_us"]["p50"].as_f64() <= row["latency_us"]["p99.9"].as_f64(), "{row}");
    }
}

#[test]
fn every_event_of_each_form_of_a_batch_is_counted() {
    let scenarios = ["array", "gzip", "line-protocol", "eight"];
    let chosen = format!("--scenarios={}", scenarios.join(","));
    let record = record("forms", &["--servers=corepulse", &chosen]);
    let rows = record["measurements"].as_array().unwrap();
    assert_eq!(rows.len(), scenarios.len());
    for row in rows {
        let of = |name: &str| row[name].as_f64().unwrap();
        assert!(of("requests") >= 8.0 && of("accepted") >= of("requests") * 1000.0, "{row}");
    }
}

#[test]
fn at_a_rate_each_latency_is_told_apart_and_as_much_is_sent_as_is_due() {
    let record = record("rate", &["--servers=floor,corepulse", "--scenarios=device", "--rate=500"]);
    for row in record["measurements"].as_array().unwrap() {
        assert_eq!((&row["requests"], &row["accepted"]), (&500.into(), &500.into()), "{row}");
        let latency = |of: &Value| of["p50"].as_f64().unwrap();
        let [server, generator] = ["server", "generator"].map(|of| &row["shares_us"][of]);
        assert!(latency(server) > 0.0 && latency(generator) > 0.0, "{row}");
        assert!(latency(server) <= latency(&row["latency_us"]), "{row}");
    }
}

#[test]
fn a_prepared_server_has_its_devices_and_connections_and_answers_beside_the_load() {
    let state = ["--servers=corepulse", "--devices=2000", "--idle=20", "--scenarios=device"];
    let store = "--arguments=--memory-store 4MiB";
    let beside = [store, "--beside=/analyze", "--attach=test -d /proc/$PID"];
    let record = record("prepared", &[&state[..], &beside].concat());
    let (rows, memory) = (record["measurements"].as_array().unwrap(), &record["memory"]);
    assert_eq!(rows[0]["server"], "corepulse, 2000 devices, 20 idle");
    assert!(rows[0]["page"].is_null() && rows[1]["page"]["count"].as_u64() >= Some(1));
    let counts = memory.as_array().unwrap().iter().map(|row| row["count"].as_u64());
    assert!(counts.eq([1000, 20, 20].into_iter().cycle().take(6).map(Some)), "{memory}");
    assert!(rows[1]["cpu_seconds_of_threads"]["control"].is_number(), "{rows:?}");
}
