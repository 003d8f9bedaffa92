//! The invariants of the content codings, for all bytes: nothing longer than the cap comes out, a
//! larger cap changes nothing but what was too large, and a decoder that has decoded another body,
//! good or bad, gives the same as a new one.

use percore::http::content_coding::{BodyDecoder, ContentCoding, DecodeError};

const CODED: [ContentCoding; 3] =
    [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Zstd];

/// Small enough to be passed by what a few bytes can say, and not a power of two.
const CAPS: [usize; 3] = [100, 3_000, 300_000];

/// Fails if anything above does not hold of these bytes.
pub fn check(coded: &[u8]) {
    let mut used = BodyDecoder::default();
    for coding in CODED {
        let mut before = Err(DecodeError::TooLarge);
        for cap in CAPS {
            let mut new = BodyDecoder::default();
            let found = new.decode(coding, coded, cap);
            assert_eq!(found, used.decode(coding, coded, cap), "{coding:?} up to {cap}");
            assert!(found.is_ok_and(|plain| plain.len() <= cap) || found.is_err());
            if before != Err(DecodeError::TooLarge) {
                assert_eq!(found.map(<[u8]>::to_vec), before, "{coding:?} up to {cap}");
            }
            before = found.map(<[u8]>::to_vec);
        }
    }
}
