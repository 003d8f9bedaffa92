//! Words: eight bytes of a text as one integer.

/// Loads the eight bytes from `at` on, the first into the lowest byte; zeros follow the last one.
#[inline(always)]
pub(super) fn load_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk().map_or_else(|| load_last_word(bytes, at), |chunk| u64::from_le_bytes(*chunk))
}

/// Loads a word where fewer than eight bytes are left.
fn load_last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(chunk) = bytes.last_chunk() {
        let absent = 64 - 8 * rest.len() as u32;
        return u64::from_le_bytes(*chunk).checked_shr(absent).unwrap_or(0);
    }
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
