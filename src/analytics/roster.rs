//! Device ids: what a shard calls a device, and how it finds its slot.
//!
//! The hash is seeded anew in each process: ids come from outside, and whoever could predict their
//! places could pile them up in one. Half of its bits choose the shard, the other half the place.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::limits;

/// Ids up to this long stand in the record itself; `device-0000001` does, a UUID has a box.
const SHORT_BYTES: usize = 22;

/// Entries for which a table takes room in advance, at most: 9 MiB, of which 1 MiB is touched.
const RESERVED_ENTRIES_MAX: usize = 1 << 20;

/// The process's hash of device ids.
#[derive(Clone, Debug, Default)]
pub(super) struct IdHasher(RandomState);

/// The hash of one id: the upper half belongs to the shards, the lower one to their tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdHash(u64);

impl IdHasher {
    pub(super) fn hash(&self, id: &[u8]) -> IdHash {
        let mut hasher = self.0.build_hasher();
        hasher.write(id);
        IdHash(hasher.finish())
    }
}

impl IdHash {
    /// The home of this id among so many shards.
    pub(super) fn shard(self, shards: usize) -> usize {
        // A multiplication maps 32 bits evenly onto any range that fits 32 bits.
        let share = (self.0 >> 32) * shards as u64;
        usize::try_from(share >> 32).unwrap_or(0)
    }

    const fn tag(self) -> u32 {
        self.0 as u32
    }
}

/// An id that a record owns.
#[derive(Clone, Debug)]
pub(super) enum DeviceId {
    /// In place.
    Short(u8, [u8; SHORT_BYTES]),
    /// One allocation, when the device is first seen.
    Long(Box<[u8]>),
}

impl DeviceId {
    /// Of the series that has none.
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

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(id) => id,
        }
    }
}

/// An entry repeats the hash, so that growing reads no record: that would be a cache miss each.
#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u32,
    tag: u32,
}

impl Entry {
    /// A table uses the lowest bits for the place and the highest seven for the first comparison.
    fn spread(tag: u32) -> u64 {
        u64::from(tag) << 32 | u64::from(tag)
    }
}

/// The slots of the devices that a shard knows, by id.
pub(super) struct Roster {
    table: HashTable<Entry>,
}

impl Roster {
    /// With room for so many devices before it has to grow, within reason.
    pub(super) fn with_room(devices: usize) -> Self {
        Self { table: HashTable::with_capacity(devices.min(RESERVED_ENTRIES_MAX)) }
    }

    pub(super) fn devices(&self) -> usize {
        self.table.len()
    }

    /// The slot whose record has this id, as `is` says.
    pub(super) fn find(&self, hash: IdHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = hash.tag();
        self.table.find(Entry::spread(tag), |e| e.tag == tag && is(e.slot)).map(|entry| entry.slot)
    }

    /// Adds an id that [`Self::find`] does not find.
    pub(super) fn insert(&mut self, hash: IdHash, slot: u32) {
        let tag = hash.tag();
        self.table.insert_unique(Entry::spread(tag), Entry { slot, tag }, |e| Entry::spread(e.tag));
    }

    /// Removes the id of this slot.
    pub(super) fn remove(&mut self, hash: IdHash, slot: u32) {
        let found = self.table.find_entry(Entry::spread(hash.tag()), |e| e.slot == slot);
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    /// Devices that fit without an allocation.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.table.capacity()
    }
}

// A record's memory is counted in bytes at a million devices.
const _: () = assert!(size_of::<DeviceId>() == 24);
const _: () = assert!(SHORT_BYTES < limits::DEVICE_ID_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut roster = Roster::with_room(10);
        let find = |roster: &Roster, id: &str| {
            roster.find(hasher.hash(id.as_bytes()), |slot| ids[slot as usize] == id)
        };
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(find(&roster, id), None);
            roster.insert(hasher.hash(id.as_bytes()), slot);
        }
        assert_eq!(roster.devices(), 5000);
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(find(&roster, id), Some(slot));
            if slot % 2 == 0 {
                roster.remove(hasher.hash(id.as_bytes()), slot);
            }
        }
        assert_eq!(roster.devices(), 2500);
        for (slot, id) in (0..).zip(&ids) {
            assert_eq!(find(&roster, id), (slot % 2 == 1).then_some(slot));
        }
    }

    #[test]
    fn shards_get_even_shares_and_none_is_out_of_range() {
        let hasher = IdHasher::default();
        for shards in [1, 2, 3, limits::WORKERS_MAX] {
            let mut counts = vec![0; shards];
            for i in 0..20_000 {
                counts[hasher.hash(i.to_string().as_bytes()).shard(shards)] += 1;
            }
            let fair = 20_000 / shards;
            assert!(counts.iter().all(|&n| n < 2 * fair + 60), "{counts:?}");
        }
    }
}
