//! Types that threads share, and the only place that uses the crates they are made of.
//!
//! A lock here is held for tens of nanoseconds, or is not contended; a value that one core writes
//! often has a cache line of its own.

use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};

pub use crossbeam::utils::CachePadded;
pub use parking_lot::{Mutex, MutexGuard};

/// A counter that one thread advances and any thread reads.
///
/// With a single writer the addition needs no locked instruction: a load, and a store that
/// publishes everything that the writer did before it.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the counter's one writer may call this: a second one could lose additions.
    pub fn add(&self, n: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Release);
    }

    /// Returns the sum so far, and makes everything visible that its writer did before publishing
    /// it.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Adds each counter to the sum of the same index.
pub fn add_each(sums: &mut [u64], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.total();
    }
}

/// One `T` for each core, each on cache lines of its own. There is always at least one.
#[derive(Debug)]
pub struct PerCore<T> {
    first: CachePadded<T>,
    rest: Box<[CachePadded<T>]>,
}

impl<T> PerCore<T> {
    /// Returns one `T` of `make` for each of `cores`; zero cores count as one.
    pub fn new(cores: usize, mut make: impl FnMut(usize) -> T) -> Self {
        Self {
            first: CachePadded::new(make(0)),
            rest: (1..cores).map(|core| CachePadded::new(make(core))).collect(),
        }
    }

    /// Returns the one of `core`. A number past the last is a mistake of the caller; it gets the
    /// first.
    pub fn at(&self, core: usize) -> &T {
        debug_assert!(core < self.cores(), "core {core} of {}", self.cores());
        core.checked_sub(1).and_then(|index| self.rest.get(index)).unwrap_or(&self.first)
    }

    /// Returns the number of cores.
    pub fn cores(&self) -> usize {
        self.rest.len() + 1
    }

    /// Returns all of them, in the order of the cores.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        iter::once(&self.first).chain(self.rest.iter()).map(|padded| &**padded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_has_its_own() {
        for cores in 0..5 {
            let counts = PerCore::new(cores, |_| Count::default());
            assert_eq!(counts.cores(), cores.max(1));
            for core in 0..counts.cores() {
                counts.at(core).add(core as u64 + 1);
            }
            let seen: Vec<u64> = counts.iter().map(Count::total).collect();
            let expected: Vec<u64> = (1..=counts.cores() as u64).collect();
            assert_eq!(seen, expected);
        }
    }
}
