//! The fast path of CSV: rows of the usual shape.
//!
//! Nearly all rows have as many cells as the header, none of them in quotes or with blanks, and in
//! the columns that mean something here numbers, a time and a plain device id. Such a row is read
//! here in one pass, eight bytes at a time. Anything else, wrong or merely unusual, is left to
//! `row_reader`, which reads the row again. A property test checks that both agree.

use std::cell::Cell;

use crate::metric::batch::{EventSpans, FieldRows, NO_TIMESTAMP};
use crate::metric::device_id::scan_device_id;
use crate::metric::json_error::position;
use crate::metric::member::Member;
use crate::metric::span::Span;
use crate::metric::usual_number::{usual_time, usual_value};
use crate::metric::word::{byte_at, word_at};
use crate::schema::FieldSet;

/// The columns of a body, as its header tells them.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// The number of all columns.
    pub(super) count: usize,
    /// The columns that have a meaning, in their order.
    pub(super) members: Vec<(usize, Member)>,
    /// The length of the last device id.
    id_bytes: Cell<u32>,
}

impl Columns {
    /// Forgets the columns of the body before.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.members.clear();
    }

    /// Returns the member of this column, if it is the one at `next` of those with a meaning.
    #[inline(always)]
    pub(super) fn member(&self, next: usize, column: usize) -> Option<Member> {
        let (place, member) = *self.members.get(next)?;
        (place == column).then_some(member)
    }

    /// Parses the row that begins at `start`, and returns its event with its end: its line end, or
    /// the text's end. The timestamp is [`NO_TIMESTAMP`] if none was sent, and no later than
    /// `latest_ms`; the values are in the row that is being filled.
    #[inline(always)]
    pub(super) fn parse(
        &self,
        rows: &mut FieldRows,
        required: FieldSet,
        (text, start): (&[u8], u32),
        latest_ms: i64,
    ) -> Option<(EventSpans, u32)> {
        let (mut device_id, mut timestamp) = (Span::default(), NO_TIMESTAMP);
        let mut present = 0;
        let (values, literals) = rows.row_mut()?;
        let mut at = start;
        let mut next = 0;
        for column in 0..self.count {
            if column > 0 {
                at = (byte_at(text, at) == b',').then_some(at + 1)?;
            }
            let word = word_at(text, at);
            let member = self.member(next, column);
            next += usize::from(member.is_some());
            match member {
                _ if ends_cell(word as u8) => {}
                Some(Member::Value(field)) => {
                    let (value, end) = usual_value(field, text, at, word)?;
                    let (index, literal) = (field.index(), Span::of(at, end));
                    (*values.get_mut(index)?, *literals.get_mut(index)?) = (value, literal);
                    present |= 1 << index;
                    at = end;
                }
                Some(Member::Timestamp(_)) => {
                    (timestamp, at) = usual_time(text, at, word, latest_ms)?;
                }
                Some(Member::DeviceId(_)) => {
                    let end = scan_device_id(text, at, &self.id_bytes)?;
                    device_id = Span::of(at, end);
                    at = end;
                }
                None => at = plain_cell_end(text, at)?,
            }
        }
        let present = FieldSet::from_bits(present);
        let is_end = matches!(text.get(at as usize), None | Some(b'\n' | b'\r'));
        if !is_end || !present.is_event(required) {
            return None;
        }
        let row = rows.end_row();
        Some((EventSpans { device_id, timestamp, row, present }, at))
    }
}

/// Returns true if this byte is behind a cell; zero stands for the text's end.
const fn ends_cell(byte: u8) -> bool {
    matches!(byte, b',' | b'\n' | b'\r' | 0)
}

/// Returns the end of the cell that begins at `at`, if it is not in quotes.
#[inline(never)]
fn plain_cell_end(text: &[u8], at: u32) -> Option<u32> {
    let cell = text.get(at as usize..)?;
    let len = cell.iter().take_while(|byte| !matches!(byte, b',' | b'\n' | b'\r')).count();
    (cell.first() != Some(&b'"')).then(|| at + position(len))
}

#[cfg(test)]
mod tests {
    use crate::metric::event_writer::EventWriter;
    use crate::metric::row_reader::RowReader;
    use crate::schema::Schema;
    use percore::clock::Now;
    use proptest::prelude::*;

    const NOW: Now = Now { mono_ns: 1, wall_us: 1_795_420_957_123_000 };

    /// Returns a reader that has read the header of a body, and a writer.
    fn begin(body: &str) -> (RowReader, EventWriter) {
        let schema = Schema::standard();
        let (mut reader, mut writer) = (RowReader::new(schema), EventWriter::new(schema));
        writer.begin_body(body.len(), NOW);
        assert_eq!(reader.read_header(schema, body.as_bytes(), 0), Ok(true));
        (reader, writer)
    }

    /// Returns rows that are usual but for some of their cells.
    fn rows() -> impl Strategy<Value = String> {
        let cell = prop_oneof![
            4 => "[0-9]{1,6}(\\.[0-9]{1,3})?",
            4 => "179542095[0-9]{1,10}",
            4 => "[a-z0-9.-]{1,20}",
            2 => "-?[0-9]{0,20}\\.?[0-9]{0,20}(e[0-9])?",
            1 => "\"?[ a-z0-9,\n\u{e9}]{0,3}\"?",
            1 => "",
        ];
        let row = (prop::collection::vec(cell, 1..6), "\r?\n?")
            .prop_map(|(cells, end)| cells.join(",") + &end);
        prop::collection::vec(row, 0..6).prop_map(|rows| rows.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_row_is_read_as_the_row_reader_reads_it(
            header in prop_oneof![
                Just("device_id,timestamp,cpu,rps"),
                Just("cpu,rps,timestamp,device_id"),
                Just("x,timestamp,cpu,y,device_id,rps,z"),
                Just("cpu,rps"),
                Just("cpu,rps,x"),
            ],
            rows in rows(),
        ) {
            let body = format!("{header}\n{rows}");
            let (mut fast, mut fast_writer) = begin(&body);
            let (mut slow, mut slow_writer) = begin(&body);
            loop {
                let expected = slow.read(&mut slow_writer, body.as_bytes());
                let found = match fast.read_usual(&mut fast_writer, body.as_bytes()) {
                    Some(event) => Some(Ok(event)),
                    None => fast.read(&mut fast_writer, body.as_bytes()),
                };
                prop_assert_eq!(found, expected, "{}", body);
                if matches!(found, Some(Ok(_))) {
                    prop_assert_eq!(fast_writer.rows.last(), slow_writer.rows.last(), "{}", body);
                }
                if found.is_none() {
                    break;
                }
            }
            prop_assert_eq!(fast_writer.ignored(), slow_writer.ignored());
        }
    }

    #[test]
    fn a_usual_row_takes_the_fast_path() {
        for (header, row) in [
            ("device_id,timestamp,cpu,rps", "device-1,1795420957123,41.5,1200\n"),
            ("device_id,timestamp,cpu,rps", "\r\n,,1,2"),
            ("x,cpu,y,rps,timestamp,device_id", "a b,1,\u{e9},2,1795420957,d\r\n"),
            ("cpu,rps", "0.1234567890123,2\n"),
        ] {
            let body = format!("{header}\n{row}");
            let (mut reader, mut writer) = begin(&body);
            assert!(reader.read_usual(&mut writer, body.as_bytes()).is_some(), "{body}");
            assert_eq!(reader.read(&mut writer, body.as_bytes()), None, "{body}");
        }
        for (header, row) in [
            ("device_id,timestamp,cpu,rps", "device-1,1795420957123,\"41.5\",1200\n"),
            ("device_id,timestamp,cpu,rps", "device-1,1795420957123,41.5 ,1200\n"),
            ("device_id,timestamp,cpu,rps", "device-1,1795420957123,41.5\n"),
            ("cpu,rps", "1,2,\n"),
            ("cpu,rps", "1,\n"),
            ("cpu,rps,x", "1,2,3\n"),
        ] {
            let body = format!("{header}\n{row}");
            let (mut reader, mut writer) = begin(&body);
            assert!(reader.read_usual(&mut writer, body.as_bytes()).is_none(), "{body}");
        }
    }
}
