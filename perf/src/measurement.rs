//! One load on one server, as it stands in a record.

use crate::devices::Order;
use crate::drive::{Drive, Latency};
use crate::scenario::Scenario;
use crate::usage::{Threads, Usage};
use serde::{Deserialize, Serialize};

/// Where the server keeps events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Its own memory, or nowhere.
    Memory,
    /// Redis; a server that cannot write to one is there to be compared with.
    Redis,
}

/// The conditions in which servers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heat {
    /// The requests.
    pub scenario: Scenario,
    /// The order in which devices send.
    pub order: Order,
    /// Where events go.
    pub store: Store,
}

/// Requests for a page beside a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Number of requests; at least one.
    pub count: u32,
    /// Times until the answers.
    pub latency_us: Latency,
}

/// A row of a record. Fields with a default are newer than the oldest records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// From 0.
    pub round: usize,
    /// The name of the scenario.
    pub scenario: String,
    /// The name of the order in which devices sent.
    #[serde(default = "in_turn")]
    pub order: String,
    /// Where events went.
    pub store: Store,
    /// The server's label.
    pub server: String,
    /// Requests a second that were offered; `None` for as many as were answered.
    pub offered_per_second: Option<f64>,
    /// Requests answered.
    pub requests: u64,
    /// Events accepted: by the server's own counter, where it has one.
    pub accepted: u64,
    /// Accepted events that had reached the store by the end.
    pub kept: u64,
    /// Accepted events that the server could not bring to Redis.
    pub dropped: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// CPU seconds of the server.
    pub cpu_seconds: f64,
    /// The part of it that was its own code.
    pub user_seconds: f64,
    /// CPU seconds of each of its threads.
    #[serde(default)]
    pub cpu_seconds_of_threads: Threads,
    /// CPU seconds of the generator.
    pub generator_cpu_seconds: f64,
    /// Resident memory of the server in the end.
    pub resident_bytes: u64,
    /// CPU microseconds a request.
    pub cpu_us_per_request: f64,
    /// CPU microseconds an event.
    pub cpu_us_per_event: f64,
    /// Times until the answers.
    pub latency_us: Latency,
    /// Requests for a page meanwhile.
    #[serde(default)]
    pub asked: Option<Asked>,
}

fn in_turn() -> String {
    Order::InTurn.name().to_owned()
}

impl Measurement {
    /// Puts together what the generator and the kernel say of a load. All events are taken for
    /// accepted and kept; a server with counters knows better.
    pub fn of(round: usize, heat: Heat, server: &str, drive: &Drive, usage: &Usage) -> Self {
        let events_per_request = u64::try_from(heat.scenario.events_per_request()).unwrap_or(1);
        let events = drive.requests * events_per_request;
        Self {
            round,
            scenario: heat.scenario.name().to_owned(),
            order: heat.order.name().to_owned(),
            store: heat.store,
            server: server.to_owned(),
            offered_per_second: None,
            requests: drive.requests,
            accepted: events,
            kept: events,
            dropped: 0,
            seconds: drive.seconds,
            cpu_seconds: usage.cpu,
            user_seconds: usage.user,
            cpu_seconds_of_threads: usage.threads.clone(),
            generator_cpu_seconds: drive.generator,
            resident_bytes: usage.resident_bytes,
            cpu_us_per_request: usage.cpu * 1e6 / number(drive.requests),
            cpu_us_per_event: usage.cpu * 1e6 / number(events),
            latency_us: drive.latency,
            asked: None,
        }
    }

    /// Returns the name of the conditions, as in a table.
    pub fn heat(&self) -> String {
        let order = if self.order == in_turn() { "" } else { self.order.as_str() };
        let store = if self.store == Store::Redis { "Redis" } else { "" };
        let parts = [self.scenario.as_str(), order, store].into_iter();
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the part of the CPU time of a request that was the server's own code.
    pub fn user_us(&self) -> f64 {
        self.user_seconds * 1e6 / number(self.requests)
    }

    /// Returns requests answered a second.
    pub fn requests_per_second(&self) -> f64 {
        number(self.requests) / self.seconds
    }

    /// Returns the share of a core that the server used.
    pub fn server_share(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }

    /// Returns the share of a core that the generator used.
    pub fn generator_share(&self) -> f64 {
        self.generator_cpu_seconds / self.seconds
    }

    /// Returns the share of accepted events that had reached the store; what was under way before
    /// may make it a little more than all.
    pub fn kept_share(&self) -> f64 {
        (number(self.kept) / number(self.accepted.max(1))).min(1.0)
    }

    /// Returns CPU seconds of the threads whose name begins with `prefix`.
    pub fn seconds_of(&self, prefix: &str) -> f64 {
        let named = self.cpu_seconds_of_threads.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(_, seconds)| seconds).sum()
    }
}

/// Returns a count as a number to divide by. Exact below 2^53, far above any count here.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}
