//! Moments: an integer by its magnitude or an RFC 3339 time, in milliseconds since 1970 and back.
//!
//! Devices send seconds, milliseconds, microseconds or nanoseconds without saying which. The
//! ranges meet where no honest clock stands: 5e9 is the year 2128 in seconds and the 27th of
//! February 1970 in milliseconds, and so on by factors of a thousand.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339 as WellKnown;

/// Below this an integer counts seconds.
const SECONDS_END: u64 = 5_000_000_000;
/// Below this an integer counts milliseconds.
const MILLISECONDS_END: u64 = SECONDS_END * 1000;
/// Below this an integer counts microseconds.
const MICROSECONDS_END: u64 = MILLISECONDS_END * 1000;
/// Below this an integer counts nanoseconds; from here on it is no moment.
const NANOSECONDS_END: u64 = MICROSECONDS_END * 1000;

/// The last millisecond of the year 9999, the end of RFC 3339.
const LAST_MS: i64 = 253_402_300_799_999;

// Every moment that an integer can mean can also be written as RFC 3339.
const _: () = assert!((SECONDS_END as i64) * 1000 < LAST_MS);

/// Milliseconds since 1970 of an integer in the unit that its magnitude says; `None` from 5e18 on.
/// What is finer than a millisecond is cut off.
#[must_use]
pub fn from_integer(integer: u64) -> Option<i64> {
    let ms = match integer {
        0..SECONDS_END => integer * 1000,
        SECONDS_END..MILLISECONDS_END => integer,
        MILLISECONDS_END..MICROSECONDS_END => integer / 1000,
        MICROSECONDS_END..NANOSECONDS_END => integer / 1_000_000,
        _ => return None,
    };
    i64::try_from(ms).ok()
}

/// Milliseconds since 1970 of an RFC 3339 time; `None` for another form, a date that is none, and
/// a time before 1970. What is finer than a millisecond is cut off.
///
/// A leap second (`23:59:60Z` at the end of a month) reads as the last millisecond before it ends,
/// so order survives; a second 60 anywhere else is refused.
#[must_use]
pub fn from_rfc3339(text: &str) -> Option<i64> {
    // RFC 3339, section 5.6: the separator is a "T", in either case. `time` takes any byte there.
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let moment = OffsetDateTime::parse(text, &WellKnown).ok()?;
    let since_epoch_ns = moment.unix_timestamp_nanos();
    if since_epoch_ns < 0 {
        return None;
    }
    i64::try_from(since_epoch_ns / 1_000_000).ok()
}

/// Milliseconds since 1970, displayed as RFC 3339 in UTC with milliseconds:
/// `2026-11-23T08:02:37.123Z`. A moment outside the years 1970 to 9999 is shown as the nearest
/// inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339(pub i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.clamp(0, LAST_MS);
        let second =
            OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = second.to_calendar_date();
        let (hour, minute, second) = second.to_hms();
        let month = u8::from(month);
        let thousandth = ms % 1000;
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{thousandth:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_magnitude_says_the_unit() {
        for (integer, ms) in [
            (0, 0),
            (1, 1000),
            (1_795_420_957, 1_795_420_957_000),
            (4_999_999_999, 4_999_999_999_000),
            (5_000_000_000, 5_000_000_000),
            (1_795_420_957_123, 1_795_420_957_123),
            (4_999_999_999_999, 4_999_999_999_999),
            (5_000_000_000_000, 5_000_000_000),
            (1_795_420_957_123_456, 1_795_420_957_123),
            (4_999_999_999_999_999, 4_999_999_999_999),
            (5_000_000_000_000_000, 5_000_000_000),
            (1_795_420_957_123_456_789, 1_795_420_957_123),
            (4_999_999_999_999_999_999, 4_999_999_999_999),
        ] {
            assert_eq!(from_integer(integer), Some(ms), "{integer}");
        }
        assert_eq!(from_integer(5_000_000_000_000_000_000), None);
        assert_eq!(from_integer(u64::MAX), None);
    }

    #[test]
    fn rfc_3339_is_read_strictly() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.0009Z", 0),
            ("2026-11-23T08:02:37Z", 1_795_420_957_000),
            ("2026-11-23t08:02:37z", 1_795_420_957_000),
            ("2026-11-23T08:02:37.1Z", 1_795_420_957_100),
            ("2026-11-23T08:02:37.123456789Z", 1_795_420_957_123),
            ("2026-11-23T08:02:37.1239999999999Z", 1_795_420_957_123),
            ("2026-11-23T10:02:37.123+02:00", 1_795_420_957_123),
            ("2026-11-23T02:32:37.123-05:30", 1_795_420_957_123),
            ("2026-11-23T08:02:37-00:00", 1_795_420_957_000),
            ("1969-12-31T23:00:00-01:00", 0),
            ("9999-12-31T23:59:59.999Z", LAST_MS),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999),
            ("2016-12-31T15:59:60.5-08:00", 1_483_228_799_999),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ] {
            assert_eq!(from_rfc3339(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "Z",
            "2026-11-23",
            "2026-11-23T08:02:37",
            "2026-11-23 08:02:37Z",
            "2026-11-23_08:02:37Z",
            "2026-11-23T08:02Z",
            "2026-11-23T08:02:37.Z",
            "2026-11-23T08:02:37,5Z",
            "2026-11-23T08:02:37+0200",
            "2026-11-23T08:02:37+02",
            "2026-11-23T08:02:37+24:00",
            "2026-11-23T08:02:37+02:60",
            "2026-11-23T08:02:37Z ",
            " 2026-11-23T08:02:37Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T08:60:00Z",
            "2026-11-23T08:02:60Z",
            "2026-11-23T08:02:61Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "02026-11-23T08:02:37Z",
            "+002026-11-23T08:02:37Z",
            "20261123T080237Z",
            "2026-W47-1T08:02:37Z",
            "1969-12-31T23:59:59.9999Z",
            "1970-01-01T00:59:59+01:00",
            "0000-01-01T00:00:00Z",
            "２026-11-23T08:02:37Z",
            "1795420957",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_moment_is_shown_in_utc_with_milliseconds() {
        assert_eq!(Rfc3339(1_795_420_957_123).to_string(), "2026-11-23T08:02:37.123Z");
        assert_eq!(Rfc3339(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Rfc3339(7).to_string(), "1970-01-01T00:00:00.007Z");
        assert_eq!(Rfc3339(-1).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Rfc3339(i64::MIN).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Rfc3339(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(ms in 0..=LAST_MS) {
            prop_assert_eq!(from_rfc3339(&Rfc3339(ms).to_string()), Some(ms));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*|[0-9TtZz:.+-]{0,40}") {
            let _ = from_rfc3339(&text);
        }
    }
}
