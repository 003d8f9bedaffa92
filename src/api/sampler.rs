//! The sampler: once a second it reads the counters, so that rates and their history are known when
//! somebody asks.
//!
//! A sample takes some tens of microseconds on the control thread. It holds a core's lock for the
//! copy of one window or histogram, as a scrape does, and none while nothing was measured.

use super::problems::{Problem, Situation};
use super::route::{InfluxApi, Route};
use super::samples::RecentSamples;
use super::state::State;
use crate::analytics::summary::{FieldSummary, InstanceSummary};
use crate::store::stats::Stats;
use crate::telemetry::counters::CoreTotals;
use crate::telemetry::history::{Level, Reading};
use crate::telemetry::resident_memory::resident_bytes;
use percore::clock::Now;

/// Routes by which metrics come.
const METRIC_ROUTES: [usize; 3] = [
    Route::Ingest.index(),
    Route::Write(InfluxApi::V1).index(),
    Route::Write(InfluxApi::V2).index(),
];

/// The state of a server at one moment.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) analytics: InstanceSummary,
    pub(super) counters: CoreTotals,
    pub(super) store: Stats,
    pub(super) resident_bytes: Option<u64>,
}

impl Moment {
    /// Reads the state.
    pub(super) fn read(state: &State, now: Now) -> Self {
        Self {
            // The store is read last: the analytics have seen what it calls accepted.
            analytics: state.analytics.instance(now),
            counters: state.counters.totals(),
            resident_bytes: resident_bytes(),
            store: state.store.stats(),
        }
    }

    /// Returns the counters of this moment.
    fn reading(&self, now: Now) -> Reading {
        Reading {
            mono_ns: now.mono_ns,
            accepted: self.store.totals.accepted,
            rejected: self.counters.rejected.clone(),
            anomalies: self.analytics.totals.points.iter().sum(),
            lost: self.store.totals.dropped_all(),
            refused: self.analytics.totals.devices_refused,
            busy_ns: self.counters.busy_ns.clone(),
        }
    }

    /// Finds the problems of this moment, and remembers which of them are new.
    pub(super) fn note_problems(
        &self,
        samples: &mut RecentSamples,
        state: &State,
        now: Now,
    ) -> Vec<Problem> {
        let problems = self.problems(state, samples.history.before(60));
        samples.since.update(&problems, now.wall_us);
        problems
    }

    /// Returns the problems of this moment, where `minute_ago` is the reading of a minute before.
    fn problems(&self, state: &State, minute_ago: &Reading) -> Vec<Problem> {
        let settings = &state.settings;
        let (totals, counters) = (&self.store.totals, &self.counters);
        let before = minute_ago.rejected.iter().copied().chain(std::iter::repeat(0));
        let rejected = counters.rejected.iter().zip(before).map(|(now, before)| now - before);
        let reasons = state.counters.labels().reject_reasons.iter().copied();
        let refused = self.analytics.totals.devices_refused;
        Situation {
            store: &self.store,
            store_at: &settings.store_at,
            store_rejects: settings.store_rejects,
            accepted: totals.accepted.saturating_sub(minute_ago.accepted),
            rejected: reasons.zip(rejected).collect(),
            lost: totals.dropped_all().saturating_sub(minute_ago.lost),
            refused: refused.saturating_sub(minute_ago.refused),
            devices_max: settings.devices_max,
            connections: counters.open_connections.iter().sum(),
            connections_max: settings.connections_max,
            fleet: state.fleet.as_ref().map(|fleet| fleet.status().members()),
            resident_bytes: self.resident_bytes,
            memory_limit_bytes: settings.memory_limit_bytes,
        }
        .problems()
    }

    fn level(&self, p99_ns: Option<u64>) -> Level {
        let fields = self.analytics.series.fields.iter();
        let level =
            |field: &Option<FieldSummary>| field.map(|field| (field.rolling_average, field.stddev));
        Level { p99_ns, pending: self.store.totals.pending(), fields: fields.map(level).collect() }
    }
}

/// Takes a sample. To be called once a second, by one thread.
pub fn sample(state: &State, now: Now) {
    let moment = Moment::read(state, now);
    let durations = state.latency.merged_of(&METRIC_ROUTES);
    let mut samples = state.samples.lock();
    samples.durations.add(now.mono_ns, durations);
    let second = samples.durations.second();
    let level = moment.level((second.count > 0).then_some(second.p99_ns));
    samples.history.add(moment.reading(now), level);
    moment.note_problems(&mut samples, state, now);
}
