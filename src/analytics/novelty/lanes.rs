//! Numbers of all quantities side by side, which a processor computes with at once.

use std::ops::{Add, Div, Mul, Sub};

use super::preset::CHANNELS;

/// A number of each quantity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes(pub(super) [f32; CHANNELS]);

impl Lanes {
    /// Returns the same number for all.
    #[inline(always)]
    pub(super) const fn all(number: f32) -> Self {
        Self([number; CHANNELS])
    }

    /// Returns what becomes of each number.
    #[inline(always)]
    pub(super) fn map(self, becomes: impl Fn(f32) -> f32) -> Self {
        let [a, b, c, d] = self.0;
        Self([becomes(a), becomes(b), becomes(c), becomes(d)])
    }

    #[inline(always)]
    fn with(self, other: Self, becomes: impl Fn(f32, f32) -> f32) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([becomes(a, e), becomes(b, f), becomes(c, g), becomes(d, h)])
    }

    /// Returns the larger ones.
    #[inline(always)]
    pub(super) fn larger(self, other: Self) -> Self {
        self.with(other, larger)
    }

    /// Returns the smaller ones.
    #[inline(always)]
    pub(super) fn smaller(self, other: Self) -> Self {
        self.with(other, smaller)
    }

    /// Returns `one` where this is above a limit, and `other` elsewhere.
    #[inline(always)]
    pub(super) fn above(self, limit: Self, one: Self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, limit.0);
        let ([i, j, k, l], [m, n, o, p]) = (one.0, other.0);
        let pick = |is_above, one, other| if is_above { one } else { other };
        Self([pick(a > e, i, m), pick(b > f, j, n), pick(c > g, k, o), pick(d > h, l, p)])
    }
}

impl Add for Lanes {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, f32::add)
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, f32::sub)
    }
}

impl Mul for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, f32::mul)
    }
}

impl Div for Lanes {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.with(other, f32::div)
    }
}

/// Returns the smaller one of two numbers: in one instruction, where [`f32::min`] takes five to do
/// what is right for what is not a number, which no number here is.
#[inline(always)]
pub(super) const fn smaller(one: f32, other: f32) -> f32 {
    if one < other { one } else { other }
}

/// Returns the larger one of two numbers.
#[inline(always)]
pub(super) const fn larger(one: f32, other: f32) -> f32 {
    if one > other { one } else { other }
}
