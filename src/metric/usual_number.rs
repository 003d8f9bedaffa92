//! Numbers of the usual shape: short values, and times in milliseconds.
//!
//! Nearly every value has at most seven bytes, and nearly every timestamp thirteen digits. The fast
//! paths read both here, and leave the rest to functions that are not inlined. Where the next
//! member begins depends on how long a number is, so its length is computed in as few steps as its
//! value in many: a line takes as long as the steps that wait for one another.

use crate::metric::number::{scan_integer, scan_number};
use crate::metric::timestamp::{MILLISECONDS_END, Timestamp};
use crate::metric::word::{ZERO_DIGITS, eight_digits, other_bytes, word_at};
use crate::schema::Field;

/// Reads a number that the field takes, which begins at `at` with the bytes of `word`. Returns it
/// with its end, which may be that of its digits if an exponent follows. `None` for every other
/// number, and for one that has to be rounded.
#[inline(always)]
pub(super) fn usual_value(field: Field, text: &[u8], at: u32, word: u64) -> Option<(f64, u32)> {
    let (value, end) = match short_value(word) {
        Some((value, bytes)) => (value, at + bytes),
        None => long_value(text, at)?,
    };
    field.accepts(value).then_some((value, end))
}

/// Reads a number from the front of a word, of which it takes at most seven bytes: digits, perhaps
/// with a point among them. Returns its value and its length.
#[inline(always)]
fn short_value(word: u64) -> Option<(f64, u32)> {
    let values = word ^ ZERO_DIGITS;
    let others = other_bytes(values);
    if others == 0 {
        return None;
    }
    let whole_bits = others.trailing_zeros() & !7;
    let first = values as u8;
    // JSON has a zero before a point or alone, and no number begins with a point.
    if !(1..10).contains(&first) && (first != 0 || whole_bits != 8) {
        return None;
    }
    if (word >> whole_bits) as u8 != b'.' {
        let digits = eight_digits(values << (64 - whole_bits));
        return Some((digits as i64 as f64, whole_bits / 8));
    }
    let behind_point = others & (others - 1);
    if behind_point == 0 {
        return None;
    }
    let bits = behind_point.trailing_zeros() & !7;
    let fraction_digits = (bits - whole_bits) / 8 - 1;
    if fraction_digits == 0 {
        return None;
    }
    // The digits before the point move up onto it. A zero comes in before them.
    let upto_point = others ^ (others - 1);
    let joined = values << 8 & upto_point | values & !upto_point;
    let digits = eight_digits(joined << (64 - bits));
    let power = SHORT_POWERS.get(fraction_digits as usize & 7)?;
    // Both are exact, so that the quotient is rounded once.
    Some((digits as i64 as f64 / power, bits / 8))
}

const SHORT_POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// Reads the number at `at`, whatever its length.
#[inline(never)]
fn long_value(text: &[u8], at: u32) -> Option<(f64, u32)> {
    let number = scan_number(text, at as usize).ok()?;
    // One that takes longer is left to the general decoder, or it would be read twice.
    Some((number.quotient()?, number.end as u32))
}

/// Reads a timestamp that is an integer, which begins at `at` with the bytes of `word`. Returns it,
/// if it is no later than `latest_ms`, and its end.
#[inline(always)]
pub(super) fn usual_time(
    text: &[u8],
    at: u32,
    word: u64,
    latest_ms: i64,
) -> Option<(Timestamp, u32)> {
    let (timestamp, end) = match milliseconds(text, at, word) {
        Some(timestamp) => (timestamp, at + MILLISECONDS_DIGITS),
        None => any_time(text, at)?,
    };
    (timestamp.ms <= latest_ms).then_some((timestamp, end))
}

/// The digits of a recent time in milliseconds.
pub(super) const MILLISECONDS_DIGITS: u32 = 13;

/// The digits of a recent time in nanoseconds.
pub(super) const NANOSECONDS_DIGITS: u32 = 19;

/// Reads a time in milliseconds that has [`MILLISECONDS_DIGITS`].
#[inline(always)]
pub(super) fn milliseconds(text: &[u8], at: u32, word: u64) -> Option<Timestamp> {
    let (first, rest) = (word ^ ZERO_DIGITS, word_at(text, at + 8) ^ ZERO_DIGITS);
    // Five digits more, and then none.
    let are_digits = other_bytes(first) == 0 && other_bytes(rest) << 16 == 0x80 << 56;
    let ms = thirteen_digits(first, rest).filter(|_| are_digits)?;
    Some(Timestamp { key: ms as u64, ms })
}

/// Reads a time in nanoseconds that has [`NANOSECONDS_DIGITS`].
#[inline(always)]
pub(super) fn nanoseconds(text: &[u8], at: u32, word: u64) -> Option<Timestamp> {
    let (first, rest) = (word ^ ZERO_DIGITS, word_at(text, at + 8) ^ ZERO_DIGITS);
    let last = word_at(text, at + 16) ^ ZERO_DIGITS;
    let are_digits = (other_bytes(first) | other_bytes(rest)) == 0;
    // Three digits more, and then none.
    let are_digits = are_digits && other_bytes(last) << 32 == 0x80 << 56;
    let ms = thirteen_digits(first, rest).filter(|_| are_digits)?;
    let last_six = eight_digits(rest >> 40 << 16 | last << 40);
    Some(Timestamp { key: ms as u64 * 1_000_000 + last_six, ms })
}

/// Returns the value of thirteen digits, if it is one of milliseconds and does not begin with a
/// zero.
#[inline(always)]
fn thirteen_digits(first: u64, rest: u64) -> Option<i64> {
    let integer = (eight_digits(first) * 100_000 + eight_digits(rest << 24)) as i64;
    (1_000_000_000_000..MILLISECONDS_END as i64).contains(&integer).then_some(integer)
}

/// Reads the timestamp at `at`, whatever its unit.
#[inline(never)]
fn any_time(text: &[u8], at: u32) -> Option<(Timestamp, u32)> {
    let (integer, end) = scan_integer(text, at as usize)?;
    Some((Timestamp::of_integer(integer)?, end as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_value_is_that_of_the_scanner(
            number in "-?[0-9]{0,9}\\.?[0-9]{0,9}",
            rest in "[,} .0-9a\u{e9}\u{ff}]{0,9}",
        ) {
            let text = format!("{number}{rest}").into_bytes();
            let field = Schema::standard().fields()[0];
            let expected = scan_number(&text, 0).ok().and_then(|number| {
                let value = number.quotient().filter(|value| field.accepts(*value))?;
                Some((value.to_bits(), number.end as u32))
            });
            let found = usual_value(field, &text, 0, word_at(&text, 0));
            prop_assert_eq!(found.map(|(value, end)| (value.to_bits(), end)), expected);
        }

        #[test]
        fn a_time_is_that_of_the_scanner(
            number in prop_oneof!["[0-9]{0,21}", "[0-9]{13}", "17[0-9]{11}"],
            rest in "[,} .0-9a\u{e9}\u{ff}]{0,9}",
        ) {
            let text = format!("{number}{rest}").into_bytes();
            let latest_ms = 1_795_420_957_123;
            let expected = any_time(&text, 0).filter(|(timestamp, _)| timestamp.ms <= latest_ms);
            prop_assert_eq!(usual_time(&text, 0, word_at(&text, 0), latest_ms), expected);
        }

        #[test]
        fn nanoseconds_are_nineteen_digits(
            number in prop_oneof!["[0-9]{0,21}", "[0-9]{19}", "17[0-9]{17}"],
            rest in "[,} .a\u{e9}\u{ff}]{0,9}",
        ) {
            let text = format!("{number}{rest}").into_bytes();
            let is_usual = number.len() == 19 && matches!(number.as_bytes(), [b'1'..=b'4', ..]);
            let ns = number.parse().ok().filter(|_| is_usual);
            let found = nanoseconds(&text, 0, word_at(&text, 0));
            prop_assert_eq!(found, ns.and_then(Timestamp::of_integer));
        }
    }

    #[test]
    fn usual_numbers_are_short() {
        for (text, value, bytes) in [
            ("0,", 0.0, 1),
            ("7}", 7.0, 1),
            ("0.5,", 0.5, 3),
            ("41.25,\"r", 41.25, 5),
            ("1234567,", 1_234_567.0, 7),
            ("1.23456 ", 1.23456, 7),
            ("12345.6\u{e9}", 12345.6, 7),
            ("1", 1.0, 1),
        ] {
            assert_eq!(short_value(word_at(text.as_bytes(), 0)), Some((value, bytes)), "{text}");
        }
        for text in ["", ",", ".5,", "-1,", "00,", "01,", "01.5,", "1.,", "12345678", "1234.567"] {
            assert_eq!(short_value(word_at(text.as_bytes(), 0)), None, "{text}");
        }
    }
}
