//! The forms of a body: the same events, written in each of the ways that the server takes.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use testkit::{HttpClient, HttpResponse};

use super::event::{Event, Reading, array, ndjson};

/// A way to write events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// One object; the only form of one event alone.
    Single,
    Array,
    Ndjson,
    /// Line protocol, whose answer says nothing of what was found.
    Lines,
}

impl Form {
    /// Those of any number of events.
    pub(crate) const BATCHES: [Self; 3] = [Self::Array, Self::Ndjson, Self::Lines];

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
        let (coding, body) =
            if is_gzip { ("Content-Encoding: gzip\r\n", gzip(&text)) } else { ("", text.into()) };
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: t\r\n{coding}Content-Length: {length}\r\n\r\n"
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
    let mut text = String::from(if style % 2 == 0 { "m" } else { "my\\ metric" });
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
        let is_integer = style % 2 == 0 && literal.parse::<i64>().is_ok();
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

#[test]
fn lines_have_what_clients_write() {
    let mut event = Event::at(1, Some("d"), [1.5, 2.0]);
    assert_eq!(line(&event), "m,device_id=d cpu=1.5,rps=2i 1750000001\n");
    (event.first, event.is_loud) = (1, true);
    let expected = "my\\ metric,host=d,zone=a\\,b CPU=1.5,RPS=2,\
                    note=\"cpu=1, \\\"rps\\\"=2\",is_on=true 1750000001\n";
    assert_eq!(line(&event), expected);
}
