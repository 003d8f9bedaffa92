//! Requests of a fixed length whose timestamps, devices and values change.
//!
//! A turn is what a connection sends before it waits for all answers. Its bytes are a template,
//! patched in place at the places of a [`Layout`]: by [`Traffic`] here, and by `drive/wrk.lua` in
//! the generator. Values are uniform: none is ever two deviations off, and every answer has the
//! same length. What is compressed cannot be patched, so [`Traffic`] makes each such turn anew.

use crate::devices::Devices;
use crate::scenario::Scenario;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::io::Write as _;

/// Timestamps go round in this many milliseconds: none is ahead of the server's clock, and none is
/// older than the store's five minutes.
pub const SPAN_MS: u64 = 200_000;

/// The digits of a timestamp.
const TIMESTAMP_DIGITS: usize = 13;

/// The way in which a server wants its lines of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// An event a line, with all its fields.
    #[default]
    Corepulse,
    /// A field a line, with its series and lists of values and timestamps.
    VictoriaMetrics,
}

/// The places of the bytes that change in a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// Events of a turn.
    pub events: usize,
    /// Events of a request.
    pub batch: usize,
    /// Bytes of a request.
    pub request: usize,
    /// Bytes of its head, and of what stands in the body before the first event.
    pub head: usize,
    /// Bytes from an event to the next of the same request.
    pub stride: usize,
    /// Digits of a device's number.
    pub digits: usize,
    // Bytes from the start of an event to the changing digits.
    pub devices_at: Vec<usize>,
    pub timestamps_at: Vec<usize>,
    pub values_at: Vec<usize>,
    /// Digits of the value at the same index.
    pub values_digits: Vec<usize>,
}

/// An event, with zeros where digits change.
#[derive(Clone, Debug, Default)]
struct Template {
    text: String,
    layout: Layout,
}

impl Template {
    fn device(&mut self, digits: usize) {
        self.text += "device-";
        self.layout.devices_at.push(self.text.len());
        self.text += &"0".repeat(digits);
        self.layout.digits = digits;
    }

    fn timestamp(&mut self) {
        self.layout.timestamps_at.push(self.text.len());
        self.text += &"0".repeat(TIMESTAMP_DIGITS);
    }

    fn value(&mut self, &(_, before, digits, behind): &(&str, &str, usize, &str)) {
        self.text += before;
        self.layout.values_at.push(self.text.len());
        self.layout.values_digits.push(digits);
        self.text += &"0".repeat(digits);
        self.text += behind;
    }

    fn json(scenario: Scenario, digits: usize) -> Self {
        let mut own = Self::default();
        own.text += "{";
        if scenario.has_devices() {
            own.text += "\"device_id\":\"";
            own.device(digits);
            own.text += "\",";
        }
        own.text += "\"timestamp\":";
        own.timestamp();
        for field in scenario.fields() {
            own.text += &format!(",\"{}\":", field.0);
            own.value(field);
        }
        own.text += "}";
        own
    }

    /// Returns what VictoriaMetrics imports.
    fn series(scenario: Scenario, digits: usize) -> Self {
        let mut own = Self::default();
        for field in scenario.fields() {
            own.text += &format!("{{\"metric\":{{\"__name__\":\"{}\",\"device_id\":\"", field.0);
            own.device(digits);
            own.text += "\"},\"values\":[";
            own.value(field);
            own.text += "],\"timestamps\":[";
            own.timestamp();
            own.text += "]}\n";
        }
        own
    }

    fn line(scenario: Scenario, digits: usize) -> Self {
        let mut own = Self::default();
        own.text += "m,device_id=";
        own.device(digits);
        for (index, field) in scenario.fields().enumerate() {
            own.text += if index == 0 { " " } else { "," };
            own.text += &format!("{}=", field.0);
            own.value(field);
        }
        own.text += " ";
        own.timestamp();
        own.text += "\n";
        own
    }
}

/// The form of a request.
struct Form {
    event: Template,
    path: &'static str,
    media_type: &'static str,
    /// Text before the first event, between two, and behind the last.
    around: [&'static str; 3],
}

impl Form {
    fn of(scenario: Scenario, dialect: Dialect, digits: usize) -> Self {
        let json = || Template::json(scenario, digits);
        let (event, path, media_type, around) = match scenario {
            Scenario::LineProtocol => {
                let event = Template::line(scenario, digits);
                (event, "/write?precision=ms", "text/plain", ["", "", ""])
            }
            Scenario::Ndjson if dialect == Dialect::VictoriaMetrics => {
                let event = Template::series(scenario, digits);
                (event, "/api/v1/import", "application/x-ndjson", ["", "", ""])
            }
            Scenario::Ndjson | Scenario::Hundred | Scenario::Gzip | Scenario::Eight => {
                (json(), "/metrics", "application/x-ndjson", ["", "\n", "\n"])
            }
            Scenario::Array => (json(), "/metrics", "application/json", ["[", ",", "]"]),
            Scenario::Single | Scenario::Device | Scenario::Pipelined => {
                (json(), "/metrics", "application/json", ["", "", ""])
            }
        };
        Self { event, path, media_type, around }
    }

    fn head(&self, host: &str, coding: &str, length: usize) -> String {
        let Self { path, media_type, .. } = self;
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\n{coding}\
             Content-Length: {length}\r\n\r\n"
        )
    }
}

/// An endless stream of turns.
pub struct Traffic {
    /// Where its bytes change, but for those that are compressed.
    pub layout: Layout,
    /// The devices of the first events; those of later events are the same again.
    pub listed: Vec<u32>,
    /// Events in a row that share a timestamp.
    pub together: u64,
    /// True if each turn is compressed.
    pub is_compressed: bool,
    form: Form,
    host: String,
    turn: Vec<u8>,
    oldest_ms: u64,
    events: usize,
    random: fastrand::Rng,
}

impl Traffic {
    /// Makes requests for `host`, with timestamps of the minutes before `now_ms`; where events are
    /// a device's, of 1,000 in turn.
    pub fn new(scenario: Scenario, host: &str, now_ms: u64) -> Self {
        Self::of(scenario, Dialect::default(), Devices::default(), host, now_ms)
    }

    /// Makes the same of other devices, and in another dialect.
    pub fn of(
        scenario: Scenario,
        dialect: Dialect,
        devices: Devices,
        host: &str,
        now_ms: u64,
    ) -> Self {
        let (batch, has_devices) = (scenario.events_per_request(), scenario.has_devices());
        let form = Form::of(scenario, dialect, devices.digits);
        let [opening, between, closing] = form.around;
        let event = &form.event.text;
        let body = opening.to_owned() + &vec![event.as_str(); batch].join(between) + closing;
        let request = form.head(host, "", body.len()) + &body;
        let layout = Layout {
            events: batch * scenario.requests_per_turn(),
            batch,
            request: request.len(),
            head: request.len() - body.len() + opening.len(),
            stride: event.len() + between.len(),
            ..form.event.layout.clone()
        };
        Self {
            layout,
            // Without a device, each event has a moment of its own.
            listed: if has_devices { devices.listed() } else { vec![0] },
            together: if has_devices { devices.together() } else { 1 },
            is_compressed: scenario == Scenario::Gzip,
            form,
            host: host.to_owned(),
            turn: request.repeat(scenario.requests_per_turn()).into_bytes(),
            oldest_ms: now_ms - SPAN_MS,
            events: 0,
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// Begins with the turn of this number.
    pub fn skip_to(&mut self, turn: u64) {
        let turns = usize::try_from(turn).unwrap_or(0);
        self.events = turns.wrapping_mul(self.layout.events);
    }

    /// Writes the next turn to `out`, in place of what that held.
    pub fn next_turn(&mut self, out: &mut Vec<u8>) {
        let Layout { events, batch, request, head, stride, digits, .. } = self.layout;
        for number in 0..events {
            let start = number / batch * request + head + number % batch * stride;
            let device =
                self.listed.get(self.events % self.listed.len()).map_or(0, |&id| id.into());
            let moment = self.events as u64 / self.together % SPAN_MS;
            self.events += 1;
            let mut write =
                |at, width, value| write_digits(&mut self.turn, start + at, width, value);
            for &at in &self.layout.devices_at {
                write(at, digits, device);
            }
            for &at in &self.layout.timestamps_at {
                write(at, TIMESTAMP_DIGITS, self.oldest_ms + moment);
            }
            for (&at, &width) in self.layout.values_at.iter().zip(&self.layout.values_digits) {
                write(at, width, self.random.u64(0..if width == 1 { 10 } else { 100 }));
            }
        }
        out.clear();
        if self.is_compressed {
            let body = gzip(self.turn.get(head..).unwrap_or_default());
            let coding = "Content-Encoding: gzip\r\n";
            out.extend_from_slice(self.form.head(&self.host, coding, body.len()).as_bytes());
            out.extend_from_slice(&body);
        } else {
            out.extend_from_slice(&self.turn);
        }
    }
}

/// Returns a text compressed as most clients compress it.
pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Memory takes what is written.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}

/// Writes `value` with leading zeros into `width` bytes.
fn write_digits(text: &mut [u8], at: usize, width: usize, mut value: u64) {
    for byte in text.iter_mut().skip(at).take(width).rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Order;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    const NOW_MS: u64 = 1_800_000_000_000;

    /// The path and the body of each request of the next turn.
    fn requests(traffic: &mut Traffic) -> Vec<(String, String)> {
        let mut out = Vec::new();
        traffic.next_turn(&mut out);
        let mut rest = &out[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let head = str::from_utf8(&rest[..end]).unwrap();
            let length: usize = head.rsplit(' ').next().unwrap().parse().unwrap();
            let body = &rest[end + 4..end + 4 + length];
            rest = &rest[end + 4 + length..];
            let mut text = String::new();
            if head.contains("\r\nContent-Encoding: gzip\r\n") {
                GzDecoder::new(body).read_to_string(&mut text).unwrap();
            } else {
                text = str::from_utf8(body).unwrap().to_owned();
            }
            found.push((head.split(' ').nth(1).unwrap().to_owned(), text));
        }
        found
    }

    /// The device and the moment of each event of the next turn, which is to be valid.
    fn next(traffic: &mut Traffic) -> Vec<(String, u64)> {
        let requests = requests(traffic);
        let lines = requests.iter().flat_map(|(path, body)| {
            assert_eq!(path, "/metrics");
            body.lines()
        });
        let events = lines.map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!((40.0..50.0).contains(&event["cpu"].as_f64().unwrap()), "{line}");
            assert!((1000.0..2000.0).contains(&event["rps"].as_f64().unwrap()), "{line}");
            let id = event["device_id"].as_str().unwrap_or_default().to_owned();
            (id, event["timestamp"].as_u64().unwrap() + SPAN_MS - NOW_MS)
        });
        events.collect()
    }

    #[test]
    fn an_event_without_a_device_has_a_moment_of_its_own() {
        let mut single = Traffic::new(Scenario::Single, "127.0.0.1:1", NOW_MS);
        assert_eq!(single.layout.stride, 51);
        let expected: Vec<_> = (0..16).map(|moment| (String::new(), moment)).collect();
        assert_eq!((0..16).flat_map(|_| next(&mut single)).collect::<Vec<_>>(), expected);
        let mut pipelined = Traffic::new(Scenario::Pipelined, "127.0.0.1:1", NOW_MS);
        assert_eq!(next(&mut pipelined), expected);
        single.skip_to(3);
        assert_eq!(next(&mut single), expected[3..4]);
    }

    #[test]
    fn a_fleet_goes_on_where_the_last_batch_ended() {
        let devices = Devices::of(1500, Order::InTurn);
        for scenario in [Scenario::Ndjson, Scenario::Gzip, Scenario::Eight] {
            let mut traffic =
                Traffic::of(scenario, Dialect::Corepulse, devices, "127.0.0.1:1", NOW_MS);
            let device = |number: u64, moment: u64| (format!("device-{number:07}"), moment);
            let (first, second) = (next(&mut traffic), next(&mut traffic));
            assert_eq!((&first[0], &first[999]), (&device(0, 0), &device(999, 0)));
            assert_eq!((&second[499], &second[500]), (&device(1499, 0), &device(0, 1)));
        }
    }

    /// The only request of the second turn.
    fn second(scenario: Scenario, dialect: Dialect) -> (String, String) {
        let mut traffic = Traffic::of(scenario, dialect, Devices::default(), "a", NOW_MS);
        requests(&mut traffic);
        requests(&mut traffic).remove(0)
    }

    #[test]
    fn the_same_events_come_in_each_form() {
        let lines = second(Scenario::Ndjson, Dialect::Corepulse).1;
        let array = second(Scenario::Array, Dialect::Corepulse).1;
        assert_eq!(array, format!("[{}]", lines.trim_end().replace('\n', ",")));
        for dialect in [Dialect::Corepulse, Dialect::VictoriaMetrics] {
            let (path, protocol) = second(Scenario::LineProtocol, dialect);
            assert_eq!((path.as_str(), protocol.lines().count()), ("/write?precision=ms", 1000));
            let (path, series) = second(Scenario::Ndjson, dialect);
            let is_imported = dialect == Dialect::VictoriaMetrics;
            assert_eq!(path == "/api/v1/import", is_imported);
            for (at, line) in lines.lines().enumerate() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                let (device, time) = (event["device_id"].as_str().unwrap(), &event["timestamp"]);
                let fields =
                    format!("cpu={:.1},rps={}", event["cpu"].as_f64().unwrap(), event["rps"]);
                let expected = format!("m,device_id={device} {fields} {time}");
                assert_eq!(protocol.lines().nth(at), Some(expected.as_str()));
                if !is_imported {
                    continue;
                }
                for (field, line) in ["cpu", "rps"].iter().zip(series.lines().skip(at * 2)) {
                    let expected = serde_json::json!({
                        "metric": {"__name__": field, "device_id": device},
                        "values": [event[field]], "timestamps": [time],
                    });
                    assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn eight_fields_are_all_there() {
        let line = second(Scenario::Eight, Dialect::Corepulse).1;
        let event: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        let arguments = Scenario::Eight.arguments();
        let names = arguments[1].split(',').map(|field| field.split('=').next().unwrap());
        assert_eq!(names.filter(|name| event[name].is_number()).count(), 8);
        assert_eq!(event.as_object().unwrap().len(), 10);
        assert!(Scenario::Ndjson.arguments().is_empty());
    }
}
