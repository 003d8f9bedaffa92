//! Moments: the mean and the standard deviation of a window, to nearly the precision of `f64`.
//!
//! Running sums are not used: after one spike of 1e12 they stay wrong for ever. Each call passes
//! once over the values, shifted by one of them:
//!
//! ```text
//! S1 = Σ(x − K)    S2 = Σ(x − K)²    mean = K + S1/n    variance = (S2 − S1²/n)/n
//! ```
//!
//! The subtraction S2 − S1²/n loses a factor of 1 + (K − mean)²/variance in precision. No value of
//! a set of n lies further than √(n − 1) standard deviations from the set's mean, so with K out of
//! the set that factor is at most n: the relative error stays near n·1e-15, whatever has just left
//! the window, and one pass is enough. Equal values give a variance of exactly 0.

use crate::limits;

/// Values that are summed up in one set of accumulators. The sums of such blocks are then added, so
/// that rounding errors grow with √n rather than with n.
const BLOCK: usize = 256;

/// Independent accumulators: an addition takes four cycles, and four can run at once.
const LANES: usize = 4;

/// The least standard deviation, as a share of max(1, |mean|). Without it the first rounding error
/// of a constant series would be an anomaly.
const STDDEV_FLOOR: f64 = 1e-9;

// The error bound in the head of this file, times two, stays within the 1e-9 that is promised.
const _: () = assert!(limits::WINDOW_MAX <= 100_000);

/// Mean and population standard deviation of both fields, in the order of `Field::ALL`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The means, in the fields' own units.
    pub mean: [f64; 2],
    /// The population standard deviations, in the fields' own units.
    pub stddev: [f64; 2],
}

impl Moments {
    /// Returns the moments of these values, in any order; `None` if there are none.
    pub fn of(values: &[[f64; 2]]) -> Option<Self> {
        let shift = *values.first()?;
        let mut total = Sums::default();
        for block in values.chunks(BLOCK) {
            total = total.plus(Sums::of(block, shift));
        }
        Some(total.moments(shift, values.len() as f64))
    }

    /// Returns the z-scores of these values: their distance from the means in standard deviations,
    /// clipped to ±[`limits::Z_SCORE_MAX`].
    pub fn scores(&self, values: [f64; 2]) -> [f64; 2] {
        let [cpu, rps] = values;
        [score(self.mean[0], self.stddev[0], cpu), score(self.mean[1], self.stddev[1], rps)]
    }
}

fn score(mean: f64, stddev: f64, value: f64) -> f64 {
    let floor = STDDEV_FLOOR * mean.abs().max(1.0);
    let z = (value - mean) / stddev.max(floor);
    z.clamp(-limits::Z_SCORE_MAX, limits::Z_SCORE_MAX)
}

/// Sums of shifted values and of their squares, per field.
#[derive(Clone, Copy, Default)]
struct Sums {
    first: [f64; 2],
    second: [f64; 2],
}

impl Sums {
    fn of(block: &[[f64; 2]], shift: [f64; 2]) -> Self {
        let (groups, rest) = block.as_chunks::<LANES>();
        let mut lanes = [Self::default(); LANES];
        for group in groups {
            for (lane, value) in lanes.iter_mut().zip(group) {
                lane.add(*value, shift);
            }
        }
        let [mut a, b, c, d] = lanes;
        for value in rest {
            a.add(*value, shift);
        }
        a.plus(b).plus(c.plus(d))
    }

    #[inline(always)]
    fn add(&mut self, value: [f64; 2], shift: [f64; 2]) {
        let by = [value[0] - shift[0], value[1] - shift[1]];
        self.first = [self.first[0] + by[0], self.first[1] + by[1]];
        self.second = [self.second[0] + by[0] * by[0], self.second[1] + by[1] * by[1]];
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        let add = |a: [f64; 2], b: [f64; 2]| [a[0] + b[0], a[1] + b[1]];
        Self { first: add(self.first, other.first), second: add(self.second, other.second) }
    }

    fn moments(self, shift: [f64; 2], count: f64) -> Moments {
        let stddev = |first: f64, second: f64| {
            // Rounding may make it slightly negative.
            ((second - first * (first / count)) / count).max(0.0).sqrt()
        };
        Moments {
            mean: [shift[0] + self.first[0] / count, shift[1] + self.first[1] / count],
            stddev: [stddev(self.first[0], self.second[0]), stddev(self.first[1], self.second[1])],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_moments() {
        assert_eq!(Moments::of(&[]), None);
    }

    #[test]
    fn every_length_around_the_lanes_and_blocks_agrees_with_two_passes() {
        for count in (1..40).chain([255, 256, 257, 511, 513, 1000]) {
            let values: Vec<[f64; 2]> =
                (0..count).map(|i| [f64::from(i % 7), f64::from(i * i % 1001) * 1e3]).collect();
            let moments = Moments::of(&values).unwrap();
            for field in 0..2 {
                let n = f64::from(count);
                let mean = values.iter().map(|v| v[field]).sum::<f64>() / n;
                let square = |v: &[f64; 2]| (v[field] - mean) * (v[field] - mean);
                let stddev = (values.iter().map(square).sum::<f64>() / n).sqrt();
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
                assert!(close(moments.mean[field], mean), "{count} {moments:?} {mean}");
                assert!(close(moments.stddev[field], stddev), "{count} {moments:?} {stddev}");
            }
        }
    }

    #[test]
    fn equal_values_have_exactly_their_mean_and_no_deviation() {
        for count in [1, 2, 16, 49, 50, 10_000] {
            let moments = Moments::of(&vec![[91.958, 0.1]; count]).unwrap();
            assert_eq!(moments.mean, [91.958, 0.1]);
            assert_eq!(moments.stddev, [0.0, 0.0]);
        }
    }

    #[test]
    fn a_spike_at_either_end_costs_no_precision_it_did_not_bring() {
        // 1 and 2 by turns have a deviation of 0.5, beside a tiny one around a large value.
        let calm: Vec<[f64; 2]> =
            (0..50).map(|i| [1.0 + f64::from(i % 2), 1e12 + f64::from(i % 2) / 1024.0]).collect();
        let moments = Moments::of(&calm).unwrap();
        assert_eq!(moments.mean, [1.5, 1e12 + 0.5 / 1024.0]);
        assert_eq!(moments.stddev, [0.5, 0.5 / 1024.0]);
        for at in [0, 25, 49] {
            let mut spiked = calm.clone();
            spiked[at][0] = 1e6;
            let moments = Moments::of(&spiked).unwrap();
            assert!((moments.stddev[0] - 139_999.79).abs() < 0.01, "{moments:?}");
        }
    }

    #[test]
    fn scores_are_floored_and_clipped() {
        let calm = Moments { mean: [1.0, 1e12], stddev: [0.0, 0.0] };
        assert_eq!(calm.scores([1.0, 1e12]), [0.0, 0.0]);
        let [cpu, rps] = calm.scores([1.0 + 1e-9, 1e12 + 2e3]);
        assert!((cpu - 1.0).abs() < 1e-6 && (rps - 2.0).abs() < 1e-9);
        assert_eq!(calm.scores([2.0, 0.0]), [1e6, -1e6]);
    }
}
