//! Malformed texts: where JSON went wrong, and what would have continued it.

use std::fmt;

use crate::limits::JSON_DEPTH_MAX;
use crate::metric::rejection::Member;

/// What would have continued a JSON text at the byte where it went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any value.
    Value,
    /// A member's name, in quotes.
    Name,
    /// A colon after a name.
    Colon,
    /// A comma or the end of the object.
    CommaOrBrace,
    /// A comma or the end of the array.
    CommaOrBracket,
    /// A decimal digit.
    Digit,
    /// A number, where JSON has no name for what is none.
    Finite,
    /// A character of a string, or its closing quote.
    Character,
    /// An escape of RFC 8259, section 7.
    Escape,
    /// Four hexadecimal digits after `\u`.
    HexDigits,
    /// Nothing more after the value.
    End,
}

impl Expected {
    const fn name(self) -> &'static str {
        match self {
            Self::Value => "a JSON value",
            Self::Name => "a name in double quotes",
            Self::Colon => "':'",
            Self::CommaOrBrace => "',' or '}'",
            Self::CommaOrBracket => "',' or ']'",
            Self::Digit => "a number as JSON writes it",
            Self::Finite => "a finite number, found NaN or infinity",
            Self::Character => "a character or the closing '\"' of a string",
            Self::Escape => "an escape that JSON knows",
            Self::HexDigits => "four hexadecimal digits",
            Self::End => "nothing after the value",
        }
    }
}

/// Why a text is not JSON that is read here. `at` counts bytes from the start of that text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// RFC 8259 asks for something else.
    Syntax {
        /// The member in whose value that is.
        member: Option<Member>,
        /// What would have been right.
        expected: Expected,
        /// Where.
        at: u32,
    },
    /// The text ends within a value.
    Truncated {
        /// The member in whose value that is.
        member: Option<Member>,
        /// What would have been right.
        expected: Expected,
        /// The length of the text.
        at: u32,
    },
    /// RFC 8259, section 8.1: JSON is UTF-8.
    Utf8 {
        /// The first byte that is not.
        at: u32,
    },
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    Depth {
        /// The bracket that is too many.
        at: u32,
    },
    /// The mark with which some editors and shells begin a file, where none may stand: only the
    /// body's first may (RFC 8259, section 8.1).
    ByteOrderMark {
        /// What would have been right.
        expected: Expected,
        /// Where.
        at: u32,
    },
    /// UTF-16 or UTF-32.
    Utf16 {
        /// Where.
        at: u32,
    },
    /// What an HTML form sends, or JSON in its escapes.
    Form {
        /// Where it stops being JSON.
        at: u32,
    },
}

/// U+FEFF in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl JsonError {
    /// A syntax error at a byte of the text, or the text's early end.
    pub(super) fn expected(expected: Expected, bytes: &[u8], at: usize) -> Self {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(BYTE_ORDER_MARK) {
            let at = position(at);
            Self::ByteOrderMark { expected, at }
        } else if at < bytes.len() {
            let at = position(at);
            Self::Syntax { member: None, expected, at }
        } else {
            let at = position(bytes.len());
            Self::Truncated { member: None, expected, at }
        }
    }

    /// The byte at which it went wrong.
    #[must_use]
    pub const fn at(self) -> u32 {
        match self {
            Self::Syntax { at, .. }
            | Self::Truncated { at, .. }
            | Self::ByteOrderMark { at, .. }
            | Self::Utf8 { at }
            | Self::Utf16 { at }
            | Self::Form { at }
            | Self::Depth { at } => at,
        }
    }

    /// The same in the value of a member.
    pub(super) const fn in_member(mut self, of: Member) -> Self {
        if let Self::Syntax { member, .. } | Self::Truncated { member, .. } = &mut self {
            *member = Some(of);
        }
        self
    }

    /// The same, counted from `start`.
    pub(super) fn relative_to(mut self, start: usize) -> Self {
        match &mut self {
            Self::Syntax { at, .. }
            | Self::Truncated { at, .. }
            | Self::ByteOrderMark { at, .. }
            | Self::Utf8 { at }
            | Self::Utf16 { at }
            | Self::Form { at }
            | Self::Depth { at } => *at = at.saturating_sub(position(start)),
        }
        self
    }
}

/// A place in a body. Bodies are shorter than 4 GiB: `limits` asserts it.
pub(super) fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Syntax { member: Some(member), .. }
        | Self::Truncated { member: Some(member), .. } = self
        {
            write!(out, "{}: ", member.name())?;
        }
        match *self {
            Self::Syntax { expected, at, .. } => {
                write!(out, "expected {} at byte {at}", expected.name())
            }
            Self::Truncated { expected, at, .. } => {
                write!(out, "expected {}, found the end at byte {at}", expected.name())
            }
            Self::Utf8 { at } => write!(out, "expected UTF-8, found other bytes at byte {at}"),
            Self::ByteOrderMark { expected, at } => {
                let expected = expected.name();
                write!(out, "expected {expected}, found a byte order mark (BOM) at byte {at}")
            }
            Self::Utf16 { at } => {
                write!(out, "expected UTF-8, found UTF-16 or UTF-32 at byte {at}")
            }
            Self::Form { at } => {
                write!(
                    out,
                    "expected JSON such as {{\"cpu\":41.5,\"rps\":1200}}, found a form at byte \
                     {at}; send JSON"
                )
            }
            Self::Depth { at } => {
                write!(out, "expected at most {JSON_DEPTH_MAX} levels, found more at byte {at}")
            }
        }
    }
}

/// So many bytes of a body are UTF-8.
pub(super) fn utf8_prefix_bytes(body: &[u8]) -> usize {
    std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len)
}

/// An error of a body that is one value. Bytes that are not UTF-8 are reported as such, where a
/// parser that sees only what is before them found the end.
#[cold]
pub(super) fn or_utf8_error(error: JsonError, body: &[u8], valid: usize) -> JsonError {
    let at = position(valid);
    if valid < body.len() && error.at() >= at { JsonError::Utf8 { at } } else { error }
}
