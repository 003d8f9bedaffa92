//! Snapshots: plain numbers of the whole server in, metric families out.
//!
//! The layer above fills a [`Snapshot`] from analytics, store and counters; no island has to know
//! another. Families are neutral: both text formats are written from them.

use std::borrow::Cow;

use crate::telemetry::counters::{self, Labels};
use crate::telemetry::latency::{Buckets, Durations};
use crate::telemetry::table::{self, Kind, Metric};
use percore::observer::CloseReason;

/// A value for each of a closed set of names. All names are there from the start, at 0.
pub type Named<T> = Vec<(&'static str, T)>;

/// Everything that is exported, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The tables that `counters` and `durations` are indexed by.
    pub labels: Labels,
    /// What the cores have counted.
    pub counters: counters::Totals,
    /// Durations of requests, by route.
    pub durations: Vec<Durations>,
    /// Share of time at work, by core.
    pub busy_ratios: Vec<f64>,
    /// Connections that may be open at once.
    pub connections_max: u64,
    /// What the analytics tell.
    pub analytics: Analytics,
    /// What the store tells.
    pub store: Store,
}

/// The analytics' part of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Analytics {
    /// Anomalous values, by field.
    pub anomalies: Named<u64>,
    /// Episodes, by field.
    pub episodes: Named<u64>,
    /// Means of the instance's window, by field; `None` before the first event.
    pub rolling_averages: Named<Option<f64>>,
    /// Devices with a window.
    pub devices: u64,
    /// Devices that may have one.
    pub devices_max: u64,
    /// Events of devices refused one.
    pub devices_refused: u64,
}

/// The store's part of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Whether it takes records.
    pub up: bool,
    /// Events accepted.
    pub accepted: u64,
    /// Events without an outcome.
    pub pending: u64,
    /// Bytes of what waits.
    pub pending_bytes: u64,
    /// Its bound, in bytes.
    pub capacity_bytes: u64,
    /// Events stored.
    pub stored: u64,
    /// Events replaced while they waited.
    pub coalesced: u64,
    /// Events lost, by reason.
    pub dropped: Named<u64>,
    /// Records that left the embedded store, by reason.
    pub evicted: Named<u64>,
    /// Errors, by kind; a store that cannot err has no kinds.
    pub errors: Named<u64>,
    /// Durations of flushes.
    pub flushes: Buckets,
    /// Connections made after the first.
    pub reconnects: u64,
}

/// One metric family, with all its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name in the text exposition: a counter's ends with `_total`.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: Kind,
    /// One sentence.
    pub help: Cow<'static, str>,
    /// At least one.
    pub samples: Vec<Sample>,
}

/// One series of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// What was measured.
    pub value: Value,
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram, in seconds once written.
    Buckets(Buckets),
}

impl Snapshot {
    /// The families of the table, in its order; one without any known label value is left out.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = vec![number(table::EVENTS_ACCEPTED, self.store.accepted)];
        families.extend(self.analytics.families(&self.counters, self.labels));
        families.extend(self.http_families());
        families.extend(self.store.families());
        families.extend([
            by_core(table::CORE_BUSY_RATIO, self.busy_ratios.iter().copied()),
            build_info(),
        ]);
        families.retain(|family| !family.samples.is_empty());
        families
    }

    fn http_families(&self) -> [Family; 6] {
        let counters = &self.counters;
        let requests = counters.request_counts(self.labels).map(|(route, status, count)| {
            let status = status.map_or(Cow::Borrowed("other"), |status| status.to_string().into());
            (vec![Cow::Borrowed(route), status], Value::Number(count as f64))
        });
        let routes = self.labels.routes.iter().zip(&self.durations);
        let durations = routes.map(|(route, durations)| {
            (vec![Cow::Borrowed(*route)], Value::Buckets(durations.buckets()))
        });
        let closed = CloseReason::ALL.iter().zip(&counters.closed);
        [
            family(table::HTTP_REQUESTS, requests),
            family(table::HTTP_REQUEST_DURATION, durations),
            by_core(table::CONNECTIONS, counters.live.iter().map(|live| *live as f64)),
            number(table::CONNECTIONS_MAX, self.connections_max),
            number(table::CONNECTIONS_OPENED, counters.opened),
            by_name(
                table::CONNECTIONS_CLOSED,
                closed.map(|(reason, count)| (reason.name(), *count as f64)),
            ),
        ]
    }
}

impl Analytics {
    fn families(&self, counters: &counters::Totals, labels: Labels) -> Vec<Family> {
        let rejected = labels.reject_reasons.iter().zip(&counters.rejected);
        let averages = self.rolling_averages.iter();
        vec![
            by_name(
                table::EVENTS_REJECTED,
                rejected.map(|(reason, count)| (*reason, *count as f64)),
            ),
            number(table::EVENTS_LATE, counters.late),
            counts(table::ANOMALIES, &self.anomalies),
            counts(table::ANOMALY_EPISODES, &self.episodes),
            by_name(
                table::ROLLING_AVERAGE,
                averages.map(|(field, mean)| (*field, mean.unwrap_or(f64::NAN))),
            ),
            number(table::DEVICES, self.devices),
            number(table::DEVICES_MAX, self.devices_max),
            number(table::DEVICES_REFUSED, self.devices_refused),
        ]
    }
}

impl Store {
    fn families(&self) -> [Family; 11] {
        let flushes = Value::Buckets(self.flushes);
        [
            number(table::STORE_UP, u64::from(self.up)),
            number(table::STORE_PENDING, self.pending),
            number(table::STORE_PENDING_BYTES, self.pending_bytes),
            number(table::STORE_CAPACITY_BYTES, self.capacity_bytes),
            number(table::STORE_STORED, self.stored),
            number(table::STORE_COALESCED, self.coalesced),
            counts(table::STORE_DROPPED, &self.dropped),
            counts(table::STORE_EVICTED, &self.evicted),
            counts(table::STORE_ERRORS, &self.errors),
            family(table::STORE_FLUSH_DURATION, [(Vec::new(), flushes)]),
            number(table::STORE_RECONNECTS, self.reconnects),
        ]
    }
}

/// The version of this build, and the commit that the build was told.
fn build_info() -> Family {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("COREPULSE_COMMIT").unwrap_or("unknown");
    let labels = vec![Cow::Borrowed(version), Cow::Borrowed(commit)];
    family(table::BUILD_INFO, [(labels, Value::Number(1.0))])
}

fn number(metric: Metric, value: u64) -> Family {
    family(metric, [(Vec::new(), Value::Number(value as f64))])
}

fn counts(metric: Metric, values: &Named<u64>) -> Family {
    by_name(metric, values.iter().map(|(name, count)| (*name, *count as f64)))
}

fn by_name(metric: Metric, values: impl Iterator<Item = (&'static str, f64)>) -> Family {
    family(metric, values.map(|(name, value)| (vec![name.into()], Value::Number(value))))
}

fn by_core(metric: Metric, values: impl Iterator<Item = f64>) -> Family {
    let samples = values
        .enumerate()
        .map(|(core, value)| (vec![core.to_string().into()], Value::Number(value)));
    family(metric, samples)
}

/// A family of the table; each sample comes with the values of the table's labels, in their order.
fn family(
    metric: Metric,
    samples: impl IntoIterator<Item = (Vec<Cow<'static, str>>, Value)>,
) -> Family {
    let samples = samples.into_iter().map(|(values, value)| {
        debug_assert_eq!(values.len(), metric.labels.len(), "{}", metric.name);
        let names = metric.labels.iter().map(|name| Cow::Borrowed(*name));
        Sample { labels: names.zip(values).collect(), value }
    });
    Family {
        name: metric.name.into(),
        kind: metric.kind,
        help: metric.help.into(),
        samples: samples.collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::telemetry::counters::Counters;
    use crate::telemetry::latency::{Latency, Tally};

    pub(crate) const LABELS: Labels = Labels {
        routes: &["ingest", "lookup"],
        statuses: &[200, 202, 404],
        possible: &[],
        reject_reasons: &["syntax", "future"],
    };

    /// A server that has just started, with every name a store and the analytics may have.
    pub(crate) fn at_start() -> Snapshot {
        Snapshot {
            labels: LABELS,
            counters: Counters::new(2, LABELS).totals(),
            durations: Latency::new(2, LABELS.routes.len()).merged(),
            busy_ratios: vec![0.0; 2],
            connections_max: 1_000,
            analytics: Analytics {
                anomalies: vec![("cpu", 0), ("rps", 0)],
                episodes: vec![("cpu", 0), ("rps", 0)],
                rolling_averages: vec![("cpu", None), ("rps", None)],
                devices_max: 100_000,
                ..Analytics::default()
            },
            store: Store {
                up: true,
                dropped: vec![("overflow", 0), ("expired", 0)],
                evicted: vec![("expired", 0), ("capacity", 0)],
                errors: vec![("oom", 0), ("io", 0)],
                ..Store::default()
            },
        }
    }

    /// The same after some traffic.
    pub(crate) fn at_work() -> Snapshot {
        let counters = Counters::new(2, LABELS);
        let latency = Latency::new(2, LABELS.routes.len());
        let mut tally = Tally::default();
        for number in 1..100 {
            counters.open(1);
            counters.request(0, 0, 202);
            tally.add(0, number * number * 1_000, 3);
        }
        latency.record(0, &mut tally);
        let mut snapshot = at_start();
        snapshot.counters = counters.totals();
        snapshot.durations = latency.merged();
        snapshot.busy_ratios = vec![0.25, 1.0];
        snapshot.analytics.rolling_averages = vec![("cpu", Some(41.25)), ("rps", Some(1e12))];
        snapshot.store.accepted = 123_456_789_012;
        snapshot.store.flushes = snapshot.durations[0].buckets();
        snapshot
    }

    #[test]
    fn every_row_of_the_table_is_exported_in_its_order() {
        let families = at_start().families();
        let names: Vec<&str> = families.iter().map(|family| &*family.name).collect();
        let table: Vec<&str> = table::TABLE.iter().map(|metric| metric.name).collect();
        assert_eq!(names, table);
    }

    #[test]
    fn counters_and_histograms_start_at_zero() {
        for family in at_start().families() {
            for sample in family.samples {
                match (family.kind, sample.value) {
                    (Kind::Counter, Value::Number(value)) => assert_eq!(value, 0.0),
                    (Kind::Histogram, Value::Buckets(buckets)) => {
                        assert_eq!(buckets, Buckets::default());
                    }
                    (Kind::Gauge, Value::Number(_)) => {}
                    (kind, value) => panic!("{kind:?} {value:?} in {}", family.name),
                }
            }
        }
    }
}
