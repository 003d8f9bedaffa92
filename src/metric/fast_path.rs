//! The fast path of the decoder: metrics of the usual shape.
//!
//! Nearly every device sends one flat object with the canonical names, numbers and a plain device
//! id, at most one space after a colon or a comma, and nothing else. This file reads that in one
//! pass, eight bytes at a time. Anything else, wrong or merely unusual, is left to the general
//! decoder, which reads the object again. A property test checks that both agree.

use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::batch::{EventSpans, FieldRows};
use crate::metric::device_id::is_device_id_byte;
use crate::metric::member::{Member, MemberTable};
use crate::metric::number::{scan_integer, scan_usual_number};
use crate::metric::span::Span;
use crate::metric::timestamp;
use crate::schema::{Field, FieldSet};

/// Parses the object whose brace is at `start`, and returns it with its end. Its timestamp is empty
/// if none was sent, and no later than `latest_ms`; its values are in the row that is being filled.
/// An accepted object is ASCII without line ends, and has the `required` fields and at least one.
#[inline(always)]
pub(super) fn parse(
    members: &MemberTable,
    rows: &mut FieldRows,
    required: FieldSet,
    text: &[u8],
    start: usize,
    latest_ms: i64,
) -> Option<(EventSpans, usize)> {
    let mut spans = EventSpans::default();
    let mut present = 0;
    let mut at = start + 1;
    let mut cursor = members.start();
    let (values, literals) = rows.row_mut()?;
    loop {
        let (entry, end) = members.read(text, at, &mut cursor)?;
        at = skip_space(text, end);
        at = match entry.member {
            Member::Value(field) => {
                let (place, literal) =
                    (values.get_mut(field.index())?, literals.get_mut(field.index())?);
                parse_value((place, literal), field, text, at)?
            }
            Member::Timestamp(_) => parse_timestamp(&mut spans, text, at, latest_ms)?,
            Member::DeviceId(_) => parse_device_id(&mut spans, text, at)?,
        };
        if present & entry.bit != 0 {
            return None;
        }
        present |= entry.bit;
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' => break,
            _ => return None,
        }
    }
    spans.present = FieldSet::from_bits(present as u16);
    if !spans.present.is_event(required) {
        return None;
    }
    spans.row = rows.end_row();
    Some((spans, at + 1))
}

/// Skips one space, which is the most that common libraries write.
#[inline(always)]
fn skip_space(text: &[u8], at: usize) -> usize {
    at + usize::from(text.get(at) == Some(&b' '))
}

/// Parses a number that the field takes, and returns its end.
#[inline(always)]
fn parse_value(
    (place, literal): (&mut f64, &mut Span),
    field: Field,
    text: &[u8],
    at: usize,
) -> Option<usize> {
    let number = scan_usual_number(text, at)?;
    // A number that has to be rounded is left to the general decoder, or it would be rounded twice.
    let value = number.quotient()?;
    if !field.accepts(value) {
        return None;
    }
    *place = value;
    *literal = Span::new(at, number.end);
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
    let (integer, end) = scan_integer(text, at)?;
    spans.timestamp_ms = timestamp::from_integer(integer)?;
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
