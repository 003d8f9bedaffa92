//! The invariants that `make fuzz` looks for a breach of, on bytes that are known to be hard:
//! every seed of the fuzz targets, and everything that ever broke one of them.
//!
//! A target is a function `check` here; `fuzz/fuzz_targets/` includes these files by path.

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
mod receive;
mod tls;

use testkit::fuzz_inputs::replay;

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
fn connections() {
    replay("connection", connection::check);
}

#[test]
fn connections_with_tls() {
    replay("tls", tls::check);
}
