//! InfluxDB's line protocol: lines in, their tags, fields and timestamps out.
//!
//! `scan` has the scanners of its tokens, `line_error` what a line is refused for. A line is read
//! in one pass, which calls a [`LineVisitor`] for each element; nothing is copied and nothing
//! allocated. The grammar is that of InfluxDB 2's reference, and where its servers differ from one
//! another, what is ambiguous is refused.
//!
//! Text is not checked to be UTF-8: no name, device id or number that means anything here contains
//! other bytes than ASCII, nor an escape. So escapes are only recognized, never decoded.

pub mod line_error;
pub mod precision;
mod scan;

use std::ops::Range;

use memchr::memchr_iter;

use crate::metric::json_error::BYTE_ORDER_MARK;
use crate::metric::line_protocol::line_error::{LineError, LineExpected, ends_line};
pub(super) use crate::metric::line_protocol::scan::{
    FieldValue, ValueKind, bad_line_end, plain_end, scan_value,
};
use crate::metric::line_protocol::scan::{NamePart, name_end, scan_timestamp, skip_spaces};
use crate::metric::scan::line_end;

/// A receiver of the elements of a line, in their order. Offsets count from the start of the text.
pub(super) trait LineVisitor {
    /// Takes a tag. Neither its key nor its value is empty; both may contain escapes.
    fn tag(&mut self, key: Range<usize>, value: Range<usize>);

    /// Takes note that no more tags come.
    fn tags_end(&mut self);

    /// Takes a field. Its key is not empty, and may contain escapes.
    fn field(&mut self, key: Range<usize>, value: FieldValue);

    /// Takes the timestamp: digits, perhaps with a minus before them.
    fn timestamp(&mut self, literal: Range<usize>);
}

/// Returns where the lines of a body may begin: behind a byte order mark, if there is one.
pub(super) fn lines_start(body: &[u8]) -> usize {
    if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// Returns the number of each line that is an item, counted from 1 and by newlines, as an editor
/// shows them.
pub fn line_numbers(body: &[u8]) -> impl Iterator<Item = usize> {
    let (mut at, mut counted, mut number) = (lines_start(body), 0, 1);
    std::iter::from_fn(move || {
        let start = next_line(body, at)?;
        number += memchr_iter(b'\n', body.get(counted..start)?).count();
        counted = start;
        at = bad_line_end(body, start);
        Some(number)
    })
}

/// Returns where the next line begins: the first byte from `at` on that is neither blank nor in a
/// comment; `None` if there is none.
#[inline]
pub(super) fn next_line(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'#' => at = line_end(text, at),
            _ => return Some(at),
        }
    }
}

/// Reads the line that begins at `start`, and returns its end: its newline, or the text's end. A
/// string may contain newlines, so that a line may have several.
///
/// # Errors
///
/// [`LineError`] if it is no line. What the visitor was called with is void then, and the line ends
/// at [`bad_line_end`].
#[inline(always)]
pub(super) fn read_line(
    text: &[u8],
    start: usize,
    visitor: &mut impl LineVisitor,
) -> Result<usize, LineError> {
    let mut at = name_end(text, start, NamePart::Measurement)?;
    while text.get(at) == Some(&b',') {
        let key = at + 1;
        let equals = name_end(text, key, NamePart::TagKey)?;
        at = name_end(text, equals + 1, NamePart::TagValue)?;
        visitor.tag(key..equals, equals + 1..at);
    }
    visitor.tags_end();
    at = skip_spaces(text, at);
    if ends_line(text, at) {
        return Err(LineError::expected(LineExpected::Field, text, at));
    }
    loop {
        let equals = name_end(text, at, NamePart::FieldKey)?;
        let (value, end) = scan_value(text, equals + 1)?;
        visitor.field(at..equals, value);
        at = end;
        match text.get(at) {
            Some(b',') => at += 1,
            Some(b' ') => break,
            _ if ends_line(text, at) => break,
            _ => return Err(LineError::expected(LineExpected::AfterValue, text, at)),
        }
    }
    at = skip_spaces(text, at);
    if !ends_line(text, at) {
        let end = scan_timestamp(text, at)?;
        visitor.timestamp(at..end);
        at = skip_spaces(text, end);
    }
    match text.get(at) {
        None | Some(b'\n') => Ok(at),
        Some(b'\r') if ends_line(text, at) => Ok((at + 1).min(text.len())),
        _ => Err(LineError::expected(LineExpected::LineEnd, text, at)),
    }
}

#[cfg(test)]
mod tests;
