//! The whole server: what is started in which order, and stopped in which.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::analytics::{Analytics, AnalyticsSettings};
use crate::api::cors::Cors;
use crate::api::route::{LABELS, NAMES};
use crate::api::service::Service;
use crate::api::state::{Settings, State};
use crate::api::store_observer::StoreObserver;
use crate::config::units::{HumanDuration, HumanSize};
use crate::config::{Config, Overflow};
use crate::control::{Control, job_queues};
use crate::engine::BoundAddress;
use crate::resources::Means;
use crate::store::event_counters::{DropReason, EventTotals};
use crate::store::redis::queue_bytes_needed;
use crate::store::{RedisSettings, Store};
use crate::telemetry::busy_ratios::BusyRatios;
use crate::telemetry::counters::Counters;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::latency::Latency;
use crate::telemetry::log;
use percore::clock::{Clock, nanoseconds};
use percore::context::ConnectionLimits;
use percore::engine::{Engine, EngineConfig};
use percore::listen::Listen;
use percore::listener::Bound;

/// A running server.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    clock: Clock,
    engine: Engine,
    control: Control,
    drain_delay: Duration,
    drain_timeout: Duration,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The store's books at the end.
    pub store: EventTotals,
    /// Events rejected.
    pub rejected: u64,
    /// Requests answered.
    pub requests: u64,
    /// Events that an independent walk still found waiting.
    pub walked_pending: u64,
    /// Events that were acknowledged and could not be written in time.
    pub lost: u64,
    /// Threads that did not reach their orderly end.
    pub threads_failed: usize,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen(Listen, io::Error),
    /// The system grants too few descriptors, or no thread.
    System(io::Error),
    /// The queue could not take the largest request, which `--store-overflow reject` would refuse
    /// for ever: the bytes that it needs.
    Queue(usize),
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(out, "cannot listen on {address}: {error}"),
            Self::System(error) => write!(out, "cannot start a core: {error}"),
            Self::Queue(needed) => write!(
                out,
                "--store-queue: expected at least {} for --store-overflow reject, where a request \
                 of --max-body has to fit beside what --workers have in hand",
                HumanSize(needed.next_multiple_of(1 << 20))
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl Server {
    /// Starts everything: the listeners first, so that a port in use is known before any thread
    /// runs; the cores last, so that the first request finds all there.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, the queue is too small for what it is to take, or the
    /// system grants too few descriptors or threads.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let means = Means::observe(config);
        let (workers, connections_max) = (means.workers, means.connections_max);
        check_queue(config, workers)?;
        let address = BoundAddress::bind(config.engine, &config.listen, workers)
            .map_err(|error| StartError::Listen(config.listen.clone(), error))?;

        let mut clock = Clock::start();
        let (queue, jobs) = job_queues();
        let flushes = Arc::new(Latency::new(1, 1));
        let store = open_store(config, workers, clock, &flushes).map_err(StartError::System)?;
        let state = Arc::new(State {
            analytics: Analytics::new(analytics_settings(config), workers),
            store,
            counters: Arc::new(Counters::new(workers, LABELS)),
            latency: Arc::new(Latency::new(workers, NAMES.len())),
            flushes,
            busy_ratios: BusyRatios::new(clock.now()),
            exposition: Exposition::default(),
            jobs: queue,
            cors: config.cors_origin.as_ref().map(Cors::new),
            settings: settings(config, workers, connections_max),
        });
        let control =
            Control::start(jobs, state.store.is_remote(), clock).map_err(StartError::System)?;
        let engine_config = EngineConfig {
            placement: means.placement.clone(),
            limits: ConnectionLimits {
                idle_ms: milliseconds(config.idle_timeout),
                request_ms: milliseconds(config.request_timeout),
                body_bytes_max: config.body_bytes_max,
            },
            connection_age_ms: config.connection_age.map_or(u64::MAX, milliseconds),
            connections_max,
            clock,
        };
        let service = |number| Service::new(number, Arc::clone(&state));
        let engine = match address.start(&engine_config, workers, service) {
            Ok(engine) => engine,
            Err(error) => {
                // What runs already is stopped again.
                let _ = control.stop();
                let _ = state.store.flush(Duration::ZERO);
                return Err(StartError::System(error));
            }
        };
        let (drain_delay, drain_timeout) = (config.drain_delay, config.drain_timeout);
        let server = Self { state, clock, engine, control, drain_delay, drain_timeout };
        server.announce(config, &means);
        Ok(server)
    }

    fn announce(&self, config: &Config, means: &Means) {
        let bound = self.bound();
        let address = bound.addresses().first().map_or_else(String::new, ToString::to_string);
        let stats = self.state.store.stats();
        log::info!(
            %address,
            engine = self.engine.name(),
            workers = self.engine.workers(),
            placement = %means.placement,
            connections_max = self.state.settings.connections_max,
            ingest_token = if config.ingest_token.is_some() { "set" } else { "none" },
            "listening on {bound}"
        );
        log::info!(
            kind = stats.kind,
            at = config.redis_url.as_ref().map_or("this process".to_owned(), ToString::to_string),
            capacity_bytes = stats.capacity_bytes,
            ttl = %HumanDuration(config.store_ttl),
            "store"
        );
        means.warn(config);
    }

    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        self.engine.bound()
    }

    /// Whether every thread runs, as they do until they are drained.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let helpers = self.control.is_running() && self.state.store.is_running();
        helpers && self.engine.is_running()
    }

    /// Logs what has happened too often to be told each time, and has ended since.
    pub fn log_due_warnings(&self) {
        let mut clock = self.clock;
        self.state.counters.warnings().log_due(clock.now());
    }

    /// What all cores share, to be looked at.
    #[must_use]
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Stops it in order, all within the drain time-out: `/ready` turns 503; for the drain delay
    /// connections are still taken; then the listeners close, what is under way is finished, and
    /// the store is flushed. `pause` waits for the delay, and may cut it short.
    #[must_use]
    pub fn drain(mut self, pause: impl FnOnce(Duration)) -> Report {
        let deadline_ns = self.clock.now().mono_ns.saturating_add(nanoseconds(self.drain_timeout));
        // Nothing has to be waited for in memory.
        let remote = self.state.store.is_remote();
        let for_store_ns = if remote { nanoseconds(for_store(self.drain_timeout)) } else { 0 };
        self.engine.begin_drain();
        if !self.drain_delay.is_zero() {
            log::info!(delay = %HumanDuration(self.drain_delay), "draining");
            pause(self.drain_delay);
        }
        // Its connection is waited for below, and a profile may have a minute to go.
        self.control.stop_profiles();
        let for_cores_ns =
            deadline_ns.saturating_sub(for_store_ns).saturating_sub(self.clock.now().mono_ns);
        let failed = self.engine.drain(Duration::from_nanos(for_cores_ns)).err();
        let mut threads_failed = failed.map_or(0, |failed| failed.0);
        if !self.control.stop() {
            log::error!("a control thread panicked");
            threads_failed += 1;
        }
        let left_ns = deadline_ns.saturating_sub(self.clock.now().mono_ns);
        let flushed = self.state.store.flush(Duration::from_nanos(left_ns));
        if !flushed.in_order {
            log::error!("the store's thread failed, or could not be waited for");
            threads_failed += 1;
        }
        let report = Report {
            store: self.state.store.stats().totals,
            rejected: self.state.counters.totals().rejected_all(),
            requests: self.state.counters.totals().requests_all(),
            walked_pending: self.state.store.walk_pending(),
            lost: flushed.lost,
            threads_failed,
        };
        if flushed.lost > 0 {
            log::warn!(events = flushed.lost, "not all events could be written in time");
        }
        self.state.counters.warnings().log_all();
        report.log();
        report
    }
}

impl Report {
    /// The last line of the log.
    fn log(&self) {
        log::info!(
            requests = self.requests,
            accepted = self.store.accepted,
            rejected = self.rejected,
            stored = self.store.stored,
            coalesced = self.store.coalesced,
            dropped = self.store.dropped_all(),
            overflow = self.store.dropped_by(DropReason::Overflow),
            expired = self.store.dropped_by(DropReason::Expired),
            refused = self.store.dropped_by(DropReason::Refused),
            shutdown = self.store.dropped_by(DropReason::Shutdown),
            pending = self.walked_pending,
            "stopped"
        );
    }
}

/// The part of the drain time-out that the cores leave to the store.
fn for_store(drain_timeout: Duration) -> Duration {
    (drain_timeout / 4).min(Duration::from_secs(2))
}

/// A queue that refuses has to take the largest request at some time.
fn check_queue(config: &Config, workers: usize) -> Result<(), StartError> {
    if config.redis_url.is_none() || config.store_overflow != Overflow::Reject {
        return Ok(());
    }
    let prefix_bytes = config.redis_prefix.len();
    let needed = queue_bytes_needed(workers, config.body_bytes_max, prefix_bytes);
    if config.store_queue_bytes < needed { Err(StartError::Queue(needed)) } else { Ok(()) }
}

fn open_store(
    config: &Config,
    workers: usize,
    clock: Clock,
    flushes: &Arc<Latency>,
) -> io::Result<Store> {
    let Some(url) = config.redis_url.clone() else {
        let ttl_ms = milliseconds(config.store_ttl);
        return Ok(Store::memory(workers, config.memory_store_bytes, ttl_ms));
    };
    let settings = RedisSettings {
        url,
        prefix: config.redis_prefix.clone(),
        queue_bytes: config.store_queue_bytes,
        rejects: config.store_overflow == Overflow::Reject,
        ttl: config.store_ttl,
    };
    let watch = Box::new(StoreObserver::new(Arc::clone(flushes)));
    Store::redis(workers, settings, clock, watch)
}

fn analytics_settings(config: &Config) -> AnalyticsSettings {
    AnalyticsSettings {
        window: config.window,
        threshold: config.z_threshold,
        min_samples: config.min_samples,
        cooldown: config.cooldown,
        devices_max: config.devices_max,
        device_ttl_ns: nanoseconds(config.device_ttl),
    }
}

fn settings(config: &Config, cores: usize, connections_max: usize) -> Settings {
    Settings {
        instance: config.instance.clone(),
        cores,
        body_bytes_max: config.body_bytes_max,
        store_ttl_ms: i64::try_from(config.store_ttl.as_millis()).unwrap_or(i64::MAX),
        ingest_token: config.ingest_token.clone(),
        admin_token: config.admin_token.clone(),
        devices_max: config.devices_max,
        connections_max,
        request_timeout_ns: nanoseconds(config.request_timeout),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
