//! A server of one core without a kernel, a clock or another thread: the real connection, handler
//! and store, turn by turn, so that instructions and allocations can be counted one by one.

use corepulse::analytics::novelty::local_day::LocalDay;
use corepulse::analytics::novelty::{EXCESS_ON, NoveltySettings};
use corepulse::analytics::{Analytics, AnalyticsSettings};
use corepulse::api::jobs::{Execution, Job, JobError, JobQueue, Lane};
use corepulse::api::openapi::Description;
use corepulse::api::ranking_cache::RankingCache;
use corepulse::api::route::{LABELS, NAMES};
use corepulse::api::samples::Samples;
use corepulse::api::service::Service;
use corepulse::api::state::{Settings, State};
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::Schema;
use corepulse::store::Store;
use corepulse::telemetry::busy_ratios::BusyRatios;
use corepulse::telemetry::counters::Counters;
use corepulse::telemetry::exposition::Exposition;
use corepulse::telemetry::latency::Latency;
use percore::clock::Now;
use percore::engine::EngineConfig;
use percore::offline::OfflineCore;
use percore::sync::Mutex;
use std::sync::Arc;

/// The wall clock at the first turn, in milliseconds since 1970.
pub const START_MS: u64 = 1_800_000_000_000;

/// The time to live of stored metrics.
pub const TTL_MS: u64 = 300_000;

/// The time from one turn to the next.
const TURN_NS: u64 = 1_000_000;

/// The time that a turn takes, as the server's own durations have it.
const BUSY_NS: u64 = 100_000;

/// The capacity of the store: small, so that a warm-up fills it, and what comes in afterwards lets
/// the oldest go.
const STORE_BYTES: usize = 1024 * 1024;

/// The devices that get a window.
const DEVICES_MAX: usize = 1_000_000;

/// One core of a server with one connection.
pub struct OfflineServer {
    core: OfflineCore<Service>,
    connection: usize,
    state: Arc<State>,
    jobs: Jobs,
    turns: u64,
}

/// The jobs that another thread would run.
#[derive(Clone, Debug, Default)]
struct Jobs(Arc<Mutex<Vec<Job>>>);

impl JobQueue for Jobs {
    fn submit(&self, job: Job) -> Result<(), (Job, JobError)> {
        // A profile of a core without threads and clock would show nothing.
        if job.lane() == Lane::Profile {
            return Err((job, JobError::ProfilerBusy));
        }
        self.0.lock().push(job);
        Ok(())
    }
}

/// Returns the embedded store, as small as a warm-up fills.
#[must_use]
pub fn memory_store(schema: &'static Schema, ids: &IdHasher) -> Store {
    Store::memory(schema, 1, STORE_BYTES, TTL_MS, ids.clone())
}

/// The state that the cores of a server share.
#[derive(Clone)]
pub struct SharedState {
    state: Arc<State>,
    jobs: Jobs,
}

impl SharedState {
    /// Returns the state of so many cores that keep what they accept in memory.
    #[must_use]
    pub fn new(schema: &'static Schema, cores: usize) -> Self {
        let store =
            |ids: &IdHasher| Store::memory(schema, cores, STORE_BYTES * cores, TTL_MS, ids.clone());
        Self::with_store(store, schema, cores, None)
    }

    fn with_store(
        open: impl FnOnce(&IdHasher) -> Store,
        schema: &'static Schema,
        cores: usize,
        novelty: Option<NoveltySettings>,
    ) -> Self {
        let (jobs, ids) = (Jobs::default(), IdHasher::default());
        let body_bytes_max = EngineConfig::for_workers(cores).limits.body_bytes_max;
        let analytics = Analytics::new(analytics_settings(schema), cores, ids.clone());
        let analytics = match novelty {
            Some(settings) => analytics.with_novelty(settings),
            None => analytics,
        };
        let state = Arc::new(State {
            analytics,
            store: open(&ids),
            ids,
            counters: Arc::new(Counters::new(cores, LABELS)),
            latency: Arc::new(Latency::new(cores, NAMES.len())),
            flushes: Arc::new(Latency::new(1, 1)),
            busy_ratios: BusyRatios::new(Now::default()),
            samples: Samples::new(Now::default()),
            reloads: Arc::default(),
            access: None,
            proxies: None,
            tls_expires_unix_s: None,
            rankings: RankingCache::default(),
            exposition: Exposition::default(),
            description: Description::new(schema),
            cors: None,
            jobs: Box::new(jobs.clone()),
            fleet: None,
            settings: settings(schema, cores, body_bytes_max),
        });
        Self { state, jobs }
    }

    /// Returns a core of this number, with one connection.
    #[must_use]
    pub fn core(&self, number: usize) -> OfflineServer {
        let Self { state, jobs } = self.clone();
        let service = Service::new(number, Arc::clone(&state));
        let mut core = OfflineCore::new(service, &EngineConfig::for_workers(1));
        let connection = core.connect(time(0));
        OfflineServer { core, connection, state, jobs, turns: 0 }
    }
}

impl OfflineServer {
    /// Returns a server of metrics of a schema that keeps what it accepts in the store that `open`
    /// returns, which is for one core.
    #[must_use]
    pub fn new(open: impl FnOnce(&IdHasher) -> Store, schema: &'static Schema) -> Self {
        SharedState::with_store(open, schema, 1, None).core(0)
    }

    /// Returns the same, with `--novelty on`.
    #[must_use]
    pub fn with_novelty(open: impl FnOnce(&IdHasher) -> Store, schema: &'static Schema) -> Self {
        let settings = NoveltySettings {
            sensitivity: Some(NoveltySettings::sensitivity(EXCESS_ON)),
            stuck_after: None,
            day: Arc::new(LocalDay::UTC),
        };
        SharedState::with_store(open, schema, 1, Some(settings)).core(0)
    }

    /// Returns the state that the core shares with others.
    #[must_use]
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Runs a turn, a millisecond after the one before, in which `input` is received, and returns
    /// what is sent. Jobs run after the turn, and a second one sends their answers.
    pub fn turn(&mut self, input: &[u8]) -> &[u8] {
        let (now, ended) = self.next_turn();
        self.core.receive(self.connection, input, now, ended);
        let jobs = std::mem::take(&mut *self.jobs.0.lock());
        if !jobs.is_empty() {
            let (now, ended) = self.next_turn();
            for job in jobs {
                job.run(&Execution { now, sleep: &std::thread::sleep }).deliver();
            }
            self.core.wake(now, ended);
        }
        self.core.sent(self.connection)
    }

    fn next_turn(&mut self) -> (Now, Now) {
        self.turns += 1;
        let now = time(self.turns * TURN_NS);
        (now, Now { mono_ns: now.mono_ns + BUSY_NS, ..now })
    }
}

fn time(mono_ns: u64) -> Now {
    let wall_us = i64::try_from(START_MS * 1000 + mono_ns / 1000).unwrap_or(i64::MAX);
    Now { mono_ns, wall_us }
}

/// Returns the defaults of the server.
const fn analytics_settings(schema: &'static Schema) -> AnalyticsSettings {
    AnalyticsSettings {
        schema,
        window: 50,
        threshold: 2.0,
        min_samples: 16,
        cooldown: 50,
        devices_max: DEVICES_MAX,
        device_ttl_ns: 3_600_000_000_000,
        device_limit: None,
        judge_duplicates: false,
    }
}

fn settings(schema: &'static Schema, cores: usize, body_bytes_max: usize) -> Settings {
    Settings {
        schema,
        instance: "offline".to_owned(),
        fleet: None,
        cores,
        body_bytes_max,
        store_ttl_ms: i64::try_from(TTL_MS).unwrap_or(i64::MAX),
        guards_exposition: false,
        identifies_clients: false,
        devices_max: DEVICES_MAX,
        connections_max: 1000,
        memory_limit_bytes: None,
        store_at: String::new(),
        store_rejects: false,
        waits_for_store: false,
        ack_timeout_ns: 0,
        request_timeout_ns: u64::MAX,
    }
}
