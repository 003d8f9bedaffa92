//! Blocks: many records in one buffer, on their way from a core to the writer to Redis.
//!
//! A core fills its open block; the writer takes it whole. Records are encoded into one reused
//! buffer, and each has an entry with its position. Equal keys inside one block are coalesced: the
//! last write wins, as it would in the store. A replaced record of the same layout is overwritten
//! in place; otherwise its entry is marked dead, so that the entries stay in the order of their
//! bytes.

use std::ops::Range;

use crate::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use crate::metric::event::Event;
use crate::metric::id_hash::IdHash;
use crate::store::encoding::{Encoding, Layout};
use crate::store::place::BlockId;
use percore::clock::Now;

/// The result of appending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The event has a record of its own.
    Fresh,
    /// The event replaced an older one with its key.
    Coalesced,
}

/// One live record of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The time at which the event was appended, by the monotonic clock.
    pub entered_ns: u64,
    /// `metric:<timestamp>` or `metric:<device_id>:<timestamp>`.
    pub key: &'a [u8],
    /// The JSON object.
    pub value: &'a [u8],
}

/// The position and the key hash of one record.
#[derive(Clone, Copy, Debug)]
struct RecordEntry {
    hash: u64,
    entered_ns: u64,
    start: u32,
    layout: Layout,
    live: bool,
}

/// Slots of the hash table of a block with few records.
const SLOTS_FIRST: usize = 64;

/// The memory that a block keeps, which is enough until it is handed over.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    /// Bytes of its buffer: the block is handed over once it has [`BLOCK_BYTES`].
    data: usize,
    /// Entries of records, for a buffer full of the shortest ones.
    entries: usize,
    /// Slots of the table. At most half of them are taken, so a probe ends after one or two.
    slots: usize,
}

impl Capacity {
    fn of(encoding: &Encoding) -> Self {
        let data = BLOCK_BYTES + encoding.record_bytes_max();
        let entries = (data / encoding.record_bytes_min()).next_power_of_two();
        Self { data, entries, slots: 2 * entries }
    }
}

const _: () = assert!(SLOTS_FIRST.is_power_of_two());
// A slot of the table has room for the index of each record.
const _: () = assert!(BLOCK_BYTES + RECORD_BYTES_MAX < u16::MAX as usize);

/// See the head of this file. A block has one owner at a time.
#[derive(Debug)]
pub struct Block {
    encoding: Encoding,
    kept: Capacity,
    /// The buffer: the records, and room for one more.
    data: Vec<u8>,
    /// The end of the records.
    end: usize,
    entries: Vec<RecordEntry>,
    /// The hash table that finds equal keys: the index of an entry plus one, or 0.
    table: Vec<u16>,
    live: u64,
    coalesced: u64,
    oldest_ns: u64,
    id: BlockId,
    /// True if requests may wait for its records.
    is_awaited: bool,
    /// True if its records come from a spill, and their times are those at which they end.
    has_deadlines: bool,
    /// The entries of the record that was replaced last, and of the one that replaced it.
    replaced: (usize, usize),
}

impl Block {
    /// Creates an empty block; it allocates with its first event.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            kept: Capacity::of(&encoding),
            encoding,
            data: Vec::new(),
            end: 0,
            entries: Vec::new(),
            table: Vec::new(),
            live: 0,
            coalesced: 0,
            oldest_ns: 0,
            id: BlockId::default(),
            is_awaited: false,
            has_deadlines: false,
            replaced: (0, 0),
        }
    }

    /// Returns the most bytes that a block allocates: it is handed over at [`BLOCK_BYTES`].
    pub fn cost_bytes(encoding: &Encoding) -> usize {
        let Capacity { data, entries, slots } = Capacity::of(encoding);
        data + entries * size_of::<RecordEntry>() + slots * size_of::<u16>()
    }

    /// Returns the encoding of its records.
    pub const fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Appends the record of an event, whose device id has this hash. It replaces the one that the
    /// block had under its key.
    pub fn append(&mut self, event: &Event<'_>, hash: IdHash, now: Now) -> Appended {
        if self.is_empty() {
            self.oldest_ns = now.mono_ns;
        }
        if self.data.len() < self.end + self.encoding.record_bytes_max() {
            self.grow_data();
        }
        let start = u32::try_from(self.end).unwrap_or(u32::MAX);
        let hash = hash.key_hash(event.timestamp);
        let room = self.data.get_mut(self.end..).unwrap_or_default();
        let layout = self.encoding.encode(event, room).unwrap_or_default();
        debug_assert!(layout.len > 0, "there is room");
        self.end += usize::from(layout.len);
        let entry = RecordEntry { hash, entered_ns: now.mono_ns, start, layout, live: true };
        if (self.entries.len() + 1) * 2 > self.table.len() {
            self.grow_table();
        }
        let (slot, found) = self.find(&entry);
        let outcome = if let Some(older) = found {
            self.coalesced += 1;
            if self.overwrite(older, &entry) {
                self.replaced = (older, older);
                return Appended::Coalesced;
            }
            self.replaced = (older, self.entries.len());
            // The new record has another layout: it takes over the slot in the table only.
            Appended::Coalesced
        } else {
            self.live += 1;
            Appended::Fresh
        };
        self.set_slot(slot, self.entries.len());
        self.entries.push(entry);
        outcome
    }

    /// Returns the live records, in the order of their bytes.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().filter(|entry| entry.live).map(|entry| self.record(entry))
    }

    fn record(&self, entry: &RecordEntry) -> Record<'_> {
        Record {
            entered_ns: entry.entered_ns,
            key: self.key_of(entry),
            value: self.bytes_at(entry, entry.layout.value_at, entry.layout.value_len),
        }
    }

    /// Returns the number of events appended since the block was empty.
    pub fn events(&self) -> u64 {
        self.live + self.coalesced
    }

    /// Returns the number of live records, which is that of distinct keys.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Returns the number of events that a newer one of their key replaced.
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Returns true if no event was appended since the last [`Self::clear`].
    pub fn is_empty(&self) -> bool {
        self.events() == 0
    }

    /// Returns true if the block has [`BLOCK_BYTES`] of records, and is to be handed over.
    pub fn is_full(&self) -> bool {
        self.end >= BLOCK_BYTES
    }

    /// Returns the bytes allocated for buffer, entries and table.
    pub fn bytes(&self) -> usize {
        self.data.capacity()
            + self.entries.capacity() * size_of::<RecordEntry>()
            + self.table.capacity() * size_of::<u16>()
    }

    /// Returns the nanoseconds since its first event came in; 0 while it is empty.
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        if self.is_empty() {
            return 0;
        }
        now_ns.saturating_sub(self.oldest_ns)
    }

    /// Returns the number of coalesced events and resets it: from now on the block counts its live
    /// records only.
    pub fn take_coalesced(&mut self) -> u64 {
        std::mem::take(&mut self.coalesced)
    }

    /// Returns the bytes of all records, if every one of them is live.
    pub fn encoded(&self) -> Option<&[u8]> {
        let data = self.data.get(..self.end).unwrap_or_default();
        let is_whole = self.live == self.entries.len() as u64;
        (is_whole && !self.has_deadlines).then_some(data)
    }

    /// Returns the live records from the entry at `from` on, each with its index.
    pub fn records_from(&self, from: usize) -> impl Iterator<Item = (usize, Record<'_>)> {
        let entries = self.entries.iter().enumerate().skip(from);
        entries.filter(|(_, entry)| entry.live).map(|(index, entry)| (index, self.record(entry)))
    }

    /// Returns the index of the first live record from the entry at `from` on.
    pub fn next_live(&self, from: usize) -> Option<usize> {
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.iter().position(|entry| entry.live).map(|slot| from + slot)
    }

    /// Marks one record dead.
    pub fn discard(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.live) {
            entry.live = false;
            self.live -= 1;
        }
    }

    /// Marks the records from the entry at `from` on dead that came in at `until_ns` or before.
    /// Returns their number.
    pub fn expire(&mut self, from: usize, until_ns: u64) -> u64 {
        let mut expired = 0;
        for entry in self.entries.get_mut(from..).unwrap_or_default() {
            if entry.live && entry.entered_ns <= until_ns {
                entry.live = false;
                expired += 1;
            }
        }
        self.live -= expired;
        expired
    }

    /// Empties the block. It keeps its memory for the next events, but not what an unusual load
    /// added.
    pub fn clear(&mut self) {
        self.end = 0;
        self.entries.clear();
        self.data.truncate(self.kept.data);
        self.data.shrink_to(self.kept.data);
        self.entries.shrink_to(self.kept.entries);
        self.table.clear();
        self.table.shrink_to(self.kept.slots);
        (self.live, self.coalesced) = (0, 0);
        self.is_awaited = false;
        self.has_deadlines = false;
    }

    /// Moves the newest record over the entry at `older`, if they have the same layout; otherwise
    /// marks that entry dead. Returns true if the record was moved.
    fn overwrite(&mut self, older: usize, newer: &RecordEntry) -> bool {
        let Some(entry) = self.entries.get_mut(older) else {
            return false;
        };
        if entry.layout != newer.layout {
            entry.live = false;
            return false;
        }
        entry.entered_ns = newer.entered_ns;
        let to = entry.start as usize;
        self.data.copy_within(span(newer), to);
        self.end = newer.start as usize;
        true
    }

    /// Returns the slot of the table where the entry's key is or belongs, and the index of the
    /// entry that has the key now.
    fn find(&self, entry: &RecordEntry) -> (usize, Option<usize>) {
        let mask = self.table.len().wrapping_sub(1);
        let key = self.key_of(entry);
        // The low bits choose the slot; at least half of the slots are empty, so this ends.
        let mut slot = usize::try_from(entry.hash & mask as u64).unwrap_or(0);
        while let Some(index) = self.table.get(slot).and_then(|taken| taken.checked_sub(1)) {
            let index = usize::from(index);
            if let Some(other) = self.entries.get(index)
                && other.hash == entry.hash
                && self.key_of(other) == key
            {
                return (slot, Some(index));
            }
            slot = (slot + 1) & mask;
        }
        (slot, None)
    }

    /// Sets a slot of the table to the entry at `index`.
    fn set_slot(&mut self, slot: usize, index: usize) {
        if let Some(slot) = self.table.get_mut(slot) {
            *slot = u16::try_from(index + 1).unwrap_or(0);
        }
    }

    /// Makes room for all records until the block is full. Only one that is full already, and was
    /// not handed over, gets more.
    #[cold]
    fn grow_data(&mut self) {
        let bytes = self.kept.data.max(self.end + self.encoding.record_bytes_max());
        self.data.reserve_exact(bytes - self.data.len());
        self.data.resize(bytes, 0);
    }

    /// Makes the table larger, and enters the live keys again. It is small for few records, and of
    /// its full size for more: emptying all of it takes as long as appending some events.
    #[cold]
    fn grow_table(&mut self) {
        let slots = match self.table.len() {
            0 => SLOTS_FIRST,
            slots => (slots * 2).max(self.kept.slots),
        };
        self.table.clear();
        self.table.resize(slots, 0);
        for index in 0..self.entries.len() {
            if let Some(entry) = self.entries.get(index).filter(|entry| entry.live) {
                let (slot, _) = self.find(entry);
                self.set_slot(slot, index);
            }
        }
    }

    fn key_of(&self, entry: &RecordEntry) -> &[u8] {
        self.bytes_at(entry, entry.layout.key_at, entry.layout.key_len)
    }

    fn bytes_at(&self, entry: &RecordEntry, at: u16, len: u16) -> &[u8] {
        let start = entry.start as usize + usize::from(at);
        self.data.get(start..start + usize::from(len)).unwrap_or_default()
    }
}

fn span(entry: &RecordEntry) -> Range<usize> {
    let start = entry.start as usize;
    start..start + usize::from(entry.layout.len)
}

mod recovered;
mod watched;

#[cfg(test)]
mod tests;
