//! `GET /devices/{id}` and `GET /devices/{id}/latest`: one device, its values, its newest metric.

use std::sync::Arc;

use serde::{Serialize, Serializer};

pub(super) use super::analyze::unknown_device;
use super::analyze::{Analysis, NOT_HELD, of_device};
use super::devices::last_seen;
use super::jobs::Lane;
use super::json::{Number, Text, append_line, live};
use super::lookup::look_up;
use super::path_segment::decode_device_id;
use super::state::State;
use crate::analytics::device_values::{DeviceValues, ScoredValue};
use crate::analytics::directory::DeviceDetail;
use crate::metric::timestamp::Rfc3339;
use crate::schema::Schema;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::response::Response;

/// Answers with all that is known of the device whose id is this segment of the path.
pub fn answer(
    segment: &str,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let Some(id) = decode_device_id(segment) else {
        return Reply::Now(unknown_device(NOT_HELD, body, route));
    };
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        match state.analytics.detail(&id, execution.now) {
            Some(detail) => {
                write(&id, &detail, true, Some("instance"), state, execution.now, body);
                live(route)
            }
            None => unknown_device(NOT_HELD, body, route),
        }
    })
}

/// Answers with the stored metric that a device sent last.
pub fn latest(
    segment: &str,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let Some(id) = decode_device_id(segment) else {
        return Reply::Now(unknown_device(NOT_HELD, body, route));
    };
    state.submit(Lane::Lookup, context, body, route, move |state, execution, body| {
        let now = execution.now;
        let Some(timestamp) = state.analytics.newest_timestamp(&id, now) else {
            return unknown_device(NOT_HELD, body, route);
        };
        look_up_latest(&id, timestamp.to_string().as_bytes(), state, now, body, route)
    })
}

/// Answers with the stored metric of a device that has this timestamp in its key.
pub(super) fn look_up_latest(
    id: &str,
    timestamp: &[u8],
    state: &State,
    now: Now,
    body: &mut Vec<u8>,
    route: usize,
) -> Response {
    let key = state.store.full_key(&[id.as_bytes(), b":", timestamp].concat());
    let found = look_up(&key, state, now, body, route);
    // The next metric has another key, which the path does not tell.
    Response { field: found.field.or(live(route).field), ..found }
}

/// Writes what is known of a device, with the values of its windows or without.
pub(super) fn write(
    id: &str,
    detail: &DeviceDetail,
    has_values: bool,
    scope: Option<&'static str>,
    state: &State,
    now: Now,
    body: &mut Vec<u8>,
) {
    let series = format!("device:{id}");
    let analysis = of_device(state, scope, &series, &detail.summary);
    if !has_values {
        return append_line(body, &analysis);
    }
    let last_seen = last_seen(detail.seen_ns, now);
    let values = Values(state.settings.schema, &detail.values);
    append_line(body, &Device { analysis, last_seen, values });
}

/// The members of the answer: those of an analysis, and what lists and charts need.
#[derive(Serialize)]
struct Device<'a> {
    #[serde(flatten)]
    analysis: Analysis<'a>,
    last_seen: Text<Rfc3339>,
    values: Values<'a>,
}

/// The values of the windows: timestamps, and columns under the names of the fields.
struct Values<'a>(&'static Schema, &'a DeviceValues);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(schema, DeviceValues { timestamps_ms, fields }) = self;
        let timestamps = timestamps_ms.iter().map(|ms| Text(Rfc3339(*ms))).collect();
        let names = schema.fields().iter().map(|field| field.name());
        let columns = names.zip(fields).map(|(name, values)| (name, Member::column(values)));
        let members = [("timestamps", Member::Timestamps(timestamps))].into_iter().chain(columns);
        serializer.collect_map(members)
    }
}

/// A member of the values.
#[derive(Serialize)]
#[serde(untagged)]
enum Member {
    Timestamps(Vec<Text<Rfc3339>>),
    Column { values: Vec<Number>, z_scores: Vec<Number>, anomalies: Vec<bool> },
}

impl Member {
    fn column(values: &[Option<ScoredValue>]) -> Self {
        let z = |value: &Option<ScoredValue>| Number(value.and_then(|value| value.z));
        let is_anomalous = |value: &ScoredValue| value.is_anomalous;
        Self::Column {
            values: values.iter().map(|value| Number(value.map(|value| value.value))).collect(),
            z_scores: values.iter().map(z).collect(),
            anomalies: values.iter().map(|it| it.as_ref().is_some_and(is_anomalous)).collect(),
        }
    }
}
