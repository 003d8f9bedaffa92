//! Events as a device sends them: literals, and their values.

use std::fmt::{Display, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::shape::{Field, Shape};

/// One value of an event.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) field: Field,
    /// A JSON number.
    pub(crate) literal: String,
    pub(crate) value: f64,
}

/// One metric as a device writes it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) device_id: Option<String>,
    /// A JSON literal: an integer or a string with its quotes.
    pub(crate) timestamp: String,
    /// As `/analyze` shows that moment.
    pub(crate) shown: String,
    /// The values in the order in which they are sent, at most one of a field.
    pub(crate) readings: Vec<Reading>,
    /// Absent fields of which the device says so, by a null or an empty cell.
    pub(crate) nulls: Vec<Field>,
    /// The member that comes first in JSON; the others follow it in a circle.
    pub(crate) first: usize,
    /// True if names are sent in capitals.
    pub(crate) is_loud: bool,
    /// The names of the members that carry the device id and the time.
    pub(crate) names: [&'static str; 2],
}

impl Default for Event {
    fn default() -> Self {
        Self {
            device_id: None,
            timestamp: String::new(),
            shown: String::new(),
            readings: Vec::new(),
            nulls: Vec::new(),
            first: 0,
            is_loud: false,
            names: ["device_id", "timestamp"],
        }
    }
}

impl Reading {
    pub(crate) fn of(field: Field, literal: impl Into<String>) -> Self {
        let literal = literal.into();
        let value = literal.parse().unwrap();
        Self { field, literal, value }
    }
}

impl Event {
    /// Of these values, at so many seconds after a certain moment.
    pub(crate) fn at(second: usize, device_id: Option<&str>, values: [f64; 2]) -> Self {
        Self::of(second, device_id, standard(values.map(|value| value.to_string())))
    }

    /// Of these readings, at so many seconds after that moment.
    pub(crate) fn of(second: usize, device_id: Option<&str>, readings: Vec<Reading>) -> Self {
        let time = 1_750_000_000 + second;
        // 1750000000 is 2025-06-15 15:06:40 in UTC; tests stay within that day.
        let of_day = 15 * 3600 + 6 * 60 + 40 + second;
        assert!(of_day < 86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        Self {
            device_id: device_id.map(str::to_owned),
            timestamp: time.to_string(),
            shown: format!("2025-06-15T{hour:02}:{minute:02}:{second:02}.000Z"),
            readings,
            ..Self::default()
        }
    }

    /// The same event with these literals of cpu and rps.
    pub(crate) fn with(self, literals: [String; 2]) -> Self {
        Self { readings: standard(literals), ..self }
    }

    /// The value of a field, if it has one.
    pub(crate) fn value(&self, field: Field) -> Option<f64> {
        self.reading(field).map(|reading| reading.value)
    }

    /// The literal of a field's value, if it has one.
    pub(crate) fn literal(&self, field: Field) -> Option<&str> {
        self.reading(field).map(|reading| &*reading.literal)
    }

    /// The values as they are sent.
    pub(crate) fn values(&self) -> Vec<f64> {
        self.readings.iter().map(|reading| reading.value).collect()
    }

    fn reading(&self, field: Field) -> Option<&Reading> {
        self.readings.iter().find(|reading| std::ptr::eq(reading.field, field))
    }

    pub(crate) fn json(&self) -> String {
        let mut text = String::from("{");
        let count = 2 + self.readings.len() + self.nulls.len();
        for at in 0..count {
            self.write_member((self.first + at) % count, &mut text);
        }
        text.pop();
        text.push('}');
        text
    }

    /// Appends the nth member, and a comma.
    fn write_member(&self, number: usize, text: &mut String) {
        let [device_name, time_name] = self.names;
        let fields = self.readings.len();
        let mut write = |name: &str, value: &dyn Display| {
            if self.is_loud {
                write!(text, "\"{}\":{value},", name.to_ascii_uppercase()).unwrap();
            } else {
                write!(text, "\"{name}\":{value},").unwrap();
            }
        };
        match number.checked_sub(2) {
            None if number == 1 => write(time_name, &self.timestamp),
            None => {
                if let Some(id) = &self.device_id {
                    write(device_name, &format_args!("\"{id}\""));
                }
            }
            Some(at) if at < fields => {
                let Reading { field, literal, .. } = &self.readings[at];
                write(&field.name, literal);
            }
            Some(at) => write(&self.nulls[at - fields].name, &"null"),
        }
    }

    /// The time in seconds since 1970, of which it is a whole number.
    pub(crate) fn seconds(&self) -> i64 {
        let moment = OffsetDateTime::parse(&self.shown, &Rfc3339).unwrap();
        assert_eq!(moment.millisecond(), 0);
        moment.unix_timestamp()
    }

    /// The line that is read back under its key, where the timestamp was sent as an integer.
    pub(crate) fn stored(&self) -> String {
        let mut text = format!("{{\"timestamp\":{}", self.timestamp);
        let mut readings: Vec<_> = self.readings.iter().collect();
        readings.sort_by_key(|reading| reading.field.index);
        for Reading { field, literal, .. } in readings {
            write!(text, ",\"{}\":{literal}", field.name).unwrap();
        }
        let id = self.device_id.as_deref().unwrap();
        writeln!(text, ",\"device_id\":\"{id}\"}}").unwrap();
        text
    }

    /// The page of that line.
    pub(crate) fn key(&self) -> String {
        format!("/metrics/{}:{}", self.device_id.as_deref().unwrap(), self.timestamp)
    }
}

/// Readings of cpu and rps.
fn standard(literals: [String; 2]) -> Vec<Reading> {
    Shape::standard().fields().zip(literals).map(|(field, text)| Reading::of(field, text)).collect()
}

/// These events, one a line.
pub(crate) fn ndjson<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let lines = events.into_iter().map(|event| event.json() + "\n");
    lines.collect()
}

/// These events as an array.
pub(crate) fn array<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let elements: Vec<String> = events.into_iter().map(Event::json).collect();
    format!("[{}]", elements.join(","))
}

#[test]
fn members_begin_anywhere_and_are_stored_in_order() {
    let mut event = Event::at(1, Some("d"), [1.5, 2.0]);
    assert_eq!(event.json(), r#"{"device_id":"d","timestamp":1750000001,"cpu":1.5,"rps":2}"#);
    event.nulls = event.readings.drain(..1).map(|reading| reading.field).collect();
    (event.first, event.is_loud) = (2, true);
    assert_eq!(event.json(), r#"{"RPS":2,"CPU":null,"DEVICE_ID":"d","TIMESTAMP":1750000001}"#);
    let stored = "{\"timestamp\":1750000001,\"rps\":2,\"device_id\":\"d\"}\n";
    assert_eq!((event.stored().as_str(), event.key().as_str()), (stored, "/metrics/d:1750000001"));
}
