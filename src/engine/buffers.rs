//! The buffers of one core, lent to connections for as long as they need them.
//!
//! An idle connection owns none: what it sent is answered from the core's receive buffer, and
//! only half a request or an unsent answer takes a spare one along until it is whole.

use crate::limits::{OUT_BYTES_MAX, RECEIVE_BYTES};

/// Spare buffers kept for connections; more are given back to the allocator.
const SPARE_MAX: usize = 64;

/// A spare buffer that grew past this is given back as well.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// What a core reads into and writes from.
#[derive(Debug)]
pub struct Buffers {
    /// Bytes as they come from a socket.
    pub receive: Vec<u8>,
    /// Answers of the connection that is being served.
    pub out: Vec<u8>,
    /// The body of the answer that is being made.
    pub body: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    /// Buffers at their full size, so that serving does not grow them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            receive: vec![0; RECEIVE_BYTES],
            out: Vec::with_capacity(OUT_BYTES_MAX / 4),
            body: Vec::with_capacity(4096),
            spare: Vec::new(),
        }
    }

    /// Lends a buffer that holds `bytes`.
    #[must_use]
    pub fn lend(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Takes back a buffer.
    pub fn take_back(&mut self, mut buffer: Vec<u8>) {
        let kept = 1..=SPARE_BYTES_MAX;
        if kept.contains(&buffer.capacity()) && self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_not_in_any_number() {
        let mut buffers = Buffers::new();
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
}
