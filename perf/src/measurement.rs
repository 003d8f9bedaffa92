//! One load on one server, as it stands in a record.

use crate::devices::Order;
use crate::generator::{Drive, Latency, Shares, number};
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use testkit::usage::{Threads, Usage};

/// The place where the server keeps events.
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
pub struct Conditions {
    pub scenario: Scenario,
    pub order: Order,
    pub store: Store,
}

/// Requests for a page beside a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageLoad {
    /// Number of requests; at least one.
    pub count: u32,
    pub latency_us: Latency,
}

/// A row of a record. Fields with a default are newer than the oldest records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub round: usize,
    pub scenario: String,
    #[serde(default = "in_turn")]
    pub order: String,
    pub store: Store,
    pub server: String,
    /// Requests a second that were offered; `None` for as many as were answered.
    pub offered_per_second: Option<f64>,
    pub requests: u64,
    /// Events accepted: by the server's own counter, where it has one.
    pub accepted: u64,
    /// Accepted events that had reached the store by the end.
    pub kept: u64,
    /// Accepted events that the server could not bring to Redis.
    pub dropped: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// The part of it that was its own code.
    pub user_seconds: f64,
    #[serde(default)]
    pub cpu_seconds_of_threads: Threads,
    pub generator_cpu_seconds: f64,
    /// Resident memory of the server in the end.
    pub resident_bytes: u64,
    pub cpu_us_per_request: f64,
    pub cpu_us_per_event: f64,
    pub latency_us: Latency,
    /// The shares in the latency, at a fixed rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_us: Option<Shares>,
    /// Requests for a page meanwhile.
    #[serde(default)]
    pub page: Option<PageLoad>,
}

fn in_turn() -> String {
    Order::InTurn.name().to_owned()
}

impl Measurement {
    /// Puts together what the generator and the kernel say of a load. All events are taken for
    /// accepted and kept; a server with counters knows better.
    pub fn of(conditions: Conditions, server: &str, drive: &Drive, usage: &Usage) -> Self {
        let Conditions { scenario, order, store } = conditions;
        let events = drive.requests * scenario.events_per_request() as u64;
        Self {
            round: 0,
            scenario: scenario.name().to_owned(),
            order: order.name().to_owned(),
            store,
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
            shares_us: drive.shares,
            page: None,
        }
    }

    /// Returns the name of the conditions, as in a table.
    pub fn conditions(&self) -> String {
        let order = Some(&self.order).filter(|order| **order != in_turn());
        let order = order.map_or_else(String::new, |order| format!(", {order}"));
        let store = if self.store == Store::Redis { ", Redis" } else { "" };
        format!("{}{order}{store}", self.scenario)
    }

    /// Returns the part of the CPU time of a request that was the server's own code.
    pub fn user_us(&self) -> f64 {
        self.user_seconds * 1e6 / number(self.requests)
    }

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

    /// Returns CPU seconds of the threads whose name begins with `prefix`.
    pub fn seconds_of(&self, prefix: &str) -> f64 {
        let named = self.cpu_seconds_of_threads.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(_, seconds)| seconds).sum()
    }
}
