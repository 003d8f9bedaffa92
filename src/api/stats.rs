//! `GET /stats`: the state of this server in one small answer, for the page and for `top`.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::jobs::Lane;
use super::json::{Number, Text, append_line, live};
use super::number_parameter::{NumberError, number_parameter};
use super::problems::{Problem, ProblemKind};
use super::sampler::Moment;
use super::samples::RecentSamples;
use super::state::State;
use crate::analytics::summary::FieldSummary;
use crate::metric::timestamp::Rfc3339;
use crate::schema::Field;
use crate::store::stats::Stats as StoreStats;
use crate::telemetry::counters::CoreTotals;
use crate::telemetry::history::{HISTORY_SECONDS_MAX, Level, Rates, Second};
use crate::telemetry::latency::Summary;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::status::Status;

/// Answers with the state of the server, and with as many seconds of its history as `?history=`
/// asks for.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let seconds = match read_history(request) {
        Ok(seconds) => seconds,
        Err(error) => {
            return Reply::Now(problem(body, Status::BadRequest, error, None, route));
        }
    };
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        let moment = Moment::read(state, execution.now);
        let mut samples = state.samples.lock();
        let problems = moment.note_problems(&mut samples, state, execution.now);
        append_line(body, &stats(state, &moment, &samples, problems, seconds, execution.now));
        live(route)
    })
}

/// Returns the seconds of history that a request asks for.
pub(super) fn read_history(request: &Request<'_>) -> Result<usize, NumberError> {
    number_parameter(request, "history", 0..=HISTORY_SECONDS_MAX, 0)
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct Stats<'a> {
    time: Text<Rfc3339>,
    instance: &'a str,
    version: &'static str,
    started: Text<Rfc3339>,
    uptime_seconds: Number,
    fleet: Option<FleetState<'a>>,
    fields: Vec<FieldState>,
    rates: RatesByTime,
    totals: Totals,
    latency_seconds: Percentiles,
    cores: Vec<Core>,
    connections: Connections,
    devices: Devices,
    store: StoreState,
    memory: Memory,
    problems: Vec<ProblemText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryColumns<'a>>,
}

/// The fleet, as this instance sees it.
#[derive(Serialize)]
struct FleetState<'a> {
    name: &'a str,
    up: bool,
    members: Option<u64>,
    missed: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct FieldState {
    name: &'static str,
    required: bool,
    min: Number,
    max: Number,
    rolling_average: Number,
    stddev: Number,
    last: Number,
    z_score: Number,
    anomaly: bool,
}

#[derive(Serialize)]
pub(super) struct RatesByTime {
    #[serde(rename = "1s")]
    pub(super) second: RateNumbers,
    #[serde(rename = "10s")]
    pub(super) ten_seconds: RateNumbers,
    #[serde(rename = "60s")]
    pub(super) minute: RateNumbers,
}

#[derive(Serialize)]
pub(super) struct RateNumbers {
    pub(super) accepted: Number,
    pub(super) rejected: Number,
    pub(super) anomalies: Number,
}

#[derive(Serialize)]
struct Totals {
    accepted: u64,
    rejected: u64,
    anomalies: u64,
    episodes: u64,
    /// Told if the second judge is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    novelties: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Percentiles {
    count: u64,
    p50: Number,
    p99: Number,
    #[serde(rename = "p99.9")]
    p999: Number,
}

#[derive(Serialize)]
struct Core {
    core: usize,
    busy: Number,
    connections: u64,
}

#[derive(Serialize)]
pub(super) struct Connections {
    pub(super) open: u64,
    pub(super) max: usize,
}

#[derive(Serialize)]
pub(super) struct Devices {
    pub(super) held: u64,
    pub(super) max: usize,
    pub(super) refused: u64,
}

#[derive(Serialize)]
struct StoreState {
    kind: &'static str,
    up: bool,
    away_since: Option<Text<Rfc3339>>,
    pending: u64,
    queue_share: Number,
    stored: u64,
    coalesced: u64,
    dropped: u64,
}

#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) resident_bytes: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
}

#[derive(Serialize)]
struct ProblemText {
    kind: &'static str,
    since: Option<Text<Rfc3339>>,
    text: String,
    advice: &'static str,
}

/// The history as columns, of which each has an entry for each second.
#[derive(Serialize)]
struct HistoryColumns<'a> {
    step_seconds: u64,
    to: Text<Rfc3339>,
    accepted: Vec<Number>,
    rejected: Vec<Number>,
    anomalies: Vec<Number>,
    p99_seconds: Vec<Number>,
    pending: Vec<Option<u64>>,
    fields: FieldColumns<'a>,
}

/// The columns of all fields, as members with their names.
struct FieldColumns<'a>(Vec<(Field, Vec<&'a Second>)>);

#[derive(Serialize)]
struct FieldColumn {
    rolling_average: Vec<Number>,
    stddev: Vec<Number>,
}

impl Serialize for FieldColumns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, seconds)| {
            let level = |second: &&Second| {
                let level: &Level = second.level.as_ref()?;
                level.fields.get(field.index()).copied().flatten()
            };
            let column = |part: fn((f64, f64)) -> f64| {
                seconds.iter().map(|second| Number(level(second).map(part))).collect()
            };
            let column = FieldColumn {
                rolling_average: column(|(mean, _)| mean),
                stddev: column(|it| it.1),
            };
            (field.name(), column)
        }))
    }
}

fn stats<'a>(
    state: &'a State,
    moment: &Moment,
    samples: &'a RecentSamples,
    problems: Vec<Problem>,
    seconds: usize,
    now: Now,
) -> Stats<'a> {
    let (settings, started) = (&state.settings, state.samples.started());
    let Moment { analytics, counters, store, resident_bytes } = moment;
    let history = &samples.history;
    let rates = |seconds| history.newest().rates_since(history.before(seconds)).into();
    let fields = settings.schema.fields().iter().zip(&analytics.series.fields);
    let problem = |problem| ProblemText::new(problem, samples);
    Stats {
        time: Text(Rfc3339(now.wall_ms())),
        instance: &settings.instance,
        version: env!("CARGO_PKG_VERSION"),
        started: Text(Rfc3339(started.wall_ms())),
        uptime_seconds: Number(Some((now.mono_ms() - started.mono_ms()) as f64 / 1000.0)),
        fleet: FleetState::of(state),
        fields: fields.map(|(field, summary)| FieldState::new(*field, *summary)).collect(),
        rates: RatesByTime { second: rates(1), ten_seconds: rates(10), minute: rates(60) },
        totals: Totals {
            accepted: store.totals.accepted,
            rejected: counters.rejected_all(),
            anomalies: analytics.totals.points.iter().sum(),
            episodes: analytics.totals.episodes.iter().sum(),
            novelties: state.analytics.novelty().map(|_| analytics.totals.novelties.iter().sum()),
        },
        latency_seconds: samples.durations.minute().into(),
        cores: Core::all(counters, samples),
        connections: Connections {
            open: counters.open_connections.iter().sum(),
            max: settings.connections_max,
        },
        devices: Devices {
            held: analytics.totals.devices,
            max: settings.devices_max,
            refused: analytics.totals.devices_refused,
        },
        store: StoreState::new(store, samples),
        memory: Memory {
            resident_bytes: *resident_bytes,
            limit_bytes: settings.memory_limit_bytes,
        },
        problems: problems.into_iter().map(problem).collect(),
        history: (seconds > 0).then(|| HistoryColumns::new(state, samples, seconds, now)),
    }
}

/// Returns the time since when a problem lasts.
fn since(kind: ProblemKind, samples: &RecentSamples) -> Option<Text<Rfc3339>> {
    samples.since.of(kind).map(|since_us| Text(Rfc3339(since_us / 1000)))
}

impl<'a> FleetState<'a> {
    fn of(state: &'a State) -> Option<Self> {
        let status = state.fleet.as_ref()?.status().read();
        let known = |members: u64| status.up.then_some(members);
        let (members, missed) = (known(status.live), known(status.lapsed));
        let name = state.settings.fleet.as_deref()?;
        Some(Self { name, up: status.up, members, missed })
    }
}

impl Core {
    fn all(counters: &CoreTotals, samples: &RecentSamples) -> Vec<Self> {
        let history = &samples.history;
        let busy = history.newest().busy_since(history.before(1));
        // Before the first sample none is known.
        let busy = busy.into_iter().chain(std::iter::repeat(0.0));
        let cores = counters.open_connections.iter().enumerate().zip(busy);
        cores
            .map(|((core, &connections), busy)| Self { core, busy: rounded(busy), connections })
            .collect()
    }
}

impl StoreState {
    fn new(store: &StoreStats, samples: &RecentSamples) -> Self {
        Self {
            kind: store.kind,
            up: store.up,
            away_since: since(ProblemKind::StoreAway, samples),
            pending: store.totals.pending(),
            queue_share: rounded(store.queue_share()),
            stored: store.totals.stored,
            coalesced: store.totals.coalesced,
            dropped: store.totals.dropped_all(),
        }
    }
}

impl ProblemText {
    fn new(problem: Problem, samples: &RecentSamples) -> Self {
        let Problem { kind, text, advice } = problem;
        Self { kind: kind.name(), since: since(kind, samples), text, advice }
    }
}

impl<'a> HistoryColumns<'a> {
    fn new(state: &State, samples: &'a RecentSamples, seconds: usize, now: Now) -> Self {
        let last: Vec<&Second> = samples.history.last(seconds).collect();
        let rates = |part: fn(&Rates) -> f64| {
            last.iter().map(|second| rounded(part(&second.rates))).collect()
        };
        let since_sample_ns = now.mono_ns.saturating_sub(samples.history.newest().mono_ns);
        let since_sample_ms = i64::try_from(since_sample_ns / 1_000_000).unwrap_or(0);
        let level = |second: &&Second| second.level.clone();
        let p99 = |level: Option<Level>| Number(level.and_then(|it| it.p99_ns).map(seconds_of));
        let fields = state.settings.schema.fields().iter().map(|field| (*field, last.clone()));
        Self {
            step_seconds: 1,
            to: Text(Rfc3339(now.wall_ms() - since_sample_ms)),
            accepted: rates(|rates| rates.accepted),
            rejected: rates(|rates| rates.rejected),
            anomalies: rates(|rates| rates.anomalies),
            p99_seconds: last.iter().map(level).map(p99).collect(),
            pending: last.iter().map(|it| it.level.as_ref().map(|it| it.pending)).collect(),
            fields: FieldColumns(fields.collect()),
        }
    }
}

impl FieldState {
    pub(super) fn new(field: Field, summary: Option<FieldSummary>) -> Self {
        let range = field.range();
        let value = |part: fn(FieldSummary) -> f64| Number(summary.map(part));
        Self {
            name: field.name(),
            required: field.is_required(),
            min: Number(range.as_ref().map(|range| *range.start())),
            max: Number(range.as_ref().map(|range| *range.end())),
            rolling_average: value(|summary| summary.rolling_average),
            stddev: value(|summary| summary.stddev),
            last: value(|summary| summary.last),
            z_score: Number(summary.and_then(|summary| summary.z_score)),
            anomaly: summary.is_some_and(|summary| summary.anomaly),
        }
    }
}

impl From<Rates> for RateNumbers {
    fn from(rates: Rates) -> Self {
        Self {
            accepted: rounded(rates.accepted),
            rejected: rounded(rates.rejected),
            anomalies: rounded(rates.anomalies),
        }
    }
}

impl From<Summary> for Percentiles {
    fn from(summary: Summary) -> Self {
        let known = |ns: u64| Number((summary.count > 0).then(|| seconds_of(ns)));
        Self {
            count: summary.count,
            p50: known(summary.p50_ns),
            p99: known(summary.p99_ns),
            p999: known(summary.p999_ns),
        }
    }
}

/// Returns a number with three decimals: more of a rate or a share is noise of the clock.
pub(super) fn rounded(value: f64) -> Number {
    Number(Some((value * 1000.0).round() / 1000.0))
}

fn seconds_of(ns: u64) -> f64 {
    ns as f64 / 1e9
}
