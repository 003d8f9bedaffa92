//! Words: eight bytes of a text as one integer, the first in the lowest byte.

/// A word of ones, to be multiplied by what every byte of a word shall be.
pub(super) const EACH_BYTE: u64 = 0x0101_0101_0101_0101;

/// XOR with this turns eight digits into their values, and back.
pub(super) const ZERO_DIGITS: u64 = EACH_BYTE * b'0' as u64;

/// Loads the eight bytes from `at` on; zeros follow the last one.
#[inline(always)]
pub(super) fn load_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk().map_or_else(|| load_last_word(bytes, at), |chunk| u64::from_le_bytes(*chunk))
}

/// Does the same at an offset of 32 bits, which one comparison with the text's length checks.
#[inline(always)]
pub(super) fn word_at(bytes: &[u8], at: u32) -> u64 {
    let at = at as usize;
    let chunk = bytes.get(at..at + 8).and_then(|word| word.first_chunk());
    chunk.map_or_else(|| load_last_word(bytes, at), |chunk| u64::from_le_bytes(*chunk))
}

/// Returns the byte at `at`; zero behind the last one.
#[inline(always)]
pub(super) fn byte_at(bytes: &[u8], at: u32) -> u8 {
    bytes.get(at as usize).copied().unwrap_or(0)
}

/// Loads a word where fewer than eight bytes are left.
#[cold]
fn load_last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(chunk) = bytes.last_chunk() {
        let absent = 64 - 8 * rest.len() as u32;
        return u64::from_le_bytes(*chunk).checked_shr(absent).unwrap_or(0);
    }
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Returns a word with the top bit set of each byte that is ten or more. It is exact up to the
/// first byte that is no ASCII.
#[inline(always)]
pub(super) const fn other_bytes(values: u64) -> u64 {
    (values.wrapping_add(EACH_BYTE * 0x76) | values) & (EACH_BYTE * 0x80)
}

/// Returns the value of eight digits in the bytes of a word. Pairs of neighbours are joined three
/// times.
#[inline(always)]
pub(super) const fn eight_digits(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}
