//! Keys of records: their prefix, their parts and their hash.

use crate::metric::event::Event;
use crate::metric::id_hash::IdHasher;
use crate::metric::key;

/// The prefix of every key; Redis may be given another one.
pub const KEY_PREFIX: &str = "metric:";

/// A key taken apart: two of them are equal if their bytes with the prefix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Empty if there is none.
    pub device_id: &'a [u8],
    /// The timestamp.
    pub timestamp: u64,
}

impl<'a> Key<'a> {
    /// Returns the key of an event.
    #[inline(always)]
    pub fn of(event: &Event<'a>) -> Self {
        Self { device_id: event.device_id.unwrap_or_default(), timestamp: event.timestamp }
    }

    /// Takes a key with its prefix apart; `None` if no event has it.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let (device_id, timestamp) = key::split(key.strip_prefix(KEY_PREFIX.as_bytes())?);
        let is_empty = device_id.is_some_and(<[u8]>::is_empty);
        let timestamp = key::timestamp(timestamp).filter(|_| !is_empty)?;
        Some(Self { device_id: device_id.unwrap_or_default(), timestamp })
    }

    /// Returns the hash with which an event of this key is appended.
    pub fn hash(self, ids: &IdHasher) -> u64 {
        ids.hash(self.device_id).key_hash(self.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_event_has_its_hash() {
        let ids = IdHasher::default();
        for (device_id, key) in [(None, "metric:17"), (Some("d1"), "metric:d1:17")]
            .into_iter()
            .chain([(Some("a:b"), "metric:a:b:17"), (Some("17"), "metric:17:17")])
        {
            let device_id = device_id.map(str::as_bytes);
            let event = Event { device_id, timestamp: 17, ..Event::default() };
            let parsed = Key::parse(key.as_bytes()).unwrap();
            assert_eq!(parsed, Key::of(&event));
            assert_eq!(parsed.hash(&ids), ids.hash_of(&event).key_hash(event.timestamp), "{key}");
        }
    }

    #[test]
    fn the_last_colon_separates() {
        let parts = |key: &'static str| Key::parse(key.as_bytes());
        let key = |device_id: &'static str, timestamp| {
            Some(Key { device_id: device_id.as_bytes(), timestamp })
        };
        assert_eq!(parts("metric:1"), key("", 1));
        assert_eq!(parts("metric:d1:17"), key("d1", 17));
        assert_eq!(parts("metric:a:b:17"), key("a:b", 17));
        assert_eq!(parts("metric:metric::17"), key("metric:", 17));
        for none in ["", "17", "d1:17", "metric", "metric::17", "metric:d1:", "metric:d1:017"] {
            assert_eq!(parts(none), None, "{none}");
        }
    }
}
