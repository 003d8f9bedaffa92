//! Short pieces of text, appended as blocks of a constant size.
//!
//! A record is copied together from pieces of some bytes each, and a call that copies so few costs
//! more than the copying. So a whole block is copied, and what lies behind the piece is cut off
//! again.

/// The bytes of a block; longer pieces are copied by a call.
pub const BLOCK_BYTES: usize = 16;

/// Appends the first `len` bytes of a block. The text grows by a whole block for a moment: it needs
/// room for one, or it is allocated anew.
#[inline(always)]
pub fn append(out: &mut Vec<u8>, block: &[u8; BLOCK_BYTES], len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(block);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_behind_the_piece_stays() {
        let mut out = b"before".to_vec();
        for len in 0..=BLOCK_BYTES {
            append(&mut out, b"0123456789abcdef", len);
            assert!(out.ends_with(&b"0123456789abcdef"[..len]), "{out:?}");
        }
        assert_eq!(out.len(), b"before".len() + BLOCK_BYTES * (BLOCK_BYTES + 1) / 2);
    }
}
