//! Slots: the memory of windows. A slot is a record and a row of the window's size, with some
//! fields' values.
//!
//! Slots are in chunks that never move: a growing `Vec` of rows would copy a gigabyte at a million
//! devices, within one event. A chunk costs one allocation, and its untouched pages take no memory.

use super::device_state::WindowState;
use super::field_state::FieldState;
use super::prefetch::prefetch_at;
use super::window::{Row, WideTimestamps, Window};

/// Slots of a chunk: enough to make the chunk's own overhead negligible.
const CHUNK_SLOTS: usize = 64;

struct Chunk<T> {
    records: Vec<T>,
    states: Box<[FieldState]>,
    /// The fields of an event stand side by side.
    values: Box<[f64]>,
    offsets: Box<[u32]>,
}

/// The contents of one slot, for reading.
pub(super) struct Slot<'a, T> {
    pub(super) record: &'a T,
    /// The states of its fields.
    pub(super) states: &'a [FieldState],
    /// The values, as many side by side as there are states.
    pub(super) values: &'a [f64],
    pub(super) offsets: &'a [u32],
    /// Its timestamps, if they are too far apart for offsets.
    pub(super) wide: Option<&'a [i64]>,
}

impl<T> Slot<'_, T> {
    /// Copies the row to a window that is empty, with these cursors.
    pub(super) fn copy_to(&self, window: &Window, copy: &mut WindowState) {
        copy.size = self.offsets.len() as u16;
        copy.next = window.next() as u16;
        window.copy_times(self.offsets, self.wide, &mut copy.times_ms);
        let values = window.count() * self.states.len();
        copy.values.extend_from_slice(self.values.get(..values).unwrap_or(self.values));
        copy.fields.extend_from_slice(self.states);
    }
}

/// Slots numbered from 0, each with a record and a row of `window` places for some fields.
pub(super) struct Slots<T> {
    window: usize,
    fields: usize,
    chunks: Vec<Chunk<T>>,
    wide: WideTimestamps,
}

impl<T> Slots<T> {
    /// Returns no slots. Without fields, rows have no places either.
    pub(super) const fn new(window: usize, fields: usize) -> Self {
        let window = if fields == 0 { 0 } else { window };
        Self { window, fields, chunks: Vec::new(), wide: WideTimestamps::new() }
    }

    /// Returns the number of slots.
    pub(super) fn len(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK_SLOTS + last.records.len())
    }

    /// Adds a slot, and returns its number; `None` if there are no numbers left.
    pub(super) fn push(&mut self, record: T) -> Option<u32> {
        let slot = u32::try_from(self.len()).ok().filter(|slot| *slot != NO_SLOT)?;
        match self.chunks.last_mut() {
            Some(last) if last.records.len() < CHUNK_SLOTS => last.records.push(record),
            _ => {
                let places = CHUNK_SLOTS * self.window;
                let mut records = Vec::with_capacity(CHUNK_SLOTS);
                records.push(record);
                self.chunks.push(Chunk {
                    records,
                    states: vec![FieldState::NEW; CHUNK_SLOTS * self.fields].into_boxed_slice(),
                    values: vec![0.0; places * self.fields].into_boxed_slice(),
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
        let places = at * self.window..(at + 1) * self.window;
        Some(Slot {
            record: chunk.records.get(at)?,
            states: chunk.states.get(at * self.fields..(at + 1) * self.fields)?,
            values: chunk.values.get(places.start * self.fields..places.end * self.fields)?,
            offsets: chunk.offsets.get(places)?,
            wide,
        })
    }

    /// Returns a slot's record and row for writing. `N` is the number of fields.
    #[inline(always)]
    pub(super) fn write<const N: usize>(&mut self, slot: u32) -> Option<(&mut T, Row<'_, N>)> {
        let (chunk, at) = split(slot);
        let chunk = self.chunks.get_mut(chunk)?;
        let places = at * self.window..(at + 1) * self.window;
        let row = Row {
            slot,
            states: chunk.states.get_mut(at * N..)?.first_chunk_mut()?,
            values: chunk.values.as_chunks_mut().0.get_mut(places.clone())?,
            offsets: chunk.offsets.get_mut(places)?,
            wide: &mut self.wide,
        };
        Some((chunk.records.get_mut(at)?, row))
    }

    /// Writes a window to a slot's row, and returns its cursors. It has as many places and fields
    /// as the row.
    pub(super) fn restore_row(&mut self, slot: u32, copy: &WindowState) -> Option<Window> {
        let (chunk, at) = split(slot);
        let chunk = self.chunks.get_mut(chunk)?;
        let places = at * self.window..(at + 1) * self.window;
        let states = chunk.states.get_mut(at * self.fields..(at + 1) * self.fields)?;
        let values = chunk.values.get_mut(places.start * self.fields..places.end * self.fields)?;
        let offsets = chunk.offsets.get_mut(places)?;
        states.iter_mut().zip(&copy.fields).for_each(|(state, copy)| *state = *copy);
        values.iter_mut().zip(&copy.values).for_each(|(value, copy)| *value = *copy);
        Some(Window::restore(slot, &copy.times_ms, copy.next, offsets, &mut self.wide))
    }

    /// Asks for what an event needs of a slot's row whose next place this is.
    #[inline(always)]
    pub(super) fn prefetch_row(&self, slot: u32, next: usize) {
        let (chunk, at) = split(slot);
        let Some(chunk) = self.chunks.get(chunk) else {
            return;
        };
        let (place, first) = (at * self.window + next, at * self.window);
        // The next slot begins where this one ends.
        prefetch_at(&chunk.states, at * self.fields);
        prefetch_at(&chunk.states, (at + 1) * self.fields);
        prefetch_at(&chunk.values, place * self.fields);
        prefetch_at(&chunk.values, first * self.fields);
        prefetch_at(&chunk.offsets, place);
    }

    /// Resets the states of a slot's fields, and frees what it holds outside its row.
    pub(super) fn clear(&mut self, slot: u32) {
        self.wide.remove(&slot);
        let (chunk, at) = split(slot);
        let states = self.chunks.get_mut(chunk).map(|chunk| &mut chunk.states);
        let states =
            states.and_then(|states| states.get_mut(at * self.fields..(at + 1) * self.fields));
        states.unwrap_or_default().fill(FieldState::NEW);
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

/// A number that no slot has.
pub(super) const NO_SLOT: u32 = u32::MAX;

const fn split(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / CHUNK_SLOTS, slot % CHUNK_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_a_record_and_a_row_of_their_own() {
        let mut slots = Slots::new(3, 2);
        assert_eq!(slots.len(), 0);
        assert!(slots.read(0).is_none());
        for number in 0..200_u32 {
            assert_eq!(slots.push(number), Some(number));
            let (record, row) = slots.write::<2>(number).unwrap();
            *record += 1000;
            row.values.fill([f64::from(number); 2]);
            row.states.iter_mut().for_each(|state| state.set_calm(f64::from(number)));
            assert_eq!((row.values.len(), row.offsets.len()), (3, 3));
        }
        assert_eq!(slots.len(), 200);
        for number in 0..200_u32 {
            let slot = slots.read(number).unwrap();
            assert_eq!(*slot.record, number + 1000);
            assert_eq!(slot.values, [f64::from(number); 6]);
            assert_eq!(
                slot.states.iter().map(|state| state.score().unwrap()).sum::<f64>(),
                2.0 * f64::from(number)
            );
        }
        slots.clear(7);
        let scores = |number| slots.read(number).unwrap().states[1].score();
        assert_eq!((scores(6), scores(7), scores(8)), (Some(6.0), None, Some(8.0)));
        assert!(slots.write::<2>(200).is_none() && slots.record(200).is_none());
    }

    #[test]
    fn growing_moves_no_row() {
        let mut slots = Slots::new(50, 2);
        slots.push(()).unwrap();
        let place = std::ptr::from_ref(slots.read(0).unwrap().values);
        for _ in 0..10_000 {
            slots.push(()).unwrap();
        }
        assert!(std::ptr::eq(place, slots.read(0).unwrap().values));
    }

    #[test]
    fn slots_without_fields_have_records_alone() {
        let mut slots = Slots::new(50, 0);
        slots.push(7).unwrap();
        let slot = slots.read(0).unwrap();
        assert_eq!((*slot.record, slot.values.len(), slot.offsets.len()), (7, 0, 0));
    }
}
