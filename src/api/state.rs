//! What all cores share.

use std::fmt;
use std::sync::Arc;

use super::cors::Cors;
use super::later::JobQueue;
use crate::analytics::Analytics;
use crate::config::Secret;
use crate::store::Store;
use crate::telemetry::busy_ratios::BusyRatios;
use crate::telemetry::counters::Counters;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::latency::Latency;

/// The islands, and the settings that decisions depend on.
pub struct State {
    /// Windows and verdicts.
    pub analytics: Analytics,
    /// What was accepted.
    pub store: Store,
    /// Counters of the cores.
    pub counters: Arc<Counters>,
    /// Durations of the cores.
    pub latency: Arc<Latency>,
    /// Durations of flushes to a remote store.
    pub flushes: Arc<Latency>,
    /// The cores' share of time at work.
    pub busy_ratios: BusyRatios,
    /// Writes all of it for Prometheus.
    pub exposition: Exposition,
    /// Where work for the control threads waits.
    pub jobs: Box<dyn JobQueue>,
    /// Which pages in browsers may read answers, if any.
    pub cors: Option<Cors>,
    /// Settings.
    pub settings: Settings,
}

impl fmt::Debug for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The islands hold a million numbers that nobody wants in a log.
        out.debug_struct("State").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the answers depend on, beside the islands' own settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this instance.
    pub instance: String,
    /// Cores that serve.
    pub cores: usize,
    /// `--max-body`.
    pub body_bytes_max: usize,
    /// An event older than this counts as late.
    pub store_ttl_ms: i64,
    /// The token of ingestion and look-ups.
    pub ingest_token: Option<Secret>,
    /// The token of `/debug/pprof/`.
    pub admin_token: Option<Secret>,
    /// `--max-devices`.
    pub devices_max: usize,
    /// Connections that may be open.
    pub connections_max: usize,
    /// `--request-timeout`: how long work may wait for the control threads.
    pub patience_ns: u64,
}
