//! What the wire tests stand on: a strict client, a server in this process, and the real binary.
//!
//! Nothing in here uses the server's own HTTP code: a mistake made twice would pass for right.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "each test file uses a part of this, and a test that panics has failed"
)]

#[path = "answer.rs"]
pub mod answer;
#[path = "client.rs"]
pub mod client;
#[path = "process.rs"]
pub mod process;
#[path = "server.rs"]
pub mod server;

pub use answer::{Answer, assert_problem, scrape, sum_of};
pub use client::{Barrier, Client, get, get_here, post};
pub use process::Process;
pub use server::Running;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that ought to happen soon.
pub const SOON: Duration = Duration::from_secs(10);

/// Looks until `found` answers, or fails after [`SOON`].
pub fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    until_within(SOON, what, found)
}

/// The same for what takes its time even where all is well.
pub fn until_within<T>(limit: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::park_timeout(Duration::from_millis(2));
    }
}
