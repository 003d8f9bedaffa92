//! Segments of paths, which are percent-encoded (RFC 3986, section 2.1).

use percent_encoding::percent_decode_str;

use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::device_id::is_device_id;

/// Decodes a segment once, to at most so many bytes; `None` if it has more. A `%` without two
/// hexadecimal digits stays as it is.
pub(super) fn decode(segment: &str, bytes_max: usize) -> Option<Vec<u8>> {
    // One byte more tells that it is too long.
    let decoded = percent_decode_str(segment).take(bytes_max + 1).collect::<Vec<_>>();
    (decoded.len() <= bytes_max).then_some(decoded)
}

/// Decodes a device id once; `None` if it is none.
pub(super) fn decode_device_id(segment: &str) -> Option<String> {
    let id = decode(segment, DEVICE_ID_BYTES_MAX).filter(|id| is_device_id(id))?;
    String::from_utf8(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_once_and_have_a_grammar() {
        for (segment, id) in
            [("d1", "d1"), ("a%3Ab", "a:b"), ("%64%31", "d1"), ("a:b.c_d-e", "a:b.c_d-e")]
        {
            assert_eq!(decode_device_id(segment).as_deref(), Some(id));
        }
        for wrong in ["", "%", "%4", "%2561", "a%2Fb", "a b", "a+b", "%00", "%C3%A9", "{id}", "<b>"]
        {
            assert_eq!(decode_device_id(wrong), None, "{wrong}");
        }
        assert!(decode_device_id(&"%61".repeat(DEVICE_ID_BYTES_MAX)).is_some());
        assert!(decode_device_id(&"a".repeat(DEVICE_ID_BYTES_MAX + 1)).is_none());
    }
}
