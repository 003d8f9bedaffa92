//! Keys of records: their prefix, their parts and their hash.
//!
//! Devices choose their keys, so each store draws a random seed: a client cannot prepare keys that
//! all collide in one slot. All blocks of a store share the seed, so that the hash of a key is
//! computed once; so do all segments.

use std::hash::{BuildHasher, Hasher};

use crate::metric::event::Event;
use crate::metric::key::split;

/// The prefix of every key; Redis may be given another one.
pub const KEY_PREFIX: &str = "metric:";

/// A key taken apart: two of them are equal if their bytes with the prefix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Empty if there is none.
    pub device_id: &'a [u8],
    /// The timestamp.
    pub timestamp: &'a [u8],
}

impl<'a> Key<'a> {
    /// Returns the key of an event.
    #[inline(always)]
    pub fn of(event: &Event<'a>) -> Self {
        Self { device_id: event.device_id.unwrap_or_default(), timestamp: event.timestamp }
    }

    /// Takes a key with its prefix apart; `None` if no event has it.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let (device_id, timestamp) = split(key.strip_prefix(KEY_PREFIX.as_bytes())?);
        let is_empty = device_id.is_some_and(<[u8]>::is_empty);
        (!is_empty).then(|| Self { device_id: device_id.unwrap_or_default(), timestamp })
    }
}

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

    /// Returns the hash of a key that is taken apart, which is another one.
    #[inline]
    pub fn hash_parts(&self, key: Key<'_>) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key.device_id);
        hasher.write(key.timestamp);
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
        let parts = |key: &'static [u8]| Key::parse(key).unwrap();
        assert_eq!(one.hash_parts(parts(key)), one.clone().hash_parts(parts(key)));
        assert_ne!(one.hash_parts(parts(key)), other.hash_parts(parts(key)));
        for unequal in [&b"metric:d:1700000000"[..], b"metric:1700000000", b"metric:d1:170000000"] {
            assert_ne!(one.hash_parts(parts(key)), one.hash_parts(parts(unequal)));
        }
    }

    #[test]
    fn the_last_colon_separates() {
        let parts = |key: &'static str| Key::parse(key.as_bytes());
        let key = |device_id: &'static str, timestamp: &'static str| {
            Some(Key { device_id: device_id.as_bytes(), timestamp: timestamp.as_bytes() })
        };
        assert_eq!(parts("metric:1"), key("", "1"));
        assert_eq!(parts("metric:d1:17"), key("d1", "17"));
        assert_eq!(parts("metric:a:b:17"), key("a:b", "17"));
        assert_eq!(parts("metric:metric::17"), key("metric:", "17"));
        for none in ["", "17", "d1:17", "metric", "metric::17"] {
            assert_eq!(parts(none), None, "{none}");
        }
    }
}
