//! Refusals: why an event or a whole body was not taken, in words that its sender can act on.
//!
//! Each is a small value without allocation. `Display` gives the `detail` of the answer: the field,
//! what was expected, and the byte. It never repeats the input, so nothing needs escaping there.

use std::fmt;

use crate::limits::RPS_MAX;
use crate::limits::{
    BATCH_EVENTS_MAX, CPU_MAX, DEVICE_ID_BYTES_MAX, FUTURE_MS_MAX, NUMBER_BYTES_MAX,
};
use crate::metric::event::Field;
use crate::metric::json_error::JsonError;

/// The members of a metric's object that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// When it was measured.
    Timestamp,
    /// Who measured it.
    DeviceId,
    /// What was measured.
    Value(Field),
}

impl Member {
    /// All.
    pub(super) const ALL: [Self; 4] =
        [Self::Timestamp, Self::DeviceId, Self::Value(Field::Cpu), Self::Value(Field::Rps)];

    /// The name in its canonical spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::DeviceId => "device_id",
            Self::Value(field) => field.name(),
        }
    }

    /// The member whose canonical name stands at `at`, quotes included, and where that ends. Nearly
    /// all names are such, and a comparison with a constant is cheaper than a search for the end.
    #[inline]
    pub(super) fn at_canonical_name(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let rest = text.get(at..)?;
        let member = match rest.get(1)? {
            b'c' if rest.starts_with(b"\"cpu\"") => Self::Value(Field::Cpu),
            b'r' if rest.starts_with(b"\"rps\"") => Self::Value(Field::Rps),
            b't' if rest.starts_with(b"\"timestamp\"") => Self::Timestamp,
            b'd' if rest.starts_with(b"\"device_id\"") => Self::DeviceId,
            _ => return None,
        };
        Some((member, at + member.name().len() + 2))
    }

    /// The member of a name in whatever case, as the Go service matched them.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        let is = |member: &Self| name.eq_ignore_ascii_case(member.name().as_bytes());
        Self::ALL.into_iter().find(is)
    }

    /// Whether `null` stands for its absence.
    pub(super) const fn is_optional(self) -> bool {
        !matches!(self, Self::Value(_))
    }
}

/// What kind of JSON value a text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl JsonKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Why one event was refused. `at` counts bytes from the event's own first byte, which is the
/// first of its line or element that is not blank; the field's value is there, or the name of one
/// given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A line that is not JSON. (In an array it costs the body: [`BodyError::Malformed`].)
    Malformed(JsonError),
    /// JSON, but not an object.
    NotObject {
        /// What it is instead.
        found: JsonKind,
    },
    /// A required field is absent.
    Missing {
        /// The field.
        field: Field,
    },
    /// A value of the wrong kind.
    Type {
        /// The field.
        member: Member,
        /// What it is instead.
        found: JsonKind,
        /// Where.
        at: u32,
    },
    /// A number outside the field's range, or too large for any.
    Range {
        /// The field.
        field: Field,
        /// Where.
        at: u32,
    },
    /// A number's literal longer than [`NUMBER_BYTES_MAX`], whatever its value.
    TooLong {
        /// The field.
        field: Field,
        /// Where.
        at: u32,
    },
    /// A field given twice, in whatever case.
    Duplicate {
        /// The field.
        member: Member,
        /// Where its second name stands.
        at: u32,
    },
    /// Not 1 to 128 of the bytes that a device id may have.
    DeviceId {
        /// Where.
        at: u32,
    },
    /// A number or a string that is no moment.
    Timestamp {
        /// Where.
        at: u32,
    },
    /// Too far ahead of the server's clock.
    Future {
        /// Where.
        at: u32,
    },
}

impl Rejection {
    /// The class that metrics count it in.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::Syntax,
            Self::NotObject { .. } => Reason::NotObject,
            Self::Missing { .. } => Reason::Missing,
            Self::Type { .. } => Reason::Type,
            Self::Range { .. } | Self::TooLong { .. } => Reason::Range,
            Self::Duplicate { .. } => Reason::Duplicate,
            Self::DeviceId { .. } => Reason::DeviceId,
            Self::Timestamp { .. } => Reason::Timestamp,
            Self::Future { .. } => Reason::Future,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (member, found, at) = match *self {
            Self::Malformed(malformed) => return malformed.fmt(out),
            Self::NotObject { found } => {
                return write!(out, "expected an object, found {}", found.name());
            }
            Self::Missing { field } => return write!(out, "{}: missing", field.name()),
            Self::Duplicate { member, at } => {
                return write!(out, "{}: given twice, again at byte {at}", member.name());
            }
            Self::Future { at } => {
                let ahead_s = FUTURE_MS_MAX / 1000;
                return write!(
                    out,
                    "timestamp: expected at most {ahead_s} s ahead of the server's clock, found a \
                     later time at byte {at}"
                );
            }
            Self::TooLong { field, at } => {
                return write!(
                    out,
                    "{}: expected a number of at most {NUMBER_BYTES_MAX} bytes, found a longer \
                     one at byte {at}",
                    field.name()
                );
            }
            Self::Type { member, found, at } => (member, found.name(), at),
            Self::Range { field, at } => (Member::Value(field), "another number", at),
            Self::DeviceId { at } => (Member::DeviceId, "another form", at),
            Self::Timestamp { at } => (Member::Timestamp, "another form", at),
        };
        write!(out, "{}: expected ", member.name())?;
        match member {
            Member::Value(Field::Cpu) => write!(out, "a finite number from 0 to {CPU_MAX}")?,
            Member::Value(Field::Rps) => write!(out, "a finite number from 0 to {RPS_MAX}")?,
            Member::DeviceId => {
                write!(out, "1 to {DEVICE_ID_BYTES_MAX} bytes of A-Z a-z 0-9 . _ : -")?;
            }
            Member::Timestamp => {
                out.write_str("a number of s, ms, us or ns or an ISO 8601 time since 1970")?;
            }
        }
        write!(out, ", found {found} at byte {at}")
    }
}

/// The classes of [`Rejection`]s: the label `reason` of `_events_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not JSON: bad syntax, bad UTF-8, nested too deeply.
    Syntax,
    /// Not an object.
    NotObject,
    /// Without a required field.
    Missing,
    /// A value of the wrong kind.
    Type,
    /// A number out of range.
    Range,
    /// A field given twice.
    Duplicate,
    /// A bad device id.
    DeviceId,
    /// A number or string that is no moment.
    Timestamp,
    /// Ahead of the server's clock.
    Future,
}

impl Reason {
    /// All, each at its [`Self::index`].
    pub const ALL: [Self; 9] = [
        Self::Syntax,
        Self::NotObject,
        Self::Missing,
        Self::Type,
        Self::Range,
        Self::Duplicate,
        Self::DeviceId,
        Self::Timestamp,
        Self::Future,
    ];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::NotObject => "not_object",
            Self::Missing => "missing",
            Self::Type => "type",
            Self::Range => "range",
            Self::Duplicate => "duplicate",
            Self::DeviceId => "device_id",
            Self::Timestamp => "timestamp",
            Self::Future => "future",
        }
    }

    /// The place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a whole body was refused: nothing of it may be applied. Positions count from the body's
/// first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Nothing but blanks.
    Empty,
    /// A single object, or an array, that is not JSON.
    Malformed(JsonError),
    /// More than [`BATCH_EVENTS_MAX`] lines or elements, good and bad ones together.
    TooManyEvents,
}

impl BodyError {
    /// Whether less of the same would have been taken: 413 rather than 400.
    #[must_use]
    pub const fn is_too_large(self) -> bool {
        matches!(self, Self::TooManyEvents)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("expected an event, found an empty body"),
            Self::Malformed(malformed) => write!(out, "{malformed} of the body"),
            Self::TooManyEvents => {
                write!(out, "expected at most {BATCH_EVENTS_MAX} events a request, found more")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::json_error::Expected;

    #[test]
    fn reasons_have_unique_names_at_their_index() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            let same = Reason::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
    }

    #[test]
    fn a_detail_names_field_place_and_expectation() {
        let (member, found, at) = (Member::Value(Field::Cpu), JsonKind::String, 15);
        for (rejection, detail) in [
            (
                Rejection::Type { member, found, at },
                "cpu: expected a finite number from 0 to 1000000, found a string at byte 15",
            ),
            (
                Rejection::Range { field: Field::Rps, at },
                "rps: expected a finite number from 0 to 1000000000000, found another number at \
                 byte 15",
            ),
            (
                Rejection::TooLong { field: Field::Cpu, at },
                "cpu: expected a number of at most 128 bytes, found a longer one at byte 15",
            ),
            (Rejection::Missing { field: Field::Cpu }, "cpu: missing"),
            (Rejection::Duplicate { member, at }, "cpu: given twice, again at byte 15"),
            (Rejection::NotObject { found: JsonKind::Array }, "expected an object, found an array"),
            (
                Rejection::DeviceId { at },
                "device_id: expected 1 to 128 bytes of A-Z a-z 0-9 . _ : -, found another form at \
                 byte 15",
            ),
            (
                Rejection::Timestamp { at },
                "timestamp: expected a number of s, ms, us or ns or an ISO 8601 time since 1970, \
                 found another form at byte 15",
            ),
            (
                Rejection::Future { at },
                "timestamp: expected at most 600 s ahead of the server's clock, found a later \
                 time at byte 15",
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
