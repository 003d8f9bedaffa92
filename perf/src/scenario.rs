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

/// How much of each a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Whose events they are, where events are a device's.
    pub devices: Devices,
    /// Events of a request of [`Scenario::Ndjson`].
    pub batch: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self { devices: Devices::default(), batch: BATCH }
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
}

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

    /// Events of one request, unless another [`Extent`] says so.
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
    /// Requests for `authority`, with timestamps of the minutes before `now_ms`; where they are a
    /// device's, of 1,000 in turn.
    #[must_use]
    pub fn new(scenario: Scenario, authority: &str, now_ms: u64) -> Self {
        Self::of(scenario, Extent::default(), authority, now_ms)
    }

    /// The same of other devices, or with other batches.
    #[must_use]
    pub fn of(scenario: Scenario, extent: Extent, authority: &str, now_ms: u64) -> Self {
        let template = scenario.template(extent.devices.digits());
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

    /// The numbers that it was made for.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// The number of the next turn.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.events / self.events_per_turn()
    }

    /// Has the next turn be that of this number. The same number always has the same devices and
    /// moments, so a device keeps its order, and its connection while turns go round.
    pub fn go_to(&mut self, turn: u64) {
        self.events = turn * self.events_per_turn();
    }

    fn events_per_turn(&self) -> u64 {
        let requests = self.scenario.requests_per_turn();
        let events = requests * self.extent.events_per_request(self.scenario);
        u64::try_from(events).unwrap_or(1).max(1)
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
        let mut moment = self.events;
        if let Some(at) = self.device_at {
            let device;
            (device, moment) = self.extent.devices.sender(self.events);
            digits(event, at, self.extent.devices.digits(), device);
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
    use crate::devices::Order;
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

    /// Devices and moments of the next batch, which is to have the length that it says.
    fn sent(traffic: &mut Traffic) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        traffic.next_turn(&mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let events = body.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = event["device_id"].as_str().unwrap().to_owned();
            (id, event["timestamp"].as_u64().unwrap() + SPAN_MS - NOW_MS)
        });
        events.collect()
    }

    fn batches(devices: u64, batch: usize) -> Traffic {
        let extent = Extent { devices: Devices::of(devices, Order::InTurn), batch };
        Traffic::of(Scenario::Ndjson, extent, "127.0.0.1:1", NOW_MS)
    }

    fn device(number: u64, moment: u64) -> (String, u64) {
        (format!("device-{number:07}"), moment)
    }

    #[test]
    fn a_larger_fleet_has_longer_ids_and_goes_on_where_the_last_batch_ended() {
        let mut traffic = batches(1_500, 1000);
        let first = sent(&mut traffic);
        traffic.renew(NOW_MS + 5);
        let second = sent(&mut traffic);
        assert_eq!((&first[0], &first[999]), (&device(0, 0), &device(999, 0)));
        assert_eq!((&second[499], &second[500]), (&device(1499, 5), &device(0, 6)));
    }

    #[test]
    fn a_turn_has_the_devices_of_its_number() {
        let mut traffic = batches(20_000, 2);
        let mut turn = |number| {
            traffic.go_to(number);
            assert_eq!(traffic.position(), number);
            sent(&mut traffic)
        };
        assert_eq!(turn(9_999), [device(19_998, 0), device(19_999, 0)]);
        assert_eq!(turn(0), [device(0, 0), device(1, 0)]);
        assert_eq!(turn(10_000), [device(0, 1), device(1, 1)]);
    }

    #[test]
    fn a_pipelined_turn_is_sixteen_requests() {
        assert_eq!(turn(Scenario::Pipelined).matches("POST /metrics").count(), 16);
    }
}
