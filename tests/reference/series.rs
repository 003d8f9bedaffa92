//! The naive series: the plain list of all events, and every number recomputed from it.

use super::double_double::DoubleDouble;

/// The numbers that the reference expects of one event and field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// The score against the window before the event, if there is one.
    pub(crate) z: Option<f64>,
    /// The largest difference that a score may have.
    pub(crate) z_tolerance: f64,
    /// The mean of the window, the event included.
    pub(crate) mean: f64,
    /// The standard deviation of the window, the event included.
    pub(crate) stddev: f64,
    /// The largest difference that either may have.
    pub(crate) tolerance: f64,
}

/// One field of one series.
#[derive(Default)]
pub(crate) struct ReferenceField {
    values: Vec<f64>,
    last_anomaly: Option<usize>,
    /// Anomalies so far.
    pub(crate) points: u64,
    /// Episodes so far.
    pub(crate) episodes: u64,
}

impl ReferenceField {
    /// Adds a value.
    pub(crate) fn push(&mut self, window: usize, min_samples: usize, value: f64) -> Expected {
        let last = |values: &[f64]| values[values.len().saturating_sub(window)..].to_vec();
        let before = last(&self.values);
        let (z, z_tolerance) = if before.len() >= min_samples {
            let (z, tolerance) = score(&before, value);
            (Some(z), tolerance)
        } else {
            (None, 0.0)
        };
        self.values.push(value);
        let after = last(&self.values);
        let (mean, stddev) = moments(&after);
        Expected {
            z,
            z_tolerance,
            mean: mean.nearest(),
            stddev: stddev.nearest(),
            tolerance: 1e-9 * largest(&after).max(1.0),
        }
    }

    /// Counts the newest value as an anomaly.
    pub(crate) fn count_anomaly(&mut self, cooldown: usize) {
        let at = self.values.len();
        self.points += 1;
        if self.last_anomaly.is_none_or(|last| at - last > cooldown) {
            self.episodes += 1;
        }
        self.last_anomaly = Some(at);
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// Mean and population standard deviation by two passes.
pub(crate) fn moments(values: &[f64]) -> (DoubleDouble, DoubleDouble) {
    let count = DoubleDouble::from(values.len() as f64);
    let zero = DoubleDouble::from(0.0);
    let sum = |items: &mut dyn Iterator<Item = DoubleDouble>| items.fold(zero, DoubleDouble::plus);
    let exact = |v: &f64| DoubleDouble::from(*v);
    let mean = sum(&mut values.iter().map(exact)).over(count);
    let square = |v: &f64| {
        let off = DoubleDouble::from(*v).minus(mean);
        off.times(off)
    };
    let variance = sum(&mut values.iter().map(square)).over(count);
    (mean, variance.square_root())
}

/// Returns the score of a value against the window before it, and the tolerance of that score.
pub(crate) fn score(before: &[f64], value: f64) -> (f64, f64) {
    let (mean, stddev) = moments(before);
    let size = if mean.nearest() < 0.0 { DoubleDouble::from(0.0).minus(mean) } else { mean };
    let floor = DoubleDouble::from(1e-9).times(size.max(DoubleDouble::from(1.0)));
    let divisor = stddev.max(floor);
    let z = DoubleDouble::from(value).minus(mean).over(divisor).nearest();
    let z = z.clamp(-1e6, 1e6);
    let tolerance = 1e-9 * z.abs().max(1.0) + 1e-14 * largest(before) / divisor.nearest();
    (z, tolerance)
}
