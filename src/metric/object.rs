//! Objects: one metric after another, read member by member, whatever their spelling.
//!
//! The common shape of a metric is read by `common`, and what differs from it by the scanners of
//! `token` and `number`, which know the four members: measured, a general parser spends as long on
//! an event as a core may spend on all of it. What else JSON allows, in fields that we ignore or
//! refuse, goes to sonic-rs. It skips nested values recursively and without a limit, and takes any
//! five bytes after `\u`; so a value's brackets are counted and its strings checked before it is
//! asked.

use serde::de::IgnoredAny;

use crate::limits::{DEVICE_ID_BYTES_MAX, FUTURE_MS_MAX, IGNORED_NAMES_MAX, JSON_DEPTH_MAX};
use crate::metric::batch::{Arena, EventSpans, Span};
use crate::metric::event_builder::{EventBuilder, is_device_id};
use crate::metric::fast_path;
use crate::metric::json_error::{Expected, JsonError};
use crate::metric::number::{scan_number, scan_whole_number};
use crate::metric::rejection::{JsonKind, Member, Rejection};
use crate::metric::scan::{
    StringToken, container_end, scan_string, skip_blanks, unescape, word_end,
};
use crate::metric::timestamp::{self, ParsedTimestamp};
use percore::clock::Now;

/// Reads the objects of a body, and keeps what their meaning needs beside it.
#[derive(Debug, Default)]
pub(super) struct ObjectReader {
    arena: Arena,
    /// No event may be later.
    latest_ms: i64,
    /// The first event of this body that was refused although it names a device, and that name.
    rejected_device: Option<(Rejection, Span)>,
    /// Events with members that are ignored though a name or a time is missing.
    suspicious: u64,
    /// What was ignored in the first of them, and what it lacks.
    ignored: Option<([Span; IGNORED_NAMES_MAX], MissingOptional)>,
}

/// What an event may do without, and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingOptional {
    /// Whether it names no device.
    pub device_id: bool,
    /// Whether it says no time.
    pub timestamp: bool,
}

/// One item, and the first byte after it.
pub(super) type Item = (Result<EventSpans, Rejection>, usize);

impl ObjectReader {
    /// Begins a body of so many bytes.
    pub(super) fn begin_body(&mut self, body_bytes: usize, received: Now) {
        self.latest_ms = received.wall_ms().saturating_add(FUTURE_MS_MAX);
        self.reset(body_bytes);
    }

    /// Begins the same body again.
    pub(super) fn reset(&mut self, body_bytes: usize) {
        self.arena.clear(body_bytes);
        self.rejected_device = None;
        self.suspicious = 0;
        self.ignored = None;
    }

    /// Why the first event was refused that names a device, and where that name stands.
    pub(super) const fn rejected_device(&self) -> Option<(Rejection, Span)> {
        self.rejected_device
    }

    /// How many events have members that are ignored though a name or a time is missing, and of the
    /// first of them where their names stand.
    pub(super) fn ignored(&self) -> Option<(u64, &[Span], MissingOptional)> {
        let (names, missing) = self.ignored.as_ref()?;
        Some((self.suspicious, names, *missing))
    }

    /// What stands in no body.
    pub(super) const fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Keeps an integer that stands in no body.
    pub(super) fn append_integer(&mut self, integer: u64) -> Span {
        self.arena.append_integer(integer)
    }

    /// Reads the value that begins at `start`, inside of `outside` brackets. The timestamp of an
    /// event is empty if none was sent.
    pub(super) fn read_item(
        &mut self,
        text: &[u8],
        start: usize,
        outside: usize,
    ) -> Result<Item, JsonError> {
        if let Some((record, end)) = self.read_fast(text, start) {
            return Ok((Ok(record), end));
        }
        if text.get(start) == Some(&b'{') {
            return self.read_object(text, start, outside + 1);
        }
        let (found, end) = skip_value(text, start, outside)?;
        Ok((Err(Rejection::NotObject { found }), end))
    }

    /// Reads an event of the common shape, if one begins at `start`.
    #[inline(always)]
    pub(super) fn read_fast(&self, text: &[u8], start: usize) -> Option<(EventSpans, usize)> {
        if text.get(start) != Some(&b'{') {
            return None;
        }
        fast_path::parse(text, start, self.latest_ms)
    }

    /// Reads an object to its end, also past a bad field: only so it is known to be JSON.
    fn read_object(&mut self, text: &[u8], start: usize, depth: usize) -> Result<Item, JsonError> {
        let mut event = EventBuilder::new(start);
        let mut at = skip_blanks(text, start + 1);
        if text.get(at) == Some(&b'}') {
            return Ok((self.finish(&event), at + 1));
        }
        loop {
            let name_at = at;
            let (member, end) = match Member::at_canonical_name(text, at) {
                Some((member, end)) => (Some(member), end),
                None => self.read_name(text, at)?,
            };
            at = skip_blanks(text, end);
            if text.get(at) != Some(&b':') {
                return Err(JsonError::expected(Expected::Colon, text, at));
            }
            at = skip_blanks(text, at + 1);
            at = if let Some(member) = member {
                event.set_present(member, name_at);
                let field = self.read_value(&mut event, member, text, at, depth);
                field.map_err(|error| value_error(error, member, text, at))?
            } else {
                event.add_ignored(Span::new(name_at + 1, end - 1));
                skip_value(text, at, depth)?.1
            };
            at = skip_blanks(text, at);
            match text.get(at) {
                Some(b',') => at = skip_blanks(text, at + 1),
                Some(b'}') => return Ok((self.finish(&event), at + 1)),
                _ => return Err(JsonError::expected(Expected::CommaOrBrace, text, at)),
            }
        }
    }

    /// Reads any name at `at`: the member that it means, if any, and where it ends.
    fn read_name(&mut self, text: &[u8], at: usize) -> Result<(Option<Member>, usize), JsonError> {
        if text.get(at) != Some(&b'"') {
            return Err(JsonError::expected(Expected::Name, text, at));
        }
        let name = scan_string(text, at + 1)?;
        let (member, _) = self.with_unescaped(text, at + 1, name, Member::from_name);
        Ok((member, name.end + 1))
    }

    /// Reads the value of a field, and says where it ends.
    fn read_value(
        &mut self,
        event: &mut EventBuilder,
        member: Member,
        text: &[u8],
        at: usize,
        depth: usize,
    ) -> Result<usize, JsonError> {
        // After the first broken rule nothing comes of an object but whose it is, and whether it is
        // JSON.
        if event.rejection.is_none() || member == Member::DeviceId {
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

    /// Reads a number, which a device id may be as well.
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
            Member::Value(field) => event.set_value(field, number.value(text), sent, at),
            Member::Timestamp => {
                let literal = text.get(at..number.end).unwrap_or_default();
                self.set_timestamp(event, timestamp::from_number(number, literal), sent, at);
            }
            Member::DeviceId if number.is_digits() => {
                let is_short = number.end - at <= DEVICE_ID_BYTES_MAX;
                event.set_device_id(is_short, sent, at);
            }
            Member::DeviceId => event.reject_type(member, JsonKind::Number, at),
        }
        Ok(number.end)
    }

    /// Reads a string, which any field may be: template engines put numbers into quotes.
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
                let (value, literal) = self.with_unescaped(text, at + 1, sent, |literal| {
                    scan_whole_number(literal).map(|number| number.value(literal))
                });
                match value {
                    Some(value) => event.set_value(field, value, literal, at),
                    None => event.reject_type(member, JsonKind::String, at),
                }
            }
            Member::Timestamp => {
                let (reading, kept) = self.with_unescaped(text, at + 1, sent, timestamp::from_text);
                self.set_timestamp(event, reading, kept, at);
            }
            Member::DeviceId => {
                let (good, id) = self.with_unescaped(text, at + 1, sent, is_device_id);
                event.set_device_id(good, id, at);
            }
        }
        Ok(sent.end + 1)
    }

    /// Takes the moment of an event; an integer is kept as it stands at `sent`.
    fn set_timestamp(
        &mut self,
        event: &mut EventBuilder,
        reading: Option<ParsedTimestamp>,
        sent: Span,
        at: usize,
    ) {
        let moment = reading.map(|reading| match reading {
            ParsedTimestamp::Integer(ms) => (sent, ms),
            ParsedTimestamp::Time(moment) => (self.arena.append_integer(moment.key()), moment.ms()),
        });
        event.set_timestamp(moment, self.latest_ms, at);
    }

    /// What `read` makes of a string's meaning, and where that meaning is kept.
    #[inline]
    fn with_unescaped<T>(
        &mut self,
        text: &[u8],
        start: usize,
        sent: StringToken,
        read: impl FnOnce(&[u8]) -> T,
    ) -> (T, Span) {
        let raw = text.get(start..sent.end).unwrap_or_default();
        if sent.escaped {
            let kept = self.arena.append(|out| unescape(raw, out));
            return (read(self.arena.text(kept).as_bytes()), kept);
        }
        (read(raw), Span::new(start, sent.end))
    }

    /// The event that the fields of a whole object make.
    #[inline]
    fn finish(&mut self, event: &EventBuilder) -> Result<EventSpans, Rejection> {
        if let Some(rejection) = event.rejection {
            return Err(self.note_rejected(event, rejection));
        }
        if let Some(field) = event.missing_field() {
            return Err(self.note_rejected(event, Rejection::Missing { field }));
        }
        if event.may_be_misspelt() {
            self.note_ignored(event);
        }
        let (timestamp, timestamp_ms) = event.timestamp.unwrap_or_default();
        Ok(EventSpans {
            device_id: event.device_id,
            timestamp,
            timestamp_ms,
            values: event.values,
            literals: event.literals,
        })
    }

    #[cold]
    fn note_ignored(&mut self, event: &EventBuilder) {
        self.suspicious += 1;
        self.ignored.get_or_insert_with(|| {
            let is_missing = |member| !event.is_present(member);
            let (device_id, timestamp) =
                (is_missing(Member::DeviceId), is_missing(Member::Timestamp));
            (event.ignored, MissingOptional { device_id, timestamp })
        });
    }

    #[cold]
    fn note_rejected(&mut self, event: &EventBuilder, rejection: Rejection) -> Rejection {
        if self.rejected_device.is_none() && !event.device_id.is_empty() {
            self.rejected_device = Some((rejection, event.device_id));
        }
        rejection
    }
}

/// Reads any value but a field's own kind: what it is, and where it ends.
fn skip_value(text: &[u8], at: usize, depth: usize) -> Result<(JsonKind, usize), JsonError> {
    let room = JSON_DEPTH_MAX.saturating_sub(depth);
    let (kind, end) = match text.get(at) {
        Some(b'"') => return Ok((JsonKind::String, scan_string(text, at + 1)?.end + 1)),
        Some(b'0'..=b'9' | b'-') => return Ok((JsonKind::Number, scan_number(text, at)?.end)),
        Some(b'{') => (JsonKind::Object, container_end(text, at, room)?),
        Some(b'[') => (JsonKind::Array, container_end(text, at, room)?),
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

/// What is wrong with the value of a member that begins at `at`.
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
