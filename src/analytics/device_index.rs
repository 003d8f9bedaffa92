//! The device index: a hash table from device ids to slots.

use hashbrown::HashTable;

use crate::limits;
use crate::metric::id_hash::IdHash;

/// Ids up to this length are stored inline, such as `device-0000001`; a UUID is allocated.
const SHORT_BYTES: usize = 22;

/// The initial capacity of an index.
const ENTRIES_MIN: usize = 64;

/// Buckets of the old table that are moved with each insertion. The new table takes as many further
/// insertions as the old one had entries, so that a half of those empties the old one. To move a
/// device costs a cache miss, because its id is hashed again.
const BUCKETS_PER_INSERT: usize = 4;

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

/// Returns 64 bits of hash: the table uses the lowest ones for the bucket and the highest seven for
/// the first comparison. The upper half is the same in most devices of a shard.
fn table_hash(hash: IdHash) -> u64 {
    let tag = u64::from(hash.tag());
    tag << 32 | tag
}

/// The slots of a shard's devices, by id. Ids and hashes are not here but with the devices.
///
/// The table is as small as its devices allow, so that it stays in the cache. It grows
/// incrementally, as Redis's does: new slots go to a larger table, and each of them moves some old
/// ones along, so that no event waits at the shard's lock until all are moved.
pub(super) struct DeviceIndex {
    table: HashTable<u32>,
    /// The slots that are not moved yet, from bucket `moved` on.
    old: HashTable<u32>,
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
        let hash = table_hash(hash);
        let find_in = |table: &HashTable<u32>| table.find(hash, |slot| is(*slot)).copied();
        let found = find_in(&self.table);
        if found.is_some() || self.old.is_empty() { found } else { find_in(&self.old) }
    }

    /// Adds an id that is not in the index. `hash_of` returns the hashes of those that are.
    pub(super) fn insert(&mut self, hash: IdHash, slot: u32, hash_of: impl Fn(u32) -> IdHash) {
        if self.table.len() == self.table.capacity() && self.old.is_empty() {
            let entries = (2 * self.table.len()).max(ENTRIES_MIN);
            self.old = std::mem::replace(&mut self.table, HashTable::with_capacity(entries));
            self.moved = 0;
        }
        self.move_some(&hash_of);
        self.insert_slot(hash, slot, &hash_of);
    }

    /// Removes the id of this slot.
    pub(super) fn remove(&mut self, hash: IdHash, slot: u32) {
        for table in [&mut self.table, &mut self.old] {
            if let Ok(entry) = table.find_entry(table_hash(hash), |entry| *entry == slot) {
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

    fn insert_slot(&mut self, hash: IdHash, slot: u32, hash_of: &impl Fn(u32) -> IdHash) {
        // Where many have been removed, it may have to make room.
        self.table.insert_unique(table_hash(hash), slot, |slot| table_hash(hash_of(*slot)));
    }

    fn move_some(&mut self, hash_of: &impl Fn(u32) -> IdHash) {
        if self.old.is_empty() {
            return;
        }
        let end = self.moved + BUCKETS_PER_INSERT;
        for bucket in self.moved..end {
            if let Ok(found) = self.old.get_bucket_entry(bucket) {
                let (slot, _) = found.remove();
                self.insert_slot(hash_of(slot), slot, hash_of);
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
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Runs of slots that come and go, so that tables have places that were freed.
        #[test]
        fn the_index_has_what_a_set_has(
            runs in prop::collection::vec((0..600_u32, 0..400_u32, any::<bool>()), 1..30),
        ) {
            let hasher = IdHasher::default();
            let hash_of = |slot: u32| hasher.hash(&slot.to_le_bytes());
            let (mut index, mut set) = (DeviceIndex::new(), HashSet::new());
            for (first, count, come) in runs {
                for slot in first..first + count {
                    match (come, set.contains(&slot)) {
                        (true, false) => index.insert(hash_of(slot), slot, hash_of),
                        (false, true) => index.remove(hash_of(slot), slot),
                        _ => continue,
                    }
                    if come { set.insert(slot); } else { set.remove(&slot); }
                }
                prop_assert_eq!(index.devices(), set.len());
                for slot in 0..1000 {
                    let found = index.find(hash_of(slot), |other| other == slot);
                    prop_assert_eq!(found, set.contains(&slot).then_some(slot));
                }
            }
        }
    }

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
            index.insert(hasher.hash(id.as_bytes()), slot, |slot| {
                hasher.hash(ids[slot as usize].as_bytes())
            });
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
        let hash_of = |slot| hashes[slot as usize];
        let first = DeviceIndex::new().bytes();
        let fits = DeviceIndex::new().table.capacity();
        // Also when the fleet goes while entries are being moved to a larger table.
        for devices in [fits, fits + 1, fits + 2, 1000, 5000] {
            let mut index = DeviceIndex::new();
            let slots = || (0..).zip(hashes.iter().take(devices));
            slots().for_each(|(slot, &hash)| index.insert(hash, slot, hash_of));
            assert_eq!(index.bytes() > first, devices > fits);
            slots().for_each(|(slot, &hash)| index.remove(hash, slot));
            assert_eq!((index.devices(), index.bytes()), (0, first), "of {devices}");
            index.insert(hashes[7], 7, hash_of);
            assert_eq!(index.find(hashes[7], |slot| slot == 7), Some(7));
        }
    }
}
