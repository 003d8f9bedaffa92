//! `GET /analyze`: the analytics of this instance, or of one device.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::jobs::Lane;
use super::json::{Number, Text, append_line, live};
use super::state::State;
use crate::analytics::anomaly::Anomaly;
use crate::analytics::summary::{FieldSummary, SeriesSummary};
use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::timestamp::Rfc3339;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::Response;
use percore::http::status::Status;

/// The detail of the answer for an empty id.
const EMPTY_ID: &str = "device_id: expected 1 to 128 of A-Z a-z 0-9 . _ : -, found nothing";
const _: () = assert!(DEVICE_ID_BYTES_MAX == 128);

/// Answers with the analytics of the instance, or of the device that `?device_id=` names.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let id = request.parameter("device_id").map(Cow::into_owned);
    if id.as_ref().is_some_and(String::is_empty) {
        // An empty variable in a script, which would otherwise pass for a device that is gone.
        return Reply::Now(problem(body, Status::BadRequest, EMPTY_ID, None, route));
    }
    if id.as_ref().is_some_and(|id| id.len() > DEVICE_ID_BYTES_MAX) {
        return Reply::Now(unknown_device(body, route));
    }
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        match &id {
            None => instance(state, execution.now, body),
            Some(id) if device(id, state, execution.now, body) => {}
            Some(_) => return unknown_device(body, route),
        }
        live(route)
    })
}

/// Answers for a device that is not held.
pub(super) fn unknown_device(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "device_id: this instance holds no device of that name";
    problem(body, Status::NotFound, detail, None, route)
}

/// The members of the answer, in their order.
#[derive(Serialize)]
pub(super) struct Analysis<'a> {
    scope: &'static str,
    instance: &'a str,
    series: &'a str,
    cores: usize,
    window: Window,
    #[serde(flatten)]
    fields: FieldAnalyses,
    anomalies: AnomalyCounts<'a>,
    totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreCounts>,
}

#[derive(Serialize)]
struct Window {
    size: usize,
    count: usize,
    from: Option<Text<Rfc3339>>,
    to: Option<Text<Rfc3339>>,
}

/// The analyses of all fields, as members with their names.
struct FieldAnalyses(Vec<(&'static str, FieldAnalysis)>);

impl Serialize for FieldAnalyses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, field)| (name, field)))
    }
}

#[derive(Default, Serialize)]
struct FieldAnalysis {
    rolling_average: Number,
    stddev: Number,
    min: Number,
    max: Number,
    last: Number,
    z_score: Number,
    anomaly: bool,
    count: usize,
}

#[derive(Serialize)]
struct AnomalyCounts<'a> {
    points: u64,
    episodes: u64,
    last_minute: u64,
    recent: Vec<RecentAnomaly<'a>>,
}

#[derive(Serialize)]
struct RecentAnomaly<'a> {
    timestamp: Text<Rfc3339>,
    device_id: Option<&'a str>,
    field: &'static str,
    value: Number,
    mean: Number,
    stddev: Number,
    z: Number,
}

#[derive(Serialize)]
struct Totals {
    accepted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<u64>,
}

#[derive(Serialize)]
struct StoreCounts {
    kind: &'static str,
    up: bool,
    pending: u64,
    stored: u64,
    coalesced: u64,
    dropped: u64,
}

fn instance(state: &State, now: Now, body: &mut Vec<u8>) {
    let summary = state.analytics.instance(now);
    let rejected = state.counters.totals().rejected_all();
    let store = state.store.stats();
    let totals = Totals {
        accepted: store.totals.accepted,
        rejected: Some(rejected),
        devices: Some(summary.totals.devices),
    };
    let store = StoreCounts {
        kind: store.kind,
        up: store.up,
        pending: store.totals.pending(),
        stored: store.totals.stored,
        coalesced: store.totals.coalesced,
        dropped: store.totals.dropped_all(),
    };
    append_line(body, &analysis(state, "all", &summary.series, totals, Some(store)));
}

/// Writes the analytics of a device. Returns false if it is not held.
fn device(id: &str, state: &State, now: Now, body: &mut Vec<u8>) -> bool {
    let Some(summary) = state.analytics.device(id, now) else {
        return false;
    };
    append_line(body, &of_device(state, &format!("device:{id}"), &summary));
    true
}

/// Returns the analysis of a device, the series of which has this name.
pub(super) fn of_device<'a>(
    state: &'a State,
    series: &'a str,
    summary: &'a SeriesSummary,
) -> Analysis<'a> {
    let totals = Totals { accepted: summary.accepted, rejected: None, devices: None };
    analysis(state, series, summary, totals, None)
}

fn analysis<'a>(
    state: &'a State,
    series: &'a str,
    summary: &'a SeriesSummary,
    totals: Totals,
    store: Option<StoreCounts>,
) -> Analysis<'a> {
    let SeriesSummary { window, fields, anomalies, .. } = summary;
    let fields = state.settings.schema.fields().iter().zip(fields);
    let analysis = |summary: &Option<FieldSummary>| {
        summary.as_ref().map_or_else(FieldAnalysis::default, FieldAnalysis::from)
    };
    Analysis {
        scope: "instance",
        instance: &state.settings.instance,
        series,
        cores: state.settings.cores,
        window: Window {
            size: window.size,
            count: window.count,
            from: window.from_ms.map(|ms| Text(Rfc3339(ms))),
            to: window.to_ms.map(|ms| Text(Rfc3339(ms))),
        },
        fields: FieldAnalyses(
            fields.map(|(field, summary)| (field.name(), analysis(summary))).collect(),
        ),
        anomalies: AnomalyCounts {
            points: anomalies.points,
            episodes: anomalies.episodes,
            last_minute: anomalies.last_minute,
            recent: anomalies.recent.iter().map(RecentAnomaly::from).collect(),
        },
        totals,
        store,
    }
}

impl From<&FieldSummary> for FieldAnalysis {
    fn from(summary: &FieldSummary) -> Self {
        Self {
            rolling_average: Number(Some(summary.rolling_average)),
            stddev: Number(Some(summary.stddev)),
            min: Number(Some(summary.min)),
            max: Number(Some(summary.max)),
            last: Number(Some(summary.last)),
            z_score: Number(summary.z_score),
            anomaly: summary.anomaly,
            count: summary.count,
        }
    }
}

impl<'a> From<&'a Anomaly> for RecentAnomaly<'a> {
    fn from(anomaly: &'a Anomaly) -> Self {
        let point = &anomaly.point;
        Self {
            timestamp: Text(Rfc3339(point.timestamp_ms)),
            device_id: anomaly.device_id.as_deref(),
            field: point.field.name(),
            value: Number(Some(point.value)),
            mean: Number(Some(point.mean)),
            stddev: Number(Some(point.stddev)),
            z: Number(Some(point.z)),
        }
    }
}
