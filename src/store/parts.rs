//! Parts: an event as the memory store keeps it.
//!
//! Only what differs from one event to the next is kept: a header of 19 bytes, the device id, and
//! each present field's literal with a byte for its length. Key and value are put together when
//! they are asked for, which few are.

use crate::limits::{DEVICE_ID_BYTES_MAX, FIELDS_MAX, NUMBER_BYTES_MAX};
use crate::metric::event::{Event, Literals};
use crate::metric::short_text::{self, BLOCK_BYTES};
use crate::schema::{FieldSet, Schema};
use crate::store::key::Key;
use crate::store::value;

/// The time of entry in ticks and the link (32 bits each), the timestamp (64 bits), the fields that
/// are present (16 bits) and the length of the device id (8 bits).
const HEADER_BYTES: usize = 19;

/// Bytes that nearly all parts fit into, with what is written over their end.
pub(super) const USUAL_BYTES: usize = 256;

/// Bytes of the longest parts, with what is written over their end for a moment.
pub(super) const PARTS_BYTES_MAX: usize =
    HEADER_BYTES + DEVICE_ID_BYTES_MAX + FIELDS_MAX * (1 + NUMBER_BYTES_MAX) + BLOCK_BYTES;

// A length takes a byte.
const _: () = assert!(DEVICE_ID_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(NUMBER_BYTES_MAX <= u8::MAX as usize);

/// The parts of a stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The time of entry.
    pub(super) ticks: u32,
    /// The record before this one in its slot of the index, as the index has it.
    pub(super) link: u32,
    /// Timestamp and device.
    pub(super) key: Key<'a>,
    present: FieldSet,
    /// The literals in the order of the schema, each behind its length.
    literals: &'a [u8],
}

/// Writes the parts of an event to the front of `out`. Returns their length; `None` if they do not
/// fit, and then anything may have been written. Bytes behind the parts may be overwritten.
#[inline(always)]
pub(super) fn write(ticks: u32, link: u32, event: &Event<'_>, out: &mut [u8]) -> Option<usize> {
    let device_id = event.device_id.unwrap_or_default();
    let id_len = u32::from(u8::try_from(device_id.len()).ok()?);
    let [first, second, third] = out.first_chunk_mut::<24>()?.as_chunks_mut().0 else {
        return None;
    };
    *first = (u64::from(ticks) | u64::from(link) << 32).to_le_bytes();
    *second = event.timestamp.to_le_bytes();
    *third = u64::from(u32::from(event.present.bits()) | id_len << 16).to_le_bytes();
    let mut end = short_text::copy(device_id, out, HEADER_BYTES)?;
    for field in event.present.indexes() {
        end = event.literals.copy_counted(field, out, end)?;
    }
    Some(end)
}

impl<'a> Parts<'a> {
    /// Reads the parts at the front of `data`.
    #[inline(always)]
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        let (ticks, rest) = data.split_first_chunk()?;
        let (link, rest) = rest.split_first_chunk()?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        let (present, rest) = rest.split_first_chunk()?;
        let (id_len, rest) = rest.split_first()?;
        let (device_id, literals) = rest.split_at_checked(usize::from(*id_len))?;
        Some(Self {
            ticks: u32::from_le_bytes(*ticks),
            link: u32::from_le_bytes(*link),
            key: Key { device_id, timestamp: u64::from_le_bytes(*timestamp) },
            present: FieldSet::from_bits(u16::from_le_bytes(*present)),
            literals,
        })
    }

    /// Appends the stored value, a JSON object.
    pub(super) fn write_value(&self, schema: &'static Schema, out: &mut Vec<u8>) {
        let mut literals = [[].as_slice(); FIELDS_MAX];
        let mut rest = self.literals;
        for field in self.present.indexes() {
            let Some((len, behind)) = rest.split_first() else { break };
            let Some((literal, behind)) = behind.split_at_checked(usize::from(*len)) else { break };
            if let Some(place) = literals.get_mut(field) {
                *place = literal;
            }
            rest = behind;
        }
        let event = Event {
            device_id: Some(self.key.device_id).filter(|id| !id.is_empty()),
            timestamp: self.key.timestamp,
            present: self.present,
            literals: Literals::Given(&literals),
            ..Event::default()
        };
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(event.timestamp).as_bytes();
        let at = out.len();
        let end = at + value::len(schema, &event, digits.len());
        out.resize(end + BLOCK_BYTES, 0);
        let written = value::write(schema, &event, digits, out, at);
        debug_assert_eq!(written, Some(end));
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SEGMENT_BYTES_MIN;
    use crate::schema::samples;
    use crate::store::encoding::Encoding;
    use crate::store::key::KEY_PREFIX;

    const LITERALS: [&[u8]; 6] =
        [b"1", b"4.15", b"0.1234567", b"1.50000000000000", b"12345678901234567", &[b'7'; 128]];
    const DEVICES: [Option<&str>; 5] =
        [None, Some("d"), Some("dev:7"), Some("device-1234567"), Some("a.device.with.a.long.name")];

    /// The value that an encoding writes, which is that of Redis.
    fn encoded(schema: &'static Schema, event: &Event<'_>) -> (Vec<u8>, Vec<u8>) {
        let encoding = Encoding::redis_set(schema, 300, KEY_PREFIX);
        let mut data = vec![0; encoding.record_bytes_max()];
        let layout = encoding.encode(event, &mut data).unwrap();
        let part = |at: u16, len: u16| data[usize::from(at)..][..usize::from(len)].to_vec();
        (part(layout.key_at, layout.key_len), part(layout.value_at, layout.value_len))
    }

    #[test]
    fn what_is_read_is_what_was_written_in_any_room_that_suffices() {
        for schema in samples::all() {
            for (number, device) in (0..60_u64).zip(DEVICES.into_iter().cycle()) {
                let literals: Vec<_> =
                    (0..16).map(|field| LITERALS[(number as usize + field) % 6]).collect();
                let event = Event {
                    device_id: device.map(str::as_bytes),
                    timestamp: 1_700_000_000 * number.pow(4),
                    present: samples::fields_of(schema, number * 1021),
                    literals: Literals::Given(&literals),
                    ..Event::default()
                };
                let (full_key, value) = encoded(schema, &event);
                let key = Key::parse(&full_key).unwrap();
                assert_eq!(key, Key::of(&event));
                let mut room = vec![0xFF; PARTS_BYTES_MAX];
                let len = write(42, 17, &event, &mut room).unwrap();
                let parts = Parts::read(&room).unwrap();
                assert_eq!((parts.ticks, parts.link, parts.key), (42, 17, key));
                let mut out = b"before".to_vec();
                parts.write_value(schema, &mut out);
                assert_eq!(out, [b"before", value.as_slice()].concat());
                for short in 0..len {
                    assert_eq!(write(42, 17, &event, &mut vec![0; short]), None, "{short}");
                    // The parts of a record that was cut off are no reason to panic.
                    if let Some(parts) = Parts::read(&room[..short]) {
                        parts.write_value(schema, &mut Vec::new());
                    }
                }
            }
        }
    }

    #[test]
    fn the_longest_event_fits() {
        let schema = samples::sixteen();
        let id = [b'x'; DEVICE_ID_BYTES_MAX];
        let event = Event {
            device_id: Some(&id),
            timestamp: u64::MAX,
            present: samples::all_fields(schema),
            literals: Literals::Given(&[[b'1'; NUMBER_BYTES_MAX].as_slice(); FIELDS_MAX]),
            ..Event::default()
        };
        let len = write(0, 0, &event, &mut [0; SEGMENT_BYTES_MIN]).unwrap();
        assert_eq!(len + BLOCK_BYTES, PARTS_BYTES_MAX);
    }
}
