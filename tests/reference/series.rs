//! The naive series: the plain list of all values of a field, and every number recomputed from it.

use super::double_double::DoubleDouble;

/// The numbers that the reference expects of one event and field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// The score against the window before the event, if there is one.
    pub(crate) score: Option<Score>,
    /// The mean of the window, the event included.
    pub(crate) mean: f64,
    /// The standard deviation of the window, the event included.
    pub(crate) stddev: f64,
    /// The largest difference that either may have.
    pub(crate) tolerance: f64,
}

/// A value, judged by the window before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    /// The distance from the mean in standard deviations.
    pub(crate) z: f64,
    /// The largest difference that it may have.
    pub(crate) z_tolerance: f64,
    /// The distance from the mean.
    deviation: f64,
    /// The mean of that window.
    pub(crate) mean: f64,
    /// The standard deviation of that window.
    pub(crate) stddev: f64,
    /// The largest difference that one of these three may have.
    pub(crate) tolerance: f64,
}

impl Score {
    /// Returns true if the value is an anomaly; `None` if it is so close to a border that rounding
    /// decides, where the reference is no more right than what it is compared with.
    pub(crate) fn verdict(&self, threshold: f64, least_deviation: f64) -> Option<bool> {
        let beyond = |value: f64, border: f64, tolerance: f64| {
            let distance = value.abs() - border;
            (distance.abs() > tolerance).then_some(distance > 0.0)
        };
        let is_far = beyond(self.z, threshold, self.z_tolerance);
        let is_large = match least_deviation {
            0.0 => Some(true),
            _ => beyond(self.deviation, least_deviation, self.tolerance),
        };
        match (is_far, is_large) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }
}

/// One field of one series.
#[derive(Default)]
pub(crate) struct ReferenceField {
    values: Vec<f64>,
    /// The moments of the window, so that the next value need not compute them again.
    moments: Option<(DoubleDouble, DoubleDouble)>,
    last_anomaly: Option<usize>,
    /// Anomalies so far.
    pub(crate) points: u64,
    /// Episodes so far.
    pub(crate) episodes: u64,
}

impl ReferenceField {
    /// Adds a value.
    pub(crate) fn push(&mut self, window: usize, min_samples: usize, value: f64) -> Expected {
        self.values.push(value);
        let before = self.moments.take();
        let after = *self.moments.insert(moments(last(window, &self.values)));
        expected_by(before, after, window, min_samples, &self.values)
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

    /// Returns the newest values, at most a window of them.
    pub(crate) fn window(&self, window: usize) -> &[f64] {
        last(window, &self.values)
    }
}

/// Returns what is expected after the last of these values.
pub(crate) fn expected(window: usize, min_samples: usize, values: &[f64]) -> Expected {
    let before = last(window, &values[..values.len() - 1]);
    let before = (!before.is_empty()).then(|| moments(before));
    expected_by(before, moments(last(window, values)), window, min_samples, values)
}

/// Returns the same, by the moments of the windows before and after the last value.
fn expected_by(
    before: Option<(DoubleDouble, DoubleDouble)>,
    (mean, stddev): (DoubleDouble, DoubleDouble),
    window: usize,
    min_samples: usize,
    values: &[f64],
) -> Expected {
    let (newest, earlier) = values.split_last().unwrap();
    let earlier = last(window, earlier);
    let before = before.filter(|_| earlier.len() >= min_samples);
    Expected {
        score: before.map(|before| score(earlier, before, *newest)),
        mean: mean.nearest(),
        stddev: stddev.nearest(),
        tolerance: tolerance(last(window, values)),
    }
}

/// Returns the last of these, at most a window of them.
pub(crate) fn last<T>(window: usize, all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(window)..]
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// Returns the largest difference that a mean or a deviation of these values may have.
fn tolerance(values: &[f64]) -> f64 {
    1e-9 * largest(values).max(1.0)
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

/// Returns the score of a value against the window before it, which has these moments.
fn score(before: &[f64], (mean, stddev): (DoubleDouble, DoubleDouble), value: f64) -> Score {
    let size = if mean.nearest() < 0.0 { DoubleDouble::from(0.0).minus(mean) } else { mean };
    let floor = DoubleDouble::from(1e-9).times(size.max(DoubleDouble::from(1.0)));
    let divisor = stddev.max(floor);
    let deviation = DoubleDouble::from(value).minus(mean);
    let z = deviation.over(divisor).nearest().clamp(-1e6, 1e6);
    Score {
        z,
        z_tolerance: 1e-9 * z.abs().max(1.0) + 1e-14 * largest(before) / divisor.nearest(),
        deviation: deviation.nearest(),
        mean: mean.nearest(),
        stddev: stddev.nearest(),
        tolerance: tolerance(before),
    }
}

#[test]
fn rounding_decides_only_at_a_border() {
    let values: Vec<f64> = (0..16).map(|number| f64::from(number % 2)).collect();
    // The mean is 0.5, and so is the standard deviation.
    let verdict = |value, least| score(&values, moments(&values), value).verdict(2.0, least);
    for (value, least, is_anomaly) in [
        (1.5, 0.0, None),
        (1.4, 0.0, Some(false)),
        (-1.6, 0.0, Some(true)),
        (-1.6, 2.1, None),
        (-1.6, 2.0, Some(true)),
        (-1.6, 2.2, Some(false)),
        (1.4, 0.9, Some(false)),
        (1.5, 3.0, Some(false)),
    ] {
        assert_eq!(verdict(value, least), is_anomaly, "{value} of {least}");
    }
}
