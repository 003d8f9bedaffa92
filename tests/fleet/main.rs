//! Replicas of a fleet, and what their answers are worth while Redis or one of them fails.
//!
//! Each fault has a test of real processes. While it lasts, events are posted to every replica that
//! runs, and every replica is asked: POSTs and the replica's own answer are as ever, and the answer
//! of the fleet is true or says that it is not complete. After it the fleet is whole by itself.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod anomalies;
mod devices;
mod fleet;
mod log;
mod redis;
mod replicas;
mod scope;
mod servers;
mod windows;
