//! The version that `--version` prints: the package's and, where it is known, the commit.
//!
//! A variable names the commit, as the image is built without a history. Else it is that of the
//! checkout, for release builds alone: a debug build would be made anew with each commit. A tarball
//! has none.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The variable that names the commit to a build, and to what is built.
const COMMIT: &str = "COREPULSE_COMMIT";

/// The sources of the server: with a change in any of them, a build is not of its commit.
const SOURCES: [&str; 8] =
    ["build.rs", "src", "percore/src", "vendor", "web", "openapi.json", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-env-changed={COMMIT}");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = match env::var(COMMIT) {
        Ok(named) => named.split_whitespace().next().map(str::to_owned),
        Err(_) if env::var("PROFILE").is_ok_and(|profile| profile == "release") => of_checkout(),
        Err(_) => None,
    };
    let commit = commit.filter(|commit| commit != "unknown");
    let more = commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=COREPULSE_VERSION={}{more}", env!("CARGO_PKG_VERSION"));
    println!("cargo::rustc-env={COMMIT}={}", commit.as_deref().unwrap_or("unknown"));
}

/// Returns the commit of the checkout, if this is one and no folder within another.
fn of_checkout() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    // Of where it is built, and not of where this program was: both may have moved.
    let package = fs::canonicalize(env::var_os("CARGO_MANIFEST_DIR")?).ok()?;
    if fs::canonicalize(top).ok()? != package {
        return None;
    }
    let of_git = ["HEAD", "logs/HEAD"].map(|name| git(&["rev-parse", "--git-path", name]));
    let watched = of_git.iter().flatten().map(String::as_str).chain(SOURCES);
    for path in watched.filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    git(&["describe", "--always", "--dirty", "--exclude=*"])
}

/// Returns what git says, in one line.
fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| said.trim().to_owned())
}
