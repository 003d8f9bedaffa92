//! Numbers of JSON: their scanner, and their conversion to `f64`.
//!
//! The scanner is as strict as RFC 8259. It reads eight bytes at a time, because most of a metric
//! is digits. The conversion is a step of its own, whose cost a peer could choose: so what is not
//! a quotient of two integers is first excluded by the decimal exponent, if no field takes it, and
//! the rest goes to a parser whose slow path is short. (The slow path of the standard library took
//! sixty times as long.)

use memchr::{memchr, memchr2};

use crate::limits::NUMBER_BYTES_MAX;
use crate::metric::json_error::{Expected, JsonError};
use crate::metric::word::{ZERO_DIGITS, eight_digits, load_word, other_bytes};

/// A scanned number. Its value is computed on demand, because not every number's is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    start: usize,
    /// The offset of the first byte after it.
    pub(super) end: usize,
    /// All digits without the point, if they fit.
    mantissa: Option<u64>,
    fraction_digits: usize,
    negative: bool,
    exponent: bool,
}

/// Scans a number that begins at `at` with a digit or a minus (RFC 8259, section 6).
#[inline]
pub(super) fn scan_number(bytes: &[u8], at: usize) -> Result<Number, JsonError> {
    let wrong = |at| Err(JsonError::expected(Expected::Digit, bytes, at));
    let negative = bytes.get(at) == Some(&b'-');
    let whole = at + usize::from(negative);
    let mut mantissa = 0;
    let mut end = scan_digits(bytes, whole, &mut mantissa);
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
        end = scan_digits(bytes, fraction, &mut mantissa);
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
        end = scan_digits(bytes, power, &mut 0);
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

/// Scans a text that is one number and nothing else, as in a string.
pub(super) fn scan_whole_number(text: &[u8]) -> Option<Number> {
    if !matches!(text.first(), Some(b'0'..=b'9' | b'-')) {
        return None;
    }
    scan_number(text, 0).ok().filter(|number| number.end == text.len())
}

/// Returns the value of a text that is one number and nothing else, and no longer than a device may
/// send it; infinity if its first digit stands for a higher power of ten than `magnitude_max`.
pub fn whole_value(text: &[u8], magnitude_max: i64) -> Option<f64> {
    scan_whole_number(text)?.value(text, magnitude_max)
}

/// The number of decimal digits that always fit a `u64`.
pub(super) const INTEGER_DIGITS_MAX: usize = 19;

/// Scans decimal digits and appends them to `mantissa`, which wraps when they are too many. Returns
/// their end.
///
/// Eight bytes at a time: the number of digits among them and the value of those are computed
/// without a branch (D. Lemire, Number Parsing at a Gigabyte per Second, 2021).
#[inline(always)]
pub(super) fn scan_digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    loop {
        let values = load_word(bytes, at) ^ ZERO_DIGITS;
        let count = other_bytes(values).trailing_zeros() as usize / 8;
        let Some(power) = DECIMAL_POWERS.get(count) else {
            *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight_digits(values));
            at += 8;
            continue;
        };
        *mantissa = mantissa.wrapping_mul(*power).wrapping_add(first_digits(values, count));
        return at + count;
    }
}

/// Scans an integer as JSON writes it that fits a `u64`, and returns it with its end. What follows
/// the digits is not looked at.
#[inline(always)]
pub(super) fn scan_integer(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut integer = 0;
    let end = scan_digits(bytes, at, &mut integer);
    let is_integer = match end - at {
        1 => true,
        2..=INTEGER_DIGITS_MAX => bytes.get(at) != Some(&b'0'),
        _ => false,
    };
    is_integer.then_some((integer, end))
}

/// Returns the value of the first `count` digits of a word, fewer than eight.
#[inline(always)]
const fn first_digits(values: u64, count: usize) -> u64 {
    // Shift them to the end, behind zeros. In two steps, because a shift by 64 bits is not allowed.
    eight_digits(values << 8 << (56 - 8 * count))
}

const DECIMAL_POWERS: [u64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The powers of ten by which [`INTEGER_DIGITS_MAX`] digits may be divided. All are exact.
const POWERS: [f64; INTEGER_DIGITS_MAX] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// The largest integer up to which all are exact as `f64`.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// Returns the `f64` that is nearest to a quotient of two integers, of which the dividend is larger
/// than [`EXACT_INTEGER_MAX`], and the divisor less than 2^62.
#[inline(never)]
fn nearest_quotient(dividend: u64, divisor: u64) -> f64 {
    let dividend = u128::from(dividend) << 64;
    let quotient = dividend / u128::from(divisor.max(1));
    // It has 55 bits or more. The last one stands for all that follow, so that the conversion,
    // which is to the nearest, rounds as they ask for.
    let is_inexact = quotient * u128::from(divisor) != dividend;
    (quotient | u128::from(is_inexact)) as f64 / (1_u128 << 64) as f64
}

impl Number {
    /// Returns the nearest `f64`, never a negative zero; infinity if the first digit stands for a
    /// higher power of ten than `magnitude_max`. `None` for a literal of more than
    /// [`NUMBER_BYTES_MAX`].
    #[inline]
    pub(super) fn value(self, bytes: &[u8], magnitude_max: i64) -> Option<f64> {
        if self.end - self.start > NUMBER_BYTES_MAX {
            return None;
        }
        let nearest =
            || nearest_f64(bytes.get(self.start..self.end).unwrap_or_default(), magnitude_max);
        Some(self.quotient().unwrap_or_else(nearest))
    }

    /// Returns the same of a number without an exponent whose digits fit a `u64`, as nearly every
    /// number is. `None` for every other number.
    #[inline(always)]
    pub(super) fn quotient(self) -> Option<f64> {
        let mantissa = self.mantissa.filter(|_| !self.exponent)?;
        let power = *POWERS.get(self.fraction_digits)?;
        let magnitude = if mantissa <= EXACT_INTEGER_MAX {
            // The quotient of two exact numbers is rounded once, and right (W. D. Clinger, How to
            // Read Floating Point Numbers Accurately, 1990).
            mantissa as f64 / power
        } else {
            nearest_quotient(mantissa, power as u64)
        };
        Some(if self.negative { 0.0 - magnitude } else { magnitude })
    }

    /// Returns the number as an unsigned integer, if it was written as one and fits.
    #[inline]
    pub(super) fn integer(self) -> Option<u64> {
        self.mantissa.filter(|_| self.is_digits())
    }

    /// Returns true if it was written as an unsigned integer: nothing but digits.
    pub(super) const fn is_digits(self) -> bool {
        !self.negative && self.is_whole()
    }

    /// Returns true if it was written as an integer: digits, perhaps with a minus before them.
    pub(super) const fn is_whole(self) -> bool {
        !self.exponent && self.fraction_digits == 0
    }

    /// Returns true if it was written with a minus.
    pub(super) const fn is_negative(self) -> bool {
        self.negative
    }
}

/// Returns the nearest `f64` of a scanned literal; infinity beyond `magnitude_max`.
fn nearest_f64(literal: &[u8], magnitude_max: i64) -> f64 {
    let Some(magnitude) = Decimal::of(literal).magnitude() else {
        return 0.0;
    };
    if magnitude > magnitude_max {
        return f64::INFINITY;
    }
    if magnitude < MAGNITUDE_MIN {
        return 0.0;
    }
    #[cfg(test)]
    tests::ROUNDED.set(tests::ROUNDED.get() + 1);
    // RFC 8259 numbers are a subset of what the crate parses; adding zero drops a zero's sign.
    lexical_core::parse::<f64>(literal).unwrap_or(f64::INFINITY) + 0.0
}

/// The least magnitude that is not read as zero: below 1e-324 zero is the nearest `f64`.
const MAGNITUDE_MIN: i64 = -324;

/// The digits of a scanned number and its magnitude, without its sign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal<'a> {
    /// The digits from the first non-zero one on, perhaps with the point among them.
    digits: &'a [u8],
    /// The power of ten of the first of them.
    magnitude: i64,
}

impl<'a> Decimal<'a> {
    /// Splits a scanned literal.
    pub(super) fn of(literal: &'a [u8]) -> Self {
        let unsigned = literal.strip_prefix(b"-").unwrap_or(literal);
        let end = memchr2(b'e', b'E', unsigned).unwrap_or(unsigned.len());
        let (digits, exponent) = unsigned.split_at_checked(end).unwrap_or_default();
        let whole = memchr(b'.', digits).unwrap_or(end);
        let first = digits.iter().position(|byte| matches!(byte, b'1'..=b'9')).unwrap_or(end);
        // In 0.01 the first non-zero digit is two bytes behind the end of the whole part, and one
        // of those is the point.
        let before = whole as i64 - first as i64;
        let magnitude = if before > 0 { before - 1 } else { before };
        Self {
            digits: digits.get(first..).unwrap_or_default(),
            magnitude: magnitude.saturating_add(parse_exponent(exponent)),
        }
    }

    /// Returns the power of ten of its first digit; `None` for zero.
    pub(super) const fn magnitude(self) -> Option<i64> {
        if self.digits.is_empty() { None } else { Some(self.magnitude) }
    }

    /// Returns its digits from the first non-zero one on.
    pub(super) fn digits(self) -> impl Iterator<Item = u8> + 'a {
        let digits = self.digits.iter().filter(|byte| byte.is_ascii_digit());
        digits.map(|byte| byte - b'0')
    }
}

/// Returns the exponent of a scanned number; zero if there is none. It saturates, as any such
/// number is out of range.
fn parse_exponent(exponent: &[u8]) -> i64 {
    let mut power = 0_i64;
    for byte in exponent.iter().filter(|byte| byte.is_ascii_digit()) {
        power = power.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
    }
    if exponent.get(1) == Some(&b'-') { -power } else { power }
}

#[cfg(test)]
pub(in crate::metric) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// Numbers of this thread that were rounded by the slow path.
        pub(in crate::metric) static ROUNDED: Cell<usize> = const { Cell::new(0) };
    }

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
            ("9007199254740993e-4", 900_719_925_474.099_3),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("9007199254740995", 9_007_199_254_740_996.0),
            ("9.007199254740993001", 9.007_199_254_740_993),
            ("9999999999999999999", 1e19),
            ("123456789012345678901e-8", 1_234_567_890_123.456_8),
            ("18446744073709551616", f64::INFINITY),
            ("4.9406564584124654e-324", 5e-324),
            ("2.4703282292062327e-324", 0.0),
            ("2.4703282292062328e-324", 5e-324),
            ("-1e-9999999999999999999999999999", 0.0),
            ("0e9999999999999999999999999999", 0.0),
            ("0.00000000000000000000000000000000001", 1e-35),
            ("1e400", f64::INFINITY),
        ] {
            let bytes = literal.as_bytes();
            let number = scan_number(bytes, 0).unwrap();
            assert_eq!(number.end, bytes.len());
            assert_eq!(
                number.value(bytes, 12).map(f64::to_bits),
                Some(value.to_bits()),
                "{literal}"
            );
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
            assert_eq!(scan_number(bytes, 0), Err(JsonError::expected(Expected::Digit, bytes, at)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_quotient_is_the_nearest_value(digits in "[0-9]{1,19}", point in 0_usize..19) {
            let literal = match digits.split_at_checked(point) {
                Some((whole, fraction)) if !whole.is_empty() && !fraction.is_empty() => {
                    let significant = whole.trim_start_matches('0');
                    format!("{}.{fraction}", if significant.is_empty() { "0" } else { significant })
                }
                _ => format!("1{}", digits.get(1..).unwrap_or_default()),
            };
            let value = scan_number(literal.as_bytes(), 0).unwrap().quotient();
            let expected = literal.parse::<f64>().unwrap().to_bits();
            prop_assert_eq!(value.map(f64::to_bits), Some(expected), "{}", literal);
        }

        #[test]
        fn the_middle_between_two_values_is_rounded_to_the_even_one(
            below in EXACT_INTEGER_MAX..1 << 62,
            fraction_digits in 0_usize..=18,
        ) {
            // Integers around the middle of two neighbours, and quotients of them.
            let spacing = 1_u64 << (11 - below.leading_zeros());
            for middle in [below / spacing * spacing + spacing / 2, below] {
                for integer in middle - 1..=middle + 1 {
                    let digits = format!("{integer:019}");
                    let (whole, fraction) = digits.split_at(digits.len() - fraction_digits);
                    let whole = whole.trim_start_matches('0');
                    let whole = if whole.is_empty() { "0" } else { whole };
                    let point = if fraction.is_empty() { "" } else { "." };
                    let literal = format!("{whole}{point}{fraction}");
                    let value = scan_number(literal.as_bytes(), 0).unwrap().quotient().unwrap();
                    prop_assert_eq!(value, literal.parse::<f64>().unwrap(), "{}", literal);
                }
            }
        }
    }

    #[test]
    fn the_exponent_refuses_first() {
        for literal in [
            "1.70000000000000003862e308",
            "-1.70000000000000003862e308",
            "99999999999999999999e9999999999999999999999999",
            "170000000000000003862.5",
            "0.00000000170000000000000003862e30",
            "1e-325",
            "-0.000000000000000000000000000000000000000000001e-300",
        ] {
            let before = ROUNDED.get();
            let value =
                scan_whole_number(literal.as_bytes()).unwrap().value(literal.as_bytes(), 12);
            let value = value.unwrap();
            assert!(value == 0.0 || value.is_infinite(), "{literal}: {value}");
            assert_eq!(ROUNDED.get(), before, "{literal}");
        }
    }

    #[test]
    fn a_magnitude_is_that_of_the_first_digit() {
        for (literal, magnitude) in [
            ("0", None),
            ("-0.000e7", None),
            ("1", Some(0)),
            ("9.9", Some(0)),
            ("-10", Some(1)),
            ("4999999999.5", Some(9)),
            ("0.1", Some(-1)),
            ("0.0205E+2", Some(0)),
            ("12e-3", Some(-2)),
            ("1e99999999999999999999", Some(i64::MAX)),
            ("1e-99999999999999999999", Some(-i64::MAX)),
        ] {
            let decimal = Decimal::of(literal.as_bytes());
            assert_eq!(decimal.magnitude(), magnitude, "{literal}");
        }
        assert_eq!(Decimal::of(b"-0.0205E+2").digits().collect::<Vec<_>>(), [2, 0, 5]);
    }

    #[test]
    fn an_integer_is_written_as_one() {
        let integer = |literal: &str| scan_number(literal.as_bytes(), 0).unwrap().integer();
        assert_eq!(integer("0"), Some(0));
        assert_eq!(integer("9999999999999999999"), Some(9_999_999_999_999_999_999));
        for literal in ["-0", "-1", "1.0", "1e3", "10000000000000000000"] {
            assert_eq!(integer(literal), None, "{literal}");
        }
    }
}
