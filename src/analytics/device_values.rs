//! The values of a device's windows, in the order of its events.
//!
//! Each optional field has a window of its own, so events have to be put together again. All events
//! have the required fields; so an optional value belongs to the event with its timestamp in the
//! window of these, or to an older one.

use super::anomaly::Point;
use super::moments::Moments;
use super::series::Rules;
use super::slots::Slot;
use super::window::Window;

/// The values of one field, the oldest first, with their timestamps in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FieldValues {
    pub(super) timestamps_ms: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// The score of the newest value.
    pub(super) newest_score: Option<f64>,
    /// True if the newest value is an anomaly.
    pub(super) newest_is_anomalous: bool,
}

impl FieldValues {
    /// Returns no values, with memory for a window of so many.
    pub(super) fn new(window: usize) -> Self {
        let timestamps_ms = Vec::with_capacity(window);
        Self { timestamps_ms, values: Vec::with_capacity(window), ..Self::default() }
    }

    /// Copies the field of this place among those of the row.
    pub(super) fn fill<T>(&mut self, window: &Window, row: &Slot<'_, T>, place: usize) {
        for at in window.places(row.offsets.len()) {
            let value = row.values.get(at * row.states.len() + place);
            let timestamp_ms = window.timestamp_ms(at, row.offsets, row.wide);
            if let (Some(value), Some(timestamp_ms)) = (value, timestamp_ms) {
                self.values.push(*value);
                self.timestamps_ms.push(timestamp_ms);
            }
        }
        if let Some(state) = row.states.get(place) {
            self.newest_score = state.score();
            self.newest_is_anomalous = state.is_anomalous();
        }
    }
}

/// A value of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredValue {
    /// The value.
    pub value: f64,
    /// Its score: as it was judged if it is the newest or an anomaly, else against the values
    /// before it that are still in the window.
    pub z: Option<f64>,
    /// True if it was found to be an anomaly, as far as the log of anomalies reaches.
    pub is_anomalous: bool,
}

/// The values of a device's windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceValues {
    /// The timestamps of the events, the oldest first.
    pub timestamps_ms: Vec<i64>,
    /// For each field of the schema the values of these events; `None` where it is absent or no
    /// longer known.
    pub fields: Vec<Vec<Option<ScoredValue>>>,
}

/// Returns the values of all fields, one of each of the schema, with `points` as the anomalies that
/// are known.
pub(super) fn join(rules: &Rules, fields: &[FieldValues], points: &[Point]) -> DeviceValues {
    let scored: Vec<Vec<ScoredValue>> =
        fields.iter().enumerate().map(|(at, field)| score(rules, at, field, points)).collect();
    let rows = rows(fields, rules.schema.required().len());
    let columns = scored.iter().enumerate().map(|(field, scored)| {
        let value = |(_, places): &(i64, Vec<Option<usize>>)| {
            let place = places.get(field).copied().flatten()?;
            scored.get(place).copied()
        };
        rows.iter().map(value).collect()
    });
    DeviceValues {
        fields: columns.collect(),
        timestamps_ms: rows.iter().map(|(timestamp_ms, _)| *timestamp_ms).collect(),
    }
}

/// Returns the events, the oldest first: the timestamp, and for each field the place of its value.
fn rows(fields: &[FieldValues], required: usize) -> Vec<(i64, Vec<Option<usize>>)> {
    let mut left: Vec<usize> = fields.iter().map(|field| field.values.len()).collect();
    let newest = |left: &[usize], field: usize| {
        let place = left.get(field)?.checked_sub(1)?;
        Some((place, *fields.get(field)?.timestamps_ms.get(place)?))
    };
    let mut rows = Vec::new();
    loop {
        // All required fields have the same events.
        let of_required = (required > 0).then(|| newest(&left, 0)).flatten();
        let others = (required..fields.len()).filter_map(|field| newest(&left, field));
        let timestamp_ms =
            of_required.or_else(|| others.max_by_key(|(_, timestamp_ms)| *timestamp_ms));
        let Some((_, timestamp_ms)) = timestamp_ms else {
            break;
        };
        let mut places = vec![None; fields.len()];
        for (field, place) in places.iter_mut().enumerate() {
            *place = newest(&left, field).filter(|it| it.1 == timestamp_ms).map(|it| it.0);
            if let (Some(left), Some(_)) = (left.get_mut(field), *place) {
                *left -= 1;
            }
        }
        rows.push((timestamp_ms, places));
    }
    rows.reverse();
    rows
}

/// Scores the values of a field, the index of which is `at`.
fn score(rules: &Rules, at: usize, field: &FieldValues, points: &[Point]) -> Vec<ScoredValue> {
    let points: Vec<&Point> = points.iter().filter(|point| point.field.index() == at).collect();
    let newest = field.values.len().saturating_sub(1);
    let mut before = GrowingMoments::default();
    let events = field.values.iter().zip(&field.timestamps_ms).enumerate();
    let scored = events.map(|(place, (&value, &timestamp_ms))| {
        let is_point = |point: &&&Point| {
            point.timestamp_ms == timestamp_ms && point.value.to_bits() == value.to_bits()
        };
        let z = match points.iter().find(is_point) {
            Some(point) => Some(point.z),
            None if place == newest => field.newest_score,
            None => before.score(rules, value),
        };
        let is_anomalous = points.iter().any(|point| is_point(&point))
            || (place == newest && field.newest_is_anomalous);
        before.add(value);
        ScoredValue { value, z, is_anomalous }
    });
    scored.collect()
}

/// The moments of a growing set of values, by Welford's method, which adds up no large squares.
#[derive(Debug, Default)]
struct GrowingMoments {
    count: usize,
    mean: f64,
    squares: f64,
}

impl GrowingMoments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    /// Returns the score of a value against the set; `None` if that is too small.
    fn score(&self, rules: &Rules, value: f64) -> Option<f64> {
        let stddev = (self.squares / self.count as f64).sqrt();
        let moments = Moments { mean: [self.mean], stddev: [stddev] };
        let [z] = moments.scores([value]);
        (self.count >= rules.min_samples && stddev.is_finite() && !z.is_nan()).then_some(z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Schema, samples};
    use proptest::prelude::*;

    fn rules(schema: &'static Schema) -> Rules {
        Rules {
            schema,
            window: 50,
            threshold: 2.0,
            min_samples: 4,
            cooldown: 8,
            judges_duplicates: false,
        }
    }

    fn column(events: &[(i64, f64)]) -> FieldValues {
        FieldValues {
            timestamps_ms: events.iter().map(|event| event.0).collect(),
            values: events.iter().map(|event| event.1).collect(),
            ..FieldValues::default()
        }
    }

    proptest! {
        /// Events whose times ascend, of three optional fields: windows that reach back by
        /// different lengths come together again.
        #[test]
        fn windows_of_optional_fields_come_together(
            events in prop::collection::vec((1..4_i64, 1..8_u8), 0..60),
            window in 1..20_usize,
        ) {
            let schema = samples::three_optional();
            let (mut now, mut sent) = (0, Vec::new());
            for (gap, bits) in events {
                now += gap;
                sent.push((now, bits));
            }
            let of = |field: usize| {
                let with = sent.iter().filter(|(_, bits)| bits >> field & 1 == 1);
                let all: Vec<(i64, f64)> =
                    with.map(|(at, _)| (*at, (*at * 3 + field as i64) as f64)).collect();
                all[all.len().saturating_sub(window)..].to_vec()
            };
            let columns: Vec<Vec<(i64, f64)>> = (0..3).map(of).collect();
            let fields: Vec<FieldValues> = columns.iter().map(|it| column(it)).collect();
            let joined = join(&rules(schema), &fields, &[]);
            prop_assert!(joined.timestamps_ms.is_sorted_by(|one, other| one < other));
            for (field, column) in joined.fields.iter().zip(&columns) {
                prop_assert_eq!(field.len(), joined.timestamps_ms.len());
                let found: Vec<(i64, f64)> = joined.timestamps_ms.iter().zip(field)
                    .filter_map(|(at, value)| Some((*at, (*value)?.value))).collect();
                prop_assert_eq!(&found, column);
            }
            prop_assert!((0..joined.timestamps_ms.len())
                .all(|row| joined.fields.iter().any(|field| field[row].is_some())));
        }

        /// The scores of a window that has lost nothing are those by its moments.
        #[test]
        fn scores_are_those_by_the_values_before(
            values in prop::collection::vec(-1e3..1e3_f64, 0..40),
        ) {
            let rules = rules(Schema::standard());
            let events: Vec<(i64, f64)> = (0..).zip(values.iter().copied()).collect();
            let fields = [column(&events), column(&events)];
            let joined = join(&rules, &fields, &[]);
            for (at, value) in values.iter().enumerate().take(values.len().saturating_sub(1)) {
                let (before, _) = values[..at].as_chunks::<1>();
                let expected = rules.moments(before).map(|moments| moments.scores([*value])[0]);
                let found = joined.fields[1][at].unwrap();
                prop_assert_eq!(found.z.is_some(), expected.is_some());
                let (found, expected) = (found.z.unwrap_or(0.0), expected.unwrap_or(0.0));
                prop_assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0));
            }
        }
    }

    #[test]
    fn clocks_that_jump_do_not_tear_events_apart() {
        let schema = samples::one_optional();
        let required = schema.required().len();
        let times = [50, 30, 40, 40, 20];
        let all: Vec<(i64, f64)> = times.iter().map(|at| (*at, 1.0)).collect();
        let mut fields = vec![column(&all); required];
        // Two that are older than the window of the others, and the event at 30 has none.
        fields.push(column(&[(70, 2.0), (60, 3.0), (50, 4.0), (40, 5.0), (40, 6.0), (20, 7.0)]));
        let joined = join(&rules(schema), &fields, &[]);
        assert_eq!(joined.timestamps_ms, [70, 60, 50, 30, 40, 40, 20]);
        let optional: Vec<Option<f64>> =
            joined.fields[required].iter().map(|it| it.map(|it| it.value)).collect();
        let expected = [Some(2.0), Some(3.0), Some(4.0), None, Some(5.0), Some(6.0), Some(7.0)];
        assert_eq!(optional, expected);
        assert_eq!(joined.fields[0].iter().filter(|value| value.is_none()).count(), 2);
    }

    #[test]
    fn what_was_judged_is_as_it_was_judged() {
        let rules = rules(Schema::standard());
        let events: Vec<(i64, f64)> = (0..9).map(|at| (at, (at % 3) as f64)).collect();
        let mut cpu = column(&events);
        (cpu.newest_score, cpu.newest_is_anomalous) = (Some(7.5), true);
        let point = Point {
            timestamp_ms: 5,
            field: Schema::standard().fields()[0],
            value: 2.0,
            mean: 0.0,
            stddev: 0.0,
            z: 9.0,
        };
        let points = [point, Point { timestamp_ms: 6, value: 1e9, ..point }];
        let joined = join(&rules, &[cpu, column(&events)], &points);
        let marked = |field: usize| -> Vec<usize> {
            let values = joined.fields[field].iter().enumerate();
            values.filter(|(_, it)| it.unwrap().is_anomalous).map(|(at, _)| at).collect()
        };
        assert_eq!((marked(0), marked(1)), (vec![5, 8], vec![]));
        let z = |field: usize, at: usize| joined.fields[field][at].unwrap().z;
        assert_eq!((z(0, 5), z(0, 8), z(0, 3)), (Some(9.0), Some(7.5), None));
        assert_eq!(z(1, 8), None, "it was not scored");
    }
}
