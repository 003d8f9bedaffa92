//! The buffer pool of one core, from which connections acquire buffers for as long as they need
//! them.
//!
//! An idle connection has none: its requests are answered from the core's receive buffer. Only half
//! a request or an unsent answer takes a buffer from the pool, until it is whole or sent.

use std::fmt;

use crate::http::head_cache::HeadCache;
use crate::limits::{HEAD_BYTES_MAX, OUT_BYTES_MAX, POOL_BYTES_MAX, RECEIVE_BYTES};

/// The free buffers that are kept; further ones go back to the allocator.
const SPARE_MAX: usize = 64;

/// A free buffer that has grown past this goes back to the allocator as well.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// The buffers of one core.
pub struct BufferPool {
    /// The bytes received from a stream.
    pub receive: Vec<u8>,
    /// The answers of the connection that is being served.
    pub out: Vec<u8>,
    /// The body of the answer that is being made.
    pub body: Vec<u8>,
    /// The records of TLS that were received; without memory where none is spoken.
    pub records: Vec<u8>,
    /// The records that are made of answers.
    pub encrypted: Vec<u8>,
    /// The heads that were received last, on any connection.
    pub head_cache: HeadCache,
    spare: Vec<Vec<u8>>,
    /// The capacity of all acquired buffers.
    acquired_bytes: usize,
    budget_bytes: usize,
}

impl fmt::Debug for BufferPool {
    /// Shows sizes alone: received bytes may be a token.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acquired_bytes, budget_bytes, .. } = self;
        let fields = [("acquired_bytes", acquired_bytes), ("budget_bytes", budget_bytes)];
        let mut shown = out.debug_struct("BufferPool");
        fields.into_iter().for_each(|(name, value)| _ = shown.field(name, value));
        shown.finish_non_exhaustive()
    }
}

impl BufferPool {
    /// Returns a pool whose receive buffer has its full size, so that serving does not grow it. Its
    /// budget for acquired buffers has room for some bodies of the largest size.
    pub fn new(body_bytes_max: usize) -> Self {
        let some_bodies = body_bytes_max.saturating_add(HEAD_BYTES_MAX).saturating_mul(4);
        Self {
            acquired_bytes: 0,
            budget_bytes: some_bodies.max(POOL_BYTES_MAX),
            receive: vec![0; RECEIVE_BYTES],
            out: Vec::with_capacity(OUT_BYTES_MAX / 4),
            body: Vec::with_capacity(4096),
            records: Vec::new(),
            encrypted: Vec::new(),
            head_cache: HeadCache::default(),
            spare: Vec::new(),
        }
    }

    /// Acquires a buffer, filled with `bytes`.
    #[must_use]
    pub fn acquire(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        self.acquired_bytes += buffer.capacity();
        self.append(&mut buffer, bytes);
        buffer
    }

    /// Appends to an acquired buffer.
    pub fn append(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) {
        self.acquired_bytes = self.acquired_bytes.saturating_sub(buffer.capacity());
        buffer.extend_from_slice(bytes);
        self.acquired_bytes += buffer.capacity();
    }

    /// Returns true if more is acquired than the budget allows: a connection has to be evicted.
    pub const fn is_over_budget(&self) -> bool {
        self.acquired_bytes > self.budget_bytes
    }

    /// Returns true if so much of the budget is free that no further eviction is near: to choose a
    /// connection costs a look at each of them.
    pub const fn has_headroom(&self) -> bool {
        self.acquired_bytes <= self.budget_bytes - self.budget_bytes / 64
    }

    /// Releases a buffer.
    pub fn release(&mut self, mut buffer: Vec<u8>) {
        self.acquired_bytes = self.acquired_bytes.saturating_sub(buffer.capacity());
        let kept = 1..=SPARE_BYTES_MAX;
        if kept.contains(&buffer.capacity()) && self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_not_in_any_number() {
        let mut buffers = BufferPool::new(0);
        let acquired = buffers.acquire(b"half a request");
        assert_eq!(acquired, b"half a request");
        buffers.release(acquired);
        assert_eq!(buffers.acquire(b""), b"");
        buffers.release(Vec::new());
        buffers.release(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        assert_eq!(buffers.spare.len(), 0);
        for _ in 0..2 * SPARE_MAX {
            buffers.release(Vec::with_capacity(1));
        }
        assert_eq!(buffers.spare.len(), SPARE_MAX);
    }

    #[test]
    fn what_is_lent_is_bounded() {
        let mut buffers = BufferPool::new(0);
        let mut acquired: Vec<_> = (0..64).map(|_| buffers.acquire(&[0; 1024 * 1024])).collect();
        assert!(!buffers.is_over_budget());
        let mut last = acquired.pop().unwrap();
        buffers.append(&mut last, b"x");
        assert!(buffers.is_over_budget() && !buffers.has_headroom());
        buffers.release(last);
        assert!(!buffers.is_over_budget() && buffers.has_headroom());
        acquired.into_iter().for_each(|buffer| buffers.release(buffer));
        assert_eq!(buffers.acquired_bytes, 0);
    }
}
