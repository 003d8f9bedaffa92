//! Timestamps: numbers in a unit told by their magnitude, or dates with times.
//!
//! Devices send seconds, milliseconds, microseconds or nanoseconds without naming the unit. The
//! ranges meet where no correct clock is: 5e9 is the year 2128 in seconds and 27 February 1970 in
//! milliseconds, and so on by factors of a thousand. Other devices send a date as their library
//! writes it, which is ISO 8601 more often than RFC 3339.
//!
//! A timestamp is part of keys. An integer is kept there as it was sent; any other timestamp is
//! written in the coarsest of milliseconds, microseconds and nanoseconds that is exact.

use std::fmt;

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

use crate::metric::number::{Decimal, Number, scan_whole_number};

/// Below this an integer counts seconds.
const SECONDS_END: u64 = 5_000_000_000;
/// Below this an integer counts milliseconds.
pub(super) const MILLISECONDS_END: u64 = SECONDS_END * 1000;
/// Below this an integer counts microseconds.
const MICROSECONDS_END: u64 = MILLISECONDS_END * 1000;
/// Below this an integer counts nanoseconds; from here on it is no time.
const NANOSECONDS_END: u64 = MICROSECONDS_END * 1000;

/// The same limits for a number in any notation: the magnitude at which a unit ends if the first
/// digit is [`END_DIGIT`] or larger, and the power of ten that converts the unit to nanoseconds.
const UNIT_ENDS: [(i64, i64); 4] = [(9, 9), (12, 6), (15, 3), (18, 0)];
const END_DIGIT: u8 = 5;

/// The last millisecond of the year 9999, where RFC 3339 ends.
const LAST_MS: i64 = 253_402_300_799_999;

// Every time that an integer can mean can also be written in RFC 3339.
const _: () = assert!((SECONDS_END as i64) * 1000 < LAST_MS);

/// A time since 1970, exact to the nanosecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime {
    ms: i64,
    /// Nanoseconds in addition, fewer than a million.
    beyond_ns: u32,
}

impl UnixTime {
    /// Returns the time so many nanoseconds after 1970; `None` before 1970, and if the milliseconds
    /// do not fit.
    pub(super) fn from_ns(ns: i128) -> Option<Self> {
        let ms = i64::try_from(ns.div_euclid(1_000_000)).ok().filter(|ms| *ms >= 0)?;
        let beyond_ns = u32::try_from(ns.rem_euclid(1_000_000)).ok()?;
        Some(Self { ms, beyond_ns })
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn ms(self) -> i64 {
        self.ms
    }

    /// The integer that keys contain: in the coarsest of milliseconds, microseconds and nanoseconds
    /// that is exact.
    pub fn key(self) -> i128 {
        let (ms, beyond_ns) = (i128::from(self.ms), i128::from(self.beyond_ns));
        match beyond_ns {
            0 => ms,
            _ if beyond_ns % 1000 == 0 => ms * 1000 + beyond_ns / 1000,
            _ => ms * 1_000_000 + beyond_ns,
        }
    }
}

/// The timestamp of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timestamp {
    /// The integer that keys contain.
    pub(super) key: u64,
    /// Milliseconds since 1970.
    pub(super) ms: i64,
}

impl Timestamp {
    /// Returns the timestamp of an integer, which is kept as it was sent.
    #[inline]
    pub(super) fn of_integer(integer: u64) -> Option<Self> {
        from_integer(integer).map(|ms| Self { key: integer, ms })
    }
}

impl From<UnixTime> for Timestamp {
    fn from(time: UnixTime) -> Self {
        // A time that does not fit is refused, as it is in the future.
        Self { key: u64::try_from(time.key()).unwrap_or(u64::MAX), ms: time.ms() }
    }
}

/// Returns the milliseconds since 1970 of an integer, whose magnitude tells its unit; `None` from
/// 5e18 on. Parts of a millisecond are cut off.
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

/// Returns the time of a scanned number, whose magnitude tells its unit; `None` below zero, and
/// from 5e18 on.
pub(super) fn from_number(number: Number, literal: &[u8]) -> Option<Timestamp> {
    if let Some(integer) = number.integer() {
        return Timestamp::of_integer(integer);
    }
    let decimal = Decimal::of(literal);
    if number.is_negative() && decimal.magnitude().is_some() {
        return None;
    }
    from_decimal(decimal).map(Timestamp::from)
}

/// Returns the time of a decimal number. Parts of a nanosecond are cut off.
fn from_decimal(decimal: Decimal<'_>) -> Option<UnixTime> {
    let Some(magnitude) = decimal.magnitude() else {
        return Some(UnixTime::default());
    };
    let is_late = decimal.digits().next() >= Some(END_DIGIT);
    let is_before = |end: i64| magnitude < end || (magnitude == end && !is_late);
    let (_, power) = UNIT_ENDS.into_iter().find(|(end, _)| is_before(*end))?;
    // The digits that make whole nanoseconds; nineteen at most, by the limits above.
    let whole = usize::try_from(magnitude.saturating_add(power + 1)).unwrap_or(0);
    let digits = decimal.digits().chain(std::iter::repeat(0)).take(whole);
    UnixTime::from_ns(digits.fold(0, |ns, digit| ns * 10 + i128::from(digit)))
}

/// Returns the time of a text: a number, or a date and a time as [`from_iso_8601`] reads them.
pub(super) fn from_text(text: &[u8]) -> Option<Timestamp> {
    match scan_whole_number(text) {
        Some(number) => from_number(number, text),
        None => from_iso_8601(text).map(Timestamp::from),
    }
}

/// Returns the time of `2026-11-23T08:02:37.123456789+01:00` and of the variants that libraries
/// write: a blank instead of the T, no seconds, a comma before the fraction, a blank before the
/// offset, an offset without its colon or its minutes, `UTC`, or no offset, which means UTC. `None`
/// for any other form, an impossible date, and a time before 1970. Parts of a nanosecond are cut
/// off.
///
/// A leap second (`23:59:60Z` at the end of a month) is read as the last nanosecond before its end,
/// which keeps the order of events; a second 60 anywhere else is refused.
pub fn from_iso_8601(text: &[u8]) -> Option<UnixTime> {
    let mut rest = Cursor(text);
    let year = rest.digits(4)?;
    rest.take(b"-")?;
    let month = rest.digits(2)?;
    rest.take(b"-")?;
    let date = Date::from_calendar_date(
        i32::try_from(year).ok()?,
        Month::try_from(u8::try_from(month).ok()?).ok()?,
        u8::try_from(rest.digits(2)?).ok()?,
    );
    rest.take(b"Tt ")?;
    let hour = rest.digits(2)?;
    rest.take(b":")?;
    let minute = rest.digits(2)?;
    let (mut second, mut fraction_ns) = (0, 0);
    if rest.take(b":").is_some() {
        second = rest.digits(2)?;
        if rest.take(b".,").is_some() {
            fraction_ns = rest.fraction_ns()?;
        }
    }
    let is_leap = second == 60;
    if is_leap {
        (second, fraction_ns) = (59, 999_999_999);
    }
    let [hour, minute, second] = [hour, minute, second].map(|part| u8::try_from(part).ok());
    let time = Time::from_hms_nano(hour?, minute?, second?, fraction_ns).ok()?;
    let moment = date.ok()?.with_time(time).assume_offset(rest.offset()?);
    if is_leap && !is_end_of_month(moment) {
        return None;
    }
    UnixTime::from_ns(moment.unix_timestamp_nanos())
}

/// Returns true if this second is the last of a month in UTC.
fn is_end_of_month(moment: OffsetDateTime) -> bool {
    moment.checked_to_offset(UtcOffset::UTC).is_some_and(|utc| {
        let is_last_day = utc.day() == utc.month().length(utc.year());
        is_last_day && (utc.hour(), utc.minute(), utc.second()) == (23, 59, 59)
    })
}

/// The rest of a date and a time that is still to be read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// Reads so many digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0'))
        })
    }

    /// Reads one of these bytes.
    fn take(&mut self, any_of: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        any_of.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    /// Reads the digits of a fraction of a second, at least one.
    fn fraction_ns(&mut self) -> Option<u32> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let digits = digits.iter().map(|byte| u32::from(byte - b'0'));
        let ns = digits.chain(std::iter::repeat(0)).take(9).fold(0, |ns, digit| ns * 10 + digit);
        (count > 0).then_some(ns)
    }

    /// Reads an offset that ends the text.
    fn offset(mut self) -> Option<UtcOffset> {
        if self.0.is_empty() {
            return Some(UtcOffset::UTC);
        }
        self.take(b" ");
        if matches!(self.0, b"Z" | b"z" | b"UTC") {
            return Some(UtcOffset::UTC);
        }
        let sign = if self.take(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.digits(2).filter(|hours| *hours < 24)?;
        let mut minutes = 0;
        if !self.0.is_empty() {
            self.take(b":");
            minutes = self.digits(2).filter(|minutes| *minutes < 60)?;
        }
        let offset_s = sign * i32::try_from(hours * 3600 + minutes * 60).ok()?;
        UtcOffset::from_whole_seconds(offset_s).ok().filter(|_| self.0.is_empty())
    }
}

/// Milliseconds since 1970, displayed as RFC 3339 in UTC with milliseconds:
/// `2026-11-23T08:02:37.123Z`. A time outside the years 1970 to 9999 is shown as the nearest
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
    fn a_number_is_read_to_the_nanosecond_and_an_integer_stays_as_it_is() {
        for (sent, key, ms) in [
            ("1795420957", 1_795_420_957, 1_795_420_957_000),
            ("1795420957123", 1_795_420_957_123, 1_795_420_957_123),
            ("4999999999999999999", 4_999_999_999_999_999_999, 4_999_999_999_999),
            ("1795872076.4", 1_795_872_076_400, 1_795_872_076_400),
            ("1795872076.0", 1_795_872_076_000, 1_795_872_076_000),
            ("1795872076.4123456", 1_795_872_076_412_345_600, 1_795_872_076_412),
            ("1795872076.412345", 1_795_872_076_412_345, 1_795_872_076_412),
            ("1795872076.000000001", 1_795_872_076_000_000_001, 1_795_872_076_000),
            ("1795872076.0000000019", 1_795_872_076_000_000_001, 1_795_872_076_000),
            ("1.7e9", 1_700_000_000_000, 1_700_000_000_000),
            ("1.7E+12", 1_700_000_000_000, 1_700_000_000_000),
            ("17e14", 1_700_000_000_000, 1_700_000_000_000),
            ("170000000000000000000e-2", 1_700_000_000_000, 1_700_000_000_000),
            ("1795420957123.5", 1_795_420_957_123_500, 1_795_420_957_123),
            ("1795420957123456.7", 1_795_420_957_123_456_700, 1_795_420_957_123),
            ("1795420957123456789.9", 1_795_420_957_123_456_789, 1_795_420_957_123),
            ("4999999999.999999999", 4_999_999_999_999_999_999, 4_999_999_999_999),
            ("5000000000.0", 5_000_000_000, 5_000_000_000),
            ("4.999999999999999999e18", 4_999_999_999_999_999_999, 4_999_999_999_999),
            ("0.0", 0, 0),
            ("0e99", 0, 0),
            ("-0", 0, 0),
            ("-0.0", 0, 0),
            ("1e-9", 1, 0),
            ("0.0000025", 2_500, 0),
            ("1e-10", 0, 0),
            ("1e-99999999999999999999", 0, 0),
        ] {
            assert_eq!(from_text(sent.as_bytes()), Some(Timestamp { key, ms }), "{sent}");
        }
        for sent in [
            "-1",
            "-1e-30",
            "5e18",
            "5000000000000000000",
            "5000000000000000000.0",
            "99999999999999999999",
            "1e99999999999999999999",
            "",
            "+1795420957",
            " 1795420957",
            "1795420957 ",
            "01795420957",
            "1795420957.",
            ".5",
            "1_795_420_957",
            "0x6b0",
            "NaN",
        ] {
            assert_eq!(from_text(sent.as_bytes()), None, "{sent}");
        }
    }

    #[test]
    fn a_date_and_a_time_are_read_as_libraries_write_them() {
        for (text, key) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.0009Z", 900),
            ("2026-11-23T08:02:37Z", 1_795_420_957_000),
            ("2026-11-23t08:02:37z", 1_795_420_957_000),
            ("2026-11-23T08:02:37", 1_795_420_957_000),
            ("2026-11-23 08:02:37", 1_795_420_957_000),
            ("2026-11-23 08:02:37Z", 1_795_420_957_000),
            ("2026-11-23T08:02Z", 1_795_420_920_000),
            ("2026-11-23 08:02", 1_795_420_920_000),
            ("2026-11-23T10:02+0200", 1_795_420_920_000),
            ("2026-11-23T08:02:37.1Z", 1_795_420_957_100),
            ("2026-11-23T08:02:37,123", 1_795_420_957_123),
            ("2026-11-23T08:02:37.000100Z", 1_795_420_957_000_100),
            ("2026-11-23T08:02:37.000200", 1_795_420_957_000_200),
            ("2026-11-23T08:02:37.123456789Z", 1_795_420_957_123_456_789),
            ("2026-11-23T08:02:37.1234560000009Z", 1_795_420_957_123_456),
            ("2026-11-23T10:02:37.123+02:00", 1_795_420_957_123),
            ("2026-11-23 10:02:37.123+02", 1_795_420_957_123),
            ("2026-11-23T10:02:37.123 +0200", 1_795_420_957_123),
            ("2026-11-23 08:02:37 UTC", 1_795_420_957_000),
            ("2026-11-23T02:32:37.123-0530", 1_795_420_957_123),
            ("2026-11-23T02:32:37.123-05:30", 1_795_420_957_123),
            ("2026-11-23T08:02:37-00:00", 1_795_420_957_000),
            ("1969-12-31T23:00:00-01:00", 0),
            ("9999-12-31T23:59:59.999Z", i128::from(LAST_MS)),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
            ("9999-12-31T23:59:59-23:59", i128::from(LAST_MS) - 999 + 86_340_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999_999_999),
            ("2016-12-31T15:59:60.5-08:00", 1_483_228_799_999_999_999),
            ("9999-12-31T23:59:60Z", 253_402_300_799_999_999_999),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ] {
            assert_eq!(from_iso_8601(text.as_bytes()).map(UnixTime::key), Some(key), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_and_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-23",
            "2026-11-23T",
            "2026-11-23T08",
            "2026-11-23T08Z",
            "2026-11-23  08:02:37Z",
            "2026-11-23_08:02:37Z",
            "2026-11-23T08:02.5Z",
            "2026-11-23T08:02:37.Z",
            "2026-11-23T08:02:37.",
            "2026-11-23T08:02:37:5Z",
            "2026-11-23T08:02:37+2",
            "2026-11-23T08:02:37+020",
            "2026-11-23T08:02:37+02:",
            "2026-11-23T08:02:37+02:0",
            "2026-11-23T08:02:37+020000",
            "2026-11-23T08:02:37+24:00",
            "2026-11-23T08:02:37+02:60",
            "2026-11-23T08:02:37 ",
            "2026-11-23T08:02:37Z ",
            "2026-11-23T08:02:37  UTC",
            "2026-11-23T08:02:37 GMT",
            " 2026-11-23T08:02:37Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T08:60:00Z",
            "2026-11-23T08:02:60Z",
            "2026-11-23T08:02:61Z",
            "2016-12-31T23:59:60+01:00",
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
            assert_eq!(from_iso_8601(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_in_utc_with_milliseconds() {
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
            let shown = Rfc3339(ms).to_string();
            prop_assert_eq!(from_iso_8601(shown.as_bytes()).map(UnixTime::key), Some(ms.into()));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*|[0-9TtZz:.,+ -]{0,40}") {
            let _ = from_text(text.as_bytes());
        }

        /// A number with a fraction is read as the same time as its nanoseconds.
        #[test]
        fn a_decimal_is_its_time(second in 0..SECONDS_END, ns in 0..1_000_000_000_u32) {
            let decimal = format!("{second}.{ns:09}");
            let time = UnixTime::from_ns(i128::from(second) * 1_000_000_000 + i128::from(ns));
            prop_assert_eq!(from_text(decimal.as_bytes()), time.map(Timestamp::from));
        }
    }
}
