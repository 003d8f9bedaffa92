//! Patterns of numbers in quotes: regular expressions of decimals that lie in a range.
//!
//! A pattern takes the decimals whose digits before the point decide that they are in the range,
//! whatever is behind it, and the ends of the range where they are whole. So it takes nothing that
//! is refused, and hardly less than is accepted.

use std::ops::RangeInclusive;

/// Digits before the point. With a sign, a point and those behind it they make the longest number
/// that is accepted.
const WHOLE_DIGITS_MAX: usize = 26;

const FRACTION: &str = "([.][0-9]{1,100})?";

/// The digits behind the point of an end of the range.
const ZEROS: &str = "([.]0{1,100})?";

// NUMBER_BYTES_MAX, without which no number is stored.
const _: () = assert!(1 + WHOLE_DIGITS_MAX + 1 + 100 <= crate::limits::NUMBER_BYTES_MAX);

/// Returns the pattern of the decimals in a range, of all for `None`; `None` if the range has no
/// two whole numbers that follow each other.
pub(super) fn number_pattern(range: Option<RangeInclusive<f64>>) -> Option<String> {
    let (min, max) = range.unwrap_or(f64::MIN..=f64::MAX).into_inner();
    let positive = whole_parts(min, max).map(digits_pattern);
    let negative = whole_parts(-max, -min).map(digits_pattern);
    let whole = match (positive, negative) {
        (Some(positive), Some(negative)) if positive == negative => format!("-?({positive})"),
        (Some(positive), Some(negative)) => format!("({positive}|-({negative}))"),
        (Some(positive), None) => format!("({positive})"),
        (None, Some(negative)) => format!("-({negative})"),
        (None, None) => return None,
    };
    let ends = [min, max].into_iter().filter(|end| is_beside(*end, min, max));
    let ends: String = ends.map(|end| format!("|{end}{ZEROS}")).collect();
    if ends.is_empty() {
        Some(format!("^{whole}{FRACTION}$"))
    } else {
        Some(format!("^({whole}{FRACTION}{ends})$"))
    }
}

/// Returns true if an end of a range is a whole number that its digits alone do not tell to be in
/// the range: one that the range goes from towards zero.
fn is_beside(end: f64, min: f64, max: f64) -> bool {
    let is_written = end.fract() == 0.0 && end.abs() < 10_f64.powi(WHOLE_DIGITS_MAX as i32);
    is_written && ((end == max && end > 0.0) || (end == min && end < 0.0))
}

/// Returns the first and the last whole number that may stand before the point of a number from
/// `min` to `max` that has no sign.
fn whole_parts(min: f64, max: f64) -> Option<(u128, u128)> {
    let least = 10_u128.pow(WHOLE_DIGITS_MAX as u32);
    // Conversions saturate, and the largest are cut off.
    let first = min.max(0.0).ceil() as u128;
    let end = (max.max(0.0).floor() as u128).min(least);
    (first < end).then(|| (first, end - 1))
}

/// Returns the pattern of the whole numbers from `first` to `last`, without leading zeros.
fn digits_pattern((first, last): (u128, u128)) -> String {
    let mut parts = Vec::new();
    if first == 0 {
        parts.push("0".to_owned());
    }
    let mut low = first.max(1);
    while low <= last {
        let digits = low.ilog10();
        let all_nines = |digits: u32| 10_u128.pow(digits + 1) - 1;
        let is_round = low == 10_u128.pow(digits);
        // Lengths of which all numbers are meant have one part.
        let longest = (digits..=last.ilog10()).rev().find(|&longest| all_nines(longest) <= last);
        let high = if let Some(longest) = longest.filter(|_| is_round) {
            parts.push(format!("[1-9]{}", repeated(digits, longest)));
            all_nines(longest)
        } else {
            let high = last.min(all_nines(digits));
            same_length(&low.to_string(), &high.to_string(), "", &mut parts);
            high
        };
        low = high + 1;
    }
    parts.join("|")
}

/// Adds the patterns of the numbers from `low` to `high`, which have as many digits, behind a
/// prefix.
fn same_length(low: &str, high: &str, prefix: &str, parts: &mut Vec<String>) {
    let (Some(first), Some(last)) = (low.chars().next(), high.chars().next()) else {
        return parts.push(prefix.to_owned());
    };
    let (low_rest, high_rest) = (low.get(1..).unwrap_or(""), high.get(1..).unwrap_or(""));
    if first == last {
        return same_length(low_rest, high_rest, &format!("{prefix}{first}"), parts);
    }
    let rest_len = low_rest.len();
    let is_low_whole = low_rest.chars().all(|digit| digit == '0');
    let is_high_whole = high_rest.chars().all(|digit| digit == '9');
    if !is_low_whole {
        same_length(low_rest, &"9".repeat(rest_len), &format!("{prefix}{first}"), parts);
    }
    let next = |digit: char, step: i32| (i32::from(digit as u8) + step) as u8 as char;
    let from = if is_low_whole { first } else { next(first, 1) };
    let to = if is_high_whole { last } else { next(last, -1) };
    if from <= to {
        let class = if from == to { from.to_string() } else { format!("[{from}-{to}]") };
        let rest = repeated(rest_len as u32, rest_len as u32);
        parts.push(format!("{prefix}{class}{rest}"));
    }
    if !is_high_whole {
        same_length(&"0".repeat(rest_len), high_rest, &format!("{prefix}{last}"), parts);
    }
}

/// Returns the pattern of `least` to `most` digits.
fn repeated(least: u32, most: u32) -> String {
    match (least, most) {
        (0, 0) => String::new(),
        (1, 1) => "[0-9]".to_owned(),
        (least, most) if least == most => format!("[0-9]{{{most}}}"),
        (least, most) => format!("[0-9]{{{least},{most}}}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::string::string_regex;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[test]
    fn patterns_are_as_people_would_write_them() {
        for (range, pattern) in [
            (Some(0.0..=1e6), "^((0|[1-9][0-9]{0,5})([.][0-9]{1,100})?|1000000([.]0{1,100})?)$"),
            (Some(0.0..=100.0), "^((0|[1-9][0-9]{0,1})([.][0-9]{1,100})?|100([.]0{1,100})?)$"),
            (Some(0.0..=1.0), "^((0)([.][0-9]{1,100})?|1([.]0{1,100})?)$"),
            (Some(-1.0..=1.0), "^(-?(0)([.][0-9]{1,100})?|-1([.]0{1,100})?|1([.]0{1,100})?)$"),
            (Some(5.0..=10.0), "^(([5-9])([.][0-9]{1,100})?|10([.]0{1,100})?)$"),
            (Some(-40.0..=-20.5), "^(-(2[1-9]|3[0-9])([.][0-9]{1,100})?|-40([.]0{1,100})?)$"),
            (
                Some(-40.0..=125.0),
                "^((0|[1-9][0-9]{0,1}|1[0-1][0-9]|12[0-4]|-(0|[1-9]|[1-3][0-9]))\
                 ([.][0-9]{1,100})?|-40([.]0{1,100})?|125([.]0{1,100})?)$",
            ),
            (
                Some(300.0..=1100.0),
                "^(([3-9][0-9]{2}|10[0-9][0-9])([.][0-9]{1,100})?|1100([.]0{1,100})?)$",
            ),
            (None, "^-?(0|[1-9][0-9]{0,25})([.][0-9]{1,100})?$"),
        ] {
            assert_eq!(number_pattern(range).as_deref(), Some(pattern));
        }
        for range in [0.0..=0.5, 5.0..=5.0, 1e-9..=1e-3, 1e30..=1e31] {
            assert_eq!(number_pattern(Some(range)), None);
        }
    }

    /// Every whole number that may stand before the point is taken, and no other.
    #[test]
    fn patterns_take_the_range_and_nothing_else() {
        let mut runner = TestRunner::deterministic();
        for first in [0, 1, 7, 9, 10, 99, 100, 101, 250, 999] {
            for last in [0_u128, 1, 9, 10, 11, 99, 100, 109, 110, 199, 999, 1000, 1234] {
                if first > last {
                    continue;
                }
                let strategy = string_regex(&digits_pattern((first, last))).unwrap();
                let mut found = std::collections::BTreeSet::new();
                for _ in 0..2_000 {
                    let text = strategy.new_tree(&mut runner).unwrap().current();
                    assert!(text == "0" || !text.starts_with('0'), "{text}");
                    let number: u128 = text.parse().unwrap();
                    assert!((first..=last).contains(&number), "{number} in {first}..={last}");
                    found.insert(number);
                }
                if last - first < 20 {
                    assert_eq!(found.len() as u128, last - first + 1, "{first}..={last}");
                }
            }
        }
    }
}
