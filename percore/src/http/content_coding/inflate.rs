//! DEFLATE data (RFC 1951), block by block.
//!
//! Each block may bring tables of its own, which cost a microsecond or two to set up however little
//! the block holds. What comes out bounds nothing of that, for a few bits can say much: so blocks
//! are counted, and the inflater is told to stop behind each.

use std::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::{DecodeError, room};

/// What the output grows by at least.
const STEP_BYTES: usize = 4 * 1024;

/// What is around the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// Nothing, or nothing that the inflater knows of.
    Bare,
    /// A header and a checksum (RFC 1950).
    Zlib,
}

/// The inflater, once it was needed; its memory is used again.
#[derive(Default)]
pub(super) struct Inflater(Option<Box<DecompressorOxide>>);

impl fmt::Debug for Inflater {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// Appends to `plain` what `rest` begins with, up to a byte more than `bytes_max`, and leaves
    /// what is behind it.
    pub(super) fn inflate(
        &mut self,
        rest: &mut &[u8],
        wrapper: Wrapper,
        plain: &mut Vec<u8>,
        bytes_max: usize,
        blocks_left: &mut usize,
    ) -> Result<(), DecodeError> {
        let start = plain.len();
        let mut written = 0;
        let inflater = self.0.get_or_insert_default();
        inflater.init();
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
        let flags = match wrapper {
            Wrapper::Bare => flags,
            Wrapper::Zlib => flags | TINFL_FLAG_PARSE_ZLIB_HEADER,
        };
        *blocks_left = blocks_left.checked_sub(1).ok_or(DecodeError::TooManyMembers)?;
        let ended = loop {
            if start + written == plain.len() {
                let more = plain.len().max(STEP_BYTES).min(room(plain, bytes_max));
                plain.reserve_exact(more);
                plain.resize(plain.len() + more, 0);
            }
            let out = plain.get_mut(start..).unwrap_or_default();
            let (status, taken, made) = decompress(inflater, rest, out, written, flags);
            written += made;
            *rest = rest.get(taken..).unwrap_or_default();
            if start + written > bytes_max {
                break Err(DecodeError::TooLarge);
            }
            match status {
                TINFLStatus::Done => break Ok(()),
                TINFLStatus::HasMoreOutput if start + written == plain.len() => {}
                TINFLStatus::BlockBoundary if *blocks_left == 0 => {
                    break Err(DecodeError::TooManyMembers);
                }
                TINFLStatus::BlockBoundary => *blocks_left -= 1,
                _ => break Err(DecodeError::Malformed),
            }
        };
        plain.truncate(start + written);
        ended
    }
}
