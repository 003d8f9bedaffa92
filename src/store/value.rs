//! The stored value of an event: a JSON object with exactly the members that it has.
//!
//! `{"timestamp":T,"<field>":literal,…,"device_id":"…"}`, fields in the order of the schema.
//! Nothing needs an escape: a device id has no quote and no backslash, and the rest are names of
//! fields and number literals that were decoded before.

use crate::limits::{DEVICE_ID_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, NUMBER_BYTES_MAX};
use crate::metric::event::Event;
use crate::metric::key::split;
use crate::metric::number::whole_value;
use crate::metric::short_text;
use crate::schema::{Field, FieldSet, Schema};

const TIMESTAMP: &[u8] = b"{\"timestamp\":";
const DEVICE: &[u8] = b",\"device_id\":\"";
const END: &[u8] = b"}";

/// Digits of a timestamp, an integer under 2^64.
pub(super) const TIMESTAMP_BYTES_MAX: usize = 20;

const DEVICE_BYTES_MAX: usize = DEVICE.len() + DEVICE_ID_BYTES_MAX + 1;
const FIELD_BYTES_MAX: usize = ",\"\":".len() + FIELD_NAME_BYTES_MAX + NUMBER_BYTES_MAX;

/// The longest value under any schema.
pub(super) const BYTES_MAX: usize = TIMESTAMP.len()
    + TIMESTAMP_BYTES_MAX
    + FIELDS_MAX * FIELD_BYTES_MAX
    + DEVICE_BYTES_MAX
    + END.len();

/// Returns the lengths of the shortest and of the longest value under a schema.
pub(super) fn bytes_min_and_max(schema: &Schema) -> (usize, usize) {
    let prefix_len = |field: &Field| field.json_prefix().len();
    let sum = |fields: &[Field], literal_len| -> usize {
        fields.iter().map(|field| prefix_len(field) + literal_len).sum()
    };
    let shortest_optional = schema.optional().iter().map(|field| prefix_len(field) + 1).min();
    let required = match schema.required() {
        [] => shortest_optional.unwrap_or_default(),
        required => sum(required, 1),
    };
    let shortest = TIMESTAMP.len() + 1 + required + END.len();
    let fields = sum(schema.fields(), NUMBER_BYTES_MAX);
    let longest = TIMESTAMP.len() + TIMESTAMP_BYTES_MAX + fields + DEVICE_BYTES_MAX + END.len();
    (shortest, longest)
}

/// Returns the length of a value that has every member, each as short as can be.
pub(super) fn bytes_around(schema: &Schema) -> usize {
    let fields: usize = schema.fields().iter().map(|field| field.json_prefix().len() + 1).sum();
    TIMESTAMP.len() + 1 + fields + DEVICE.len() + END.len()
}

/// Returns the length of the event's value, whose timestamp has so many digits.
#[inline]
pub(super) fn len(schema: &Schema, event: &Event<'_>, digits: usize) -> usize {
    let field_len = |field: Field| field.json_prefix().len() + event.literals.len_of(field);
    let fields: usize = schema.fields_in(event.present).map(field_len).sum();
    let device = event.device_id.map_or(0, |id| DEVICE.len() + id.len() + 1);
    TIMESTAMP.len() + digits + fields + device + END.len()
}

/// Writes the event's value, its timestamp in digits, to `out`, beginning at `at`. Returns where it
/// ends; `None` if there is no room for it and one block of [`short_text`]. Bytes behind it may be
/// overwritten.
#[inline(always)]
pub(super) fn write(
    schema: &Schema,
    event: &Event<'_>,
    digits: &[u8],
    out: &mut [u8],
    at: usize,
) -> Option<usize> {
    let mut end = short_text::copy(TIMESTAMP, out, at)?;
    end = short_text::copy(digits, out, end)?;
    for field in schema.fields_in(event.present) {
        end = match field.short_json_prefix() {
            Some(prefix) => short_text::copy_block(prefix, field.json_prefix().len(), out, end)?,
            None => short_text::copy(field.json_prefix(), out, end)?,
        };
        end = event.literals.copy(field, out, end)?;
    }
    if let Some(id) = event.device_id {
        debug_assert!(id.len() <= DEVICE_ID_BYTES_MAX);
        end = short_text::copy(DEVICE, out, end)?;
        end = short_text::copy(id, out, end)?;
        end = short_text::copy(b"\"", out, end)?;
    }
    short_text::copy(END, out, end)
}

/// Returns true if `value` is one that an event with this key may have, given without its prefix:
/// the time and the device of the key, and between them values that fields of the schema take, the
/// required ones among them, none twice.
///
/// The fields may be in any order. A server whose `--fields` were others has written them in its
/// own, and what it accepted is still a metric if all of its fields are configured.
pub(super) fn is_value_of(schema: &Schema, key: &[u8], value: &[u8]) -> bool {
    let (device, timestamp) = split(key);
    let rest = value.strip_prefix(TIMESTAMP).and_then(|rest| rest.strip_prefix(timestamp));
    rest.and_then(|rest| skip_fields(schema, rest)).is_some_and(|rest| match device {
        None => rest == END,
        Some(id) => rest
            .strip_prefix(DEVICE)
            .and_then(|rest| rest.strip_prefix(id))
            .is_some_and(|rest| rest == b"\"}"),
    })
}

/// Returns the text behind the fields of an event; `None` if they are none that it may have.
fn skip_fields<'a>(schema: &Schema, mut text: &'a [u8]) -> Option<&'a [u8]> {
    let mut present = FieldSet::default();
    while let Some((field, rest)) = skip_field(schema, text) {
        if present.contains(field) {
            return None;
        }
        present.insert(field);
        text = rest;
    }
    present.is_event(schema.required_set()).then_some(text)
}

/// Returns the field that `text` begins with, and the text behind it; `None` if there is none that
/// takes its value.
fn skip_field<'a>(schema: &Schema, text: &'a [u8]) -> Option<(Field, &'a [u8])> {
    let mut fields = schema.fields().iter();
    let (field, rest) =
        fields.find_map(|field| Some((*field, text.strip_prefix(field.json_prefix())?)))?;
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    let (literal, rest) = rest.split_at_checked(end)?;
    let number = whole_value(literal, field.magnitude_max())?;
    field.accepts(number).then_some((field, rest))
}

#[cfg(test)]
mod tests;
