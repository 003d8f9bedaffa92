//! Numbers in forms that RFC 8259 has not, and that other formats have: `007`, `.5` and `1.`.
//!
//! A value is stored with the literal that was sent, as JSON. Such a literal is written anew, with
//! the same digits.

use crate::metric::number::scan_digits;

/// Returns the end of the decimal number that begins at `start`, with or without digits on either
/// side of its point; `None` if there is none.
pub(super) fn scan(text: &[u8], start: usize) -> Option<usize> {
    let whole = start + usize::from(text.get(start) == Some(&b'-'));
    let mut end = scan_digits(text, whole, &mut 0);
    let mut digits_count = end - whole;
    if text.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = scan_digits(text, fraction, &mut 0);
        digits_count += end - fraction;
    }
    if digits_count == 0 {
        return None;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let power = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = scan_digits(text, power, &mut 0);
        return (end > power).then_some(end);
    }
    Some(end)
}

/// Appends a number that [`scan`] found, as JSON writes it.
pub(super) fn append_json(literal: &[u8], out: &mut String) {
    let literal = std::str::from_utf8(literal).unwrap_or_default();
    let unsigned = literal.strip_prefix('-').unwrap_or(literal);
    let exponent = unsigned.find(['e', 'E']).unwrap_or(unsigned.len());
    let (digits, exponent) = unsigned.split_at_checked(exponent).unwrap_or_default();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let significant = whole.trim_start_matches('0');
    if unsigned.len() < literal.len() {
        out.push('-');
    }
    out.push_str(if significant.is_empty() { "0" } else { significant });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out.push_str(exponent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::number::scan_whole_number;
    use proptest::prelude::*;

    fn json(literal: &str) -> String {
        let mut out = String::new();
        append_json(literal.as_bytes(), &mut out);
        out
    }

    #[test]
    fn digits_stay_and_the_form_becomes_that_of_json() {
        for (literal, expected) in [
            ("007", "7"),
            ("000", "0"),
            ("-01.50", "-1.50"),
            (".5", "0.5"),
            ("-.5e-3", "-0.5e-3"),
            ("1.", "1"),
            ("1.e5", "1e5"),
            ("00.10E+02", "0.10E+02"),
        ] {
            assert_eq!(scan(literal.as_bytes(), 0), Some(literal.len()), "{literal}");
            assert_eq!(json(literal), expected, "{literal}");
        }
        for wrong in ["", "-", ".", "-.", ".e5", "1e", "1e+", "x"] {
            assert_eq!(scan(wrong.as_bytes(), 0), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_scanned_is_written_as_the_same_number(
            literal in "-?[0-9]{0,9}\\.?[0-9]{0,9}([eE][+-]?[0-9]{1,2})?",
        ) {
            prop_assume!(scan(literal.as_bytes(), 0) == Some(literal.len()));
            let written = json(&literal);
            prop_assert!(scan_whole_number(written.as_bytes()).is_some(), "{}", written);
            let values = [&literal, &written].map(|text| text.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!(values[0], values[1], "{}", written);
        }
    }
}
