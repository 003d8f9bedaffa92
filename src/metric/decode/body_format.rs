//! The formats of a body: one object, an array of objects, or objects one after the other, line by
//! line (NDJSON) or without a newline between them. See [`Decoder::decode`].
//!
//! `curl -d @file` removes the newlines of a file, so that NDJSON arrives as objects in one line.
//! It can still be read, but after an object that is not JSON nothing tells where the next one
//! begins.

use super::{Decoder, LineMode};
use crate::metric::json_error::{
    BYTE_ORDER_MARK, Expected, JsonError, or_utf8_error, utf8_prefix_bytes,
};
use crate::metric::rejection::{BodyError, Rejection};
use crate::metric::scan::{line_end, skip_blanks};

impl Decoder {
    /// Reads all items of a body.
    #[inline(always)]
    pub(super) fn read(&mut self, body: &[u8], lines: LineMode) -> Result<(), BodyError> {
        self.read_from(body, skip_blanks(body, 0), lines)
    }

    /// Reads all items of a body from `start` on, where there is no blank.
    #[inline(always)]
    fn read_from(&mut self, body: &[u8], start: usize, lines: LineMode) -> Result<(), BodyError> {
        let at = self.fast_lines(body, start)?;
        if at == start {
            self.read_other(body, start, lines)
        } else if at < body.len() {
            self.read_lines(body, at)
        } else {
            Ok(())
        }
    }

    /// Reads events of the usual shape as long as each one ends its line or is followed by another
    /// object, and returns where the rest begins. This works before the format of the body is
    /// known: such an event contains no line end and only ASCII.
    fn fast_lines(&mut self, body: &[u8], at: usize) -> Result<usize, BodyError> {
        self.fast_events(body, at, |end| match body.get(end) {
            None | Some(b'\n') => Some(end + 1),
            Some(b'{') => Some(end),
            Some(_) => None,
        })
    }

    /// Reads elements of an array of the usual shape as long as each one is followed by another
    /// object or by the bracket, and returns where the rest begins.
    fn fast_elements(&mut self, body: &[u8], at: usize) -> Result<usize, BodyError> {
        self.fast_events(body, at, |end| {
            let end = skip_blanks(body, end);
            match body.get(end) {
                Some(b',') => {
                    let next = skip_blanks(body, end + 1);
                    (body.get(next) == Some(&b'{')).then_some(next)
                }
                Some(b']') => Some(end),
                _ => None,
            }
        })
    }

    /// Reads events of the usual shape as long as `next` tells from the end of each one where the
    /// next one begins. Returns where the rest begins.
    #[inline(always)]
    fn fast_events(
        &mut self,
        body: &[u8],
        mut at: usize,
        next: impl Fn(usize) -> Option<usize>,
    ) -> Result<usize, BodyError> {
        while let Some((spans, end)) = self.objects.read_fast(body, at) {
            let Some(next) = next(end) else { break };
            self.push_event(spans)?;
            at = next;
        }
        Ok(at)
    }

    /// Reads a body whose first item is not of the usual shape.
    fn read_other(&mut self, body: &[u8], start: usize, lines: LineMode) -> Result<(), BodyError> {
        if start == 0 && body.starts_with(BYTE_ORDER_MARK) {
            let start = skip_blanks(body, BYTE_ORDER_MARK.len());
            return self.read_from(body, start, lines);
        }
        match (body.get(start), lines) {
            (None, _) => Err(BodyError::Empty),
            _ if is_utf16(body) => Err(BodyError::Malformed(JsonError::Utf16 { at: 0 })),
            (Some(b'['), LineMode::Detect) => self.read_array(body, start),
            (Some(b'['), LineMode::Always) => self.read_array_or_lines(body, start),
            (_, LineMode::Detect) => self.read_one_or_lines(body, start),
            (_, LineMode::Always) => self.read_lines(body, start),
        }
    }

    /// Reads the array that begins at `start`.
    fn read_array(&mut self, body: &[u8], start: usize) -> Result<(), BodyError> {
        let mut at = self.fast_elements(body, skip_blanks(body, start + 1))?;
        // All before is ASCII.
        let valid = at + utf8_prefix_bytes(body.get(at..).unwrap_or_default());
        let text = body.get(..valid).unwrap_or_default();
        let whole = |error| BodyError::Malformed(or_utf8_error(error, body, valid));
        let mut is_end = text.get(at) == Some(&b']');
        while !is_end {
            let (item, end) = self.objects.read_item(text, at, 1).map_err(whole)?;
            self.push(item)?;
            at = skip_blanks(text, end);
            match text.get(at) {
                Some(b',') => {
                    let next = skip_blanks(text, at + 1);
                    at = self.fast_elements(text, next)?;
                    // A bracket behind a comma is no end.
                    is_end = at > next && text.get(at) == Some(&b']');
                }
                Some(b']') => is_end = true,
                _ => return Err(whole(JsonError::expected(Expected::CommaOrBracket, text, at))),
            }
        }
        let more = skip_blanks(body, at + 1);
        if more < body.len() {
            return Err(whole(JsonError::expected(Expected::End, body, more)));
        }
        Ok(())
    }

    /// Reads a body of lines that begins with `[`: an array with the wrong media type, or a bad
    /// line. The lines of an array that is not JSON must not be taken for events.
    fn read_array_or_lines(&mut self, body: &[u8], start: usize) -> Result<(), BodyError> {
        let is_bad = self.read_array(body, start);
        if !matches!(is_bad, Err(BodyError::Malformed(_))) || self.begins_array(body, start) {
            return is_bad;
        }
        self.items.clear();
        self.assigned = None;
        self.objects.writer.reset(body.len());
        self.read_lines(body, start)
    }

    /// Returns true if the bracket at `start` begins an array that is not JSON, and not just a bad
    /// line: an object follows, or another value after which the array goes on beyond the line.
    fn begins_array(&mut self, body: &[u8], start: usize) -> bool {
        let next_of = |from: usize| {
            let rest = body.get(from..).unwrap_or_default();
            rest.iter().find(|byte| !b" \t\r".contains(byte))
        };
        let next = next_of(start + 1);
        if matches!(next, None | Some(b'{' | b']' | b'\n')) {
            return true;
        }
        let line_end = line_end(body, start);
        let line = body.get(..line_end).unwrap_or_default();
        if !matches!(self.read_array(line, start), Err(BodyError::Malformed(_))) {
            return false;
        }
        let text = body.get(..utf8_prefix_bytes(body)).unwrap_or_default();
        let goes_on = |end| match next_of(end) {
            Some(b']') => end > line_end,
            next => matches!(next, None | Some(b',' | b'\n')),
        };
        let first = self.objects.read_item(text, skip_blanks(text, start + 1), 1);
        first.is_ok_and(|(_, end)| goes_on(end))
    }

    /// Reads a body that is no array. An object may span lines, so the first value is decoded
    /// before the format is known.
    fn read_one_or_lines(&mut self, body: &[u8], start: usize) -> Result<(), BodyError> {
        let valid = utf8_prefix_bytes(body);
        let text = body.get(..valid).unwrap_or_default();
        let line_end = line_end(body, start);
        let error = match self.objects.read_item(text, start, 0) {
            Ok((item, end)) => {
                let more = skip_blanks(body, end);
                let is_followed = are_objects(body, start, more);
                if more == body.len() {
                    return self.push(item);
                }
                if end <= line_end && (line_end < more || is_followed) {
                    self.push(item)?;
                    return self.read_lines(body, more);
                }
                if is_followed {
                    self.push(item)?;
                    return self.read_objects(body, more, valid);
                }
                JsonError::expected(Expected::End, body, more)
            }
            Err(error) => error,
        };
        // A single object's second line begins with a name or a bracket's end.
        let is_lines = match (body.get(start), body.get(skip_blanks(body, line_end))) {
            (_, None) => false,
            (Some(b'{'), Some(&second)) => second == b'{',
            (_, Some(_)) => true,
        };
        if is_lines {
            return self.read_lines(body, start);
        }
        let error = or_utf8_error(error, body, valid).relative_to(start);
        let is_form = is_form(body.get(start..).unwrap_or_default());
        let error = if is_form { self.objects.form_error(error.at()) } else { error };
        self.push(Err(Rejection::Malformed(error)))
    }

    /// Reads lines from `at` on.
    fn read_lines(&mut self, body: &[u8], mut at: usize) -> Result<(), BodyError> {
        let valid = utf8_prefix_bytes(body);
        while at < body.len() {
            let end = line_end(body, at);
            let line = body.get(..end).unwrap_or_default();
            let start = skip_blanks(line, at);
            if start < end {
                self.read_objects(line, start, valid)?;
            }
            at = self.fast_lines(body, end + 1)?;
        }
        Ok(())
    }

    /// Reads the objects that follow one another from `at` to the end of `text`, which is the body
    /// or its start. A single value of another kind is an item too. The first `valid` bytes of the
    /// body are UTF-8.
    fn read_objects(&mut self, text: &[u8], mut at: usize, valid: usize) -> Result<(), BodyError> {
        let rest = text.get(at..).unwrap_or_default();
        let valid = if at <= valid { valid.min(text.len()) } else { at + utf8_prefix_bytes(rest) };
        let readable = text.get(..valid).unwrap_or_default();
        loop {
            let error = match self.objects.read_item(readable, at, 0) {
                Ok((item, end)) => {
                    let more = skip_blanks(text, end);
                    if more == text.len() {
                        return self.push(item);
                    }
                    if are_objects(text, at, more) {
                        self.push(item)?;
                        at = more;
                        continue;
                    }
                    JsonError::expected(Expected::End, text, more)
                }
                Err(error) => error,
            };
            let error = or_utf8_error(error, text, valid).relative_to(at);
            return self.push(Err(Rejection::Malformed(error)));
        }
    }
}

/// Returns true if objects begin at both offsets.
fn are_objects(text: &[u8], one: usize, other: usize) -> bool {
    [one, other].map(|at| text.get(at)) == [Some(&b'{'); 2]
}

/// Returns true if a body is in UTF-16 or UTF-32. Either it begins with a byte order mark, or one
/// of its first two bytes is zero, because JSON begins with an ASCII character (RFC 4627, section
/// 3).
pub(super) const fn is_utf16(body: &[u8]) -> bool {
    matches!(body, [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, _, ..] | [_, 0, ..])
}

/// Returns true if a text that is not JSON is an HTML form: `cpu=1&rps=2`, or percent-encoded JSON.
fn is_form(text: &[u8]) -> bool {
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_.-+%[]".contains(byte);
    let name = text.iter().take_while(is_name).count();
    let starts = |escape: &[u8; 3]| text.get(..3).is_some_and(|of| of.eq_ignore_ascii_case(escape));
    (name > 0 && text.get(name) == Some(&b'=')) || starts(b"%7b") || starts(b"%5b")
}
