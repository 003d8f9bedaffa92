//! Numbers and accounts end to end: real sockets against a server in this process.
//!
//! `/analyze`, the exposition and the store are compared with a naive reference in twice the
//! precision, with plain lists of what was sent, and with what the answers acknowledged. Protocol
//! and bad input are tested elsewhere.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "../reference/double_double.rs"]
mod double_double;
#[path = "../http/in_process.rs"]
mod in_process;
#[path = "../reference/series.rs"]
mod series;

mod anonymous;
mod end;
mod event;
mod forms;
mod identity;
mod json;
mod naive;
mod recorded;
mod replay;
mod server;
mod shape;
mod shapes;
mod silence;
mod spikes;
mod store;
mod times;
mod union;
mod visibility;
