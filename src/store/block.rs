//! Blocks: many records in one buffer, on their way from a core to the store.
//!
//! A core fills its open block; the store takes it whole. Records are packed by hand into one
//! reused buffer, and an entry each remembers where. Equal keys inside one block are coalesced:
//! the last write wins, which is what the store would end with. A replaced record of the same
//! length is overwritten where it stands; another leaves a dead entry, so that the entries stay in
//! the order of their bytes.

use percore::clock::Now;
use std::ops::Range;

use crate::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use crate::metric::event::Event;
use crate::store::encoding::{Encoding, Layout};
use crate::store::key::KeyHasher;

/// What became of an event that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It has a record of its own.
    Fresh,
    /// It took the place of an older event with its key.
    Coalesced,
}

/// One live record of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The hash of `key` by the block's hasher.
    pub hash: u64,
    /// When the event was appended, by the monotonic clock.
    pub entered_ns: u64,
    /// `metric:<timestamp>` or `metric:<device_id>:<timestamp>`.
    pub key: &'a [u8],
    /// The JSON object.
    pub value: &'a [u8],
}

/// Where one record is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    entered_ns: u64,
    start: u32,
    layout: Layout,
    live: bool,
}

/// A place of the coalescing table. It is empty unless its generation is the block's, so that
/// clearing a block does not have to touch the table.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    generation: u32,
    index: u32,
}

/// Room for the buffer of a block that is handed over once it has [`BLOCK_BYTES`].
const BUFFER_BYTES: usize = BLOCK_BYTES + RECORD_BYTES_MAX;
const PLACES_FIRST: usize = 64;

/// Entries that a block keeps room for, more than records of the shortest kind fit its buffer.
const fn entries_kept(encoding: Encoding) -> usize {
    (BUFFER_BYTES / encoding.record_bytes_min()).next_power_of_two()
}

/// At most half of the table's places are taken, so a probe ends after one or two.
const fn places_kept(encoding: Encoding) -> usize {
    2 * entries_kept(encoding)
}

const _: () = assert!(PLACES_FIRST.is_power_of_two());

/// Packed records of many events. Not shared: whoever holds it fills or empties it.
#[derive(Debug)]
pub struct Block {
    encoding: Encoding,
    hasher: KeyHasher,
    data: Vec<u8>,
    entries: Vec<Entry>,
    table: Vec<Place>,
    generation: u32,
    live: u64,
    coalesced: u64,
    oldest_ns: u64,
}

impl Block {
    /// An empty block; it allocates with its first event. All blocks of one store share a hasher.
    #[must_use]
    pub fn new(encoding: Encoding, hasher: KeyHasher) -> Self {
        Self {
            encoding,
            hasher,
            data: Vec::new(),
            entries: Vec::new(),
            table: Vec::new(),
            generation: 1,
            live: 0,
            coalesced: 0,
            oldest_ns: 0,
        }
    }

    /// The most that a block ever allocates: it is handed over at [`BLOCK_BYTES`].
    #[must_use]
    pub const fn cost_bytes(encoding: Encoding) -> usize {
        BUFFER_BYTES
            + entries_kept(encoding) * size_of::<Entry>()
            + places_kept(encoding) * size_of::<Place>()
    }

    /// How its records are packed.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Packs one event. It replaces what the block had under its key.
    pub fn append(&mut self, event: &Event<'_>, now: Now) -> Appended {
        if self.is_empty() {
            self.oldest_ns = now.mono_ns;
        }
        if self.data.capacity() == 0 {
            self.data.reserve_exact(BUFFER_BYTES);
        }
        let start = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let layout = self.encoding.encode(event, &mut self.data);
        let mut entry = Entry { hash: 0, entered_ns: now.mono_ns, start, layout, live: true };
        entry.hash = self.hasher.hash(self.key_of(&entry));
        if (self.entries.len() + 1) * 2 > self.table.len() {
            self.grow_table();
        }
        let (place, found) = self.find(&entry);
        let outcome = if let Some(older) = found {
            self.coalesced += 1;
            if self.overwrite(older, &entry) {
                return Appended::Coalesced;
            }
            // It has another shape, and takes the older one's place in the table alone.
            Appended::Coalesced
        } else {
            self.live += 1;
            Appended::Fresh
        };
        self.take_place(place, self.entries.len());
        self.entries.push(entry);
        outcome
    }

    /// The live records, in the order of their bytes.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().filter(|entry| entry.live).map(|entry| self.record(entry))
    }

    fn record(&self, entry: &Entry) -> Record<'_> {
        Record {
            hash: entry.hash,
            entered_ns: entry.entered_ns,
            key: self.key_of(entry),
            value: self.bytes_at(entry, entry.layout.value_at, entry.layout.value_len),
        }
    }

    /// Events appended since the block was empty, whatever became of them.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.live + self.coalesced
    }

    /// Live records: distinct keys.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Events that a newer one of their key replaced.
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Whether no event has been appended since the last [`Self::clear`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events() == 0
    }

    /// Whether it is time to hand the block over: it has [`BLOCK_BYTES`] of records.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.data.len() >= BLOCK_BYTES
    }

    /// Bytes allocated for it: buffer, entries and table.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.table.capacity() * size_of::<Place>()
    }

    /// Nanoseconds since its first event came in; 0 while it is empty.
    #[must_use]
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        if self.is_empty() {
            return 0;
        }
        now_ns.saturating_sub(self.oldest_ns)
    }

    /// Hands out how many events were replaced, which need no record any more, and forgets them:
    /// from now on the block stands for its live records.
    pub fn settle(&mut self) -> u64 {
        std::mem::take(&mut self.coalesced)
    }

    /// The packed bytes of all records, if every one of them is live.
    #[must_use]
    pub fn encoded(&self) -> Option<&[u8]> {
        (self.live == self.entries.len() as u64).then_some(&self.data)
    }

    /// The live records from the entry at `from` on, each with its index.
    pub fn records_from(&self, from: usize) -> impl Iterator<Item = (usize, Record<'_>)> {
        let entries = self.entries.iter().enumerate().skip(from);
        entries.filter(|(_, entry)| entry.live).map(|(index, entry)| (index, self.record(entry)))
    }

    /// The index of the first live record from the entry at `from` on.
    #[must_use]
    pub fn next_live(&self, from: usize) -> Option<usize> {
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.iter().position(|entry| entry.live).map(|place| from + place)
    }

    /// Gives up one record.
    pub fn discard(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.live) {
            entry.live = false;
            self.live -= 1;
        }
    }

    /// Gives up the records from the entry at `from` on that came in at `until_ns` or before, and
    /// says how many there were.
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

    /// Empties it. Its memory stays for the next events, but for what an unusual load had added.
    pub fn clear(&mut self) {
        self.data.clear();
        self.entries.clear();
        self.data.shrink_to(BUFFER_BYTES);
        self.entries.shrink_to(entries_kept(self.encoding));
        if self.table.len() > places_kept(self.encoding) {
            self.table = Vec::new();
        }
        (self.live, self.coalesced) = (0, 0);
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // After 2^32 blocks a stale place could look like a new one.
            self.table.fill(Place::default());
            self.generation = 1;
        }
    }

    /// Moves the newest record over the entry at `older`, if they have the same shape; else marks
    /// that entry dead. Says whether it was moved.
    fn overwrite(&mut self, older: usize, newer: &Entry) -> bool {
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
        self.data.truncate(newer.start as usize);
        true
    }

    /// The place in the table where the entry's key is or belongs, and the index of the entry that
    /// has it now.
    fn find(&self, entry: &Entry) -> (usize, Option<usize>) {
        let mask = self.table.len().wrapping_sub(1);
        let key = self.key_of(entry);
        // The low bits choose the place; at least half of the places are empty, so this ends.
        let mut place = usize::try_from(entry.hash & mask as u64).unwrap_or(0);
        while let Some(taken) = self.table.get(place) {
            if taken.generation != self.generation {
                break;
            }
            let index = taken.index as usize;
            if let Some(other) = self.entries.get(index)
                && other.hash == entry.hash
                && self.key_of(other) == key
            {
                return (place, Some(index));
            }
            place = (place + 1) & mask;
        }
        (place, None)
    }

    fn take_place(&mut self, place: usize, index: usize) {
        let (generation, index) = (self.generation, u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(place) = self.table.get_mut(place) {
            *place = Place { generation, index };
        }
    }

    /// Doubles the table and enters the live keys again.
    fn grow_table(&mut self) {
        let places = (self.table.len() * 2).max(PLACES_FIRST);
        self.table.clear();
        self.table.resize(places, Place::default());
        for index in 0..self.entries.len() {
            if let Some(entry) = self.entries.get(index).filter(|entry| entry.live) {
                let (place, _) = self.find(entry);
                self.take_place(place, index);
            }
        }
    }

    fn key_of(&self, entry: &Entry) -> &[u8] {
        self.bytes_at(entry, entry.layout.key_at, entry.layout.key_len)
    }

    fn bytes_at(&self, entry: &Entry, at: u16, len: u16) -> &[u8] {
        let start = entry.start as usize + usize::from(at);
        self.data.get(start..start + usize::from(len)).unwrap_or_default()
    }
}

fn span(entry: &Entry) -> Range<usize> {
    let start = entry.start as usize;
    start..start + usize::from(entry.layout.len)
}

#[cfg(test)]
mod tests;
