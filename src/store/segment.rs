//! Segments: append-only buffers of records, each with an index.
//!
//! A segment is filled once, read for a while and freed as a whole; no record in it is changed or
//! freed alone. Records are the parts of their events. The index is a table of 32-bit slots: 14
//! bits of the hash of a record's key, and 18 of its offset. Each record has what its slot had
//! before, so that those of a slot are linked from the newest to the oldest. A new record touches
//! one cache line of the index and the end of the buffer; no search comes before it, whose length
//! nobody could predict.

use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::metric::event::Event;
use crate::store::block::Appended;
use crate::store::key::Key;
use crate::store::parts::{self, PARTS_BYTES_MAX, Parts, USUAL_BYTES};

/// The alignment of records, so that an offset fits into a slot.
const ALIGN: usize = 4;
const OFFSET_BITS: u32 = 18;
const OFFSET_MASK: u32 = (1 << OFFSET_BITS) - 1;
/// Bytes of records for each slot of the index: a usual record takes 40 to 60.
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
    /// The slots. Their number is a power of two.
    index: Box<[u32]>,
    turn: Turn,
}

/// The events that came in at one time, which are those of a core's turn.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    entered_ns: u64,
    ticks: u32,
    /// The offset of the first record.
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
        let slot = self.slot_of(hash);
        let head = *self.index.get(slot)?;
        let (mut link, mut appended) = (head, Appended::Fresh);
        if is_of(head, hash) || offset(head) >= self.turn.start {
            (link, appended) = self.link_of(head, hash, event);
        }
        let len = match self.write_usual(link, event) {
            Some(len) => len,
            None => self.write_any(link, event)?,
        };
        *self.index.get_mut(slot)? = tag(hash) | (self.cursor / ALIGN) as u32 & OFFSET_MASK;
        self.cursor = (self.cursor + len).next_multiple_of(ALIGN);
        self.records += u64::from(appended == Appended::Fresh);
        Some(appended)
    }

    /// Writes the parts of an event behind the last record, and returns their length; `None` if
    /// they are long, or near the end of the segment. It is known when compiled how much room there
    /// is, so that it need not be compared for each of them.
    #[inline(always)]
    fn write_usual(&mut self, link: u32, event: &Event<'_>) -> Option<usize> {
        let room = self.data.get_mut(self.cursor..)?.first_chunk_mut::<USUAL_BYTES>()?;
        parts::write(self.turn.ticks, link, event, room)
    }

    /// Writes any parts; `None` if there is no room.
    #[inline(never)]
    fn write_any(&mut self, link: u32, event: &Event<'_>) -> Option<usize> {
        parts::write(self.turn.ticks, link, event, self.data.get_mut(self.cursor..)?)
    }

    /// Returns the link of a new record of the event's key, which has this hash and whose slot has
    /// this entry, and what is to be answered.
    ///
    /// If the slot's newest record is one of the same key, the new one takes its place, so that who
    /// sends a key again and again makes no long chain. Behind it, only records of the same turn
    /// are looked at.
    #[inline(never)]
    fn link_of(&self, head: u32, hash: u64, event: &Event<'_>) -> (u32, Appended) {
        let key = Key::of(event);
        let mut entry = head;
        while let Some(parts) = self.parts_of(entry) {
            let is_same_turn = offset(entry) >= self.turn.start;
            if is_of(entry, hash) && parts.key == key {
                let link = if entry == head { parts.link } else { head };
                let appended = if is_same_turn { Appended::Coalesced } else { Appended::Fresh };
                return (link, appended);
            }
            if !is_same_turn {
                break;
            }
            entry = parts.link;
        }
        (head, Appended::Fresh)
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
        let mut entry = *self.index.get(self.slot_of(hash))?;
        // Each record is behind the one that it is linked to, so this ends.
        loop {
            let parts = self.parts_of(entry)?;
            if is_of(entry, hash) && parts.key == key {
                let since_ns = u64::from(parts.ticks) << self.config.tick_shift;
                return Some((self.base_ns + since_ns, parts));
            }
            entry = parts.link;
        }
    }

    /// Returns the slot for a hash, by its lower bits.
    #[inline(always)]
    fn slot_of(&self, hash: u64) -> usize {
        hash as usize & self.index.len().wrapping_sub(1)
    }

    /// Returns the record of an entry of the index; `None` for an empty one.
    #[inline(always)]
    fn parts_of(&self, entry: u32) -> Option<Parts<'_>> {
        let offset = offset(entry);
        if offset == 0 { None } else { Parts::read(self.data.get(offset..)?) }
    }
}

/// Returns the upper 14 bits of the hash, as an entry keeps them; the lower bits chose the slot.
const fn tag(hash: u64) -> u32 {
    (hash >> (u64::BITS - u32::BITS)) as u32 & !OFFSET_MASK
}

/// Returns true if an entry may be of a key with this hash: one in 16,384 others has its tag.
const fn is_of(entry: u32, hash: u64) -> bool {
    entry & !OFFSET_MASK == tag(hash)
}

/// Returns the offset of an entry's record.
const fn offset(entry: u32) -> usize {
    (entry & OFFSET_MASK) as usize * ALIGN
}

#[cfg(test)]
mod tests;
