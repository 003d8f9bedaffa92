//! The writer of spilled records. What does not fit is left out from there on, and what was written
//! before it stays whole.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::record::{HEADER, encode};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// A file, or what stands for one in tests.
pub(super) trait SpillSink: Write {
    /// Shortens the file to so many bytes, and goes on there.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;

    /// Returns once everything is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl SpillSink for File {
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.seek(SeekFrom::Start(bytes)).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct SpillWriter<S> {
    sink: S,
    /// Bytes of the sink that are whole records.
    written: u64,
    buffer: Vec<u8>,
    /// The ends of the header and the records in `buffer`.
    ends: Vec<usize>,
    /// Records in the sink.
    records: u64,
    error: Option<io::Error>,
}

impl<S: SpillSink> SpillWriter<S> {
    pub(super) fn new(sink: S) -> Self {
        let buffer = HEADER.to_vec();
        Self { sink, written: 0, buffer, ends: Vec::new(), records: 0, error: None }
    }

    /// Adds a record, unless one could not be written before.
    pub(super) fn add(&mut self, deadline_ms: u64, key: &[u8], value: &[u8]) {
        if self.error.is_some() {
            return;
        }
        encode(deadline_ms, key, value, &mut self.buffer);
        self.ends.push(self.buffer.len());
        if self.buffer.len() >= WRITE_BYTES {
            self.flush();
        }
    }

    /// Returns the number of records that are on the disk, and the error that kept others from it.
    pub(super) fn finish(mut self) -> (u64, Option<io::Error>) {
        self.flush();
        match self.sink.sync() {
            Ok(()) => (self.records, self.error),
            // Nobody knows what is there.
            Err(error) => (0, Some(error)),
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.sink.write_all(&self.buffer) {
            self.error = Some(error);
            self.write_what_fits();
        } else {
            self.written += self.buffer.len() as u64;
            self.records += self.ends.len() as u64;
        }
        self.buffer.clear();
        self.ends.clear();
    }

    /// Writes the records of the buffer one by one, up to the first that does not fit.
    fn write_what_fits(&mut self) {
        let mut start = 0;
        for end in &self.ends {
            let record = self.buffer.get(start..*end).unwrap_or_default();
            let written = self.sink.truncate(self.written);
            if written.and_then(|()| self.sink.write_all(record)).is_err() {
                break;
            }
            self.written += record.len() as u64;
            self.records += 1;
            start = *end;
        }
        // Half a record would be skipped as well.
        let _ = self.sink.truncate(self.written);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::RecordReader;
    use super::*;

    /// A disk with so many bytes.
    struct SmallDisk<'a> {
        file: &'a mut Vec<u8>,
        bytes: usize,
    }

    impl Write for SmallDisk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.bytes - self.file.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(room).min(1_000);
            self.file.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl SpillSink for SmallDisk<'_> {
        fn truncate(&mut self, bytes: u64) -> io::Result<()> {
            self.file.truncate(bytes as usize);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_full_at_any_byte_keeps_all_whole_records_before_it() {
        const RECORDS: u64 = 700;
        let value = [b'v'; 100];
        let write = |bytes: usize| {
            let mut file = Vec::new();
            let mut writer = SpillWriter::new(SmallDisk { file: &mut file, bytes });
            for number in 0..RECORDS {
                writer.add(number, format!("metric:{number:05}").as_bytes(), &value);
            }
            let (records, error) = writer.finish();
            (file, records, error)
        };
        let (whole, records, error) = write(usize::MAX);
        assert!(records == RECORDS && error.is_none());
        let size = (whole.len() - HEADER.len()) / RECORDS as usize;
        assert!(whole.len() > WRITE_BYTES, "more than one piece");
        for bytes in (0..3 * size).chain(WRITE_BYTES - size..WRITE_BYTES + 2 * size) {
            let (file, records, error) = write(bytes);
            let fits = bytes.saturating_sub(HEADER.len()) / size;
            assert_eq!(error.unwrap().kind(), io::ErrorKind::StorageFull);
            assert_eq!(records, fits as u64, "{bytes}");
            let mut reader = RecordReader::new(&file[..]);
            assert_eq!(std::iter::from_fn(|| reader.next()).count(), fits, "{bytes}");
            assert_eq!(reader.torn_bytes(), 0);
        }
    }
}
