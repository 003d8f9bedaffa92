//! Durations and sizes, written as flags take them.

use std::fmt;
use std::time::Duration;

/// A duration, such as `5m` or `1m 15s`.
#[derive(Clone, Copy, Debug)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(out)
    }
}

/// A size in bytes, in the largest binary unit that divides it.
#[derive(Clone, Copy, Debug)]
pub struct HumanSize(pub usize);

impl fmt::Display for HumanSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let unit = units.iter().find(|(_, bits)| self.0 != 0 && self.0.trailing_zeros() >= *bits);
        match unit {
            Some((unit, bits)) => write!(out, "{}{unit}", self.0 >> bits),
            None => write!(out, "{}B", self.0),
        }
    }
}
