//! The decoder's twin on `serde_json`, slow and obvious, and the results of both in the same types.

// From wherever this file is taken.
#[path = "texts.rs"]
mod texts;

use std::fmt;

use corepulse::limits::{BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX, FUTURE_MS_MAX, NUMBER_BYTES_MAX};
use corepulse::metric::decode::{Decoder, LineMode};
use corepulse::metric::rejection::{BodyError, Reason};
use corepulse::metric::timestamp::from_integer;
use corepulse::schema::Schema;
use percore::clock::Now;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use texts::{begins_array, first_value, json, unindented};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// When every body is received.
pub const NOW: Now = Now { mono_ns: 7, wall_us: 1_795_420_957_123_000 };

#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub device_id: Option<String>,
    /// The timestamp as keys have it, and in milliseconds since 1970. `None` for one that the
    /// server assigned, which [`both`] checks.
    pub timestamp: Option<(String, i64)>,
    pub values: [f64; 2],
    pub literals: [String; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refused {
    Empty,
    Malformed,
    TooMany,
}

pub type Items = Vec<Result<Owned, Reason>>;

fn owned(ascii: &[u8]) -> String {
    String::from_utf8(ascii.to_vec()).expect("digits")
}

/// Decodes a body with the decoder.
pub fn fast(decoder: &mut Decoder, body: &[u8], lines: LineMode) -> Result<Items, Refused> {
    let batch = decoder.decode(body, lines, NOW).map_err(|error| match error {
        BodyError::Empty => Refused::Empty,
        BodyError::Malformed(_) => Refused::Malformed,
        BodyError::TooManyEvents => Refused::TooMany,
    })?;
    assert_eq!(batch.len(), batch.iter().count());
    if let (Some(assigned), Some(Ok(only))) = (batch.assigned_timestamp(), batch.iter().next()) {
        assert_eq!(owned(only.timestamp), assigned.to_string());
    }
    let items = batch.iter().map(|item| match item {
        Ok(event) => Ok(Owned {
            device_id: event.device_id.map(owned),
            timestamp: Some((owned(event.timestamp), event.timestamp_ms)),
            values: event.values.try_into().expect("two fields"),
            literals: Schema::standard()
                .fields()
                .iter()
                .map(|field| owned(event.literal(*field)))
                .collect::<Vec<_>>()
                .try_into()
                .expect("two fields"),
        }),
        Err(rejection) => {
            assert!(!rejection.to_string().is_empty());
            Err(rejection.reason())
        }
    });
    Ok(items.collect())
}

/// Decodes a body with the decoder and with its twin.
pub fn both(
    decoder: &mut Decoder,
    body: &[u8],
    lines: LineMode,
) -> (Result<Items, Refused>, Result<Items, Refused>) {
    let expected = naive(body, lines);
    let mut found = fast(decoder, body, lines);
    if let (Ok(found), Ok(expected)) = (&mut found, &expected) {
        let mut last_us = NOW.wall_us - 1;
        for (found, expected) in found.iter_mut().flatten().zip(expected.iter().flatten()) {
            if expected.timestamp.is_some() {
                continue;
            }
            // One after the other, from the time of receipt on.
            let (key, ms) = found.timestamp.take().expect("every event has a time");
            let assigned_us: i64 = key.parse().expect("digits");
            assert!((last_us + 1..NOW.wall_us + 1_000_000).contains(&assigned_us), "{assigned_us}");
            assert_eq!(ms, assigned_us / 1000);
            last_us = assigned_us;
        }
    }
    (found, expected)
}

/// The members of an object in their order, also those of one name; names as they are written.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Objects one after the other; anything else costs the rest of the text.
fn naive_objects(text: &[u8]) -> Items {
    match first_value(text) {
        Some((raw, [])) => vec![naive_item(raw)],
        Some((raw, rest)) if raw.get().starts_with('{') && rest[0] == b'{' => {
            let mut items = vec![naive_item(raw)];
            items.extend(naive_objects(rest));
            items
        }
        _ => vec![Err(Reason::Syntax)],
    }
}

fn naive_lines(text: &[u8]) -> Items {
    let lines = text.split(|&byte| byte == b'\n').map(unindented);
    lines.filter(|line| !line.is_empty()).flat_map(naive_objects).collect()
}

/// A body that is no array, of any type but NDJSON.
fn naive_one_or_lines(text: &[u8]) -> Items {
    let line_end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    if let Some((raw, rest)) = first_value(text) {
        let objects = raw.get().starts_with('{') && rest.first() == Some(&b'{');
        let in_first_line = raw.get().len() <= line_end;
        let new_line = text.len() - rest.len() > line_end;
        match () {
            () if rest.is_empty() => return vec![naive_item(raw)],
            () if in_first_line && (new_line || objects) => {
                return [vec![naive_item(raw)], naive_lines(rest)].concat();
            }
            () if objects => return naive_objects(text),
            () => {}
        }
    }
    match unindented(&text[line_end..]) {
        [] => vec![Err(Reason::Syntax)],
        [second, ..] if text[0] == b'{' && *second != b'{' => vec![Err(Reason::Syntax)],
        _ => naive_lines(text),
    }
}

/// Decodes a body with the twin.
pub fn naive(body: &[u8], lines: LineMode) -> Result<Items, Refused> {
    let text = unindented(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    if text.is_empty() {
        return Err(Refused::Empty);
    }
    let found = match (body, lines) {
        ([0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, _, ..] | [_, 0, ..], _) => {
            return Err(Refused::Malformed);
        }
        _ if text[0] == b'[' => {
            let is_line = lines == LineMode::Always && !begins_array(text);
            match std::str::from_utf8(text).ok().and_then(json) {
                None if is_line => naive_lines(text),
                None => return Err(Refused::Malformed),
                Some(whole) => {
                    let elements: Vec<&RawValue> =
                        serde_json::from_str(whole.get()).unwrap_or_default();
                    elements.into_iter().map(naive_item).collect()
                }
            }
        }
        (_, LineMode::Always) => naive_lines(text),
        (_, LineMode::Detect) => naive_one_or_lines(text),
    };
    if found.len() > BATCH_EVENTS_MAX { Err(Refused::TooMany) } else { Ok(found) }
}

fn naive_item(raw: &RawValue) -> Result<Owned, Reason> {
    if !raw.get().starts_with('{') {
        return Err(Reason::NotObject);
    }
    let members: Members<'_> = serde_json::from_str(raw.get()).expect("the members of an object");
    let mut present = Vec::new();
    let (mut device_id, mut timestamp, mut cpu, mut rps) = (None, None, None, None);
    for (name, value) in members.0 {
        // `serde_json` does not decode a lone surrogate. The grammar allows it, and no known name
        // has one.
        let name: String = serde_json::from_str(name.get()).unwrap_or_default();
        let name = name.to_ascii_lowercase();
        if !["device_id", "timestamp", "cpu", "rps"].contains(&name.as_str()) {
            continue;
        }
        if present.contains(&name) {
            return Err(Reason::Duplicate);
        }
        let value = value.get();
        match name.as_str() {
            "cpu" => cpu = Some(naive_number(value, 1e6)?),
            "rps" => rps = Some(naive_number(value, 1e12)?),
            "device_id" => device_id = naive_device_id(value)?,
            _ => timestamp = naive_timestamp(value)?,
        }
        present.push(name);
    }
    let ((cpu, cpu_literal), (rps, rps_literal)) = cpu.zip(rps).ok_or(Reason::Missing)?;
    let (values, literals) = ([cpu, rps], [cpu_literal, rps_literal]);
    Ok(Owned { device_id, timestamp, values, literals })
}

/// Returns true if a text is one JSON number and nothing else.
fn is_number(text: &str) -> bool {
    let raw: Option<&RawValue> = serde_json::from_str(text).ok();
    let is_all = raw.is_some_and(|raw| raw.get() == text);
    is_all && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Returns the text of a string; `None` for a lone surrogate, which `serde_json` does not decode.
fn text_of(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

fn naive_number(value: &str, max: f64) -> Result<(f64, String), Reason> {
    let quoted = value.starts_with('"').then(|| text_of(value).unwrap_or_default());
    let literal = quoted.as_deref().unwrap_or(value);
    if !is_number(literal) {
        return Err(Reason::Type);
    }
    if literal.len() > NUMBER_BYTES_MAX {
        return Err(Reason::Range);
    }
    let number: f64 = literal.parse().map_err(|_| Reason::Range)?;
    if !number.is_finite() || number < 0.0 || number > max {
        return Err(Reason::Range);
    }
    Ok((number.abs(), literal.to_owned()))
}

fn naive_device_id(value: &str) -> Result<Option<String>, Reason> {
    if value == "null" {
        return Ok(None);
    }
    let is_integer = value.bytes().all(|byte| byte.is_ascii_digit());
    if !is_integer && !value.starts_with('"') {
        return Err(Reason::Type);
    }
    let id = if is_integer { Some(value.to_owned()) } else { text_of(value) };
    let id = id.ok_or(Reason::DeviceId)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if id.is_empty() || id.len() > DEVICE_ID_BYTES_MAX || !id.bytes().all(allowed) {
        return Err(Reason::DeviceId);
    }
    Ok(Some(id))
}

fn naive_timestamp(value: &str) -> Result<Option<(String, i64)>, Reason> {
    if value == "null" {
        return Ok(None);
    }
    let quoted = value.starts_with('"').then(|| text_of(value).unwrap_or_default());
    let text = quoted.as_deref().unwrap_or(value);
    let timestamp = if is_number(text) {
        naive_time(text)
    } else if quoted.is_some() {
        naive_date(text).map(|ns| (naive_key(ns), i64::try_from(ns / 1_000_000).expect("ms")))
    } else {
        return Err(Reason::Type);
    };
    let timestamp = timestamp.ok_or(Reason::Timestamp)?;
    if timestamp.1 > NOW.wall_ms() + FUTURE_MS_MAX {
        return Err(Reason::Future);
    }
    Ok(Some(timestamp))
}

/// Returns the time of a number of s, ms, us or ns: as keys have it, and in milliseconds.
fn naive_time(text: &str) -> Option<(String, i64)> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let ms = from_integer(text.parse().ok()?)?;
        return Some((text.to_owned(), ms));
    }
    let lower = text.trim_start_matches('-').to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let digits_from = digits.trim_start_matches('0');
    let zeros = digits.len() - digits_from.len();
    let far = if exponent.starts_with('-') { -1_000_000 } else { 1_000_000 };
    let exponent: i64 = exponent.parse().unwrap_or(far).clamp(-1_000_000, 1_000_000);
    let point = whole.len() as i64 - zeros as i64 + exponent;
    // The digits before the point, after moving it so far to the right.
    let floor = |moved: i64| -> u128 {
        let count = usize::try_from((point + moved).clamp(0, 30)).expect("small");
        let padded = digits_from.chars().chain(std::iter::repeat('0'));
        padded.take(count).collect::<String>().parse().unwrap_or(0)
    };
    if digits_from.is_empty() {
        return Some((naive_key(0), 0));
    }
    if text.starts_with('-') {
        return None;
    }
    let (_, moved) = [(5_000_000_000, 9), (5_000_000_000_000, 6)]
        .into_iter()
        .chain([(5_000_000_000_000_000, 3), (5_000_000_000_000_000_000, 0)])
        .find(|(end, _)| floor(0) < *end)?;
    let ns = floor(moved);
    Some((naive_key(ns), i64::try_from(ns / 1_000_000).ok()?))
}

/// The coarsest of milliseconds, microseconds and nanoseconds that is exact.
fn naive_key(ns: u128) -> String {
    match (ns % 1_000_000, ns % 1000) {
        (0, _) => (ns / 1_000_000).to_string(),
        (_, 0) => (ns / 1000).to_string(),
        _ => ns.to_string(),
    }
}

/// Nanoseconds since 1970 of a date and a time, which are written anew as RFC 3339.
fn naive_date(text: &str) -> Option<u128> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let offset_at = rest.find(['Z', 'z', '+', '-', ' ', 'U']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(offset_at);
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    // The comma is a mark of a fraction alone.
    let (comma, point) = (clock.get(8..9) == Some(","), clock.contains('.'));
    let clock = if comma && !point { clock.replacen(',', ".", 1) } else { clock.to_owned() };
    let bare = offset.strip_prefix(' ').unwrap_or(offset);
    let offset = match (bare, bare.len()) {
        ("", _) if offset.is_empty() => "Z".to_owned(),
        ("Z" | "z" | "UTC", _) => "Z".to_owned(),
        (_, 3) => format!("{bare}:00"),
        (_, 5) => format!("{}:{}", bare.get(..3)?, bare.get(3..)?),
        (_, 6) => bare.to_owned(),
        _ => return None,
    };
    let written = format!("{date}T{clock}{seconds}{offset}");
    let time = OffsetDateTime::parse(&written, &Rfc3339).ok()?;
    u128::try_from(time.unix_timestamp_nanos()).ok()
}
