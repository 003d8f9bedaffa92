//! corepulse: a thread-per-core HTTP server for streams of device metrics.
pub mod analytics;
pub mod clock;
pub mod config;
pub mod http;
pub mod limits;
pub mod metric;
pub mod store;
pub mod sync;
pub mod telemetry;
