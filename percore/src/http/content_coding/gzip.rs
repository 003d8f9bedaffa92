//! `gzip`: one or more members (RFC 1952).

use flate2::Crc;

use super::inflate::{Inflater, Wrapper};
use super::output::{DecodeError, Output};
use crate::limits::MEMBERS_MAX;

/// Flags of the header (RFC 1952, section 2.3.1): the fields that follow it, and reserved bits.
const HEADER_CRC: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

/// Appends the decoded members to the output, up to a byte more than the cap.
pub(super) fn decode(
    inflater: &mut Inflater,
    coded: &[u8],
    out: &mut Output<'_>,
) -> Result<(), DecodeError> {
    let mut rest = coded;
    // A member costs its set-up however little it holds.
    for _ in 0..MEMBERS_MAX {
        rest = behind_header(rest).ok_or(DecodeError::Malformed)?;
        let start = out.plain.len();
        inflater.inflate(&mut rest, Wrapper::Bare, out)?;
        let member = out.plain.get(start..).unwrap_or_default();
        rest = behind_trailer(rest, member).ok_or(DecodeError::Malformed)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(DecodeError::TooManyMembers)
}

/// Returns the bytes after the header of a member, if it is one (RFC 1952, section 2.3).
fn behind_header(member: &[u8]) -> Option<&[u8]> {
    let ([0x1f, 0x8b, 8, flags, _, _, _, _, _, _], mut rest) = member.split_first_chunk()? else {
        return None;
    };
    if flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (length, extra) = rest.split_first_chunk()?;
        rest = extra.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = memchr::memchr(0, rest)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        let (crc, data) = rest.split_first_chunk()?;
        let [low, high, ..] = sum(member.get(..member.len() - rest.len())?).to_le_bytes();
        if *crc != [low, high] {
            return None;
        }
        rest = data;
    }
    Some(rest)
}

/// Returns the bytes after the checksum and the length of a member, if they are right.
fn behind_trailer<'c>(rest: &'c [u8], plain: &[u8]) -> Option<&'c [u8]> {
    let (crc, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let is_right = u32::from_le_bytes(*crc) == sum(plain)
        && u64::from(u32::from_le_bytes(*length)) == plain.len() as u64 & 0xffff_ffff;
    is_right.then_some(rest)
}

fn sum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
