//! The state that all cores share.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::authorization::tokens::Access;
use super::cors::Cors;
use super::jobs::{Execution, Job, JobQueue, Lane};
use super::openapi::Description;
use super::ranking_cache::RankingCache;
use super::samples::Samples;
use crate::analytics::Analytics;
use crate::fleet::FleetQueue;
use crate::metric::id_hash::IdHasher;
use crate::reload::ReloadCounts;
use crate::schema::Schema;
use crate::store::Store;
use crate::telemetry::busy_ratios::BusyRatios;
use crate::telemetry::counters::Counters;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::latency::Latency;
use percore::http::handler::{Context, Reply};
use percore::http::response::Response;
use percore::networks::Networks;

/// The islands below, and the settings that answers depend on.
pub struct State {
    /// The hash of device ids, for the two below.
    pub ids: IdHasher,
    /// Windows and verdicts of devices.
    pub analytics: Analytics,
    /// The accepted events.
    pub store: Store,
    /// Counters of the cores.
    pub counters: Arc<Counters>,
    /// Durations of requests.
    pub latency: Arc<Latency>,
    /// Durations of flushes to a remote store.
    pub flushes: Arc<Latency>,
    /// The share of time that each core is busy.
    pub busy_ratios: BusyRatios,
    /// The samples that are taken once a second.
    pub samples: Samples,
    /// The time at which the certificate of TLS expires, in seconds since 1970, if TLS is spoken.
    pub tls_expires_unix_s: Option<Arc<AtomicI64>>,
    /// Attempts to read files again.
    pub reloads: Arc<ReloadCounts>,
    /// The tokens and who failed to show one, if there are any.
    pub access: Option<Arc<Access>>,
    /// The proxies that are believed what they say of their clients.
    pub proxies: Option<Arc<Networks>>,
    /// The lists of devices that pollers share.
    pub rankings: RankingCache,
    /// The writer of the exposition for Prometheus.
    pub exposition: Exposition,
    /// The queues of the control threads.
    pub jobs: Box<dyn JobQueue>,
    /// The fleet, if this instance is in one.
    pub fleet: Option<FleetQueue>,
    /// The description of the API for programs.
    pub description: Description,
    /// The headers for pages in browsers, if any may read answers.
    pub cors: Option<Cors>,
    /// The settings that answers depend on.
    pub settings: Settings,
}

impl State {
    /// Queues a job that answers the request of `context`. If the job is not taken, the reason is
    /// answered at once.
    pub fn submit(
        self: &Arc<Self>,
        lane: Lane,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
        work: impl FnOnce(&Self, &Execution<'_>, &mut Vec<u8>) -> Response + Send + 'static,
    ) -> Reply {
        let deadline_ns = context.now.mono_ns.saturating_add(self.settings.request_timeout_ns);
        let state = Arc::clone(self);
        let work =
            move |execution: &Execution<'_>, body: &mut Vec<u8>| work(&state, execution, body);
        match self.jobs.submit(Job::new(lane, route, deadline_ns, context.ticket(), work)) {
            Ok(()) => Reply::Later,
            Err((job, error)) => {
                job.cancel();
                Reply::Now(error.answer(body, route))
            }
        }
    }
}

/// The settings that answers depend on, beside the islands' own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The members that a metric may have.
    pub schema: &'static Schema,
    /// The name of this instance.
    pub instance: String,
    /// The name of the fleet, if this instance is in one.
    pub fleet: Option<String>,
    /// The number of cores that serve.
    pub cores: usize,
    /// `--max-body`.
    pub body_bytes_max: usize,
    /// The age from which an event counts as late, in milliseconds.
    pub store_ttl_ms: i64,
    /// True if the exposition asks for a token.
    pub guards_exposition: bool,
    /// True if clients show certificates, which name their device.
    pub identifies_clients: bool,
    /// `--max-devices`.
    pub devices_max: usize,
    /// The number of connections that may be open.
    pub connections_max: usize,
    /// The memory of the machine or, if less, of the control group, if it is known.
    pub memory_limit_bytes: Option<u64>,
    /// The address of the store, for people.
    pub store_at: String,
    /// True if requests are refused when the queue of the store is full.
    pub store_rejects: bool,
    /// True if POST of metrics is answered when the store has confirmed them, unless the request
    /// says otherwise.
    pub waits_for_store: bool,
    /// `--ack-timeout`.
    pub ack_timeout_ns: u64,
    /// `--request-timeout`, which bounds the wait of a job for its thread.
    pub request_timeout_ns: u64,
}
