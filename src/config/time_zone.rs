//! `--time-zone`: the operator's clock, by its name in the IANA database, which is part of the
//! program.

use jiff::Timestamp;
use jiff::tz;

use super::formats::Format;

/// Changes of a zone's offset from the year 1970 to this second, the beginning of 2100, are known;
/// after it the last offset stays.
const KNOWN_UNTIL_S: i64 = 4_102_444_800;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone {
    name: String,
    /// The offset from UTC in 1970, in seconds.
    first: i32,
    /// Its changes: the time in seconds of Unix time, and the offset from then on.
    changes: Vec<(i64, i32)>,
}

impl TimeZone {
    /// Returns the zone of this name, which no lower or upper case tells from another one; `None`
    /// if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = tz::TimeZone::get(name).ok()?;
        let offset = |at| zone.to_offset(at).seconds();
        let changes = zone.following(Timestamp::UNIX_EPOCH).map(|change| {
            let at = change.timestamp();
            (at.as_second(), offset(at))
        });
        Some(Self {
            name: zone.iana_name().unwrap_or(name).to_owned(),
            first: offset(Timestamp::UNIX_EPOCH),
            changes: changes.take_while(|(from, _)| *from < KNOWN_UNTIL_S).collect(),
        })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the offset from UTC in 1970, in seconds, and what it changes to when.
    pub fn offsets(&self) -> (i32, &[(i64, i32)]) {
        (self.first, &self.changes)
    }
}

/// The name of a time zone.
pub(super) struct ZoneName;

impl Format for ZoneName {
    type Value = TimeZone;

    fn parse(&self, text: &str) -> Result<TimeZone, String> {
        let expected = "expected the name of a time zone, such as Europe/Berlin or UTC";
        TimeZone::named(text.trim()).ok_or_else(|| format!("{expected}, found {text:?}"))
    }

    fn print(&self, value: &TimeZone) -> String {
        value.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(zone: &TimeZone, at: i64) -> i32 {
        let passed = zone.changes.iter().take_while(|(from, _)| *from <= at);
        passed.last().map_or(zone.first, |(_, offset)| *offset)
    }

    #[test]
    fn offsets_are_those_of_the_zones() {
        // July and December 2025, and July 2099.
        for (name, expected) in [
            ("UTC", [0, 0, 0]),
            ("Europe/Berlin", [7200, 3600, 7200]),
            ("America/New_York", [-14_400, -18_000, -14_400]),
            ("Asia/Kolkata", [19_800, 19_800, 19_800]),
        ] {
            let zone = TimeZone::named(name).unwrap();
            let found = [1_751_328_000, 1_764_547_200, 4_086_547_200].map(|at| offset(&zone, at));
            assert_eq!((found, zone.name()), (expected, name));
            assert!(zone.changes.is_sorted_by(|a, b| a.0 < b.0) && zone.changes.len() < 400);
        }
    }

    #[test]
    fn a_name_that_is_none_is_told() {
        assert_eq!(TimeZone::named("europe/berlin").unwrap().name(), "Europe/Berlin");
        for wrong in ["", "Berlin", "Europe/Berlin ", "../etc/passwd", "+02:00"] {
            assert_eq!(TimeZone::named(wrong), None, "{wrong}");
        }
    }
}
