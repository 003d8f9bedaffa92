//! What the server tells about itself: metrics, latencies and logs.
//!
//! ```text
//! core ─▶ counters (one writer each) ──────────┐
//! core ─▶ tally ─(end of turn)─▶ latency (HDR) ├─▶ snapshot ─▶ exposition, open_metrics
//! core ─▶ busy nanoseconds ─▶ busy (ratio) ────┘   (the API adds analytics and the store's books)
//! ```
//!
//! Every metric that exists stands in [`table`]. A [`snapshot`] holds their values at one moment,
//! [`exposition`] writes it for Prometheus, and [`log`] starts the structured log on stderr, where
//! a [`notice`] of each [`trouble`] keeps it short and [`foreign`] text harmless. A [`profile`]
//! says where CPU time goes, also as a [`flamegraph`], with each [`symbol`] named for readers.

pub mod busy;
pub mod counters;
pub mod exposition;
pub mod flamegraph;
pub mod foreign;
pub mod latency;
pub mod log;
pub mod notice;
pub mod open_metrics;
pub mod profile;
pub mod snapshot;
pub mod symbol;
pub mod table;
pub mod trouble;
