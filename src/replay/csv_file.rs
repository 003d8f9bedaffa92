//! A CSV file, row by row: cells without their quotes, and the line in which each row begins.
//!
//! One row is in memory at a time, whatever the size of the file.

use std::io::{BufRead, BufReader, Read};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The most bytes of a row's cells. A longer one has lost a quote.
const ROW_BYTES_MAX: usize = 64 << 10;

/// The most cells of a row.
const CELLS_MAX: usize = 4096;

/// A file that is being read.
pub(super) struct CsvFile<R> {
    input: BufReader<R>,
    reader: Reader,
    lines: LineCounter,
    /// The cells of the row, one behind the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
}

/// A row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// The line that it begins in, from 1 on.
    pub(super) line: u64,
    cells: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Row<'a> {
    /// Returns the number of cells.
    pub(super) const fn len(self) -> usize {
        self.ends.len()
    }

    /// Returns a cell without its quotes.
    pub(super) fn cell(self, at: usize) -> &'a [u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let range = start.copied().unwrap_or(0)..self.ends.get(at).copied().unwrap_or(0);
        self.cells.get(range).unwrap_or_default()
    }

    /// Returns all cells.
    pub(super) fn cells(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(move |at| self.cell(at))
    }
}

impl<R: Read> CsvFile<R> {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is in UTF-16.
    pub(super) fn new(input: R) -> Result<Self, String> {
        let mut input = BufReader::with_capacity(ROW_BYTES_MAX, input);
        let start = input.fill_buf().map_err(|error| error.to_string())?;
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            return Err("this is UTF-16; save the table as CSV in UTF-8".to_owned());
        }
        let reader = ReaderBuilder::new().delimiter(delimiter(start)).build();
        let (cells, ends) = (vec![0; ROW_BYTES_MAX], vec![0; CELLS_MAX]);
        Ok(Self { input, reader, lines: LineCounter::default(), cells, ends })
    }

    /// Returns the next row that is not blank; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the row is too long.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, String> {
        loop {
            let Some((line, bytes, count)) = self.read()? else {
                return Ok(None);
            };
            let cells = self.cells.get(..bytes).unwrap_or_default();
            let is_blank = count < 2 && cells.trim_ascii().is_empty();
            if !is_blank {
                let cells = self.cells.get(..bytes).unwrap_or_default();
                let ends = self.ends.get(..count).unwrap_or_default();
                return Ok(Some(Row { line, cells, ends }));
            }
        }
    }

    /// Reads a row; returns its line, the bytes of its cells, and their number.
    fn read(&mut self) -> Result<Option<(u64, usize, usize)>, String> {
        self.skip_line_ends()?;
        let line = self.lines.line();
        let (mut bytes, mut count) = (0, 0);
        loop {
            let input = self.input.fill_buf().map_err(|error| error.to_string())?;
            let cells = self.cells.get_mut(bytes..).unwrap_or_default();
            let ends = self.ends.get_mut(count..).unwrap_or_default();
            let (result, read, written, ended) = self.reader.read_record(input, cells, ends);
            self.lines.pass(input.get(..read).unwrap_or_default());
            self.input.consume(read);
            (bytes, count) = (bytes + written, count + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => return Ok(Some((line, bytes, count))),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(format!(
                        "line {line}: a row of more than {ROW_BYTES_MAX} bytes or {CELLS_MAX} \
                         cells; is a quote missing?"
                    ));
                }
            }
        }
    }

    /// Skips line ends, so that a row behind blank lines gets the number of its own line.
    fn skip_line_ends(&mut self) -> Result<(), String> {
        loop {
            let input = self.input.fill_buf().map_err(|error| error.to_string())?;
            let length = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let is_all = length > 0 && length == input.len();
            self.lines.pass(input.get(..length).unwrap_or_default());
            self.input.consume(length);
            if !is_all {
                return Ok(());
            }
        }
    }
}

/// Returns the delimiter of the cells: the one that is most frequent in the header row.
fn delimiter(start: &[u8]) -> u8 {
    let header = start.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let count = |delimiter: &u8| header.iter().filter(|byte| *byte == delimiter).count();
    // If several are as frequent, this is the last of them, the comma.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// A count of lines that end with LF, CR LF or CR.
#[derive(Default)]
struct LineCounter {
    ended: u64,
    after_return: bool,
}

impl LineCounter {
    const fn line(&self) -> u64 {
        self.ended + 1
    }

    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let is_second = *byte == b'\n' && self.after_return;
            self.ended += u64::from(matches!(byte, b'\r' | b'\n') && !is_second);
            self.after_return = *byte == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Vec<(u64, Vec<String>)>;

    /// A file that comes in small pieces.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.0.len().min(buffer.len()).min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn rows_of(input: impl Read) -> Result<Found, String> {
        let mut file = CsvFile::new(input)?;
        let mut rows = Vec::new();
        while let Some(row) = file.next()? {
            let text = |cell: &[u8]| String::from_utf8_lossy(cell).into_owned();
            rows.push((row.line, row.cells().map(text).collect()));
        }
        Ok(rows)
    }

    fn rows(text: &[u8]) -> Result<Found, String> {
        let whole = rows_of(text);
        // Another delimiter than the comma is seen only with the whole header row at once.
        if !text.iter().any(|byte| matches!(byte, b';' | b'\t')) {
            assert_eq!(rows_of(Trickle(text)), whole);
        }
        whole
    }

    #[test]
    fn rows_have_cells_and_lines() {
        for (text, expected) in [
            (&b"a,b\n1,2\n3,\n"[..], vec![(1, "a|b"), (2, "1|2"), (3, "3|")]),
            (
                b"\n\na,b\r\n\r\n \n1,\"2\r\n\"\"x\"\"\"\r\n3,4",
                vec![(3, "a|b"), (6, "1|2\r\n\"x\""), (8, "3|4")],
            ),
            (b"a,b\r1,2\r\r3,4\r", vec![(1, "a|b"), (2, "1|2"), (4, "3|4")]),
            (b"\xef\xbb\xbfa;b\n1,5;2\n", vec![(1, "a|b"), (2, "1,5|2")]),
            (b"a\tb,c\td\n\xff\t2\n", vec![(1, "a|b,c|d"), (2, "\u{fffd}|2")]),
            (b"a,b\n1,\"2\n3,4\n", vec![(1, "a|b"), (2, "1|2\n3,4\n")]),
            (b"", vec![]),
        ] {
            let found = rows(text).unwrap();
            let found: Vec<_> =
                found.into_iter().map(|(line, cells)| (line, cells.join("|"))).collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(line, cells)| (line, cells.to_owned())).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(rows_of(&b"\xff\xfea\0,\0"[..]).unwrap_err().contains("UTF-16"));
        let endless = [&b"a,b\n1,2\n3,\""[..], &[b'x'; ROW_BYTES_MAX + 1]].concat();
        let error = rows_of(&*endless).unwrap_err();
        assert!(error.starts_with("line 3: ") && error.ends_with("is a quote missing?"), "{error}");
        assert!(rows_of(&*b",".repeat(CELLS_MAX)).unwrap_err().starts_with("line 1: "));
    }
}
