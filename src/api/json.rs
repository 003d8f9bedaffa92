//! JSON of answers: values that serialize as the API writes them.

use std::fmt;

use serde::{Serialize, Serializer};
use sonic_rs::RawNumber;

pub use crate::fleet::json::read;
use percore::http::response::{Field, JSON, Response};

/// A number in its shortest decimal form that reads back the same, or `null` where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number(pub Option<f64>);

/// The largest number up to which every whole number is a double.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The smallest number that sonic-rs writes without an exponent.
const PLAIN_MIN: f64 = 1e-5;

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(value) = self.0.filter(|value| value.is_finite()) else {
            return serializer.serialize_none();
        };
        let is_whole = value.fract() == 0.0;
        if is_whole && value.abs() <= WHOLE_MAX && value.to_bits() != (-0.0_f64).to_bits() {
            // sonic-rs would write ".0" behind it.
            serializer.serialize_i64(value as i64)
        } else if !is_whole && value.abs() >= PLAIN_MIN {
            serializer.serialize_f64(value)
        } else {
            serialize_rare(value, serializer)
        }
    }
}

/// Serializes a number that sonic-rs would write with an exponent or with ".0". Numbers from 1e-7
/// to 1e21 have no exponent; without one, the smallest doubles would take three hundred digits.
#[cold]
fn serialize_rare<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    let is_plain = value == 0.0 || (1e-7..1e21).contains(&value.abs());
    let text = if is_plain { format!("{value}") } else { format!("{value:e}") };
    let number: RawNumber = sonic_rs::from_str(&text).map_err(serde::ser::Error::custom)?;
    number.serialize(serializer)
}

/// A value whose `Display` form is a JSON string.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A value that is passed on as it came.
pub type Raw = sonic_rs::OwnedLazyValue;

/// Returns the head of an answer that is out of date when the next event comes, so that no cache
/// keeps it.
pub const fn live(route: usize) -> Response {
    Response { field: Some(Field::CacheControl("no-store")), ..Response::ok(JSON, route) }
}

/// Appends the JSON of a value, and a newline for those who read it in a terminal.
pub fn append_line(out: &mut Vec<u8>, value: &impl Serialize) {
    append(out, value);
    out.push(b'\n');
}

/// Appends the JSON of a value.
pub fn append(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing into memory cannot fail, and neither can the values of answers.
    let _ = sonic_rs::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        append(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// The form of numbers, as the standard library writes it.
    fn expected(value: f64) -> String {
        if value != 0.0 && !(1e-7..1e21).contains(&value.abs()) {
            format!("{value:e}")
        } else {
            format!("{value}")
        }
    }

    #[test]
    fn numbers_are_the_shortest_that_read_back() {
        for (value, text) in [
            (Some(0.1), "0.1"),
            (Some(0.0), "0"),
            (Some(-0.0), "-0"),
            (Some(42.25), "42.25"),
            (Some(1e12), "1000000000000"),
            (Some(51.846_000_000_000_004), "51.846000000000004"),
            (Some(-2.0), "-2"),
            (Some(1e-5), "0.00001"),
            (Some(1e-7), "0.0000001"),
            (Some(-5e-324), "-5e-324"),
            (Some(1.5e21), "1.5e21"),
            (Some(f64::NAN), "null"),
            (None, "null"),
        ] {
            assert_eq!(written(&Number(value)), text);
        }
    }

    #[test]
    fn numbers_of_all_magnitudes_have_one_form() {
        for exponent in -30..=30 {
            for digits in ["1", "-1", "1.5", "9.999999999999999", "1.2345678901234567"] {
                let value: f64 = format!("{digits}e{exponent}").parse().unwrap();
                assert_eq!(written(&Number(Some(value))), expected(value));
            }
        }
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(written(&Text(format_args!("x\"{}\\", 1))), r#""x\"1\\""#);
        assert_eq!(written(&Some(Text('\u{1}'))), r#""\u0001""#);
    }

    proptest! {
        #[test]
        fn numbers_are_as_short_as_the_standard_library_s(value in any::<f64>()) {
            // Of two shortest forms the one or the other may be written: …92.62 and …92.63 are
            // both ….625.
            let written = written(&Number(Some(value)));
            prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits());
            prop_assert_eq!(written.len(), expected(value).len());
        }
    }
}
