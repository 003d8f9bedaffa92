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
use crate::metric::batch::{Arena, Record, Span};
use crate::metric::common;
use crate::metric::fields::{Fields, is_device_id};
use crate::metric::malformed::{Expected, Malformed};
use crate::metric::number::{number, whole_number};
use crate::metric::rejection::{Kind, Member, Rejection};
use crate::metric::timestamp::{self, Reading};
use crate::metric::token::{Text, blank, container, string, unescape, word_end};
use percore::clock::Now;

/// Reads the objects of a body, and keeps what their meaning needs beside it.
#[derive(Debug, Default)]
pub(super) struct Objects {
    arena: Arena,
    /// No event may be later.
    latest_ms: i64,
    /// The first event of this body that was refused although it names a device, and that name.
    blamed: Option<(Rejection, Span)>,
    /// Events with members that are ignored though a name or a time is missing.
    suspicious: u64,
    /// What was ignored in the first of them, and what it lacks.
    ignored: Option<([Span; IGNORED_NAMES_MAX], Lacking)>,
}

/// What an event may do without, and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Whether it names no device.
    pub device_id: bool,
    /// Whether it says no time.
    pub timestamp: bool,
}

/// One item, and the first byte after it.
pub(super) type Item = (Result<Record, Rejection>, usize);

impl Objects {
    /// Begins a body of so many bytes.
    pub(super) fn begin(&mut self, body_bytes: usize, received: Now) {
        self.latest_ms = received.wall_ms().saturating_add(FUTURE_MS_MAX);
        self.forget(body_bytes);
    }

    /// Begins the same body again.
    pub(super) fn forget(&mut self, body_bytes: usize) {
        self.arena.clear(body_bytes);
        self.blamed = None;
        self.suspicious = 0;
        self.ignored = None;
    }

    /// Why the first event was refused that names a device, and where that name stands.
    pub(super) const fn blamed(&self) -> Option<(Rejection, Span)> {
        self.blamed
    }

    /// How many events have members that are ignored though a name or a time is missing, and of the
    /// first of them where their names stand.
    pub(super) fn ignored(&self) -> Option<(u64, &[Span], Lacking)> {
        let (names, lacking) = self.ignored.as_ref()?;
        Some((self.suspicious, names, *lacking))
    }

    /// What stands in no body.
    pub(super) const fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Keeps an integer that stands in no body.
    pub(super) fn keep(&mut self, integer: u64) -> Span {
        self.arena.keep_integer(integer)
    }

    /// Reads the value that begins at `start`, inside of `outside` brackets. The timestamp of an
    /// event is empty if none was sent.
    pub(super) fn item(
        &mut self,
        text: &[u8],
        start: usize,
        outside: usize,
    ) -> Result<Item, Malformed> {
        if let Some((record, end)) = self.common(text, start) {
            return Ok((Ok(record), end));
        }
        if text.get(start) == Some(&b'{') {
            return self.object(text, start, outside + 1);
        }
        let (found, end) = value(text, start, outside)?;
        Ok((Err(Rejection::NotObject { found }), end))
    }

    /// Reads an event of the common shape, if one begins at `start`.
    #[inline(always)]
    pub(super) fn common(&self, text: &[u8], start: usize) -> Option<(Record, usize)> {
        if text.get(start) != Some(&b'{') {
            return None;
        }
        common::decode(text, start, self.latest_ms)
    }

    /// Reads an object to its end, also past a bad field: only so it is known to be JSON.
    fn object(&mut self, text: &[u8], start: usize, depth: usize) -> Result<Item, Malformed> {
        let mut fields = Fields::new(start);
        let mut at = blank(text, start + 1);
        if text.get(at) == Some(&b'}') {
            return Ok((self.finish(&fields), at + 1));
        }
        loop {
            let name_at = at;
            let (member, end) = match Member::at_canonical_name(text, at) {
                Some((member, end)) => (Some(member), end),
                None => self.name(text, at)?,
            };
            at = blank(text, end);
            if text.get(at) != Some(&b':') {
                return Err(wrong(Expected::Colon, text, at));
            }
            at = blank(text, at + 1);
            at = if let Some(member) = member {
                fields.give(member, name_at);
                let field = self.field(&mut fields, member, text, at, depth);
                field.map_err(|error| not_json(error, member, text, at))?
            } else {
                fields.ignore(Span::new(name_at + 1, end - 1));
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

    /// Reads any name at `at`: the member that it means, if any, and where it ends.
    fn name(&mut self, text: &[u8], at: usize) -> Result<(Option<Member>, usize), Malformed> {
        if text.get(at) != Some(&b'"') {
            return Err(wrong(Expected::Name, text, at));
        }
        let name = string(text, at + 1)?;
        let (member, _) = self.meaning(text, at + 1, name, Member::from_name);
        Ok((member, name.end + 1))
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
        // After the first broken rule nothing comes of an object but whose it is, and whether it is
        // JSON.
        if fields.rejection.is_none() || member == Member::DeviceId {
            match text.get(at) {
                Some(b'"') => return self.string_field(fields, member, text, at),
                Some(b'0'..=b'9' | b'-') => return self.number_field(fields, member, text, at),
                _ => {}
            }
        }
        let (found, end) = value(text, at, depth)?;
        if found != Kind::Null || !member.is_optional() {
            fields.mistake(member, found, at);
        }
        Ok(end)
    }

    /// Reads a number, which a device id may be as well.
    fn number_field(
        &mut self,
        fields: &mut Fields,
        member: Member,
        text: &[u8],
        at: usize,
    ) -> Result<usize, Malformed> {
        let number = number(text, at)?;
        let sent = Span::new(at, number.end);
        match member {
            Member::Measured(field) => fields.measure(field, number.value(text), sent, at),
            Member::Timestamp => {
                let literal = text.get(at..number.end).unwrap_or_default();
                self.happen(fields, timestamp::from_number(number, literal), sent, at);
            }
            Member::DeviceId if number.is_digits() => {
                let is_short = number.end - at <= DEVICE_ID_BYTES_MAX;
                fields.name(is_short, sent, at);
            }
            Member::DeviceId => fields.mistake(member, Kind::Number, at),
        }
        Ok(number.end)
    }

    /// Reads a string, which any field may be: template engines put numbers into quotes.
    fn string_field(
        &mut self,
        fields: &mut Fields,
        member: Member,
        text: &[u8],
        at: usize,
    ) -> Result<usize, Malformed> {
        let sent = string(text, at + 1)?;
        match member {
            Member::Measured(field) => {
                let (value, literal) = self.meaning(text, at + 1, sent, |literal| {
                    whole_number(literal).map(|number| number.value(literal))
                });
                match value {
                    Some(value) => fields.measure(field, value, literal, at),
                    None => fields.mistake(member, Kind::String, at),
                }
            }
            Member::Timestamp => {
                let (reading, kept) = self.meaning(text, at + 1, sent, timestamp::from_text);
                self.happen(fields, reading, kept, at);
            }
            Member::DeviceId => {
                let (good, id) = self.meaning(text, at + 1, sent, is_device_id);
                fields.name(good, id, at);
            }
        }
        Ok(sent.end + 1)
    }

    /// Takes the moment of an event; an integer is kept as it stands at `sent`.
    fn happen(&mut self, fields: &mut Fields, reading: Option<Reading>, sent: Span, at: usize) {
        let moment = reading.map(|reading| match reading {
            Reading::Integer(ms) => (sent, ms),
            Reading::Moment(moment) => (self.arena.keep_integer(moment.key()), moment.ms()),
        });
        fields.happen(moment, self.latest_ms, at);
    }

    /// What `read` makes of a string's meaning, and where that meaning is kept.
    #[inline]
    fn meaning<T>(
        &mut self,
        text: &[u8],
        start: usize,
        sent: Text,
        read: impl FnOnce(&[u8]) -> T,
    ) -> (T, Span) {
        let raw = text.get(start..sent.end).unwrap_or_default();
        if sent.escaped {
            let kept = self.arena.keep(|out| unescape(raw, out));
            return (read(self.arena.text(kept).as_bytes()), kept);
        }
        (read(raw), Span::new(start, sent.end))
    }

    /// The event that the fields of a whole object make.
    #[inline]
    fn finish(&mut self, fields: &Fields) -> Result<Record, Rejection> {
        if let Some(rejection) = fields.rejection {
            return Err(self.blame(fields, rejection));
        }
        if let Some(field) = fields.missing() {
            return Err(self.blame(fields, Rejection::Missing { field }));
        }
        if fields.is_suspicious() {
            self.suspect(fields);
        }
        let (timestamp, timestamp_ms) = fields.timestamp.unwrap_or_default();
        Ok(Record {
            device_id: fields.device_id,
            timestamp,
            timestamp_ms,
            values: fields.values,
            literals: fields.literals,
        })
    }

    #[cold]
    fn suspect(&mut self, fields: &Fields) {
        self.suspicious += 1;
        self.ignored.get_or_insert_with(|| {
            let lacks = |member| !fields.is_given(member);
            let (device_id, timestamp) = (lacks(Member::DeviceId), lacks(Member::Timestamp));
            (fields.ignored, Lacking { device_id, timestamp })
        });
    }

    #[cold]
    fn blame(&mut self, fields: &Fields, rejection: Rejection) -> Rejection {
        if self.blamed.is_none() && !fields.device_id.is_empty() {
            self.blamed = Some((rejection, fields.device_id));
        }
        rejection
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
        Err(error) => Err(wrong(Expected::Value, text, at + error.offset().min(json.len()))),
    }
}

/// What is wrong with the value of a member that begins at `at`.
#[cold]
fn not_json(error: Malformed, member: Member, text: &[u8], at: usize) -> Malformed {
    let sign = matches!(text.get(at), Some(b'-' | b'+'));
    let start = at + usize::from(sign);
    let word = text.get(start..word_end(text, start)).unwrap_or_default();
    let names: [&[u8]; 3] = [b"nan", b"inf", b"infinity"];
    let error = if names.iter().any(|name| word.eq_ignore_ascii_case(name)) {
        wrong(Expected::Finite, text, at)
    } else {
        error
    };
    error.of(member)
}

pub(super) fn wrong(expected: Expected, text: &[u8], at: usize) -> Malformed {
    Malformed::expected(expected, text, at)
}
