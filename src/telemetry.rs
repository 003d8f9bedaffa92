//! Metrics, latencies, logs and profiles of the server itself.
//!
//! ```text
//! core ─▶ counters (one writer each) ──────────┐
//! core ─▶ durations ─(turn end)▶ latency (HDR) ├─▶ families ─▶ exposition, open_metrics
//! core ─▶ busy nanoseconds ─▶ busy_ratios ─────┘   (the API adds the analytics and the store)
//! ```
//!
//! The API declares every metric as a [`family`], and [`exposition`] writes them for Prometheus.
//! Once a second it adds to a [`history`] of five minutes, with [`recent_durations`] of one.
//! [`log`] starts the structured log on stderr, where a [`log_limiter`] for each [`warning`] bounds
//! the number of lines, and [`escaped`] makes the text of peers harmless. A [`profile`] samples
//! where CPU time is spent.

pub mod busy_ratios;
pub mod counters;
pub mod escaped;
pub mod exposition;
pub mod family;
pub mod history;
pub mod latency;
pub mod log;
pub mod log_limiter;
pub mod open_metrics;
pub mod profile;
pub mod recent_durations;
pub mod resident_memory;
pub mod warning;
