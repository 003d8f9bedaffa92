//! `GET /analyze`: the analytics of this instance, or of one device.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::jobs::Lane;
use super::json::{Number, Text, append_line, live};
use super::novelty::{Novelty, padded};
use super::state::{Settings, State};
use crate::analytics::anomaly::Anomaly;
use crate::analytics::novelty_summary::NoveltySummary;
use crate::analytics::summary::{FieldSummary, SeriesSummary};
use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::timestamp::Rfc3339;
use crate::schema::Schema;
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
    let id = match asked_device(request, body, route) {
        Ok(id) => id,
        Err(response) => return Reply::Now(response),
    };
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        match &id {
            None => instance(state, execution.now, body),
            Some(id) if device(id, state, execution.now, body) => {}
            Some(_) => return unknown_device(NOT_HELD, body, route),
        }
        live(route)
    })
}

/// Returns the device that a request asks for, if it asks for one, or the answer that there is none
/// of such a name.
pub(super) fn asked_device(
    request: &Request<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Result<Option<String>, Response> {
    let id = request.parameter("device_id").map(Cow::into_owned);
    if id.as_ref().is_some_and(String::is_empty) {
        // An empty variable in a script, which would otherwise pass for a device that is gone.
        return Err(problem(body, Status::BadRequest, EMPTY_ID, None, route));
    }
    if id.as_ref().is_some_and(|id| id.len() > DEVICE_ID_BYTES_MAX) {
        return Err(unknown_device(NOT_HELD, body, route));
    }
    Ok(id)
}

/// The reason why this instance does not know a device.
pub(super) const NOT_HELD: &str = "device_id: this instance holds no device of that name";

/// Answers for a device that is not held.
pub(super) fn unknown_device(detail: &str, body: &mut Vec<u8>, route: usize) -> Response {
    problem(body, Status::NotFound, detail, None, route)
}

/// The members of the answer, in their order.
#[derive(Serialize)]
pub(super) struct Analysis<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    novelty: Option<Novelty>,
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
pub(super) struct Totals {
    pub(super) accepted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rejected: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) devices: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) novelties: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct StoreCounts {
    pub(super) kind: &'static str,
    pub(super) up: bool,
    pub(super) pending: u64,
    pub(super) stored: u64,
    pub(super) coalesced: u64,
    pub(super) dropped: u64,
    /// The events that replicas of a fleet took along when they died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<u64>,
}

/// The origin of an analysis.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The scope, unless it is told already.
    pub(super) scope: Option<&'static str>,
    /// The instance that answers.
    pub(super) instance: &'a str,
    /// The name of the series.
    pub(super) series: &'a str,
    /// The cores of all instances that it is of.
    pub(super) cores: usize,
}

fn instance(state: &State, now: Now, body: &mut Vec<u8>) {
    let summary = state.analytics.instance(now);
    let rejected = state.counters.totals().rejected_all();
    let store = state.store.stats();
    let totals = Totals {
        accepted: store.totals.accepted,
        rejected: Some(rejected),
        devices: Some(summary.totals.devices),
        novelties: state.analytics.novelty().map(|_| summary.totals.novelties.iter().sum()),
    };
    let store = StoreCounts {
        kind: store.kind,
        up: store.up,
        pending: store.totals.pending(),
        stored: store.totals.stored,
        coalesced: store.totals.coalesced,
        dropped: store.totals.dropped_all(),
        lost: None,
    };
    let origin = origin_of(state, Some("instance"), "all");
    let schema = state.settings.schema;
    append_line(body, &Analysis::new(origin, schema, &summary.series, totals, Some(store)));
}

/// Writes the analytics of a device. Returns false if it is not held.
fn device(id: &str, state: &State, now: Now, body: &mut Vec<u8>) -> bool {
    let Some(summary) = state.analytics.device(id, now) else {
        return false;
    };
    let series = format!("device:{id}");
    append_line(body, &of_device(state, Some("instance"), &series, &summary));
    true
}

/// Returns the analysis of a device, the series of which has this name.
pub(super) fn of_device<'a>(
    state: &'a State,
    scope: Option<&'static str>,
    series: &'a str,
    summary: &'a SeriesSummary,
) -> Analysis<'a> {
    let accepted = summary.accepted;
    let totals = Totals { accepted, rejected: None, devices: None, novelties: None };
    Analysis::new(origin_of(state, scope, series), state.settings.schema, summary, totals, None)
}

fn origin_of<'a>(state: &'a State, scope: Option<&'static str>, series: &'a str) -> Origin<'a> {
    let Settings { instance, cores, .. } = &state.settings;
    Origin { scope, instance, series, cores: *cores }
}

impl<'a> Analysis<'a> {
    pub(super) fn new(
        origin: Origin<'a>,
        schema: &'static Schema,
        summary: &'a SeriesSummary,
        totals: Totals,
        store: Option<StoreCounts>,
    ) -> Self {
        let Origin { scope, instance, series, cores } = origin;
        let SeriesSummary { window, fields, anomalies, novelty, .. } = summary;
        let fields = schema.fields().iter().zip(fields).zip(padded(novelty));
        let analysis = |summary: &Option<FieldSummary>, novelty: Option<&NoveltySummary>| {
            let analysis =
                summary.as_ref().map_or_else(FieldAnalysis::default, FieldAnalysis::from);
            FieldAnalysis { novelty: novelty.map(Novelty::from), ..analysis }
        };
        Self {
            scope,
            instance,
            series,
            cores,
            window: Window {
                size: window.size,
                count: window.count,
                from: window.from_ms.map(|ms| Text(Rfc3339(ms))),
                to: window.to_ms.map(|ms| Text(Rfc3339(ms))),
            },
            fields: FieldAnalyses(
                fields
                    .map(|((field, summary), novelty)| (field.name(), analysis(summary, novelty)))
                    .collect(),
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
            novelty: None,
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
