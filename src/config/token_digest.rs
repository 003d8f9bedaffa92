//! The SHA-256 of a token, by which the server knows it, and randomness for new ones.

use std::fmt;
use std::hash::{Hash, Hasher};

use constant_time_eq::constant_time_eq_32;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// The SHA-256 of a token.
///
/// Two are compared in a time that tells nothing of how far they agree. Who guesses tokens cannot
/// choose their digests, but could find out by that time how a stored one begins, and then try
/// tokens at home.
#[derive(Clone, Copy, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Returns the digest of a token.
    pub fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        // It has as many bytes.
        if let Ok(sum) = digest(&SHA256, token).as_ref().try_into() {
            bytes = sum;
        }
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits; `None` if the text is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != 32 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        }
        Some(Self(bytes))
    }

    /// Returns its first bytes, by which repetitions of one wrong token are told from others.
    pub const fn first_bytes(&self) -> u32 {
        match self.0.first_chunk() {
            Some(first) => u32::from_ne_bytes(*first),
            None => 0,
        }
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq_32(&self.0, &other.0)
    }
}

/// Equal digests have equal bytes, whatever the time that tells so.
impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Not even the digest is for the log: weak tokens can be found from it.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(digest)")
    }
}

/// Returns 32 bytes of the system's randomness; `None` if it has none.
pub fn random_bytes() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_that_of_the_standard_in_either_case() {
        let digest = TokenDigest::of(b"abc");
        assert_eq!(digest.to_string(), OF_ABC);
        for text in [OF_ABC.to_owned(), OF_ABC.to_uppercase()] {
            assert!(TokenDigest::from_hex(&text) == Some(digest));
        }
        assert!(digest != TokenDigest::of(b"abd"));
        assert_eq!(digest.first_bytes(), u32::from_ne_bytes(*b"\xba\x78\x16\xbf"));
        assert_eq!(format!("{digest:?}"), "(digest)");
    }

    #[test]
    fn nothing_else_is_a_digest() {
        let other = |at: usize, by: &str| {
            let (start, end) = OF_ABC.split_at(at);
            format!("{start}{by}{}", end.split_at(1).1)
        };
        let [shorter, short] = [1, 2].map(|at| OF_ABC.split_at(at).1);
        let wrong = ["", "ba", shorter, short, &format!("{OF_ABC}00"), &other(7, "g")];
        for wrong in
            wrong.into_iter().chain([&*other(63, "+"), &other(0, " "), &other(1, "\u{e9}")])
        {
            assert!(TokenDigest::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn randomness_does_not_repeat() {
        assert_ne!(random_bytes().unwrap(), random_bytes().unwrap());
    }
}
