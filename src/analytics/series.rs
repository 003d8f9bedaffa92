//! Scoring: an event's values are scored against the window before it, then added to the window.
//!
//! A value must not be in the window that it is scored against: in a window of 50 no |z| could be
//! larger than 7. Anomalous values are added too, so that a shift of the level is learnt and does
//! not raise anomalies for ever.

use std::ops::Range;

use super::field_state::{FieldState, read_sums, write_sums};
use super::moments::Moments;
use super::running_sums::RunningSums;
use super::window::{Row, Window};
use crate::schema::{Field, Schema};

/// The rules by which series are scored; see [`super::AnalyticsSettings`] for each.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub(super) schema: &'static Schema,
    pub(super) window: usize,
    pub(super) threshold: f64,
    pub(super) min_samples: usize,
    pub(super) cooldown: u32,
    /// True if an event that repeats the last one of its device is judged as any other.
    pub(super) judges_duplicates: bool,
}

impl Rules {
    /// Returns true if this score may be an anomaly; NaN, which stands for no score, is none.
    #[inline(always)]
    fn is_far(&self, z: f64) -> bool {
        z.abs() > self.threshold
    }

    /// Returns true if a value with this score and this distance from the mean is an anomaly.
    pub(super) fn is_anomalous(&self, field: Field, z: f64, deviation: f64) -> bool {
        self.is_far(z) && deviation.abs() >= field.least_deviation()
    }

    /// Returns the number of events for a summary of all series: a window, and one event before it,
    /// so that the newest event is scored against a whole window.
    pub(super) const fn summary_events(&self) -> usize {
        self.window + 1
    }

    /// Returns the indexes of the fields of each window: those of the required fields, which share
    /// one, and of each optional field.
    pub(super) fn shared_windows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (required, all) = (self.schema.required().len(), self.schema.fields().len());
        let optional = (required..all).map(|at| at..at + 1);
        (required > 0).then_some(0..required).into_iter().chain(optional)
    }

    /// Returns the moments against which the event after these values is scored; `None` if they are
    /// too few.
    pub(super) fn moments<const N: usize>(&self, before: &[[f64; N]]) -> Option<Moments<N>> {
        if before.len() < self.min_samples {
            return None;
        }
        Moments::of(before)
    }
}

/// The anomalies of one event among `N` fields that share a window, with their grounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anomalous<const N: usize> {
    /// The anomalous fields, a bit each, from the first of the `N` on.
    pub(super) fields: u16,
    /// Those of them that began an episode.
    pub(super) opened: u16,
    /// The scores of all of them.
    pub(super) z: [f64; N],
    /// The moments of the window before the event.
    pub(super) moments: Moments<N>,
}

impl<const N: usize> Anomalous<N> {
    /// Returns the number of anomalous fields, and of those that began an episode.
    pub(super) const fn counts(&self) -> [u32; 2] {
        [self.fields.count_ones(), self.opened.count_ones()]
    }
}

/// Scores the values of an event and adds them to the window. `first` is the index of the first of
/// the fields. Returns the anomalies, if there are any.
#[inline(always)]
pub(super) fn apply<const N: usize>(
    rules: &Rules,
    window: &mut Window,
    row: &mut Row<'_, N>,
    first: usize,
    values: &[f64; N],
    timestamp_ms: i64,
) -> Option<Anomalous<N>> {
    let mut sums = read_sums(row.states);
    let held = window.values(row.values);
    let moments = (held.len() >= rules.min_samples).then(|| sums.moments(held)).flatten();
    let z = moments.map_or([f64::NAN; N], |moments| moments.scores(*values));
    let is_calm = z.iter().all(|z| !rules.is_far(*z));
    let anomalous = if is_calm {
        for (state, z) in row.states.iter_mut().zip(z) {
            state.set_calm(z);
        }
        None
    } else {
        moments.and_then(|moments| apply_far(rules, row.states, first, values, z, moments))
    };
    add(window, row, &mut sums, values, timestamp_ms);
    anomalous
}

/// Adds the values of an event to the window without a verdict on them. The sums become just those
/// that they would be after one.
pub(super) fn apply_unjudged<const N: usize>(
    rules: &Rules,
    window: &mut Window,
    row: &mut Row<'_, N>,
    values: &[f64; N],
    timestamp_ms: i64,
) {
    let mut sums = read_sums(row.states);
    let held = window.values(row.values);
    if held.len() >= rules.min_samples {
        // What is not to be trusted is computed anew.
        sums.moments(held);
    }
    add(window, row, &mut sums, values, timestamp_ms);
}

/// Adds the values of an event to the window and to its sums.
#[inline(always)]
fn add<const N: usize>(
    window: &mut Window,
    row: &mut Row<'_, N>,
    sums: &mut RunningSums<N>,
    values: &[f64; N],
    timestamp_ms: i64,
) {
    let replaced = window.replaced(row.values);
    window.push(row, *values, timestamp_ms);
    match replaced {
        Some((shift, old)) => sums.replace(&shift, &old, values),
        None => sums.begin_lap(window.values(row.values)),
    }
    write_sums(row.states, sums);
}

/// Sets the states after values of which at least one is far from its mean.
#[cold]
#[inline(never)]
fn apply_far<const N: usize>(
    rules: &Rules,
    states: &mut [FieldState; N],
    first: usize,
    values: &[f64; N],
    z: [f64; N],
    moments: Moments<N>,
) -> Option<Anomalous<N>> {
    let mut anomalous = Anomalous { fields: 0, opened: 0, z, moments };
    let fields = rules.schema.fields().get(first..).unwrap_or_default();
    let grounds = values.iter().zip(z).zip(moments.mean);
    for (at, ((state, field), ((value, z), mean))) in
        states.iter_mut().zip(fields).zip(grounds).enumerate()
    {
        if rules.is_anomalous(*field, z, value - mean) {
            anomalous.fields |= 1 << at;
            anomalous.opened |= u16::from(state.set_anomalous(z, rules.cooldown)) << at;
        } else {
            state.set_calm(z);
        }
    }
    (anomalous.fields != 0).then_some(anomalous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::window::WideTimestamps;

    /// Applies one value after the other as cpu, with a constant rps. Returns the states at the
    /// end, and after each event the anomalies.
    fn run(rules: &Rules, cpu: &[f64]) -> ([FieldState; 2], Vec<Option<Anomalous<2>>>) {
        let mut values = vec![[0.0; 2]; rules.window];
        let (mut offsets, mut wide) = (vec![0; rules.window], WideTimestamps::new());
        let mut states = [FieldState::NEW; 2];
        let mut window = Window::EMPTY;
        let anomalies = cpu
            .iter()
            .map(|&cpu| {
                let mut row = Row {
                    slot: 0,
                    states: &mut states,
                    values: &mut values,
                    offsets: &mut offsets,
                    wide: &mut wide,
                };
                apply(rules, &mut window, &mut row, 0, &[cpu, 7.0], 0)
            })
            .collect();
        (states, anomalies)
    }

    fn rules() -> Rules {
        let schema = Schema::standard();
        Rules {
            schema,
            window: 8,
            threshold: 2.0,
            min_samples: 4,
            cooldown: 3,
            judges_duplicates: false,
        }
    }

    /// Returns the number of points and of episodes.
    fn counts(anomalies: &[Option<Anomalous<2>>]) -> (u32, u32) {
        let bits = |of: fn(&Anomalous<2>) -> u16| {
            anomalies.iter().flatten().map(|found| of(found).count_ones()).sum()
        };
        (bits(|found| found.fields), bits(|found| found.opened))
    }

    #[test]
    fn no_verdict_before_min_samples_and_one_from_then_on() {
        let cpu = [1.0, 2.0, 1.0, 2.0, 1.5, 100.0];
        for events in 1..=4 {
            let (states, anomalies) = run(&rules(), &cpu[..events]);
            assert_eq!(states.map(FieldState::score), [None; 2]);
            assert_eq!(counts(&anomalies), (0, 0));
        }
        let (states, _) = run(&rules(), &cpu[..5]);
        assert_eq!(states.map(FieldState::score), [Some(0.0), Some(0.0)]);
        let (states, anomalies) = run(&rules(), &cpu);
        let spike = anomalies[5].unwrap();
        assert_eq!((spike.fields, spike.opened), (1, 1));
        assert_eq!(spike.moments.mean, [1.5, 7.0]);
        assert_eq!(spike.z[0], (100.0 - 1.5) / spike.moments.stddev[0]);
        assert_eq!(states.map(FieldState::score), [Some(spike.z[0]), Some(0.0)]);
        assert_eq!(states.map(FieldState::is_anomalous), [true, false]);
    }

    #[test]
    fn an_episode_lasts_cooldown_events_past_its_last_anomaly() {
        // Each of 50 and 5000 is far from all values in the window of four.
        let rules = Rules { window: 4, ..rules() };
        let calm = [1.0, 2.0, 1.0, 2.0];
        let gap = |events: usize| {
            let mut cpu = calm.to_vec();
            cpu.push(50.0);
            cpu.extend((1..events).map(|_| 1.5));
            cpu.push(5000.0);
            let (_, anomalies) = run(&rules, &cpu);
            assert!(anomalies.last().unwrap().is_some());
            counts(&anomalies)
        };
        assert_eq!(gap(1), (2, 1));
        assert_eq!(gap(3), (2, 1));
        assert_eq!(gap(4), (2, 2));
    }

    #[test]
    fn an_episode_is_a_fields_own_and_a_cooldown_of_zero_splits_every_anomaly() {
        let rules = Rules { cooldown: 0, ..rules() };
        let (states, anomalies) = run(&rules, &[1.0, 2.0, 1.0, 2.0, 50.0, 5000.0]);
        assert_eq!(counts(&anomalies), (2, 2));
        assert_eq!(anomalies[5].unwrap().opened, 1);
        assert_eq!(states.map(FieldState::is_anomalous), [true, false]);
    }

    #[test]
    fn a_level_shift_is_learnt() {
        let mut cpu = vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0];
        cpu.extend([101.0, 102.0].repeat(8));
        let (_, anomalies) = run(&rules(), &cpu);
        assert!(anomalies[8].is_some());
        assert!(anomalies[16..].iter().all(Option::is_none));
    }

    #[test]
    fn a_small_deviation_is_no_anomaly_however_far_in_standard_deviations() {
        let field = |least_deviation| crate::schema::FieldOptions {
            name: format!("f{least_deviation}").replace('.', "_"),
            is_required: true,
            range: None,
            least_deviation,
        };
        let names = ["device_id".to_owned()];
        let schema = Schema::leak(&[field(0.5), field(0.0)], [&names, &names, &names]);
        let rules = Rules { schema, ..rules() };
        let calm = [21.5; 4];
        for (last, fields) in [(21.6, 0), (21.999, 0), (22.0, 1), (21.0, 1)] {
            let (states, anomalies) = run(&rules, &[&calm[..], &[last]].concat());
            assert_eq!(anomalies[4].map_or(0, |found| found.fields), fields, "{last}");
            assert!(
                states[0].score().unwrap().abs() == 1e6
                    && fields == u16::from(states[0].is_anomalous())
            );
        }
    }
}
