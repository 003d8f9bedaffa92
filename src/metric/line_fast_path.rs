//! The fast path of line protocol: lines of the usual shape.
//!
//! Clients write lines without escapes, spaces or strings to spare: a measurement, tags, fields
//! that are known by their canonical names, and an integer timestamp. Such a line is read here in
//! one pass, its numbers eight bytes at a time. Anything else, wrong or merely unusual, is left to
//! `line_reader`, which reads the line again. A property test checks that both agree.

use crate::metric::batch::{EventSpans, FieldRows, NO_TIMESTAMP};
use crate::metric::device_id::scan_device_id;
use crate::metric::json_error::position;
use crate::metric::line_protocol::precision::Precision;
use crate::metric::line_protocol::{plain_end, scan_value};
use crate::metric::member::Member;
use crate::metric::member_table::MemberTable;
use crate::metric::number::scan_integer;
use crate::metric::span::Span;
use crate::metric::timestamp::Timestamp;
use crate::metric::usual_number::{
    MILLISECONDS_DIGITS, NANOSECONDS_DIGITS, milliseconds, nanoseconds, usual_value,
};
use crate::metric::word::{byte_at, word_at};
use crate::schema::{FieldSet, Schema};

/// The names of a schema as line protocol writes them.
#[derive(Debug)]
pub(super) struct LineTables {
    pub(super) fields: MemberTable,
    tags: MemberTable,
}

impl LineTables {
    /// Makes the tables of a schema.
    pub(super) fn new(schema: &'static Schema) -> Self {
        let (fields, tags) = (MemberTable::of_line_fields(schema), MemberTable::of_tags(schema));
        Self { fields, tags }
    }

    /// Parses the line that begins at `start`, and returns its event with its end: its newline, or
    /// the text's end. Its timestamp is [`NO_TIMESTAMP`] if none was sent, and no later than
    /// `latest_ms`; its values are in the row that is being filled.
    #[inline(always)]
    pub(super) fn parse(
        &self,
        rows: &mut FieldRows,
        required: FieldSet,
        (text, start): (&[u8], usize),
        precision: Precision,
        latest_ms: i64,
    ) -> Option<(EventSpans, usize)> {
        let measurement_end = plain_end(text, start);
        if measurement_end == start {
            return None;
        }
        let (device_id, fields) = self.parse_tags(text, position(measurement_end))?;
        let (present, mut at) = self.parse_fields(rows, text, fields)?;
        let mut timestamp = NO_TIMESTAMP;
        if byte_at(text, at) == b' ' {
            (timestamp, at) = usual_line_time(text, at + 1, precision)?;
        }
        let is_end = matches!(text.get(at as usize), None | Some(b'\n'));
        if !is_end || timestamp.ms > latest_ms || !present.is_event(required) {
            return None;
        }
        let row = rows.end_row();
        Some((EventSpans { device_id, timestamp, row, present }, at as usize))
    }

    /// Parses the tags from the comma at `at` on. Returns the device id, and the tags' end, where a
    /// space is.
    #[inline(always)]
    fn parse_tags(&self, text: &[u8], mut at: u32) -> Option<(Span, u32)> {
        let mut device_id = Span::default();
        let mut before = self.tags.start()?;
        let mut first = usize::MAX;
        let mut seen = 0_u32;
        let mut others = false;
        loop {
            let word = word_at(text, at);
            if word as u8 != b',' {
                break;
            }
            if let Some(tag) = self.tags.next(before, text, at, word) {
                before = tag;
                let value = at + tag.bytes;
                at = scan_device_id(text, value, &tag.value_bytes)?;
                let place = tag.index;
                if seen & 1 << place != 0 {
                    return None;
                }
                seen |= 1 << place;
                if place < first {
                    device_id = Span::of(value, at);
                    first = place;
                }
            } else {
                at = self.skip_tag(text, at + 1)?;
                others = true;
            }
        }
        // Tags of a line without a device are names that may be misspelt.
        let is_usual = byte_at(text, at) == b' ' && (seen != 0 || !others);
        is_usual.then_some((device_id, at))
    }

    /// Skips a tag that is none of the device's in any case, and returns its end.
    #[inline(never)]
    fn skip_tag(&self, text: &[u8], start: u32) -> Option<u32> {
        let start = start as usize;
        let equals = plain_end(text, start);
        let end = plain_end(text, equals + 1);
        let is_tag = equals > start && text.get(equals) == Some(&b'=') && end > equals + 1;
        let key = text.get(start..equals).filter(|_| is_tag)?;
        if self.tags.of_name(key).is_some() { None } else { Some(position(end)) }
    }

    /// Skips a field that is none of the schema's in any case, and returns its end. Telegraf sends
    /// a dozen of them beside those that are configured.
    #[inline(never)]
    fn skip_field(&self, text: &[u8], start: u32) -> Option<u32> {
        let start = start as usize;
        let equals = plain_end(text, start);
        let is_field = equals > start && text.get(equals) == Some(&b'=');
        let key = text.get(start..equals).filter(|_| is_field)?;
        let (_, end) = scan_value(text, equals + 1).ok()?;
        if self.fields.of_name(key).is_some() { None } else { Some(position(end)) }
    }

    /// Parses the fields from the space at `at` on. Returns those of the schema, and their end.
    #[inline(always)]
    fn parse_fields(
        &self,
        rows: &mut FieldRows,
        text: &[u8],
        mut at: u32,
    ) -> Option<(FieldSet, u32)> {
        let mut before = self.fields.start()?;
        let (mut present, mut read) = (0_u32, 0_u64);
        let (values, literals) = rows.row_mut()?;
        loop {
            let name = word_at(text, at);
            let mut next;
            if let Some(entry) = self.fields.next(before, text, at, name) {
                before = entry;
                let Member::Value(field) = entry.member else {
                    return None;
                };
                let start = at + entry.bytes;
                let (value, end) = usual_value(field, text, start, word_at(text, start))?;
                let index = field.index();
                (*values.get_mut(index)?, *literals.get_mut(index)?) =
                    (value, Span::of(start, end));
                // The sum differs from the union if a field is there twice.
                present |= entry.bit;
                read += u64::from(entry.bit);
                (at, next) = (end, byte_at(text, end));
                if matches!(next, b'i' | b'u') {
                    at = suffix_end(text, start, end);
                    next = byte_at(text, at);
                }
            } else {
                before = self.fields.other()?;
                at = self.skip_field(text, at + 1)?;
                next = byte_at(text, at);
            }
            if next != b',' {
                break;
            }
        }
        let fields = FieldSet::from_bits(present as u16);
        (read == u64::from(present)).then_some((fields, at))
    }
}

/// Returns the end of the suffix of an integer; that of the number if it cannot have one.
#[inline(never)]
fn suffix_end(text: &[u8], start: u32, end: u32) -> u32 {
    let number = text.get(start as usize..end as usize).unwrap_or_default();
    let digits = if byte_at(text, end) == b'i' { number.strip_prefix(b"-") } else { None };
    let is_whole = digits.unwrap_or(number).iter().all(u8::is_ascii_digit);
    end + u32::from(is_whole)
}

/// Reads a timestamp, and returns it with its end.
#[inline(always)]
fn usual_line_time(text: &[u8], at: u32, precision: Precision) -> Option<(Timestamp, u32)> {
    let word = word_at(text, at);
    let (timestamp, digits) = match precision {
        Precision::Nanoseconds => (nanoseconds(text, at, word), NANOSECONDS_DIGITS),
        Precision::Milliseconds | Precision::Auto => {
            (milliseconds(text, at, word), MILLISECONDS_DIGITS)
        }
        _ => (None, 0),
    };
    match timestamp {
        Some(timestamp) => Some((timestamp, at + digits)),
        None => any_line_time(text, at, precision),
    }
}

/// Reads a timestamp of any unit.
#[inline(never)]
fn any_line_time(text: &[u8], at: u32, precision: Precision) -> Option<(Timestamp, u32)> {
    let (integer, end) = scan_integer(text, at as usize)?;
    Some((precision.time(integer)?, position(end)))
}

#[cfg(test)]
mod tests {
    use crate::metric::event_writer::EventWriter;
    use crate::metric::line_protocol::precision::Precision;
    use crate::metric::line_reader::LineReader;
    use crate::schema::Schema;
    use percore::clock::Now;
    use proptest::prelude::*;

    const NOW: Now = Now { mono_ns: 1, wall_us: 1_795_420_957_123_000 };

    /// Returns lines that are usual but for some of their parts.
    fn line() -> impl Strategy<Value = String> {
        let tag = prop_oneof![
            4 => ",(device_id|host)=[a-z0-9.-]{1,9}",
            2 => ",[a-z]{1,9}=[a-zA-Z0-9/ü]{1,9}",
            1 => ",(Host|DEVICE_ID|=|host)=?[a-z\\\\ =]{0,3}",
        ];
        let field = prop_oneof![
            4 => "(cpu|rps)=[0-9]{1,6}(\\.[0-9]{1,3})?[iu]?",
            2 => "(cpu|rps|Cpu|x)=-?[0-9]{0,20}\\.?[0-9]{0,20}(e[0-9]|i|u|t)?",
            1 => "(cpu|rps)=\"?[a-z]{0,3}\"?",
            1 => "(x|y\\\\|CPU)?=(true|f|-1.5e3|7u|\"[a-z ,=\n]{0,4}\"?)",
        ];
        let timestamp = prop_oneof![
            4 => " 179542095[0-9]{1,10}",
            1 => " ?-?[0-9]{0,21} ?",
        ];
        let (tags, fields) = (prop::collection::vec(tag, 0..4), prop::collection::vec(field, 1..4));
        ("[a-z_.=]{0,5}", tags, fields, timestamp, "\r?\n?[ -~]{0,9}").prop_map(
            |(measurement, tags, fields, timestamp, rest)| {
                format!("{measurement}{} {}{timestamp}{rest}", tags.concat(), fields.join(","))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_line_is_read_as_the_line_reader_reads_it(
            line in line(),
            precision in prop_oneof![Just("ns"), Just("ms"), Just("s"), Just("auto")],
        ) {
            let (schema, precision) = (Schema::standard(), Precision::of(precision).unwrap());
            let reader = LineReader::new(schema);
            let [mut fast, mut slow] = [(); 2].map(|()| {
                let mut writer = EventWriter::new(schema);
                writer.begin_body(line.len(), NOW);
                writer.rows.begin_row();
                writer
            });
            let found = match reader.read_usual(&mut fast, line.as_bytes(), 0, precision) {
                Some((spans, end)) => (Ok(spans), end),
                None => reader.read_any(&mut fast, line.as_bytes(), 0, precision),
            };
            let expected = reader.read_any(&mut slow, line.as_bytes(), 0, precision);
            prop_assert_eq!(found, expected, "{}", line);
            if found.0.is_ok() {
                prop_assert_eq!(fast.rows.last(), slow.rows.last(), "{}", line);
            }
            prop_assert_eq!(fast.ignored(), slow.ignored());
        }
    }

    #[test]
    fn a_usual_line_takes_the_fast_path() {
        let schema = Schema::standard();
        let tables = super::LineTables::new(schema);
        for line in [
            "m,device_id=d1 cpu=1,rps=2 1795420957123",
            "m rps=2i,cpu=1.5",
            "m,cpu=cpu0,host=a.b,region=eu cpu=1,rps=2 1795420957123\nm",
            "m,host=a idle=98.5,cpu=1,n=3i,ok=true,s=\"a b,c\",rps=2,x=1u 1795420957123",
        ] {
            let mut writer = EventWriter::new(schema);
            writer.begin_body(line.len(), NOW);
            writer.rows.begin_row();
            let (required, latest_ms) = (schema.required_set(), writer.latest_ms);
            let text = (line.as_bytes(), 0);
            let found =
                tables.parse(&mut writer.rows, required, text, Precision::Milliseconds, latest_ms);
            assert!(found.is_some(), "{line}");
        }
    }
}
