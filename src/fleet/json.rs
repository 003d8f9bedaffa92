//! JSON of entries and messages.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns the JSON of a value.
pub(super) fn write(value: &impl Serialize) -> Vec<u8> {
    // Writing into memory cannot fail.
    sonic_rs::to_vec(value).unwrap_or_default()
}

/// Reads a value; `None` if it is none.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    sonic_rs::from_slice(json).ok()
}
