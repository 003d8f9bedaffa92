//! The hour of the operator's day: what is usual at nine on a working day is not at night.
//!
//! Pure: the offsets of a time zone are a table, made once when the server starts.

use super::judgement::HOURS;

/// An hour of the operator's day, or the part of one in which the offset does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalHour {
    /// Its begin and its end, in milliseconds of Unix time.
    from_ms: i64,
    until_ms: i64,
    number: u8,
}

impl LocalHour {
    /// An hour that no time is in.
    pub const NEVER: Self = Self { from_ms: 0, until_ms: 0, number: 0 };

    /// Returns its number, as [`LocalDay::hour`] does, if a time is in it.
    #[inline(always)]
    pub fn number_at(&self, ms: i64) -> Option<u8> {
        (self.from_ms <= ms && ms < self.until_ms).then_some(self.number)
    }
}

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
        let [(_, offset), _] = self.around(seconds);
        let seconds = seconds.saturating_add(offset.into());
        let hour = seconds.rem_euclid(86_400) / 3600;
        // The first of January 1970 was a Thursday.
        let is_weekend = matches!(seconds.div_euclid(86_400).rem_euclid(7), 2 | 3);
        hour as u8 + if is_weekend { (HOURS / 2) as u8 } else { 0 }
    }

    /// Returns the hour that a time is in. Most events come in the hour of the one before, and are
    /// spared all that is computed for it.
    #[cold]
    pub fn hour_of(&self, ms: i64) -> LocalHour {
        let seconds = ms.div_euclid(1000);
        let [(changed, offset), (changes, _)] = self.around(seconds);
        let begin = seconds - seconds.saturating_add(offset.into()).rem_euclid(3600);
        LocalHour {
            from_ms: begin.max(changed).saturating_mul(1000),
            until_ms: (begin + 3600).min(changes).saturating_mul(1000),
            number: self.hour(ms),
        }
    }

    /// Returns the offset at a time in seconds, and the next one, with the times from which on they
    /// hold.
    fn around(&self, seconds: i64) -> [(i64, i32); 2] {
        let passed = self.changes.partition_point(|(from, _)| *from <= seconds);
        let last = passed.checked_sub(1).and_then(|at| self.changes.get(at)).copied();
        let last = last.unwrap_or((i64::MIN, self.first));
        [last, self.changes.get(passed).copied().unwrap_or((i64::MAX, last.1))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        /// All times that are in the hour of another one have its number, also where the offset
        /// changes within it, and a time is in its own hour.
        #[test]
        fn all_times_of_an_hour_have_its_number(
            offsets in prop::array::uniform3(-50_000..50_000_i32),
            between in 1..10_000_i64,
            times in prop::collection::vec(-20_000_000..20_000_000_i64, 2..40),
        ) {
            let [first, second, third] = offsets;
            let day = LocalDay::new(first, vec![(-5_000, second), (between - 5_000, third)]);
            for ms in &times {
                let hour = day.hour_of(*ms);
                prop_assert_eq!(hour.number_at(*ms), Some(day.hour(*ms)));
                let (from, until) = (hour.from_ms, hour.until_ms);
                prop_assert!(until - from <= 3_600_000);
                for inside in [from, until - 1].iter().chain(&times) {
                    let number = hour.number_at(*inside);
                    prop_assert!(number.is_none_or(|number| number == day.hour(*inside)));
                }
            }
            for ms in [i64::MIN, i64::MIN + 1, i64::MAX - 1] {
                prop_assert_eq!(day.hour_of(ms).number_at(ms), Some(day.hour(ms)));
            }
            prop_assert_eq!(LocalHour::NEVER.number_at(0), None);
        }
    }
}
