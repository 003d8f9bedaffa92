//! Fields: the members of an event that hold its values, in the words of the server's `--fields`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a field.
const NAME_BYTES_MAX: usize = 64;
/// Every column of numbers; no field is called so.
pub(crate) const NUMERIC: &str = "*";

/// A field by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    /// Every event has it; a cell of an optional field may be empty.
    pub(crate) is_required: bool,
}

/// The fields that are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    Listed(Vec<Field>),
    /// Every column whose cells are numbers or empty, under the name that it has in the header.
    Numeric,
}

impl Fields {
    /// Returns true if all fields of the other list are in this one.
    pub(crate) fn has_all(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listed(own), Self::Listed(others)) => others
                .iter()
                .all(|other| own.iter().any(|field| field.name.eq_ignore_ascii_case(&other.name))),
            (Self::Numeric, _) => true,
            (Self::Listed(_), Self::Numeric) => false,
        }
    }
}

impl FromStr for Fields {
    type Err = String;

    /// Reads the list that the server reads as well: of each field the name, and the `?` of an
    /// optional one. Ranges and deviations are the server's matter.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == NUMERIC {
            return Ok(Self::Numeric);
        }
        let mut fields: Vec<Field> = Vec::new();
        for item in text.split(',').map(str::trim) {
            let (name, rest) = item.split_at(item.find(['?', '=', '~']).unwrap_or(item.len()));
            if !is_name(name) {
                return Err(format!("`{item}`: expected a field such as cpu or cpu?=0..100"));
            }
            if fields.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
                return Err(format!("two fields are called `{name}`"));
            }
            fields.push(Field { name: name.into(), is_required: !rest.starts_with('?') });
        }
        Ok(Self::Listed(fields))
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numeric => f.write_str(NUMERIC),
            Self::Listed(fields) => {
                let names: Vec<_> = fields.iter().map(|field| &*field.name).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// Returns true if a field may be called so.
pub(crate) fn is_name(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_list_is_read() {
        let text = "temperature?=-40..125~0.5, humidity=0..100,battery?,load~2";
        let Fields::Listed(fields) = text.parse().unwrap() else { panic!("not a list") };
        let found: Vec<_> = fields.iter().map(|f| (&*f.name, f.is_required)).collect();
        let expected =
            [("temperature", false), ("humidity", true), ("battery", false), ("load", true)];
        assert_eq!(found, expected);
        assert_eq!("*".parse(), Ok(Fields::Numeric));
    }

    #[test]
    fn a_list_with_a_mistake_is_refused() {
        let long = "a".repeat(65);
        for wrong in ["", "a,", "a,,b", "?", "a b", "load %", "*,a", &long] {
            let error = wrong.parse::<Fields>().unwrap_err();
            assert!(error.contains("expected a field such as"), "{wrong}: {error}");
        }
        assert_eq!("a,b,A?".parse::<Fields>(), Err("two fields are called `A`".to_owned()));
    }
}
