//! Keys of stored metrics: `<timestamp>` or `<device_id>:<timestamp>`.

use super::device_id::is_device_id;

/// Digits of the longest timestamp.
const TIMESTAMP_BYTES_MAX: usize = 20;

/// Returns the device id in a key, if there is one, and the timestamp. A device id may contain
/// colons itself, so the last colon separates.
#[must_use]
pub fn split(key: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match key.iter().rposition(|byte| *byte == b':') {
        Some(at) => (key.get(..at), key.get(at + 1..).unwrap_or_default()),
        None => (None, key),
    }
}

/// Returns the integer of a key's timestamp; `None` if it is not written as events have it, without
/// a zero before it.
#[must_use]
pub fn timestamp(digits: &[u8]) -> Option<u64> {
    let is_canonical = digits.first() != Some(&b'0') || digits.len() == 1;
    let digits = if is_canonical { std::str::from_utf8(digits).ok() } else { None };
    digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Returns true if a metric may be stored under this key.
#[must_use]
pub fn is_key(key: &[u8]) -> bool {
    let (device, timestamp) = split(key);
    let is_timestamp = (1..=TIMESTAMP_BYTES_MAX).contains(&timestamp.len())
        && timestamp.iter().all(u8::is_ascii_digit);
    is_timestamp && device.is_none_or(is_device_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DEVICE_ID_BYTES_MAX;

    #[test]
    fn a_timestamp_has_one_notation() {
        for integer in [0, 7, 1_700_000_000, u64::MAX] {
            assert_eq!(timestamp(integer.to_string().as_bytes()), Some(integer));
        }
        for none in ["", "00", "07", "+7", "-7", "7.0", "7 ", "18446744073709551616", "x", "\u{e9}"]
        {
            assert_eq!(timestamp(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn keys_have_a_form() {
        let longest = format!("{}:{}", "d".repeat(DEVICE_ID_BYTES_MAX), u64::MAX);
        for key in ["1", "1700000000", "d1:1700000000", "a:b:1", "1:2", "a.b_c-d::0", &longest] {
            assert!(is_key(key.as_bytes()), "{key}");
        }
        let longer = format!("d{longest}");
        for none in [
            "",
            ":",
            "d1",
            "d1:",
            ":1",
            "{a}",
            "{a}:1",
            "d1:-1",
            "d1:1.5",
            "d 1:1",
            "*",
            "d1:1\n",
            "\u{e9}:1",
            "123456789012345678901",
            &longer,
        ] {
            assert!(!is_key(none.as_bytes()), "{none}");
        }
    }
}
