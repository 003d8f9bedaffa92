//! Content codings of request bodies: `gzip`, `deflate` and `zstd`, decoded up to a cap (RFC 9110,
//! section 8.4).

mod deflate;
mod gzip;
mod inflate;
mod output;
mod zstd;

pub use output::DecodeError;

use inflate::Inflater;
use output::Output;
use zstd::Zstd;

use crate::limits::{
    CODED_COST_BYTES, DEFLATE_BLOCK_COST_BYTES, DEFLATE_BLOCKS_MAX, ZSTD_BLOCK_COST_BYTES,
    ZSTD_BLOCKS_MAX,
};

/// The codings that are accepted, for `Accept-Encoding`.
pub const ACCEPTED: &str = "gzip, deflate, zstd";

crate::named_enum! {
    /// The coding that a `Content-Encoding` names, with the name that errors spell.
    pub enum ContentCoding {
        /// No coding.
        Identity = "identity",
        /// One layer of gzip (RFC 1952).
        Gzip = "gzip",
        /// One layer of zlib (RFC 1950), or of the DEFLATE data in it.
        Deflate = "deflate",
        /// One layer of Zstandard (RFC 8878).
        Zstd = "zstd",
    }
}

impl ContentCoding {
    /// Parses the field's value; returns `None` for codings that are not accepted, and for more
    /// than one.
    pub fn from_field(value: Option<&[u8]>) -> Option<Self> {
        // Nearly every device sends none.
        let Some(value) = value else {
            return Some(Self::Identity);
        };
        // RFC 9110, section 5.6.1.2: empty elements of a list count for nothing.
        let elements = value.split(|byte| *byte == b',');
        let mut codings = elements.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
        let coding = codings.next().unwrap_or_default();
        if codings.next().is_some() {
            return None;
        }
        // RFC 9110, section 8.4.1.3: x-gzip is equivalent to gzip.
        let known = [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("zstd", Self::Zstd),
        ];
        let named = |(name, _): &(&str, Self)| coding.eq_ignore_ascii_case(name.as_bytes());
        known.into_iter().find(named).map(|(_, coding)| coding)
    }
}

/// The decoder of one body after another, whose memory is used again. Each core has one.
#[derive(Debug, Default)]
pub struct BodyDecoder {
    plain: Vec<u8>,
    inflater: Inflater,
    zstd: Zstd,
}

impl BodyDecoder {
    /// Decodes a body, to at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// The body is not of this coding, or more than it looks.
    #[inline]
    pub fn decode<'d>(
        &'d mut self,
        coding: ContentCoding,
        coded: &'d [u8],
        bytes_max: usize,
    ) -> Result<&'d [u8], DecodeError> {
        self.decode_with_cost(coding, coded, bytes_max).0
    }

    /// Decodes a body, and returns the cost as well, also of an error: that of a plain body of so
    /// many bytes.
    #[inline]
    pub fn decode_with_cost<'d>(
        &'d mut self,
        coding: ContentCoding,
        coded: &'d [u8],
        bytes_max: usize,
    ) -> (Result<&'d [u8], DecodeError>, usize) {
        match coding {
            ContentCoding::Identity => (Ok(coded), coded.len()),
            _ => self.decode_coded(coding, coded, bytes_max),
        }
    }

    fn decode_coded(
        &mut self,
        coding: ContentCoding,
        coded: &[u8],
        bytes_max: usize,
    ) -> (Result<&[u8], DecodeError>, usize) {
        let Self { plain, inflater, zstd } = self;
        plain.clear();
        let (blocks_max, block_cost) = match coding {
            ContentCoding::Zstd => (ZSTD_BLOCKS_MAX, ZSTD_BLOCK_COST_BYTES),
            _ => (DEFLATE_BLOCKS_MAX, DEFLATE_BLOCK_COST_BYTES),
        };
        let out = &mut Output { plain, bytes_max, blocks_left: blocks_max };
        let decoded = match coding {
            ContentCoding::Identity => {
                out.plain.extend_from_slice(coded);
                Ok(())
            }
            ContentCoding::Gzip => gzip::decode(inflater, coded, out),
            ContentCoding::Deflate => deflate::decode(inflater, coded, out),
            ContentCoding::Zstd => zstd.decode(coded, out),
        };
        let blocks = (blocks_max - out.blocks_left) * block_cost;
        let cost = blocks.max(plain.len()).max(coded.len()).max(CODED_COST_BYTES);
        (decoded.map(|()| plain.as_slice()), cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MEMBERS_MAX;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn bare(plain: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// One frame of blocks, each with the bit that says whether it is the last.
    fn frame(head: &[u8], blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut frame = [b"\x28\xb5\x2f\xfd", head].concat();
        for (number, (kind, size, content)) in blocks.iter().enumerate() {
            let last = u32::from(number + 1 == blocks.len());
            frame.extend_from_slice(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
            frame.extend_from_slice(content);
        }
        frame
    }

    /// A window of a megabyte and no length.
    const WINDOW: &[u8] = &[0x00, 10 << 3];
    const RAW: u32 = 0;
    const RUN: u32 = 1;

    fn zstd(plain: &[u8]) -> Vec<u8> {
        frame(WINDOW, &[(RAW, u32::try_from(plain.len()).unwrap(), plain)])
    }

    /// `hello world` thrice, by the reference implementation, with a checksum.
    const BY_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x68\x9d\x00\x00\x68\x68\x65\x6c\x6c\x6f\x20\
      \x77\x6f\x72\x6c\x64\x2c\x20\x01\x00\x00\xce\x2f\xc6\xe8\xff\x89";

    fn decode(coding: ContentCoding, coded: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
        BodyDecoder::default().decode(coding, coded, max).map(<[u8]>::to_vec)
    }

    const CODED: [ContentCoding; 3] =
        [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Zstd];

    fn encode(coding: ContentCoding, plain: &[u8]) -> Vec<u8> {
        match coding {
            ContentCoding::Identity => plain.to_vec(),
            ContentCoding::Gzip => gzip(plain),
            ContentCoding::Deflate => zlib(plain),
            ContentCoding::Zstd => zstd(plain),
        }
    }

    #[test]
    fn bodies_survive_and_a_decoder_forgets_the_one_before() {
        let mut decoder = BodyDecoder::default();
        for plain in [&b"hello world"[..], b"", &[b'x'; 100_000]] {
            for coding in CODED {
                let coded = encode(coding, plain);
                assert_eq!(decoder.decode(coding, &coded, 100_000), Ok(plain), "{coding:?}");
                let cut = &coded[..coded.len() - 1];
                assert_eq!(decoder.decode(coding, cut, 100_000), Err(DecodeError::Malformed));
            }
        }
        assert_eq!(decoder.decode(ContentCoding::Identity, b"as is", 5), Ok(&b"as is"[..]));
        let hellos = b"hello world, hello world, hello world";
        assert_eq!(decoder.decode(ContentCoding::Zstd, BY_ZSTD, 100), Ok(&hellos[..]));
    }

    #[test]
    fn several_members_are_one() {
        for (coding, joined) in [
            (ContentCoding::Gzip, [gzip(b"hello "), gzip(b"world")].concat()),
            (ContentCoding::Zstd, [zstd(b"hello "), zstd(b"world")].concat()),
            (
                ContentCoding::Zstd,
                [&zstd(b"hello ")[..], b"\x5f\x2a\x4d\x18\x03\0\0\0...", &zstd(b"world")].concat(),
            ),
        ] {
            assert_eq!(decode(coding, &joined, 11), Ok(b"hello world".to_vec()));
            assert_eq!(decode(coding, &joined, 10), Err(DecodeError::TooLarge));
        }
        let two = [zlib(b"hello "), zlib(b"world")].concat();
        assert_eq!(decode(ContentCoding::Deflate, &two, 11), Err(DecodeError::Malformed));
    }

    #[test]
    fn members_and_blocks_are_few() {
        for coding in [ContentCoding::Gzip, ContentCoding::Zstd] {
            let empty = encode(coding, b"");
            assert_eq!(decode(coding, &empty.repeat(MEMBERS_MAX), 10), Ok(Vec::new()));
            let more = empty.repeat(MEMBERS_MAX + 1);
            assert_eq!(decode(coding, &more, 10), Err(DecodeError::TooManyMembers));
        }
        let skipped = b"\x50\x2a\x4d\x18\0\0\0\0".repeat(MEMBERS_MAX + 1);
        let many = decode(ContentCoding::Zstd, &skipped, 10);
        assert_eq!(many, Err(DecodeError::TooManyMembers));
        let blocks = vec![(RAW, 0, &b""[..]); ZSTD_BLOCKS_MAX];
        assert_eq!(decode(ContentCoding::Zstd, &frame(WINDOW, &blocks), 10), Ok(Vec::new()));
        let [half, more] = [&blocks[..], &blocks[1..]].map(|blocks| frame(WINDOW, blocks));
        let many = decode(ContentCoding::Zstd, &[half, more].concat(), 10);
        assert_eq!(many, Err(DecodeError::TooManyMembers));
    }

    /// A dynamic block (RFC 1951, section 3.2.7) of 91 bits that holds nothing; eight of them, so
    /// that they end with a byte.
    fn empty_blocks() -> Vec<u8> {
        let (mut unit, mut bits) = (0_u128, 0);
        let mut put = |value: u128, length: u32| {
            unit |= value << bits;
            bits += length;
        };
        for (value, length) in [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4)] {
            put(value, length);
        }
        // Codes of one bit, for a length of one and for many zeros.
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            put(u128::from([18, 1].contains(&symbol)), 3);
        }
        for (value, length) in [(0, 1), (1, 1), (127, 7), (1, 1), (106, 7), (0, 1), (0, 1), (1, 1)]
        {
            put(value, length);
        }
        assert_eq!(bits, 91);
        let bits = (0..8 * 91).map(|at| (unit >> (at % 91) & 1) as u8).collect::<Vec<_>>();
        bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |of, bit| of << 1 | bit)).collect()
    }

    #[test]
    fn blocks_of_deflate_are_few_and_each_is_paid_for() {
        let event = b"{\"cpu\":1,\"rps\":1}";
        let blocks = |of: usize| [&empty_blocks().repeat(of / 8)[..], &bare(event, 9)].concat();
        let gzipped = |data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(event);
            let length = u32::try_from(event.len()).unwrap().to_le_bytes();
            let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
            [&header[..], data, &crc.sum().to_le_bytes(), &length].concat()
        };
        let (few, many) = (blocks(DEFLATE_BLOCKS_MAX - 8), blocks(DEFLATE_BLOCKS_MAX));
        let bodies = [
            (ContentCoding::Deflate, few.clone(), many.clone()),
            (ContentCoding::Gzip, gzipped(&few), gzipped(&many)),
        ];
        for (coding, few, many) in bodies {
            let mut decoder = BodyDecoder::default();
            let (plain, cost) = decoder.decode_with_cost(coding, &few, 100);
            assert_eq!(plain, Ok(&event[..]), "{coding:?}");
            assert_eq!(cost, (DEFLATE_BLOCKS_MAX - 7) * DEFLATE_BLOCK_COST_BYTES, "{coding:?}");
            let (plain, cost) = decoder.decode_with_cost(coding, &many, 100);
            assert_eq!(plain, Err(DecodeError::TooManyMembers), "{coding:?}");
            assert_eq!(cost, DEFLATE_BLOCKS_MAX * DEFLATE_BLOCK_COST_BYTES, "{coding:?}");
        }
        let blocks = [(RAW, 0, &b""[..]); 100];
        let mut decoder = BodyDecoder::default();
        let (_, cost) = decoder.decode_with_cost(ContentCoding::Zstd, &frame(WINDOW, &blocks), 10);
        assert_eq!(cost, 100 * ZSTD_BLOCK_COST_BYTES);
    }

    #[test]
    fn what_honest_compressors_write_is_decoded() {
        // The most events, each flushed on its way.
        let lines = vec![&b"{\"cpu\":1,\"rps\":1}\n"[..]; 10_000];
        let mut state = 1_u64;
        let mut noise = vec![0_u8; 1_000_000];
        for byte in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let max = 1024 * 1024;
        for level in 0..=9 {
            let level = Compression::new(level);
            let mut gzip = GzEncoder::new(Vec::new(), level);
            let mut zlib = ZlibEncoder::new(Vec::new(), level);
            for line in &lines {
                gzip.write_all(line).unwrap();
                gzip.flush().unwrap();
                zlib.write_all(line).unwrap();
                zlib.flush().unwrap();
            }
            for (coding, coded) in [
                (ContentCoding::Gzip, gzip.finish().unwrap()),
                (ContentCoding::Deflate, zlib.finish().unwrap()),
            ] {
                assert_eq!(decode(coding, &coded, max), Ok(lines.concat()), "{level:?}");
            }
            let coded = bare(&noise, level.level());
            assert!(decode(ContentCoding::Deflate, &coded, max) == Ok(noise.clone()), "{level:?}");
        }
        let members = noise.chunks(noise.len() / MEMBERS_MAX).map(gzip).collect::<Vec<_>>();
        assert_eq!(members.len(), MEMBERS_MAX);
        assert!(decode(ContentCoding::Gzip, &members.concat(), max) == Ok(noise));
    }

    /// RFC 1952, section 2.3.1.
    #[test]
    fn the_fields_of_a_gzip_header_are_passed_over() {
        let builder = flate2::GzBuilder::new().extra("more").filename("name").comment("comment");
        let mut encoder = builder.write(Vec::new(), Compression::best());
        encoder.write_all(b"hello world").unwrap();
        let mut coded = encoder.finish().unwrap();
        assert_eq!(decode(ContentCoding::Gzip, &coded, 11), Ok(b"hello world".to_vec()));
        // With the sum of the header behind it, and with one that is wrong.
        let end = 10 + 2 + 4 + 5 + 8;
        coded[3] |= 0x02;
        let mut crc = flate2::Crc::new();
        crc.update(&coded[..end]);
        coded.splice(end..end, crc.sum().to_le_bytes().into_iter().take(2));
        assert_eq!(decode(ContentCoding::Gzip, &coded, 11), Ok(b"hello world".to_vec()));
        for at in 0..coded.len() {
            let cut = decode(ContentCoding::Gzip, &coded[..at], 11);
            assert_eq!(cut, Err(DecodeError::Malformed), "at byte {at}");
        }
        for (at, bit) in [(0, 1), (1, 1), (2, 1), (3, 0x20), (3, 0x80), (15, 1), (end, 1)] {
            let mut damaged = coded.clone();
            damaged[at] ^= bit;
            assert_eq!(decode(ContentCoding::Gzip, &damaged, 11), Err(DecodeError::Malformed));
        }
    }

    #[test]
    fn a_bomb_is_cut_at_the_cap() {
        let blanks = vec![b' '; 10_000_000];
        let runs = [(RUN, 128 * 1024, &b" "[..]); 80];
        // A window of two megabytes, and one of all that a window can be.
        let windows = [&[0x00, 11 << 3][..], &[0x00, 0xff]];
        // A frame that declares such a length is not even begun.
        let said = [&[0xa0, 0, 0, 0xa0, 0][..], &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80]];
        let zstd = windows.into_iter().chain(said).map(|head| frame(head, &runs));
        let others = [
            (ContentCoding::Gzip, gzip(&blanks)),
            (ContentCoding::Deflate, zlib(&blanks)),
            (ContentCoding::Deflate, bare(&blanks, 9)),
        ];
        for (coding, bomb) in zstd.map(|frame| (ContentCoding::Zstd, frame)).chain(others) {
            assert!(bomb.len() < 20_000);
            let mut decoder = BodyDecoder::default();
            let cut = decoder.decode(coding, &bomb, 1000);
            assert_eq!(cut, Err(DecodeError::TooLarge), "{coding:?}");
            assert!(decoder.plain.len() <= 8 * 1024, "{coding:?}: {}", decoder.plain.len());
        }
    }

    #[test]
    fn what_is_cut_short_or_damaged_is_malformed() {
        let bare = bare(b"hello world", 9);
        let bodies = CODED.map(|coding| (coding, encode(coding, b"hello world")));
        let bodies = bodies
            .into_iter()
            .chain([(ContentCoding::Zstd, BY_ZSTD.to_vec()), (ContentCoding::Deflate, bare)]);
        for (coding, whole) in bodies {
            for end in 0..whole.len() {
                let cut = decode(coding, &whole[..end], 100);
                assert_eq!(cut, Err(DecodeError::Malformed), "{coding:?} at byte {end}");
            }
            let more = [&whole[..], b"\0"].concat();
            assert_eq!(decode(coding, &more, 100), Err(DecodeError::Malformed), "{coding:?}");
            // Any bytes are DEFLATE data for a while.
            let plain = decode(coding, b"{\"cpu\":1,\"rps\":2}", 100);
            assert!(plain.is_err(), "{coding:?}");
        }
        let damaged = |coding, whole: &[u8], from: usize| {
            for at in from..whole.len() {
                let mut damaged = whole.to_vec();
                damaged[at] ^= 0x55;
                assert!(decode(coding, &damaged, 100).is_err(), "{coding:?} at byte {at}");
            }
        };
        damaged(ContentCoding::Gzip, &gzip(b"hello world"), 12);
        damaged(ContentCoding::Deflate, &zlib(b"hello world"), 2);
        damaged(ContentCoding::Zstd, BY_ZSTD, 6);
    }

    /// RFC 9110, section 8.4.1.2: some clients send DEFLATE data without the zlib wrapper.
    #[test]
    fn bare_deflate_is_told_from_zlib() {
        // The last is longer than a stored block can be.
        let texts = ["", "x", "{\"cpu\":1,\"rps\":2}", &"hello world ".repeat(7000)];
        for text in texts {
            for level in 0..=9 {
                let bare = bare(text.as_bytes(), level);
                let plain = decode(ContentCoding::Deflate, &bare, 100_000);
                assert_eq!(plain, Ok(text.as_bytes().to_vec()), "level {level}");
            }
        }
        // A dictionary that nobody has agreed on.
        let mut asks = zlib(b"hello world");
        (asks[0], asks[1]) = (0x78, 0xbb);
        assert_eq!(decode(ContentCoding::Deflate, &asks, 100), Err(DecodeError::Malformed));
        let reserved = frame(&[0x08, 10 << 3], &[(RAW, 0, b"")]);
        assert_eq!(decode(ContentCoding::Zstd, &reserved, 100), Err(DecodeError::Malformed));
        let asks = frame(&[0x01, 10 << 3, 7], &[(RAW, 0, b"")]);
        assert_eq!(decode(ContentCoding::Zstd, &asks, 100), Err(DecodeError::Malformed));
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
        for name in ACCEPTED.split(", ") {
            assert_eq!(coding(name).map(ContentCoding::name), Some(name));
        }
        for unknown in ["br", "gzip, gzip", "gzip, identity", "x-deflate", "zstd, gzip"] {
            assert_eq!(coding(unknown), None, "{unknown}");
        }
    }
}
