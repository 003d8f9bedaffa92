//! Summaries for `/analyze` and the exposition: merged first, computed once.
//!
//! A partial summary is the state of one core or shard. Partial summaries merge in any order and
//! grouping to the same whole: counts add up, ordered sets keep their newest items. Means,
//! deviations and extremes are not merged; they are computed from the merged events, at most one
//! window.

use super::anomaly::{Anomaly, Point, RecentAnomaly};
use super::field_state::FieldState;
use super::moments::Moments;
use super::novelty_summary::NoveltySummary;
use super::recent::{NewestN, RecentEvent};
use super::series::Rules;
use super::slots::Slot;
use super::window::{Window, span};
use crate::limits::{self, FIELDS_MAX};
use crate::schema::Field;

/// The summary of a window: of the required fields or, if there are none, of all fields together.
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
    /// Returns the summary of the window of the required fields. Without any it is that of all
    /// fields: the largest count, and the span of all timestamps.
    fn new(rules: &Rules, fields: &[FieldSnapshot]) -> Self {
        let fields = match rules.schema.required().len() {
            0 => fields,
            _ => fields.get(..1).unwrap_or_default(),
        };
        let spans = fields.iter().filter_map(|field| field.span_ms);
        let (from_ms, to_ms) = span(spans.flat_map(|(from, to)| [from, to])).unzip();
        let count = fields.iter().map(|field| field.values.len()).max().unwrap_or_default();
        Self { size: rules.window, count, from_ms, to_ms }
    }
}

/// The summary of one field with at least one value, in the field's own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FieldSummary {
    /// The values in the window.
    pub count: usize,
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
    /// True if |z| is larger than the threshold, and the value as far from the mean as its field
    /// asks for.
    pub anomaly: bool,
}

/// The anomalies of an instance or of a device. A *point* is one anomalous value; an *episode* is a
/// run of points that are no further apart than the cooldown.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomalies {
    /// The points so far, of all fields.
    pub points: u64,
    /// The episodes so far, of all fields.
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
    /// The fields of the schema in their order; `None` before the first value.
    pub fields: Vec<Option<FieldSummary>>,
    /// The anomalies.
    pub anomalies: Anomalies,
    /// The events since the device was added or, of an instance, published so far.
    pub accepted: u64,
    /// The fields of the schema in their order as the second judge sees them; nothing without that
    /// judge, and for all series together.
    pub novelty: Vec<Option<NoveltySummary>>,
}

/// The summary of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSummary {
    /// All series together.
    pub series: SeriesSummary,
    /// The values published so far, by field.
    pub values: [u64; FIELDS_MAX],
    /// The counts for the exposition.
    pub totals: AnalyticsTotals,
}

/// The counts for the exposition. Only `devices` ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnalyticsTotals {
    /// The anomalous values by field.
    pub points: [u64; FIELDS_MAX],
    /// The episodes by field.
    pub episodes: [u64; FIELDS_MAX],
    /// The novelties by field.
    pub novelties: [u64; FIELDS_MAX],
    /// The devices that hold a slot; an expired one counts until it is swept.
    pub devices: u64,
    /// The events whose device got no window, because there were too many devices.
    pub devices_refused: u64,
    /// The events that repeated the last one of their device, and were not judged.
    pub duplicates: u64,
}

/// A mergeable part of an instance's summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartialSummary {
    pub(super) accepted: u64,
    pub(super) values: [u64; FIELDS_MAX],
    pub(super) totals: AnalyticsTotals,
    pub(super) last_minute: u64,
    /// The newest events of each window over all series, see [`Rules::shared_windows`].
    pub(super) events: Vec<NewestN<RecentEvent>>,
    pub(super) recent: NewestN<RecentAnomaly>,
}

impl PartialSummary {
    /// Returns the identity of [`Self::merge`].
    pub(super) fn empty(rules: &Rules) -> Self {
        let empty = |_| NewestN::empty(rules.summary_events());
        Self {
            accepted: 0,
            values: [0; FIELDS_MAX],
            totals: AnalyticsTotals::default(),
            last_minute: 0,
            events: rules.shared_windows().map(empty).collect(),
            recent: NewestN::empty(limits::RECENT_ANOMALIES_MAX),
        }
    }

    /// Returns both parts as one.
    pub(super) fn merge(self, other: Self) -> Self {
        let add = |mut sums: [u64; FIELDS_MAX], other: [u64; FIELDS_MAX]| {
            sums.iter_mut().zip(other).for_each(|(sum, by)| *sum += by);
            sums
        };
        let (one, two) = (self.totals, other.totals);
        Self {
            accepted: self.accepted + other.accepted,
            values: add(self.values, other.values),
            totals: AnalyticsTotals {
                points: add(one.points, two.points),
                episodes: add(one.episodes, two.episodes),
                novelties: add(one.novelties, two.novelties),
                devices: one.devices + two.devices,
                devices_refused: one.devices_refused + two.devices_refused,
                duplicates: one.duplicates + two.duplicates,
            },
            last_minute: self.last_minute + other.last_minute,
            events: self.events.into_iter().zip(other.events).map(|(a, b)| a.merge(b)).collect(),
            recent: self.recent.merge(other.recent),
        }
    }

    /// Returns the summary of the instance, once all parts are merged.
    pub(super) fn summary(&self, rules: &Rules) -> InstanceSummary {
        let windows = rules.shared_windows().zip(&self.events);
        let fields: Vec<_> = windows
            .flat_map(|(fields, events)| {
                let columns = fields.clone().map(move |index| (index, index - fields.start));
                columns.filter_map(|(index, column)| {
                    let field = rules.schema.field(index)?;
                    Some(FieldSnapshot::of_union(rules, field, column, events.items()))
                })
            })
            .collect();
        let series = SeriesSummary {
            window: WindowSummary::new(rules, &fields),
            fields: fields.iter().map(FieldSnapshot::summary).collect(),
            anomalies: Anomalies {
                points: self.totals.points.iter().sum(),
                episodes: self.totals.episodes.iter().sum(),
                last_minute: self.last_minute,
                recent: self.recent.items().iter().rev().map(RecentAnomaly::anomaly).collect(),
            },
            accepted: self.accepted,
            novelty: Vec::new(),
        };
        InstanceSummary { series, values: self.values, totals: self.totals }
    }
}

/// A copy of one field's window.
#[derive(Clone, Debug)]
pub(super) struct FieldSnapshot {
    values: Vec<f64>,
    newest: Option<f64>,
    /// The least and the greatest timestamp, in milliseconds.
    span_ms: Option<(i64, i64)>,
    z_score: Option<f64>,
    is_anomalous: bool,
}

impl FieldSnapshot {
    /// Returns a copy of nothing, with memory for a window of so many values.
    pub(super) fn new(window: usize) -> Self {
        Self {
            values: Vec::with_capacity(window),
            newest: None,
            span_ms: None,
            z_score: None,
            is_anomalous: false,
        }
    }

    /// Empties it, and keeps its memory.
    pub(super) fn clear(&mut self) {
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        *self = Self { values, ..Self::new(0) };
    }

    /// Copies the field of this place among those of the row.
    pub(super) fn fill<T>(&mut self, window: &Window, row: &Slot<'_, T>, place: usize) {
        let fields = row.states.len();
        let values = row.values.iter().skip(place).step_by(fields.max(1)).copied();
        self.values.extend(values.take(window.count()));
        let newest = window.newest(row.offsets.len());
        self.newest = newest.and_then(|at| self.values.get(at)).copied();
        self.span_ms = window.span_ms(row.offsets, row.wide);
        let state = row.states.get(place).copied().unwrap_or(FieldState::NEW);
        (self.z_score, self.is_anomalous) = (state.score(), state.is_anomalous());
    }

    /// Returns the window of one field over all series, which is the newest of these events, oldest
    /// first.
    fn of_union(rules: &Rules, field: Field, column: usize, events: &[RecentEvent]) -> Self {
        let value = |event: &RecentEvent| event.values.get(column).copied().unwrap_or_default();
        let values: Vec<f64> = events.iter().map(value).collect();
        // One more than the window: the newest event is scored against a whole window, like a
        // device's.
        let outside = events.len().saturating_sub(rules.window);
        let scored = values.split_last().and_then(|(&newest, before)| {
            let (before, _) = before.as_chunks();
            let moments = rules.moments::<1>(before)?;
            let ([mean], [z]) = (moments.mean, moments.scores([newest]));
            (!z.is_nan()).then(|| (z, rules.is_anomalous(field, z, newest - mean)))
        });
        let held = events.get(outside..).unwrap_or_default();
        Self {
            newest: values.last().copied(),
            values: values.get(outside..).unwrap_or_default().to_vec(),
            span_ms: span(held.iter().map(|event| event.timestamp_ms)),
            z_score: scored.map(|(z, _)| z),
            is_anomalous: scored.is_some_and(|(_, anomalous)| anomalous),
        }
    }

    /// Returns the summary; `None` without a value.
    pub(super) fn summary(&self) -> Option<FieldSummary> {
        let (values, _) = self.values.as_chunks();
        let Moments { mean: [rolling_average], stddev: [stddev] } = Moments::of(values)?;
        let last = self.newest?;
        Some(FieldSummary {
            count: self.values.len(),
            rolling_average,
            stddev,
            min: self.values.iter().copied().fold(last, f64::min),
            max: self.values.iter().copied().fold(last, f64::max),
            last,
            z_score: self.z_score,
            anomaly: self.is_anomalous,
        })
    }
}

/// A copy of one device's counts, made under the lock and used outside of it.
pub(super) struct DeviceSnapshot {
    pub(super) accepted: u64,
    pub(super) points: u64,
    pub(super) episodes: u64,
    pub(super) last_minute: u64,
}

/// Returns the summary of a device, from a copy of its state and values.
pub(super) fn of_device(
    rules: &Rules,
    id: &str,
    copy: &DeviceSnapshot,
    fields: &[FieldSnapshot],
    recent: Vec<Point>,
    novelty: Vec<Option<NoveltySummary>>,
) -> SeriesSummary {
    let anomaly = |point| Anomaly { device_id: Some(id.to_owned()), point };
    SeriesSummary {
        window: WindowSummary::new(rules, fields),
        fields: fields.iter().map(FieldSnapshot::summary).collect(),
        anomalies: Anomalies {
            points: copy.points,
            episodes: copy.episodes,
            last_minute: copy.last_minute,
            recent: recent.into_iter().map(anomaly).collect(),
        },
        accepted: copy.accepted,
        novelty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::recent::OrderKey;
    use crate::schema::Schema;
    use proptest::prelude::*;

    fn rules() -> Rules {
        let schema = Schema::standard();
        Rules {
            schema,
            window: 6,
            threshold: 2.0,
            min_samples: 4,
            cooldown: 8,
            judges_duplicates: false,
        }
    }

    /// Returns three parts whose events have no key in common.
    fn parts() -> impl Strategy<Value = [PartialSummary; 3]> {
        let homes = prop::collection::vec(0..3_usize, 0..40);
        (homes, any::<[u32; 9]>()).prop_map(|(homes, counts)| {
            [0, 1, 2].map(|home| {
                let count = |at: usize| u64::from(counts[(at + home * 3) % 9]);
                let event = |(mono_ns, _): (u64, &usize)| RecentEvent {
                    order: OrderKey { mono_ns, ..OrderKey::default() },
                    timestamp_ms: 0,
                    values: [mono_ns as f64; FIELDS_MAX],
                };
                let own = (0_u64..).zip(&homes).filter(|(_, to)| **to == home);
                PartialSummary {
                    accepted: count(0),
                    values: [count(8); FIELDS_MAX],
                    totals: AnalyticsTotals {
                        devices: count(1),
                        devices_refused: count(2),
                        duplicates: count(3),
                        points: [count(3); FIELDS_MAX],
                        episodes: [count(5); FIELDS_MAX],
                        novelties: [count(6); FIELDS_MAX],
                    },
                    last_minute: count(7),
                    events: vec![NewestN::of(7, own.map(event).collect())],
                    ..PartialSummary::empty(&rules())
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
            prop_assert_eq!(&a.clone().merge(PartialSummary::empty(&rules())), &a);
            prop_assert_eq!(&PartialSummary::empty(&rules()).merge(a.clone()), &a);
        }
    }
}
