//! Request bodies of one connection: the events of its devices, in order.

use crate::series::{Device, Event};
use crate::table::json_text;
use clap::ValueEnum;
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One object a request.
    Single,
    /// An array of objects.
    Array,
    /// One object a line.
    Ndjson,
}

impl Form {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Single | Self::Array => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// The members of an event beside its fields, as the server is told to call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) device_id: String,
    pub(crate) timestamp: String,
}

/// The body of one request, and the number of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: usize,
}

/// Makes the bodies of a connection, row by row over its devices: this keeps the order of each
/// device, and a batch mixes devices as that of a gateway does.
pub(crate) fn bodies(
    devices: &[Device],
    members: &Members,
    form: Form,
    batch: usize,
    gzip: bool,
) -> Vec<Body> {
    let rows = devices.iter().map(|device| device.events.len()).max();
    let mut stream = Vec::new();
    for row in 0..rows.unwrap_or(0) {
        for device in devices {
            if let Some(event) = device.events.get(row) {
                stream.push(object(&device.id, event, members));
            }
        }
    }
    let batch = if form == Form::Single { 1 } else { batch };
    stream
        .chunks(batch)
        .map(|objects| Body { bytes: encode(body(objects, form), gzip), events: objects.len() })
        .collect()
}

/// Returns a metric as JSON, without a device if the id is empty.
fn object(id: &str, event: &Event, names: &Members) -> String {
    let mut members = Vec::new();
    if !id.is_empty() {
        members.push(format!("{}:{}", json_text(&names.device_id), json_text(id)));
    }
    if let Some(timestamp) = &event.timestamp {
        members.push(format!("{}:{timestamp}", json_text(&names.timestamp)));
    }
    members.extend(event.values.iter().map(|(name, value)| format!("\"{name}\":{value}")));
    format!("{{{}}}", members.join(","))
}

fn body(objects: &[String], form: Form) -> String {
    match form {
        Form::Single => objects.concat(),
        Form::Array => format!("[{}]", objects.join(",")),
        Form::Ndjson => objects.join("\n") + "\n",
    }
}

fn encode(text: String, gzip: bool) -> Vec<u8> {
    if !gzip {
        return text.into_bytes();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail; if it did, an empty body would be refused and counted.
    let written = encoder.write_all(text.as_bytes());
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::sync::Arc;

    fn members() -> Members {
        Members { device_id: "device_id".to_owned(), timestamp: "timestamp".to_owned() }
    }

    fn values(cpu: &str) -> Vec<(Arc<str>, String)> {
        vec![("cpu".into(), cpu.to_owned()), ("rps".into(), "2".to_owned())]
    }

    fn device(id: &str, rows: i64) -> Device {
        let event = |timestamp: i64| Event {
            timestamp: Some(timestamp.to_string()),
            values: values("1.50"),
        };
        Device { id: id.to_owned(), events: (0..rows).map(event).collect() }
    }

    fn texts(form: Form, batch: usize) -> Vec<String> {
        let devices = [device("a", 2), device("c", 1)];
        let bodies = bodies(&devices, &members(), form, batch, false);
        assert_eq!(bodies.iter().map(|body| body.events).sum::<usize>(), 3);
        bodies.into_iter().map(|body| String::from_utf8(body.bytes).unwrap()).collect()
    }

    const A0: &str = r#"{"device_id":"a","timestamp":0,"cpu":1.50,"rps":2}"#;
    const A1: &str = r#"{"device_id":"a","timestamp":1,"cpu":1.50,"rps":2}"#;
    const C0: &str = r#"{"device_id":"c","timestamp":0,"cpu":1.50,"rps":2}"#;

    #[test]
    fn forms_carry_the_events_row_by_row() {
        assert_eq!(texts(Form::Single, 9), [A0, C0, A1]);
        assert_eq!(texts(Form::Array, 2), [format!("[{A0},{C0}]"), format!("[{A1}]")]);
        assert_eq!(texts(Form::Ndjson, 3), [format!("{A0}\n{C0}\n{A1}\n")]);
    }

    #[test]
    fn what_is_not_known_is_not_sent() {
        let event = Event { timestamp: None, values: values("1") };
        let json = |id| object(id, &event, &members());
        assert_eq!(json(""), r#"{"cpu":1,"rps":2}"#);
        assert_eq!(json("a\""), r#"{"device_id":"a\"","cpu":1,"rps":2}"#);
    }

    #[test]
    fn members_have_the_names_that_the_server_wants() {
        let members = Members { device_id: "deviceId".to_owned(), timestamp: "ts".to_owned() };
        let event = Event { timestamp: Some("7".to_owned()), values: values("1") };
        let expected = r#"{"deviceId":"a","ts":7,"cpu":1,"rps":2}"#;
        assert_eq!(object("a", &event, &members), expected);
    }

    #[test]
    fn gzip_gives_the_same_text_back() {
        let bodies = bodies(&[device("c", 1)], &members(), Form::Single, 1, true);
        let mut text = String::new();
        let coded = bodies[0].bytes.as_slice();
        flate2::read::GzDecoder::new(coded).read_to_string(&mut text).unwrap();
        assert_eq!(text, C0);
    }
}
