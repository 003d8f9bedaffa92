//! Durations and sizes as flags take them.

use std::fmt;
use std::time::Duration;

/// A duration as flags take it: `5m`, `1m 15s`.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(out)
    }
}

/// A size in the largest binary unit that divides it.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub usize);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let unit = units.iter().find(|(_, bits)| self.0 != 0 && self.0.trailing_zeros() >= *bits);
        match unit {
            Some((unit, bits)) => write!(out, "{}{unit}", self.0 >> bits),
            None => write!(out, "{}B", self.0),
        }
    }
}
