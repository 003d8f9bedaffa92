//! The inputs of the fuzz targets, replayed: every seed, and everything that ever broke one.
//!
//! Seeds stand in `fuzz/seeds/<target>/`, what was found in `fuzz/regressions/<target>/`, one input
//! a file.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the inputs of one target: its seeds, and what was found.
fn inputs(target: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
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

/// Calls `check` with every input of a target. It panics where an invariant does not hold.
pub fn replay(target: &str, check: fn(&[u8])) {
    let files = inputs(target);
    assert!(files.len() >= 10, "{target} has {} seeds only", files.len());
    for file in files {
        // Shown only if the check fails, and then the last line names the file.
        println!("{}", file.display());
        check(&fs::read(&file).expect("a readable file"));
    }
}
