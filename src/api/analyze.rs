//! `GET /analyze`: the analytics of this instance, or of one device.

use std::borrow::Cow;
use std::sync::Arc;

use super::jobs::Lane;
use super::json::Object;
use super::state::State;
use crate::analytics::anomaly::Anomaly;
use crate::analytics::summary::{Anomalies, FieldSummary, WindowSummary};
use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::event::Field;
use crate::metric::timestamp::Rfc3339;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::{JSON, Response};
use percore::http::status::Status;

/// Answers with the analytics of the instance, or of the device that `?device_id=` names.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let id = request.parameter("device_id").map(Cow::into_owned);
    if id.as_ref().is_some_and(|id| id.len() > DEVICE_ID_BYTES_MAX) {
        return Reply::Now(unknown_device(body, route));
    }
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        match &id {
            None => instance(state, execution.now, body),
            Some(id) if device(id, state, execution.now, body) => {}
            Some(_) => return unknown_device(body, route),
        }
        Response::ok(JSON, route)
    })
}

/// Answers for a device that is not held.
fn unknown_device(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "device_id: this instance holds no device of that name";
    problem(body, Status::NotFound, detail, None, route)
}

fn instance(state: &State, now: Now, body: &mut Vec<u8>) {
    let summary = state.analytics.instance(now);
    let rejected = state.counters.totals().rejected_all();
    let store = state.store.stats();
    {
        let mut object = open(state, "all", body);
        window(&mut object, &summary.window);
        fields(&mut object, summary.fields.as_ref());
        anomalies(&mut object, &summary.anomalies);
        {
            let mut totals = object.object("totals");
            totals.plain("accepted", store.totals.accepted);
            totals.plain("rejected", rejected);
            totals.plain("devices", summary.totals.devices);
        }
        let mut object = object.object("store");
        object.text("kind", store.kind);
        object.plain("up", store.up);
        object.plain("pending", store.totals.pending());
        object.plain("stored", store.totals.stored);
        object.plain("coalesced", store.totals.coalesced);
        object.plain("dropped", store.totals.dropped_all());
    }
    body.push(b'\n');
}

fn device(id: &str, state: &State, now: Now, body: &mut Vec<u8>) -> bool {
    let Some(summary) = state.analytics.device(id, now) else {
        return false;
    };
    {
        let mut object = open(state, &format!("device:{id}"), body);
        window(&mut object, &summary.window);
        fields(&mut object, summary.fields.as_ref());
        anomalies(&mut object, &summary.anomalies);
        object.object("totals").plain("accepted", summary.accepted);
    }
    body.push(b'\n');
    true
}

fn open<'a>(state: &State, series: &str, body: &'a mut Vec<u8>) -> Object<'a> {
    let mut object = Object::open(body);
    object.text("scope", "instance");
    object.text("instance", &state.settings.instance);
    object.text("series", series);
    object.plain("cores", state.settings.cores);
    object
}

fn window(object: &mut Object<'_>, window: &WindowSummary) {
    let mut object = object.object("window");
    object.plain("size", window.size);
    object.plain("count", window.count);
    object.text_or_null("from", window.from_ms.map(Rfc3339));
    object.text_or_null("to", window.to_ms.map(Rfc3339));
}

fn fields(object: &mut Object<'_>, fields: Option<&[FieldSummary; 2]>) {
    for field in Field::ALL {
        let mut object = object.object(field.name());
        let summary = fields.and_then(|fields| fields.get(field.index()));
        object.number("rolling_average", summary.map(|field| field.rolling_average));
        object.number("stddev", summary.map(|field| field.stddev));
        object.number("min", summary.map(|field| field.min));
        object.number("max", summary.map(|field| field.max));
        object.number("last", summary.map(|field| field.last));
        object.number("z_score", summary.and_then(|field| field.z_score));
        object.plain("anomaly", summary.is_some_and(|field| field.anomaly));
    }
}

fn anomalies(object: &mut Object<'_>, anomalies: &Anomalies) {
    let mut object = object.object("anomalies");
    object.plain("points", anomalies.points);
    object.plain("episodes", anomalies.episodes);
    object.plain("last_minute", anomalies.last_minute);
    object.objects("recent", &anomalies.recent, |object, anomaly: &Anomaly| {
        let point = &anomaly.point;
        object.text("timestamp", Rfc3339(point.timestamp_ms));
        object.text_or_null("device_id", anomaly.device_id.as_ref());
        object.text("field", point.field.name());
        object.number("value", Some(point.value));
        object.number("mean", Some(point.mean));
        object.number("stddev", Some(point.stddev));
        object.number("z", Some(point.z));
    });
}
