//! Running sums: the sums of [`super::moments`], kept from event to event, so that an event costs
//! one addition rather than a pass over the window.
//!
//! A sum that is only ever added to remembers the rounding errors of every value that has left, and
//! after one spike of 1e12 it would stay wrong for ever. So two rules bound what it can remember:
//!
//! - The shift K is the value in the window's first place. When a new value takes that place, once
//!   a lap, the sums are computed anew: no error is older than a window.
//! - Each value enters and leaves with an error of at most four roundings of the largest Σ(x − K)²
//!   since then. If what is left of it, the sum of the squares around the mean, is so small that n
//!   such errors could be seen in it, the sums are not trusted, and are computed anew before they
//!   are used.
//!
//! A deviation has a relative error of at most 2e-10 by these rules; 2e-11 was the largest seen.
//! The sums are a function of their own field's values in this window and of nothing else, so that
//! the same events give the same bits whatever else the server does.

use super::moments::{Moments, Sums};

/// The least share of the largest Σ(x − K)² that the squares around the mean must have, for each
/// event of the window: four roundings of 2⁻⁵³ in it are a relative error of 4e-10.
const TRUSTED_SHARE: f64 = 1.2e-6;

/// The sums of `N` fields that share a window.
#[derive(Clone, Copy)]
pub(super) struct RunningSums<const N: usize> {
    pub(super) sums: Sums<N>,
    pub(super) largest: [LargestSquares; N],
}

/// The largest Σ(x − K)² since the sums were computed anew: its binary exponent, in 11 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LargestSquares(pub(super) u16);

impl LargestSquares {
    /// Returns the exponent of this sum.
    #[inline(always)]
    fn of(second: f64) -> Self {
        // The sign, which rounding may set, is shifted out. The rest fits 11 bits.
        Self((second.to_bits() << 1 >> 53) as u16)
    }

    /// Returns a number that the sum was below, or 0 if it was hardly a normal number.
    #[inline(always)]
    fn bound(self) -> f64 {
        2.0 * f64::from_bits(u64::from(self.0) << 52)
    }
}

impl<const N: usize> RunningSums<N> {
    /// Returns the sums of these values, with the first one as the shift.
    pub(super) fn of(values: &[[f64; N]]) -> Self {
        let shift = values.first().copied().unwrap_or([0.0; N]);
        let sums = Sums::of(values, shift);
        Self { sums, largest: sums.second.map(LargestSquares::of) }
    }

    /// Returns the moments of these values, whose sums these are. Those that are not to be trusted
    /// are computed anew.
    #[inline(always)]
    pub(super) fn moments(&mut self, values: &[[f64; N]]) -> Option<Moments<N>> {
        let shift = *values.first()?;
        let count = values.len() as f64;
        let squares = self.sums.squares(count);
        if self.are_trusted(squares, count).contains(&false) {
            return Some(self.renew(values, squares, shift));
        }
        Some(self.sums.moments(squares, shift, count))
    }

    #[inline(always)]
    fn are_trusted(&self, squares: [f64; N], count: f64) -> [bool; N] {
        let least = TRUSTED_SHARE * count;
        let mut are_trusted = [false; N];
        for ((is_trusted, squares), largest) in
            are_trusted.iter_mut().zip(squares).zip(self.largest)
        {
            // Not true of NaN, which the difference is as well if both overflowed.
            *is_trusted = squares - largest.bound() * least >= 0.0;
        }
        are_trusted
    }

    /// Computes the sums anew that are not to be trusted, and returns the moments. The others stay:
    /// one field's numbers do not depend on those of another.
    #[cold]
    #[inline(never)]
    fn renew(&mut self, values: &[[f64; N]], squares: [f64; N], shift: [f64; N]) -> Moments<N> {
        let count = values.len() as f64;
        let anew = Self::of(values);
        let are_trusted = self.are_trusted(squares, count);
        for (at, is_trusted) in are_trusted.into_iter().enumerate() {
            if !is_trusted {
                copy_at(&mut self.sums.first, &anew.sums.first, at);
                copy_at(&mut self.sums.second, &anew.sums.second, at);
                copy_at(&mut self.largest, &anew.largest, at);
            }
        }
        self.sums.moments(self.sums.squares(count), shift, count)
    }

    /// Replaces a value by another. `shift` is the value in the window's first place, which stays.
    #[inline(always)]
    pub(super) fn replace(&mut self, shift: &[f64; N], old: &[f64; N], new: &[f64; N]) {
        let Self { sums: Sums { first, second }, largest } = self;
        for ((((first, second), largest), shift), (old, new)) in
            first.iter_mut().zip(second).zip(largest).zip(shift).zip(old.iter().zip(new))
        {
            let (left, entered) = (old - shift, new - shift);
            *first += entered - left;
            *second += entered * entered - left * left;
            *largest = (*largest).max(LargestSquares::of(*second));
        }
    }

    /// Computes the sums anew after a value took the first place of the window, which holds
    /// `values`.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_lap(&mut self, values: &[[f64; N]]) {
        *self = Self::of(values);
    }
}

fn copy_at<T: Copy>(to: &mut [T], from: &[T], at: usize) {
    if let (Some(place), Some(value)) = (to.get_mut(at), from.get(at)) {
        *place = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ring of values with its sums, kept as `series` keeps them.
    struct Ring {
        size: usize,
        next: usize,
        values: Vec<[f64; 1]>,
        sums: RunningSums<1>,
        renewed: u32,
    }

    impl Ring {
        fn new(size: usize) -> Self {
            let sums = RunningSums::of(&[]);
            Self { size, next: 0, values: Vec::new(), sums, renewed: 0 }
        }

        fn push(&mut self, value: f64) {
            let shift = self.values.first().copied().unwrap_or_default();
            let old = match self.values.get_mut(self.next) {
                Some(place) => std::mem::replace(place, [value]),
                None => {
                    self.values.push([value]);
                    shift
                }
            };
            match self.next {
                0 => self.sums.begin_lap(&self.values),
                _ => self.sums.replace(&shift, &old, &[value]),
            }
            self.next = (self.next + 1) % self.size;
        }

        fn moments(&mut self) -> Moments<1> {
            let count = self.values.len() as f64;
            let is_trusted = self.sums.are_trusted(self.sums.sums.squares(count), count) == [true];
            self.renewed += u32::from(!is_trusted);
            self.sums.moments(&self.values).unwrap()
        }
    }

    /// Values of a level and a spread that change by many decades, with spikes.
    fn values() -> impl Strategy<Value = Vec<f64>> {
        let run = (-6..13_i32, -9..12_i32, any::<u32>(), 1..40_usize);
        prop::collection::vec(run, 1..20).prop_map(|runs| {
            let mut values = Vec::new();
            for (level, spread, seed, count) in runs {
                let mut random = fastrand::Rng::with_seed(seed.into());
                let mut value = || 10_f64.powi(level) + 10_f64.powi(spread) * random.f64();
                values.extend((0..count).map(|_| value()));
            }
            values
        })
    }

    proptest! {
        #[test]
        fn sums_are_as_good_as_a_pass_over_the_window(size in 1..60_usize, values in values()) {
            let mut ring = Ring::new(size);
            for value in values {
                ring.push(value);
                let (kept, [passed]) = (ring.moments(), Moments::of(&ring.values).unwrap().stddev);
                let [kept] = kept.stddev;
                let largest = ring.values.iter().map(|[value]| value.abs()).fold(1.0, f64::max);
                // A pass itself has an error of the values' own rounding.
                let error = (kept - passed).abs();
                prop_assert!(error <= 1e-9 * passed + 1e-14 * largest, "{kept} {passed}");
            }
        }
    }

    #[test]
    fn sums_of_usual_series_are_never_computed_anew_within_a_lap() {
        let mut random = fastrand::Rng::with_seed(7);
        for (level, spread) in [(0.0, 0.0), (91.958, 0.0), (20.0, 1.0), (1e12, 1.0), (1e6, 1e-3)] {
            let mut ring = Ring::new(50);
            for at in 0..2000 {
                // A spike of a hundred times the spread now and then.
                let spike = if at % 170 == 90 { 100.0 * spread } else { 0.0 };
                ring.push(level + spread * random.f64() + spike);
                ring.moments();
            }
            assert_eq!(ring.renewed, 0, "{level} {spread}");
        }
    }

    #[test]
    fn sums_are_computed_anew_when_a_value_leaves_that_dwarfed_the_others() {
        for huge in [1e9, 1e12, 1e160, f64::MAX] {
            let mut ring = Ring::new(50);
            for at in 0..200 {
                ring.push(if at == 30 { huge } else { f64::from(at % 2) });
                ring.moments();
            }
            assert!((1..=51).contains(&ring.renewed), "{huge:e}: {}", ring.renewed);
            assert_eq!(ring.moments(), Moments { mean: [0.5], stddev: [0.5] });
        }
    }
}
