//! Look-ups, on a connection of their own: a slow one must not hold up what is written.

use std::time::Duration;

use super::dialer::Readers;
use crate::config::redis_url::RedisUrl;
use crate::limits::{STORE_LOOKUP_MS_MAX, STORE_LOOKUP_PAUSE_MS};
use crate::store::Lookup;

/// Waits that one look-up may come to: for an address, a greeting, a reply.
const STEPS: u64 = 3;

/// Reads single keys. One thread at a time uses it.
pub(in crate::store) struct Reader {
    url: RedisUrl,
    readers: Readers,
    /// Nothing is asked before this time: Redis was away.
    resume_ms: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reader").field("resume_ms", &self.resume_ms).finish_non_exhaustive()
    }
}

impl Reader {
    pub(in crate::store) fn new(url: RedisUrl) -> Self {
        Self { url, readers: Readers::default(), resume_ms: 0 }
    }

    /// Appends the value of `key` to `out`.
    pub(in crate::store) fn lookup(
        &mut self,
        key: &[u8],
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Lookup {
        if now_ms < self.resume_ms {
            return Lookup::Unavailable;
        }
        // A connection that was idle may have been closed over there: that is no answer yet.
        let attempts = 1 + usize::from(self.readers.is_open());
        for _ in 0..attempts {
            if let Some(lookup) = self.ask(key, out) {
                return lookup;
            }
            self.readers = Readers::default();
        }
        self.resume_ms = now_ms + STORE_LOOKUP_PAUSE_MS;
        Lookup::Unavailable
    }

    fn ask(&mut self, key: &[u8], out: &mut Vec<u8>) -> Option<Lookup> {
        let step = Duration::from_millis(STORE_LOOKUP_MS_MAX / STEPS);
        let connection = self.readers.connection_for(&self.url, key, step).ok()?;
        let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query(connection).ok()?;
        Some(match value {
            Some(value) => {
                out.extend_from_slice(&value);
                Lookup::Found
            }
            None => Lookup::Absent,
        })
    }
}
