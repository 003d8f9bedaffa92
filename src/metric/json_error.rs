//! JSON errors: where a text stopped being JSON, and what would have continued it.

use thiserror::Error;

use crate::limits::JSON_DEPTH_MAX;
use crate::metric::member::Member;

/// The token that would have continued a JSON text at the byte where it went wrong.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Expected {
    /// Any value.
    #[error("a JSON value")]
    Value,
    /// A member's name.
    #[error("a name in double quotes")]
    Name,
    /// A colon after a name.
    #[error("':'")]
    Colon,
    /// A comma or the end of the object.
    #[error("',' or '}}'")]
    CommaOrBrace,
    /// A comma or the end of the array.
    #[error("',' or ']'")]
    CommaOrBracket,
    /// A decimal digit.
    #[error("a number as JSON writes it")]
    Digit,
    /// A finite number; JSON has no spelling for NaN and infinity.
    #[error("a finite number, found NaN or infinity")]
    Finite,
    /// A character of a string, or its closing quote.
    #[error("a character or the closing '\"' of a string")]
    Character,
    /// An escape of RFC 8259, section 7.
    #[error("an escape that JSON knows")]
    Escape,
    /// Four hexadecimal digits after `\u`.
    #[error("four hexadecimal digits")]
    HexDigits,
    /// The end of the text.
    #[error("nothing after the value")]
    End,
}

/// The reason why a text is not JSON that is read here. `at` counts bytes from the start of the
/// text; `member` is the one in whose value the error is.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the text")]
pub enum JsonError {
    /// A byte that the grammar of RFC 8259 does not allow there.
    #[error("{}expected {expected} at byte {at}", Prefix(*.member))]
    Syntax { member: Option<Member>, expected: Expected, at: u32 },
    /// The text ends within a value. `at` is its length.
    #[error("{}expected {expected}, found the end at byte {at}", Prefix(*.member))]
    Truncated { member: Option<Member>, expected: Expected, at: u32 },
    /// Bytes that are not UTF-8, which RFC 8259, section 8.1, asks for. `at` is the first of them.
    #[error("expected UTF-8, found other bytes at byte {at}")]
    Utf8 { at: u32 },
    /// Nested deeper than [`JSON_DEPTH_MAX`]. `at` is the first bracket too many.
    #[error("expected at most {JSON_DEPTH_MAX} levels, found more at byte {at}")]
    Depth { at: u32 },
    /// A byte order mark that is not at the start of the body. Some editors and shells begin a file
    /// with one (RFC 8259, section 8.1).
    #[error("expected {expected}, found a byte order mark (BOM) at byte {at}")]
    ByteOrderMark { expected: Expected, at: u32 },
    /// UTF-16 or UTF-32.
    #[error("expected UTF-8, found UTF-16 or UTF-32 at byte {at}")]
    Utf16 { at: u32 },
    /// An HTML form, or JSON in its percent-encoding. `at` is where it stops being JSON.
    #[error("expected JSON such as {example}, found a form at byte {at}; send JSON")]
    Form { example: &'static str, at: u32 },
}

/// U+FEFF in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl JsonError {
    /// Returns the error of a text that goes wrong, or ends too early, at `at`.
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

    /// The byte at which the text went wrong.
    pub const fn at(mut self) -> u32 {
        *self.at_mut()
    }

    const fn at_mut(&mut self) -> &mut u32 {
        match self {
            Self::Syntax { at, .. }
            | Self::Truncated { at, .. }
            | Self::ByteOrderMark { at, .. }
            | Self::Utf8 { at }
            | Self::Utf16 { at }
            | Self::Form { at, .. }
            | Self::Depth { at } => at,
        }
    }

    /// Returns the same error as one in the value of a member.
    pub(super) const fn in_member(mut self, of: Member) -> Self {
        if let Self::Syntax { member, .. } | Self::Truncated { member, .. } = &mut self {
            *member = Some(of);
        }
        self
    }

    /// Returns the same error with its position counted from `start`.
    pub(super) fn relative_to(mut self, start: usize) -> Self {
        let at = self.at_mut();
        *at = at.saturating_sub(position(start));
        self
    }
}

/// The start of an error text: the member's name and a colon, or nothing.
pub(super) struct Prefix(pub(super) Option<Member>);

impl std::fmt::Display for Prefix {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |member| write!(out, "{}: ", member.name()))
    }
}

/// Returns an offset into a body in 32 bits. Bodies are shorter than 4 GiB: `limits` asserts it.
pub(super) fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Returns the length of the longest prefix that is UTF-8.
pub(super) fn utf8_prefix_bytes(body: &[u8]) -> usize {
    std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len)
}

/// Returns the error to report for a text of which the first `valid` bytes are UTF-8. The parser
/// reads only those, so that an error at their end is really one of the encoding.
#[cold]
pub(super) fn or_utf8_error(error: JsonError, body: &[u8], valid: usize) -> JsonError {
    let at = position(valid);
    if valid < body.len() && error.at() >= at { JsonError::Utf8 { at } } else { error }
}
