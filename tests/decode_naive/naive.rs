//! The decoder's twins on `serde_json`, slow and obvious, and the results of all in the same types.
//!
//! All read the forms of a body here. They differ in what they make of one object: the twin of this
//! file knows `cpu` and `rps` alone, whatever else may be configured.

// From wherever this file is taken.
#[path = "texts.rs"]
mod texts;
#[path = "values.rs"]
pub mod values;

use std::fmt;

use corepulse::limits::BATCH_EVENTS_MAX;
use corepulse::metric::decode::{Decoder, LineMode};
use corepulse::metric::event::Event;
use corepulse::metric::rejection::{BodyError, Reason, Rejection};
use corepulse::schema::{Field, Schema};
use percore::clock::Now;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use texts::{begins_array, first_value, json, unindented};
use values::{naive_device_id, naive_number, naive_timestamp};

/// When every body is received.
pub const NOW: Now = Now { mono_ns: 7, wall_us: 1_795_420_957_123_000 };

#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub device_id: Option<String>,
    /// The timestamp as keys have it, and in milliseconds since 1970. `None` for one that the
    /// server assigned, which [`both`] checks.
    pub timestamp: Option<(String, i64)>,
    /// The value and the literal of each field of the schema; `None` for one that is absent.
    pub fields: Vec<Option<(f64, String)>>,
}

/// The reason for which an item was rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub reason: Reason,
    /// The member and the byte that its text must name, if the twin knows them.
    pub told: Option<Told>,
}

/// The member that a rejection names, and the byte of the event that it points at.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub member: Option<String>,
    pub at: Option<usize>,
}

impl From<Reason> for Rejected {
    fn from(reason: Reason) -> Self {
        Self { reason, told: None }
    }
}

impl Told {
    /// Returns what a rejection tells. The position of an error of syntax is not that of another
    /// parser.
    fn by(rejection: Rejection) -> Option<Self> {
        let text = rejection.to_string();
        assert!(!text.is_empty());
        if rejection.reason() == Reason::Syntax {
            return None;
        }
        let member = text.split_once(": ").map(|(member, _)| member.to_owned());
        let at = text.rsplit_once(" at byte ").map(|(_, at)| at.parse().expect("a byte"));
        Some(Self { member, at })
    }
}

/// A decoder to be compared with.
pub struct Twin {
    /// The schema of the decoder that is to be alike.
    pub schema: &'static Schema,
    /// Reads one item, which is JSON.
    pub item: Box<dyn Fn(&RawValue) -> Item + Send + Sync>,
}

impl Twin {
    /// Returns the twin whose fields are `cpu` and `rps`.
    pub fn fixed() -> Self {
        Self { schema: Schema::standard(), item: Box::new(naive_item) }
    }

    /// Returns a decoder that is to be alike.
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.schema)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refused {
    Empty,
    Malformed,
    TooMany,
}

pub type Item = Result<Owned, Rejected>;
pub type Items = Vec<Item>;

fn owned(ascii: &[u8]) -> String {
    String::from_utf8(ascii.to_vec()).expect("digits")
}

/// Decodes a body with a decoder of this schema.
pub fn fast(
    decoder: &mut Decoder,
    schema: &Schema,
    body: &[u8],
    lines: LineMode,
) -> Result<Items, Refused> {
    let batch = decoder.decode(body, lines, NOW).map_err(|error| match error {
        BodyError::Empty => Refused::Empty,
        BodyError::Malformed(_) => Refused::Malformed,
        BodyError::TooManyEvents => Refused::TooMany,
        BodyError::Header(error) => panic!("no table was sent: {error}"),
    })?;
    assert_eq!(batch.len(), batch.iter().count());
    if let (Some(assigned), Some(Ok(only))) = (batch.assigned_timestamp(), batch.iter().next()) {
        assert_eq!(only.timestamp, assigned);
    }
    let items = batch.iter().map(|item| match item {
        Ok(event) => Ok(Owned {
            device_id: event.device_id.map(owned),
            timestamp: Some((event.timestamp.to_string(), event.timestamp_ms)),
            fields: schema.fields().iter().map(|field| owned_field(&event, *field)).collect(),
        }),
        Err(rejection) => Err(Rejected { reason: rejection.reason(), told: Told::by(rejection) }),
    });
    Ok(items.collect())
}

fn owned_field(event: &Event<'_>, field: Field) -> Option<(f64, String)> {
    let (value, literal) = (event.value(field), owned(event.literal(field)));
    assert_eq!(value.is_none(), literal.is_empty(), "{field:?}");
    let value = value?;
    assert!(value != 0.0 || value.is_sign_positive(), "{field:?}");
    Some((value, literal))
}

/// Decodes a body with a decoder and with its twin.
pub fn both(
    twin: &Twin,
    decoder: &mut Decoder,
    body: &[u8],
    lines: LineMode,
) -> (Result<Items, Refused>, Result<Items, Refused>) {
    let expected = naive(twin, body, lines);
    let mut found = fast(decoder, twin.schema, body, lines);
    if let (Ok(found), Ok(expected)) = (&mut found, &expected) {
        for pair in found.iter_mut().zip(expected) {
            if let (Err(found), Err(Rejected { told: None, .. })) = pair {
                found.told = None;
            }
        }
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
pub struct Members<'a>(pub Vec<(&'a RawValue, &'a RawValue)>);

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
fn naive_objects(twin: &Twin, text: &[u8]) -> Items {
    match first_value(text) {
        Some((raw, [])) => vec![(twin.item)(raw)],
        Some((raw, rest)) if raw.get().starts_with('{') && rest[0] == b'{' => {
            let mut items = vec![(twin.item)(raw)];
            items.extend(naive_objects(twin, rest));
            items
        }
        _ => vec![Err(Reason::Syntax.into())],
    }
}

fn naive_lines(twin: &Twin, text: &[u8]) -> Items {
    let lines = text.split(|&byte| byte == b'\n').map(unindented);
    lines.filter(|line| !line.is_empty()).flat_map(|line| naive_objects(twin, line)).collect()
}

/// A body that is no array, of any type but NDJSON.
fn naive_one_or_lines(twin: &Twin, text: &[u8]) -> Items {
    let line_end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    if let Some((raw, rest)) = first_value(text) {
        let objects = raw.get().starts_with('{') && rest.first() == Some(&b'{');
        let in_first_line = raw.get().len() <= line_end;
        let new_line = text.len() - rest.len() > line_end;
        match () {
            () if rest.is_empty() => return vec![(twin.item)(raw)],
            () if in_first_line && (new_line || objects) => {
                return [vec![(twin.item)(raw)], naive_lines(twin, rest)].concat();
            }
            () if objects => return naive_objects(twin, text),
            () => {}
        }
    }
    match unindented(&text[line_end..]) {
        [] => vec![Err(Reason::Syntax.into())],
        [second, ..] if text[0] == b'{' && *second != b'{' => vec![Err(Reason::Syntax.into())],
        _ => naive_lines(twin, text),
    }
}

/// Decodes a body with a twin.
pub fn naive(twin: &Twin, body: &[u8], lines: LineMode) -> Result<Items, Refused> {
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
                None if is_line => naive_lines(twin, text),
                None => return Err(Refused::Malformed),
                Some(whole) => {
                    let elements: Vec<&RawValue> =
                        serde_json::from_str(whole.get()).unwrap_or_default();
                    elements.into_iter().map(&twin.item).collect()
                }
            }
        }
        (_, LineMode::Always) => naive_lines(twin, text),
        (_, LineMode::Detect) => naive_one_or_lines(twin, text),
    };
    if found.len() > BATCH_EVENTS_MAX { Err(Refused::TooMany) } else { Ok(found) }
}

/// Reads a metric of the fields `cpu` and `rps`.
fn naive_item(raw: &RawValue) -> Item {
    if !raw.get().starts_with('{') {
        return Err(Reason::NotObject.into());
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
            return Err(Reason::Duplicate.into());
        }
        let value = value.get();
        match name.as_str() {
            "cpu" => cpu = Some(naive_number(value, 0.0, 1e6)?),
            "rps" => rps = Some(naive_number(value, 0.0, 1e12)?),
            "device_id" => device_id = naive_device_id(value)?,
            _ => timestamp = naive_timestamp(value)?,
        }
        present.push(name);
    }
    let (cpu, rps) = cpu.zip(rps).ok_or(Reason::Missing)?;
    Ok(Owned { device_id, timestamp, fields: vec![Some(cpu), Some(rps)] })
}
