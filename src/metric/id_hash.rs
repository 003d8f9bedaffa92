//! The hash of a device id: computed once for each event, for the analytics and for the store.
//!
//! Ids and timestamps come from outside, and a client that could predict hashes could make all of
//! its devices or keys collide. So a server draws a seed, which all of its tables share.

use std::hash::{BuildHasher, Hasher};

use foldhash::{SharedSeed, quality};

use super::event::Event;

/// The hash function of a server's device ids. Clones agree, others differ.
#[derive(Clone, Debug, Default)]
pub struct IdHasher(quality::RandomState);

/// The hash of one id. Of its 64 bits, all well mixed, the upper half chooses the shard, the lower
/// half the bucket in its table; all of them are the seed of the keys' hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdHash(u64);

impl IdHasher {
    /// Returns the hash of an id; that of an empty one is the hash of events without a device.
    #[inline]
    #[must_use]
    pub fn hash(&self, id: &[u8]) -> IdHash {
        let mut hasher = self.0.build_hasher();
        hasher.write(id);
        IdHash(hasher.finish())
    }

    /// Returns the hash of the id of an event's device.
    #[inline]
    #[must_use]
    pub fn hash_of(&self, event: &Event<'_>) -> IdHash {
        self.hash(event.device_id.unwrap_or_default())
    }
}

/// Returns a hash of an id that is the same in every process, for what nobody gains by predicting.
#[inline]
pub(crate) fn steady_hash(id: &[u8]) -> u64 {
    quality::FixedState::default().hash_one(id)
}

impl IdHash {
    /// Returns the home of this id among so many shards.
    #[inline]
    #[must_use]
    pub fn shard(self, shards: usize) -> usize {
        // A multiplication maps 32 bits evenly onto any range that fits 32 bits.
        let share = (self.0 >> 32) * shards as u64;
        usize::try_from(share >> 32).unwrap_or(0)
    }

    /// Returns the bits for a table of devices.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u32 {
        self.0 as u32
    }

    /// Returns the hash of the key that a timestamp makes with this device, or with none.
    ///
    /// The id's hash is the seed with which the timestamp is hashed. It never leaves the server, so
    /// timestamps that collide can be chosen no better than the keys of any seeded table: not for
    /// one device, not without a device, and for another one they would have to be others.
    #[inline]
    #[must_use]
    pub fn key_hash(self, timestamp: u64) -> u64 {
        let mut hasher = quality::FoldHasher::with_seed(self.0, SharedSeed::global_random());
        hasher.write_u64(timestamp);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WORKERS_MAX;

    #[test]
    fn clones_agree_and_servers_differ() {
        let (one, other) = (IdHasher::default(), IdHasher::default());
        assert_eq!(one.hash(b"d1"), one.clone().hash(b"d1"));
        assert_ne!(one.hash(b"d1"), other.hash(b"d1"));
        assert_ne!(one.hash(b"d1"), one.hash(b"d2"));
        assert_ne!(steady_hash(b"d1"), steady_hash(b"d2"));
        let nobody = Event::default();
        assert_eq!(one.hash_of(&nobody), one.hash(b""));
        assert_ne!(one.hash_of(&nobody), other.hash_of(&nobody), "it has a seed as well");
        let known = Event { device_id: Some(b"d1"), ..nobody };
        assert_eq!(one.hash_of(&known), one.hash(b"d1"));
    }

    #[test]
    fn a_key_is_its_device_and_its_timestamp() {
        let ids = IdHasher::default();
        let key = |id: &[u8], timestamp| ids.hash(id).key_hash(timestamp);
        let of_one = key(b"d1", 1_700_000_000);
        assert_eq!(of_one, key(b"d1", 1_700_000_000));
        let others: [(&[u8], u64); 5] = [
            (b"d1", 1_700_000_001),
            (b"d2", 1_700_000_000),
            (b"", 1_700_000_000),
            (b"d11", 700_000_000),
            (b"d", 11_700_000_000),
        ];
        for (id, timestamp) in others {
            assert_ne!(key(id, timestamp), of_one, "{timestamp}");
        }
    }

    /// The lowest bits choose a slot, the highest ones are kept in it.
    #[test]
    fn keys_are_spread_over_a_table_whatever_they_differ_in() {
        const SLOTS: usize = 1 << 12;
        let ids = IdHasher::default();
        let devices = |number: u64| (format!("device-{number:05}"), 1_700_000_000_000);
        let seconds = |number: u64| ("d".to_owned(), 1_700_000_000 + number);
        let minutes = |number: u64| (String::new(), 1_700_000_000 + 60 * number);
        let high_bits = |number: u64| (String::new(), number << 32);
        let both = |number: u64| (format!("d{}", number % 64), 1_700_000_000 + number / 64);
        let kinds: [&dyn Fn(u64) -> (String, u64); 5] =
            [&devices, &seconds, &minutes, &high_bits, &both];
        for (kind, key) in kinds.iter().enumerate() {
            for shift in [0, 32, 64 - 12] {
                let mut counts = vec![0_usize; SLOTS];
                for number in 0..8 * SLOTS as u64 {
                    let (id, timestamp) = key(number);
                    let hash = ids.hash(id.as_bytes()).key_hash(timestamp);
                    counts[(hash >> shift) as usize % SLOTS] += 1;
                }
                // Of a Poisson distribution around 8, one slot in 3,000 is empty, one in 10^12 has
                // more than 40.
                let empty = counts.iter().filter(|&&count| count == 0).count();
                let fullest = counts.iter().max().unwrap();
                assert!(empty < SLOTS / 50 && *fullest < 40, "{kind} {shift}: {empty} {fullest}");
            }
        }
    }

    #[test]
    fn shards_get_even_shares_and_none_is_out_of_range() {
        let hasher = IdHasher::default();
        for shards in [1, 2, 3, WORKERS_MAX] {
            let mut counts = vec![0; shards];
            for i in 0..20_000 {
                counts[hasher.hash(i.to_string().as_bytes()).shard(shards)] += 1;
            }
            let fair = 20_000 / shards;
            assert!(counts.iter().all(|&n| n < 2 * fair + 60), "{counts:?}");
        }
    }
}
