//! A pause after an attempt that failed.

use super::super::error::{RedisError, RedisResult};

/// The shortest pause: a server that refuses connections is asked no more often than this.
const PAUSE_NS_MIN: u64 = 100_000_000;

/// A pause is so many times as long as the attempt before it. A server that accepts and does not
/// answer holds up the others for a fourth of the time, at most.
const TIMES: u64 = 3;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Pause {
    until_ns: u64,
    error: RedisError,
}

impl Pause {
    /// Returns the pause after an attempt from `began_ns` to `ended_ns`.
    pub(super) fn after(began_ns: u64, ended_ns: u64, error: RedisError) -> Self {
        let length_ns = ended_ns.saturating_sub(began_ns).saturating_mul(TIMES).max(PAUSE_NS_MIN);
        Self { until_ns: ended_ns.saturating_add(length_ns), error }
    }

    /// Checks that the pause is over.
    ///
    /// # Errors
    ///
    /// It is not: the error of the attempt.
    pub(super) fn check(&self, now_ns: u64) -> RedisResult<()> {
        if now_ns < self.until_ns { Err(self.error.clone()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_took_long_is_followed_by_a_long_pause() {
        let error = RedisError::connect("refused");
        let quick = Pause::after(1_000, 2_000, error.clone());
        assert_eq!(quick.check(2_000 + PAUSE_NS_MIN - 1), Err(error.clone()));
        assert_eq!(quick.check(2_000 + PAUSE_NS_MIN), Ok(()));
        let slow = Pause::after(0, 200_000_000, error.clone());
        assert_eq!(slow.check(799_999_999), Err(error));
        assert_eq!(slow.check(800_000_000), Ok(()));
    }
}
