//! A server in this process, and a client of it: a part of what the wire tests stand on.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a part of it is used, and a test that panics has failed"
)]

#[path = "../../tests/support/answer.rs"]
mod answer;
#[path = "../../tests/support/client.rs"]
mod client;
#[path = "../../tests/support/server.rs"]
mod server;

pub use client::get;
pub use server::Running;

/// How long anything may take that ought to happen soon.
pub const SOON: std::time::Duration = std::time::Duration::from_secs(10);
