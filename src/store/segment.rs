//! Segments: append-only buffers of records, each with an index.
//!
//! A segment is filled once, read for a while and freed as a whole; no record in it is changed or
//! freed alone. Records are the parts of their events. The index is an open-addressing table of
//! 32-bit slots (15 bits of the key's hash, 17 of the record's offset), so that a new record
//! touches one cache line of it and the end of the buffer.

use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::metric::event::Event;
use crate::store::block::Appended;
use crate::store::key::Key;
use crate::store::parts::{self, PARTS_BYTES_MAX, Parts};

/// The alignment of records, so that an offset fits into a slot.
const ALIGN: usize = 8;
const OFFSET_BITS: u32 = 17;
const OFFSET_MASK: u32 = (1 << OFFSET_BITS) - 1;
/// Bytes of records for each index slot: a usual record takes 40 to 60, and three quarters of the
/// slots may be taken.
const BYTES_PER_SLOT: usize = 32;

const _: () = assert!(SEGMENT_BYTES_MAX / ALIGN <= 1 << OFFSET_BITS);
// Any event fits into an empty segment, and several do.
const _: () = assert!(ALIGN + 4 * PARTS_BYTES_MAX.next_multiple_of(ALIGN) <= SEGMENT_BYTES_MIN);

/// The configuration of all segments of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentConfig {
    /// Bytes of records; a power of two.
    pub(super) data_bytes: usize,
    /// The time for which a segment takes records, at most.
    pub(super) open_ns: u64,
    /// The binary logarithm of a tick, the unit of a record's time, in nanoseconds.
    tick_shift: u32,
}

impl SegmentConfig {
    /// Creates a configuration. `data_bytes` is rounded to a power of two inside the limits.
    /// `open_ns` decides the tick: the finest with which every time while a segment is open fits
    /// into 32 bits.
    pub(super) fn new(data_bytes: usize, open_ns: u64) -> Self {
        let floor = 1 << data_bytes.max(1).ilog2();
        let bits = u64::BITS - open_ns.leading_zeros();
        Self {
            data_bytes: usize::clamp(floor, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            open_ns,
            tick_shift: bits.saturating_sub(u32::BITS),
        }
    }

    /// Returns the bytes of a segment, index included.
    pub(super) fn cost_bytes(self) -> usize {
        self.data_bytes + self.slots() * size_of::<u32>() + size_of::<Segment>()
    }

    fn slots(self) -> usize {
        self.data_bytes / BYTES_PER_SLOT
    }

    /// Returns the slots that are taken at most: a quarter is always empty, so that searches end.
    fn slots_taken_max(self) -> usize {
        self.slots() / 4 * 3
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    /// The number of the segment in its ring, by which a reader goes on after it has released the
    /// lock.
    pub(super) sequence: u64,
    /// The latest time at which a record came in, or was to.
    pub(super) newest_ns: u64,
    /// Records that were stored, older versions of a key included.
    pub(super) records: u64,
    base_ns: u64,
    config: SegmentConfig,
    /// Zeroed once, when it is allocated: what lies behind the cursor has no meaning.
    data: Box<[u8]>,
    /// The place of the next record.
    cursor: usize,
    index: Box<[u32]>,
    slots_free: usize,
    turn: Turn,
}

/// The events that came in at one time, which are those of a core's turn.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    entered_ns: u64,
    ticks: u32,
    /// The place of the first record.
    start: usize,
}

impl Segment {
    pub(super) fn new(config: SegmentConfig) -> Self {
        Self {
            sequence: 0,
            newest_ns: 0,
            records: 0,
            base_ns: 0,
            config,
            data: vec![0; config.data_bytes].into_boxed_slice(),
            cursor: 0,
            index: vec![0; config.slots()].into_boxed_slice(),
            slots_free: 0,
            turn: Turn::default(),
        }
    }

    /// Empties the segment, for records from `base_ns` on.
    pub(super) fn reopen(&mut self, sequence: u64, base_ns: u64) {
        if self.records > 0 {
            self.index.fill(0);
        }
        // Offset 0 means an empty slot, so no record begins there.
        self.cursor = ALIGN;
        self.slots_free = self.config.slots_taken_max();
        self.records = 0;
        self.sequence = sequence;
        self.base_ns = base_ns;
        self.newest_ns = base_ns;
        self.turn = Turn { entered_ns: base_ns, ticks: 0, start: ALIGN };
    }

    /// Inserts an event, whose key has this hash. It is coalesced if its key has a record of the
    /// same turn here, which no longer counts. Returns `None` if there is no room, or the segment
    /// was open for long enough.
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        hash: u64,
        event: &Event<'_>,
        entered_ns: u64,
    ) -> Option<Appended> {
        if entered_ns != self.turn.entered_ns {
            self.begin_turn(entered_ns)?;
        }
        if self.slots_free == 0 {
            return None;
        }
        let room = self.data.get_mut(self.cursor..)?;
        let len = parts::write(self.turn.ticks, event, room)?;
        let (slot, older) = self.slot_of(hash, |offset| self.is_of_key(offset, event))?;
        let entry = tag(hash) | (self.cursor / ALIGN) as u32 & OFFSET_MASK;
        *self.index.get_mut(slot)? = entry;
        self.cursor = (self.cursor + len).next_multiple_of(ALIGN);
        self.slots_free -= usize::from(older.is_none());
        if older.is_some_and(|older| older >= self.turn.start) {
            return Some(Appended::Coalesced);
        }
        self.records += 1;
        Some(Appended::Fresh)
    }

    /// Notes that the records from here on came in at this time. Returns `None` if the segment was
    /// open for long enough.
    #[cold]
    fn begin_turn(&mut self, entered_ns: u64) -> Option<()> {
        let since_ns = entered_ns.saturating_sub(self.base_ns);
        if since_ns > self.config.open_ns {
            return None;
        }
        let ticks = u32::try_from(since_ns >> self.config.tick_shift).ok()?;
        self.turn = Turn { entered_ns, ticks, start: self.cursor };
        self.newest_ns = self.newest_ns.max(entered_ns);
        Some(())
    }

    /// Returns the latest record with this key and its time of entry, to within a tick.
    pub(super) fn find(&self, hash: u64, key: Key<'_>) -> Option<(u64, Parts<'_>)> {
        let (_, offset) = self.slot_of(hash, |offset| self.has_key_at(offset, key))?;
        let parts = self.parts_at(offset?)?;
        Some((self.base_ns + (u64::from(parts.ticks) << self.config.tick_shift), parts))
    }

    /// Returns the slot for which `is_it` returns true, with the offset of its record, or the empty
    /// slot where the key of this hash belongs.
    #[inline(always)]
    fn slot_of(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<(usize, Option<usize>)> {
        let mask = self.index.len().checked_sub(1)?;
        let mut slot = usize::try_from(hash & mask as u64).ok()?;
        // A quarter of the slots is always empty, so this ends.
        loop {
            let entry = *self.index.get(slot)?;
            if entry == 0 {
                return Some((slot, None));
            }
            // Equal tags belong to different keys once in 32,768 times.
            if entry & !OFFSET_MASK == tag(hash) {
                let offset = (entry & OFFSET_MASK) as usize * ALIGN;
                if is_it(offset) {
                    return Some((slot, Some(offset)));
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Returns true if the record at this offset is one of the event's key. A call: few slots are
    /// met that are taken by the same tag.
    #[inline(never)]
    fn is_of_key(&self, offset: usize, event: &Event<'_>) -> bool {
        self.has_key_at(offset, Key::of(event))
    }

    fn has_key_at(&self, offset: usize, key: Key<'_>) -> bool {
        self.parts_at(offset).is_some_and(|parts| parts.key == key)
    }

    fn parts_at(&self, offset: usize) -> Option<Parts<'_>> {
        Parts::read(self.data.get(offset..)?)
    }
}

/// Returns the upper 15 bits of the hash, as a slot keeps them; the lower bits chose the slot.
fn tag(hash: u64) -> u32 {
    ((hash >> (u64::BITS - u32::BITS)) as u32) & !OFFSET_MASK
}

#[cfg(test)]
mod tests;
