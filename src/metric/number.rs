//! Numbers of JSON: where one ends, and what it is worth.
//!
//! The scanner is as strict as RFC 8259. Eight bytes are read at a time: nearly all of a metric is
//! digits.

use crate::metric::malformed::{Expected, Malformed};

/// A number as it was scanned; its worth is asked for apart, because not every number's is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    start: usize,
    /// The first byte after it.
    pub(super) end: usize,
    /// All digits without the point, if they fit.
    mantissa: Option<u64>,
    fraction_digits: usize,
    negative: bool,
    exponent: bool,
}

/// Scans a number that begins at `at` with a digit or a minus (RFC 8259, section 6).
#[inline]
pub(super) fn number(bytes: &[u8], at: usize) -> Result<Number, Malformed> {
    let wrong = |at| Err(Malformed::expected(Expected::Digit, bytes, at));
    let negative = bytes.get(at) == Some(&b'-');
    let whole = at + usize::from(negative);
    let mut mantissa = 0;
    let mut end = digits(bytes, whole, &mut mantissa);
    if end == whole {
        return wrong(end);
    }
    if end > whole + 1 && bytes.get(whole) == Some(&b'0') {
        return wrong(whole + 1);
    }
    let mut digits_count = end - whole;
    let mut fraction_digits = 0;
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(bytes, fraction, &mut mantissa);
        fraction_digits = end - fraction;
        digits_count += fraction_digits;
        if fraction_digits == 0 {
            return wrong(end);
        }
    }
    let exponent = matches!(bytes.get(end), Some(b'e' | b'E'));
    if exponent {
        let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        let power = end + 1 + usize::from(signed);
        end = digits(bytes, power, &mut 0);
        if end == power {
            return wrong(end);
        }
    }
    Ok(Number {
        start: at,
        end,
        mantissa: (digits_count <= INTEGER_DIGITS_MAX).then_some(mantissa),
        fraction_digits,
        negative,
        exponent,
    })
}

/// So many decimal digits always fit a `u64`.
pub(super) const INTEGER_DIGITS_MAX: usize = 19;

/// Passes over decimal digits and appends them to `mantissa`, which wraps when they are too many.
///
/// Eight bytes at a time: how many of them are digits, and what those are worth, is found without
/// a branch (D. Lemire, Number Parsing at a Gigabyte per Second, 2021).
#[inline(always)]
pub(super) fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    loop {
        let values = word(bytes, at) ^ ZERO_DIGITS;
        let count = digits_count(values);
        let Some(power) = DECIMAL_POWERS.get(count) else {
            *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight_digits(values));
            at += 8;
            continue;
        };
        *mantissa = mantissa.wrapping_mul(*power).wrapping_add(first_digits(values, count));
        return at + count;
    }
}

/// Scans a number of at most seven digits, with or without a point, that begins at `at`; `None` for
/// every other. It ends with the byte that is neither digit nor point, whatever that is.
#[inline(always)]
pub(super) fn short_number(bytes: &[u8], at: usize) -> Option<Number> {
    let text = word(bytes, at);
    let values = text ^ ZERO_DIGITS;
    let whole = digits_count(values);
    if whole == 8 || (whole > 1 && values & 0xff == 0) {
        return None;
    }
    let mut joined = values;
    let mut count = whole;
    let mut point = 0;
    if text >> (8 * whole) & 0xff == u64::from(b'.') {
        // The point is taken out; what comes in at the end is no digit, as it might have been.
        let before = (1 << (8 * whole)) - 1;
        joined = values & before | values >> 8 & !before | 0xff << 56;
        count = digits_count(joined);
        point = 1;
    }
    let fraction_digits = count - whole;
    if whole == 0 || count == 7 || fraction_digits < point {
        return None;
    }
    Some(Number {
        start: at,
        end: at + count + point,
        mantissa: Some(first_digits(joined, count)),
        fraction_digits,
        negative: false,
        exponent: false,
    })
}

/// How many bytes of a word, from the lowest on, are below ten.
#[inline(always)]
const fn digits_count(values: u64) -> usize {
    // The sum sets the top bit of a byte from ten on, and nothing below the first such byte.
    let others = (values.wrapping_add(EACH_BYTE * 0x76) | values) & (EACH_BYTE * 0x80);
    others.trailing_zeros() as usize / 8
}

/// What the first digits of a word are worth, fewer than eight.
#[inline(always)]
const fn first_digits(values: u64, count: usize) -> u64 {
    // They move to the end, behind zeros; by two steps, as all eight bytes may go.
    eight_digits(values << 8 << (56 - 8 * count))
}

const EACH_BYTE: u64 = 0x0101_0101_0101_0101;

/// Turns digits into their values and back.
const ZERO_DIGITS: u64 = EACH_BYTE * b'0' as u64;

const DECIMAL_POWERS: [u64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// What eight digits are worth that stand in the bytes of a word, the first in the lowest: pairs of
/// neighbours are joined three times.
#[inline(always)]
const fn eight_digits(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// The eight bytes from `at` on, the first in the lowest place; zeros stand behind the last one.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk().map_or_else(|| last_word(bytes, at), |chunk| u64::from_le_bytes(*chunk))
}

/// The same where fewer than eight are left.
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(chunk) = bytes.last_chunk() {
        let absent = 64 - 8 * rest.len() as u32;
        return u64::from_le_bytes(*chunk).checked_shr(absent).unwrap_or(0);
    }
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The powers of ten that an `f64` holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Integers up to this are exact as `f64`.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

impl Number {
    /// The nearest `f64`; infinite if there is none, and never a negative zero.
    #[inline]
    pub(super) fn value(self, bytes: &[u8]) -> f64 {
        // Both operands are exact, so the one rounding of the division is the right one
        // (W. D. Clinger, How to Read Floating Point Numbers Accurately, 1990).
        if let Some(mantissa) = self.mantissa
            && mantissa <= EXACT_INTEGER_MAX
            && !self.exponent
            && let Some(power) = EXACT_POWERS.get(self.fraction_digits)
        {
            let magnitude = mantissa as f64 / power;
            return if self.negative { 0.0 - magnitude } else { magnitude };
        }
        let literal = bytes.get(self.start..self.end).unwrap_or_default();
        let text = std::str::from_utf8(literal).unwrap_or_default();
        // RFC 8259 numbers are a subset of what `f64` parses; adding zero drops a zero's sign.
        text.parse::<f64>().unwrap_or(f64::INFINITY) + 0.0
    }

    /// The number as an unsigned integer, if it was written as one and fits.
    #[inline]
    pub(super) fn integer(self) -> Option<u64> {
        let written_so = !self.negative && !self.exponent && self.fraction_digits == 0;
        self.mantissa.filter(|_| written_so)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
        for (literal, value) in [
            ("0", 0.0),
            ("-0", 0.0),
            ("-0.0e5", 0.0),
            ("-1e-400", 0.0),
            ("7", 7.0),
            ("-12.5", -12.5),
            ("1e3", 1e3),
            ("1.5E+2", 150.0),
            ("25e-1", 2.5),
            ("0.1", 0.1),
            ("41.97", 41.97),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("0.00000000000000000000000000000000001", 1e-35),
            ("1e400", f64::INFINITY),
        ] {
            let bytes = literal.as_bytes();
            let number = number(bytes, 0).unwrap();
            assert_eq!(number.end, bytes.len());
            assert_eq!(number.value(bytes).to_bits(), value.to_bits(), "{literal}");
        }
        for (literal, at) in [
            ("-", 1),
            ("01", 1),
            ("-00", 2),
            ("1.", 2),
            ("1.e5", 2),
            ("1e", 2),
            ("1e+", 3),
            ("-a", 1),
        ] {
            let bytes = literal.as_bytes();
            assert_eq!(number(bytes, 0), Err(Malformed::expected(Expected::Digit, bytes, at)));
        }
    }

    #[test]
    fn an_integer_is_written_as_one() {
        let integer = |literal: &str| number(literal.as_bytes(), 0).unwrap().integer();
        assert_eq!(integer("0"), Some(0));
        assert_eq!(integer("9999999999999999999"), Some(9_999_999_999_999_999_999));
        for literal in ["-0", "-1", "1.0", "1e3", "10000000000000000000"] {
            assert_eq!(integer(literal), None, "{literal}");
        }
    }
}
