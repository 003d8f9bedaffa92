//! The bytes of an encoded state: fixed integers in little endian, and others in as many groups of
//! seven bits as they need.

use super::StateError;

/// The longest integer of variable length.
const VARINT_BYTES_MAX: usize = 10;

/// A reader of bytes that may be anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Returns the next bytes, so many.
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(StateError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Returns the next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(StateError::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Returns the next byte.
    pub(super) fn byte(&mut self) -> Result<u8, StateError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Returns the double whose bits come next.
    pub(super) fn double(&mut self) -> Result<f64, StateError> {
        self.array().map(f64::from_le_bytes)
    }

    /// Returns the next integer of variable length.
    pub(super) fn unsigned(&mut self) -> Result<u64, StateError> {
        let mut whole = 0;
        for group in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            let (bits, shift) = (u64::from(byte & 0x7f), 7 * group as u32);
            if bits << shift >> shift != bits {
                break;
            }
            whole |= bits << shift;
            if byte < 0x80 {
                return Ok(whole);
            }
        }
        Err(StateError::Malformed)
    }

    /// Returns the next integer of variable length, if it is at most this.
    pub(super) fn at_most(&mut self, max: usize) -> Result<usize, StateError> {
        let number = usize::try_from(self.unsigned()?).ok();
        number.filter(|number| *number <= max).ok_or(StateError::Malformed)
    }

    /// Returns the next signed integer of variable length.
    pub(super) fn signed(&mut self) -> Result<i64, StateError> {
        let folded = self.unsigned()?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }
}

/// Appends an integer in as many bytes as it needs.
pub(super) fn put_unsigned(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a signed integer, which needs the fewer bytes the nearer it is to 0.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_unsigned(out, (number << 1 ^ number >> 63).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_come_back(number in any::<i64>(), shift in 0..64_u32) {
            let number = number >> shift;
            let mut out = Vec::new();
            put_signed(&mut out, number);
            put_unsigned(&mut out, number.cast_unsigned());
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.signed(), Ok(number));
            prop_assert_eq!(reader.unsigned(), Ok(number.cast_unsigned()));
            prop_assert_eq!(reader.byte(), Err(StateError::Malformed));
            prop_assert!(out.len() <= 2 * VARINT_BYTES_MAX);
            for end in 0..out.len() {
                let mut reader = Reader(&out[..end]);
                prop_assert!(reader.signed().and_then(|_| reader.unsigned()).is_err());
            }
        }
    }

    #[test]
    fn an_integer_that_is_too_large_or_too_long_is_an_error() {
        let malformed = Err(StateError::Malformed);
        let with_last = |last| [&[0xff; 9][..], &[last]].concat();
        assert_eq!(Reader(&with_last(1)).unsigned(), Ok(u64::MAX));
        assert_eq!(Reader(&with_last(2)).unsigned(), malformed);
        assert_eq!(Reader(&[0x80; 11]).unsigned(), malformed);
        assert_eq!(Reader(&[8]).at_most(8), Ok(8));
        assert_eq!(Reader(&[9]).at_most(8), Err(StateError::Malformed));
    }
}
