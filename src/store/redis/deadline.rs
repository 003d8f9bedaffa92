//! Waiting for one thing after another, for so long altogether.

use std::time::Duration;

use super::error::{ErrorKind, RedisError};
use percore::clock::{Clock, nanoseconds};

/// No single wait takes more than this share: a server that accepts and then says nothing must
/// leave time to ask another.
const SHARES: u32 = 3;

/// What is left of a time that several waits have together.
pub(super) struct Deadline {
    clock: Clock,
    until_ns: u64,
    share: Duration,
}

impl Deadline {
    /// From now on, for `whole`.
    pub(super) fn new(mut clock: Clock, whole: Duration) -> Self {
        let until_ns = clock.now().mono_ns.saturating_add(nanoseconds(whole));
        Self { clock, until_ns, share: whole / SHARES }
    }

    /// How long the next wait may be.
    ///
    /// # Errors
    ///
    /// There is nothing left.
    pub(super) fn next_wait(&mut self) -> Result<Duration, RedisError> {
        let left = Duration::from_nanos(self.until_ns.saturating_sub(self.clock.now().mono_ns));
        if left < Duration::from_millis(1) {
            return Err(RedisError::new(ErrorKind::Timeout, "no answer in time"));
        }
        Ok(left.min(self.share).max(Duration::from_millis(1)))
    }

    /// The clock that it goes by.
    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }
}
