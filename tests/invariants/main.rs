//! The invariants that `make fuzz` looks for a breach of, on bytes that are known to be hard:
//! every seed of the fuzz targets, and everything that ever broke one of them.
//!
//! Seeds stand in `fuzz/seeds/<target>/`, what was found in `fuzz/regressions/<target>/`, one input
//! a file. A target is a function `check` here; `fuzz/fuzz_targets/` includes these files by path.

#![expect(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, and not every target uses all of a file"
)]

mod chunked;
mod coding;
mod connection;
mod grammar;
mod head;
mod metric;
mod receive;

use std::fs;
use std::path::{Path, PathBuf};

/// Inputs of one target: its seeds, and what was found.
fn inputs(target: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut files = Vec::new();
    for folder in ["seeds", "regressions"] {
        let Ok(entries) = fs::read_dir(fuzz.join(folder).join(target)) else {
            continue;
        };
        files.extend(entries.map(|entry| entry.expect("a readable folder").path()));
    }
    files.sort();
    files
}

fn replay(target: &str, check: fn(&[u8])) {
    let files = inputs(target);
    assert!(files.len() >= 10, "{target} has {} seeds only", files.len());
    for file in files {
        // Shown only if the check fails, and then the last line names the file.
        println!("{}", file.display());
        check(&fs::read(&file).expect("a readable file"));
    }
}

#[test]
fn heads() {
    replay("head", head::check);
}

#[test]
fn chunked_bodies() {
    replay("chunked", chunked::check);
}

#[test]
fn coded_bodies() {
    replay("coding", coding::check);
}

#[test]
fn metrics() {
    replay("metric", metric::check);
}

#[test]
fn connections() {
    replay("connection", connection::check);
}
