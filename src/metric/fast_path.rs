//! The fast path of the decoder: metrics of the usual shape.
//!
//! Nearly every device sends one flat object with the canonical names, numbers and a plain device
//! id, at most one space after a colon or a comma, and nothing else. This file reads that in one
//! pass, eight bytes at a time. Anything else, wrong or merely unusual, is left to the general
//! decoder, which reads the object again. A property test checks that both agree.

use crate::limits::{CPU_MAX, DEVICE_ID_BYTES_MAX, RPS_MAX};
use crate::metric::batch::{EventSpans, Span};
use crate::metric::device_id::is_device_id_byte;
use crate::metric::event::Field;
use crate::metric::event_builder::member_bit;
use crate::metric::member::Member;
use crate::metric::number::{
    INTEGER_DIGITS_MAX, load_word, scan_digits, scan_number, scan_short_number,
};
use crate::metric::timestamp;

// The first six bytes tell which member it is; the long names are compared to their end.
const CPU: u64 = six_bytes(b"\"cpu\":");
const RPS: u64 = six_bytes(b"\"rps\":");
const TIMESTAMP: u64 = six_bytes(b"\"times");
const DEVICE_ID: u64 = six_bytes(b"\"devic");
const SIX_BYTES: u64 = (1 << 48) - 1;

/// The members that every event has.
const REQUIRED: u8 = member_bit(Member::Value(Field::Cpu)) | member_bit(Member::Value(Field::Rps));

/// Parses the object whose brace is at `start`, and returns it with its end. Its timestamp is empty
/// if none was sent, and no later than `latest_ms`. An accepted object is ASCII without line ends.
#[inline(always)]
pub(super) fn parse(text: &[u8], start: usize, latest_ms: i64) -> Option<(EventSpans, usize)> {
    let mut spans = EventSpans::default();
    let mut present = 0;
    let mut at = start + 1;
    loop {
        let member = match load_word(text, at) & SIX_BYTES {
            CPU => {
                at = skip_space(text, at + 6);
                at = parse_value(&mut spans, Field::Cpu, text, at, CPU_MAX)?;
                Member::Value(Field::Cpu)
            }
            RPS => {
                at = skip_space(text, at + 6);
                at = parse_value(&mut spans, Field::Rps, text, at, RPS_MAX)?;
                Member::Value(Field::Rps)
            }
            TIMESTAMP if continues_with(text, at + 6, b"tamp\":") => {
                at = skip_space(text, at + 12);
                at = parse_timestamp(&mut spans, text, at, latest_ms)?;
                Member::Timestamp
            }
            DEVICE_ID if continues_with(text, at + 6, b"e_id\":") => {
                at = skip_space(text, at + 12);
                at = parse_device_id(&mut spans, text, at)?;
                Member::DeviceId
            }
            _ => return None,
        };
        if present & member_bit(member) != 0 {
            return None;
        }
        present |= member_bit(member);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' if present & REQUIRED == REQUIRED => {
                return Some((spans, at + 1));
            }
            _ => return None,
        }
    }
}

/// Skips one space, which is the most that common libraries write.
#[inline(always)]
fn skip_space(text: &[u8], at: usize) -> usize {
    at + usize::from(text.get(at) == Some(&b' '))
}

#[inline(always)]
fn continues_with(text: &[u8], at: usize, rest: &[u8; 6]) -> bool {
    text.get(at..).and_then(<[u8]>::first_chunk) == Some(rest)
}

/// Parses a number from 0 to `value_max`, and returns its end.
#[inline(always)]
fn parse_value(
    spans: &mut EventSpans,
    field: Field,
    text: &[u8],
    at: usize,
    value_max: f64,
) -> Option<usize> {
    let number = match scan_short_number(text, at) {
        Some(number) => number,
        None => scan_number(text, at).ok()?,
    };
    // A number that has to be rounded is left to the general decoder, or it would be rounded twice.
    let value = number.quotient()?;
    if !(0.0..=value_max).contains(&value) {
        return None;
    }
    *spans.values.get_mut(field.index())? = value;
    *spans.literals.get_mut(field.index())? = Span::new(at, number.end);
    Some(number.end)
}

/// Parses a timestamp that is an integer, and returns its end.
#[inline(always)]
fn parse_timestamp(
    spans: &mut EventSpans,
    text: &[u8],
    at: usize,
    latest_ms: i64,
) -> Option<usize> {
    let mut integer = 0;
    let end = scan_digits(text, at, &mut integer);
    let is_integer = match end - at {
        1 => true,
        2..=INTEGER_DIGITS_MAX => text.get(at) != Some(&b'0'),
        _ => false,
    };
    spans.timestamp_ms = timestamp::from_integer(integer).filter(|_| is_integer)?;
    spans.timestamp = Span::new(at, end);
    (spans.timestamp_ms <= latest_ms).then_some(end)
}

/// Parses a device id without escapes, and returns the end of its string.
#[inline(always)]
fn parse_device_id(spans: &mut EventSpans, text: &[u8], at: usize) -> Option<usize> {
    let (quote, id) = text.get(at..)?.split_first()?;
    let bytes = id.iter().take_while(|byte| is_device_id_byte(**byte)).count();
    let is_id = *quote == b'"' && (1..=DEVICE_ID_BYTES_MAX).contains(&bytes);
    if !is_id || id.get(bytes) != Some(&b'"') {
        return None;
    }
    spans.device_id = Span::new(at + 1, at + 1 + bytes);
    Some(at + bytes + 2)
}

const fn six_bytes(name: &[u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = *name;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}
