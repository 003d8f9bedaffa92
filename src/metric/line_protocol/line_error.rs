//! Errors of lines: where a text stopped being line protocol, and what would have continued it.

use std::fmt;

use thiserror::Error;

use crate::metric::json_error::{Prefix, position};
use crate::metric::member::Member;

/// The element that would have continued a line at the byte where it went wrong.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LineExpected {
    /// The measurement, with which a line begins.
    #[error("a measurement")]
    Measurement,
    /// A tag after a comma.
    #[error("a tag key")]
    TagKey,
    /// The rest of a tag after its key.
    #[error("'=' after a tag key")]
    TagEquals,
    /// A tag's value, which is not empty.
    #[error("a tag value")]
    TagValue,
    /// The end of a tag's value.
    #[error("',' or a space after a tag value, which has '\\=' for '='")]
    AfterTagValue,
    /// The first field.
    #[error("a space and a field")]
    Field,
    /// A field after a comma or a space.
    #[error("a field key")]
    FieldKey,
    /// The rest of a field after its key.
    #[error("'=' after a field key")]
    FieldEquals,
    /// A field's value.
    #[error("a number, a boolean or a string in double quotes")]
    FieldValue,
    /// A finite number; line protocol has no spelling for NaN and infinity.
    #[error("a finite number, found NaN or infinity")]
    Finite,
    /// The end of a field's value.
    #[error("',', a space or the end of the line after a value")]
    AfterValue,
    /// The end of a string.
    #[error("the closing '\"' of a string")]
    Quote,
    /// The last element of a line.
    #[error("a timestamp, which is an integer")]
    Timestamp,
    /// Nothing more.
    #[error("the end of the line after the timestamp")]
    LineEnd,
    /// A name's end that all servers read alike. To one, `\\,` is a backslash and the end of the
    /// name; to another, a backslash and a comma in it.
    #[error("a name that does not end with a backslash")]
    OtherEnd,
}

/// The reason why a text is no line. `at` counts bytes from the start of the text; `member` is the
/// one in whose value the error is.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}expected {expected}{} at byte {at}", Prefix(*.member), FoundEnd(*.ends))]
#[expect(missing_docs, reason = "the fields are those of the text")]
pub struct LineError {
    pub member: Option<Member>,
    pub expected: LineExpected,
    /// True if the line ends there.
    pub ends: bool,
    pub at: u32,
}

impl LineError {
    /// Returns the error of a line that goes wrong, or ends too early, at `at`.
    #[cold]
    pub(in crate::metric) fn expected(expected: LineExpected, text: &[u8], at: usize) -> Self {
        let (ends, at) = (ends_line(text, at), position(at.min(text.len())));
        Self { member: None, expected, ends, at }
    }

    /// Returns the same error with its position counted from `start`.
    pub(in crate::metric) fn relative_to(mut self, start: usize) -> Self {
        self.at = self.at.saturating_sub(position(start));
        self
    }
}

/// Returns true if the line ends at `at`, with LF, CR LF or the text.
#[inline(always)]
pub(super) fn ends_line(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        None | Some(b'\n') => true,
        Some(b'\r') => matches!(text.get(at + 1), None | Some(b'\n')),
        _ => false,
    }
}

/// The end of an error text where the line ends.
struct FoundEnd(bool);

impl fmt::Display for FoundEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0 { ", found the end of the line" } else { "" })
    }
}
