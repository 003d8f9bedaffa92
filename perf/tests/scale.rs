//! The program that measures growth, with a small fleet and short windows: what it keeps is whole.
//!
//! Nothing is said of speed here: this server may be built without optimisation, and not be alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is all that it can do"
)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What a failed test leaves is in the system's folder for that.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(arguments: &[&str]) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_scale"));
    let server = program.with_file_name("corepulse");
    assert!(server.exists(), "needs the server: cargo build --workspace, or test --workspace");
    let folder = Folder(env::temp_dir().join(format!("corepulse-scale-{}", process::id())));
    let output = Command::new(program)
        .args(["--rounds", "1", "--duration-ms", "400", "--connections", "4", "--rate", "100"])
        .args(["--memory-store", "4MiB", "--window", "4"])
        .args(arguments)
        .arg(format!("--record={}", folder.0.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let records: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(records.len(), 1);
    serde_json::from_str(&fs::read_to_string(records[0].path()).unwrap()).unwrap()
}

#[test]
fn a_record_has_both_cases_and_every_event() {
    let record = record(&["--devices", "2000", "--few", "100", "--orders", "shuffled,random"]);
    assert!(record["machine"]["date"].is_string() && record["machine"]["commit"].is_string());
    let memory = &record["memory"];
    assert_eq!((&memory["devices"], &memory["devices_before"]), (&2000.into(), &100.into()));
    let bytes = |name: &str| memory[name].as_f64().unwrap();
    let grown = bytes("resident_bytes_after") - bytes("resident_bytes_before");
    assert!((bytes("bytes_per_device") - grown / 1900.0).abs() < 1e-6, "{memory}");
    assert_eq!(record["window"], 4);

    let measurements = record["measurements"].as_array().unwrap();
    let field = |name: &'static str| measurements.iter().map(move |case| &case[name]);
    assert!(field("case").eq(["workers", "devices", "devices"]), "{record}");
    assert!(field("order").eq(["shuffled", "shuffled", "random"]), "{record}");
    assert!(field("base").eq(["one worker", "100 devices", "100 devices"]), "{record}");
    assert!(field("other").eq(["two workers", "2000 devices", "2000 devices"]), "{record}");
    for case in measurements {
        let rounds = case["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 1);
        for sample in [&rounds[0]["base"], &rounds[0]["other"]] {
            let events = sample["events"].as_u64().unwrap();
            assert!(events > 0 && events.is_multiple_of(1000), "{sample}");
            assert_eq!(sample["offered_batches_per_second"], 100.0);
            let of = |name: &str| sample[name].as_f64().unwrap();
            assert!(of("cpu_seconds") > 0.0 && of("seconds") >= 0.4, "{sample}");
            let threads = sample["cpu_seconds_of_threads"].as_object().unwrap();
            assert!(threads.contains_key("core-0"), "{sample}");
        }
        let both = rounds[0]["other"]["cpu_seconds_of_threads"].as_object().unwrap();
        assert_eq!(both.contains_key("core-1"), case["case"] == "workers", "{case}");
    }
}

#[test]
fn a_large_fleet_that_is_not_larger_is_refused() {
    let program = env!("CARGO_BIN_EXE_scale");
    let output = Command::new(program).args(["--devices", "100", "--few", "100"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not smaller"), "{said}");
}
