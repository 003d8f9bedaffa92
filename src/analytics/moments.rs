//! Moments: the mean and the standard deviation of a window, to nearly the precision of `f64`.
//!
//! They follow from two sums over the values, shifted by one of them:
//!
//! ```text
//! S1 = Σ(x − K)    S2 = Σ(x − K)²    mean = K + S1/n    variance = (S2 − S1²/n)/n
//! ```
//!
//! The subtraction S2 − S1²/n loses a factor of 1 + (K − mean)²/variance in precision. No value of
//! a set of n lies further than √(n − 1) standard deviations from the set's mean, so with K out of
//! the set that factor is at most n: the relative error stays near n·1e-15, whatever has just left
//! the window, and one pass is enough. Equal values give a variance of exactly 0.
//!
//! `running_sums` keeps both sums from event to event where that costs no more precision.

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

/// Mean and population standard deviation of `N` fields that share their windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments<const N: usize> {
    /// The means, in the fields' own units.
    pub mean: [f64; N],
    /// The population standard deviations, in the fields' own units.
    pub stddev: [f64; N],
}

impl<const N: usize> Moments<N> {
    /// Returns the moments of these values, in any order; `None` if there are none. Each field's do
    /// not depend on the others.
    pub fn of(values: &[[f64; N]]) -> Option<Self> {
        let shift = *values.first()?;
        let (sums, count) = (Sums::of(values, shift), values.len() as f64);
        Some(sums.moments(sums.squares(count), shift, count))
    }

    /// Returns the z-scores of these values: their distance from the means in standard deviations,
    /// clipped to ±[`limits::Z_SCORE_MAX`]. NaN, which stands for no score, if the values before
    /// were so large that their deviation is no number.
    pub fn scores(&self, values: [f64; N]) -> [f64; N] {
        let Self { mean, stddev } = self;
        map3(mean, stddev, &values, score)
    }
}

fn score(mean: f64, stddev: f64, value: f64) -> f64 {
    let floor = STDDEV_FLOOR * mean.abs().max(1.0);
    // A deviation that is no number stays so, which `f64::max` would not let it.
    let z = (value - mean) / if stddev < floor { floor } else { stddev };
    z.clamp(-limits::Z_SCORE_MAX, limits::Z_SCORE_MAX)
}

/// The sums of shifted values and of their squares, per field.
#[derive(Clone, Copy)]
pub(super) struct Sums<const N: usize> {
    pub(super) first: [f64; N],
    pub(super) second: [f64; N],
}

impl<const N: usize> Default for Sums<N> {
    fn default() -> Self {
        Self { first: [0.0; N], second: [0.0; N] }
    }
}

impl<const N: usize> Sums<N> {
    /// Returns the sums of these values, in one pass.
    pub(super) fn of(values: &[[f64; N]], shift: [f64; N]) -> Self {
        let blocks = values.chunks(BLOCK).map(|block| Self::of_block(block, shift));
        blocks.fold(Self::default(), Self::plus)
    }

    fn of_block(block: &[[f64; N]], shift: [f64; N]) -> Self {
        let (groups, rest) = block.as_chunks::<LANES>();
        // The sums of all lanes stand side by side, so that two of a single field fit a register.
        let (mut firsts, mut seconds) = ([[0.0; N]; LANES], [[0.0; N]; LANES]);
        for group in groups {
            for ((first, second), value) in firsts.iter_mut().zip(&mut seconds).zip(group) {
                add(first, second, value, &shift);
            }
        }
        let ([a1, b1, c1, d1], [a2, b2, c2, d2]) = (firsts, seconds);
        let lane = |first, second| Self { first, second };
        let (mut a, b, c, d) = (lane(a1, a2), lane(b1, b2), lane(c1, c2), lane(d1, d2));
        for value in rest {
            add(&mut a.first, &mut a.second, value, &shift);
        }
        a.plus(b).plus(c.plus(d))
    }

    #[inline(always)]
    fn plus(mut self, other: Self) -> Self {
        self.first.iter_mut().zip(other.first).for_each(|(sum, by)| *sum += by);
        self.second.iter_mut().zip(other.second).for_each(|(sum, by)| *sum += by);
        self
    }

    /// Returns the sums of the squared distances from the means, which rounding may make slightly
    /// negative, and which are no numbers after an overflow.
    #[inline(always)]
    pub(super) fn squares(&self, count: f64) -> [f64; N] {
        // A quotient, though a product with 1/n would be there sooner: what is exactly at the
        // threshold, as in integers that repeat, has to be found there.
        map3(&self.first, &self.second, &self.second, |first, second, _| {
            second - first * first / count
        })
    }

    /// Returns the moments of the values, whose [`Self::squares`] these are.
    #[inline(always)]
    pub(super) fn moments(&self, squares: [f64; N], shift: [f64; N], count: f64) -> Moments<N> {
        Moments {
            mean: map3(&shift, &self.first, &shift, |shift, first, _| shift + first / count),
            stddev: map3(&squares, &shift, &shift, |squares, _, _| {
                let variance = squares / count;
                // An infinite one, of squares that are too large, is no number either.
                let variance = variance + 0.0 * variance;
                if variance < 0.0 { 0.0 } else { variance.sqrt() }
            }),
        }
    }
}

/// Adds the deviations of these values, and their squares, to the sums of each field.
#[inline(always)]
fn add<const N: usize>(
    first: &mut [f64; N],
    second: &mut [f64; N],
    value: &[f64; N],
    shift: &[f64; N],
) {
    for ((first, second), (value, shift)) in
        first.iter_mut().zip(second).zip(value.iter().zip(shift))
    {
        let by = value - shift;
        *first += by;
        *second += by * by;
    }
}

/// Returns `function` of each field's three numbers.
#[inline(always)]
fn map3<const N: usize>(
    a: &[f64; N],
    b: &[f64; N],
    c: &[f64; N],
    function: impl Fn(f64, f64, f64) -> f64,
) -> [f64; N] {
    let mut out = [0.0; N];
    for (out, ((a, b), c)) in out.iter_mut().zip(a.iter().zip(b).zip(c)) {
        *out = function(*a, *b, *c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_moments() {
        assert_eq!(Moments::<2>::of(&[]), None);
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

    /// A fifth of a series' values further up, by as much as this, are exactly two deviations from
    /// its mean. Exact sums and quotients find most of them there, products with 1/n fewer.
    #[test]
    fn what_is_at_two_deviations_is_mostly_not_beyond() {
        let (mut all, mut beyond) = (0, 0);
        for (count, by) in (4..=10).flat_map(|fifth| (1..60).map(move |by| (5 * fifth, by))) {
            for base in [0.0, 1.0, 20.0] {
                let value =
                    |at: usize| [base + f64::from(u8::from(at.is_multiple_of(5))) * f64::from(by)];
                let values: Vec<[f64; 1]> = (0..count).map(value).collect();
                let [z] = Moments::of(&values).unwrap().scores(values[0]);
                assert!((z - 2.0).abs() < 1e-14, "{z} of {count} around {base} by {by}");
                all += 1;
                beyond += u32::from(z > 2.0);
            }
        }
        assert!(beyond * 4 < all, "{beyond} of {all}");
    }

    #[test]
    fn squares_that_are_too_large_give_no_deviation_and_no_score() {
        for largest in [1e160, 1e300, f64::MAX] {
            let moments = Moments::of(&[[1.0], [largest], [-largest], [2.0]]).unwrap();
            assert!(moments.stddev[0].is_nan(), "{moments:?}");
            assert!(moments.scores([1.0])[0].is_nan(), "{moments:?}");
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

    #[test]
    fn a_deviation_that_is_no_number_gives_no_score() {
        let values = [[1e200], [-1e200], [1e200], [-1e200]];
        let moments = Moments::of(&values).unwrap();
        assert_eq!(moments.mean, [0.0]);
        assert!(moments.stddev[0].is_nan());
        assert!(moments.scores([1e200])[0].is_nan());
    }
}
