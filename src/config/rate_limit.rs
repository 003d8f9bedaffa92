//! Limits of rates: `100:1,2000:60` are at most 100 events in a second and 2,000 in a minute.

use std::fmt;
use std::str::FromStr;

use super::formats::{Format, NOT_SET};
use crate::gcra::{Pace, Paces};
use crate::limits::{RATE_EVENTS_MAX, RATE_PAIRS_MAX, RATE_PER_SECOND_MAX, RATE_SECONDS_MAX};

/// So many events in so many seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    events: u32,
    seconds: u32,
}

impl Pair {
    /// Reads `events:seconds`; `None` if it is anything else or out of range.
    fn parse(text: &str) -> Option<Self> {
        let (events, seconds) = text.split_once(':')?;
        let number = |text: &str, max: u32| {
            // Rust would take a sign as well.
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u32>().ok().filter(|_| is_number)?;
            (1..=max).contains(&number).then_some(number)
        };
        let seconds = number(seconds, RATE_SECONDS_MAX)?;
        let events = number(events, RATE_EVENTS_MAX)?;
        Some(Self { events, seconds })
    }

    const fn is_too_fast(self) -> bool {
        self.events.div_ceil(self.seconds) > RATE_PER_SECOND_MAX
    }
}

/// A limit of events: pairs of events and seconds, 1 to [`RATE_PAIRS_MAX`], all of which hold at
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pairs: [Pair; RATE_PAIRS_MAX],
    count: usize,
}

impl RateLimit {
    fn iter(&self) -> impl Iterator<Item = Pair> {
        self.pairs.iter().take(self.count).copied()
    }

    /// Returns the paces that events have to keep to.
    pub fn paces(&self) -> Paces {
        self.iter().map(|pair| Pace::new(pair.events, pair.seconds)).collect()
    }

    /// Returns the longest of the periods, in seconds.
    pub fn seconds_max(&self) -> u32 {
        self.iter().map(|pair| pair.seconds).max().unwrap_or_default()
    }
}

impl FromStr for RateLimit {
    type Err = String;

    /// Reads the pairs. The error has a line for each mistake.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut mistakes = Vec::new();
        let mut pairs: Vec<Pair> = Vec::new();
        for entry in text.split(',').map(str::trim) {
            match Pair::parse(entry) {
                None => mistakes.push(format!(
                    "expected EVENTS:SECONDS such as 100:1, whole numbers from 1 to \
                     {RATE_EVENTS_MAX} and from 1 to {RATE_SECONDS_MAX}, found {entry:?}"
                )),
                Some(pair) if pair.is_too_fast() => mistakes.push(format!(
                    "expected at most {RATE_PER_SECOND_MAX} events a second, found {entry:?}"
                )),
                Some(pair) if pairs.iter().any(|other| other.seconds == pair.seconds) => mistakes
                    .push(format!("expected other seconds than those before, found {entry:?}")),
                Some(pair) => pairs.push(pair),
            }
        }
        let entries = text.split(',').count();
        if entries > RATE_PAIRS_MAX {
            mistakes.push(format!("expected at most {RATE_PAIRS_MAX} pairs, found {entries}"));
        }
        if !mistakes.is_empty() {
            return Err(mistakes.join("\n"));
        }
        let mut limit = Self { pairs: [Pair::default(); RATE_PAIRS_MAX], count: pairs.len() };
        limit.pairs.iter_mut().zip(pairs).for_each(|(place, pair)| *place = pair);
        Ok(limit)
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Pair { events, seconds }) in self.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}{events}:{seconds}")?;
        }
        Ok(())
    }
}

/// A limit, or none if the flag is not given.
pub(super) struct OptionalRateLimit;

impl Format for OptionalRateLimit {
    type Value = Option<RateLimit>;

    fn parse(&self, text: &str) -> Result<Option<RateLimit>, String> {
        text.parse().map(Some)
    }

    fn print(&self, value: &Option<RateLimit>) -> String {
        value.map_or_else(|| NOT_SET.to_owned(), |limit| limit.to_string())
    }

    fn read(&self, given: Option<&str>) -> Result<Option<RateLimit>, String> {
        given.map_or(Ok(None), |text| self.parse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mistakes(text: &str) -> Vec<String> {
        let error = text.parse::<RateLimit>().unwrap_err();
        error.lines().map(str::to_owned).collect()
    }

    #[test]
    fn pairs_are_read_as_they_are_written() {
        let limit: RateLimit = " 100:1, 2000:60 ".parse().unwrap();
        assert_eq!(limit.to_string(), "100:1,2000:60");
        assert_eq!((limit.paces().count(), limit.seconds_max()), (2, 60));
        let most = "1000000:1,100000000:86400,1:2,3:4";
        assert_eq!(most.parse::<RateLimit>().unwrap().to_string(), most);
    }

    #[test]
    fn each_mistake_has_its_line() {
        for wrong in [
            "",
            "100",
            "100:",
            ":1",
            "0:1",
            "1:0",
            "-1:1",
            "+1:1",
            "1.5:1",
            "1:1s",
            "1:1:1",
            "1 :1",
            "a:b",
            "1:86401",
            "100000001:86400",
            "99999999999999999999:1",
        ] {
            let found = mistakes(wrong);
            let expected = found.len() == 1 && found[0].starts_with("expected EVENTS:SECONDS such");
            assert!(expected && found[0].ends_with(&format!("found {wrong:?}")), "{found:?}");
        }
        let all = mistakes("x,1000001:1,5:7,6:7,1:1");
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all[0].ends_with("found \"x\""));
        assert_eq!(all[1], "expected at most 1000000 events a second, found \"1000001:1\"");
        assert_eq!(all[2], "expected other seconds than those before, found \"6:7\"");
        assert_eq!(all[3], "expected at most 4 pairs, found 5");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(
            pairs in prop::collection::btree_map(1..=RATE_SECONDS_MAX, 1..=1_000_000_u32, 1..=4),
        ) {
            let written = pairs.iter().map(|(seconds, events)| format!("{events}:{seconds}"));
            let written: Vec<_> = written.collect();
            let limit: RateLimit = written.join(",").parse().unwrap();
            prop_assert_eq!(limit.to_string(), written.join(","));
            prop_assert_eq!(limit.paces().count(), pairs.len());
            prop_assert_eq!(limit.seconds_max(), *pairs.keys().max().unwrap());
        }

        #[test]
        fn any_text_is_survived(text in "[0-9:, a-z+-]{0,30}|\\PC*") {
            match text.parse::<RateLimit>() {
                Ok(limit) => prop_assert_eq!(limit.to_string().parse::<RateLimit>(), Ok(limit)),
                Err(error) => prop_assert!(!error.is_empty()),
            }
        }
    }
}
