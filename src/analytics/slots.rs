//! Slots: the memory of series. A slot is a record and a row of the window's size.
//!
//! Slots are in chunks that never move: a growing `Vec` of rows would copy a gigabyte at a million
//! devices, within one event. A chunk costs one allocation, and its untouched pages take no memory.

use super::window::{Row, WideTimestamps};

/// Slots of a chunk: enough to make the chunk's own overhead negligible.
const CHUNK_SLOTS: usize = 64;

struct Chunk<T> {
    records: Vec<T>,
    values: Box<[[f64; 2]]>,
    offsets: Box<[u32]>,
}

/// The contents of one slot, for reading.
pub(super) struct Slot<'a, T> {
    pub(super) record: &'a T,
    pub(super) values: &'a [[f64; 2]],
    pub(super) offsets: &'a [u32],
    /// Its timestamps, if they are too far apart for offsets.
    pub(super) wide: Option<&'a [i64]>,
}

/// Slots numbered from 0, each with a record and a row of `window` places.
pub(super) struct Slots<T> {
    window: usize,
    chunks: Vec<Chunk<T>>,
    wide: WideTimestamps,
}

impl<T> Slots<T> {
    /// Returns no slots. A window has at least one place.
    pub(super) const fn new(window: usize) -> Self {
        Self { window, chunks: Vec::new(), wide: WideTimestamps::new() }
    }

    /// Returns the number of slots.
    pub(super) fn len(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK_SLOTS + last.records.len())
    }

    /// Adds a slot, and returns its number; `None` if there are no numbers left.
    pub(super) fn push(&mut self, record: T) -> Option<u32> {
        let slot = u32::try_from(self.len()).ok()?;
        match self.chunks.last_mut() {
            Some(last) if last.records.len() < CHUNK_SLOTS => last.records.push(record),
            _ => {
                let places = CHUNK_SLOTS * self.window;
                let mut records = Vec::with_capacity(CHUNK_SLOTS);
                records.push(record);
                self.chunks.push(Chunk {
                    records,
                    values: vec![[0.0; 2]; places].into_boxed_slice(),
                    offsets: vec![0; places].into_boxed_slice(),
                });
            }
        }
        Some(slot)
    }

    /// Returns the record of a slot.
    pub(super) fn record(&self, slot: u32) -> Option<&T> {
        let (chunk, at) = split(slot);
        self.chunks.get(chunk)?.records.get(at)
    }

    /// Returns the record of a slot for writing.
    pub(super) fn record_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (chunk, at) = split(slot);
        self.chunks.get_mut(chunk)?.records.get_mut(at)
    }

    /// Returns a slot's record and row.
    pub(super) fn read(&self, slot: u32) -> Option<Slot<'_, T>> {
        let wide = self.wide.get(&slot).map(AsRef::as_ref);
        let (chunk, at) = split(slot);
        let chunk = self.chunks.get(chunk)?;
        let first = at * self.window;
        let places = first..first + self.window;
        Some(Slot {
            record: chunk.records.get(at)?,
            values: chunk.values.get(places.clone())?,
            offsets: chunk.offsets.get(places)?,
            wide,
        })
    }

    /// Returns a slot's record and row for writing.
    pub(super) fn write(&mut self, slot: u32) -> Option<(&mut T, Row<'_>)> {
        let (chunk, at) = split(slot);
        let chunk = self.chunks.get_mut(chunk)?;
        let first = at * self.window;
        let places = first..first + self.window;
        let row = Row {
            slot,
            values: chunk.values.get_mut(places.clone())?,
            offsets: chunk.offsets.get_mut(places)?,
            wide: &mut self.wide,
        };
        Some((chunk.records.get_mut(at)?, row))
    }

    /// Frees what a slot holds outside its row.
    pub(super) fn clear(&mut self, slot: u32) {
        self.wide.remove(&slot);
    }

    /// Returns the number of slots and wide rows for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.chunks.capacity() * CHUNK_SLOTS + self.wide_rows()
    }

    /// Returns the number of rows with wide timestamps.
    #[cfg(test)]
    pub(super) fn wide_rows(&self) -> usize {
        self.wide.len()
    }
}

const fn split(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / CHUNK_SLOTS, slot % CHUNK_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_a_record_and_a_row_of_their_own() {
        let mut slots = Slots::new(3);
        assert_eq!(slots.len(), 0);
        assert!(slots.read(0).is_none());
        for number in 0..200_u32 {
            assert_eq!(slots.push(number), Some(number));
            let (record, row) = slots.write(number).unwrap();
            *record += 1000;
            row.values.fill([f64::from(number); 2]);
            assert_eq!((row.values.len(), row.offsets.len()), (3, 3));
        }
        assert_eq!(slots.len(), 200);
        for number in 0..200_u32 {
            let slot = slots.read(number).unwrap();
            assert_eq!(*slot.record, number + 1000);
            assert_eq!(slot.values, [[f64::from(number); 2]; 3]);
        }
        assert!(slots.write(200).is_none() && slots.record(200).is_none());
    }

    #[test]
    fn growing_moves_no_row() {
        let mut slots = Slots::new(50);
        slots.push(()).unwrap();
        let place = std::ptr::from_ref(slots.read(0).unwrap().values);
        for _ in 0..10_000 {
            slots.push(()).unwrap();
        }
        assert!(std::ptr::eq(place, slots.read(0).unwrap().values));
    }
}
