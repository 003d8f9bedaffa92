//! Content codings of request bodies: `gzip`, inflated up to a cap (RFC 9110, section 8.4).

use std::io::Read;

use flate2::bufread::GzDecoder;

use crate::limits::GZIP_MEMBERS_MAX;

/// Why a coded body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// Not gzip, damaged, or cut short (RFC 1952).
    Malformed,
    /// Longer than the cap after inflation.
    TooLarge,
    /// More than [`GZIP_MEMBERS_MAX`] gzip members, one after the other.
    TooManyMembers,
}

/// What a `Content-Encoding` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// The body stands as it is.
    Identity,
    /// One layer of gzip.
    Gzip,
}

impl ContentCoding {
    /// Reads the field's value; `None` for codings that are not taken, also for more than one.
    #[must_use]
    pub fn from_field(value: Option<&[u8]>) -> Option<Self> {
        // What nearly every device sends.
        let Some(value) = value else {
            return Some(Self::Identity);
        };
        // RFC 9110, section 5.6.1.2: empty elements of a list count for nothing.
        let elements = value.split(|byte| *byte == b',');
        let mut codings = elements.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
        let coding = codings.next().unwrap_or_default();
        if codings.next().is_some() {
            None
        } else if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
            Some(Self::Identity)
        } else if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            // RFC 9110, section 8.4.1.3: x-gzip is equivalent.
            Some(Self::Gzip)
        } else {
            None
        }
    }
}

/// Inflates `coded` into `plain`, which is cleared first and never grows past `bytes_max`.
///
/// # Errors
///
/// A body that is no gzip, and one that is more than it looks.
pub fn inflate(coded: &[u8], plain: &mut Vec<u8>, bytes_max: usize) -> Result<(), InflateError> {
    plain.clear();
    let mut rest = coded;
    // A member is set up anew however little it holds, so the cap on the output alone would let
    // a megabyte of empty ones stop a core for a tenth of a second.
    for _ in 0..GZIP_MEMBERS_MAX {
        let mut decoder = GzDecoder::new(rest);
        // One byte more than is allowed tells a full body from one that goes on.
        let left = (bytes_max - plain.len()).saturating_add(1);
        let inflated = decoder.by_ref().take(left as u64).read_to_end(plain);
        inflated.map_err(|_| InflateError::Malformed)?;
        if plain.len() > bytes_max {
            return Err(InflateError::TooLarge);
        }
        rest = decoder.into_inner();
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(InflateError::TooManyMembers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_survive_and_several_members_are_one() {
        let mut plain = b"left over".to_vec();
        let two = [gzip(b"hello "), gzip(b"world")].concat();
        assert_eq!(inflate(&two, &mut plain, 11), Ok(()));
        assert_eq!(plain, b"hello world");
        assert_eq!(inflate(&two, &mut plain, 10), Err(InflateError::TooLarge));
    }

    #[test]
    fn members_are_few() {
        let mut plain = Vec::new();
        assert_eq!(inflate(&gzip(b"").repeat(GZIP_MEMBERS_MAX), &mut plain, 10), Ok(()));
        let more = gzip(b"").repeat(GZIP_MEMBERS_MAX + 1);
        assert_eq!(inflate(&more, &mut plain, 10), Err(InflateError::TooManyMembers));
    }

    #[test]
    fn a_bomb_is_cut_at_the_cap() {
        let bomb = gzip(&vec![b' '; 10_000_000]);
        assert!(bomb.len() < 20_000);
        let mut plain = Vec::new();
        assert_eq!(inflate(&bomb, &mut plain, 1000), Err(InflateError::TooLarge));
        assert_eq!(plain.len(), 1001);
    }

    #[test]
    fn what_is_cut_short_or_damaged_is_malformed() {
        let whole = gzip(b"hello world");
        let mut plain = Vec::new();
        for end in 0..whole.len() {
            let cut = inflate(&whole[..end], &mut plain, 100);
            assert_eq!(cut, Err(InflateError::Malformed), "at byte {end}");
        }
        for at in 12..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            assert!(inflate(&damaged, &mut plain, 100).is_err(), "at byte {at}");
        }
        assert_eq!(inflate(b"{\"cpu\":1}", &mut plain, 100), Err(InflateError::Malformed));
    }

    #[test]
    fn codings_by_name() {
        let coding = |value: &str| ContentCoding::from_field(Some(value.as_bytes()));
        assert_eq!(ContentCoding::from_field(None), Some(ContentCoding::Identity));
        assert_eq!(coding("Identity"), Some(ContentCoding::Identity));
        assert_eq!(coding(" GZIP "), Some(ContentCoding::Gzip));
        assert_eq!(coding("x-gzip"), Some(ContentCoding::Gzip));
        assert_eq!(coding(", gzip,"), Some(ContentCoding::Gzip));
        assert_eq!(coding(","), Some(ContentCoding::Identity));
        for unknown in ["deflate", "br", "gzip, gzip", "gzip, identity", "zstd"] {
            assert_eq!(coding(unknown), None, "{unknown}");
        }
    }
}
