//! Rejections: why an event or a whole body was refused, in words that its sender can act on.
//!
//! A rejection is a small value without allocation. `Display` writes the `detail` of the answer:
//! the member, what was expected, and the byte. It never repeats the input, so that no caller has
//! to escape it.

use std::fmt;

use thiserror::Error;

use crate::limits::{BATCH_EVENTS_MAX, FUTURE_MS_MAX, NUMBER_BYTES_MAX};
use crate::metric::csv::CsvError;
use crate::metric::header_error::HeaderError;
use crate::metric::json_error::{JsonError, Prefix};
use crate::metric::line_protocol::line_error::LineError;
use crate::metric::member::Member;
use crate::metric::shown_id::ShownId;
use crate::schema::{Field, Schema};

percore::named_enum! {
    /// The kind of a JSON value.
    pub enum JsonKind {
        /// `null`.
        Null = "null",
        /// `true` or `false`.
        Boolean = "a boolean",
        /// A number.
        Number = "a number",
        /// A string.
        String = "a string",
        /// An array.
        Array = "an array",
        /// An object.
        Object = "an object",
    }
}

/// The reason why one event was refused. `at` counts bytes from the first byte of the event, which
/// is the first non-blank byte of its line or array element. It points at the member's value, or
/// at the second name of a member given twice.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the text")]
pub enum Rejection {
    /// A line that is not JSON. (In an array it costs the body: [`BodyError::Malformed`].)
    #[error(transparent)]
    Malformed(JsonError),
    /// A line that is no line protocol.
    #[error(transparent)]
    MalformedLine(LineError),
    /// A row with a cell that is not quoted well.
    #[error(transparent)]
    MalformedRow(CsvError),
    /// A row with more or fewer cells than the header row. `missing` is the first member whose cell
    /// is absent.
    #[error("{}expected {expected} cells as in the header row, found {found}", Prefix(*.missing))]
    Cells { missing: Option<Member>, expected: u32, found: u32 },
    /// JSON, but not an object.
    #[error("expected an object, found {}", .found.name())]
    NotObject { found: JsonKind },
    /// A required field is absent.
    #[error("{}: missing", .field.name())]
    Missing { field: Field },
    /// No field at all, where each is optional.
    #[error("expected at least one of {}, found none", FieldNames(.schema))]
    NoField { schema: &'static Schema },
    /// A value of the wrong kind.
    #[error("{}: expected {}, found {} at byte {at}",
        .member.name(), .member.expectation(), .found.name())]
    Type { member: Member, found: JsonKind, at: u32 },
    /// A number outside the field's range, or too large for any field.
    #[error("{}: expected {}, found another number at byte {at}",
        .field.name(), .field.expectation())]
    Range { field: Field, at: u32 },
    /// A number's literal longer than [`NUMBER_BYTES_MAX`], whatever its value.
    #[error("{}: expected a number of at most {NUMBER_BYTES_MAX} bytes, found a longer one at \
        byte {at}", .field.name())]
    TooLong { field: Field, at: u32 },
    /// A member given twice, in any case.
    #[error("{}: given twice, again at byte {at}", .member.name())]
    Duplicate { member: Member, at: u32 },
    /// A string or integer that is no device id.
    #[error("{}: expected {}, found another form at byte {at}",
        .member.name(), .member.expectation())]
    DeviceId { member: Member, at: u32 },
    /// A number or a string that is no time.
    #[error("{}: expected {}, found another form at byte {at}",
        .member.name(), .member.expectation())]
    Timestamp { member: Member, at: u32 },
    /// A time too far ahead of the server's clock.
    #[error("{}: expected at most {} s ahead of the server's clock, found a later time at \
        byte {at}", .member.name(), FUTURE_MS_MAX / 1000)]
    Future { member: Member, at: u32 },
    /// More events than there may be in some time.
    #[error("rate: {}, the next one passes in {seconds} s", .limited.text())]
    Rate { limited: Limited, seconds: u32 },
    /// A device that the sender's token may not write, or none.
    #[error("device_id: the token may write only ids that begin with \"{prefix}\"")]
    OtherPrefix { prefix: ShownId },
    /// A device other than that of the sender's certificate.
    #[error("device_id: the client certificate is of \"{device}\"")]
    OtherDevice { device: ShownId },
}

/// The sender whose limit of events an event is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// The limit of each device.
    Device,
    /// The limit of a token.
    Token,
}

impl Limited {
    const fn text(self) -> &'static str {
        match self {
            Self::Device => "expected no more events of the device (--device-limit)",
            Self::Token => "expected no more events with this token",
        }
    }
}

// Every item of every body is a place for one.
const _: () = assert!(size_of::<Rejection>() <= 40);

impl Rejection {
    /// The class that metrics count it in.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed(_)
            | Self::MalformedLine(_)
            | Self::MalformedRow(_)
            | Self::Cells { .. } => Reason::Syntax,
            Self::NotObject { .. } => Reason::NotObject,
            Self::Missing { .. } | Self::NoField { .. } => Reason::Missing,
            Self::Type { .. } => Reason::Type,
            Self::Range { .. } | Self::TooLong { .. } => Reason::Range,
            Self::Duplicate { .. } => Reason::Duplicate,
            Self::DeviceId { .. } => Reason::DeviceId,
            Self::Timestamp { .. } => Reason::Timestamp,
            Self::Future { .. } => Reason::Future,
            Self::Rate { .. } => Reason::Rate,
            Self::OtherPrefix { .. } | Self::OtherDevice { .. } => Reason::Forbidden,
        }
    }
}

/// The names of all fields, with commas between them.
struct FieldNames(&'static Schema);

impl fmt::Display for FieldNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fields().iter().enumerate().try_for_each(|(at, field)| {
            let comma = if at == 0 { "" } else { ", " };
            write!(out, "{comma}{}", field.name())
        })
    }
}

percore::named_enum! {
    /// The classes of [`Rejection`]s: the label `reason` of `_events_rejected_total`.
    pub enum Reason {
        /// Not JSON, or not the other form that it is sent in: bad syntax, bad UTF-8, nested too
        /// deeply.
        Syntax = "syntax",
        /// Not an object.
        NotObject = "not_object",
        /// Without a required field.
        Missing = "missing",
        /// A value of the wrong kind.
        Type = "type",
        /// A number out of range.
        Range = "range",
        /// A member given twice.
        Duplicate = "duplicate",
        /// A bad device id.
        DeviceId = "device_id",
        /// A number or string that is no time.
        Timestamp = "timestamp",
        /// Ahead of the server's clock.
        Future = "future",
        /// Over a limit of events.
        Rate = "rate",
        /// Of a device that the sender may not write.
        Forbidden = "forbidden",
    }
}

/// The reason why a whole body was refused: nothing of it may be applied. Positions count from the
/// body's first byte.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// Nothing but blanks.
    #[error("expected an event, found an empty body")]
    Empty,
    /// A single object, or an array, that is not JSON.
    #[error("{0} of the body")]
    Malformed(JsonError),
    /// A table of whose header row no event can come.
    #[error(transparent)]
    Header(HeaderError),
    /// More than [`BATCH_EVENTS_MAX`] lines or elements, good and bad ones together.
    #[error("expected at most {BATCH_EVENTS_MAX} events a request, found more")]
    TooManyEvents,
}

impl BodyError {
    /// Returns true if fewer of the same events would have been taken: 413 rather than 400.
    pub const fn is_too_large(self) -> bool {
        matches!(self, Self::TooManyEvents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::json_error::Expected;

    #[test]
    fn reasons_have_unique_names() {
        for name in Reason::NAMES {
            let same = Reason::NAMES.iter().filter(|other| **other == name);
            assert_eq!(same.count(), 1, "{name}");
        }
    }

    #[test]
    fn a_detail_names_field_place_and_expectation() {
        let (member, found, at) =
            (Member::Value(Schema::standard().fields()[0]), JsonKind::String, 15);
        for (rejection, detail) in [
            (
                Rejection::Type { member, found, at },
                "cpu: expected a finite number from 0 to 1000000, found a string at byte 15",
            ),
            (
                Rejection::Range { field: Schema::standard().fields()[1], at },
                "rps: expected a finite number from 0 to 1000000000000, found another number at \
                 byte 15",
            ),
            (
                Rejection::TooLong { field: Schema::standard().fields()[0], at },
                "cpu: expected a number of at most 128 bytes, found a longer one at byte 15",
            ),
            (Rejection::Missing { field: Schema::standard().fields()[0] }, "cpu: missing"),
            (Rejection::Duplicate { member, at }, "cpu: given twice, again at byte 15"),
            (Rejection::NotObject { found: JsonKind::Array }, "expected an object, found an array"),
            (
                Rejection::DeviceId { member: Member::DeviceId("device_id"), at },
                "device_id: expected 1 to 128 bytes of A-Z a-z 0-9 . _ : -, found another form at \
                 byte 15",
            ),
            (
                Rejection::Timestamp { member: Member::Timestamp("timestamp"), at },
                "timestamp: expected a number of s, ms, us or ns or an ISO 8601 time since 1970, \
                 found another form at byte 15",
            ),
            (
                Rejection::Future { member: Member::Timestamp("timestamp"), at },
                "timestamp: expected at most 600 s ahead of the server's clock, found a later \
                 time at byte 15",
            ),
            (
                Rejection::Rate { limited: Limited::Device, seconds: 3 },
                "rate: expected no more events of the device (--device-limit), the next one passes \
                 in 3 s",
            ),
            (
                Rejection::Malformed(JsonError::expected(Expected::Colon, b"{\"a\"1}", 4)),
                "expected ':' at byte 4",
            ),
        ] {
            assert_eq!(rejection.to_string(), detail);
        }
    }

    #[test]
    fn a_body_error_counts_from_the_body() {
        let truncated = JsonError::expected(Expected::CommaOrBracket, b" [1", 3);
        assert_eq!(
            BodyError::Malformed(truncated).to_string(),
            "expected ',' or ']', found the end at byte 3 of the body"
        );
        assert_eq!(truncated.relative_to(1).at(), 2);
        assert!(BodyError::TooManyEvents.is_too_large());
        assert!(!BodyError::Empty.is_too_large());
        assert!(BodyError::TooManyEvents.to_string().contains("10000"));
    }
}
