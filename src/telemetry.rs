//! Metrics, latencies, logs and profiles of the server itself.
//!
//! ```text
//! core ─▶ counters (one writer each) ──────────┐
//! core ─▶ tally ─(end of turn)─▶ latency (HDR) ├─▶ snapshot ─▶ exposition, open_metrics
//! core ─▶ busy nanoseconds ─▶ busy_ratios ─────┘   (the API adds analytics and the store's books)
//! ```
//!
//! Every metric is declared in [`table`]. A [`snapshot`] holds the values of one moment, and
//! [`exposition`] writes it for Prometheus. [`log`] starts the structured log on stderr, where a
//! [`log_limiter`] for each [`warning`] bounds the number of lines, and [`escaped`] makes the text
//! of peers harmless. A [`profile`] samples where CPU time is spent.

pub mod busy_ratios;
pub mod counters;
pub mod escaped;
pub mod exposition;
pub mod latency;
pub mod log;
pub mod log_limiter;
pub mod open_metrics;
pub mod profile;
pub mod snapshot;
pub mod table;
pub mod warning;
