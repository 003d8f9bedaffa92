//! How a record's bytes are laid out: an event in, key and value out.
//!
//! Records are put together by hand from the literals the device sent; nothing is formatted. A
//! framing for the wire is another [`Packing`]: blocks, their coalescing and their entries only
//! know a [`Layout`].

use crate::limits::{DEVICE_ID_BYTES_MAX, RECORD_BYTES_MAX};
use crate::metric::event::{Event, Field};
use crate::store::key::KEY_PREFIX;

/// What stands around key and value; decided when a block is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Nothing: for the store in this process.
    Bare,
}

/// Where the parts of one packed record are, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The whole record, framing included.
    pub len: u16,
    /// Where the key begins.
    pub key_at: u16,
    /// Bytes of the key.
    pub key_len: u16,
    /// Where the value begins.
    pub value_at: u16,
    /// Bytes of the value.
    pub value_len: u16,
}

impl Packing {
    /// Appends the event's record to `data`; `None`, and not a byte, if it would be longer than
    /// [`RECORD_BYTES_MAX`].
    pub fn pack(self, event: &Event<'_>, data: &mut Vec<u8>) -> Option<Layout> {
        // Both lengths are known before a byte is written: a framing has to announce them.
        let key_len = key_len(event);
        let value_len = value_len(event);
        let (key_at, value_at, len) = match self {
            Self::Bare => (0, key_len, key_len + value_len),
        };
        if len > RECORD_BYTES_MAX {
            return None;
        }
        let layout = Layout {
            len: u16::try_from(len).ok()?,
            key_at: u16::try_from(key_at).ok()?,
            key_len: u16::try_from(key_len).ok()?,
            value_at: u16::try_from(value_at).ok()?,
            value_len: u16::try_from(value_len).ok()?,
        };
        let start = data.len();
        data.reserve(len);
        match self {
            Self::Bare => {
                write_key(data, event);
                write_value(data, event);
            }
        }
        debug_assert_eq!(data.len(), start + len);
        Some(layout)
    }
}

const VALUE_TIMESTAMP: &[u8] = b"{\"timestamp\":";
const VALUE_CPU: &[u8] = b",\"cpu\":";
const VALUE_RPS: &[u8] = b",\"rps\":";
const VALUE_DEVICE: &[u8] = b",\"device_id\":\"";

fn literal<'a>(event: &Event<'a>, field: Field) -> &'a str {
    event.literals.get(field.index()).copied().unwrap_or_default()
}

fn key_len(event: &Event<'_>) -> usize {
    let device = event.device_id.map_or(0, |id| id.len() + 1);
    KEY_PREFIX.len() + device + event.timestamp.len()
}

fn value_len(event: &Event<'_>) -> usize {
    let device = event.device_id.map_or(0, |id| VALUE_DEVICE.len() + id.len() + 1);
    VALUE_TIMESTAMP.len()
        + event.timestamp.len()
        + VALUE_CPU.len()
        + literal(event, Field::Cpu).len()
        + VALUE_RPS.len()
        + literal(event, Field::Rps).len()
        + device
        + 1
}

fn write_key(data: &mut Vec<u8>, event: &Event<'_>) {
    data.extend_from_slice(KEY_PREFIX);
    if let Some(id) = event.device_id {
        data.extend_from_slice(id.as_bytes());
        data.push(b':');
    }
    data.extend_from_slice(event.timestamp.as_bytes());
}

/// Writes the JSON object. Nothing needs an escape: a device id has no quote and no backslash, and
/// the rest are number literals that were decoded before.
fn write_value(data: &mut Vec<u8>, event: &Event<'_>) {
    data.extend_from_slice(VALUE_TIMESTAMP);
    data.extend_from_slice(event.timestamp.as_bytes());
    data.extend_from_slice(VALUE_CPU);
    data.extend_from_slice(literal(event, Field::Cpu).as_bytes());
    data.extend_from_slice(VALUE_RPS);
    data.extend_from_slice(literal(event, Field::Rps).as_bytes());
    if let Some(id) = event.device_id {
        debug_assert!(id.len() <= DEVICE_ID_BYTES_MAX);
        data.extend_from_slice(VALUE_DEVICE);
        data.extend_from_slice(id.as_bytes());
        data.push(b'"');
    }
    data.push(b'}');
}
