//! Encodings of a record for Redis: an event in, the bytes of key and value in a command out.
//!
//! Records are copied together from the literals that the device sent; nothing is formatted. Blocks
//! and their entries do not know the framing, only the [`Layout`] of a record.

use crate::limits::{
    BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX, RECORD_BYTES_MAX, RECORD_BYTES_STEP,
    STORE_PREFIX_BYTES_MAX,
};
use crate::metric::event::Event;
use crate::metric::short_text;
use crate::schema::Schema;
use crate::store::value::{self, TIMESTAMP_BYTES_MAX};

/// The encoding of a block's records: what they contain, and the framing around key and value,
/// which is a command: `SET key value EX seconds`, as an array of bulk strings (RESP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    schema: &'static Schema,
    /// The time to live.
    ttl_s: u32,
    /// The prefix of keys.
    prefix: &'static str,
    record_bytes_max: usize,
}

/// The positions of the parts of a record, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the whole record, framing included.
    pub len: u16,
    /// The start of the key.
    pub key_at: u16,
    /// Bytes of the key.
    pub key_len: u16,
    /// The start of the value.
    pub value_at: u16,
    /// Bytes of the value.
    pub value_len: u16,
}

impl Encoding {
    /// Returns the encoding with a time to live and a prefix of keys.
    pub fn redis_set(schema: &'static Schema, ttl_s: u32, prefix: &'static str) -> Self {
        let (_, longest) = value::bytes_min_and_max(schema);
        // As if with the longest prefix and time, so that a setting does not change it.
        let record_bytes_max = record_bytes(KEY_BYTES_MAX, longest, u32::MAX) + SLACK_BYTES;
        Self {
            schema,
            ttl_s,
            prefix,
            record_bytes_max: record_bytes_max.next_multiple_of(RECORD_BYTES_STEP),
        }
    }

    /// Returns the prefix of keys.
    #[inline]
    const fn prefix(&self) -> &'static [u8] {
        self.prefix.as_bytes()
    }

    /// Returns the key with its prefix.
    pub fn full_key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix(), key].concat()
    }

    /// Returns true if `value` is one that an event with this key has. Redis may hold any value
    /// under it: one of another program, or of a server with other fields.
    pub fn is_value_of(&self, key: &[u8], value: &[u8]) -> bool {
        let key = key.strip_prefix(self.prefix()).unwrap_or(key);
        value::is_value_of(self.schema, key, value)
    }

    /// Returns the bytes of the shortest record: one digit for each number, no device.
    pub fn record_bytes_min(&self) -> usize {
        let (shortest, _) = value::bytes_min_and_max(self.schema);
        record_bytes(self.prefix().len() + 1, shortest, self.ttl_s)
    }

    /// Returns the bytes of the event's record.
    pub fn record_bytes(&self, event: &Event<'_>) -> usize {
        let key_len = key_len(self.prefix(), event);
        record_bytes(key_len, value::len(self.schema, event), self.ttl_s)
    }

    /// Returns the bytes that the longest record of an event takes, and what is written over its
    /// end for a moment: a multiple of [`RECORD_BYTES_STEP`].
    pub const fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    /// Returns the most bytes that the records of a request can take whose body has `body_bytes`: a
    /// record has the device id and the timestamp twice, and the names around them may be longer
    /// than those that were sent, or not have been sent with each event.
    pub fn request_bytes_max(&self, body_bytes: usize, prefix_bytes: usize) -> usize {
        let around = record_bytes(prefix_bytes + 1, value::bytes_around(self.schema), u32::MAX)
            // A timestamp that was not sent, or in another form, and longer lengths.
            + 2 * TIMESTAMP_BYTES_MAX
            + 2 * 4;
        let by_body = 2 * body_bytes + BATCH_EVENTS_MAX * around;
        let by_events = BATCH_EVENTS_MAX * self.record_bytes_max;
        by_body.min(by_events)
    }

    /// Appends the event's record to `data`.
    pub fn encode(&self, event: &Event<'_>, data: &mut Vec<u8>) -> Layout {
        data.reserve(self.record_bytes_max);
        let start = data.len();
        let prefix = self.prefix();
        // The framing announces both lengths.
        let (key_len, value_len) = (key_len(prefix, event), value::len(self.schema, event));
        let key = |data: &mut Vec<u8>| write_key(data, prefix, event);
        let value = |data: &mut Vec<u8>| value::write(self.schema, event, data);
        write_set(data, (key_len, key), (value_len, value), self.ttl_s);
        let (key_at, value_at, len) = set_layout(key_len, value_len, self.ttl_s);
        debug_assert_eq!(data.len(), start + len);
        debug_assert!(len + SLACK_BYTES <= self.record_bytes_max, "{event:?}");
        Layout {
            len: to_u16(len),
            key_at: to_u16(key_at),
            key_len: to_u16(key_len),
            value_at: to_u16(value_at),
            value_len: to_u16(value_len),
        }
    }
}

/// Converts a length of a record, which fits into 16 bits: see the assertion below.
fn to_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Bytes that are written behind a record for a moment, by [`short_text`].
const SLACK_BYTES: usize = short_text::BLOCK_BYTES;
const KEY_BYTES_MAX: usize = STORE_PREFIX_BYTES_MAX + DEVICE_ID_BYTES_MAX + 1 + TIMESTAMP_BYTES_MAX;

// Every accepted event can be stored, whatever its fields are.
const _: () = assert!(
    record_bytes(KEY_BYTES_MAX, value::BYTES_MAX, u32::MAX) + SLACK_BYTES <= RECORD_BYTES_MAX
);
const _: () = assert!(RECORD_BYTES_MAX.is_multiple_of(RECORD_BYTES_STEP));

/// Returns the length of a record.
const fn record_bytes(key_len: usize, value_len: usize, ttl_s: u32) -> usize {
    set_layout(key_len, value_len, ttl_s).2
}

/// Appends the `SET` command of a record, such as one that has waited, with its remaining time to
/// live.
pub fn encode_set(key: &[u8], value: &[u8], ttl_s: u32, data: &mut Vec<u8>) {
    let whole = |bytes| move |data: &mut Vec<u8>| data.extend_from_slice(bytes);
    write_set(data, (key.len(), whole(key)), (value.len(), whole(value)), ttl_s);
}

const SET_KEY: &[u8] = b"*5\r\n$3\r\nSET\r\n$";
const SET_VALUE: &[u8] = b"\r\n$";
const SET_EX: &[u8] = b"\r\n$2\r\nEX\r\n$";
const LINE_END: &[u8] = b"\r\n";

/// Returns the starts of key and value in a `SET` command, and the length of the command.
const fn set_layout(key_len: usize, value_len: usize, ttl_s: u32) -> (usize, usize, usize) {
    let ttl_len = digits(ttl_s as usize);
    let key_at = SET_KEY.len() + digits(key_len) + LINE_END.len();
    let value_at = key_at + key_len + SET_VALUE.len() + digits(value_len) + LINE_END.len();
    let ttl_at = value_at + value_len + SET_EX.len() + digits(ttl_len) + LINE_END.len();
    (key_at, value_at, ttl_at + ttl_len + LINE_END.len())
}

/// Appends a `SET` command. Key and value are given by their length and the function that writes
/// them.
fn write_set(
    data: &mut Vec<u8>,
    (key_len, key): (usize, impl FnOnce(&mut Vec<u8>)),
    (value_len, value): (usize, impl FnOnce(&mut Vec<u8>)),
    ttl_s: u32,
) {
    let line = |data: &mut Vec<u8>, number: usize| {
        data.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        data.extend_from_slice(LINE_END);
    };
    data.extend_from_slice(SET_KEY);
    line(data, key_len);
    key(data);
    data.extend_from_slice(SET_VALUE);
    line(data, value_len);
    value(data);
    data.extend_from_slice(SET_EX);
    line(data, digits(ttl_s as usize));
    line(data, ttl_s as usize);
}

/// Returns the number of decimal digits.
const fn digits(number: usize) -> usize {
    match number.checked_ilog10() {
        Some(tens) => tens as usize + 1,
        None => 1,
    }
}

fn key_len(prefix: &[u8], event: &Event<'_>) -> usize {
    let device = event.device_id.map_or(0, |id| id.len() + 1);
    prefix.len() + device + event.timestamp.len()
}

#[inline(always)]
fn write_key(data: &mut Vec<u8>, prefix: &[u8], event: &Event<'_>) {
    data.extend_from_slice(prefix);
    if let Some(id) = event.device_id {
        data.extend_from_slice(id);
        data.push(b':');
    }
    data.extend_from_slice(event.timestamp);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BODY_BYTES_MAX;
    use crate::metric::event::Literals;
    use crate::schema::samples;

    /// The request that grows most is one of events as short as can be, with a long device id; or
    /// of a table, whose names stand in its first row alone.
    #[test]
    fn no_request_packs_to_more_than_is_reckoned_with() {
        let prefix = "metric:";
        for schema in samples::all() {
            let encoding = Encoding::redis_set(schema, u32::MAX, prefix);
            let all = schema.fields().iter();
            let names =
                all.map(|field| format!("{}:1", str::from_utf8(field.json_prefix()).unwrap()));
            let sent_names = names.collect::<String>().replace("::", ":");
            for (id_len, time) in [1, DEVICE_ID_BYTES_MAX].into_iter().zip(["", "1700000000"]) {
                let id = "x".repeat(id_len);
                let event = Event {
                    device_id: Some(id.as_bytes()),
                    timestamp: b"17000000000000000000",
                    present: samples::all_fields(schema),
                    literals: Literals::Given(&[b"1".as_slice(); 16]),
                    ..Event::default()
                };
                let encoded = encoding.record_bytes(&event) * BATCH_EVENTS_MAX;
                let object =
                    format!("{{\"device_id\":\"{id}\"{sent_names},\"timestamp\":{time}}}\n");
                let row = format!("{id}{},{time}\n", ",1".repeat(schema.fields().len()));
                for item in [object, row] {
                    let body_bytes = item.len() * BATCH_EVENTS_MAX;
                    let most = encoding.request_bytes_max(body_bytes, prefix.len());
                    assert!(encoded <= most, "{encoded} of {most}");
                }
            }
            let largest = encoding.request_bytes_max(BODY_BYTES_MAX, prefix.len());
            assert_eq!(largest, BATCH_EVENTS_MAX * encoding.record_bytes_max());
        }
    }

    #[test]
    fn the_standard_fields_take_the_memory_of_one_step() {
        let bytes = |schema| Encoding::redis_set(schema, 300, "metric:").record_bytes_max();
        assert_eq!(bytes(Schema::standard()), RECORD_BYTES_STEP);
        assert_eq!(bytes(samples::sixteen()), RECORD_BYTES_MAX);
    }
}
