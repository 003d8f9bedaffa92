//! The buffers of one core, lent to connections for as long as they need them.
//!
//! An idle connection owns none: what it sent is answered from the core's receive buffer, and
//! only half a request or an unsent answer takes a spare one along until it is whole.

use std::fmt;

use crate::http::head_cache::HeadCache;
use crate::limits::{HEAD_BYTES_MAX, LENT_BYTES_MAX, OUT_BYTES_MAX, RECEIVE_BYTES};

/// Spare buffers kept for connections; more are given back to the allocator.
const SPARE_MAX: usize = 64;

/// A spare buffer that grew past this is given back as well.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// What a core reads into and writes from.
pub struct BufferPool {
    /// Bytes as they come from a socket.
    pub receive: Vec<u8>,
    /// Answers of the connection that is being served.
    pub out: Vec<u8>,
    /// The body of the answer that is being made.
    pub body: Vec<u8>,
    /// The heads that came last, of whatever connection.
    pub heads: HeadCache,
    spare: Vec<Vec<u8>>,
    /// Bytes allocated for what is lent.
    lent_bytes: usize,
    lent_bytes_max: usize,
}

impl fmt::Debug for BufferPool {
    /// Sizes alone: what peers have sent may be a token.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lent_bytes, lent_bytes_max, .. } = self;
        let fields = [("lent_bytes", lent_bytes), ("lent_bytes_max", lent_bytes_max)];
        let mut shown = out.debug_struct("BufferPool");
        fields.into_iter().for_each(|(name, value)| _ = shown.field(name, value));
        shown.finish_non_exhaustive()
    }
}

impl BufferPool {
    /// BufferPool at their full size, so that serving does not grow them. What is lent is bounded, and
    /// the bound has room for some bodies of the largest size.
    #[must_use]
    pub fn new(body_bytes_max: usize) -> Self {
        let some_bodies = body_bytes_max.saturating_add(HEAD_BYTES_MAX).saturating_mul(4);
        Self {
            lent_bytes: 0,
            lent_bytes_max: some_bodies.max(LENT_BYTES_MAX),
            receive: vec![0; RECEIVE_BYTES],
            out: Vec::with_capacity(OUT_BYTES_MAX / 4),
            body: Vec::with_capacity(4096),
            heads: HeadCache::default(),
            spare: Vec::new(),
        }
    }

    /// Lends a buffer that holds `bytes`.
    #[must_use]
    pub fn lend(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        self.lent_bytes += buffer.capacity();
        self.grow(&mut buffer, bytes);
        buffer
    }

    /// Appends to a buffer that is lent.
    pub fn grow(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) {
        self.lent_bytes = self.lent_bytes.saturating_sub(buffer.capacity());
        buffer.extend_from_slice(bytes);
        self.lent_bytes += buffer.capacity();
    }

    /// Whether more is lent than may be: somebody has to go.
    #[must_use]
    pub const fn are_exhausted(&self) -> bool {
        self.lent_bytes > self.lent_bytes_max
    }

    /// Whether so much less is lent that nobody else has to go soon: finding out who costs a look
    /// at every connection.
    #[must_use]
    pub const fn are_relieved(&self) -> bool {
        self.lent_bytes <= self.lent_bytes_max - self.lent_bytes_max / 64
    }

    /// Takes back a buffer.
    pub fn take_back(&mut self, mut buffer: Vec<u8>) {
        self.lent_bytes = self.lent_bytes.saturating_sub(buffer.capacity());
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
        let lent = buffers.lend(b"half a request");
        assert_eq!(lent, b"half a request");
        buffers.take_back(lent);
        assert_eq!(buffers.lend(b""), b"");
        buffers.take_back(Vec::new());
        buffers.take_back(Vec::with_capacity(SPARE_BYTES_MAX + 1));
        assert_eq!(buffers.spare.len(), 0);
        for _ in 0..2 * SPARE_MAX {
            buffers.take_back(Vec::with_capacity(1));
        }
        assert_eq!(buffers.spare.len(), SPARE_MAX);
    }

    #[test]
    fn what_is_lent_is_bounded() {
        let mut buffers = BufferPool::new(0);
        let mut lent: Vec<_> = (0..64).map(|_| buffers.lend(&[0; 1024 * 1024])).collect();
        assert!(!buffers.are_exhausted());
        let mut last = lent.pop().unwrap();
        buffers.grow(&mut last, b"x");
        assert!(buffers.are_exhausted() && !buffers.are_relieved());
        buffers.take_back(last);
        assert!(!buffers.are_exhausted() && buffers.are_relieved());
        lent.into_iter().for_each(|buffer| buffers.take_back(buffer));
        assert_eq!(buffers.lent_bytes, 0);
    }
}
