//! The object reader: reads metrics member by member.
//!
//! `fast_path` reads metrics of the usual shape. All others are read here with the scanners of
//! `scan` and `number`: a general parser was measured to spend as long on an event as a core may
//! spend on all of it. Only values of members that are ignored or refused go to sonic-rs. It skips
//! nested values recursively without a limit, and accepts any five bytes after `\u`; so brackets
//! are counted and strings checked before it gets the value.

use serde::de::IgnoredAny;

use crate::limits::{DEVICE_ID_BYTES_MAX, JSON_DEPTH_MAX};
use crate::metric::batch::EventSpans;
use crate::metric::device_id::is_device_id;
use crate::metric::event_builder::EventBuilder;
use crate::metric::event_writer::EventWriter;
use crate::metric::fast_path;
use crate::metric::json_error::{Expected, JsonError, position};
use crate::metric::member::Member;
use crate::metric::member_table::MemberTable;
use crate::metric::number::{scan_number, scan_whole_number};
use crate::metric::rejection::{JsonKind, Rejection};
use crate::metric::scan::{
    StringToken, container_end, scan_string, skip_blanks, unescape, word_end,
};
use crate::metric::span::Span;
use crate::metric::timestamp;
use crate::schema::Schema;

/// Reads the objects of a body.
#[derive(Debug)]
pub(super) struct ObjectReader {
    /// The members as they are usually written.
    usual: MemberTable,
    members: MemberTable,
    /// Takes what is read.
    pub(super) writer: EventWriter,
}

/// An item, and the offset of the first byte after it.
pub(super) type Item = (Result<EventSpans, Rejection>, usize);

impl ObjectReader {
    /// Returns a reader of metrics of this schema.
    pub(super) fn new(schema: &'static Schema) -> Self {
        Self {
            usual: MemberTable::of_objects(schema),
            members: MemberTable::of_names(schema),
            writer: EventWriter::new(schema),
        }
    }

    /// Returns the error of a form instead of JSON, which ends to be JSON at `at`.
    pub(super) fn form_error(&self, at: u32) -> JsonError {
        JsonError::Form { example: &self.writer.schema.example, at }
    }

    /// Reads the item that begins at `start`, inside `outside` brackets. The timestamp of an event
    /// is empty if none was sent.
    pub(super) fn read_item(
        &mut self,
        text: &[u8],
        start: usize,
        outside: usize,
    ) -> Result<Item, JsonError> {
        if let Some((spans, end)) = self.read_fast(text, start) {
            return Ok((Ok(spans), end));
        }
        if text.get(start) == Some(&b'{') {
            return self.read_object(text, start, outside + 1);
        }
        let (found, end) = skip_value(text, start, outside)?;
        Ok((Err(Rejection::NotObject { found }), end))
    }

    /// Reads an event of the usual shape, if one begins at `start`.
    #[inline(always)]
    pub(super) fn read_fast(&mut self, text: &[u8], start: usize) -> Option<(EventSpans, usize)> {
        if text.get(start) != Some(&b'{') {
            return None;
        }
        let Self { usual, writer: EventWriter { required, rows, latest_ms, .. }, .. } = self;
        rows.begin_row();
        let start = position(start);
        let (spans, end) = fast_path::parse(usual, rows, *required, text, start, *latest_ms)?;
        Some((spans, end as usize))
    }

    /// Reads an object to its end, even after a broken rule: only then it is known to be JSON.
    fn read_object(&mut self, text: &[u8], start: usize, depth: usize) -> Result<Item, JsonError> {
        self.writer.rows.begin_row();
        let mut event = EventBuilder::new(start);
        let mut cursor = self.members.cursor();
        let mut at = skip_blanks(text, start + 1);
        if text.get(at) == Some(&b'}') {
            return Ok((self.writer.finish(&event), at + 1));
        }
        loop {
            let name_at = at;
            let (member, name_end, colon_end) =
                match self.members.read(text, position(at), &mut cursor) {
                    Some((member, end)) => (Some(member), end as usize - 1, end as usize),
                    None => self.read_name(text, at)?,
                };
            at = skip_blanks(text, colon_end);
            at = if let Some(member) = member {
                event.set_present(member, name_at);
                let field = self.read_value(&mut event, member, text, at, depth);
                field.map_err(|error| value_error(error, member, text, at))?
            } else {
                event.add_ignored(Span::new(name_at + 1, name_end - 1));
                skip_value(text, at, depth)?.1
            };
            at = skip_blanks(text, at);
            match text.get(at) {
                Some(b',') => at = skip_blanks(text, at + 1),
                Some(b'}') => return Ok((self.writer.finish(&event), at + 1)),
                _ => return Err(JsonError::expected(Expected::CommaOrBrace, text, at)),
            }
        }
    }

    /// Reads the name and the colon at `at`. Returns the member that it means, if any, and the ends
    /// of both.
    fn read_name(
        &mut self,
        text: &[u8],
        at: usize,
    ) -> Result<(Option<Member>, usize, usize), JsonError> {
        if text.get(at) != Some(&b'"') {
            return Err(JsonError::expected(Expected::Name, text, at));
        }
        let name = scan_string(text, at + 1)?;
        let (member, _) = self.with_unescaped(text, at + 1, name, MemberTable::of_name);
        let colon = skip_blanks(text, name.end + 1);
        if text.get(colon) != Some(&b':') {
            return Err(JsonError::expected(Expected::Colon, text, colon));
        }
        Ok((member, name.end + 1, colon + 1))
    }

    /// Reads the value of a member, and returns its end.
    fn read_value(
        &mut self,
        event: &mut EventBuilder,
        member: Member,
        text: &[u8],
        at: usize,
        depth: usize,
    ) -> Result<usize, JsonError> {
        // After the first broken rule only the device id is still of use.
        if event.rejection.is_none() || matches!(member, Member::DeviceId(_)) {
            match text.get(at) {
                Some(b'"') => return self.read_string(event, member, text, at),
                Some(b'0'..=b'9' | b'-') => return self.read_number(event, member, text, at),
                _ => {}
            }
        }
        let (found, end) = skip_value(text, at, depth)?;
        if found != JsonKind::Null || !member.is_optional() {
            event.reject_type(member, found, at);
        }
        Ok(end)
    }

    /// Reads a number, which every member may be.
    fn read_number(
        &mut self,
        event: &mut EventBuilder,
        member: Member,
        text: &[u8],
        at: usize,
    ) -> Result<usize, JsonError> {
        let number = scan_number(text, at)?;
        let sent = Span::new(at, number.end);
        match member {
            Member::Value(field) => {
                let value = number.value(text, field.magnitude_max());
                event.set_value(&mut self.writer.rows, field, value, sent, at);
            }
            Member::Timestamp(_) => {
                let literal = text.get(at..number.end).unwrap_or_default();
                let parsed = timestamp::from_number(number, literal);
                self.writer.set_timestamp(event, member, parsed, at);
            }
            Member::DeviceId(_) if number.is_digits() => {
                let is_short = number.end - at <= DEVICE_ID_BYTES_MAX;
                event.set_device_id(member, is_short, sent, at);
            }
            Member::DeviceId(_) => event.reject_type(member, JsonKind::Number, at),
        }
        Ok(number.end)
    }

    /// Reads a string, which every member may be: template engines put numbers into quotes.
    fn read_string(
        &mut self,
        event: &mut EventBuilder,
        member: Member,
        text: &[u8],
        at: usize,
    ) -> Result<usize, JsonError> {
        let sent = scan_string(text, at + 1)?;
        match member {
            Member::Value(field) => {
                let (value, literal) = self.with_unescaped(text, at + 1, sent, |_, literal| {
                    let number = scan_whole_number(literal)?;
                    Some(number.value(literal, field.magnitude_max()))
                });
                match value {
                    Some(value) => {
                        event.set_value(&mut self.writer.rows, field, value, literal, at);
                    }
                    None => event.reject_type(member, JsonKind::String, at),
                }
            }
            Member::Timestamp(_) => {
                let (parsed, _) =
                    self.with_unescaped(text, at + 1, sent, |_, text| timestamp::from_text(text));
                self.writer.set_timestamp(event, member, parsed, at);
            }
            Member::DeviceId(_) => {
                let (is_valid, id) =
                    self.with_unescaped(text, at + 1, sent, |_, id| is_device_id(id));
                event.set_device_id(member, is_valid, id, at);
            }
        }
        Ok(sent.end + 1)
    }

    /// Calls `read` with the text of a string, escapes decoded. Returns its result and the text's
    /// span.
    #[inline]
    fn with_unescaped<T>(
        &mut self,
        text: &[u8],
        start: usize,
        sent: StringToken,
        read: impl FnOnce(&MemberTable, &[u8]) -> T,
    ) -> (T, Span) {
        let raw = text.get(start..sent.end).unwrap_or_default();
        if sent.escaped {
            let kept = self.writer.arena.append(|out| unescape(raw, out));
            return (read(&self.members, self.writer.arena.text(kept).as_bytes()), kept);
        }
        (read(&self.members, raw), Span::new(start, sent.end))
    }
}

/// Skips any value. Returns its kind and its end.
fn skip_value(text: &[u8], at: usize, depth: usize) -> Result<(JsonKind, usize), JsonError> {
    let depth_max = JSON_DEPTH_MAX.saturating_sub(depth);
    let (kind, end) = match text.get(at) {
        Some(b'"') => return Ok((JsonKind::String, scan_string(text, at + 1)?.end + 1)),
        Some(b'0'..=b'9' | b'-') => return Ok((JsonKind::Number, scan_number(text, at)?.end)),
        Some(b'{') => (JsonKind::Object, container_end(text, at, depth_max)?),
        Some(b'[') => (JsonKind::Array, container_end(text, at, depth_max)?),
        Some(b'n') => (JsonKind::Null, word_end(text, at)),
        Some(b't' | b'f') => (JsonKind::Boolean, word_end(text, at)),
        _ => return Err(JsonError::expected(Expected::Value, text, at)),
    };
    let json = text.get(at..end).unwrap_or_default();
    match sonic_rs::from_slice::<IgnoredAny>(json) {
        Ok(_) => Ok((kind, end)),
        Err(error) => {
            Err(JsonError::expected(Expected::Value, text, at + error.offset().min(json.len())))
        }
    }
}

/// Returns the error of a member's value that begins at `at`: NaN and infinity are named as such.
#[cold]
fn value_error(error: JsonError, member: Member, text: &[u8], at: usize) -> JsonError {
    let sign = matches!(text.get(at), Some(b'-' | b'+'));
    let start = at + usize::from(sign);
    let word = text.get(start..word_end(text, start)).unwrap_or_default();
    let names: [&[u8]; 3] = [b"nan", b"inf", b"infinity"];
    let error = if names.iter().any(|name| word.eq_ignore_ascii_case(name)) {
        JsonError::expected(Expected::Finite, text, at)
    } else {
        error
    };
    error.in_member(member)
}
