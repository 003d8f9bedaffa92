//! The line reader: makes events of lines of line protocol, as `object` makes them of JSON.
//!
//! The measurement has no meaning here. A tag names the device, and of the fields those are taken
//! that the schema has.

use std::ops::Range;

use crate::metric::batch::EventSpans;
use crate::metric::device_id::is_device_id;
use crate::metric::event_builder::EventBuilder;
use crate::metric::event_writer::EventWriter;
use crate::metric::json_error::position;
use crate::metric::line_fast_path::LineTables;
use crate::metric::line_protocol::line_error::{LineError, LineExpected};
use crate::metric::line_protocol::precision::Precision;
use crate::metric::line_protocol::{FieldValue, LineVisitor, ValueKind, bad_line_end, read_line};
use crate::metric::member::Member;
use crate::metric::member_table::{MemberCursor, MemberTable};
use crate::metric::number::{INTEGER_DIGITS_MAX, scan_digits, scan_whole_number};
use crate::metric::rejection::{JsonKind, Rejection};
use crate::metric::span::Span;
use crate::metric::unusual_number;
use crate::schema::{Field, Schema};

/// The time, which has no name in line protocol, by that which answers have for it.
const TIME: Member = Member::Timestamp("timestamp");

/// Reads the lines of a body.
#[derive(Debug)]
pub(super) struct LineReader {
    tables: LineTables,
}

/// The event that one line makes.
struct LineEvent<'a> {
    text: &'a [u8],
    fields: &'a MemberTable,
    writer: &'a mut EventWriter,
    event: EventBuilder,
    precision: Precision,
    /// The tag that names the device: its place among the tags that may, its key and its value.
    device: Option<(usize, Range<usize>, Range<usize>)>,
    /// The tags so far that may name the device, a bit each by their places.
    tags: u32,
    /// The place behind the field before.
    cursor: MemberCursor,
}

impl LineReader {
    /// Returns a reader of lines with the fields of this schema.
    pub(super) fn new(schema: &'static Schema) -> Self {
        Self { tables: LineTables::new(schema) }
    }

    /// Reads the line that begins at `start`, if it is of the usual shape. Returns its event and
    /// its end.
    #[inline(always)]
    pub(super) fn read_usual(
        &self,
        writer: &mut EventWriter,
        text: &[u8],
        start: usize,
        precision: Precision,
    ) -> Option<(EventSpans, usize)> {
        writer.rows.begin_row();
        let EventWriter { required, rows, latest_ms, .. } = writer;
        self.tables.parse(rows, *required, (text, start), precision, *latest_ms)
    }

    /// Reads a line of any shape. Returns its event or its rejection, and its end.
    pub(super) fn read_any(
        &self,
        writer: &mut EventWriter,
        text: &[u8],
        start: usize,
        precision: Precision,
    ) -> (Result<EventSpans, Rejection>, usize) {
        let mut event = EventBuilder::new(start);
        // It cannot be among the names that are not known, as it has none.
        event.set_present(TIME, start);
        let fields = &self.tables.fields;
        let (device, tags, cursor) = (None, 0, fields.cursor());
        let mut line = LineEvent { text, fields, writer, event, precision, device, tags, cursor };
        match read_line(text, start, &mut line) {
            Ok(end) => (line.writer.finish(&line.event), end),
            Err(error) => {
                let error = line.named(error).relative_to(start);
                let rejection = Rejection::MalformedLine(error);
                (Err(line.writer.note_rejected(&line.event, rejection)), bad_line_end(text, start))
            }
        }
    }
}

impl LineVisitor for LineEvent<'_> {
    fn tag(&mut self, key: Range<usize>, value: Range<usize>) {
        let tags = &self.writer.schema.device_tags;
        let name = self.bytes(&key);
        let Some(place) = tags.iter().position(|tag| name.eq_ignore_ascii_case(tag.as_bytes()))
        else {
            return self.event.add_ignored(Span::new(key.start, key.end));
        };
        let is_first = self.tags & 1 << place == 0;
        self.tags |= 1 << place;
        match &self.device {
            _ if !is_first => {
                let member = self.device_member(place);
                self.event.check(false, key.start, |at| Rejection::Duplicate { member, at });
            }
            Some((before, ..)) if *before < place => {}
            _ => self.device = Some((place, key, value)),
        }
    }

    fn tags_end(&mut self) {
        if let Some((place, key, value)) = self.device.take() {
            let member = self.device_member(place);
            self.event.set_present(member, key.start);
            let is_valid = is_device_id(self.bytes(&value));
            let id = Span::new(value.start, value.end);
            self.event.set_device_id(member, is_valid, id, value.start);
        }
    }

    fn field(&mut self, key: Range<usize>, value: FieldValue) {
        // A space or a comma is before the key.
        let member = match self.fields.read(self.text, position(key.start - 1), &mut self.cursor) {
            Some((member, _)) => Some(member),
            None => self.fields.of_name(self.bytes(&key)),
        };
        if let Some(Member::Value(field)) = member {
            self.event.set_present(Member::Value(field), key.start);
            // After the first broken rule no value is of use.
            if self.event.rejection.is_none() {
                self.set_value(field, value);
            }
        }
    }

    fn timestamp(&mut self, literal: Range<usize>) {
        let mut integer = 0;
        let end = scan_digits(self.text, literal.start, &mut integer);
        let is_integer = end == literal.end && end - literal.start <= INTEGER_DIGITS_MAX;
        let parsed = self.precision.time(integer).filter(|_| is_integer);
        self.writer.set_timestamp(&mut self.event, TIME, parsed, literal.start);
    }
}

impl LineEvent<'_> {
    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// Returns the device by the name of the tag at this place.
    fn device_member(&self, place: usize) -> Member {
        let tags = &self.writer.schema.device_tags;
        Member::DeviceId(tags.get(place).map_or("device_id", String::as_str))
    }

    fn set_value(&mut self, field: Field, value: FieldValue) {
        let Self { text, writer, event, .. } = self;
        let FieldValue { start, end, kind } = value;
        match kind {
            ValueKind::Number(number) => {
                let value = number.value(text, field.magnitude_max());
                event.set_value(&mut writer.rows, field, value, Span::new(start, end), start);
            }
            ValueKind::UnusualNumber => {
                let sent = text.get(start..end).unwrap_or_default();
                let literal = writer.arena.append(|out| unusual_number::append_json(sent, out));
                let json = writer.arena.text(literal).as_bytes();
                let value = scan_whole_number(json)
                    .and_then(|number| number.value(json, field.magnitude_max()));
                event.set_value(&mut writer.rows, field, value, literal, start);
            }
            ValueKind::Boolean => {
                event.reject_type(Member::Value(field), JsonKind::Boolean, start);
            }
            ValueKind::String => event.reject_type(Member::Value(field), JsonKind::String, start),
        }
    }

    /// Returns the error with the field whose value it is in, if that is one of the schema.
    #[cold]
    fn named(&self, mut error: LineError) -> LineError {
        use LineExpected::{AfterValue, FieldValue, Finite};
        if matches!(error.expected, FieldValue | Finite | AfterValue) {
            let before = self.text.get(..error.at as usize).unwrap_or_default();
            // What was read of a number that is none.
            let number = before.iter().rev().take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+')
            });
            let before = before.get(..before.len() - number.count()).unwrap_or_default();
            let key = before.strip_suffix(b"=").unwrap_or_default();
            let name = key.rsplit(|byte| matches!(byte, b',' | b' ')).next().unwrap_or_default();
            error.member = self.fields.of_name(name);
        }
        error
    }
}
