//! `zstd`: one or more frames (RFC 8878).
//!
//! A frame says how much of what was decoded has to be kept at hand, which is up to terabytes.
//! Nobody may refer to what lies further back than all that a body may hold, so a larger window is
//! read as one of that size: it bounds the memory of a frame, and refuses no honest one.

use std::fmt;
use std::io::Read;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{DecodeError, room};
use crate::limits::MEMBERS_MAX;

/// What a frame begins with (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Of the frame header's descriptor: the window is the whole content (RFC 8878, section 3.1.1.1.1).
const SINGLE_SEGMENT: u8 = 0x20;
/// Of the same: no decoder knows what it means.
const RESERVED: u8 = 0x08;

/// The smallest window of all, as a power of two, and the smallest that holds a full block.
const WINDOW_BITS_MIN: u32 = 10;
const BLOCK_BITS: u32 = 17;

/// The decoder of frames; its memory is used again.
#[derive(Default)]
pub(super) struct Zstd(FrameDecoder);

impl fmt::Debug for Zstd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Zstd").finish_non_exhaustive()
    }
}

impl Zstd {
    /// Appends to `plain` what `coded` stands for, up to a byte more than `bytes_max`.
    pub(super) fn decode(
        &mut self,
        coded: &[u8],
        plain: &mut Vec<u8>,
        bytes_max: usize,
        blocks_left: &mut usize,
    ) -> Result<(), DecodeError> {
        let mut rest = coded;
        for _ in 0..MEMBERS_MAX {
            self.frame(&mut rest, plain, bytes_max, blocks_left)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(DecodeError::TooManyMembers)
    }

    /// Decodes the frame that `rest` begins with, and leaves what is behind it.
    fn frame(
        &mut self,
        rest: &mut &[u8],
        plain: &mut Vec<u8>,
        bytes_max: usize,
        blocks_left: &mut usize,
    ) -> Result<(), DecodeError> {
        let Self(decoder) = self;
        let window_bits = bytes_max.next_power_of_two().trailing_zeros().max(BLOCK_BITS);
        decoder.set_max_window_size(1 << window_bits);
        let (start, header) = rest.split_first_chunk().ok_or(DecodeError::Malformed)?;
        let start = with_window_at_most(*start, window_bits);
        let [.., descriptor, _] = start;
        match decoder.reset(start.as_slice().chain(header)) {
            Ok(()) if descriptor & RESERVED == 0 => {}
            Ok(()) => return Err(DecodeError::Malformed),
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(DecodeError::TooLarge),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let frame = usize::try_from(length).ok().and_then(|length| length.checked_add(8));
                *rest = frame.and_then(|frame| rest.get(frame..)).ok_or(DecodeError::Malformed)?;
                return Ok(());
            }
            Err(_) => return Err(DecodeError::Malformed),
        }
        let before = plain.len();
        let said = decoder.content_size();
        if said > (bytes_max - before) as u64 {
            return Err(DecodeError::TooLarge);
        }
        let header = usize::try_from(decoder.bytes_read_from_source()).unwrap_or(usize::MAX);
        *rest = rest.get(header..).ok_or(DecodeError::Malformed)?;
        loop {
            *blocks_left = blocks_left.checked_sub(1).ok_or(DecodeError::TooManyMembers)?;
            let ended = decoder
                .decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|_| DecodeError::Malformed)?;
            let decoded = decoder.by_ref().take(room(plain, bytes_max) as u64).read_to_end(plain);
            decoded.map_err(|_| DecodeError::Malformed)?;
            if plain.len() > bytes_max {
                return Err(DecodeError::TooLarge);
            }
            if ended {
                break;
            }
        }
        let is_whole = said == 0 || said == (plain.len() - before) as u64;
        let sum = decoder.get_checksum_from_data();
        if !is_whole || (sum.is_some() && sum != decoder.get_calculated_checksum()) {
            return Err(DecodeError::Malformed);
        }
        Ok(())
    }
}

/// The start of a frame, whose window, if it says one, is no larger than a power of two.
/// Descriptors are in the order of their windows (RFC 8878, section 3.1.1.1.2).
fn with_window_at_most(start: [u8; 6], window_bits: u32) -> [u8; 6] {
    let [a, b, c, d, descriptor, window] = start;
    if [a, b, c, d] != MAGIC || descriptor & SINGLE_SEGMENT != 0 {
        return start;
    }
    let most = u8::try_from((window_bits - WINDOW_BITS_MIN) << 3).unwrap_or(u8::MAX);
    [a, b, c, d, descriptor, window.min(most)]
}
