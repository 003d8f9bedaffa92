//! Numbers of twice the precision of `f64`, for the tests' reference alone.
//!
//! A value is the unevaluated sum of two `f64`, so it has about 106 bits. The building blocks are
//! Knuth's two-sum and a product split by a fused multiply-add; both errors are exact.

/// `high + low`, with `low` at most half a unit in the last place of `high`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoubleDouble {
    high: f64,
    low: f64,
}

impl DoubleDouble {
    /// Exactly this value.
    pub(crate) fn from(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// The nearest `f64`.
    pub(crate) fn nearest(self) -> f64 {
        self.high + self.low
    }

    fn two_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let b_part = high - a;
        let low = (a - (high - b_part)) + (b - b_part);
        Self { high, low }
    }

    fn two_product(a: f64, b: f64) -> Self {
        let high = a * b;
        let low = a.mul_add(b, -high);
        Self { high, low }
    }

    /// The sum.
    pub(crate) fn plus(self, other: Self) -> Self {
        let high = Self::two_sum(self.high, other.high);
        let low = Self::two_sum(self.low, other.low);
        let once = Self::two_sum(high.high, high.low + low.high);
        Self::two_sum(once.high, once.low + low.low)
    }

    /// The difference.
    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    /// The product.
    pub(crate) fn times(self, other: Self) -> Self {
        let product = Self::two_product(self.high, other.high);
        let cross = self.high * other.low + self.low * other.high;
        Self::two_sum(product.high, product.low + cross)
    }

    /// The quotient.
    pub(crate) fn over(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self.minus(other.times(Self::from(first)));
        let second = rest.high / other.high;
        let rest = rest.minus(other.times(Self::from(second)));
        let third = rest.high / other.high;
        Self::two_sum(first, second).plus(Self::from(third))
    }

    /// The square root of a value that is not negative.
    pub(crate) fn square_root(self) -> Self {
        if self.high <= 0.0 {
            return Self::from(0.0);
        }
        // One step of Newton's doubles the digits of the nearest `f64`.
        let near = Self::from(self.high.sqrt());
        let rest = self.minus(near.times(near));
        near.plus(rest.over(near.plus(near)))
    }

    /// The larger one.
    pub(crate) fn max(self, other: Self) -> Self {
        let difference = self.minus(other);
        if difference.nearest() < 0.0 { other } else { self }
    }
}

#[test]
fn keeps_what_f64_loses() {
    let (large, small) = (DoubleDouble::from(1e16), DoubleDouble::from(1.0 / 1024.0));
    assert_eq!(large.plus(small).minus(large).nearest(), 1.0 / 1024.0);
    let third = DoubleDouble::from(1.0).over(DoubleDouble::from(3.0));
    let rest = DoubleDouble::from(1.0).minus(third.times(DoubleDouble::from(3.0)));
    assert!(rest.nearest().abs() < 1e-31);
    let root = DoubleDouble::from(2.0).square_root();
    assert!(root.times(root).minus(DoubleDouble::from(2.0)).nearest().abs() < 1e-30);
}
