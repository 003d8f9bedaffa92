//! Requests of a fixed length whose timestamps, devices and values change.
//!
//! A turn is what a connection sends before it waits for all answers. Its bytes are a template,
//! patched in place at the places of a [`Layout`]: by [`Traffic`] here, and by `drive/wrk.lua` in
//! the generator. Values are uniform: none is ever two deviations off, and every answer has the
//! same length.

use crate::devices::Devices;
use clap::ValueEnum;
use serde::Serialize;

/// Timestamps go round in this many milliseconds: none is ahead of the server's clock, and none is
/// older than the store's five minutes.
pub const SPAN_MS: u64 = 200_000;

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
    pub const ALL: [Self; 4] = [Self::Single, Self::Device, Self::Pipelined, Self::Ndjson];

    /// Returns its name in tables and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Device => "single, device id",
            Self::Pipelined => "pipelined ×16",
            Self::Ndjson => "NDJSON, 1,000 events",
        }
    }

    /// Returns how many requests a connection sends before it waits for all their answers.
    pub const fn requests_per_turn(self) -> usize {
        if matches!(self, Self::Pipelined) { 16 } else { 1 }
    }

    /// Returns how many events a request has.
    pub const fn events_per_request(self) -> usize {
        if matches!(self, Self::Ndjson) { 1000 } else { 1 }
    }

    /// Returns the media type of its bodies.
    pub const fn media_type(self) -> &'static str {
        if matches!(self, Self::Ndjson) { "application/x-ndjson" } else { "application/json" }
    }

    /// Returns true if its events have a device id.
    pub const fn has_devices(self) -> bool {
        matches!(self, Self::Device | Self::Ndjson)
    }
}

/// The places of the bytes that change in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    // Bytes from the start of an event to the changing digits.
    pub device_at: usize,
    pub timestamp_at: usize,
    pub cpu_at: usize,
    pub rps_at: usize,
}

/// An endless stream of turns.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Where its bytes change.
    pub layout: Layout,
    /// The devices of the first events; those of later events are the same again.
    pub listed: Vec<u32>,
    /// Events in a row that share a timestamp.
    pub together: u64,
    turn: Vec<u8>,
    oldest_ms: u64,
    events: usize,
    random: fastrand::Rng,
}

impl Traffic {
    /// Makes requests for `host`, with timestamps of the minutes before `now_ms`; where events are
    /// a device's, of 1,000 in turn.
    pub fn new(scenario: Scenario, host: &str, now_ms: u64) -> Self {
        Self::of(scenario, Devices::default(), host, now_ms)
    }

    /// Makes the same of other devices.
    pub fn of(scenario: Scenario, devices: Devices, host: &str, now_ms: u64) -> Self {
        let (batch, has_devices) = (scenario.events_per_request(), scenario.has_devices());
        let digits = if has_devices { devices.digits } else { 0 };
        let device = format!("\"device_id\":\"device-{:0<digits$}\",", "");
        let event = format!(
            "{{{}\"timestamp\":0000000000000,\"cpu\":40.0,\"rps\":1000.5}}{}",
            if has_devices { &device } else { "" },
            // Each line of NDJSON ends with a newline.
            if scenario == Scenario::Ndjson { "\n" } else { "" },
        );
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
            digits,
            device_at: behind("device-"),
            timestamp_at: behind("\"timestamp\":"),
            cpu_at: behind("\"cpu\":") + 1,
            rps_at: behind("\"rps\":") + 2,
        };
        Self {
            layout,
            // Without a device, each event has a moment of its own.
            listed: if has_devices { devices.listed() } else { vec![0] },
            together: if has_devices { devices.together() } else { 1 },
            turn: request.repeat(scenario.requests_per_turn()).into_bytes(),
            oldest_ms: now_ms - SPAN_MS,
            events: 0,
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// Writes the next turn to `out`, in place of what that held.
    pub fn next_turn(&mut self, out: &mut Vec<u8>) {
        let Layout { events, batch, request, head, stride, .. } = self.layout;
        for number in 0..events {
            let start = number / batch * request + head + number % batch * stride;
            let device =
                self.listed.get(self.events % self.listed.len()).map_or(0, |&id| id.into());
            let moment = self.events as u64 / self.together % SPAN_MS;
            self.events += 1;
            let mut write =
                |at, width, value| write_digits(&mut self.turn, start + at, width, value);
            write(self.layout.device_at, self.layout.digits, device);
            write(self.layout.timestamp_at, 13, self.oldest_ms + moment);
            write(self.layout.cpu_at, 1, self.random.u64(0..10));
            write(self.layout.rps_at, 2, self.random.u64(0..100));
        }
        out.clear();
        out.extend_from_slice(&self.turn);
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

    /// The device and the moment of each event of the next turn, which is to be valid.
    fn next(traffic: &mut Traffic) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        traffic.next_turn(&mut out);
        let text = String::from_utf8(out).unwrap();
        let requests = text.split("POST /metrics HTTP/1.1\r\n").skip(1).flat_map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            body.lines()
        });
        let events = requests.map(|line| {
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
    }

    #[test]
    fn a_fleet_goes_on_where_the_last_batch_ended() {
        let devices = Devices::of(1500, Order::InTurn);
        let mut traffic = Traffic::of(Scenario::Ndjson, devices, "127.0.0.1:1", NOW_MS);
        let device = |number: u64, moment: u64| (format!("device-{number:07}"), moment);
        let (first, second) = (next(&mut traffic), next(&mut traffic));
        assert_eq!((&first[0], &first[999]), (&device(0, 0), &device(999, 0)));
        assert_eq!((&second[499], &second[500]), (&device(1499, 0), &device(0, 1)));
    }
}
