//! Encodings of a record: an event in, the bytes of key and value out.
//!
//! Records are copied together from the literals that the device sent; nothing is formatted. A
//! [`Encoding`] may add the framing of a protocol: blocks and their entries only know the
//! [`Layout`] of a record.

use crate::limits::{
    BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX, NUMBER_BYTES_MAX, RECORD_BYTES_MAX,
    STORE_PREFIX_BYTES_MAX,
};
use crate::metric::event::Event;
use crate::schema::Schema;
use crate::store::key::KEY_PREFIX;

/// The framing around key and value; a block has one for all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// None: for the store in this process.
    Plain,
    /// A Redis command: `SET key value EX seconds`, as an array of bulk strings (RESP).
    RedisSet {
        /// The time to live.
        ttl_s: u32,
        /// The prefix of keys.
        prefix: &'static str,
    },
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
    /// Returns the prefix of keys.
    #[inline]
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Plain => KEY_PREFIX.as_bytes(),
            Self::RedisSet { prefix, .. } => prefix.as_bytes(),
        }
    }

    /// Returns the key with its prefix.
    pub fn full_key(self, key: &[u8]) -> Vec<u8> {
        [self.prefix(), key].concat()
    }

    /// Returns the key without its prefix.
    pub fn key_without_prefix(self, key: &[u8]) -> &[u8] {
        key.strip_prefix(self.prefix()).unwrap_or(key)
    }

    /// Returns the bytes of the shortest record: one digit for each number, no device.
    pub const fn record_bytes_min(self) -> usize {
        self.positions(self.prefix().len() + 1, VALUE_BYTES_MIN).2
    }

    /// Returns the bytes of the event's record.
    pub fn record_bytes(self, event: &Event<'_>) -> usize {
        self.positions(key_len(self.prefix(), event), value_len(event)).2
    }

    /// Returns the bytes of the longest record of an event that the decoder accepts.
    const fn record_bytes_max(self) -> usize {
        let value_len = VALUE_BYTES_MIN - 4
            + (TIMESTAMP_BYTES_MAX + 2 * NUMBER_BYTES_MAX + 1)
            + (VALUE_DEVICE.len() + DEVICE_ID_BYTES_MAX + 1);
        self.positions(KEY_BYTES_MAX, value_len).2
    }

    /// Returns the starts of key and value in a record, and the length of the record.
    #[inline]
    const fn positions(self, key_len: usize, value_len: usize) -> (usize, usize, usize) {
        match self {
            Self::Plain => (0, key_len, key_len + value_len),
            Self::RedisSet { ttl_s, .. } => set_layout(key_len, value_len, ttl_s),
        }
    }

    /// Appends the event's record to `data`.
    pub fn encode(self, event: &Event<'_>, data: &mut Vec<u8>) -> Layout {
        // Both lengths are needed before the first byte: the framing announces them.
        let prefix = self.prefix();
        let key_len = key_len(prefix, event);
        let value_len = value_len(event);
        let (key_at, value_at, len) = self.positions(key_len, value_len);
        debug_assert!(len <= RECORD_BYTES_MAX, "{event:?}");
        let layout = Layout {
            len: to_u16(len),
            key_at: to_u16(key_at),
            key_len: to_u16(key_len),
            value_at: to_u16(value_at),
            value_len: to_u16(value_len),
        };
        let start = data.len();
        data.reserve(len);
        match self {
            Self::Plain => {
                // A constant prefix is copied without a call.
                write_key(data, KEY_PREFIX.as_bytes(), event);
                write_value(data, event);
            }
            Self::RedisSet { ttl_s, .. } => {
                let key = |data: &mut Vec<u8>| write_key(data, prefix, event);
                let value = |data: &mut Vec<u8>| write_value(data, event);
                write_set(data, (key_len, key), (value_len, value), ttl_s);
            }
        }
        debug_assert_eq!(data.len(), start + len);
        layout
    }
}

/// Converts a length of a record, which fits into 16 bits: see the assertion below.
fn to_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Digits of a timestamp, an integer under 2^64.
const TIMESTAMP_BYTES_MAX: usize = 20;
const KEY_BYTES_MAX: usize = STORE_PREFIX_BYTES_MAX + DEVICE_ID_BYTES_MAX + 1 + TIMESTAMP_BYTES_MAX;

// Every accepted event can be stored, in either encoding.
const _: () = assert!(Encoding::Plain.record_bytes_max() <= RECORD_BYTES_MAX);
const LONGEST: Encoding = Encoding::RedisSet { ttl_s: u32::MAX, prefix: "" };
const _: () = assert!(LONGEST.record_bytes_max() <= RECORD_BYTES_MAX);

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

const VALUE_TIMESTAMP: &[u8] = b"{\"timestamp\":";
const VALUE_CPU: &[u8] = b",\"cpu\":";
const VALUE_RPS: &[u8] = b",\"rps\":";
const VALUE_DEVICE: &[u8] = b",\"device_id\":\"";

const VALUE_BYTES_MIN: usize = VALUE_TIMESTAMP.len() + VALUE_CPU.len() + VALUE_RPS.len() + 4;

fn literal<'a>(event: &Event<'a>, field: usize) -> &'a [u8] {
    Schema::standard().field(field).map_or(&[], |field| event.literal(field))
}

fn key_len(prefix: &[u8], event: &Event<'_>) -> usize {
    let device = event.device_id.map_or(0, |id| id.len() + 1);
    prefix.len() + device + event.timestamp.len()
}

fn value_len(event: &Event<'_>) -> usize {
    let device = event.device_id.map_or(0, |id| VALUE_DEVICE.len() + id.len() + 1);
    VALUE_TIMESTAMP.len()
        + event.timestamp.len()
        + VALUE_CPU.len()
        + literal(event, 0).len()
        + VALUE_RPS.len()
        + literal(event, 1).len()
        + device
        + 1
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

/// Appends the JSON object. Nothing needs an escape: a device id has no quote and no backslash, and
/// the rest are number literals that were decoded before.
fn write_value(data: &mut Vec<u8>, event: &Event<'_>) {
    data.extend_from_slice(VALUE_TIMESTAMP);
    data.extend_from_slice(event.timestamp);
    data.extend_from_slice(VALUE_CPU);
    data.extend_from_slice(literal(event, 0));
    data.extend_from_slice(VALUE_RPS);
    data.extend_from_slice(literal(event, 1));
    if let Some(id) = event.device_id {
        debug_assert!(id.len() <= DEVICE_ID_BYTES_MAX);
        data.extend_from_slice(VALUE_DEVICE);
        data.extend_from_slice(id);
        data.push(b'"');
    }
    data.push(b'}');
}

/// Returns true if `value` is the value of an event with this key, given without its prefix. Redis
/// may hold any value under such a key.
pub fn is_value_of(key: &[u8], value: &[u8]) -> bool {
    let colon = key.iter().rposition(|byte| *byte == b':');
    let (device, timestamp) = match colon {
        Some(at) => (key.get(..at), key.get(at + 1..).unwrap_or_default()),
        None => (None, key),
    };
    let rest = value.strip_prefix(VALUE_TIMESTAMP).and_then(|rest| rest.strip_prefix(timestamp));
    let rest = rest.and_then(|rest| rest.strip_prefix(VALUE_CPU)).and_then(skip_number);
    let rest = rest.and_then(|rest| rest.strip_prefix(VALUE_RPS)).and_then(skip_number);
    let rest = rest.and_then(|rest| match device {
        Some(id) => {
            rest.strip_prefix(VALUE_DEVICE)?.strip_prefix(id)?.strip_prefix(b"\"".as_slice())
        }
        None => Some(rest),
    });
    rest == Some(b"}")
}

/// Returns the text behind a number; `None` if it does not begin with one.
fn skip_number(text: &[u8]) -> Option<&[u8]> {
    let is_part =
        |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let len = text.iter().take_while(|byte| is_part(byte)).count();
    text.get(len..).filter(|_| (1..=NUMBER_BYTES_MAX).contains(&len))
}

/// Returns the most bytes that the records of a request can take whose body has `body_bytes`: a
/// record has the device id and the timestamp twice, and the names around them may be longer than
/// those that were sent.
pub const fn request_bytes_max(body_bytes: usize, prefix_bytes: usize) -> usize {
    let around = set_layout(prefix_bytes + 1, VALUE_BYTES_MIN, u32::MAX).2
        + VALUE_DEVICE.len()
        // A timestamp that was not sent, or in another form, and longer lengths.
        + 2 * 20
        + 2 * 4;
    let by_body = 2 * body_bytes + BATCH_EVENTS_MAX * around;
    let by_events = BATCH_EVENTS_MAX * RECORD_BYTES_MAX;
    if by_body < by_events { by_body } else { by_events }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BODY_BYTES_MAX;
    use crate::metric::event::Literals;
    use crate::schema::FieldSet;

    #[test]
    fn a_value_is_known_by_its_key() {
        let encoded = |id: Option<&'static str>, literals: [&'static str; 2]| {
            let event = Event {
                device_id: id.map(str::as_bytes),
                timestamp: b"1700000000",
                present: FieldSet::from_bits(3),
                literals: Literals::Given(&literals.map(str::as_bytes)),
                ..Event::default()
            };
            let mut data = Vec::new();
            let layout = Encoding::Plain.encode(&event, &mut data);
            let (key, value) = data.split_at(usize::from(layout.value_at));
            (Encoding::Plain.key_without_prefix(key).to_vec(), value.to_vec())
        };
        for literals in [["1", "2"], ["-0.5e-7", "1E+9"]] {
            for id in [None, Some("d1"), Some("a:b:7")] {
                let (key, value) = encoded(id, literals);
                assert!(is_value_of(&key, &value), "{key:?}");
                for end in 0..value.len() {
                    assert!(!is_value_of(&key, &value[..end]), "{key:?} {end}");
                }
                assert!(!is_value_of(b"d2:1700000000", &value) && !is_value_of(b"1", &value));
            }
        }
        let (key, _) = encoded(Some("d1"), ["1", "2"]);
        for foreign in [
            "",
            "secret",
            "{}",
            r#"{"timestamp":1700000000,"cpu":"1","rps":2,"device_id":"d1"}"#,
            r#"{"timestamp":1700000000,"cpu":,"rps":2,"device_id":"d1"}"#,
            r#"{"timestamp":1700000000,"cpu":1,"rps":2}"#,
            r#"{"timestamp":1700000000,"cpu":1,"rps":2,"device_id":"d1"} "#,
        ] {
            assert!(!is_value_of(&key, foreign.as_bytes()), "{foreign}");
        }
    }

    /// The request that grows most is one of events as short as can be, with a long device id.
    #[test]
    fn no_request_packs_to_more_than_is_reckoned_with() {
        let prefix = "metric:";
        let encoding = Encoding::RedisSet { ttl_s: u32::MAX, prefix };
        for (id_len, sent_time) in
            [(1, false), (DEVICE_ID_BYTES_MAX, false), (1, true), (128, true)]
        {
            let id = "x".repeat(id_len);
            let time = if sent_time { ",\"timestamp\":1700000000" } else { "" };
            let body = format!("{{\"device_id\":\"{id}\",\"cpu\":1,\"rps\":1{time}}}\n");
            let event = Event {
                device_id: Some(id.as_bytes()),
                timestamp: b"17000000000000000000",
                present: FieldSet::from_bits(3),
                literals: Literals::Given(&[b"1", b"1"]),
                ..Event::default()
            };
            let encoded = encoding.record_bytes(&event) * BATCH_EVENTS_MAX;
            let most = request_bytes_max(body.len() * BATCH_EVENTS_MAX, prefix.len());
            assert!(encoded <= most, "{encoded} of {most}");
        }
        let largest = request_bytes_max(BODY_BYTES_MAX, prefix.len());
        assert_eq!(largest, BATCH_EVENTS_MAX * RECORD_BYTES_MAX);
    }
}
