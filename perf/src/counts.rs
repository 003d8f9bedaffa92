//! Events by a server's own counters, which are held to what the generator has answers for.

use crate::generator::Load;
use crate::measurement::{Measurement, Store};
use crate::scenario::Scenario;
use crate::server::Kind;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use testkit::{Exposition, StoreCounters, wait_until_within};

/// Longest wait until Redis has everything; a burst is written in far less.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Outcomes of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub kept: u64,
    pub dropped: u64,
    /// Events that are on their way to Redis.
    pending: u64,
    /// Requests whose events are counted one by one.
    under_way: u64,
}

impl Counts {
    pub const fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            kept: self.kept - before.kept,
            dropped: self.dropped - before.dropped,
            ..self
        }
    }
}

/// A server that counts, or one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Corepulse,
    /// It counts values, of which an event has so many.
    VictoriaMetrics {
        fields: u64,
    },
    Nothing,
}

impl Counted {
    /// Returns how a server counts events of a scenario; one that runs already is corepulse.
    pub fn of(kind: Option<Kind>, scenario: Scenario) -> Self {
        match kind {
            None | Some(Kind::Corepulse) => Self::Corepulse,
            Some(Kind::VictoriaMetrics) => {
                Self::VictoriaMetrics { fields: scenario.fields().count() as u64 }
            }
            Some(_) => Self::Nothing,
        }
    }

    /// Returns true if it counts.
    pub const fn is_told(self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Reads the counters when what was under way in the end of a load has been counted, and, if
    /// `settles`, nothing is on its way to Redis.
    pub fn read(self, address: SocketAddr, settles: bool) -> Counts {
        let mut before = None;
        let settled = || {
            let counts = self.scrape(address);
            let is_same = before.replace(counts.accepted) == Some(counts.accepted);
            let is_settled = counts.under_way == 0 && (!settles || counts.pending == 0);
            (is_same && is_settled).then_some(counts)
        };
        wait_until_within(SETTLE_MAX, "nothing waits for Redis", settled)
    }

    fn scrape(self, address: SocketAddr) -> Counts {
        match self {
            Self::Corepulse => {
                let StoreCounters { accepted, stored, coalesced, dropped, pending, .. } =
                    StoreCounters::scrape(address);
                Counts { accepted, kept: stored + coalesced, dropped, pending, under_way: 0 }
            }
            Self::VictoriaMetrics { fields } => {
                // Where it cannot be read, nothing was accepted, which is said by who compares.
                let page = page(address).unwrap_or_default();
                let (_, text) = page.split_once("\r\n\r\n").unwrap_or_default();
                let page = Exposition::parse(text);
                let accepted = page.sum("vm_rows_inserted_total") as u64 / fields;
                let under_way = page.sum("vm_concurrent_insert_current") as u64;
                Counts { accepted, kept: accepted, under_way, ..Counts::default() }
            }
            Self::Nothing => Counts::default(),
        }
    }
}

/// Returns the head and the body of `/metrics`, in HTTP/1.0: it would send chunks otherwise.
fn page(address: SocketAddr) -> std::io::Result<String> {
    let (mut socket, mut page) = (TcpStream::connect(address)?, String::new());
    socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    socket.read_to_string(&mut page)?;
    Ok(page)
}

/// Takes the server's own counts into a measurement. It must have accepted every event that the
/// generator has an answer for, and not more than may have been under way in the end.
pub fn compare(load: &Load, row: &mut Measurement, counts: Counts) -> Result<(), String> {
    let turn = load.scenario.requests_per_turn() * load.scenario.events_per_request();
    let under_way = if load.rate.is_some() { 0 } else { u64::from(load.connections) * turn as u64 };
    let (answered, accepted) = (row.accepted, counts.accepted);
    if !(answered..=answered + under_way).contains(&accepted) {
        return Err(format!("the server accepted {accepted} events, {answered} were answered"));
    }
    (row.accepted, row.kept) = (accepted, accepted);
    if row.store == Store::Redis {
        (row.kept, row.dropped) = (counts.kept, counts.dropped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Devices;
    use crate::report::tests::measurement;
    use crate::scenario::Scenario::Ndjson;
    use crate::traffic::Dialect;

    #[test]
    fn the_server_accepts_what_was_answered_and_what_was_under_way() {
        let load = Load {
            scenario: Ndjson,
            dialect: Dialect::Corepulse,
            devices: Devices::default(),
            connections: 2,
            threads: 1,
            seconds: 2,
            rate: None,
        };
        let compare = |load: &Load, accepted| {
            let mut row = measurement(0, Store::Redis, "a", 1.0);
            let counts = Counts { accepted, kept: 7, dropped: 3, ..Counts::default() };
            compare(load, &mut row, counts).map(|()| (row.accepted, row.kept, row.dropped))
        };
        assert!(compare(&load, 999_999).is_err());
        assert_eq!(compare(&load, 1_000_000), Ok((1_000_000, 7, 3)));
        assert_eq!(compare(&load, 1_002_000), Ok((1_002_000, 7, 3)));
        assert!(compare(&load, 1_002_001).is_err());
        assert!(compare(&Load { rate: Some(500), ..load }, 1_000_001).is_err());
    }
}
