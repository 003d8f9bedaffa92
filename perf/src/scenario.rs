//! What is sent: requests of a fixed length whose timestamps, devices and values change.
//!
//! A template is patched in place, so that building a request costs the generator little. Values
//! are uniform: nothing is ever two deviations off, and every answer has the same length.

use clap::ValueEnum;

/// Devices of the fleet.
pub const DEVICES: u64 = 1000;

/// Timestamps go round in this many milliseconds: none is ahead of the server's clock, and none is
/// older than the store's five minutes.
const SPAN_MS: u64 = 200_000;

const PIPELINED: usize = 16;
const BATCH: usize = 1000;

const ANONYMOUS: &str = r#"{"timestamp":0000000000000,"cpu":40.0,"rps":1000.5}"#;
/// Digits of a device's number, and more where the fleet needs them.
const DEVICE_DIGITS: usize = 4;

/// How many of each a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Devices in turn, where events have one.
    pub devices: u64,
    /// Events of a request of [`Scenario::Ndjson`].
    pub batch: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self { devices: DEVICES, batch: BATCH }
    }
}

impl Extent {
    /// Events of one request.
    #[must_use]
    pub const fn events_per_request(self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Ndjson => self.batch,
            _ => 1,
        }
    }

    /// Digits of the last device's number.
    fn device_digits(self) -> usize {
        self.devices.saturating_sub(1).to_string().len().max(DEVICE_DIGITS)
    }
}

/// One way to send metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One metric of 51 bytes a request, without a device.
    Single,
    /// One metric of a device a request, 1,000 devices in turn.
    Device,
    /// Sixteen requests of [`Self::Single`] at once.
    Pipelined,
    /// 1,000 events a request, one of each device, all with different keys.
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

    /// Events of one request, unless another [`Extent`] says so.
    #[must_use]
    pub const fn events_per_request(self) -> usize {
        match self {
            Self::Ndjson => BATCH,
            _ => 1,
        }
    }

    fn template(self, extent: Extent) -> String {
        match self {
            Self::Single | Self::Pipelined => ANONYMOUS.to_owned(),
            Self::Device | Self::Ndjson => {
                let number = "0".repeat(extent.device_digits());
                let of_a_device = format!("{{\"device_id\":\"device-{number}\",");
                ANONYMOUS.replacen('{', &of_a_device, 1)
            }
        }
    }
}

/// An endless stream of requests.
#[derive(Clone, Debug)]
pub struct Traffic {
    scenario: Scenario,
    extent: Extent,
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
    /// Requests for `authority`, with timestamps of the minutes before `now_ms`.
    #[must_use]
    pub fn new(scenario: Scenario, authority: &str, now_ms: u64) -> Self {
        Self::of(scenario, Extent::default(), authority, now_ms)
    }

    /// The same with other numbers of devices and events.
    #[must_use]
    pub fn of(scenario: Scenario, extent: Extent, authority: &str, now_ms: u64) -> Self {
        let template = scenario.template(extent);
        let is_batch = scenario == Scenario::Ndjson;
        // Each line of NDJSON ends with a newline.
        let length = if is_batch { extent.batch * (template.len() + 1) } else { template.len() };
        let kind = if is_batch { "application/x-ndjson" } else { "application/json" };
        let behind = |text: &str| template.find(text).map_or(0, |at| at + text.len());
        Self {
            scenario,
            extent,
            head: format!(
                "POST /metrics HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {kind}\r\n\
                 Content-Length: {length}\r\n\r\n"
            ),
            device_at: template.find("device-").map(|at| at + "device-".len()),
            timestamp_at: behind("\"timestamp\":"),
            cpu_at: behind("\"cpu\":") + 1,
            rps_at: behind("\"rps\":") + 2,
            oldest_ms: now_ms - SPAN_MS,
            events: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            template,
        }
    }

    /// The bytes of the turn of that number. The same number always has the same devices and
    /// moments, so a device keeps its order, and its connection while turns go round.
    pub fn turn(&mut self, number: u64, out: &mut Vec<u8>) {
        let requests = self.scenario.requests_per_turn();
        let events = requests * self.extent.events_per_request(self.scenario);
        self.events = number * u64::try_from(events).unwrap_or(1);
        self.next_turn(out);
    }

    /// The bytes of the next turn of one connection, in place of what `out` held.
    pub fn next_turn(&mut self, out: &mut Vec<u8>) {
        out.clear();
        for _ in 0..self.scenario.requests_per_turn() {
            out.extend_from_slice(self.head.as_bytes());
            for _ in 0..self.extent.events_per_request(self.scenario) {
                self.event(out);
                if self.scenario == Scenario::Ndjson {
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
        // All devices send at one moment, then all at the next.
        let devices = self.extent.devices;
        let moment = if self.device_at.is_some() { self.events / devices } else { self.events };
        digits(event, self.timestamp_at, 13, self.oldest_ms + moment % SPAN_MS);
        if let Some(at) = self.device_at {
            digits(event, at, self.extent.device_digits(), self.events % devices);
        }
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
    fn a_turn_has_the_devices_of_its_number() {
        let extent = Extent { devices: 20_000, batch: 2 };
        let mut traffic = Traffic::of(Scenario::Ndjson, extent, "127.0.0.1:1", NOW_MS);
        let mut devices = |number| {
            let mut out = Vec::new();
            traffic.turn(number, &mut out);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            let lines = body.lines().map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let behind_ms = NOW_MS - SPAN_MS;
                let id = value["device_id"].as_str().unwrap().to_owned();
                (id, value["timestamp"].as_u64().unwrap() - behind_ms)
            });
            lines.collect::<Vec<_>>()
        };
        let of = |number, ms| (format!("device-{number:05}"), ms);
        assert_eq!(devices(9_999), [of(19_998, 0), of(19_999, 0)]);
        assert_eq!(devices(0), [of(0, 0), of(1, 0)]);
        assert_eq!(devices(10_000), [of(0, 1), of(1, 1)]);
    }

    #[test]
    fn a_pipelined_turn_is_sixteen_requests() {
        assert_eq!(turn(Scenario::Pipelined).matches("POST /metrics").count(), 16);
    }
}
