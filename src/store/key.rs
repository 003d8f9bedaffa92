//! Hashes of keys, and the one door to the hash function.
//!
//! Devices choose their keys, so the seed is drawn for each store: nobody outside can prepare keys
//! that all fall on one slot. Blocks and segments of one store share the seed, and so the hash of
//! a key is computed once.

use std::hash::{BuildHasher, Hasher};

/// What every key begins with; another Redis prefix may be given.
pub const KEY_PREFIX: &str = "metric:";

/// Hashes the keys of one store.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher(foldhash::quality::RandomState);

impl KeyHasher {
    /// The hash of a whole key, prefix included; all 64 bits are well mixed.
    #[must_use]
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
