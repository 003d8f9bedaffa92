//! Segments: append-only buffers of records, each with an index.
//!
//! A segment is filled once, read for a while and freed as a whole; no record in it is changed or
//! freed alone. The index is an open-addressing table of 32-bit slots (15 bits of the key's hash,
//! 17 of the record's offset), so that a new record touches one cache line of it and the end of the
//! buffer.

use crate::limits::{RECORD_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::store::block::Record;

/// The alignment of records, so that an offset fits into a slot.
const ALIGN: usize = 8;
/// Key length, value length (16 bits each) and the time of entry in ticks (32 bits).
const HEADER_BYTES: usize = 8;
const OFFSET_BITS: u32 = 17;
const OFFSET_MASK: u32 = (1 << OFFSET_BITS) - 1;
/// Bytes of records for each index slot: a usual record takes 70 to 150.
const BYTES_PER_SLOT: usize = 64;

const _: () = assert!(SEGMENT_BYTES_MAX / ALIGN <= 1 << OFFSET_BITS);
const _: () = assert!(ALIGN + HEADER_BYTES + RECORD_BYTES_MAX + ALIGN <= SEGMENT_BYTES_MIN);

/// The configuration of all segments of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentConfig {
    /// Bytes of records and their headers; a power of two.
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
    /// The latest time of entry of its records.
    pub(super) newest_ns: u64,
    /// Records inserted, replaced ones included.
    pub(super) records: u64,
    base_ns: u64,
    config: SegmentConfig,
    data: Vec<u8>,
    index: Box<[u32]>,
    slots_taken: usize,
}

impl Segment {
    pub(super) fn new(config: SegmentConfig) -> Self {
        Self {
            sequence: 0,
            newest_ns: 0,
            records: 0,
            base_ns: 0,
            config,
            data: Vec::with_capacity(config.data_bytes),
            index: vec![0; config.slots()].into_boxed_slice(),
            slots_taken: 0,
        }
    }

    /// Empties the segment, for records from `base_ns` on.
    pub(super) fn reopen(&mut self, sequence: u64, base_ns: u64) {
        if self.records > 0 {
            self.index.fill(0);
        }
        self.data.clear();
        // Offset 0 means an empty slot, so no record begins there.
        self.data.resize(ALIGN, 0);
        self.slots_taken = 0;
        self.records = 0;
        self.sequence = sequence;
        self.base_ns = base_ns;
        self.newest_ns = base_ns;
    }

    /// Inserts a record. Returns false if there is no room, or the segment was open for long
    /// enough.
    pub(super) fn insert(&mut self, record: &Record<'_>) -> bool {
        let since_ns = record.entered_ns.saturating_sub(self.base_ns);
        let len = HEADER_BYTES + record.key.len() + record.value.len();
        let is_old = since_ns > self.config.open_ns;
        let is_full = self.data.len() + len + ALIGN > self.config.data_bytes
            || (self.slots_taken + 1) * 4 > self.index.len() * 3;
        if is_old || is_full {
            return false;
        }
        let Some(header) = header(record, since_ns >> self.config.tick_shift) else {
            return false;
        };
        let offset = self.data.len();
        // Searched first: the copying overlaps with the wait for the index.
        let slot = self.slot_of(record.hash, record.key);
        self.data.extend_from_slice(&header);
        self.data.extend_from_slice(record.key);
        self.data.extend_from_slice(record.value);
        self.data.resize(self.data.len().next_multiple_of(ALIGN), 0);
        self.point_at(slot, record.hash, offset);
        self.newest_ns = self.newest_ns.max(record.entered_ns);
        self.records += 1;
        true
    }

    /// Returns the latest record with this key: its time of entry, to within a tick, and its value.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<(u64, &[u8])> {
        let slot = self.slot_of(hash, key)?;
        let offset = offset_in(*self.index.get(slot)?)?;
        let (ticks, _, value) = self.record_at(offset)?;
        Some((self.base_ns + (ticks << self.config.tick_shift), value))
    }

    /// Sets a slot of the index to the record at `offset`.
    fn point_at(&mut self, slot: Option<usize>, hash: u64, offset: usize) {
        let entry = tag(hash) | u32::try_from(offset / ALIGN).unwrap_or(0) & OFFSET_MASK;
        if let Some(slot) = slot.and_then(|slot| self.index.get_mut(slot)) {
            self.slots_taken += usize::from(*slot == 0);
            *slot = entry;
        }
    }

    /// Returns the slot that has the key, or the empty one where it belongs.
    fn slot_of(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let mask = self.index.len().checked_sub(1)?;
        let mut slot = usize::try_from(hash & mask as u64).ok()?;
        // A quarter of the slots is always empty, so this ends.
        loop {
            let entry = *self.index.get(slot)?;
            if entry == 0 {
                return Some(slot);
            }
            // Equal tags belong to different keys once in 32,768 times.
            if entry & !OFFSET_MASK == tag(hash)
                && offset_in(entry)
                    .and_then(|offset| self.record_at(offset))
                    .is_some_and(|(_, other, _)| other == key)
            {
                return Some(slot);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Returns time of entry in ticks, key and value of the record at `offset`.
    fn record_at(&self, offset: usize) -> Option<(u64, &[u8], &[u8])> {
        let (header, rest) = self.data.get(offset..)?.split_first_chunk::<HEADER_BYTES>()?;
        let header = u64::from_le_bytes(*header);
        let (key, rest) = rest.split_at_checked((header & 0xFFFF) as usize)?;
        let value = rest.get(..((header >> 16) & 0xFFFF) as usize)?;
        Some((header >> 32, key, value))
    }
}

fn header(record: &Record<'_>, ticks: u64) -> Option<[u8; HEADER_BYTES]> {
    let key_len = u16::try_from(record.key.len()).ok()?;
    let value_len = u16::try_from(record.value.len()).ok()?;
    let ticks = u32::try_from(ticks).ok()?;
    let header = u64::from(key_len) | u64::from(value_len) << 16 | u64::from(ticks) << 32;
    Some(header.to_le_bytes())
}

/// Returns the upper 15 bits of the hash, as a slot keeps them; the lower bits chose the slot.
fn tag(hash: u64) -> u32 {
    ((hash >> (u64::BITS - u32::BITS)) as u32) & !OFFSET_MASK
}

/// Returns the offset in a slot; `None` if the slot is empty.
fn offset_in(entry: u32) -> Option<usize> {
    let offset = (entry & OFFSET_MASK) as usize * ALIGN;
    (offset > 0).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::KeyHasher;

    fn record<'a>(hasher: &KeyHasher, key: &'a str, value: &'a str, at: u64) -> Record<'a> {
        Record {
            hash: hasher.hash(key.as_bytes()),
            entered_ns: at,
            key: key.as_bytes(),
            value: value.as_bytes(),
        }
    }

    fn open(config: SegmentConfig, base_ns: u64) -> Segment {
        let mut segment = Segment::new(config);
        segment.reopen(1, base_ns);
        segment
    }

    #[test]
    fn the_latest_of_a_key_is_found_until_the_segment_is_full() {
        let hasher = KeyHasher::default();
        let mut segment = open(SegmentConfig::new(SEGMENT_BYTES_MAX, 1_000_000), 5);
        let mut count = 0_u64;
        loop {
            let (key, value) = (format!("metric:{}", count % 9000), format!("<{count}>"));
            if !segment.insert(&record(&hasher, &key, &value, 5 + count)) {
                break;
            }
            count += 1;
        }
        assert_eq!(segment.records, count);
        assert!(count > 9000, "{count}");
        for number in 0..9000 {
            let last = count - 1 - (count - 1 - number) % 9000;
            let key = format!("metric:{number}");
            let found = segment.find(hasher.hash(key.as_bytes()), key.as_bytes());
            assert_eq!(found, Some((5 + last, format!("<{last}>").as_bytes())));
        }
        let absent = b"metric:9000";
        assert_eq!(segment.find(hasher.hash(absent), absent), None);
    }

    #[test]
    fn equal_hashes_do_not_confuse_keys() {
        let hasher = KeyHasher::default();
        let mut segment = open(SegmentConfig::new(0, 100), 0);
        for (at, key) in ["metric:a", "metric:b", "metric:c", "metric:b"].iter().enumerate() {
            let mut same = record(&hasher, key, key, at as u64);
            same.hash = 42;
            assert!(segment.insert(&same));
        }
        assert_eq!(segment.find(42, b"metric:a"), Some((0, b"metric:a".as_slice())));
        assert_eq!(segment.find(42, b"metric:b"), Some((3, b"metric:b".as_slice())));
        assert_eq!(segment.find(42, b"metric:d"), None);
    }

    #[test]
    fn it_closes_by_age_and_times_keep_their_precision() {
        let hasher = KeyHasher::default();
        // An eighth of 300 s needs 36 bits of nanoseconds: the tick is 16 ns.
        let config = SegmentConfig::new(SEGMENT_BYTES_MIN, 37_500_000_000);
        let mut segment = open(config, 7);
        assert!(segment.insert(&record(&hasher, "k", "v", 37_500_000_007)));
        assert!(!segment.insert(&record(&hasher, "l", "v", 37_500_000_008)));
        let (at, _) = segment.find(hasher.hash(b"k"), b"k").unwrap();
        assert!(37_500_000_007 - at < 16, "{at}");
    }

    #[test]
    fn any_record_fits_into_an_empty_segment_and_reopening_forgets() {
        let hasher = KeyHasher::default();
        let mut segment = open(SegmentConfig::new(0, 1000), 0);
        let value = "v".repeat(RECORD_BYTES_MAX - 3);
        assert!(segment.insert(&record(&hasher, "key", &value, 1)));
        segment.reopen(2, 10);
        assert_eq!(segment.find(hasher.hash(b"key"), b"key"), None);
        assert_eq!((segment.records, segment.newest_ns), (0, 10));
    }
}
