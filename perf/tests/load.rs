//! The program `load` against a server in this process: the counts balance, and the record says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

use clap::Parser;
use corepulse::config::Config;
use corepulse::config::arguments::Arguments;
use corepulse::server::Server;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn start() -> Server {
    let flags = ["corepulse", "--listen", "127.0.0.1:0", "--pin", "off", "--workers", "2"];
    let arguments = Arguments::try_parse_from(flags).expect("the flags are known");
    let config = Config::check(&arguments).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Server::start(&config).expect("a port is free")
}

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load")).args(arguments).output().unwrap()
}

/// The one record of a folder.
fn record(folder: &Path) -> Value {
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files.first().unwrap().to_str().unwrap();
    assert!(name.ends_with("-brief.json"), "{name}");
    serde_json::from_str(&fs::read_to_string(name).unwrap()).unwrap()
}

#[test]
fn sent_is_answered_is_accepted_and_the_record_says_so() {
    let server = start();
    let url = server.bound().to_string();
    for (number, scenario) in ["device", "pipelined", "ndjson"].into_iter().enumerate() {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{scenario}"));
        // What an earlier run of this test left; there may be nothing.
        let _ = fs::remove_dir_all(&folder);
        let fixed = ["--rounds", "1", "--seconds", "1", "--connections", "4", "--threads", "2"];
        let kept = format!("--record={}", folder.display());
        let own = ["--url", &url, "--name", "brief", &kept];
        let sent = ["--scenario", scenario, "--rate", "160", "--devices", "30", "--batch", "20"];
        let output = load(&[&fixed[..], &own, &sent].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{scenario}: {said}");
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(table.contains("| p99.9 µs |") && table.contains("| not known |"), "{table}");
        let record = record(&folder);
        assert!(record["machine"]["commit"].is_string(), "{record}");
        let row = &record["measurements"][0];
        assert_eq!(row["planned"], 160, "{row}");
        assert_eq!((&row["requests"], &row["answered"]), (&row["planned"], &row["planned"]));
        assert_eq!((&row["never_sent"], &row["errors"]["closed"]), (&0.into(), &0.into()));
        let events = if number == 2 { 20 } else { 1 };
        assert_eq!(row["accepted"], 160 * events, "{row}");
        for percentile in ["p50", "p90", "p99", "p99.9", "max"] {
            assert!(row["latency_us"][percentile].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["generator_lag_us"][percentile].is_number(), "{row}");
        }
        // Whether it was the limit depends on the machine; that it says so does not.
        assert!(row.as_object().unwrap().contains_key("generator_was_the_limit"), "{row}");
    }
    // The warming up of 300 ms counts here as well: 48 requests each time.
    let report = server.drain(|_| {});
    assert_eq!(report.requests, 3 * (160 + 48));
    assert_eq!(report.store.accepted, (160 + 48) * (1 + 1 + 20));
}

#[test]
fn another_machine_is_refused() {
    let output = load(&["--url", "http://192.0.2.1:8080"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("192.0.2.1 is not this machine; a load goes to loopback only"), "{said}");
}
