//! The program with a Redis: what is written, in which order, and what faults cost.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod acknowledgement;
mod cluster;
mod errors;
mod faults;
mod fields;
mod log;
mod network;
mod nodes;
mod options;
mod order;
mod queue;
mod reading;
mod replies;
mod roundtrip;
mod sentinel;
mod spill;
mod stopping;
mod together;
