//! `GET /metrics/prometheus`: the server's own metrics.

use std::sync::Arc;

use super::jobs::Lane;
use super::state::State;
use crate::metric::event;
use crate::store::event_counters::{DropReason, EvictReason};
use crate::telemetry::exposition::Format;
use crate::telemetry::latency::{Buckets, Durations};
use crate::telemetry::snapshot::{self, Named, Snapshot};
use percore::clock::Now;
use percore::http::accept_encoding::{gzip, wants_gzip};
use percore::http::handler::{Context, Reply};
use percore::http::request::Request;
use percore::http::response::{Field, Response};

/// Answers with the exposition in the format and coding that the request prefers.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let lines = request.headers.lines("accept").map(String::from_utf8_lossy);
    let accept = lines.collect::<Vec<_>>().join(",");
    let format = Format::accepted_by(Some(&accept));
    let gzipped = wants_gzip(request.headers.lines("accept-encoding"));
    state.submit(Lane::Scrape, context, body, route, move |state, execution, body| {
        let text = state.exposition.write(&snapshot(state, execution.now), format);
        *body = if gzipped { gzip(text.as_bytes()) } else { text.into_bytes() };
        let field = Some(Field::Negotiated { gzipped });
        Response { field, ..Response::ok(format.content_type(), route) }
    })
}

/// Collects everything that is exported, at this moment.
#[must_use]
pub fn snapshot(state: &State, now: Now) -> Snapshot {
    let counters = state.counters.totals();
    Snapshot {
        labels: state.counters.labels(),
        durations: state.latency.merged(),
        busy_ratios: state.busy_ratios.measure(now, &counters.busy_ns),
        connections_max: state.settings.connections_max as u64,
        // The store's books are read last: what they call accepted, the analytics have seen.
        analytics: analytics(state, now),
        store: store(state),
        counters,
    }
}

fn analytics(state: &State, now: Now) -> snapshot::Analytics {
    let instance = state.analytics.instance(now);
    let totals = instance.totals;
    let average = |field: event::Field| {
        let fields = instance.fields.as_ref();
        fields.and_then(|fields| fields.get(field.index())).map(|field| field.rolling_average)
    };
    snapshot::Analytics {
        anomalies: by_field(totals.points),
        episodes: by_field(totals.episodes),
        rolling_averages: event::Field::ALL.map(|field| (field.name(), average(field))).into(),
        devices: totals.devices,
        devices_max: state.settings.devices_max as u64,
        devices_refused: totals.devices_refused,
    }
}

fn by_field(counts: [u64; 2]) -> Named<u64> {
    event::Field::ALL.into_iter().map(event::Field::name).zip(counts).collect()
}

fn store(state: &State) -> snapshot::Store {
    let stats = state.store.stats();
    let totals = stats.totals;
    let flushes = state.flushes.merged();
    snapshot::Store {
        up: stats.up,
        accepted: totals.accepted,
        pending: totals.pending(),
        pending_bytes: stats.pending_bytes,
        capacity_bytes: stats.capacity_bytes,
        stored: totals.stored,
        coalesced: totals.coalesced,
        dropped: DropReason::ALL.into_iter().map(DropReason::name).zip(totals.dropped).collect(),
        evicted: EvictReason::ALL.into_iter().map(EvictReason::name).zip(totals.evicted).collect(),
        errors: stats.errors,
        flushes: flushes.first().map_or_else(Buckets::default, Durations::buckets),
        reconnects: stats.reconnects,
    }
}
