//! The source of each value: a flag, a variable, the default, or this machine.

use std::collections::HashMap;
use std::fmt;

/// The source of each flag's value, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(HashMap<&'static str, String>);

impl Sources {
    /// Sets the source of a flag's value.
    pub(super) fn set(&mut self, flag: &'static str, source: &str) {
        self.0.insert(flag, source.to_owned());
    }

    /// Adds what this machine makes of a value, such as that of `auto`.
    pub fn derive(&mut self, flag: &'static str, value: impl fmt::Display) {
        *self.0.entry(flag).or_default() += &format!(", derived: {value}");
    }

    /// Returns the source of a flag's value.
    pub(super) fn get(&self, flag: &str) -> &str {
        self.0.get(flag).map_or("", String::as_str)
    }
}
