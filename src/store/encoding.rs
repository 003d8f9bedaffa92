//! Encodings of a record for Redis: an event in, the bytes of key and value in a command out.
//!
//! Records are copied together from the literals that the device sent; nothing is formatted. Blocks
//! and their entries do not know the framing, only the [`Layout`] of a record.

use crate::limits::{
    BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX, RECORD_BYTES_MAX, RECORD_BYTES_STEP,
    STORE_PREFIX_BYTES_MAX,
};
use crate::metric::event::Event;
use crate::metric::short_text::{self, BLOCK_BYTES};
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
    /// The same with zeros behind it, if it fits.
    short_prefix: Option<[u8; BLOCK_BYTES]>,
    /// The end of a command, from `EX` on, with zeros behind it.
    end: [u8; END_BYTES_MAX],
    end_len: usize,
    record_bytes_max: usize,
}

/// The positions of the parts of a record, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        let seconds = ttl_s.to_string();
        let end = format!("\r\n$2\r\nEX\r\n${}\r\n{seconds}\r\n", seconds.len());
        Self {
            schema,
            ttl_s,
            prefix,
            short_prefix: padded(prefix.as_bytes()),
            // The longest time takes less.
            end: padded(end.as_bytes()).unwrap_or_default(),
            end_len: end.len(),
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
        let digits = itoa::Buffer::new().format(event.timestamp).len();
        let key_len = key_len(self.prefix(), event, digits);
        record_bytes(key_len, value::len(self.schema, event, digits), self.ttl_s)
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

    /// Writes the event's record to the front of `out`, where there is room for the longest record;
    /// `None` if there is not. Bytes behind the record may be overwritten.
    #[inline(always)]
    pub fn encode(&self, event: &Event<'_>, out: &mut [u8]) -> Option<Layout> {
        let usual = out.first_chunk_mut::<USUAL_BYTES>();
        match usual.and_then(|out| self.encode_to(event, out)) {
            Some(layout) => Some(layout),
            None => self.encode_unusual(event, out),
        }
    }

    /// Encodes a record that is longer than usual.
    #[cold]
    #[inline(never)]
    fn encode_unusual(&self, event: &Event<'_>, out: &mut [u8]) -> Option<Layout> {
        self.encode_to(event, out)
    }

    #[inline(always)]
    fn encode_to(&self, event: &Event<'_>, out: &mut [u8]) -> Option<Layout> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(event.timestamp).as_bytes();
        // The framing announces both lengths.
        let key_len = key_len(self.prefix(), event, digits.len());
        let value_len = value::len(self.schema, event, digits.len());
        let mut end = short_text::copy_block(SET, SET_LEN, out, 0)?;
        let key_at = write_line(key_len, out, end)?;
        end = match &self.short_prefix {
            Some(prefix) => short_text::copy_block(prefix, self.prefix.len(), out, key_at)?,
            None => short_text::copy(self.prefix(), out, key_at)?,
        };
        if let Some(id) = event.device_id {
            end = short_text::copy(id, out, end)?;
            end = short_text::copy(b":", out, end)?;
        }
        end = short_text::copy(digits, out, end)?;
        let value_at = write_line(value_len, out, end)?;
        end = value::write(self.schema, event, digits, out, value_at)?;
        debug_assert_eq!(end, value_at + value_len);
        end = short_text::copy_block(&self.end, self.end_len, out, end)?;
        debug_assert!(end + SLACK_BYTES <= self.record_bytes_max, "{event:?}");
        Some(Layout {
            len: to_u16(end),
            key_at: to_u16(key_at),
            key_len: to_u16(key_len),
            value_at: to_u16(value_at),
            value_len: to_u16(value_len),
        })
    }
}

/// Returns a text with zeros behind it, if it fits.
fn padded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut block = [0; N];
    block.get_mut(..text.len())?.copy_from_slice(text);
    Some(block)
}

/// Converts a length of a record, which fits into 16 bits: see the assertion below.
fn to_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Bytes of nearly all records, and of what is written over their end for a moment: within a
/// constant, to test if a piece has room is to compare where it begins with another constant.
const USUAL_BYTES: usize = 1024;

/// Bytes that are written behind a record for a moment: the end is a block.
const SLACK_BYTES: usize = END_BYTES_MAX;
const KEY_BYTES_MAX: usize = STORE_PREFIX_BYTES_MAX + DEVICE_ID_BYTES_MAX + 1 + TIMESTAMP_BYTES_MAX;

// Every accepted event can be stored, whatever its fields are.
const _: () = assert!(
    record_bytes(KEY_BYTES_MAX, value::BYTES_MAX, u32::MAX) + SLACK_BYTES <= RECORD_BYTES_MAX
);
const _: () = assert!(RECORD_BYTES_MAX.is_multiple_of(RECORD_BYTES_STEP));

/// Appends the `SET` command of a record that has waited, with its remaining time to live.
pub fn encode_set(key: &[u8], value: &[u8], ttl_s: u32, data: &mut Vec<u8>) {
    let (mut length, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
    data.extend_from_slice(SET.get(..SET_LEN).unwrap_or_default());
    for word in [key, value, b"EX", seconds.format(ttl_s).as_bytes()] {
        data.extend_from_slice(b"\r\n$");
        data.extend_from_slice(length.format(word.len()).as_bytes());
        data.extend_from_slice(b"\r\n");
        data.extend_from_slice(word);
    }
    data.extend_from_slice(b"\r\n");
}

/// The beginning of a command, as a block.
const SET: &[u8; BLOCK_BYTES] = b"*5\r\n$3\r\nSET\0\0\0\0\0";
const SET_LEN: usize = 11;

/// The end of a command with the longest time to live: `\r\n$2\r\nEX\r\n$10\r\n4294967295\r\n`.
const END_BYTES_MAX: usize = 32;

/// The line ahead of a word, with the end of the line before: `\r\n$76\r\n`, but for the digits.
const LINE_BYTES: usize = 5;

/// That line for each length of so many digits at most, with zeros behind.
#[expect(clippy::indexing_slicing, reason = "computed when compiled")]
static LINES: [[u8; 8]; 1000] = {
    let mut lines = [[0; 8]; 1000];
    let mut length = 0;
    while length < lines.len() {
        let [hundreds, tens, ones] = [
            b'0' + (length / 100) as u8,
            b'0' + (length / 10 % 10) as u8,
            b'0' + (length % 10) as u8,
        ];
        lines[length] = match digits(length) {
            1 => [b'\r', b'\n', b'$', ones, b'\r', b'\n', 0, 0],
            2 => [b'\r', b'\n', b'$', tens, ones, b'\r', b'\n', 0],
            _ => [b'\r', b'\n', b'$', hundreds, tens, ones, b'\r', b'\n'],
        };
        length += 1;
    }
    lines
};

/// Writes the line ahead of a word of so many bytes.
#[inline(always)]
fn write_line(length: usize, out: &mut [u8], at: usize) -> Option<usize> {
    match LINES.get(length) {
        Some(line) => {
            let digits = 1 + usize::from(length >= 10) + usize::from(length >= 100);
            short_text::copy_block(line, LINE_BYTES + digits, out, at)
        }
        None => write_long_line(length, out, at),
    }
}

/// Writes the line ahead of a word of a thousand bytes or more.
#[inline(never)]
fn write_long_line(length: usize, out: &mut [u8], at: usize) -> Option<usize> {
    let line = format!("\r\n${length}\r\n");
    short_text::copy(line.as_bytes(), out, at)
}

/// Returns the length of a record.
const fn record_bytes(key_len: usize, value_len: usize, ttl_s: u32) -> usize {
    let seconds = digits(ttl_s as usize);
    let lines = 4 * LINE_BYTES + digits(key_len) + digits(value_len) + digits(2) + digits(seconds);
    SET_LEN + lines + key_len + value_len + 2 + seconds + 2
}

/// Returns the number of decimal digits.
const fn digits(number: usize) -> usize {
    match number.checked_ilog10() {
        Some(tens) => tens as usize + 1,
        None => 1,
    }
}

fn key_len(prefix: &[u8], event: &Event<'_>, digits: usize) -> usize {
    let device = event.device_id.map_or(0, |id| id.len() + 1);
    prefix.len() + device + digits
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
                    timestamp: 17_000_000_000_000_000_000,
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
