//! Numbers that are off unless they are given.

use super::formats::{Format, Number};

/// A whole number, or `off`.
pub(super) struct Off(pub Number);

impl Format for Off {
    type Value = Option<usize>;

    fn parse(&self, text: &str) -> Result<Option<usize>, String> {
        if text.trim() == "off" {
            return Ok(None);
        }
        let number = self.0.parse(text).map(Some);
        number.map_err(|error| error.replacen("expected", "expected off, or", 1))
    }

    fn print(&self, value: &Option<usize>) -> String {
        value.map_or("off".to_owned(), |number| number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_off_and_nothing_else() {
        let format = Off(Number(2..=9));
        for (text, value) in [("off", None), (" off ", None), ("2", Some(2)), ("9", Some(9))] {
            assert_eq!(format.parse(text), Ok(value), "{text}");
        }
        assert_eq!([None, Some(7)].map(|value| format.print(&value)), ["off", "7"]);
        for wrong in ["", "1", "10", "none", "-3", "Off"] {
            let error = format.parse(wrong).unwrap_err();
            let expected = "expected off, or a whole number from 2 to 9, found";
            assert_eq!(error, format!("{expected} {wrong:?}"));
        }
    }
}
