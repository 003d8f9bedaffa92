//! The whole server: the order in which its parts start and stop.

mod addresses;
mod settings;
mod store;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::authorization::file::TokenFile;
use crate::api::authorization::tokens::Access;
use crate::api::cors::Cors;
use crate::api::fleet::responder::FleetResponder;
use crate::api::openapi::Description;
use crate::api::ranking_cache::RankingCache;
use crate::api::route::{LABELS, NAMES};
use crate::api::sampler::sample;
use crate::api::samples::Samples;
use crate::api::service::Service;
use crate::api::state::State;
use crate::config::token_file::{self, Role};
use crate::config::units::{HumanDuration, HumanSize};
use crate::config::{Config, Overflow};
use crate::control::{Control, job_queues};
use crate::fleet::{Fleet, FleetReceiver, FleetSettings, fleet_queue};
use crate::limits::ACK_END_MS;
use crate::metric::id_hash::IdHasher;
use crate::reload::Reloads;
use crate::resources::Resources;
use crate::schema::Schema;
use crate::store::event_counters::{DropReason, EventTotals};
use crate::store::redis::queue_bytes_needed;
use crate::telemetry::busy_ratios::BusyRatios;
use crate::telemetry::counters::Counters;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::latency::Latency;
use crate::telemetry::log;
use crate::tls_files::TlsFiles;
use addresses::{announce_tls, bind, warn_if_open};
use percore::clock::{Clock, nanoseconds};
use percore::engine::Engine;
use percore::listen::Listen;
use percore::listener::Bound;
use settings::{analytics, engine_config, schema, settings};
use store::{open_spill, open_store};

/// A running server.
pub struct Server {
    state: Arc<State>,
    clock: Clock,
    engine: Engine,
    control: Control,
    fleet: Option<Fleet>,
    drain_delay: Duration,
    drain_timeout: Duration,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// The counts of the store at the end.
    pub store: EventTotals,
    /// Events rejected.
    pub rejected: u64,
    /// Requests answered.
    pub requests: u64,
    /// Events that were found waiting by a walk over the blocks, independent of the counts.
    pub walked_pending: u64,
    /// Acknowledged events that could not be written in time.
    pub lost: u64,
    /// Threads that panicked or did not end in time.
    pub threads_failed: usize,
}

/// The reason why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server cannot listen on the address.
    #[error("cannot listen on {0}: {1}")]
    Listen(Listen, io::Error),
    /// Files that flags name cannot be used, or not any more: a line for each mistake.
    #[error("{}", .0.join("\ncorepulse: "))]
    Files(Vec<String>),
    /// The system grants too few descriptors or threads.
    #[error("cannot start a core: {0}")]
    System(io::Error),
    /// The directory of `--spill` cannot be used.
    #[error("--spill: {} cannot be used: {}", .0.display(), .1)]
    Spill(PathBuf, io::Error),
    /// The queue is smaller than the largest request needs, in bytes; `--store-overflow reject`
    /// would refuse that request for ever.
    #[error(
        "--store-queue: expected at least {} for --store-overflow reject, where a request of \
         --max-body has to fit beside what --workers have in hand",
        HumanSize(.0.next_multiple_of(1 << 20))
    )]
    Queue(usize),
}

impl Server {
    /// Starts the server. It listens first, so that a port in use is known before any thread runs;
    /// the cores start last, so that the first request finds everything ready.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, the queue is too small, or the system grants too few
    /// descriptors or threads.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let resources = Resources::observe(config);
        let workers = resources.workers;
        let schema = schema(config);
        check_queue(config, schema, workers)?;
        let mut clock = Clock::start();
        let tls_files = TlsFiles::open(config, clock).map_err(StartError::Files)?;
        let acceptor = tls_files.as_ref().map(TlsFiles::acceptor);
        let tls_expires_unix_s = tls_files.as_ref().map(TlsFiles::expires_unix_s);
        let address =
            bind(config, workers).map_err(|(listen, error)| StartError::Listen(listen, error))?;

        let (queue, jobs) = job_queues();
        let flushes = Arc::new(Latency::new(1, 1));
        let ids = IdHasher::default();
        let spill = open_spill(config, clock)
            .map_err(|error| StartError::Spill(config.spill.clone().unwrap_or_default(), error))?;
        let store = open_store(config, schema, (workers, ids.clone()), clock, &flushes, spill)
            .map_err(StartError::System)?;
        let (fleet_queue, fleet_receiver) = fleet_queue(config.window_save);
        let mut reloads = Reloads::default();
        let access = open_access(config, &mut reloads)?;
        tls_files.into_iter().for_each(|files| reloads.add(Box::new(files)));
        let reload_counts = reloads.counts();
        let state = Arc::new(State {
            analytics: analytics(config, schema, workers, &ids),
            ids,
            store,
            counters: Arc::new(Counters::new(workers, LABELS)),
            latency: Arc::new(Latency::new(workers, NAMES.len())),
            flushes,
            busy_ratios: BusyRatios::new(clock.now()),
            samples: Samples::new(clock.now()),
            reloads: Arc::clone(&reload_counts),
            access,
            proxies: config.trust_proxy.clone(),
            tls_expires_unix_s,
            rankings: RankingCache::default(),
            exposition: Exposition::default(),
            description: Description::new(schema),
            jobs: queue,
            fleet: config.fleet.is_some().then_some(fleet_queue),
            cors: config.cors_origin.as_ref().map(Cors::new),
            settings: settings(config, schema, &resources),
        });
        let sampled = Arc::clone(&state);
        let sample = Box::new(move |now| sample(&sampled, now));
        let reloads = (reloads, reload_counts);
        let control = Control::start(jobs, state.store.is_remote(), clock, sample, reloads)
            .map_err(StartError::System)?;
        let fleet = start_fleet(config, &state, fleet_receiver, clock);
        let fleet = fleet.map_err(StartError::System)?;
        let engine_config = engine_config(config, &resources, acceptor, clock);
        let service = |number| Service::new(number, Arc::clone(&state));
        let engine = match address.start(&engine_config, workers, service) {
            Ok(engine) => engine,
            Err(error) => {
                // Stops the threads that run already.
                let _ = fleet.is_none_or(|fleet| fleet.stop(Duration::ZERO));
                let _ = control.stop();
                let _ = state.store.flush(Duration::ZERO);
                return Err(StartError::System(error));
            }
        };
        let (drain_delay, drain_timeout) = (config.drain_delay, config.drain_timeout);
        let server = Self { state, clock, engine, control, fleet, drain_delay, drain_timeout };
        server.announce(config, &resources);
        Ok(server)
    }

    /// Logs the address, the store, and warnings about the resources.
    fn announce(&self, config: &Config, resources: &Resources) {
        let bound = self.bound();
        let address = bound.addresses().first().map_or_else(String::new, ToString::to_string);
        let tls_address = bound.secure_addresses().first().map(ToString::to_string);
        let stats = self.state.store.stats();
        log::info!(
            %address,
            tls_address,
            fields = self.state.settings.schema.names(),
            engine = self.engine.name(),
            workers = self.engine.workers(),
            placement = %resources.placement,
            connections_max = self.state.settings.connections_max,
            ingest_token = self.is_asked_for(Role::Write),
            read_token = self.is_asked_for(Role::Read),
            "listening on {bound}"
        );
        log::info!(
            kind = stats.kind,
            at = self.state.settings.store_at,
            capacity_bytes = stats.capacity_bytes,
            ttl = %HumanDuration(config.store_ttl),
            "store"
        );
        if let Some(expires) = &self.state.tls_expires_unix_s {
            announce_tls(expires.load(Ordering::Relaxed), config, self.clock);
        }
        warn_if_open(bound, config, self.state.access.as_deref());
        resources.warn(config);
    }

    /// Returns what the log says of the tokens of a role.
    fn is_asked_for(&self, role: Role) -> &'static str {
        let access = self.state.access.as_ref();
        if access.is_some_and(|access| access.table().asks_for(role)) { "set" } else { "none" }
    }

    /// Returns the addresses on which the server listens, with the port that the kernel chose for
    /// 0.
    pub const fn bound(&self) -> &Bound {
        self.engine.bound()
    }

    /// Returns true if every thread runs, as until the drain.
    pub fn is_sound(&self) -> bool {
        let control_and_store = self.control.is_running() && self.state.store.is_running();
        let fleet = self.fleet.as_ref().is_none_or(Fleet::is_running);
        control_and_store && fleet && self.engine.is_running()
    }

    /// Asks for the files to be read again that can be: a control thread does, and logs what came
    /// of it.
    pub fn reload(&self) {
        self.control.reload();
    }

    /// Logs the warnings that are due for floods that have stopped.
    pub fn log_due_warnings(&self) {
        let mut clock = self.clock;
        self.state.counters.warnings().log_due(clock.now());
    }

    /// Returns the state that all cores share.
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Stops the server in order, all within the drain time-out: `/ready` turns 503; connections
    /// are still accepted for the drain delay; then the listeners close, requests under way are
    /// finished, and the store is flushed. `pause` waits for the delay, and may end it early.
    #[must_use]
    pub fn drain(mut self, pause: impl FnOnce(Duration)) -> DrainReport {
        let deadline_ns = self.clock.now().mono_ns.saturating_add(nanoseconds(self.drain_timeout));
        // The embedded store needs no time.
        let remote = self.state.store.is_remote();
        let store_ns = if remote { nanoseconds(store_share(self.drain_timeout)) } else { 0 };
        let end_ns = store_ns.saturating_add(ACK_END_MS * 1_000_000);
        self.state.store.end_waiters_by(deadline_ns.saturating_sub(end_ns));
        self.engine.begin_drain();
        if !self.drain_delay.is_zero() {
            log::info!(delay = %HumanDuration(self.drain_delay), "draining");
            pause(self.drain_delay);
        }
        // The drain waits for its connection, and a profile may run for another minute.
        self.control.stop_profiles();
        let cores_ns =
            deadline_ns.saturating_sub(store_ns).saturating_sub(self.clock.now().mono_ns);
        let failed = self.engine.drain(Duration::from_nanos(cores_ns)).err();
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
        if let Some(fleet) = self.fleet {
            // Its counters are final now.
            let left_ns = deadline_ns.saturating_sub(self.clock.now().mono_ns);
            if !fleet.stop(Duration::from_nanos(left_ns)) {
                log::error!("the fleet's thread failed, or could not be waited for");
                threads_failed += 1;
            }
        }
        let report = DrainReport {
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

impl DrainReport {
    /// Writes the last line of the log.
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
            spilled = self.store.dropped_by(DropReason::Spilled),
            pending = self.walked_pending,
            "stopped"
        );
    }
}

/// Returns the part of the drain time-out that is reserved for the store.
fn store_share(drain_timeout: Duration) -> Duration {
    (drain_timeout / 4).min(Duration::from_secs(2))
}

/// Checks that the queue has room for the largest request, if it refuses requests when it is full.
fn check_queue(config: &Config, schema: &'static Schema, workers: usize) -> Result<(), StartError> {
    if config.redis_url.is_none() || config.store_overflow != Overflow::Reject {
        return Ok(());
    }
    let prefix_bytes = config.redis_prefix.len();
    let needed = queue_bytes_needed(schema, workers, config.body_bytes_max, prefix_bytes);
    if config.store_queue_bytes < needed { Err(StartError::Queue(needed)) } else { Ok(()) }
}

/// Returns the tokens, if there are any, and adds their file to those that can be read again.
fn open_access(config: &Config, reloads: &mut Reloads) -> Result<Option<Arc<Access>>, StartError> {
    let file = config.tokens.as_ref();
    let lines = file.map(|path| token_file::read(path)).transpose().map_err(|mistakes| {
        StartError::Files(mistakes.iter().map(|what| format!("--tokens: {what}")).collect())
    })?;
    let access = Access::new(config, lines).map(Arc::new);
    if let (Some(path), Some(access)) = (file, &access) {
        reloads.add(Box::new(TokenFile::new(path.clone(), Arc::clone(access))));
    }
    Ok(access)
}

/// Starts the member of a fleet, if this instance is to be in one.
fn start_fleet(
    config: &Config,
    state: &Arc<State>,
    receiver: FleetReceiver,
    clock: Clock,
) -> io::Result<Option<Fleet>> {
    let (Some(name), Some(url)) = (config.fleet.clone(), config.redis_url.clone()) else {
        return Ok(None);
    };
    let settings = FleetSettings {
        name,
        instance: config.instance.clone(),
        url,
        common: config.common_values().map(|(flag, value)| (flag.to_owned(), value)).collect(),
        save_interval: config.window_save,
        device_ttl: config.device_ttl,
    };
    let responder = Box::new(FleetResponder::new(Arc::clone(state), clock));
    let windows = Arc::<State>::clone(state);
    Fleet::start(settings, receiver, responder, windows, clock).map(Some)
}
