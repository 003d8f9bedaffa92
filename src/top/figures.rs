//! The figures of a server: its answers to `/stats` and `/devices?sort=z`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use socket2::Socket;

use crate::api::json;
use crate::config::Config;
use crate::local_server;

/// The devices that are shown: those furthest from their means.
const DEVICES: &str = "/devices?sort=z&limit=50";

/// The most bytes of an answer; the largest is a hundredth of that.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The figures of a server at one moment.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) stats: Stats,
    pub(super) devices: Devices,
}

/// The answer to `/stats`, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    pub(super) time: String,
    pub(super) instance: String,
    pub(super) version: String,
    pub(super) uptime_seconds: f64,
    pub(super) fields: Vec<FieldFigures>,
    pub(super) rates: BTreeMap<String, Rates>,
    pub(super) totals: Totals,
    pub(super) latency_seconds: Latency,
    pub(super) cores: Vec<Core>,
    pub(super) connections: Bounded,
    pub(super) devices: Held,
    pub(super) store: Store,
    pub(super) memory: Memory,
    pub(super) problems: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FieldFigures {
    pub(super) name: String,
    pub(super) rolling_average: Option<f64>,
    pub(super) stddev: Option<f64>,
    pub(super) last: Option<f64>,
    pub(super) z_score: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Rates {
    pub(super) accepted: f64,
    pub(super) rejected: f64,
    pub(super) anomalies: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Totals {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) anomalies: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    #[serde(rename = "p99.9")]
    pub(super) p999: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Core {
    pub(super) busy: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Bounded {
    pub(super) open: u64,
    pub(super) max: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) held: u64,
    pub(super) max: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Store {
    pub(super) kind: String,
    pub(super) up: bool,
    pub(super) pending: u64,
    pub(super) queue_share: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Memory {
    pub(super) resident_bytes: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) since: Option<String>,
    pub(super) text: String,
    pub(super) advice: String,
}

/// The answer to `/devices`, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Devices {
    pub(super) devices: Vec<Device>,
    pub(super) total: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) last_seen: String,
    pub(super) anomalous: bool,
    pub(super) points: u64,
    pub(super) z: Option<f64>,
    pub(super) fields: BTreeMap<String, DeviceField>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeviceField {
    pub(super) last: Option<f64>,
    pub(super) rolling_average: Option<f64>,
}

impl Figures {
    /// Asks the server that was started with the same configuration. The error is for people.
    pub(super) fn ask(config: &Config) -> Result<Self, String> {
        Ok(Self { stats: get(config, "/stats")?, devices: get(config, DEVICES)? })
    }
}

/// Returns the JSON at a path.
fn get<T: DeserializeOwned>(config: &Config, target: &str) -> Result<T, String> {
    let token = config
        .read_token
        .as_ref()
        .map_or_else(String::new, |token| format!("Authorization: Bearer {}\r\n", token.expose()));
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n");
    let talk = |mut stream: Socket| -> io::Result<Vec<u8>> {
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let (answer, address) = local_server::exchange(&config.listen, talk)
        .map_err(|(error, address)| format!("GET {target} at {address}: {error}"))?;
    let body = body(&answer).map_err(|status| match status {
        "401" => format!("GET {target} at {address}: it asks for --read-token"),
        _ => format!("GET {target} at {address}: expected 200, found {status:?}"),
    })?;
    json::read(body).ok_or_else(|| format!("GET {target} at {address}: no answer of corepulse"))
}

/// Returns the body of an answer with 200, or the status of another one.
fn body(answer: &[u8]) -> Result<&[u8], &str> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").unwrap_or_default();
    let status = rest.get(..3).and_then(|status| std::str::from_utf8(status).ok());
    if status != Some("200") {
        return Err(status.unwrap_or_default());
    }
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    Ok(end.and_then(|end| answer.get(end + 4..)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_body_of_200_is_read() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}\r\n\r\n"), Ok(&b"{}\r\n\r\n"[..]));
        assert_eq!(body(b"HTTP/1.1 401 Unauthorized\r\n\r\n{}"), Err("401"));
        for wrong in [&b""[..], b"HTTP/1.1 ", b"SSH-2.0", b"HTTP/1.1 \xff\xff\xff"] {
            assert_eq!(body(wrong), Err(""));
        }
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n"), Ok(&b""[..]));
    }
}
