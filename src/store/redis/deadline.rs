//! A deadline that several waits share.

use std::time::Duration;

use super::error::{ErrorKind, RedisError, RedisResult};
use percore::clock::{Clock, nanoseconds};

/// The least number of waits: each takes at most the whole time divided by this. A server that
/// accepts and then does not answer must leave time to ask another.
const SHARES: u32 = 3;

pub(super) struct Deadline {
    clock: Clock,
    until_ns: u64,
    share: Duration,
}

impl Deadline {
    /// Creates a deadline that ends `whole` from now.
    pub(super) fn new(mut clock: Clock, whole: Duration) -> Self {
        let until_ns = clock.now().mono_ns.saturating_add(nanoseconds(whole));
        Self { clock, until_ns, share: whole / SHARES }
    }

    /// Returns how long the next wait may be.
    pub(super) fn next_wait(&mut self) -> RedisResult<Duration> {
        let left = Duration::from_nanos(self.until_ns.saturating_sub(self.clock.now().mono_ns));
        if left < Duration::from_millis(1) {
            return Err(RedisError::new(ErrorKind::Timeout, "no answer in time"));
        }
        Ok(left.min(self.share).max(Duration::from_millis(1)))
    }

    /// Returns the clock of the deadline.
    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }
}
