//! Device ids: 1 to [`DEVICE_ID_BYTES_MAX`] bytes of `A-Z a-z 0-9 . _ : -`.

use crate::limits::DEVICE_ID_BYTES_MAX;

/// Returns true if these bytes are a device id.
#[inline]
pub(super) fn is_device_id(bytes: &[u8]) -> bool {
    let is_short = (1..=DEVICE_ID_BYTES_MAX).contains(&bytes.len());
    is_short && bytes.iter().all(|byte| is_device_id_byte(*byte))
}

/// Returns true if a device id may contain this byte.
#[inline]
pub(super) fn is_device_id_byte(byte: u8) -> bool {
    DEVICE_ID_BYTES.get(usize::from(byte)) == Some(&true)
}

/// The allowed bytes as a table, because every byte of every id is looked up.
const DEVICE_ID_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        #[expect(clippy::indexing_slicing, reason = "evaluated when compiled; a u8 is in range")]
        let entry = &mut allowed[byte as usize];
        *entry = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        byte += 1;
    }
    allowed
};
