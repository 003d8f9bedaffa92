//! Objects: one metric after another, read member by member, whatever their spelling.
//!
//! The common shape of a metric is read by `common`, and what differs from it by the scanners of
//! `token` and `number`, which know the four members: measured, a general parser spends as long on
//! an event as a core may spend on all of it. What else JSON allows, in fields that we ignore or
//! refuse, goes to sonic-rs. It skips nested values recursively and without a limit, and takes any
//! five bytes after `\u`; so a value's brackets are counted and its strings checked before it is
//! asked.

use std::str;

use serde::de::IgnoredAny;

use crate::clock::Now;
use crate::limits::{FUTURE_MS_MAX, IGNORED_NAMES_MAX, JSON_DEPTH_MAX};
use crate::metric::batch::{Arena, Record, Span};
use crate::metric::common;
use crate::metric::fields::{Fields, is_device_id};
use crate::metric::malformed::{Expected, Malformed};
use crate::metric::number::number;
use crate::metric::rejection::{Kind, Member, Rejection};
use crate::metric::timestamp;
use crate::metric::token::{Text, blank, container, string, unescape, word_end};

/// Reads the objects of a body, and keeps what their meaning needs beside it.
#[derive(Debug, Default)]
pub(super) struct Objects {
    arena: Arena,
    received_ms: i64,
    /// Where the arena holds the time of receipt, once an event of this body needed it.
    receipt: Option<Span>,
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
        self.received_ms = received.wall_ms();
        self.forget(body_bytes);
    }

    /// Begins the same body again.
    pub(super) fn forget(&mut self, body_bytes: usize) {
        self.arena.clear(body_bytes);
        self.receipt = None;
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

    /// Reads the value that begins at `start`, inside of `outside` brackets.
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
    pub(super) fn common(&mut self, text: &[u8], start: usize) -> Option<(Record, usize)> {
        if text.get(start) != Some(&b'{') {
            return None;
        }
        let latest_ms = self.received_ms.saturating_add(FUTURE_MS_MAX);
        let (mut record, end) = common::decode(text, start, latest_ms)?;
        if record.timestamp.is_empty() {
            (record.timestamp, record.timestamp_ms) = self.receipt();
        }
        Some((record, end))
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
                self.field(&mut fields, member, text, at, depth)?
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
                let (ms, _) = self.meaning(text, at + 1, sent, |sent| {
                    str::from_utf8(sent).ok().and_then(timestamp::from_rfc3339)
                });
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
        let (timestamp, timestamp_ms) = fields.timestamp.unwrap_or_else(|| self.receipt());
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

    /// The time of receipt, which stands for an absent timestamp.
    fn receipt(&mut self) -> (Span, i64) {
        let kept = self.receipt.unwrap_or_else(|| self.arena.keep_integer(self.received_ms));
        self.receipt = Some(kept);
        (kept, self.received_ms)
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

pub(super) fn wrong(expected: Expected, text: &[u8], at: usize) -> Malformed {
    Malformed::expected(expected, text, at)
}
