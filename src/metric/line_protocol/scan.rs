//! Scanners of the tokens of line protocol.
//!
//! A scanner takes a text and the offset where a token begins, and returns where it ends.

use memchr::memchr2;

use super::line_error::{LineError, LineExpected};
use crate::metric::number::{Number, scan_number};
use crate::metric::scan::word_end;
use crate::metric::unusual_number;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metric) struct FieldValue {
    /// The offset of its first byte.
    pub(in crate::metric) start: usize,
    /// The end of its literal: behind the closing quote, or before the suffix of an integer.
    pub(in crate::metric) end: usize,
    pub(in crate::metric) kind: ValueKind,
}

/// The kind of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metric) enum ValueKind {
    /// A number in a form of JSON.
    Number(Number),
    /// A number in a form that `unusual_number` reads.
    UnusualNumber,
    Boolean,
    String,
}

/// The part of a line that a name is in. It decides which bytes end the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamePart {
    Measurement,
    TagKey,
    TagValue,
    FieldKey,
}

impl NamePart {
    const fn is_key(self) -> bool {
        matches!(self, Self::TagKey | Self::FieldKey)
    }

    /// Returns what is expected where a name of this part begins.
    const fn expected(self) -> LineExpected {
        match self {
            Self::Measurement => LineExpected::Measurement,
            Self::TagKey => LineExpected::TagKey,
            Self::TagValue => LineExpected::TagValue,
            Self::FieldKey => LineExpected::FieldKey,
        }
    }

    /// Returns what is expected where a name of this part goes wrong.
    const fn expected_after(self) -> LineExpected {
        match self {
            Self::Measurement => LineExpected::Field,
            Self::TagKey => LineExpected::TagEquals,
            Self::TagValue => LineExpected::AfterTagValue,
            Self::FieldKey => LineExpected::FieldEquals,
        }
    }
}

/// Returns the end of the name at `at`, which is not empty: the equals sign after a key, or the
/// comma or space after another name.
#[inline(always)]
pub(super) fn name_end(text: &[u8], start: usize, part: NamePart) -> Result<usize, LineError> {
    let mut at = start;
    loop {
        at = plain_end(text, at);
        match text.get(at) {
            Some(b'=') if part == NamePart::Measurement => at += 1,
            Some(b'=') if part.is_key() && at > start => break,
            Some(b',' | b' ') if !part.is_key() && at > start => break,
            Some(b'\\') if !matches!(text.get(at + 1), None | Some(b'\n' | b'\r')) => at += 2,
            _ => return Err(name_error(text, start, at, part)),
        }
    }
    // One backslash would have escaped the delimiter; so it is the second of two.
    if text.get(at.wrapping_sub(1)) == Some(&b'\\') {
        return Err(LineError::expected(LineExpected::OtherEnd, text, at));
    }
    Ok(at)
}

/// Returns the first byte from `at` on that may have a meaning in a name.
#[inline(always)]
pub(in crate::metric) fn plain_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let is_plain = |byte: &&u8| NAME_BYTES.get(usize::from(**byte)) == Some(&true);
    at + rest.iter().take_while(is_plain).count()
}

/// The bytes without a meaning in names, as a table, because every byte of a name is looked up.
const NAME_BYTES: [bool; 256] = {
    let mut plain = [true; 256];
    let special = b"\t\n\r ,=\\";
    let mut index = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated when compiled; a u8 is in range")]
    while index < special.len() {
        plain[special[index] as usize] = false;
        index += 1;
    }
    plain
};

#[cold]
fn name_error(text: &[u8], start: usize, at: usize, part: NamePart) -> LineError {
    let expected = match text.get(at) {
        Some(b'\\') => LineExpected::OtherEnd,
        _ if at == start => part.expected(),
        Some(b'\n' | b'\r') | None if part == NamePart::TagValue => LineExpected::Field,
        _ => part.expected_after(),
    };
    LineError::expected(expected, text, at)
}

/// Scans the value of a field, and returns it with the offset of the first byte after it.
#[inline(always)]
pub(in crate::metric) fn scan_value(
    text: &[u8],
    start: usize,
) -> Result<(FieldValue, usize), LineError> {
    let of = |kind, end| FieldValue { start, end, kind };
    match text.get(start) {
        Some(b'0'..=b'9' | b'-' | b'.') => scan_field_number(text, start),
        Some(b'"') => {
            let end = string_end(text, start + 1)?;
            Ok((of(ValueKind::String, end), end))
        }
        Some(b't' | b'T' | b'f' | b'F') => {
            let end = word_end(text, start);
            let is_boolean = BOOLEANS.contains(&text.get(start..end).unwrap_or_default());
            let value = (of(ValueKind::Boolean, end), end);
            is_boolean.then_some(value).ok_or_else(|| value_error(text, start))
        }
        _ => Err(value_error(text, start)),
    }
}

/// The spellings of booleans.
const BOOLEANS: [&[u8]; 10] =
    [b"t", b"T", b"true", b"True", b"TRUE", b"f", b"F", b"false", b"False", b"FALSE"];

/// Scans a number with its suffix.
#[inline(always)]
fn scan_field_number(text: &[u8], start: usize) -> Result<(FieldValue, usize), LineError> {
    let of = |kind, end| FieldValue { start, end, kind };
    if let Ok(number) = scan_number(text, start) {
        let end = number.end;
        let value = of(ValueKind::Number(number), end);
        match text.get(end) {
            Some(b'i') if number.is_whole() => return Ok((value, end + 1)),
            Some(b'u') if number.is_digits() => return Ok((value, end + 1)),
            Some(b'0'..=b'9' | b'.') => {}
            _ => return Ok((value, end)),
        }
    }
    scan_unusual_number(text, start)
}

/// Scans a number that JSON would write otherwise. InfluxDB takes those as well.
#[cold]
fn scan_unusual_number(text: &[u8], start: usize) -> Result<(FieldValue, usize), LineError> {
    let Some(end) = unusual_number::scan(text, start) else {
        return Err(value_error(text, start));
    };
    let literal = text.get(start..end).unwrap_or_default();
    let is_whole = literal.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-'));
    let suffix = match text.get(end) {
        Some(b'i') => is_whole,
        Some(b'u') => is_whole && literal.first() != Some(&b'-'),
        _ => false,
    };
    Ok((FieldValue { start, end, kind: ValueKind::UnusualNumber }, end + usize::from(suffix)))
}

#[cold]
fn value_error(text: &[u8], at: usize) -> LineError {
    let unsigned = at + usize::from(matches!(text.get(at), Some(b'-' | b'+')));
    let word = text.get(unsigned..word_end(text, unsigned)).unwrap_or_default();
    let is_infinite =
        ["nan", "inf", "infinity"].iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    let expected = if is_infinite { LineExpected::Finite } else { LineExpected::FieldValue };
    LineError::expected(expected, text, at)
}

/// Returns the end of the string whose first byte after the opening quote is at `at`: the offset
/// after its closing quote.
fn string_end(text: &[u8], mut at: usize) -> Result<usize, LineError> {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(length) = memchr2(b'"', b'\\', rest) else {
            return Err(LineError::expected(LineExpected::Quote, text, text.len()));
        };
        at += length;
        match (text.get(at), text.get(at + 1)) {
            (Some(b'"'), _) => return Ok(at + 1),
            (_, Some(b'"' | b'\\')) => at += 2,
            _ => at += 1,
        }
    }
}

/// Scans a timestamp, and returns its end.
#[inline(always)]
pub(super) fn scan_timestamp(text: &[u8], start: usize) -> Result<usize, LineError> {
    let digits = start + usize::from(text.get(start) == Some(&b'-'));
    let rest = text.get(digits..).unwrap_or_default();
    match rest.iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => Err(LineError::expected(LineExpected::Timestamp, text, start)),
        count => Ok(digits + count),
    }
}

/// Skips spaces. Tabs are none here: some servers take them for bytes of a name.
#[inline(always)]
pub(super) fn skip_spaces(text: &[u8], mut at: usize) -> usize {
    while text.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// Returns the end of a line with an error, which begins at `start`: its first newline that is
/// neither escaped nor in a string. A string's content must not be taken for lines, so this follows
/// the quotes as InfluxDB does, even through text that is no line. A quote without its pair costs
/// all lines after it.
#[cold]
pub(in crate::metric) fn bad_line_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut in_fields = false;
    let mut in_string = false;
    // The equals signs without a comma after them.
    let mut open = 0_i64;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' if open > 0 => in_string = !in_string,
            _ if in_string => {}
            b'\n' => return at,
            b' ' => in_fields = true,
            b'=' if in_fields => open += 1,
            b',' if in_fields => open -= 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}
