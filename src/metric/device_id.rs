//! Device ids: 1 to [`DEVICE_ID_BYTES_MAX`] bytes of `A-Z a-z 0-9 . _ : -`.

use std::cell::Cell;

use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::word::{EACH_BYTE, byte_at, word_at};

/// Returns true if these bytes are a device id.
#[inline(always)]
#[must_use]
pub fn is_device_id(bytes: &[u8]) -> bool {
    if let 8..=16 = bytes.len()
        && let Some(first) = bytes.first_chunk::<8>()
        && let Some(last) = bytes.last_chunk::<8>()
    {
        // The two overlap, or meet.
        return are_id_bytes(first) & are_id_bytes(last);
    }
    is_unusual_device_id(bytes)
}

/// Returns true if these bytes are a device id, whatever their number.
#[inline(never)]
fn is_unusual_device_id(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    (1..=DEVICE_ID_BYTES_MAX).contains(&bytes.len())
        && blocks.iter().all(are_id_bytes)
        && rest.iter().all(|byte| are_id_bytes(&[*byte]))
}

/// Returns true if a device id may contain these bytes. There is no branch and no table, so that
/// the compiler looks at all of them at once.
#[inline(always)]
fn are_id_bytes<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.iter().fold(true, |all, byte| {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // The colon is the byte behind the nine.
        let is_digit_or_colon = byte.wrapping_sub(b'0') <= 10;
        let is_minus_or_point = byte.wrapping_sub(b'-') < 2;
        all & (is_letter | is_digit_or_colon | is_minus_or_point | (*byte == b'_'))
    })
}

/// Returns the end of the device id that begins at `at`, where a byte is that ends it in JSON and
/// in line protocol: a quote, a comma, a space, or none at all. `usual_bytes` is the length of the
/// last one. This one likely has it as well, so that nothing that follows waits for the end to be
/// found.
#[inline(always)]
pub(super) fn scan_device_id(text: &[u8], at: u32, usual_bytes: &Cell<u32>) -> Option<u32> {
    let usual_end = at + usual_bytes.get();
    if byte_at(text, usual_end) < b'-'
        && let Some(id) = text.get(at as usize..usual_end as usize)
        && is_device_id(id)
    {
        return Some(usual_end);
    }
    let end = device_id_end(text, at);
    usual_bytes.set(end - at);
    text.get(at as usize..end as usize).is_some_and(is_device_id).then_some(end)
}

/// Returns the first byte from `at` on that is less than every byte of a device id.
#[inline(never)]
fn device_id_end(text: &[u8], mut at: u32) -> u32 {
    loop {
        let low = bytes_below_minus(word_at(text, at));
        if low != 0 {
            return at + low.trailing_zeros() / 8;
        }
        at += 8;
    }
}

/// Returns a word with the top bit of the first byte set that is less than every byte of an id. The
/// least of those is the minus.
#[inline(always)]
const fn bytes_below_minus(word: u64) -> u64 {
    // The difference borrows from the bytes behind the first one.
    word.wrapping_sub(EACH_BYTE * b'-' as u64) & !word & (EACH_BYTE * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(bytes: &[u8]) -> bool {
        let is_allowed =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        (1..=128).contains(&bytes.len()) && bytes.iter().all(is_allowed)
    }

    #[test]
    fn an_id_is_one_at_any_length_and_with_any_byte() {
        for len in 0..=140 {
            let good: Vec<u8> = (0..len).map(|at| b"aZ09._:-"[at % 8]).collect();
            assert_eq!(is_device_id(&good), naive(&good), "{len}");
            for at in 0..len.min(34) {
                for byte in 0..=u8::MAX {
                    let mut bytes = good.clone();
                    bytes[at] = byte;
                    assert_eq!(is_device_id(&bytes), naive(&bytes), "{byte} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn the_end_of_an_id_is_found_whatever_the_last_one_was() {
        let bytes = Cell::new(0);
        for len in [11, 11, 3, 40, 8, 128, 1, 16, 17, 9] {
            for end in ["\"", ",", " ", ""] {
                let text = format!("\"{}{end}-", "x".repeat(len as usize));
                let text = text.strip_suffix(if end.is_empty() { "-" } else { "" }).unwrap();
                assert_eq!(scan_device_id(text.as_bytes(), 1, &bytes), Some(1 + len), "{text}");
                assert_eq!(bytes.get(), len);
            }
        }
        for usual in [0, 1, 4, 5, 9] {
            for wrong in ["", "\"", "abc/d\"", "ab\u{e9}\"", "abcd\u{0}efg\\\"", "a=b,"] {
                let bytes = Cell::new(usual);
                let found = scan_device_id(wrong.as_bytes(), 0, &bytes);
                let end = wrong.find(['"', '\0', ',']).unwrap_or(wrong.len());
                let expected = naive(&wrong.as_bytes()[..end]).then_some(end as u32);
                assert_eq!(found, expected, "{wrong}");
            }
        }
    }
}
