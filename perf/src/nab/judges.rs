//! The judges that are scored: the server's two, silence, and one whose score is published.

use corepulse::analytics::moments::Moments;
use corepulse::analytics::novelty::judgement::Sensitivity;

use super::series::Series;

/// The window and the threshold of the server's rule.
const WINDOW: usize = 50;
const RULE_DEVIATIONS: f64 = 2.0;
const RULE_SAMPLES: usize = 16;

/// A judge: from a series to the rows that it detects.
pub(super) enum Judge {
    /// The rule of standard deviations by which the server judges without being asked for more.
    Rule,
    /// The detector of what is new.
    Bands(Sensitivity),
    /// The windowed Gaussian of the benchmark, whose published score ours is held to.
    WindowedGaussian,
}

impl Judge {
    /// Returns the rows that it detects.
    pub(super) fn detected(&self, series: &Series) -> Vec<usize> {
        match self {
            Self::Rule => rule(&series.values),
            Self::Bands(sensitivity) => {
                let judged = series.judged(sensitivity).into_iter().enumerate();
                judged.filter(|(_, it)| it.alert.is_some()).map(|(row, _)| row).collect()
            }
            Self::WindowedGaussian => windowed_gaussian(&series.values),
        }
    }
}

/// Returns the rows that are further from the mean of the fifty before them than two deviations.
fn rule(values: &[f64]) -> Vec<usize> {
    let is_far = |row: &usize| {
        let before = values.get(row.saturating_sub(WINDOW)..*row).unwrap_or_default();
        let (before, _) = before.as_chunks::<1>();
        let value = values.get(*row).copied().unwrap_or_default();
        before.len() >= RULE_SAMPLES
            && Moments::of(before).is_some_and(|it| it.scores([value])[0].abs() > RULE_DEVIATIONS)
    };
    (0..values.len()).filter(is_far).collect()
}

/// The values of its window, and after how many of them it is moved on.
const GAUSSIAN_WINDOW: usize = 6400;
const GAUSSIAN_STEP: usize = 100;

/// The distance from the mean, in deviations, that its published threshold comes to: a tail
/// probability of 5e-13.
const GAUSSIAN_DEVIATIONS: f64 = 7.13;

/// The deviation of a constant window.
const GAUSSIAN_LEAST: f64 = 1e-6;

/// Returns the rows far from the mean of a long window, as the benchmark describes that detector.
fn windowed_gaussian(values: &[f64]) -> Vec<usize> {
    let (mut window, mut later) = (Vec::new(), Vec::new());
    let (mut mean, mut deviation) = (0.0, f64::INFINITY);
    let mut detected = Vec::new();
    for (row, value) in values.iter().enumerate() {
        if (value - mean).abs() >= GAUSSIAN_DEVIATIONS * deviation {
            detected.push(row);
        }
        if window.len() < GAUSSIAN_WINDOW {
            window.push(*value);
        } else {
            later.push(*value);
            if later.len() < GAUSSIAN_STEP {
                continue;
            }
            window.drain(..GAUSSIAN_STEP);
            window.append(&mut later);
        }
        let count = window.len() as f64;
        mean = window.iter().sum::<f64>() / count;
        let squares: f64 = window.iter().map(|it| (it - mean) * (it - mean)).sum();
        deviation = (squares / count).sqrt();
        if deviation == 0.0 {
            deviation = GAUSSIAN_LEAST;
        }
    }
    detected
}
