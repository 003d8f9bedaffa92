//! Spilled records: a record and its deadline as bytes in a file, and back.
//!
//! Pure. A record has its length, a check sum and its deadline, so a reader that meets damaged
//! bytes finds the next whole record behind them: only what is damaged is lost.

use std::io::{ErrorKind, Read};
use std::ops::Range;

use crate::limits::RECORD_BYTES_MAX;

/// The line that a file begins with: its number is that of the format.
pub(super) const HEADER: &[u8] = b"corepulse spill 1\n";

/// The beginning of the header in every format.
pub(super) const MAGIC: &[u8] = b"corepulse spill ";

/// Bytes of the length of what follows the check sum, and of that sum.
const FRAME_BYTES: usize = 8;

/// Bytes of the deadline and of the length of the key.
const FIXED_BYTES: usize = 10;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Bytes of the longest record with its frame.
const FRAMED_BYTES_MAX: usize = FRAME_BYTES + FIXED_BYTES + RECORD_BYTES_MAX;

const _: () = assert!(FRAMED_BYTES_MAX < READ_BYTES);

/// Appends a record that ends at this time, in milliseconds since 1970. One that no block could
/// have held is left out.
pub(super) fn encode(deadline_ms: u64, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let length = FIXED_BYTES + key.len() + value.len();
    let (Ok(framed), Ok(key_len)) = (u32::try_from(length), u16::try_from(key.len())) else {
        return;
    };
    let start = out.len();
    out.extend_from_slice(&framed.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&deadline_ms.to_le_bytes());
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    let record = out.get_mut(start..).unwrap_or_default();
    let sum = checksum(record);
    if let Some(place) = record.get_mut(4..FRAME_BYTES) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Returns the check sum of a framed record, of all but the sum itself.
fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(record.get(..4).unwrap_or_default());
    hasher.update(record.get(FRAME_BYTES..).unwrap_or_default());
    hasher.finalize()
}

/// A record that was read; key and value are in [`RecordReader::bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundRecord {
    /// The end of its life, in milliseconds since 1970.
    pub(super) deadline_ms: u64,
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// A reader of the records behind a header.
#[derive(Debug)]
pub(super) struct RecordReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The start of what was not looked at in `buffer`.
    at: usize,
    has_ended: bool,
    /// Bytes that belong to no whole record.
    torn_bytes: u64,
}

impl<R: Read> RecordReader<R> {
    pub(super) fn new(source: R) -> Self {
        let mut reader =
            Self { source, buffer: Vec::new(), at: 0, has_ended: false, torn_bytes: 0 };
        reader.fill();
        if reader.buffer.starts_with(HEADER) {
            reader.at = HEADER.len();
        }
        reader
    }

    /// Returns the number of bytes so far that belong to no whole record.
    pub(super) const fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Returns the bytes at a place of the last record.
    pub(super) fn bytes(&self, place: &Range<usize>) -> &[u8] {
        self.buffer.get(place.clone()).unwrap_or_default()
    }

    /// Returns the next whole record; `None` at the end.
    pub(super) fn next(&mut self) -> Option<FoundRecord> {
        loop {
            if self.buffer.len() - self.at < FRAMED_BYTES_MAX && !self.has_ended {
                self.fill();
            }
            if self.at == self.buffer.len() {
                return None;
            }
            if let Some((found, end)) = self.record_at(self.at) {
                self.at = end;
                return Some(found);
            }
            self.at += 1;
            self.torn_bytes += 1;
        }
    }

    /// Returns the record at a place and where it ends, if there is a whole one.
    fn record_at(&self, at: usize) -> Option<(FoundRecord, usize)> {
        let rest = self.buffer.get(at..)?;
        let length = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
        if !(FIXED_BYTES..=FIXED_BYTES + RECORD_BYTES_MAX).contains(&length) {
            return None;
        }
        let record = rest.get(..FRAME_BYTES + length)?;
        let (_, behind) = record.split_first_chunk::<4>()?;
        let (sum, behind) = behind.split_first_chunk()?;
        if checksum(record) != u32::from_le_bytes(*sum) {
            return None;
        }
        let (deadline_ms, behind) = behind.split_first_chunk()?;
        let (key_len, behind) = behind.split_first_chunk()?;
        let key_len = usize::from(u16::from_le_bytes(*key_len));
        if key_len > behind.len() {
            return None;
        }
        let (key_at, end) = (at + FRAME_BYTES + FIXED_BYTES, at + record.len());
        let (key, value) = (key_at..key_at + key_len, key_at + key_len..end);
        Some((FoundRecord { deadline_ms: u64::from_le_bytes(*deadline_ms), key, value }, end))
    }

    /// Reads until there is a piece of what was not looked at, or nothing more.
    fn fill(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut chunk = vec![0; READ_BYTES];
        while self.buffer.len() < READ_BYTES && !self.has_ended {
            match self.source.read(&mut chunk) {
                Ok(0) => self.has_ended = true,
                Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What cannot be read is lost like what is torn.
                Err(_) => self.has_ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (u64, Vec<u8>, Vec<u8>);

    fn records() -> Vec<Owned> {
        let record = |number: u64, length: usize| {
            (number, format!("metric:d:{number}").into_bytes(), vec![b'v'; length])
        };
        vec![record(1, 40), record(2, 0), record(u64::MAX, RECORD_BYTES_MAX - 40), record(4, 7)]
    }

    /// Returns a file, and where each of its records ends.
    fn file(records: &[Owned]) -> (Vec<u8>, Vec<usize>) {
        let mut file = HEADER.to_vec();
        let ends = records.iter().map(|(deadline_ms, key, value)| {
            encode(*deadline_ms, key, value, &mut file);
            file.len()
        });
        let ends = ends.collect();
        (file, ends)
    }

    fn read(file: &[u8]) -> (Vec<Owned>, u64) {
        let mut reader = RecordReader::new(file);
        let mut found = Vec::new();
        while let Some(FoundRecord { deadline_ms, key, value }) = reader.next() {
            found.push((deadline_ms, reader.bytes(&key).into(), reader.bytes(&value).into()));
        }
        (found, reader.torn_bytes())
    }

    #[test]
    fn a_file_that_is_cut_at_any_byte_loses_the_record_that_is_cut_alone() {
        let records = records();
        let (file, ends) = file(&records);
        assert_eq!(read(&file), (records.clone(), 0));
        for cut in 0..file.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let (found, torn) = read(&file[..cut]);
            assert_eq!(found, records[..whole], "cut at {cut}");
            let last = if whole == 0 { HEADER.len() } else { ends[whole - 1] };
            let is_whole = cut == last;
            assert_eq!(torn == 0, is_whole || cut == 0, "{torn} bytes of {cut}");
        }
    }

    #[test]
    fn a_damaged_byte_costs_its_record_and_no_other() {
        let records = records();
        let (file, ends) = file(&records);
        for at in HEADER.len()..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x55;
            let hit = ends.iter().filter(|end| **end <= at).count();
            let mut left = records.clone();
            left.remove(hit);
            let (found, torn) = read(&damaged);
            assert_eq!(found, left, "byte {at}");
            assert!(torn > 0, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_spill_has_no_records() {
        for bytes in [&b""[..], b"\0", &[0; 200_000], &[0xff; 5_000], b"corepulse spill 1\n"] {
            assert_eq!(read(bytes).0, []);
        }
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..random.usize(..9_000)).map(|_| random.u8(..)).collect();
            let (found, torn) = read(&bytes);
            assert_eq!((found, torn), (vec![], bytes.len() as u64));
        }
    }
}
