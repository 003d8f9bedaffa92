//! The common shape of a metric, decoded directly.
//!
//! Nearly every device sends one flat object of the canonical names, with numbers and a plain
//! device id, at most one space after a colon or a comma, and nothing else. That is read here in
//! one pass, eight bytes at a time. Whatever differs, be it wrong or merely unusual, is not judged:
//! the general decoder reads it again and says what it is, and a property holds the two together.

use crate::limits::{CPU_MAX, DEVICE_ID_BYTES_MAX, RPS_MAX};
use crate::metric::batch::{Record, Span};
use crate::metric::event::Field;
use crate::metric::fields::{bit, is_device_id_byte};
use crate::metric::number::{INTEGER_DIGITS_MAX, digits, number, short_number, word};
use crate::metric::rejection::Member;
use crate::metric::timestamp;

/// A name with its quotes and its colon is told by its first six bytes.
const CPU: u64 = six(b"\"cpu\":");
const RPS: u64 = six(b"\"rps\":");
const TIMESTAMP: u64 = six(b"\"times");
const DEVICE_ID: u64 = six(b"\"devic");
const SIX_BYTES: u64 = (1 << 48) - 1;

/// An event without these is none.
const REQUIRED: u8 = bit(Member::Measured(Field::Cpu)) | bit(Member::Measured(Field::Rps));

/// Decodes the object whose brace is at `start`, and says where it ends. Its timestamp is empty if
/// none was sent, and no later than `latest_ms`.
///
/// What is accepted has no byte beyond ASCII and no line end.
#[inline(always)]
pub(super) fn decode(text: &[u8], start: usize, latest_ms: i64) -> Option<(Record, usize)> {
    let mut record = Record::default();
    let mut given = 0;
    let mut at = start + 1;
    loop {
        let member = match word(text, at) & SIX_BYTES {
            CPU => {
                at = value_at(text, at + 6);
                at = measured(&mut record, Field::Cpu, text, at, CPU_MAX)?;
                Member::Measured(Field::Cpu)
            }
            RPS => {
                at = value_at(text, at + 6);
                at = measured(&mut record, Field::Rps, text, at, RPS_MAX)?;
                Member::Measured(Field::Rps)
            }
            TIMESTAMP if rest_is(text, at + 6, b"tamp\":") => {
                at = value_at(text, at + 12);
                at = happened(&mut record, text, at, latest_ms)?;
                Member::Timestamp
            }
            DEVICE_ID if rest_is(text, at + 6, b"e_id\":") => {
                at = value_at(text, at + 12);
                at = sender(&mut record, text, at)?;
                Member::DeviceId
            }
            _ => return None,
        };
        if given & bit(member) != 0 {
            return None;
        }
        given |= bit(member);
        match text.get(at)? {
            b',' => at = value_at(text, at + 1),
            b'}' if given & REQUIRED == REQUIRED => {
                return Some((record, at + 1));
            }
            _ => return None,
        }
    }
}

/// Passes over the one space that most libraries write, if they write any.
#[inline(always)]
fn value_at(text: &[u8], at: usize) -> usize {
    at + usize::from(text.get(at) == Some(&b' '))
}

#[inline(always)]
fn rest_is(text: &[u8], at: usize, rest: &[u8; 6]) -> bool {
    text.get(at..).and_then(<[u8]>::first_chunk) == Some(rest)
}

/// Takes a number from 0 to `value_max`.
#[inline(always)]
fn measured(
    record: &mut Record,
    field: Field,
    text: &[u8],
    at: usize,
    value_max: f64,
) -> Option<usize> {
    let number = match short_number(text, at) {
        Some(number) => number,
        None => number(text, at).ok()?,
    };
    // One that has to be rounded is read once, by the general decoder.
    let value = number.quotient()?;
    if !(0.0..=value_max).contains(&value) {
        return None;
    }
    *record.values.get_mut(field.index())? = value;
    *record.literals.get_mut(field.index())? = Span::new(at, number.end);
    Some(number.end)
}

/// Takes a timestamp that is an integer.
#[inline(always)]
fn happened(record: &mut Record, text: &[u8], at: usize, latest_ms: i64) -> Option<usize> {
    let mut integer = 0;
    let end = digits(text, at, &mut integer);
    let is_integer = match end - at {
        1 => true,
        2..=INTEGER_DIGITS_MAX => text.get(at) != Some(&b'0'),
        _ => false,
    };
    record.timestamp_ms = timestamp::from_integer(integer).filter(|_| is_integer)?;
    record.timestamp = Span::new(at, end);
    (record.timestamp_ms <= latest_ms).then_some(end)
}

/// Takes a device id without escapes.
#[inline(always)]
fn sender(record: &mut Record, text: &[u8], at: usize) -> Option<usize> {
    let (quote, id) = text.get(at..)?.split_first()?;
    let bytes = id.iter().take_while(|byte| is_device_id_byte(**byte)).count();
    let is_id = *quote == b'"' && (1..=DEVICE_ID_BYTES_MAX).contains(&bytes);
    if !is_id || id.get(bytes) != Some(&b'"') {
        return None;
    }
    record.device_id = Span::new(at + 1, at + 1 + bytes);
    Some(at + bytes + 2)
}

const fn six(name: &[u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = *name;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}
