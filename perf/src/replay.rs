//! Bytes in, answers out, without a socket, a clock or another thread: what a core does for its
//! connections between two calls of the kernel, so that instructions and allocations can be counted
//! one by one.
//!
//! The order of calls is that of `engine/percore.rs` and `engine/connection/exchange.rs`. What
//! keeps count of the connections themselves is left out; deadlines and sockets are theirs.

use corepulse::analytics::{Analytics, AnalyticsSettings};
use corepulse::api::jobs::{Execution, Job, JobError, JobQueue, Lane};
use corepulse::api::route::{LABELS, NAMES};
use corepulse::api::service::Service;
use corepulse::api::state::{Settings, State};
use corepulse::limits::REQUEST_COST_BYTES;
use corepulse::store::Store;
use corepulse::telemetry::busy_ratios::BusyRatios;
use corepulse::telemetry::counters::Counters;
use corepulse::telemetry::exposition::Exposition;
use corepulse::telemetry::latency::Latency;
use percore::buffer_pool::BufferPool;
use percore::clock::Now;
use percore::http::handler::{AnswerSink, ConnectionId, Context, Handler, Reply, RequestId};
use percore::http::request::Method;
use percore::http::request_reader::{CompleteRequest, ReadProgress, RequestReader};
use percore::http::response::{Answer, Encoder, Persistence};
use percore::observer::Observer;
use percore::sync::Mutex;
use percore::turn_clock::TurnClock;
use std::sync::Arc;

/// When a replay begins, in milliseconds since 1970.
pub const START_MS: u64 = 1_800_000_000_000;

/// The time to live of what is stored.
pub const TTL_MS: u64 = 300_000;

/// From one turn to the next.
const TURN_NS: u64 = 1_000_000;

/// How long a turn takes, as the durations have it.
const BUSY_NS: u64 = 100_000;

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Small, so that a warm-up fills it: from then on what comes in lets the oldest go.
const STORE_BYTES: usize = 1024 * 1024;

/// One core and all that it needs.
#[derive(Debug)]
pub struct Replay {
    state: Arc<State>,
    service: Service,
    jobs: Jobs,
    posted: Arc<Posted>,
    answer_sink: Arc<dyn AnswerSink>,
    buffers: BufferPool,
    encoder: Encoder,
    turn_clock: TurnClock,
    reader: RequestReader,
    turns: u64,
    requests: u64,
    /// What the requests of the turn have cost.
    cost: usize,
}

/// Work that the control thread would do.
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

/// Its answers.
#[derive(Debug, Default)]
struct Posted(Mutex<Vec<Answer>>);

impl AnswerSink for Posted {
    fn deliver(&self, _: RequestId, answer: Answer) {
        self.0.lock().push(answer);
    }
}

/// The store inside the process, as small as a warm-up fills.
#[must_use]
pub fn memory_store() -> Store {
    Store::memory(1, STORE_BYTES, TTL_MS)
}

impl Replay {
    /// A core of a server that keeps what it takes in `store`, which is for one core.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let jobs = Jobs::default();
        let counters = Arc::new(Counters::new(1, LABELS));
        let latency = Arc::new(Latency::new(1, NAMES.len()));
        let state = Arc::new(State {
            analytics: Analytics::new(analytics_settings(), 1),
            store,
            counters: Arc::clone(&counters),
            latency: Arc::clone(&latency),
            flushes: Arc::new(Latency::new(1, 1)),
            busy_ratios: BusyRatios::new(Now::default()),
            exposition: Exposition::default(),
            cors: None,
            jobs: Box::new(jobs.clone()),
            settings: settings(),
        });
        let posted = Arc::new(Posted::default());
        Self {
            service: Service::new(0, Arc::clone(&state)),
            state,
            jobs,
            answer_sink: Arc::clone(&posted) as _,
            posted,
            buffers: BufferPool::new(BODY_BYTES_MAX),
            encoder: Encoder::default(),
            turn_clock: TurnClock::default(),
            reader: RequestReader::default(),
            turns: 0,
            requests: 0,
            cost: 0,
        }
    }

    /// What the core shares with others, to be looked at.
    #[must_use]
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// One turn, a millisecond after the one before, in which `input` was received. Answers what
    /// would be sent.
    ///
    /// # Errors
    ///
    /// The input is not made of whole requests that are framed by their length.
    pub fn turn(&mut self, input: &[u8]) -> Result<&[u8], String> {
        let now = now(self.turns);
        self.turns += 1;
        self.turn_clock.begin(now.mono_ns);
        self.buffers.out.clear();
        self.cost = 0;
        let mut rest = input;
        let mut head_cache = std::mem::take(&mut self.buffers.head_cache);
        while !rest.is_empty() {
            let advance = self.reader.read(rest, &mut head_cache, BODY_BYTES_MAX);
            let ReadProgress::Complete(whole) =
                advance.map_err(|refusal| format!("{refusal:?}"))?
            else {
                return Err("half a request".to_owned());
            };
            rest = rest.get(whole.consumed..).unwrap_or_default();
            self.answer(&whole, now);
        }
        self.buffers.head_cache = head_cache;
        self.service.publish(now);
        let ended_ns = now.mono_ns + BUSY_NS;
        self.service.end_turn(now);
        self.turn_clock.end(ended_ns);
        self.service.turn_ended(now.mono_ns, ended_ns);
        Ok(&self.buffers.out)
    }

    fn answer(&mut self, whole: &CompleteRequest<'_>, now: Now) {
        self.requests += 1;
        let connection = ConnectionId::default();
        let context = Context {
            now,
            peer_is_loopback: true,
            peer: &None,
            over_limit: false,
            draining: false,
            request: RequestId { connection, number: self.requests },
            answer_sink: &self.answer_sink,
            lines: "",
        };
        let BufferPool { out, body, .. } = &mut self.buffers;
        body.clear();
        let answers_head = whole.request.method == Method::Head;
        let since_ns = self.turn_clock.readable_ns();
        let reply = self.service.handle(&whole.request, &context, body);
        self.cost += REQUEST_COST_BYTES + self.service.take_cost();
        match reply {
            Reply::Now(response) => {
                self.encoder.encode(out, response, body, answers_head, Persistence::Open, now);
                self.service.request_answered(response, since_ns);
            }
            Reply::Later => {
                let jobs = std::mem::take(&mut *self.jobs.0.lock());
                for job in jobs {
                    job.run(&Execution { now, sleep: &std::thread::sleep }).deliver();
                }
                for Answer { response, body } in self.posted.0.lock().drain(..) {
                    self.encoder.encode(out, response, &body, answers_head, Persistence::Open, now);
                    self.service.request_answered(response, since_ns);
                }
            }
        }
    }
}

fn now(turn: u64) -> Now {
    let mono_ns = (turn + 1) * TURN_NS;
    let wall_us = i64::try_from(START_MS * 1000 + mono_ns / 1000).unwrap_or(i64::MAX);
    Now { mono_ns, wall_us }
}

/// The defaults of the server.
fn analytics_settings() -> AnalyticsSettings {
    AnalyticsSettings {
        window: 50,
        threshold: 2.0,
        min_samples: 16,
        cooldown: 50,
        devices_max: 100_000,
        device_ttl_ns: 3_600_000_000_000,
    }
}

fn settings() -> Settings {
    Settings {
        instance: "replay".to_owned(),
        cores: 1,
        body_bytes_max: BODY_BYTES_MAX,
        store_ttl_ms: i64::try_from(TTL_MS).unwrap_or(i64::MAX),
        ingest_token: None,
        admin_token: None,
        devices_max: 100_000,
        connections_max: 1000,
        request_timeout_ns: u64::MAX,
    }
}
