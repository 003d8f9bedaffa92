//! Requests of a fixed length whose timestamps, devices and values change.
//!
//! A turn is what a connection sends before it waits for all answers. Its bytes are a template,
//! patched in place at the places of a [`Layout`]: by [`Traffic`] here, and by `drive/wrk.lua` in
//! the generator. Values are uniform: none is ever two deviations off, and every answer has the
//! same length.

use crate::devices::Devices;
use clap::ValueEnum;

/// Timestamps go round in this many milliseconds: none is ahead of the server's clock, and none is
/// older than the store's five minutes.
pub const SPAN_MS: u64 = 200_000;

const PIPELINED: usize = 16;
const BATCH: usize = 1000;

const ANONYMOUS: &str = r#"{"timestamp":0000000000000,"cpu":40.0,"rps":1000.5}"#;
const OF_A_DEVICE: &str =
    r#"{"device_id":"device-","timestamp":0000000000000,"cpu":40.0,"rps":1000.5}"#;

/// One way to send metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One metric of 51 bytes a request, without a device.
    Single,
    /// One metric of a device a request.
    Device,
    /// Sixteen requests of [`Self::Single`] at once.
    Pipelined,
    /// 1,000 events a request, all with different keys.
    Ndjson,
}

impl Scenario {
    /// Returns its name in tables and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Device => "single, device id",
            Self::Pipelined => "pipelined ×16",
            Self::Ndjson => "NDJSON, 1,000 events",
        }
    }

    /// Returns how many requests a connection sends before it waits for all their answers.
    #[must_use]
    pub const fn requests_per_turn(self) -> usize {
        match self {
            Self::Pipelined => PIPELINED,
            _ => 1,
        }
    }

    /// Returns how many events a request has.
    #[must_use]
    pub const fn events_per_request(self) -> usize {
        match self {
            Self::Ndjson => BATCH,
            _ => 1,
        }
    }

    /// Returns the media type of its bodies.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            _ => "application/json",
        }
    }

    /// Returns true if its events have a device id.
    #[must_use]
    pub const fn has_devices(self) -> bool {
        matches!(self, Self::Device | Self::Ndjson)
    }

    /// Returns one event, with room for the digits of a device's number.
    fn template(self, digits: usize) -> String {
        if !self.has_devices() {
            return ANONYMOUS.to_owned();
        }
        // Each line of NDJSON ends with a newline.
        let end = if self == Self::Ndjson { "\n" } else { "" };
        OF_A_DEVICE.replacen("device-", &format!("device-{:0<digits$}", ""), 1) + end
    }
}

/// The places of the bytes that change in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Events of a turn.
    pub events: usize,
    /// Events of a request.
    pub batch: usize,
    /// Bytes of a request.
    pub request: usize,
    /// Bytes of its head.
    pub head: usize,
    /// Bytes from an event to the next of the same request.
    pub stride: usize,
    /// Digits of a device's number; none without a device.
    pub digits: usize,
    /// From the start of an event to the device's number.
    pub device_at: usize,
    /// To the thirteen digits of the timestamp.
    pub timestamp_at: usize,
    /// To the second digit of `cpu`.
    pub cpu_at: usize,
    /// To the third digit of `rps`.
    pub rps_at: usize,
}

/// An endless stream of turns.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Where its bytes change.
    pub layout: Layout,
    turn: Vec<u8>,
    listed: Vec<u32>,
    together: u64,
    oldest_ms: u64,
    events: u64,
    random: fastrand::Rng,
}

impl Traffic {
    /// Makes requests for `host`, with timestamps of the minutes before `now_ms`; where events are
    /// a device's, of 1,000 in turn.
    #[must_use]
    pub fn new(scenario: Scenario, host: &str, now_ms: u64) -> Self {
        Self::of(scenario, Devices::default(), host, now_ms)
    }

    /// Makes the same of other devices.
    #[must_use]
    pub fn of(scenario: Scenario, devices: Devices, host: &str, now_ms: u64) -> Self {
        let batch = scenario.events_per_request();
        let event = scenario.template(devices.digits);
        let head = format!(
            "POST /metrics HTTP/1.1\r\nHost: {host}\r\nContent-Type: {}\r\n\
             Content-Length: {}\r\n\r\n",
            scenario.media_type(),
            batch * event.len()
        );
        let request = head.clone() + &event.repeat(batch);
        let behind = |text: &str| event.find(text).map_or(0, |at| at + text.len());
        let layout = Layout {
            events: batch * scenario.requests_per_turn(),
            batch,
            request: request.len(),
            head: head.len(),
            stride: event.len(),
            digits: if scenario.has_devices() { devices.digits } else { 0 },
            device_at: behind("device-"),
            timestamp_at: behind("\"timestamp\":"),
            cpu_at: behind("\"cpu\":") + 1,
            rps_at: behind("\"rps\":") + 2,
        };
        // Without a device, each event has a moment of its own.
        let is_one = !scenario.has_devices();
        Self {
            layout,
            turn: request.repeat(scenario.requests_per_turn()).into_bytes(),
            listed: if is_one { vec![0] } else { devices.listed() },
            together: if is_one { 1 } else { u64::from(devices.together()) },
            oldest_ms: now_ms - SPAN_MS,
            events: 0,
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// Returns the devices in their order, and how many events in a row share a timestamp.
    #[must_use]
    pub fn order(&self) -> (&[u32], u64) {
        (&self.listed, self.together)
    }

    /// Writes the next turn to `out`, in place of what that held.
    pub fn next_turn(&mut self, out: &mut Vec<u8>) {
        let Layout { events, batch, request, head, stride, .. } = self.layout;
        for event in 0..events {
            self.patch(event / batch * request + head + event % batch * stride);
        }
        out.clear();
        out.extend_from_slice(&self.turn);
    }

    /// Patches the event that begins at `start`.
    fn patch(&mut self, start: usize) {
        let Layout { digits, device_at, timestamp_at, cpu_at, rps_at, .. } = self.layout;
        let Some(event) = self.turn.get_mut(start..) else { return };
        let listed = u64::try_from(self.listed.len()).unwrap_or(1);
        let at = usize::try_from(self.events % listed).unwrap_or(0);
        let device = self.listed.get(at).copied().unwrap_or(0);
        let moment = self.events / self.together % SPAN_MS;
        self.events += 1;
        write_digits(event, device_at, digits, device.into());
        write_digits(event, timestamp_at, 13, self.oldest_ms + moment);
        write_digits(event, cpu_at, 1, self.random.u64(0..10));
        write_digits(event, rps_at, 2, self.random.u64(0..100));
    }
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

    const NOW_MS: u64 = 1_800_000_000_000;

    /// The head and the events of a turn: the device of each, and its moment.
    fn next(traffic: &mut Traffic) -> (String, Vec<(String, u64)>) {
        let mut out = Vec::new();
        traffic.next_turn(&mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let events = body.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!((40.0..50.0).contains(&event["cpu"].as_f64().unwrap()), "{line}");
            assert!((1000.0..2000.0).contains(&event["rps"].as_f64().unwrap()), "{line}");
            let id = event["device_id"].as_str().unwrap_or_default().to_owned();
            (id, event["timestamp"].as_u64().unwrap() + SPAN_MS - NOW_MS)
        });
        (head.to_owned(), events.collect())
    }

    #[test]
    fn a_single_metric_is_51_bytes_of_valid_json() {
        let mut traffic = Traffic::new(Scenario::Single, "127.0.0.1:1", NOW_MS);
        next(&mut traffic);
        let (head, events) = next(&mut traffic);
        assert!(head.ends_with("Content-Length: 51"), "{head}");
        assert_eq!(events, [(String::new(), 1)]);
    }

    #[test]
    fn a_fleet_goes_on_where_the_last_batch_ended() {
        let devices = Devices::of(1500, Order::InTurn);
        let mut traffic = Traffic::of(Scenario::Ndjson, devices, "127.0.0.1:1", NOW_MS);
        let device = |number: u64, moment: u64| (format!("device-{number:07}"), moment);
        let (first, second) = (next(&mut traffic).1, next(&mut traffic).1);
        assert_eq!((&first[0], &first[999]), (&device(0, 0), &device(999, 0)));
        assert_eq!((&second[499], &second[500]), (&device(1499, 0), &device(0, 1)));
    }

    #[test]
    fn a_pipelined_turn_is_sixteen_requests_with_a_moment_each() {
        let mut traffic = Traffic::new(Scenario::Pipelined, "127.0.0.1:1", NOW_MS);
        let mut out = Vec::new();
        traffic.next_turn(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("POST /metrics").count(), 16);
        for moment in 0..16 {
            let timestamp = format!("\"timestamp\":{},", NOW_MS - SPAN_MS + moment);
            assert_eq!(text.matches(&timestamp).count(), 1, "{timestamp}");
        }
    }
}
