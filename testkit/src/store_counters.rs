//! The counters of the store on one scrape, which must balance whenever they are read.

use std::net::SocketAddr;
use std::time::Instant;

use crate::exposition::Exposition;
use crate::wait::ANSWER_TIME_MAX;

/// The counters and gauges of the store: in events, but for the bytes.
#[derive(Clone, Debug)]
pub struct StoreCounters {
    /// Events that were acknowledged.
    pub accepted: u64,
    /// Events that the store holds, or held.
    pub stored: u64,
    /// Events that a later one of the same key replaced before they were stored.
    pub coalesced: u64,
    /// Events that were given up.
    pub dropped: u64,
    /// Events without an outcome yet.
    pub pending: u64,
    /// Memory that the pending events take.
    pub pending_bytes: u64,
    /// Memory that they may take.
    pub capacity_bytes: u64,
    /// Connections to Redis that were made anew.
    pub reconnects: u64,
    /// True if the store is reachable.
    pub is_up: bool,
    exposition: Exposition,
}

impl StoreCounters {
    /// Scrapes a server, which has to answer at once.
    pub fn scrape(address: SocketAddr) -> Self {
        let since = Instant::now();
        let exposition = Exposition::scrape(address);
        assert!(since.elapsed() < ANSWER_TIME_MAX, "a scrape: {:?}", since.elapsed());
        Self::from_exposition(exposition)
    }

    /// Takes the counters from an exposition, and checks that they balance and that the queue is
    /// inside its bound.
    pub fn from_exposition(exposition: Exposition) -> Self {
        let value = |name: &str| exposition.value(&format!("corepulse_{name}")) as u64;
        // Not there without a Redis.
        let sum = |name: &str| exposition.sum(&format!("corepulse_store_{name}")) as u64;
        let counters = Self {
            accepted: value("events_accepted_total"),
            stored: value("store_stored_total"),
            coalesced: value("store_coalesced_total"),
            dropped: sum("dropped_total"),
            pending: value("store_pending"),
            pending_bytes: sum("pending_bytes"),
            capacity_bytes: sum("capacity_bytes"),
            reconnects: sum("reconnects_total"),
            is_up: sum("up") == 1,
            exposition,
        };
        assert_eq!(counters.accepted, counters.settled() + counters.pending, "{counters:?}");
        assert!(counters.pending_bytes <= counters.capacity_bytes, "{counters:?}");
        let evicted = counters.exposition.sum("corepulse_store_evicted_total") as u64;
        assert!(evicted <= counters.stored, "{evicted} evicted: {counters:?}");
        counters
    }

    /// Returns the number of events with an outcome.
    pub const fn settled(&self) -> u64 {
        self.stored + self.coalesced + self.dropped
    }

    /// Returns the number of error replies of one kind.
    pub fn errors(&self, kind: &str) -> u64 {
        self.exposition.value(&format!("corepulse_store_errors_total{{kind=\"{kind}\"}}")) as u64
    }

    /// Returns the number of events that were dropped for one reason.
    pub fn dropped_by(&self, reason: &str) -> u64 {
        let series = format!("corepulse_store_dropped_total{{reason=\"{reason}\"}}");
        self.exposition.value(&series) as u64
    }
}
