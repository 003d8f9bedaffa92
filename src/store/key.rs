//! Keys of records: their prefix and their hash.
//!
//! Devices choose their keys, so each store draws a random seed: a client cannot prepare keys that
//! all collide in one slot. Blocks and segments of a store share the seed, so that the hash of a
//! key is computed once.

use std::hash::{BuildHasher, Hasher};

/// The prefix of every key; Redis may be given another one.
pub const KEY_PREFIX: &str = "metric:";

/// The hash function of one store's keys.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher(foldhash::quality::RandomState);

impl KeyHasher {
    /// Returns the hash of a key with its prefix; all 64 bits are well mixed.
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_agree_and_stores_differ() {
        let one = KeyHasher::default();
        let other = KeyHasher::default();
        let key = b"metric:d1:1700000000";
        assert_eq!(one.hash(key), one.clone().hash(key));
        assert_ne!(one.hash(key), other.hash(key));
        assert_ne!(one.hash(key), one.hash(b"metric:d1:1700000001"));
    }
}
