//! The counters of the store on one scrape, which must balance whenever they are read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::exposition::{scrape, sum_of};
use crate::wait::ANSWER_TIME_MAX;

/// In events, but for the bytes.
#[derive(Clone, Debug)]
pub struct StoreCounters {
    pub accepted: u64,
    pub stored: u64,
    pub coalesced: u64,
    pub dropped: u64,
    pub pending: u64,
    pub pending_bytes: u64,
    pub capacity_bytes: u64,
    pub reconnects: u64,
    pub is_up: bool,
    samples: BTreeMap<String, f64>,
}

impl StoreCounters {
    /// Reads them, and checks that they balance and that the queue is inside its bound.
    pub fn scrape(address: SocketAddr) -> Self {
        let since = Instant::now();
        let samples = scrape(address);
        assert!(since.elapsed() < ANSWER_TIME_MAX, "a scrape: {:?}", since.elapsed());
        let count = |name: &str| {
            let name = format!("corepulse_{name}");
            let is_known = samples.keys().any(|series| series.split('{').next() == Some(&name));
            assert!(is_known, "no {name}");
            sum_of(&samples, &name) as u64
        };
        let accounts = Self {
            accepted: count("events_accepted_total"),
            stored: count("store_stored_total"),
            coalesced: count("store_coalesced_total"),
            dropped: count("store_dropped_total"),
            pending: count("store_pending"),
            pending_bytes: count("store_pending_bytes"),
            capacity_bytes: count("store_capacity_bytes"),
            reconnects: count("store_reconnects_total"),
            is_up: count("store_up") == 1,
            samples,
        };
        assert_eq!(accounts.accepted, accounts.settled() + accounts.pending, "{accounts:?}");
        assert!(accounts.pending_bytes <= accounts.capacity_bytes, "{accounts:?}");
        accounts
    }

    /// Events with an outcome.
    pub const fn settled(&self) -> u64 {
        self.stored + self.coalesced + self.dropped
    }

    /// Error replies of one kind, whatever the case in which the label names it.
    pub fn errors(&self, kind: &str) -> u64 {
        self.labelled("corepulse_store_errors_total", "kind", kind)
    }

    /// Events dropped for one reason.
    pub fn dropped_by(&self, reason: &str) -> u64 {
        self.labelled("corepulse_store_dropped_total", "reason", reason)
    }

    fn labelled(&self, name: &str, label: &str, value: &str) -> u64 {
        let series = format!("{name}{{{label}=\"{value}\"}}");
        let found = self.samples.iter().find(|(key, _)| key.eq_ignore_ascii_case(&series));
        let (_, count) = found.unwrap_or_else(|| panic!("no {series} in {:?}", self.samples));
        *count as u64
    }
}
