//! Decoding: a request's body in, a [`Batch`] of events and rejections out.
//!
//! Pure: no socket, no clock. A body is one object, an array of objects, or objects line by line
//! (NDJSON); see [`Decoder::decode`].
//!
//! The common shape of a metric, plain strings and numbers in one flat object, is decoded directly
//! with the scanners of `token`: measured, a general parser spends as long on it as a core may
//! spend on the whole event. Whatever else JSON allows there, in fields that we ignore or refuse,
//! goes to sonic-rs. It skips nested values recursively and without a limit, and takes any five
//! bytes after `\u`; so a value's brackets are counted and its strings checked before it is asked.

use std::str;

use memchr::memchr;
use serde::de::IgnoredAny;

use crate::clock::Now;
use crate::limits::{BATCH_EVENTS_MAX, BODY_BYTES_MAX, JSON_DEPTH_MAX};
use crate::metric::batch::{Arena, Batch, Record, Span};
use crate::metric::fields::{Fields, is_device_id};
use crate::metric::malformed::{Expected, Malformed, position};
use crate::metric::rejection::{BodyError, Kind, Member, Rejection};
use crate::metric::timestamp;
use crate::metric::token::{Text, blank, container, number, string, unescape};

/// How a body's lines are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// By what the body looks like: one object, which may span lines; an array; or one a line.
    Detect,
    /// One object a line: what `application/x-ndjson` says.
    Always,
}

/// Decodes bodies, one after another. Its storage grows to the largest batch seen and is used
/// again, so decoding does not allocate in the steady state. Each core has one.
#[derive(Debug, Default)]
pub struct Decoder {
    items: Vec<Result<Record, Rejection>>,
    arena: Arena,
    received_ms: i64,
    /// Where the arena holds the time of receipt, once an event of this body needed it.
    receipt: Option<Span>,
}

/// One item, and the first byte after it.
type Item = (Result<Record, Rejection>, usize);

impl Decoder {
    /// A decoder without any storage yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes a whole body of at most [`BODY_BYTES_MAX`] bytes, received at `received`.
    ///
    /// A bad line costs that line, also if it is not JSON or not UTF-8; blank lines do not count.
    /// A bad element of an array costs that element as long as the array is JSON. Under
    /// [`Lines::Detect`] a body that begins with `[` is an array. Another one is read line by line
    /// if its first line is a whole value and another follows, or if it is not a value as a whole
    /// but its second line begins an object.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if nothing of the body may be applied: it is empty, malformed as a whole, or
    /// holds more than [`BATCH_EVENTS_MAX`] items.
    pub fn decode<'d>(
        &'d mut self,
        body: &'d [u8],
        lines: Lines,
        received: Now,
    ) -> Result<Batch<'d>, BodyError> {
        debug_assert!(
            body.len() <= BODY_BYTES_MAX,
            "offsets into a body have 32 bits"
        );
        self.items.clear();
        self.arena.clear(body.len());
        self.received_ms = received.wall_ms;
        self.receipt = None;

        let text = str::from_utf8(body);
        let valid = text.map_or_else(|error| error.valid_up_to(), str::len);
        let start = blank(body, 0);
        match (lines, body.get(start)) {
            (_, None) => return Err(BodyError::Empty),
            (Lines::Always, _) => self.lines(body, start, valid)?,
            (Lines::Detect, Some(b'[')) => self.array(body, start, valid)?,
            (Lines::Detect, Some(_)) => self.one_or_lines(body, start, valid)?,
        }
        let (items, arena, text) = (self.items.as_slice(), &self.arena, text.ok());
        Ok(Batch {
            items,
            body,
            text,
            arena,
        })
    }

    /// Reads the array that begins at `start`. Only the first `valid` bytes of the body are UTF-8.
    fn array(&mut self, body: &[u8], start: usize, valid: usize) -> Result<(), BodyError> {
        let text = body.get(..valid).unwrap_or_default();
        let whole = |error| whole_body(error, body, valid);
        let mut at = blank(text, start + 1);
        if text.get(at) != Some(&b']') {
            loop {
                let (item, end) = self.item(text, at, 1).map_err(whole)?;
                self.push(item)?;
                at = blank(text, end);
                match text.get(at) {
                    Some(b',') => at = blank(text, at + 1),
                    Some(b']') => break,
                    _ => return Err(whole(wrong(Expected::CommaOrBracket, text, at))),
                }
            }
        }
        let more = blank(body, at + 1);
        if more < body.len() {
            return Err(whole(wrong(Expected::End, body, more)));
        }
        Ok(())
    }

    /// Reads a body that is no array. One object may span lines, so the first value is decoded
    /// before the form is known.
    fn one_or_lines(&mut self, body: &[u8], start: usize, valid: usize) -> Result<(), BodyError> {
        let text = body.get(..valid).unwrap_or_default();
        let line_end = line_end(body, start);
        let error = match self.item(text, start, 0) {
            Ok((item, end)) => {
                let more = blank(body, end);
                if more == body.len() {
                    return self.push(item);
                }
                if end <= line_end && line_end < more {
                    self.push(item)?;
                    return self.lines(body, line_end, valid);
                }
                wrong(Expected::End, body, more)
            }
            Err(error) => error,
        };
        // A single object's second line begins with a name or a bracket's end.
        if body.get(blank(body, line_end)) == Some(&b'{') {
            return self.lines(body, start, valid);
        }
        Err(whole_body(error, body, valid))
    }

    /// Reads lines from `at` on.
    fn lines(&mut self, body: &[u8], mut at: usize, valid: usize) -> Result<(), BodyError> {
        while at < body.len() {
            let end = line_end(body, at);
            let text = body.get(..end).unwrap_or_default();
            let start = blank(text, at);
            if start < end {
                let item = self.line(text, start, valid);
                self.push(item)?;
            }
            at = end + 1;
        }
        Ok(())
    }

    /// Reads the line from `start` to the end of `text`, which is the body up to there.
    fn line(&mut self, text: &[u8], start: usize, valid: usize) -> Result<Record, Rejection> {
        let malformed = |error: Malformed| Rejection::Malformed(error.since(start));
        if text.len() > valid {
            let line = text.get(start..).unwrap_or_default();
            str::from_utf8(line).map_err(|error| {
                let at = position(error.valid_up_to());
                Rejection::Malformed(Malformed::Utf8 { at })
            })?;
        }
        let (item, end) = self.item(text, start, 0).map_err(malformed)?;
        let more = blank(text, end);
        if more < text.len() {
            return Err(malformed(wrong(Expected::End, text, more)));
        }
        item
    }

    fn push(&mut self, item: Result<Record, Rejection>) -> Result<(), BodyError> {
        if self.items.len() == BATCH_EVENTS_MAX {
            return Err(BodyError::TooManyEvents);
        }
        self.items.push(item);
        Ok(())
    }

    /// Reads the value that begins at `start`, inside of `outside` brackets.
    fn item(&mut self, text: &[u8], start: usize, outside: usize) -> Result<Item, Malformed> {
        if text.get(start) == Some(&b'{') {
            return self.object(text, start, outside + 1);
        }
        let (found, end) = value(text, start, outside)?;
        Ok((Err(Rejection::NotObject { found }), end))
    }

    /// Reads an object to its end, also past a bad field: only so it is known to be JSON.
    fn object(&mut self, text: &[u8], start: usize, depth: usize) -> Result<Item, Malformed> {
        let mut fields = Fields::new(start);
        let mut at = blank(text, start + 1);
        if text.get(at) == Some(&b'}') {
            return Ok((self.finish(&fields), at + 1));
        }
        loop {
            if text.get(at) != Some(&b'"') {
                return Err(wrong(Expected::Name, text, at));
            }
            let name_at = at;
            let name = string(text, at + 1)?;
            let member = if name.escaped {
                self.meaning(text, at + 1, name, |name| {
                    Member::from_name(name.as_bytes())
                })
                .0
            } else {
                Member::from_name(text.get(at + 1..name.end).unwrap_or_default())
            };
            at = blank(text, name.end + 1);
            if text.get(at) != Some(&b':') {
                return Err(wrong(Expected::Colon, text, at));
            }
            at = blank(text, at + 1);
            at = if let Some(member) = member {
                fields.give(member, name_at);
                self.field(&mut fields, member, text, at, depth)?
            } else {
                value(text, at, depth)?.1
            };
            at = blank(text, at);
            match text.get(at) {
                Some(b',') => at = blank(text, at + 1),
                Some(b'}') => return Ok((self.finish(&fields), at + 1)),
                _ => return Err(wrong(Expected::CommaOrBrace, text, at)),
            }
        }
    }

    /// Reads the value of a field, and says where it ends.
    fn field(
        &mut self,
        fields: &mut Fields,
        member: Member,
        text: &[u8],
        at: usize,
        depth: usize,
    ) -> Result<usize, Malformed> {
        let first = text.get(at).copied().unwrap_or_default();
        match (member, first) {
            (Member::Measured(field), b'0'..=b'9' | b'-') => {
                let number = number(text, at)?;
                fields.measure(field, number.value(text), Span::new(at, number.end), at);
                Ok(number.end)
            }
            (Member::Timestamp, b'0'..=b'9' | b'-') => {
                let number = number(text, at)?;
                let sent = Span::new(at, number.end);
                let ms = number.integer().and_then(timestamp::from_integer);
                fields.happen(ms.map(|ms| (sent, ms)), self.received_ms, at);
                Ok(number.end)
            }
            (Member::Timestamp, b'"') => {
                let sent = string(text, at + 1)?;
                let (ms, _) = self.meaning(text, at + 1, sent, timestamp::from_rfc3339);
                let moment = ms.map(|ms| (self.arena.keep_integer(ms), ms));
                fields.happen(moment, self.received_ms, at);
                Ok(sent.end + 1)
            }
            (Member::DeviceId, b'"') => {
                let sent = string(text, at + 1)?;
                let (good, id) = self.meaning(text, at + 1, sent, is_device_id);
                fields.device_id = id;
                fields.check(good, at, |at| Rejection::DeviceId { at });
                Ok(sent.end + 1)
            }
            _ => {
                let (found, end) = value(text, at, depth)?;
                let absent = found == Kind::Null && member.is_optional();
                fields.check(absent, at, |at| Rejection::Type { member, found, at });
                Ok(end)
            }
        }
    }

    /// What `read` makes of a string's meaning, and where that meaning is kept.
    #[inline]
    fn meaning<T>(
        &mut self,
        text: &[u8],
        start: usize,
        sent: Text,
        read: impl FnOnce(&str) -> T,
    ) -> (T, Span) {
        let raw = text.get(start..sent.end).unwrap_or_default();
        if sent.escaped {
            let kept = self.arena.keep(|out| unescape(raw, out));
            return (read(self.arena.text(kept)), kept);
        }
        let plain = str::from_utf8(raw).unwrap_or_default();
        (read(plain), Span::new(start, sent.end))
    }

    /// The event that the fields of a whole object make.
    #[inline]
    fn finish(&mut self, fields: &Fields) -> Result<Record, Rejection> {
        if let Some(rejection) = fields.rejection {
            return Err(rejection);
        }
        if let Some(field) = fields.missing() {
            return Err(Rejection::Missing { field });
        }
        let (timestamp, timestamp_ms) = match (fields.timestamp, self.receipt) {
            (Some(sent), _) => sent,
            (None, Some(receipt)) => (receipt, self.received_ms),
            (None, None) => {
                let receipt = self.arena.keep_integer(self.received_ms);
                self.receipt = Some(receipt);
                (receipt, self.received_ms)
            }
        };
        let Fields {
            device_id,
            values,
            literals,
            ..
        } = *fields;
        Ok(Record {
            device_id,
            timestamp,
            timestamp_ms,
            values,
            literals,
        })
    }
}

/// Reads any value but a field's own kind: what it is, and where it ends.
fn value(text: &[u8], at: usize, depth: usize) -> Result<(Kind, usize), Malformed> {
    let room = JSON_DEPTH_MAX.saturating_sub(depth);
    let (kind, end) = match text.get(at) {
        Some(b'"') => return Ok((Kind::String, string(text, at + 1)?.end + 1)),
        Some(b'0'..=b'9' | b'-') => return Ok((Kind::Number, number(text, at)?.end)),
        Some(b'{') => (Kind::Object, container(text, at, room)?),
        Some(b'[') => (Kind::Array, container(text, at, room)?),
        Some(b'n') => (Kind::Null, word_end(text, at)),
        Some(b't' | b'f') => (Kind::Boolean, word_end(text, at)),
        _ => return Err(wrong(Expected::Value, text, at)),
    };
    let json = text.get(at..end).unwrap_or_default();
    match sonic_rs::from_slice::<IgnoredAny>(json) {
        Ok(_) => Ok((kind, end)),
        Err(error) => Err(wrong(
            Expected::Value,
            text,
            at + error.offset().min(json.len()),
        )),
    }
}

fn word_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count()
}

/// The end of the line that `at` is in: its newline, or the end of the body.
#[inline]
fn line_end(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    memchr(b'\n', rest).map_or(body.len(), |length| at + length)
}

fn wrong(expected: Expected, text: &[u8], at: usize) -> Malformed {
    Malformed::expected(expected, text, at)
}

/// An error of a body that is one value. Bytes that are not UTF-8 are reported as such, where a
/// parser that sees only what is before them found the end.
#[cold]
fn whole_body(error: Malformed, body: &[u8], valid: usize) -> BodyError {
    let at = position(valid);
    if valid < body.len() && error.at() >= at {
        return BodyError::Malformed(Malformed::Utf8 { at });
    }
    BodyError::Malformed(error)
}
