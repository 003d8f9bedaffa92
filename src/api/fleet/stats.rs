//! `GET /stats?scope=fleet`: the state of all members in one small answer.
//!
//! What is counted adds up. Percentiles come from the durations of all members together. A share of
//! a queue is that of the fullest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::{Parts, ask, bad_request};
use super::history::{FleetHistory, HistoryPart, merge_history};
use super::question::Question;
use super::view::{FleetView, part};
use crate::analytics::instance_part::InstancePart;
use crate::api::jobs::Lane;
use crate::api::json::{Number, Text, append_line, live, read};
use crate::api::problems::{Problem as OwnProblem, ProblemKind};
use crate::api::sampler::Moment;
use crate::api::state::State;
use crate::api::stats::{
    Connections, Devices, FieldState, Memory, Percentiles, RateNumbers, RatesByTime, read_history,
    rounded,
};
use crate::fleet::answers::{Answers, MemberReport};
use crate::metric::timestamp::Rfc3339;
use crate::telemetry::latency::Durations;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::request::Request;

/// The part of a member.
#[derive(Serialize, Deserialize)]
struct Part {
    started_us: i64,
    analytics: InstancePart,
    /// Accepted, rejected and anomalous of 1, 10 and 60 seconds, each for a second.
    rates: [[f64; 3]; 3],
    /// Cells of the histogram of durations of the last minute.
    durations: Vec<(u64, u64)>,
    /// The share of the last second at work, and the connections, of each core.
    cores: Vec<(f64, u64)>,
    connections_max: usize,
    devices_max: usize,
    store: StorePart,
    resident_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    problems: Vec<ProblemPart>,
    history: Option<HistoryPart>,
}

#[derive(Serialize, Deserialize)]
struct StorePart {
    kind: String,
    up: bool,
    away_since_us: Option<i64>,
    queue_share: f64,
}

#[derive(Serialize, Deserialize)]
struct ProblemPart {
    kind: String,
    since_us: Option<i64>,
    text: String,
    advice: String,
}

/// Returns what this instance tells.
pub(super) fn tell(seconds: usize, state: &State, now: Now) -> Vec<u8> {
    let moment = Moment::read(state, now);
    let mut samples = state.samples.lock();
    let problems = moment.note_problems(&mut samples, state, now);
    let history = &samples.history;
    let rates = |seconds| {
        let rates = history.newest().rates_since(history.before(seconds));
        [rates.accepted, rates.rejected, rates.anomalies]
    };
    let busy = history.newest().busy_since(history.before(1));
    let connections = &moment.counters.open_connections;
    let uptime_ns = now.mono_ns.saturating_sub(state.samples.started().mono_ns);
    let uptime_us = i64::try_from(uptime_ns / 1000).unwrap_or(0);
    let away_since_us = samples.since.of(ProblemKind::StoreAway);
    // Problems began on the clock of this machine.
    let ahead_us = now.wall_us - state.samples.started().wall_us - uptime_us;
    let of_fleet = |since_us: i64| since_us.saturating_add(ahead_us);
    let problem = |problem: OwnProblem| ProblemPart {
        kind: problem.kind.name().to_owned(),
        since_us: samples.since.of(problem.kind).map(of_fleet),
        text: problem.text,
        advice: problem.advice.to_owned(),
    };
    part(&Part {
        started_us: now.wall_us - uptime_us,
        analytics: state.analytics.instance_part(now),
        rates: [rates(1), rates(10), rates(60)],
        durations: samples.durations.minute_cells(),
        cores: busy
            .into_iter()
            .chain(std::iter::repeat(0.0))
            .zip(connections.iter().copied())
            .collect(),
        connections_max: state.settings.connections_max,
        devices_max: state.settings.devices_max,
        store: StorePart {
            kind: moment.store.kind.to_owned(),
            up: moment.store.up,
            away_since_us: away_since_us.map(of_fleet),
            queue_share: moment.store.queue_share(),
        },
        resident_bytes: moment.resident_bytes,
        limit_bytes: state.settings.memory_limit_bytes,
        problems: problems.into_iter().map(problem).collect(),
        history: (seconds > 0).then(|| HistoryPart::new(&samples, seconds, now)),
    })
}

/// Answers with the state of the fleet, and with as many seconds of its history as `?history=` asks
/// for.
pub(in crate::api) fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let history = match read_history(request) {
        Ok(seconds) => seconds,
        Err(error) => return bad_request(error, body, route),
    };
    let question = Question::Stats { history };
    ask(
        state,
        (Lane::Analyze, route),
        context,
        body,
        (&question, read),
        move |state, answers, parts, _, body| {
            append_line(body, &stats(state, parts, history, answers));
            live(route)
        },
    )
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct FleetStats<'a> {
    #[serde(flatten)]
    fleet: FleetView<'a>,
    time: Text<Rfc3339>,
    instance: &'a str,
    version: &'static str,
    started: Text<Rfc3339>,
    uptime_seconds: Number,
    fields: Vec<FieldState>,
    rates: RatesByTime,
    totals: Totals,
    latency_seconds: Percentiles,
    cores: Vec<Core<'a>>,
    connections: Connections,
    devices: Devices,
    store: Store<'a>,
    memory: Memory,
    problems: Vec<Problem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<FleetHistory>,
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
    lost: u64,
}

#[derive(Serialize)]
struct Core<'a> {
    core: usize,
    busy: Number,
    connections: u64,
    instance: &'a str,
}

#[derive(Serialize)]
struct Store<'a> {
    kind: &'a str,
    up: bool,
    away_since: Option<Text<Rfc3339>>,
    pending: u64,
    queue_share: Number,
    stored: u64,
    coalesced: u64,
    dropped: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Problem<'a> {
    kind: &'a str,
    since: Option<Text<Rfc3339>>,
    text: &'a str,
    advice: &'a str,
    instance: &'a str,
}

fn stats<'a>(
    state: &'a State,
    parts: &'a Parts<'a, Part>,
    seconds: usize,
    answers: &'a Answers,
) -> FleetStats<'a> {
    let all = || parts.iter().map(|(_, part)| part);
    let analytics: Vec<_> = all().map(|part| part.analytics.clone()).collect();
    let summary = state.analytics.merged(&analytics);
    let started_us = all().map(|part| part.started_us).min().unwrap_or(answers.now_us);
    let fields = state.settings.schema.fields().iter().zip(&summary.series.fields);
    let mut durations = Durations::default();
    let cells = all().flat_map(|part| &part.durations);
    cells.for_each(|(ns, requests)| durations.record(*ns, *requests));
    let histories: Vec<_> = all().filter_map(|part| part.history.as_ref()).collect();
    let counts = answers.totals();
    FleetStats {
        fleet: FleetView::new(answers),
        time: Text(Rfc3339(answers.now_us / 1000)),
        instance: &state.settings.instance,
        version: env!("CARGO_PKG_VERSION"),
        started: Text(Rfc3339(started_us / 1000)),
        uptime_seconds: Number(Some(((answers.now_us - started_us) / 1000) as f64 / 1000.0)),
        fields: fields.map(|(field, summary)| FieldState::new(*field, *summary)).collect(),
        rates: rates(parts),
        totals: Totals {
            accepted: counts.get("accepted"),
            rejected: counts.get("rejected"),
            anomalies: counts.get("points"),
            episodes: counts.get("episodes"),
            novelties: state.analytics.novelty().map(|_| counts.get("novelties")),
            lost: counts.get("lost"),
        },
        latency_seconds: durations.summary().into(),
        cores: parts.iter().flat_map(|(member, part)| cores(member, part)).collect(),
        connections: Connections {
            open: all().flat_map(|part| &part.cores).map(|(_, open)| open).sum(),
            max: all().map(|part| part.connections_max).sum(),
        },
        devices: Devices {
            held: summary.totals.devices,
            max: all().map(|part| part.devices_max).sum(),
            refused: summary.totals.devices_refused,
        },
        store: store(parts, answers),
        memory: Memory {
            resident_bytes: all().map(|part| part.resident_bytes).sum(),
            limit_bytes: all().map(|part| part.limit_bytes).sum(),
        },
        problems: parts.iter().flat_map(|(member, part)| problems(member, part)).collect(),
        history: (seconds > 0).then(|| merge_history(&histories, state.settings.schema)),
    }
}

fn rates(parts: &Parts<'_, Part>) -> RatesByTime {
    let sum = |span: usize, what: usize| {
        let rate = |(_, part): &(&MemberReport, Part)| part.rates.get(span)?.get(what).copied();
        rounded(parts.iter().filter_map(rate).sum())
    };
    let numbers = |span| RateNumbers {
        accepted: sum(span, 0),
        rejected: sum(span, 1),
        anomalies: sum(span, 2),
    };
    RatesByTime { second: numbers(0), ten_seconds: numbers(1), minute: numbers(2) }
}

fn cores<'a>(member: &'a MemberReport, part: &'a Part) -> impl Iterator<Item = Core<'a>> {
    part.cores.iter().enumerate().map(|(core, (busy, connections))| Core {
        core,
        busy: Number(Some(*busy)),
        connections: *connections,
        instance: &member.instance,
    })
}

fn problems<'a>(member: &'a MemberReport, part: &'a Part) -> impl Iterator<Item = Problem<'a>> {
    part.problems.iter().map(|problem| Problem {
        kind: &problem.kind,
        since: problem.since_us.map(|us| Text(Rfc3339(us / 1000))),
        text: &problem.text,
        advice: &problem.advice,
        instance: &member.instance,
    })
}

fn store<'a>(parts: &'a Parts<'a, Part>, answers: &Answers) -> Store<'a> {
    let all = || parts.iter().map(|(_, part)| &part.store);
    let counts = answers.totals();
    Store {
        kind: all().next().map_or("", |store| &store.kind),
        up: all().all(|store| store.up),
        away_since: all()
            .filter_map(|it| it.away_since_us)
            .min()
            .map(|us| Text(Rfc3339(us / 1000))),
        pending: counts.get("pending"),
        queue_share: Number(Some(all().map(|store| store.queue_share).fold(0.0, f64::max))),
        stored: counts.get("stored"),
        coalesced: counts.get("coalesced"),
        dropped: counts.get("dropped"),
        lost: counts.get("lost"),
    }
}
