//! `gzip`: one or more members (RFC 1952).

use std::io::Read;

use flate2::bufread::GzDecoder;

use super::{DecodeError, room};
use crate::limits::MEMBERS_MAX;

/// Appends to `plain` what `coded` stands for, up to a byte more than `bytes_max`.
pub(super) fn decode(
    coded: &[u8],
    plain: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), DecodeError> {
    let mut rest = coded;
    // A member is set up anew however little it holds, so the cap on the output alone would let
    // a megabyte of empty ones stop a core for a tenth of a second.
    for _ in 0..MEMBERS_MAX {
        let mut decoder = GzDecoder::new(rest);
        let decoded = decoder.by_ref().take(room(plain, bytes_max) as u64).read_to_end(plain);
        decoded.map_err(|_| DecodeError::Malformed)?;
        if plain.len() > bytes_max {
            return Err(DecodeError::TooLarge);
        }
        rest = decoder.into_inner();
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(DecodeError::TooManyMembers)
}
