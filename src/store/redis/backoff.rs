//! The pauses between attempts to reach Redis.

use crate::limits::{STORE_BACKOFF_MS_MAX, STORE_BACKOFF_MS_MIN};

const MILLISECOND_NS: u64 = 1_000_000;

/// Exponential back-off with jitter, so that replicas do not reconnect together.
#[derive(Debug)]
pub(super) struct Backoff {
    random: fastrand::Rng,
    ms: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), ms: STORE_BACKOFF_MS_MIN }
    }

    pub(super) fn reset(&mut self) {
        self.ms = STORE_BACKOFF_MS_MIN;
    }

    pub(super) fn next_ns(&mut self) -> u64 {
        let ms = self.ms;
        self.ms = (ms * 2).min(STORE_BACKOFF_MS_MAX);
        self.random.u64(ms * MILLISECOND_NS / 2..=ms * MILLISECOND_NS)
    }
}
