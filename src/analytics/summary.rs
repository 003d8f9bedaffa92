//! Summaries for `/analyze` and the exposition: merged first, computed once.
//!
//! A partial summary is the state of one core or shard. Partial summaries merge in any order and
//! grouping to the same whole: counts add up, ordered sets keep their newest items. Means,
//! deviations and extremes are not merged; they are computed from the merged events, at most one
//! window.

use super::anomaly::{Anomaly, Point, RecentAnomaly};
use super::moments::Moments;
use super::recent::{NewestN, RecentEvent};
use super::series::{Rules, Series};
use super::window::span;
use crate::limits;
use crate::schema::Schema;

/// The summary of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSummary {
    /// The events that it can hold.
    pub size: usize,
    /// The events that it holds.
    pub count: usize,
    /// The least of its events' timestamps, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// The greatest of them.
    pub to_ms: Option<i64>,
}

impl WindowSummary {
    fn new(rules: &Rules, count: usize, span_ms: Option<(i64, i64)>) -> Self {
        let (from_ms, to_ms) = span_ms.unzip();
        Self { size: rules.window, count, from_ms, to_ms }
    }
}

/// The summary of one field of a window with at least one event, in the field's own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FieldSummary {
    /// The mean of the window, the newest value included.
    pub rolling_average: f64,
    /// The population standard deviation of the window, the newest value included.
    pub stddev: f64,
    /// The smallest value of the window.
    pub min: f64,
    /// The largest value of the window.
    pub max: f64,
    /// The newest value.
    pub last: f64,
    /// The z-score of the newest value against those before it; `None` if those were too few.
    pub z_score: Option<f64>,
    /// True if |z| is larger than the threshold.
    pub anomaly: bool,
}

/// The anomalies of an instance or of a device. A *point* is one anomalous value; an *episode* is a
/// run of points that are no further apart than the cooldown.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomalies {
    /// The points so far, of both fields.
    pub points: u64,
    /// The episodes so far, of both fields.
    pub episodes: u64,
    /// The points of the last 60 s, to within a second for an instance and ten for a device.
    pub last_minute: u64,
    /// The last [`limits::RECENT_ANOMALIES_MAX`] points, newest first.
    pub recent: Vec<Anomaly>,
}

/// The summary of a series: of a device, or of all series of an instance together.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSummary {
    /// The last events.
    pub window: WindowSummary,
    /// The fields in the order of `Field::ALL`; `None` before the first event.
    pub fields: Option<[FieldSummary; 2]>,
    /// The anomalies.
    pub anomalies: Anomalies,
    /// The events since the device was added or, of an instance, published so far.
    pub accepted: u64,
}

/// The summary of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSummary {
    /// All series together.
    pub series: SeriesSummary,
    /// The counts for the exposition.
    pub totals: AnalyticsTotals,
}

/// The counts for the exposition. Only `devices` ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnalyticsTotals {
    /// The anomalous values by field.
    pub points: [u64; 2],
    /// The episodes by field.
    pub episodes: [u64; 2],
    /// The devices that hold a slot; an expired one counts until it is swept.
    pub devices: u64,
    /// The events whose device got no window, because there were too many devices.
    pub devices_refused: u64,
}

/// A mergeable part of an instance's summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartialSummary {
    pub(super) accepted: u64,
    pub(super) totals: AnalyticsTotals,
    pub(super) last_minute: u64,
    pub(super) events: NewestN<RecentEvent>,
    pub(super) recent: NewestN<RecentAnomaly>,
}

impl PartialSummary {
    /// Returns the identity of [`Self::merge`] for parts of so many events.
    pub(super) fn empty(events: usize) -> Self {
        Self {
            accepted: 0,
            totals: AnalyticsTotals::default(),
            last_minute: 0,
            events: NewestN::empty(events),
            recent: NewestN::empty(limits::RECENT_ANOMALIES_MAX),
        }
    }

    /// Returns both parts as one.
    pub(super) fn merge(self, other: Self) -> Self {
        let add = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        let (one, two) = (self.totals, other.totals);
        Self {
            accepted: self.accepted + other.accepted,
            totals: AnalyticsTotals {
                points: add(one.points, two.points),
                episodes: add(one.episodes, two.episodes),
                devices: one.devices + two.devices,
                devices_refused: one.devices_refused + two.devices_refused,
            },
            last_minute: self.last_minute + other.last_minute,
            events: self.events.merge(other.events),
            recent: self.recent.merge(other.recent),
        }
    }

    /// Returns the summary of the instance, once all parts are merged.
    pub(super) fn summary(&self, rules: &Rules) -> InstanceSummary {
        let events = self.events.items();
        let values: Vec<[f64; 2]> = events.iter().map(|event| event.values).collect();
        // One more than the window: the newest event is scored against a whole window, like a
        // device's.
        let outside = events.len().saturating_sub(rules.window);
        let fields = values.split_last().and_then(|(&newest, before)| {
            let moments = rules.moments(before);
            let z = moments.map_or([None; 2], |moments| moments.scores(newest).map(Some));
            fields(rules, values.get(outside..)?, newest, z)
        });
        let window = events.get(outside..).unwrap_or_default();
        let span_ms = span(window.iter().map(|event| event.timestamp_ms));
        let series = SeriesSummary {
            window: WindowSummary::new(rules, window.len(), span_ms),
            fields,
            anomalies: Anomalies {
                points: self.totals.points.iter().sum(),
                episodes: self.totals.episodes.iter().sum(),
                last_minute: self.last_minute,
                recent: self.recent.items().iter().rev().map(RecentAnomaly::anomaly).collect(),
            },
            accepted: self.accepted,
        };
        InstanceSummary { series, totals: self.totals }
    }
}

/// A copy of one device's state, made under the lock and used outside of it.
pub(super) struct DeviceSnapshot {
    pub(super) series: Series,
    pub(super) newest: Option<[f64; 2]>,
    /// The least and the greatest timestamp, in milliseconds.
    pub(super) span_ms: Option<(i64, i64)>,
}

/// Returns the summary of a device, from a copy of its state and values.
pub(super) fn of_device(
    rules: &Rules,
    id: &str,
    copy: &DeviceSnapshot,
    values: &[[f64; 2]],
    recent: Vec<Point>,
    now_ns: u64,
) -> SeriesSummary {
    let series = &copy.series;
    SeriesSummary {
        window: WindowSummary::new(rules, values.len(), copy.span_ms),
        fields: copy.newest.and_then(|newest| fields(rules, values, newest, series.scores())),
        anomalies: Anomalies {
            points: series.points(),
            episodes: series.episodes(),
            last_minute: series.last_minute(now_ns),
            recent: recent
                .into_iter()
                .map(|point| Anomaly { device_id: Some(id.to_owned()), point })
                .collect(),
        },
        accepted: series.accepted(),
    }
}

fn fields(
    rules: &Rules,
    values: &[[f64; 2]],
    newest: [f64; 2],
    z: [Option<f64>; 2],
) -> Option<[FieldSummary; 2]> {
    let moments = Moments::of(values)?;
    let (mut min, mut max) = (newest, newest);
    for value in values {
        min = [min[0].min(value[0]), min[1].min(value[1])];
        max = [max[0].max(value[0]), max[1].max(value[1])];
    }
    let [cpu, rps] = [0, 1].map(|at| Schema::standard().field(at)).map(|field| {
        let field = field?;
        let of = |pair: [f64; 2]| pair.get(field.index()).copied();
        let z_score = z.get(field.index()).copied().flatten();
        Some(FieldSummary {
            rolling_average: of(moments.mean)?,
            stddev: of(moments.stddev)?,
            min: of(min)?,
            max: of(max)?,
            last: of(newest)?,
            z_score,
            anomaly: z_score.is_some_and(|z| rules.is_anomalous(z)),
        })
    });
    Some([cpu?, rps?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::recent::OrderKey;
    use proptest::prelude::*;

    /// Returns three parts whose events have no key in common.
    fn parts() -> impl Strategy<Value = [PartialSummary; 3]> {
        let homes = prop::collection::vec(0..3_usize, 0..40);
        (homes, any::<[u32; 9]>()).prop_map(|(homes, counts)| {
            [0, 1, 2].map(|home| {
                let count = |at: usize| u64::from(counts[(at + home * 3) % 9]);
                let event = |(mono_ns, _): (u64, &usize)| RecentEvent {
                    order: OrderKey { mono_ns, ..OrderKey::default() },
                    timestamp_ms: 0,
                    values: [mono_ns as f64, 1.0],
                };
                let own = (0_u64..).zip(&homes).filter(|(_, to)| **to == home);
                PartialSummary {
                    accepted: count(0),
                    totals: AnalyticsTotals {
                        devices: count(1),
                        devices_refused: count(2),
                        points: [count(3), count(4)],
                        episodes: [count(5), count(6)],
                    },
                    last_minute: count(7),
                    events: NewestN::of(7, own.map(event).collect()),
                    ..PartialSummary::empty(7)
                }
            })
        })
    }

    proptest! {
        #[test]
        fn merging_is_associative_commutative_and_has_an_identity([a, b, c] in parts()) {
            let whole = a.clone().merge(b.clone()).merge(c.clone());
            prop_assert_eq!(&whole, &a.clone().merge(b.clone().merge(c.clone())));
            prop_assert_eq!(&whole, &c.merge(b.merge(a.clone())));
            prop_assert_eq!(&a.clone().merge(PartialSummary::empty(7)), &a);
            prop_assert_eq!(&PartialSummary::empty(7).merge(a.clone()), &a);
        }
    }
}
