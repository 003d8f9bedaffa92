//! The whole server: what is started in which order, and stopped in which.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::analytics::{self, Analytics};
use crate::api::route::{LABELS, NAMES};
use crate::api::service::Service;
use crate::api::state::{Settings, State};
use crate::clock::{Clock, nanoseconds};
use crate::config::Config;
use crate::config::shown::Shown;
use crate::control::{Control, job_queue};
use crate::engine::connections::Population;
use crate::engine::drain::Drain;
use crate::engine::lent::Patience;
use crate::engine::listener::Listener;
use crate::engine::mailbox::Inbox;
use crate::engine::meter::Meter;
use crate::engine::percore::{Common, Core};
use crate::engine::placement::{Placement, Surroundings, decide, pin_current_thread};
use crate::engine::{descriptors, listener};
use crate::store::Store;
use crate::store::ledger::Totals;
use crate::telemetry::busy::Busy;
use crate::telemetry::counters::Counters;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::latency::Latency;
use crate::telemetry::log;

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    drain: Arc<Drain>,
    clock: Clock,
    cores: Vec<(Arc<Inbox>, JoinHandle<io::Result<()>>)>,
    failures: Arc<AtomicUsize>,
    control: Control,
    drain_delay: Duration,
    drain_timeout: Duration,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The store's books at the end.
    pub store: Totals,
    /// Events rejected.
    pub rejected: u64,
    /// Requests answered.
    pub requests: u64,
    /// Events that an independent walk still found waiting.
    pub walked_pending: u64,
    /// Cores that did not reach their orderly end.
    pub cores_failed: usize,
}

impl Server {
    /// Starts everything: the listeners first, so that a port in use is known before any thread
    /// runs; the cores last, so that the first request finds all there.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the system grants too few descriptors or threads.
    pub fn start(config: &Config) -> io::Result<Self> {
        let around = Surroundings::observe();
        let workers = config.workers.unwrap_or_else(|| around.workers());
        let placement = decide(config.pin, workers, &around);
        let connections_max =
            descriptors::connections_max(config.connections_max, descriptors::raise_limit());
        let listeners = listener::open(config.listen, workers)?;
        let address = listeners.first().map_or(Ok(config.listen), Listener::local_addr)?;

        let mut clock = Clock::start();
        let (queue, jobs) = job_queue();
        let state = Arc::new(State {
            analytics: Analytics::new(analytics_settings(config), workers),
            store: Store::memory(
                workers,
                config.memory_store_bytes,
                milliseconds(config.store_ttl),
            ),
            counters: Arc::new(Counters::new(workers, LABELS)),
            latency: Arc::new(Latency::new(workers, NAMES.len())),
            busy: Busy::new(clock.now()),
            exposition: Exposition::default(),
            jobs: queue,
            settings: settings(config, workers, connections_max),
        });
        let control = Control::start(jobs, Arc::clone(&state), clock)?;
        let common = Common {
            patience: Patience {
                idle_ms: milliseconds(config.idle_timeout),
                request_ms: milliseconds(config.request_timeout),
                body_bytes_max: config.body_bytes_max,
            },
            connection_age_ms: config.connection_age.map_or(u64::MAX, milliseconds),
            population: Arc::new(Population::new(connections_max)),
            drain: Arc::new(Drain::default()),
            clock,
        };
        let mut server = Self {
            address,
            state,
            drain: Arc::clone(&common.drain),
            clock,
            cores: Vec::with_capacity(workers),
            failures: Arc::new(AtomicUsize::new(0)),
            control,
            drain_delay: config.drain_delay,
            drain_timeout: config.drain_timeout,
        };
        for (number, listener) in listeners.into_iter().enumerate() {
            server.start_core(number, listener, &common, &placement)?;
        }
        server.announce(config, &placement, connections_max);
        Ok(server)
    }

    fn start_core(
        &mut self,
        number: usize,
        listener: Listener,
        common: &Common,
        placement: &Placement,
    ) -> io::Result<()> {
        let state = &self.state;
        let meter = Meter::new(number, Arc::clone(&state.counters), Arc::clone(&state.latency));
        let service = Service::new(number, Arc::clone(state));
        let core = Core::new(listener, service, meter, common.clone())?;
        let inbox = core.inbox();
        let pinned = placement.cores.as_ref().and_then(|cores| cores.get(number)).copied();
        let failures = Arc::clone(&self.failures);
        let work = move || {
            // Counted on the way out unless the end is an orderly one, panics included.
            let failure = Failure(&failures);
            if let Some(core) = pinned
                && !pin_current_thread(core)
            {
                log::warn!(core, "the kernel refused to pin this worker");
            }
            let outcome = core.run();
            if outcome.is_ok() {
                failure.forgive();
            }
            outcome
        };
        let thread = thread::Builder::new().name(format!("core-{number}")).spawn(work)?;
        self.cores.push((inbox, thread));
        Ok(())
    }

    fn announce(&self, config: &Config, placement: &Placement, connections_max: usize) {
        let stats = self.state.store.stats();
        log::info!(
            address = %self.address,
            workers = self.cores.len(),
            placement = %placement,
            connections_max,
            "listening on http://{}",
            self.address
        );
        log::info!(
            kind = stats.kind,
            capacity_bytes = stats.capacity_bytes,
            ttl = %Shown(config.store_ttl),
            "store"
        );
    }

    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether every core runs.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.failures.load(Ordering::Acquire) == 0
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
        self.drain.begin();
        self.wake_cores();
        if !self.drain_delay.is_zero() {
            log::info!(delay = %Shown(self.drain_delay), "draining");
            pause(self.drain_delay);
        }
        self.drain.close(deadline_ns);
        self.wake_cores();
        for (_, thread) in self.cores.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::error!(%error, "a core ended"),
                Err(_) => log::error!("a core panicked"),
            }
        }
        self.control.stop();
        let left_ns = deadline_ns.saturating_sub(self.clock.now().mono_ns);
        let flushed = self.state.store.flush(Duration::from_nanos(left_ns));
        let report = Report {
            store: self.state.store.stats().totals,
            rejected: self.state.counters.totals().rejected_all(),
            requests: self.state.counters.totals().requests_all(),
            walked_pending: self.state.store.walk_pending(),
            cores_failed: self.failures.load(Ordering::Acquire),
        };
        if !flushed {
            log::warn!(events = report.walked_pending, "the store could not be flushed in time");
        }
        report.log();
        report
    }

    fn wake_cores(&self) {
        for (inbox, _) in &self.cores {
            inbox.wake();
        }
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
            pending = self.walked_pending,
            "stopped"
        );
    }
}

/// Counts a core's end as a failure when it goes out of scope, unless it is forgiven.
struct Failure<'a>(&'a AtomicUsize);

impl Failure<'_> {
    fn forgive(self) {
        std::mem::forget(self);
    }
}

impl Drop for Failure<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn analytics_settings(config: &Config) -> analytics::Settings {
    analytics::Settings {
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
        devices_max: config.devices_max,
        connections_max,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
