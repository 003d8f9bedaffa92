//! `GET /analyze?scope=fleet`, and that of one device wherever it is held.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::{Parts, ask};
use super::device;
use super::question::Question;
use super::view::{FleetView, part};
use crate::analytics::instance_part::InstancePart;
use crate::api::analyze::{Analysis, Origin, StoreCounts, Totals, asked_device};
use crate::api::jobs::Lane;
use crate::api::json::{append_line, live, read};
use crate::api::state::State;
use crate::fleet::answers::Answers;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::request::Request;

/// The part of a member.
#[derive(Serialize, Deserialize)]
struct Part {
    analytics: InstancePart,
    cores: usize,
    store: String,
    store_up: bool,
}

/// Returns what this instance tells.
pub(super) fn tell(state: &State, now: Now) -> Vec<u8> {
    let store = state.store.stats();
    part(&Part {
        analytics: state.analytics.instance_part(now),
        cores: state.settings.cores,
        store: store.kind.to_owned(),
        store_up: store.up,
    })
}

/// Answers for the fleet, or for the device that `?device_id=` names.
pub(in crate::api) fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    match asked_device(request, body, route) {
        Ok(None) => {}
        Ok(Some(id)) => return device::answer_id(id, false, state, context, body, route),
        Err(response) => return Reply::Now(response),
    }
    ask(
        state,
        (Lane::Analyze, route),
        context,
        body,
        (&Question::Analyze, read),
        move |state, answers, parts, _, body| {
            write(state, answers, parts, body);
            live(route)
        },
    )
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct FleetAnalysis<'a> {
    #[serde(flatten)]
    fleet: FleetView<'a>,
    #[serde(flatten)]
    analysis: Analysis<'a>,
}

fn write(state: &State, answers: &Answers, parts: &Parts<'_, Part>, body: &mut Vec<u8>) {
    let analytics: Vec<_> = parts.iter().map(|(_, part)| part.analytics.clone()).collect();
    let mut summary = state.analytics.merged(&analytics);
    // The counters of who is gone, and of who is missing, are in the directory.
    let counts = answers.totals();
    summary.series.anomalies.points = counts.get("points");
    summary.series.anomalies.episodes = counts.get("episodes");
    let totals = Totals {
        accepted: counts.get("accepted"),
        rejected: Some(counts.get("rejected")),
        devices: Some(summary.totals.devices),
        novelties: state.analytics.novelty().map(|_| counts.get("novelties")),
    };
    let store = StoreCounts {
        kind: state.store.stats().kind,
        up: parts.iter().all(|(_, part)| part.store_up),
        pending: counts.get("pending"),
        stored: counts.get("stored"),
        coalesced: counts.get("coalesced"),
        dropped: counts.get("dropped"),
        lost: Some(counts.get("lost")),
    };
    let origin = Origin {
        scope: None,
        instance: &state.settings.instance,
        series: "all",
        cores: parts.iter().map(|(_, part)| part.cores).sum(),
    };
    let schema = state.settings.schema;
    let analysis = Analysis::new(origin, schema, &summary.series, totals, Some(store));
    append_line(body, &FleetAnalysis { fleet: FleetView::new(answers), analysis });
}
