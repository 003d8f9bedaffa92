//! The figures of a server: its answers to `/stats` and `/devices?sort=z`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::json;
use crate::config::Config;
use crate::config::arguments::Scope;
use crate::config::server_url::ServerUrl;
use crate::http_client::{HttpClient, Place, TIMEOUT};

/// The devices that are shown: those furthest from their means.
const DEVICES: &str = "/devices?sort=z&limit=50";

/// The figures of a server at one moment.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) stats: Stats,
    pub(super) devices: Devices,
}

/// The answer to `/stats`, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    /// The fleet that the server is in.
    #[serde(default)]
    fleet: Option<Fleet>,
    /// The replicas of a fleet.
    #[serde(default)]
    pub(super) members: Vec<Member>,
    /// Those of them that have not answered.
    #[serde(default)]
    pub(super) missing: Vec<String>,
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
struct Fleet {}

#[derive(Debug, Deserialize)]
pub(super) struct Member {}

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
    /// The replica of a fleet.
    #[serde(default)]
    pub(super) instance: Option<String>,
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
    /// The replica of a fleet.
    #[serde(default)]
    pub(super) instance: Option<String>,
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

/// The server whose figures are shown.
#[derive(Debug)]
pub(super) struct Source {
    client: HttpClient,
    has_token: bool,
    scope: Option<Scope>,
}

impl Source {
    /// Returns the server at a URL, or the one that was started with the same configuration.
    pub(super) fn new(config: &Config, to: Option<ServerUrl>, scope: Option<Scope>) -> Self {
        let place = Place::new(to, config.own_address());
        let token = config.read_token.as_ref();
        Self { client: HttpClient::new(place, token, TIMEOUT), has_token: token.is_some(), scope }
    }

    /// Asks for the figures. The error is for people.
    pub(super) fn ask(&mut self) -> Result<Figures, String> {
        if self.scope != Some(Scope::Fleet) {
            let stats: Stats = self.get("/stats")?;
            if self.scope == Some(Scope::Instance) || stats.fleet.is_none() {
                return Ok(Figures { stats, devices: self.get(DEVICES)? });
            }
        }
        let devices = format!("{DEVICES}&scope=fleet");
        Ok(Figures { stats: self.get("/stats?scope=fleet")?, devices: self.get(&devices)? })
    }

    /// Returns the JSON at a path.
    fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, String> {
        let answer = self.client.get(target);
        let (answer, address) = answer.map_err(|error| format!("GET {target} at {error}"))?;
        let fault = match answer.status {
            200 => match json::read(&answer.body) {
                Some(value) => return Ok(value),
                None => "no answer of corepulse".to_owned(),
            },
            400 if self.scope == Some(Scope::Fleet) => "it is in no fleet".to_owned(),
            401 if self.has_token => "this is not its --read-token".to_owned(),
            401 => "it asks for --read-token".to_owned(),
            status => format!("expected 200, found {status}"),
        };
        Err(format!("GET {target} at {address}: {fault}"))
    }
}
