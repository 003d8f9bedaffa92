//! The metrics: name, type, help, labels and source of each, declared once.
//!
//! Names follow the practice of Prometheus: one prefix, base units as the last word, `_total` on
//! counters. `process_*` come from the `prometheus` crate.

mod tls;
mod windows;

use std::iter::zip;
use std::sync::atomic::Ordering;

use super::authorization::failures::Failure;
use super::state::State;
use crate::analytics::summary::InstanceSummary;
use crate::fleet::status::StatusReading;
use crate::limits::FIELDS_MAX;
use crate::reload::ReloadCounts;
use crate::schema::{Field, Schema};
use crate::store::confirmations::WaiterTotals;
use crate::store::event_counters::{DropReason, EvictReason};
use crate::store::stats::Stats;
use crate::telemetry::counters::{CoreTotals, Labels};
use crate::telemetry::family::{MetricFamily, by, counter, gauge, histogram, single};
use crate::telemetry::latency::Durations;
use percore::clock::Now;
use percore::observer::CloseReason;
use windows::WindowFigures;

/// The values of everything that is exported, at one moment.
#[derive(Clone, Debug)]
struct Snapshot {
    schema: &'static Schema,
    labels: Labels,
    counters: CoreTotals,
    durations: Vec<Durations>,
    busy_ratios: Vec<f64>,
    connections_max: usize,
    devices_max: usize,
    analytics: InstanceSummary,
    store: Stats,
    flushes: Vec<Durations>,
    fleet: Option<(StatusReading, WindowFigures)>,
    reloads: Vec<(&'static str, [u64; 2])>,
    auth_failures: Option<[u64; Failure::ALL.len()]>,
    /// The time at which the certificate of TLS expires, if it is spoken.
    tls_expires_unix_s: Option<i64>,
}

/// Collects all metrics at this moment, in the order of the exposition.
pub(super) fn collect(state: &State, now: Now) -> Vec<MetricFamily> {
    Snapshot::take(state, now).families()
}

impl Snapshot {
    fn take(state: &State, now: Now) -> Self {
        let counters = state.counters.totals();
        Self {
            schema: state.settings.schema,
            labels: state.counters.labels(),
            durations: state.latency.merged(),
            busy_ratios: state.busy_ratios.measure(now, &counters.busy_ns),
            connections_max: state.settings.connections_max,
            devices_max: state.settings.devices_max,
            // The store is read last: the analytics have seen what it calls accepted.
            analytics: state.analytics.instance(now),
            store: state.store.stats(),
            flushes: state.flushes.merged(),
            reloads: state.reloads.totals().collect(),
            auth_failures: state.access.as_ref().map(|access| access.failures.totals()),
            tls_expires_unix_s: state
                .tls_expires_unix_s
                .as_ref()
                .map(|time| time.load(Ordering::Relaxed)),
            fleet: state.fleet.as_ref().map(|fleet| {
                let windows =
                    WindowFigures::new(state.analytics.windows(), fleet.figures(), now.mono_ns);
                (fleet.status().read(), windows)
            }),
            counters,
        }
    }

    fn families(&self) -> Vec<MetricFamily> {
        let groups = [
            self.events(),
            self.devices(),
            self.http(),
            self.store(),
            self.acknowledgements(),
            self.server(),
        ];
        let fleet = self
            .fleet
            .iter()
            .flat_map(|(status, windows)| [fleet(status, windows), windows.families()]);
        let tls = self.tls_expires_unix_s.map(|expires| tls::families(&self.counters, expires));
        groups
            .into_iter()
            .flatten()
            .chain(tls.into_iter().flatten())
            .chain(fleet.flatten())
            .collect()
    }

    fn events(&self) -> Vec<MetricFamily> {
        let Self { labels, counters, analytics, .. } = self;
        let by_field = |counts: [u64; FIELDS_MAX]| {
            by("field", zip(self.schema.fields().iter().map(|field| field.name()), counts))
        };
        let average = |field: Field| {
            let summary = analytics.series.fields.get(field.index()).copied().flatten();
            (field.name(), summary.map_or(f64::NAN, |summary| summary.rolling_average))
        };
        vec![
            counter(
                "corepulse_events_accepted_total",
                "Events acknowledged: applied to the analytics and queued for the store.",
                single(self.store.totals.accepted),
            ),
            counter(
                "corepulse_events_rejected_total",
                "Events refused, by what was wrong with them.",
                by("reason", zip(labels.reject_reasons, counters.rejected.iter().copied())),
            ),
            counter(
                "corepulse_events_late_total",
                "Events accepted although older than the store keeps them.",
                single(counters.late),
            ),
            counter(
                "corepulse_events_duplicate_total",
                "Events accepted that repeated the last one of their device, and were not judged.",
                single(analytics.totals.duplicates),
            ),
            counter(
                "corepulse_values_total",
                "Values of accepted events.",
                by_field(analytics.values),
            ),
            counter(
                "corepulse_anomalies_total",
                "Values further from their window's mean than the threshold.",
                by_field(analytics.totals.points),
            ),
            counter(
                "corepulse_anomaly_episodes_total",
                "Runs of anomalies of one series and field that were closer than the cooldown.",
                by_field(analytics.totals.episodes),
            ),
            counter(
                "corepulse_novelties_total",
                "Values that are new to their series, by --novelty and --stuck-after.",
                by_field(analytics.totals.novelties),
            ),
            gauge(
                "corepulse_rolling_average",
                "Mean of the instance's window; NaN before the first value.",
                by("field", self.schema.fields().iter().copied().map(average)),
            ),
        ]
    }

    fn devices(&self) -> Vec<MetricFamily> {
        vec![
            gauge(
                "corepulse_devices",
                "Devices that have a window of their own.",
                single(self.analytics.totals.devices),
            ),
            gauge(
                "corepulse_devices_max",
                "Devices that may have a window of their own.",
                single(self.devices_max as u64),
            ),
            counter(
                "corepulse_devices_refused_total",
                "Events of devices that got no window of their own, as too many others had one.",
                single(self.analytics.totals.devices_refused),
            ),
        ]
    }

    fn http(&self) -> Vec<MetricFamily> {
        let Self { labels, counters, .. } = self;
        let requests = counters.request_counts(*labels).map(|(route, status, count)| {
            let status = status.map_or("other".to_owned(), |status| status.to_string());
            (vec![("route", route.to_owned()), ("status", status)], count.into())
        });
        vec![
            counter("corepulse_http_requests_total", "Requests answered.", requests.collect()),
            histogram(
                "corepulse_http_request_duration_seconds",
                "Time from a readable socket to the answer in the kernel's hands.",
                by("route", zip(labels.routes, self.durations.iter().map(Durations::buckets))),
            ),
            counter(
                "corepulse_auth_failures_total",
                "Requests without the token that they need, by why.",
                self.auth_failures
                    .iter()
                    .flat_map(|counts| by("reason", zip(Failure::NAMES, *counts)))
                    .collect(),
            ),
            gauge(
                "corepulse_connections",
                "Open connections.",
                by("core", counters.open_connections.iter().copied().enumerate()),
            ),
            gauge(
                "corepulse_connections_max",
                "Connections that may be open at once.",
                single(self.connections_max as u64),
            ),
            counter(
                "corepulse_connections_opened_total",
                "Connections accepted.",
                single(counters.opened),
            ),
            counter(
                "corepulse_connections_closed_total",
                "Connections ended, by why.",
                by("reason", zip(CloseReason::NAMES, counters.closed)),
            ),
        ]
    }

    fn store(&self) -> Vec<MetricFamily> {
        let Stats { totals, errors, .. } = &self.store;
        vec![
            gauge(
                "corepulse_store_up",
                "Whether the store takes records now: 1 or 0.",
                single(u64::from(self.store.up)),
            ),
            gauge(
                "corepulse_store_pending",
                "Events accepted that have no outcome yet.",
                single(totals.pending()),
            ),
            gauge(
                "corepulse_store_pending_bytes",
                "Memory of the events that wait for the store.",
                single(self.store.pending_bytes),
            ),
            gauge(
                "corepulse_store_capacity_bytes",
                "Bound of the store's queue or, in memory, of the store itself.",
                single(self.store.capacity_bytes),
            ),
            counter(
                "corepulse_store_stored_total",
                "Events that the store has confirmed.",
                single(totals.stored),
            ),
            counter(
                "corepulse_store_coalesced_total",
                "Events replaced by a newer one of their key while they waited.",
                single(totals.coalesced),
            ),
            counter(
                "corepulse_store_dropped_total",
                "Events acknowledged and then lost, by why.",
                by("reason", zip(DropReason::NAMES, totals.dropped)),
            ),
            counter(
                "corepulse_store_evicted_total",
                "Records that left the embedded store, by why.",
                by("reason", zip(EvictReason::NAMES, totals.evicted)),
            ),
            counter(
                "corepulse_store_errors_total",
                "Errors of the store, by kind.",
                by("kind", errors.iter().copied()),
            ),
            histogram(
                "corepulse_store_flush_duration_seconds",
                "Time from a block's first byte sent to its last reply.",
                self.flushes.iter().flat_map(|flushes| single(flushes.buckets())).collect(),
            ),
            counter(
                "corepulse_store_reconnects_total",
                "Connections to the store made after the first.",
                single(self.store.reconnects),
            ),
            counter(
                "corepulse_store_recovered_total",
                "Events that an earlier process left in --spill, accepted once more.",
                single(self.store.recovered),
            ),
        ]
    }

    fn acknowledgements(&self) -> Vec<MetricFamily> {
        let WaiterTotals { waiting, stored, unconfirmed, refused } = self.store.waiters;
        let outcomes = [("stored", stored), ("unconfirmed", unconfirmed), ("refused", refused)];
        vec![
            counter(
                "corepulse_ack_requests_total",
                "Requests that waited until their events were stored, by what they were told.",
                by("outcome", outcomes),
            ),
            gauge(
                "corepulse_ack_waiting",
                "Requests that wait until their events are stored.",
                single(waiting),
            ),
        ]
    }

    fn server(&self) -> Vec<MetricFamily> {
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        let commit = ("commit", env!("COREPULSE_COMMIT").to_owned());
        let reloads = self.reloads.iter().flat_map(|(what, counts)| {
            let labels =
                |outcome: &str| vec![("what", (*what).to_owned()), ("outcome", outcome.to_owned())];
            zip(ReloadCounts::OUTCOMES, *counts)
                .map(move |(outcome, count)| (labels(outcome), count.into()))
        });
        vec![
            gauge(
                "corepulse_core_busy_ratio",
                "Share of the time since an earlier scrape that a core was not waiting for events.",
                by("core", self.busy_ratios.iter().copied().enumerate()),
            ),
            gauge(
                "corepulse_build_info",
                "Always 1; the labels say what is running.",
                vec![(vec![version, commit], 1.0.into())],
            ),
            counter(
                "corepulse_reloads_total",
                "Attempts to read files again after SIGHUP or a change, by what was read.",
                reloads.collect(),
            ),
        ]
    }
}

/// Returns the metrics of a member of a fleet.
fn fleet(status: &StatusReading, windows: &WindowFigures) -> Vec<MetricFamily> {
    let StatusReading { up, live, lapsed, differing, lapses, complete, incomplete, .. } = status;
    vec![
        gauge(
            "corepulse_fleet_up",
            "Whether Redis confirms this instance's place in the fleet in time: 1 or 0.",
            single(u64::from(*up)),
        ),
        gauge(
            "corepulse_fleet_members",
            "Members of the fleet, as this instance sees them, by state.",
            by("state", [("live", *live), ("lapsed", *lapsed)]),
        ),
        gauge(
            "corepulse_fleet_members_differing",
            "Live members whose settings or version differ from those of this instance.",
            single(*differing),
        ),
        counter(
            "corepulse_fleet_lease_lapses_total",
            "Times that this instance could not be sure that the others count on it.",
            single(*lapses),
        ),
        counter(
            "corepulse_fleet_answers_total",
            "Answers of the fleet that this instance gave, by whether all members told their part.",
            by("complete", [("true", *complete), ("false", *incomplete)]),
        ),
        counter(
            "corepulse_fleet_questions_total",
            "Questions of other members that this instance answered.",
            single(status.asked),
        ),
        counter(
            "corepulse_fleet_unreadable_total",
            "Messages, entries and answers of other members that could not be read.",
            single(status.unreadable),
        ),
        counter(
            "corepulse_fleet_errors_total",
            "Errors of Redis that the fleet met, by kind.",
            by(
                "kind",
                status
                    .errors
                    .iter()
                    .zip(windows.errors())
                    .map(|(member, windows)| (member.0, member.1 + windows.1)),
            ),
        ),
    ]
}

#[cfg(test)]
mod tests;
