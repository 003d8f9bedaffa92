//! Precisions: the units of timestamps in line protocol, as the parameter `precision` names them.

use crate::metric::timestamp::{Timestamp, UnixTime};

/// The unit of the timestamps of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The unit is told by the magnitude of each integer, as in JSON. InfluxDB 3 has it so by
    /// default, and the others nanoseconds, which no recent time can be mistaken for.
    Auto,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// The names of precisions: those of version 2, and those that only version 1 has.
const NAMES: [(&str, Precision); 10] = [
    ("auto", Precision::Auto),
    ("ns", Precision::Nanoseconds),
    ("us", Precision::Microseconds),
    ("ms", Precision::Milliseconds),
    ("s", Precision::Seconds),
    ("n", Precision::Nanoseconds),
    ("u", Precision::Microseconds),
    ("\u{b5}", Precision::Microseconds),
    ("m", Precision::Minutes),
    ("h", Precision::Hours),
];

impl Precision {
    /// Returns the precision of this name; `None` if there is none.
    pub fn of(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, precision)| *precision)
    }

    /// Returns the time of an integer; `None` if it is none. An integer is kept as it was sent
    /// where its magnitude tells the unit that it has.
    #[inline]
    pub(in crate::metric) fn time(self, integer: u64) -> Option<Timestamp> {
        let known = Timestamp::of_integer(integer);
        let (ms, unit_ns) = match self {
            Self::Auto => return known,
            Self::Nanoseconds => (integer / 1_000_000, 1),
            Self::Microseconds => (integer / 1000, 1000),
            Self::Milliseconds => (integer, 1_000_000),
            Self::Seconds => (integer.checked_mul(1000)?, 1_000_000_000),
            Self::Minutes => (integer.checked_mul(60_000)?, 60_000_000_000),
            Self::Hours => (integer.checked_mul(3_600_000)?, 3_600_000_000_000),
        };
        known
            .filter(|known| i64::try_from(ms) == Ok(known.ms))
            .or_else(|| UnixTime::from_ns(i128::from(integer) * unit_ns).map(Timestamp::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_counts_its_unit() {
        // The milliseconds, and the integer in keys if that is not the one that was sent.
        for (name, integer, ms, key) in [
            ("auto", 1_795_420_957, 1_795_420_957_000, None),
            ("auto", 1_795_420_957_123_456_789, 1_795_420_957_123, None),
            ("ns", 1_795_420_957_123_456_789, 1_795_420_957_123, None),
            ("n", 1_795_420_957_123_456_789, 1_795_420_957_123, None),
            ("us", 1_795_420_957_123_456, 1_795_420_957_123, None),
            ("u", 1_795_420_957_123_456, 1_795_420_957_123, None),
            ("ms", 1_795_420_957_123, 1_795_420_957_123, None),
            ("s", 1_795_420_957, 1_795_420_957_000, None),
            ("m", 29_923_682, 1_795_420_920_000, Some(1_795_420_920_000)),
            ("h", 498_728, 1_795_420_800_000, Some(1_795_420_800_000)),
            ("ns", 1_795_420_957, 1_795, Some(1_795_420_957)),
            ("us", 1_795_420_957, 1_795_420, Some(1_795_420_957)),
            ("ms", 1_000, 1_000, Some(1_000)),
            ("s", 5_000_000_000, 5_000_000_000_000, Some(5_000_000_000_000)),
            ("ns", 0, 0, None),
            ("h", 0, 0, None),
        ] {
            let found = Precision::of(name).and_then(|precision| precision.time(integer));
            let key = key.unwrap_or(integer);
            assert_eq!(found, Some(Timestamp { key, ms }), "{integer} {name}");
        }
        for (name, integer) in
            [("auto", 5_000_000_000_000_000_000), ("s", u64::MAX), ("h", u64::MAX)]
        {
            assert_eq!(Precision::of(name).unwrap().time(integer), None, "{integer} {name}");
        }
        for unknown in ["", "NS", "sec", "d"] {
            assert_eq!(Precision::of(unknown), None, "{unknown}");
        }
    }
}
