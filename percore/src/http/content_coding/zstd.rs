//! `zstd`: one or more frames (RFC 8878).
//!
//! A frame says how much of its output the decoder has to keep, its window, which may be terabytes.
//! No frame can refer further back than the cap of a body, so a larger window is read as one of
//! that size: this bounds the memory of a frame, and refuses no honest one.

use std::fmt;
use std::io::Read;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::output::{DecodeError, Output};
use crate::limits::MEMBERS_MAX;

/// The first bytes of a frame (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A bit of the frame header's descriptor: the window is the whole content (RFC 8878, section
/// 3.1.1.1.1).
const SINGLE_SEGMENT: u8 = 0x20;
/// A bit of the same descriptor that is reserved.
const RESERVED: u8 = 0x08;

/// The smallest window as a power of two, and the smallest that holds a full block.
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
    /// Appends the decoded frames to the output, up to a byte more than the cap.
    pub(super) fn decode(&mut self, coded: &[u8], out: &mut Output<'_>) -> Result<(), DecodeError> {
        let mut rest = coded;
        for _ in 0..MEMBERS_MAX {
            self.frame(&mut rest, out)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(DecodeError::TooManyMembers)
    }

    /// Decodes the frame at the start of `rest`, and removes it from `rest`.
    fn frame(&mut self, rest: &mut &[u8], out: &mut Output<'_>) -> Result<(), DecodeError> {
        let Self(decoder) = self;
        let window_bits = out.bytes_max.next_power_of_two().trailing_zeros().max(BLOCK_BITS);
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
        let before = out.plain.len();
        let said = decoder.content_size();
        if said > (out.bytes_max - before) as u64 {
            return Err(DecodeError::TooLarge);
        }
        let header = usize::try_from(decoder.bytes_read_from_source()).unwrap_or(usize::MAX);
        *rest = rest.get(header..).ok_or(DecodeError::Malformed)?;
        loop {
            out.take_block()?;
            let ended = decoder
                .decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|_| DecodeError::Malformed)?;
            let decoded = decoder.by_ref().take(out.room() as u64).read_to_end(out.plain);
            decoded.map_err(|_| DecodeError::Malformed)?;
            if out.plain.len() > out.bytes_max {
                return Err(DecodeError::TooLarge);
            }
            if ended {
                break;
            }
        }
        let is_whole = said == 0 || said == (out.plain.len() - before) as u64;
        let sum = decoder.get_checksum_from_data();
        if !is_whole || (sum.is_some() && sum != decoder.get_calculated_checksum()) {
            return Err(DecodeError::Malformed);
        }
        Ok(())
    }
}

/// Returns the start of a frame with its window, if it gives one, limited to a power of two.
/// Descriptors are in the order of their windows (RFC 8878, section 3.1.1.1.2).
fn with_window_at_most(start: [u8; 6], window_bits: u32) -> [u8; 6] {
    let [a, b, c, d, descriptor, window] = start;
    if [a, b, c, d] != MAGIC || descriptor & SINGLE_SEGMENT != 0 {
        return start;
    }
    let most = u8::try_from((window_bits - WINDOW_BITS_MIN) << 3).unwrap_or(u8::MAX);
    [a, b, c, d, descriptor, window.min(most)]
}
