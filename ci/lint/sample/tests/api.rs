//! A test, and a root of its own.
#[path = "support/server.rs"]
mod server;
use proptest::prelude;
