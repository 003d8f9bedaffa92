//! Device ids as rejections show them.

use std::fmt;

/// The bytes of an id that are shown.
const SHOWN_BYTES: usize = 30;

/// The start of a device id as a rejection shows it: a long one would make every rejection longer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShownId {
    bytes: [u8; SHOWN_BYTES],
    /// The length of the id; more than there are bytes if it is cut.
    len: u8,
}

impl ShownId {
    /// Returns what is shown of an id.
    pub(super) fn of(id: &[u8]) -> Self {
        let mut bytes = [0; SHOWN_BYTES];
        bytes.iter_mut().zip(id).for_each(|(place, byte)| *place = *byte);
        Self { bytes, len: u8::try_from(id.len()).unwrap_or(u8::MAX) }
    }
}

impl fmt::Display for ShownId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes);
        out.write_str(std::str::from_utf8(shown).unwrap_or_default())?;
        if usize::from(self.len) > SHOWN_BYTES { out.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for ShownId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
