//! The hour of the operator's day: what is usual at nine on a working day is not at night.
//!
//! Pure: the offsets of a time zone are a table, made once when the server starts.

use super::judgement::HOURS;

/// Offsets from UTC, each from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDay {
    /// The offset before the first change, in seconds.
    first: i32,
    /// When the offset changes, in seconds of Unix time, ascending, and what it is from then on.
    changes: Vec<(i64, i32)>,
}

impl LocalDay {
    /// The day by UTC.
    pub const UTC: Self = Self { first: 0, changes: Vec::new() };

    /// Returns the day by a clock that has this offset from UTC, in seconds, until it changes at
    /// these times of Unix time, which ascend.
    pub const fn new(first: i32, changes: Vec<(i64, i32)>) -> Self {
        Self { first, changes }
    }

    /// Returns the hour of the day at a time in milliseconds of Unix time, 24 more on Saturdays and
    /// Sundays.
    pub fn hour(&self, ms: i64) -> u8 {
        let seconds = ms.div_euclid(1000);
        let seconds = seconds.saturating_add(self.offset(seconds).into());
        let hour = seconds.rem_euclid(86_400) / 3600;
        // The first of January 1970 was a Thursday.
        let is_weekend = matches!(seconds.div_euclid(86_400).rem_euclid(7), 2 | 3);
        hour as u8 + if is_weekend { (HOURS / 2) as u8 } else { 0 }
    }

    fn offset(&self, seconds: i64) -> i32 {
        let passed = self.changes.partition_point(|(from, _)| *from <= seconds);
        let last = passed.checked_sub(1).and_then(|at| self.changes.get(at));
        last.map_or(self.first, |(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_the_clock() {
        // Saturday, 25 October 2025, 22:30 UTC.
        let at = 1_761_431_400_000;
        assert_eq!(LocalDay::UTC.hour(at), 24 + 22);
        // In Berlin it is half past midnight, and an hour on Sunday that comes twice.
        let berlin = LocalDay::new(3600, vec![(1_743_296_400, 7200), (1_761_440_400, 3600)]);
        assert_eq!(berlin.hour(at), 24);
        assert_eq!([1, 2, 3].map(|hours| berlin.hour(at + hours * 3_600_000)), [25, 26, 26]);
        // Monday.
        assert_eq!(berlin.hour(at + 24 * 3_600_000 + 1_800_000), 0);
    }

    #[test]
    fn hours_follow_each_other_however_far_away_they_are() {
        for ms in [i64::MIN, -1, 0, i64::MAX] {
            let day = LocalDay::new(-86_400, vec![(0, 86_400)]);
            assert!(
                usize::from(day.hour(ms)) < HOURS && usize::from(LocalDay::UTC.hour(ms)) < HOURS
            );
        }
        assert_eq!(LocalDay::UTC.hour(-1), 23);
    }
}
