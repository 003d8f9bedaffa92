//! DEFLATE data (RFC 1951), block by block.
//!
//! Each block may bring tables of its own, which cost a microsecond or two to set up however little
//! the block holds. The size of the output does not bound that, so blocks are counted: the inflater
//! stops after each.

use std::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::output::{DecodeError, Output};

/// The least growth of the output.
const STEP_BYTES: usize = 4 * 1024;

/// The wrapper of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// None, or one that the inflater does not know.
    Bare,
    /// A header and a checksum (RFC 1950).
    Zlib,
}

/// The inflater, made when it is first needed; its memory is used again.
#[derive(Default)]
pub(super) struct Inflater(Option<Box<DecompressorOxide>>);

impl fmt::Debug for Inflater {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// Appends the data at the start of `rest` to the output, up to a byte more than the cap, and
    /// removes it from `rest`.
    pub(super) fn inflate(
        &mut self,
        rest: &mut &[u8],
        wrapper: Wrapper,
        out: &mut Output<'_>,
    ) -> Result<(), DecodeError> {
        let start = out.plain.len();
        let mut written = 0;
        let inflater = self.0.get_or_insert_default();
        inflater.init();
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
        let flags = match wrapper {
            Wrapper::Bare => flags,
            Wrapper::Zlib => flags | TINFL_FLAG_PARSE_ZLIB_HEADER,
        };
        out.take_block()?;
        let ended = loop {
            if start + written == out.plain.len() {
                let more = out.plain.len().max(STEP_BYTES).min(out.room());
                out.plain.reserve_exact(more);
                out.plain.resize(out.plain.len() + more, 0);
            }
            let member = out.plain.get_mut(start..).unwrap_or_default();
            let (status, taken, made) = decompress(inflater, rest, member, written, flags);
            written += made;
            *rest = rest.get(taken..).unwrap_or_default();
            if start + written > out.bytes_max {
                break Err(DecodeError::TooLarge);
            }
            match status {
                TINFLStatus::Done => break Ok(()),
                TINFLStatus::HasMoreOutput if start + written == out.plain.len() => {}
                TINFLStatus::BlockBoundary => match out.take_block() {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                _ => break Err(DecodeError::Malformed),
            }
        };
        out.plain.truncate(start + written);
        ended
    }
}
