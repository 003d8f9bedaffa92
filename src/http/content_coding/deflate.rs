//! `deflate`: the zlib format (RFC 1950), or DEFLATE data (RFC 1951) without it.
//!
//! RFC 9110, section 8.4.1.2, means the former and knows that some clients send the latter. The
//! first two bytes tell: those of zlib would be a stored block with ones in its padding, which no
//! compressor writes.

use flate2::{Decompress, FlushDecompress, Status};

use super::{DecodeError, room};

/// What the output grows by at least.
const STEP_BYTES: usize = 4 * 1024;

/// The inflater, once it was needed; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Deflate(Option<Decompress>);

impl Deflate {
    /// Appends to `plain` what `coded` stands for, up to some bytes more than `bytes_max`.
    pub(super) fn decode(
        &mut self,
        coded: &[u8],
        plain: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), DecodeError> {
        let wrapped = is_zlib(coded);
        let inflater = self.0.get_or_insert_with(|| Decompress::new(wrapped));
        inflater.reset(wrapped);
        let mut rest = coded;
        loop {
            if plain.len() == plain.capacity() {
                plain.reserve_exact(plain.len().max(STEP_BYTES).min(room(plain, bytes_max)));
            }
            let before = (inflater.total_in(), plain.len());
            let status = inflater
                .decompress_vec(rest, plain, FlushDecompress::None)
                .map_err(|_| DecodeError::Malformed)?;
            let taken = usize::try_from(inflater.total_in() - before.0).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if plain.len() > bytes_max {
                return Err(DecodeError::TooLarge);
            }
            match status {
                Status::StreamEnd if rest.is_empty() => return Ok(()),
                Status::StreamEnd => return Err(DecodeError::Malformed),
                // With room for output and nothing more to come, it is cut short.
                _ if taken == 0 && plain.len() == before.1 => return Err(DecodeError::Malformed),
                _ => {}
            }
        }
    }
}

/// Whether it begins as zlib does: DEFLATE, a window of at most 32 KiB, and the check of these two
/// bytes (RFC 1950, section 2.2).
fn is_zlib(coded: &[u8]) -> bool {
    let Some([method, flags]) = coded.first_chunk() else {
        return false;
    };
    method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]) % 31 == 0
}
