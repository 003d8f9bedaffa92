//! `deflate`: the zlib format (RFC 1950), or DEFLATE data (RFC 1951) without it.
//!
//! RFC 9110, section 8.4.1.2, means the former, and notes that some clients send the latter. The
//! first two bytes tell: those of zlib would be a stored block with ones in its padding, which no
//! compressor writes.

use super::inflate::{Inflater, Wrapper};
use super::output::{DecodeError, Output};

/// Appends the decoded body to the output, up to a byte more than the cap.
pub(super) fn decode(
    inflater: &mut Inflater,
    coded: &[u8],
    out: &mut Output<'_>,
) -> Result<(), DecodeError> {
    let wrapper = if is_zlib(coded) { Wrapper::Zlib } else { Wrapper::Bare };
    let mut rest = coded;
    inflater.inflate(&mut rest, wrapper, out)?;
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::Malformed) }
}

/// Returns true if the body begins as zlib does: DEFLATE, a window of at most 32 KiB, and the check
/// of these two bytes (RFC 1950, section 2.2).
fn is_zlib(coded: &[u8]) -> bool {
    let Some([method, flags]) = coded.first_chunk() else {
        return false;
    };
    method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]) % 31 == 0
}
