//! The forms of a body: the same events, written in each of the ways that the server takes.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use testkit::{HttpClient, HttpResponse};

use super::event::{Event, Reading, array, ndjson};
use super::shape::{Field, Shape, optional};

/// A way to write events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// One object; the only form of one event alone.
    Single,
    Array,
    Ndjson,
    /// Line protocol, whose answer says nothing of what was found.
    Lines,
    /// CSV.
    Table,
}

impl Form {
    /// Those of any number of events.
    pub(crate) const BATCHES: [Self; 4] = [Self::Array, Self::Ndjson, Self::Lines, Self::Table];

    /// Sends these events in one request, compressed if `is_gzip`, and checks that they are taken.
    pub(crate) fn send<'a>(
        self,
        client: &mut HttpClient,
        is_gzip: bool,
        events: impl ExactSizeIterator<Item = &'a Event>,
    ) -> HttpResponse {
        let target = match (self, is_gzip) {
            (Self::Lines, false) => "/write?db=d&precision=s",
            (Self::Lines, true) => "/api/v2/write?org=o&bucket=b&precision=s",
            _ => "/metrics",
        };
        let text = self.body(events);
        let media_type = if self == Self::Table { "Content-Type: text/csv\r\n" } else { "" };
        let (coding, body) =
            if is_gzip { ("Content-Encoding: gzip\r\n", gzip(&text)) } else { ("", text.into()) };
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: t\r\n{media_type}{coding}\
             Content-Length: {length}\r\n\r\n"
        );
        let response = client.request(&[head.as_bytes(), &body].concat());
        let expected = if self.is_silent() { 204 } else { 202 };
        assert_eq!(response.status, expected, "{response:?}");
        response
    }

    /// Returns true if the answer says neither how many events were taken nor what was found.
    pub(crate) fn is_silent(self) -> bool {
        self == Self::Lines
    }

    fn body<'a>(self, mut events: impl ExactSizeIterator<Item = &'a Event>) -> String {
        match self {
            Self::Single => {
                assert_eq!(events.len(), 1);
                events.next().unwrap().json()
            }
            Self::Array => array(events),
            Self::Ndjson => ndjson(events),
            Self::Lines => events.map(line).collect(),
            Self::Table => table(&events.collect::<Vec<_>>()),
        }
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The line of an event, with the tags, fields and spellings that clients have beside it.
fn line(event: &Event) -> String {
    let style = event.first;
    let mut text = String::from(if style.is_multiple_of(2) { "m" } else { "my\\ metric" });
    if let Some(id) = &event.device_id {
        text += &match style % 3 {
            0 => format!(",device_id={id}"),
            1 => format!(",host={id},zone=a\\,b"),
            _ => format!(",host=other,device_id={id}"),
        };
    }
    let mut separator = ' ';
    for Reading { field, literal, .. } in &event.readings {
        let name = if event.is_loud { field.name.to_ascii_uppercase() } else { field.name.clone() };
        let is_integer = style.is_multiple_of(2) && literal.parse::<i64>().is_ok();
        let suffix = if is_integer { "i" } else { "" };
        write!(text, "{separator}{name}={literal}{suffix}").unwrap();
        separator = ',';
    }
    if style % 4 == 1 {
        text += ",note=\"cpu=1, \\\"rps\\\"=2\",is_on=true";
    }
    writeln!(text, " {}", event.seconds()).unwrap();
    text
}

/// The text of a column's cell for an event.
type Cell = Box<dyn Fn(&Event) -> String>;

/// A table of events. Its columns begin anywhere, and the first event says how they are called.
fn table(events: &[&Event]) -> String {
    let [first, ..] = events else {
        return String::new();
    };
    let mut fields: Vec<Field> = events
        .iter()
        .flat_map(|event| event.readings.iter().map(|reading| reading.field))
        .collect();
    fields.sort_by_key(|field| field.index);
    fields.dedup_by_key(|field| field.index);
    let [device, time] = first.names;
    let mut columns: Vec<(&str, Cell)> = vec![
        (device, Box::new(|event| event.device_id.clone().unwrap_or_default())),
        (time, Box::new(|event| event.timestamp.replace('"', ""))),
        ("note, if any", Box::new(|event| "\"a \"\"note\"\"\n\"".repeat(event.first % 2))),
    ];
    for field in fields {
        let literal = move |event: &Event| event.literal(field).unwrap_or_default().to_owned();
        columns.push((&field.name, Box::new(literal)));
    }
    let start = first.first % columns.len();
    columns.rotate_left(start);
    let end = if first.first % 2 == 0 { "\n" } else { "\r\n" };
    let header = columns.iter().map(|(name, _)| match first.is_loud {
        true => format!("\"{}\"", name.to_ascii_uppercase()),
        false => format!("\"{name}\""),
    });
    let mut text = header.collect::<Vec<_>>().join(",") + end;
    for event in events {
        let cells = columns.iter().map(|(_, cell)| cell(event));
        text += &cells.collect::<Vec<_>>().join(",");
        text += end;
    }
    text
}

#[test]
fn tables_have_a_cell_for_each_field_of_any_event() {
    let shape = Shape::leak(&[optional("a"), optional("b"), optional("c")]);
    let reading = |index, literal| Reading::of(shape.fields().nth(index).unwrap(), literal);
    let mut events = [
        Event::of(1, Some("d"), vec![reading(2, "1.50")]),
        Event::of(2, None, vec![reading(0, "-2"), reading(2, "3")]),
    ];
    events[1].first = 1;
    let expected = "\"device_id\",\"timestamp\",\"note, if any\",\"a\",\"c\"\n\
                    d,1750000001,,,1.50\n,1750000002,\"a \"\"note\"\"\n\",-2,3\n";
    assert_eq!(table(&[&events[0], &events[1]]), expected);
    (events[0].first, events[0].is_loud) = (3, true);
    let expected = "\"A\",\"C\",\"DEVICE_ID\",\"TIMESTAMP\",\"NOTE, IF ANY\"\r\n";
    assert_eq!(table(&[&events[0], &events[1]]).split_inclusive('\n').next(), Some(expected));
}

#[test]
fn lines_have_what_clients_write() {
    let mut event = Event::at(1, Some("d"), [1.5, 2.0]);
    assert_eq!(line(&event), "m,device_id=d cpu=1.5,rps=2i 1750000001\n");
    (event.first, event.is_loud) = (1, true);
    let expected = "my\\ metric,host=d,zone=a\\,b CPU=1.5,RPS=2,\
                    note=\"cpu=1, \\\"rps\\\"=2\",is_on=true 1750000001\n";
    assert_eq!(line(&event), expected);
}
