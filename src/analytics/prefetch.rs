//! Prefetching: tells the processor what memory will be needed soon.
//!
//! A processor looks some hundred instructions ahead by itself, fewer than an event takes. So where
//! devices are in no cache, what the next events need is asked for before it is needed, and comes
//! while the ones before are scored. Nothing waits for it, and nothing depends on it.

use prefetch_index::prefetch_index;
use std::slice;

/// Asks for the cache line in which this value begins.
#[inline(always)]
pub(super) fn prefetch<T>(value: &T) {
    prefetch_index(slice::from_ref(value), 0);
}

/// Asks for the cache line in which this value of a slice begins, if there is one.
#[inline(always)]
pub(super) fn prefetch_at<T>(values: &[T], at: usize) {
    if let Some(value) = values.get(at) {
        prefetch(value);
    }
}
