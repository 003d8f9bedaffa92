//! The spill: records that could not be written before the server ended, in files for the next
//! start.
//!
//! `record` is the format; `writer` writes it, as far as there is room; `directory` has the files.
//! A start takes up what is there before anything of its own, and a file is removed once every
//! record in it has an outcome.

mod directory;
mod record;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use super::block::Block;
use super::encoding::Encoding;
use directory::SpillFile;
use percore::clock::{Clock, Now};
use record::{FoundRecord, RecordReader};
use std::fs::File;
use writer::SpillWriter;

const MILLISECOND_NS: u64 = 1_000_000;

/// Spilled records that have ended their lives, and are passed over at once.
const EXPIRED_AT_ONCE: u64 = 10_000;

/// See the head of this file. The writer of the store owns it.
#[derive(Debug)]
pub struct Spill {
    directory: PathBuf,
    clock: Clock,
    /// The files that are not read to the end, the first of which is the next.
    files: Vec<SpillFile>,
    reader: Option<RecordReader<File>>,
    /// Files that are read, and not removed as records of them have no outcome.
    read: Vec<SpillFile>,
    /// Blocks that were given and not returned.
    blocks_out: usize,
    spare: Vec<Block>,
    recovery: Recovery,
}

/// The facts about what an earlier process left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Files that are taken up.
    pub files: usize,
    /// Files of a format that this version does not know, which are left alone.
    pub unknown: Vec<PathBuf>,
    /// Records so far.
    pub events: u64,
    /// Those of them whose life was over.
    pub expired: u64,
    /// Bytes so far that belong to no whole record.
    pub torn_bytes: u64,
}

/// The next of what an earlier process left.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Records to write.
    pub(super) block: Option<Block>,
    /// Records whose life was over.
    pub(super) expired: u64,
    /// The monotonic time.
    pub(super) now_ns: u64,
}

/// The result of spilling.
#[derive(Debug, Default)]
pub struct Spilled {
    /// Events of this process that are in the file.
    pub events: u64,
    /// Its path, if there is one.
    pub path: Option<PathBuf>,
    /// The error that kept others from it.
    pub error: Option<io::Error>,
}

impl Spill {
    /// Opens a directory, and takes what earlier processes left there.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, read or written to.
    pub fn open(directory: &Path, clock: Clock) -> io::Result<Self> {
        directory::prepare(directory)?;
        let (files, unknown) = directory::take(directory)?;
        let recovery = Recovery { files: files.len(), unknown, ..Recovery::default() };
        Ok(Self {
            directory: directory.to_owned(),
            clock,
            files,
            reader: None,
            read: Vec::new(),
            blocks_out: 0,
            spare: Vec::new(),
            recovery,
        })
    }

    /// Returns the facts about what was taken up so far.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Returns the next records to write, which live for `ttl_ns` at most; `None` when all were
    /// returned.
    pub(super) fn next(&mut self, encoding: &Encoding, ttl_ns: u64) -> Option<Recovered> {
        if self.files.is_empty() {
            return None;
        }
        let now = self.clock.now();
        let mut block = self.spare.pop().unwrap_or_else(|| Block::new(*encoding));
        let (mut expired, now_ns) = (0, now.mono_ns);
        while !block.is_full() && expired < EXPIRED_AT_ONCE {
            let Some((found, reader)) = self.next_record() else {
                break;
            };
            match deadline_ns(found.deadline_ms, now, ttl_ns) {
                Some(at) => {
                    let (key, value) = (reader.bytes(&found.key), reader.bytes(&found.value));
                    block.append_recovered(key, value, at);
                }
                None => expired += 1,
            }
        }
        self.recovery.events += block.events() + expired;
        self.recovery.expired += expired;
        if block.is_empty() {
            self.spare.push(block);
            return (expired > 0).then_some(Recovered { block: None, expired, now_ns });
        }
        self.blocks_out += 1;
        Some(Recovered { block: Some(block), expired, now_ns })
    }

    fn next_record(&mut self) -> Option<(FoundRecord, &RecordReader<File>)> {
        loop {
            if self.reader.is_none() {
                let file = self.files.first()?.file.try_clone().ok()?;
                self.reader = Some(RecordReader::new(file));
            }
            if let Some(found) = self.reader.as_mut()?.next() {
                return Some((found, self.reader.as_ref()?));
            }
            self.recovery.torn_bytes += self.reader.take()?.torn_bytes();
            self.read.push(self.files.remove(0));
        }
    }

    /// Takes a block back whose records have their outcomes. Returns true if it was the last one,
    /// and the files are removed.
    pub(super) fn release(&mut self, mut block: Block) -> bool {
        block.clear();
        self.spare.push(block);
        self.blocks_out -= 1;
        self.remove_if_done()
    }

    /// Removes the files if all that was in them has its outcome; returns true if there were any.
    pub(super) fn remove_if_done(&mut self) -> bool {
        let is_done = self.blocks_out == 0 && self.files.is_empty() && !self.read.is_empty();
        if is_done {
            // One that cannot be removed is taken up once more: its records are written again.
            self.read.drain(..).for_each(|file| drop(file.remove()));
            self.spare = Vec::new();
        }
        is_done
    }

    /// Writes a file with the records of these blocks, each from an entry on: first those of
    /// `recovered`, then the rest of the files that were taken up, which it replaces, and those of
    /// `own`.
    pub(super) fn spill(
        &mut self,
        recovered: &[(Block, usize)],
        own: &[(Block, usize)],
        ttl_ns: u64,
    ) -> Spilled {
        let now = self.clock.now();
        let mut written = match SpillFile::create(&self.directory, now.wall_us) {
            Ok(file) => file,
            Err(error) => return Spilled { error: Some(error), ..Spilled::default() },
        };
        let file = match written.file.try_clone() {
            Ok(file) => file,
            Err(error) => return Spilled { error: Some(error), ..Spilled::default() },
        };
        let mut writer = SpillWriter::new(file);
        let first = add_all(recovered, ttl_ns, now, &mut writer);
        let mut rest = 0;
        while let Some((found, reader)) = self.next_record() {
            let (key, value) = (reader.bytes(&found.key), reader.bytes(&found.value));
            writer.add(found.deadline_ms, key, value);
            rest += 1;
        }
        add_all(own, ttl_ns, now, &mut writer);
        let (records, mut error) = writer.finish();
        if let Err(unnamed) = written.complete() {
            error.get_or_insert(unnamed);
        }
        if records >= first + rest {
            self.read.drain(..).for_each(|file| drop(file.remove()));
        }
        let path = Some(written.path.clone());
        if records == 0 {
            let _ = written.remove();
            return Spilled { events: 0, path: None, error };
        }
        let events = records.min(first) + records.saturating_sub(first + rest);
        Spilled { events, path, error }
    }
}

/// Adds the records of blocks. Returns their number.
fn add_all(
    blocks: &[(Block, usize)],
    ttl_ns: u64,
    now: Now,
    writer: &mut SpillWriter<File>,
) -> u64 {
    let mut records = 0;
    for (block, from) in blocks {
        for (_, record) in block.records_from(*from) {
            let life_ns = if block.has_deadlines() { 0 } else { ttl_ns };
            let left_ns = record.entered_ns.saturating_add(life_ns).saturating_sub(now.mono_ns);
            let wall_ms = u64::try_from(now.wall_ms()).unwrap_or(0);
            let deadline_ms = wall_ms.saturating_add(left_ns / MILLISECOND_NS);
            writer.add(deadline_ms, record.key, record.value);
            records += 1;
        }
    }
    records
}

/// Returns a time of the wall clock by the monotonic one, unless it is over. Between a stop and a
/// start that clock may have been set: no life is longer than that of an event which comes now.
fn deadline_ns(deadline_ms: u64, now: Now, ttl_ns: u64) -> Option<u64> {
    let left_ms = deadline_ms.checked_sub(u64::try_from(now.wall_ms()).ok()?)?;
    let left_ns = left_ms.saturating_mul(MILLISECOND_NS).min(ttl_ns);
    (left_ms > 0).then_some(now.mono_ns.saturating_add(left_ns))
}
