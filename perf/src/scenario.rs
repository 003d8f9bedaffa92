//! What is sent: requests of a fixed length whose timestamps, devices and values change.
//!
//! A template is patched in place, so that building a request costs the generator little. Values
//! are uniform: nothing is ever two deviations off, and every answer has the same length.

use crate::devices::Devices;
use clap::ValueEnum;

/// Timestamps go round in this many milliseconds: none is ahead of the server's clock, and none is
/// older than the store's five minutes.
const SPAN_MS: u64 = 200_000;

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
    /// 1,000 events a request, all with different keys; by default one of each device.
    Ndjson,
}

impl Scenario {
    /// As in the table and in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Device => "single, device id",
            Self::Pipelined => "pipelined ×16",
            Self::Ndjson => "NDJSON, 1,000 events",
        }
    }

    /// Requests that a connection sends before it waits for all their answers.
    #[must_use]
    pub const fn requests_per_turn(self) -> usize {
        match self {
            Self::Pipelined => PIPELINED,
            _ => 1,
        }
    }

    /// Events of one request.
    #[must_use]
    pub const fn events_per_request(self) -> usize {
        match self {
            Self::Ndjson => BATCH,
            _ => 1,
        }
    }

    /// One event, with room for the digits of a device's id.
    fn template(self, digits: usize) -> String {
        match self {
            Self::Single | Self::Pipelined => ANONYMOUS.to_owned(),
            Self::Device | Self::Ndjson => {
                OF_A_DEVICE.replacen("device-", &format!("device-{:0<digits$}", ""), 1)
            }
        }
    }
}

/// An endless stream of requests.
#[derive(Clone, Debug)]
pub struct Traffic {
    scenario: Scenario,
    devices: Devices,
    head: String,
    template: String,
    /// Where the changing digits of the template start.
    device_at: Option<usize>,
    timestamp_at: usize,
    cpu_at: usize,
    rps_at: usize,
    oldest_ms: u64,
    events: u64,
    random: u64,
}

impl Traffic {
    /// Requests for `authority`, with timestamps of the minutes before `now_ms`; where they are a
    /// device's, of 1,000 in turn.
    #[must_use]
    pub fn new(scenario: Scenario, authority: &str, now_ms: u64) -> Self {
        Self::of(scenario, Devices::default(), authority, now_ms)
    }

    /// The same of other devices.
    #[must_use]
    pub fn of(scenario: Scenario, devices: Devices, authority: &str, now_ms: u64) -> Self {
        let template = scenario.template(devices.digits());
        let events = scenario.events_per_request();
        // Each line of NDJSON ends with a newline.
        let length = if events > 1 { events * (template.len() + 1) } else { template.len() };
        let kind = if events > 1 { "application/x-ndjson" } else { "application/json" };
        let behind = |text: &str| template.find(text).map_or(0, |at| at + text.len());
        Self {
            scenario,
            devices,
            head: format!(
                "POST /metrics HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {kind}\r\n\
                 Content-Length: {length}\r\n\r\n"
            ),
            device_at: template.find("device-").map(|at| at + "device-".len()),
            timestamp_at: behind("\"timestamp\":"),
            cpu_at: behind("\"cpu\":") + 1,
            rps_at: behind("\"rps\":") + 2,
            template,
            oldest_ms: now_ms - SPAN_MS,
            events: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Has timestamps be of the minutes before `now_ms` from now on: where a stream goes on for
    /// longer than those, its events would become older than the store keeps them.
    pub fn renew(&mut self, now_ms: u64) {
        self.oldest_ms = now_ms - SPAN_MS;
    }

    /// The bytes of the next turn of one connection, in place of what `out` held.
    pub fn next_turn(&mut self, out: &mut Vec<u8>) {
        out.clear();
        for _ in 0..self.scenario.requests_per_turn() {
            out.extend_from_slice(self.head.as_bytes());
            let events = self.scenario.events_per_request();
            for _ in 0..events {
                self.event(out);
                if events > 1 {
                    out.push(b'\n');
                }
            }
        }
    }

    fn event(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.template.as_bytes());
        let Some(event) = out.get_mut(start..) else {
            return;
        };
        let mut moment = self.events;
        if let Some(at) = self.device_at {
            let device;
            (device, moment) = self.devices.sender(self.events);
            digits(event, at, self.devices.digits(), device);
        }
        digits(event, self.timestamp_at, 13, self.oldest_ms + moment % SPAN_MS);
        self.events += 1;
        // Knuth's multiplier; the upper bits are the good ones.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        digits(event, self.cpu_at, 1, (self.random >> 40) % 10);
        digits(event, self.rps_at, 2, (self.random >> 50) % 100);
    }
}

/// Writes `value` with leading zeros into `width` bytes.
fn digits(text: &mut [u8], at: usize, width: usize, mut value: u64) {
    for byte in text.iter_mut().skip(at).take(width).rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn turn(scenario: Scenario) -> String {
        let mut out = Vec::new();
        let mut traffic = Traffic::new(scenario, "127.0.0.1:1", NOW_MS);
        traffic.next_turn(&mut out);
        traffic.next_turn(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_single_metric_is_51_bytes_of_valid_json() {
        let text = turn(Scenario::Single);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with("Content-Length: 51"), "{head}");
        assert_eq!(body.len(), 51);
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["timestamp"], NOW_MS - SPAN_MS + 1);
        assert!((40.0..50.0).contains(&value["cpu"].as_f64().unwrap()), "{body}");
        assert!((1000.0..2000.0).contains(&value["rps"].as_f64().unwrap()), "{body}");
    }

    #[test]
    fn a_batch_has_one_event_of_each_device_and_distinct_keys() {
        let text = turn(Scenario::Ndjson);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let ids: BTreeSet<String> = body
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .inspect(|value| assert_eq!(value["timestamp"], NOW_MS - SPAN_MS + 1))
            .map(|value| value["device_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn a_larger_fleet_has_longer_ids_and_goes_on_where_the_last_batch_ended() {
        use crate::devices::Order;
        let devices = Devices::of(1_500, Order::InTurn);
        let mut traffic = Traffic::of(Scenario::Ndjson, devices, "127.0.0.1:1", NOW_MS);
        let mut events = || {
            let mut out = Vec::new();
            traffic.next_turn(&mut out);
            traffic.renew(NOW_MS + 5);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            let values = body.lines().map(|line| serde_json::from_str(line).unwrap());
            values.collect::<Vec<serde_json::Value>>()
        };
        let (first, second) = (events(), events());
        let sent = |event: &serde_json::Value| {
            let id = event["device_id"].as_str().unwrap().to_owned();
            (id, event["timestamp"].as_u64().unwrap() + SPAN_MS - NOW_MS)
        };
        assert_eq!(sent(&first[0]), ("device-0000000".to_owned(), 0));
        assert_eq!(sent(&first[999]), ("device-0000999".to_owned(), 0));
        assert_eq!(sent(&second[499]), ("device-0001499".to_owned(), 5));
        assert_eq!(sent(&second[500]), ("device-0000000".to_owned(), 6));
    }

    #[test]
    fn a_pipelined_turn_is_sixteen_requests() {
        assert_eq!(turn(Scenario::Pipelined).matches("POST /metrics").count(), 16);
    }
}
