//! CSV: the cells of a body, row by row.
//!
//! RFC 4180 tells how a cell is quoted, and `csv-core` where cells and rows end: with LF, CR LF or
//! CR. It takes any text; here what follows a closing quote is refused, as `"4"1` is not 41.
//! Nothing is copied: no name, device id or number that means anything here contains a quote, so
//! that doubled quotes are only recognized, never decoded.

use std::ops::Range;

use csv_core::{ReadFieldResult, Reader};
use memchr::memchr;
use thiserror::Error;

use crate::metric::json_error::position;

/// The reason why a row is not CSV. `at` counts bytes from the start of the text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the text")]
pub enum CsvError {
    /// Something behind the closing quote of a cell.
    #[error("expected ',' or the end of the row after the closing '\"' of a cell at byte {at}")]
    AfterQuote { at: u32 },
    /// A cell that begins with a quote and has no other.
    #[error("expected the closing '\"' of a cell, found the end of the body at byte {at}")]
    Quote { at: u32 },
}

impl CsvError {
    /// Returns the same error with its position counted from `start`.
    pub(super) fn relative_to(mut self, start: usize) -> Self {
        let (Self::AfterQuote { at } | Self::Quote { at }) = &mut self;
        *at = at.saturating_sub(position(start));
        self
    }
}

/// A cell of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The whole cell, quotes included.
    pub(super) raw: Range<usize>,
    /// True if it is the last one of its row.
    pub(super) ends_row: bool,
}

impl Cell {
    /// Returns where the cell's text is: between its quotes, or without the blanks around it.
    /// (There are no blanks outside quotes, as RFC 4180 has it; people write some after commas.)
    ///
    /// # Errors
    ///
    /// [`CsvError`] if it begins with a quote and does not end with one.
    pub(super) fn text(&self, body: &[u8]) -> Result<Range<usize>, CsvError> {
        let Range { start, end } = self.raw;
        let raw = body.get(start..end).unwrap_or_default();
        if raw.first() == Some(&b'"') {
            let closing = closing_quote(raw).ok_or(CsvError::Quote { at: position(end) })?;
            let text = start + 1..start + closing;
            let is_last = closing + 1 == raw.len();
            let at = position(start + closing + 1);
            return is_last.then_some(text).ok_or(CsvError::AfterQuote { at });
        }
        let start = start + (raw.len() - raw.trim_ascii_start().len());
        Ok(start..start + raw.trim_ascii().len())
    }
}

/// Returns the offset of the quote that closes a cell: the first one that is not doubled.
fn closing_quote(raw: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr(b'"', raw.get(at..)?)?;
        if raw.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// A reader of cells. It keeps the tables of its automaton, and the state within one body.
#[derive(Debug)]
pub(super) struct CellReader {
    reader: Box<Reader>,
    /// The offset of the rest of the body.
    at: usize,
    /// True before the first cell of a row.
    begins_row: bool,
}

impl Default for CellReader {
    fn default() -> Self {
        Self { reader: Box::new(Reader::new()), at: 0, begins_row: true }
    }
}

impl CellReader {
    /// Prepares for a body, of which the cells begin at `at`.
    pub(super) fn begin_body(&mut self, at: usize) {
        self.reader.reset();
        (self.at, self.begins_row) = (at, true);
    }

    /// Skips empty lines, and returns where the next row begins. All cells of the row before have
    /// been read.
    #[inline(always)]
    pub(super) fn row_start(&mut self, body: &[u8]) -> usize {
        let rest = body.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.at
    }

    /// Skips the rest of a row of which no cell has been read.
    pub(super) const fn skip_to(&mut self, end: usize) {
        self.at = end;
    }

    /// Returns the next cell; `None` behind the last one. Empty lines have no cells.
    pub(super) fn next(&mut self, body: &[u8]) -> Option<Cell> {
        let start = if self.begins_row { self.row_start(body) } else { self.at };
        // The text is taken from the body: what the reader writes is of no use.
        let mut unused = [0; 64];
        loop {
            let rest = body.get(self.at..).unwrap_or_default();
            let (result, read, _) = self.reader.read_field(rest, &mut unused);
            self.at += read;
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end: ends_row } => {
                    // The end of the body ends a cell without a delimiter.
                    let end = self.at - usize::from(read > 0);
                    self.begins_row = ends_row;
                    return Some(Cell { raw: start..end, ends_row });
                }
                ReadFieldResult::End => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
