//! The pauses between attempts to reach Redis.

use crate::limits::STORE_BACKOFF_MS_MIN;

const MILLISECOND_NS: u64 = 1_000_000;

/// Exponential back-off with jitter, so that replicas do not reconnect together.
#[derive(Debug)]
pub(super) struct Backoff {
    random: fastrand::Rng,
    ms: u64,
    ms_max: u64,
}

impl Backoff {
    /// Creates a back-off of pauses up to `ms_max`.
    pub(super) fn new(seed: u64, ms_max: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), ms: STORE_BACKOFF_MS_MIN, ms_max }
    }

    pub(super) fn reset(&mut self) {
        self.ms = STORE_BACKOFF_MS_MIN;
    }

    pub(super) fn next_ns(&mut self) -> u64 {
        let ms = self.ms;
        self.ms = (ms * 2).min(self.ms_max);
        self.random.u64(ms * MILLISECOND_NS / 2..=ms * MILLISECOND_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{STORE_BACKOFF_MS_MAX, STORE_FAILOVER_BACKOFF_MS_MAX};

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        for ms_max in [STORE_BACKOFF_MS_MAX, STORE_FAILOVER_BACKOFF_MS_MAX] {
            let mut backoff = Backoff::new(1, ms_max);
            for _ in 0..2 {
                let pauses: Vec<u64> = (0..20).map(|_| backoff.next_ns()).collect();
                assert!(pauses[0] <= STORE_BACKOFF_MS_MIN * MILLISECOND_NS, "{pauses:?}");
                let longest = *pauses.iter().max().unwrap();
                let bounds = ms_max * MILLISECOND_NS / 2..=ms_max * MILLISECOND_NS;
                assert!(bounds.contains(&longest), "{pauses:?}");
                backoff.reset();
            }
        }
    }
}
