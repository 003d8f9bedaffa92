//! `GET /metrics/prometheus`: what the server measures of itself.

use super::later::Work;
use super::state::State;
use crate::clock::Now;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::metric::event::Field;
use crate::store::ledger::{DropReason, EvictReason};
use crate::telemetry::exposition::Format;
use crate::telemetry::latency::{Buckets, Durations};
use crate::telemetry::snapshot::{self, Named, Snapshot};

/// The exposition in the format that the request prefers.
#[must_use]
pub fn work(request: &Request<'_>) -> Work {
    let accept =
        request.headers.first(Name::Accept).and_then(|value| std::str::from_utf8(value).ok());
    Work::Scrape { format: Format::accepted_by(accept) }
}

/// Writes the exposition.
pub fn answer(
    format: Format,
    state: &State,
    now: Now,
    body: &mut Vec<u8>,
    route: usize,
) -> Response {
    body.extend_from_slice(state.exposition.write(&snapshot(state, now), format).as_bytes());
    Response::ok(format.content_type(), route)
}

/// Everything that is exported, at this moment.
#[must_use]
pub fn snapshot(state: &State, now: Now) -> Snapshot {
    let counters = state.counters.totals();
    Snapshot {
        labels: state.counters.labels(),
        durations: state.latency.merged(),
        busy_ratios: state.busy.ratios(now, &counters.busy_ns),
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
    let average = |field: Field| {
        let fields = instance.fields.as_ref();
        fields.and_then(|fields| fields.get(field.index())).map(|field| field.rolling_average)
    };
    snapshot::Analytics {
        anomalies: by_field(totals.points),
        episodes: by_field(totals.episodes),
        rolling_averages: Field::ALL.map(|field| (field.name(), average(field))).into(),
        devices: totals.devices,
        devices_max: state.settings.devices_max as u64,
        devices_refused: totals.devices_refused,
    }
}

fn by_field(counts: [u64; 2]) -> Named<u64> {
    Field::ALL.into_iter().map(Field::name).zip(counts).collect()
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
