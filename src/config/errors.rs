//! The errors of a configuration, collected so that all are reported at once.

use std::fmt;

/// Errors of flags, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|error| writeln!(out, "corepulse: {error}"))
    }
}

impl ConfigErrors {
    /// Adds an error of a flag.
    pub(super) fn add(&mut self, flag: &str, expected: impl fmt::Display) {
        self.0.push(format!("--{flag}: {expected}"));
    }

    /// Returns a value, or adds the errors that were found in its place, a line each.
    pub(super) fn check<T>(&mut self, flag: &str, value: Result<T, String>) -> Option<T> {
        let add = |expected: String| expected.lines().for_each(|line| self.add(flag, line));
        value.map_err(add).ok()
    }

    /// Returns the result if there are no errors.
    pub(super) fn or<T>(self, value: Option<T>) -> Result<T, Self> {
        value.filter(|_| self.0.is_empty()).ok_or(self)
    }
}
