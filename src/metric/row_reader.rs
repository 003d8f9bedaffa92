//! The row reader: makes events of the rows of CSV, as `object` makes them of JSON.
//!
//! The header row says which column is which member. What is looked for in a cell is what a string
//! of JSON may hold; a blank cell is an absent member.

use std::ops::Range;

use crate::limits::IGNORED_NAMES_MAX;
use crate::metric::batch::EventSpans;
use crate::metric::csv::{Cell, CellReader, CsvError};
use crate::metric::device_id::is_device_id;
use crate::metric::event_builder::EventBuilder;
use crate::metric::event_writer::EventWriter;
use crate::metric::header_error::HeaderError;
use crate::metric::json_error::position;
use crate::metric::member::Member;
use crate::metric::member_table::MemberTable;
use crate::metric::number::scan_whole_number;
use crate::metric::rejection::{JsonKind, Rejection};
use crate::metric::row_fast_path::Columns;
use crate::metric::span::Span;
use crate::metric::timestamp;
use crate::metric::unusual_number;
use crate::schema::{Field, Schema};

/// Reads the rows of a body.
#[derive(Debug)]
pub(super) struct RowReader {
    cells: CellReader,
    names: MemberTable,
    columns: Columns,
    /// The names of the first other columns, if the device id or the time may be among them.
    ignored: Vec<Span>,
}

impl RowReader {
    /// Returns a reader of rows with the members of this schema.
    pub(super) fn new(schema: &'static Schema) -> Self {
        let (cells, names) = (CellReader::default(), MemberTable::of_names(schema));
        Self { cells, names, columns: Columns::default(), ignored: Vec::new() }
    }

    /// Reads the header row of a body that begins at `start`. Returns false if the body has no row.
    pub(super) fn read_header(
        &mut self,
        schema: &'static Schema,
        body: &[u8],
        start: usize,
    ) -> Result<bool, HeaderError> {
        self.cells.begin_body(start);
        self.columns.clear();
        self.ignored.clear();
        let mut present = 0;
        let Some(mut cell) = self.cells.next(body) else {
            return Ok(false);
        };
        let header_start = cell.raw.start;
        loop {
            let name = cell.text(body).map_err(HeaderError::Malformed)?;
            let span = Span::new(name.start, name.end);
            let at = position(name.start);
            match self.names.of_name(body.get(name).unwrap_or_default()) {
                Some(member) if present & member.bit() != 0 => {
                    return Err(HeaderError::Duplicate { member, at });
                }
                Some(member) => {
                    present |= member.bit();
                    self.columns.members.push((self.columns.count, member));
                }
                // No event keeps more, and each row looks at all of them.
                None if !span.is_empty() && self.ignored.len() < IGNORED_NAMES_MAX => {
                    self.ignored.push(span);
                }
                None => {}
            }
            self.columns.count += 1;
            if cell.ends_row {
                break;
            }
            let Some(next) = self.cells.next(body) else { break };
            cell = next;
        }
        let header = body.get(header_start..cell.raw.end).unwrap_or_default();
        self.check_header(schema, header, present)?;
        const BOTH: u32 = Member::DEVICE_ID_BIT | Member::TIMESTAMP_BIT;
        if present & BOTH == BOTH {
            self.ignored.clear();
        }
        Ok(true)
    }

    /// Fails if no row below this header can be an event.
    fn check_header(
        &self,
        schema: &'static Schema,
        header: &[u8],
        present: u32,
    ) -> Result<(), HeaderError> {
        if self.columns.members.is_empty() {
            let is_known = |name: &[u8]| self.names.of_name(name.trim_ascii()).is_some();
            let separates = |separator: &u8| header.split(|byte| byte == separator).any(is_known);
            let separator = [b';', b'\t', b'|'].into_iter().find(separates);
            return Err(match separator {
                Some(found) => HeaderError::Separator { found: char::from(found) },
                None => HeaderError::NoColumn { schema },
            });
        }
        let is_absent = |field: &&Field| present & Member::Value(**field).bit() == 0;
        match schema.required().iter().find(is_absent) {
            Some(&field) => Err(HeaderError::Missing { field }),
            None if schema.fields().iter().all(|field| is_absent(&field)) => {
                Err(HeaderError::NoColumn { schema })
            }
            None => Ok(()),
        }
    }

    /// Reads the next row, if it is of the usual shape, and returns its event.
    #[inline(always)]
    pub(super) fn read_usual(
        &mut self,
        writer: &mut EventWriter,
        body: &[u8],
    ) -> Option<EventSpans> {
        if !self.ignored.is_empty() {
            return None;
        }
        let row = (body, position(self.cells.row_start(body)));
        writer.rows.begin_row();
        let EventWriter { required, rows, latest_ms, .. } = writer;
        let (event, end) = self.columns.parse(rows, *required, row, *latest_ms)?;
        self.cells.skip_to(end as usize);
        Some(event)
    }

    /// Reads the next row. Returns its event or its rejection; `None` behind the last one.
    pub(super) fn read(
        &mut self,
        writer: &mut EventWriter,
        body: &[u8],
    ) -> Option<Result<EventSpans, Rejection>> {
        let mut cell = self.cells.next(body)?;
        while cell.ends_row && is_blank(&cell, body) {
            cell = self.cells.next(body)?;
        }
        writer.rows.begin_row();
        let start = cell.raw.start;
        let mut event = EventBuilder::new(start);
        self.ignored.iter().for_each(|name| event.add_ignored(*name));
        let mut malformed = None;
        let mut found = 0;
        let mut next = 0;
        loop {
            let member = self.columns.member(next, found);
            match (cell.text(body), member) {
                (Err(error), _) => malformed = malformed.or(Some(error.relative_to(start))),
                (Ok(_), None) => {}
                (Ok(text), Some(member)) => {
                    set_member(writer, &mut event, member, body, &text);
                }
            }
            next += usize::from(member.is_some());
            found += 1;
            if cell.ends_row {
                break;
            }
            let Some(following) = self.cells.next(body) else { break };
            cell = following;
        }
        Some(match self.row_error(malformed, found, next) {
            Some(rejection) => Err(writer.note_rejected(&event, rejection)),
            None => writer.finish(&event),
        })
    }

    /// Returns the error of a row as a whole, if there is one: in whatever cells are shifted, no
    /// member is where the header says.
    fn row_error(
        &self,
        malformed: Option<CsvError>,
        found: usize,
        next: usize,
    ) -> Option<Rejection> {
        if let Some(error) = malformed {
            return Some(Rejection::MalformedRow(error));
        }
        let missing = self.columns.members.get(next).map(|(_, member)| *member);
        let (expected, cells) = (position(self.columns.count), position(found));
        (cells != expected).then_some(Rejection::Cells { missing, expected, found: cells })
    }
}

/// Returns true if a cell is nothing, or blanks without quotes.
fn is_blank(cell: &Cell, body: &[u8]) -> bool {
    body.get(cell.raw.clone()).unwrap_or_default().trim_ascii().is_empty()
}

/// Sets a member to the text of its cell, unless that is empty.
fn set_member(
    writer: &mut EventWriter,
    event: &mut EventBuilder,
    member: Member,
    body: &[u8],
    cell: &Range<usize>,
) {
    let Range { start: at, end } = *cell;
    let text = body.get(at..end).unwrap_or_default();
    if text.is_empty() {
        return;
    }
    event.set_present(member, at);
    let sent = Span::new(at, end);
    match member {
        Member::DeviceId(_) => event.set_device_id(member, is_device_id(text), sent, at),
        // After the first broken rule only the device id is still of use.
        _ if event.rejection.is_some() => {}
        Member::Timestamp(_) => {
            writer.set_timestamp(event, member, timestamp::from_text(text), at);
        }
        Member::Value(field) => match scan_whole_number(text) {
            Some(number) => {
                let value = number.value(text, field.magnitude_max());
                event.set_value(&mut writer.rows, field, value, sent, at);
            }
            None if unusual_number::scan(text, 0) == Some(text.len()) => {
                let literal = writer.arena.append(|out| unusual_number::append_json(text, out));
                let json = writer.arena.text(literal).as_bytes();
                let value = scan_whole_number(json)
                    .and_then(|number| number.value(json, field.magnitude_max()));
                event.set_value(&mut writer.rows, field, value, literal, at);
            }
            None => event.reject_type(member, JsonKind::String, at),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row looks at each name that is kept, so their number is no client's choice.
    #[test]
    fn the_names_of_a_wide_table_are_not_all_kept() {
        let mut reader = RowReader::new(Schema::standard());
        let body = format!("cpu,rps{}\n1,2\n", ",x".repeat(100_000));
        assert_eq!(reader.read_header(Schema::standard(), body.as_bytes(), 0), Ok(true));
        assert_eq!((reader.columns.count, reader.ignored.len()), (100_002, IGNORED_NAMES_MAX));
        assert!(reader.ignored.capacity() < 10);
    }
}
