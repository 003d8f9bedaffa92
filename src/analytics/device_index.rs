//! The device index: a hash table from device ids to slots.

use hashbrown::HashTable;

use crate::limits;
use crate::metric::id_hash::IdHash;

/// Ids up to this length are stored inline, such as `device-0000001`; a UUID is allocated.
const SHORT_BYTES: usize = 22;

/// The initial capacity of an index.
const ENTRIES_MIN: usize = 64;

/// Buckets of the old table that are moved with each insertion. The new table takes as many further
/// insertions as the old one had entries; an eighth of those is enough to empty the old one.
const BUCKETS_PER_INSERT: usize = 16;

/// A device id that is owned by its device.
#[derive(Clone, Debug)]
pub(super) enum DeviceId {
    /// Inline: the length and the bytes.
    Short(u8, [u8; SHORT_BYTES]),
    /// Allocated once, when the device is first seen.
    Long(Box<[u8]>),
}

impl DeviceId {
    /// The id of the anonymous series, and of free slots.
    pub(super) const EMPTY: Self = Self::Short(0, [0; SHORT_BYTES]);

    pub(super) fn new(id: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(id);
                Self::Short(length, bytes)
            }
            _ => Self::Long(id.into()),
        }
    }

    /// Returns true if it is this id.
    #[inline(always)]
    pub(super) fn is(&self, id: &[u8]) -> bool {
        let own = self.as_bytes();
        own.len() == id.len() && is_equal(own, id)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(id) => id,
        }
    }
}

/// Returns true if two texts of one length are equal. Those of 8 to 16 bytes, as most ids are, are
/// compared as two words that overlap, which costs less than a call.
#[inline(always)]
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let words = |text: &[u8]| {
        let words = text.first_chunk::<8>().zip(text.last_chunk::<8>());
        words.map(|(first, last)| (u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
    };
    match (words(one), words(other)) {
        (Some(one_words), Some(other_words)) if one.len() <= 16 => one_words == other_words,
        _ => one == other,
    }
}

/// An entry of the table. It keeps the hash, because hashing the id again when the table grows
/// would cost a cache miss per device.
#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u32,
    tag: u32,
}

impl Entry {
    /// Returns 64 bits of hash: the table uses the lowest ones for the bucket and the highest seven
    /// for the first comparison.
    fn spread(tag: u32) -> u64 {
        u64::from(tag) << 32 | u64::from(tag)
    }
}

/// The slots of a shard's devices, by id.
///
/// The table is as small as its devices allow, so that it stays in the cache. It grows
/// incrementally, as Redis's does: new entries go to a larger table, and each of them moves some
/// old entries along, so that no event waits at the shard's lock until all are moved.
pub(super) struct DeviceIndex {
    table: HashTable<Entry>,
    /// The entries that are not moved yet, from bucket `moved` on.
    old: HashTable<Entry>,
    moved: usize,
}

impl DeviceIndex {
    /// Returns an empty index.
    pub(super) fn new() -> Self {
        let table = HashTable::with_capacity(ENTRIES_MIN);
        Self { table, old: HashTable::new(), moved: 0 }
    }

    pub(super) fn devices(&self) -> usize {
        self.table.len() + self.old.len()
    }

    /// Returns the slot with this hash for which `is` returns true.
    pub(super) fn find(&self, hash: IdHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = hash.tag();
        let find_in = |table: &HashTable<Entry>| {
            let is_it = |entry: &Entry| entry.tag == tag && is(entry.slot);
            table.find(Entry::spread(tag), is_it).map(|entry| entry.slot)
        };
        let found = find_in(&self.table);
        if found.is_some() || self.old.is_empty() { found } else { find_in(&self.old) }
    }

    /// Adds an id that is not in the index.
    pub(super) fn insert(&mut self, hash: IdHash, slot: u32) {
        if self.table.len() == self.table.capacity() && self.old.is_empty() {
            let entries = (2 * self.table.len()).max(ENTRIES_MIN);
            self.old = std::mem::replace(&mut self.table, HashTable::with_capacity(entries));
            self.moved = 0;
        }
        self.move_some();
        let tag = hash.tag();
        self.insert_entry(Entry { slot, tag });
    }

    /// Removes the id of this slot.
    pub(super) fn remove(&mut self, hash: IdHash, slot: u32) {
        for table in [&mut self.table, &mut self.old] {
            if let Ok(entry) = table.find_entry(Entry::spread(hash.tag()), |e| e.slot == slot) {
                entry.remove();
                break;
            }
        }
        // The memory of a fleet that is gone is freed.
        if self.old.is_empty() {
            self.old = HashTable::new();
            if self.table.is_empty() && self.table.num_buckets() > 2 * ENTRIES_MIN {
                self.table = HashTable::with_capacity(ENTRIES_MIN);
            }
        }
    }

    fn insert_entry(&mut self, entry: Entry) {
        self.table.insert_unique(Entry::spread(entry.tag), entry, |e| Entry::spread(e.tag));
    }

    fn move_some(&mut self) {
        if self.old.is_empty() {
            return;
        }
        let end = self.moved + BUCKETS_PER_INSERT;
        for bucket in self.moved..end {
            if let Ok(found) = self.old.get_bucket_entry(bucket) {
                let (entry, _) = found.remove();
                self.insert_entry(entry);
            }
        }
        self.moved = end;
        if self.old.is_empty() {
            self.old = HashTable::new();
        }
    }

    /// Returns the number of allocated bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.table.allocation_size() + self.old.allocation_size()
    }
}

// Every byte of a device counts at a million devices.
const _: () = assert!(size_of::<DeviceId>() == 24);
const _: () = assert!(SHORT_BYTES < limits::DEVICE_ID_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::id_hash::IdHasher;

    #[test]
    fn ids_of_every_length_come_back() {
        for length in 0..=limits::DEVICE_ID_BYTES_MAX {
            let id = "d".repeat(length);
            assert_eq!(DeviceId::new(id.as_bytes()).as_bytes(), id.as_bytes());
        }
    }

    #[test]
    fn every_id_is_found_until_it_is_removed() {
        let hasher = IdHasher::default();
        let ids: Vec<String> = (0..5000).map(|i| format!("device-{i}")).collect();
        let mut index = DeviceIndex::new();
        let find = |index: &DeviceIndex, id: &str| {
            index.find(hasher.hash(id.as_bytes()), |slot| ids[slot as usize] == id)
        };
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(find(&index, id), None);
            index.insert(hasher.hash(id.as_bytes()), slot);
            // Entries that are moved by now and entries that are not.
            for slot in [0, slot / 3, slot / 2, slot] {
                assert_eq!(find(&index, &ids[slot as usize]), Some(slot), "of {id}");
            }
            assert_eq!(index.devices(), slot as usize + 1);
        }
        assert_eq!(index.devices(), 5000);
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(find(&index, id), Some(slot));
            if slot % 2 == 0 {
                index.remove(hasher.hash(id.as_bytes()), slot);
            }
        }
        assert_eq!(index.devices(), 2500);
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(find(&index, id), (slot % 2 == 1).then_some(slot));
        }
    }

    #[test]
    fn what_a_fleet_that_has_gone_left_behind_is_not_kept() {
        let hasher = IdHasher::default();
        let hashes: Vec<_> = (0..5000_u32).map(|i| hasher.hash(&i.to_le_bytes())).collect();
        let first = DeviceIndex::new().bytes();
        let fits = DeviceIndex::new().table.capacity();
        // Also when the fleet goes while entries are being moved to a larger table.
        for devices in [fits, fits + 1, fits + 2, 1000, 5000] {
            let mut index = DeviceIndex::new();
            let slots = || (0..).zip(hashes.iter().take(devices));
            slots().for_each(|(slot, &hash)| index.insert(hash, slot));
            assert_eq!(index.bytes() > first, devices > fits);
            slots().for_each(|(slot, &hash)| index.remove(hash, slot));
            assert_eq!((index.devices(), index.bytes()), (0, first), "of {devices}");
            index.insert(hashes[7], 7);
            assert_eq!(index.find(hashes[7], |slot| slot == 7), Some(7));
        }
    }
}
