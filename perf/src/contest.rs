//! One server of a heat after the other, each in a fresh process, and the rate they are offered.
//!
//! As many requests as are answered are the right load while the server is what limits them: its
//! core is busy then, and CPU time a request is what it costs at its best. Where something else is
//! the limit (the generator, or Redis) a faster server would be measured with an emptier core than
//! a slower one, and pay more for each time it wakes up. All are offered one rate then, that each
//! which waited can follow, and only the CPU time is compared. A server that is its own limit below
//! that rate has a full core as before, and falls behind, which is said.

use crate::generator::{Load, drive_load};
use crate::inquiry::Stored;
use crate::redis::Redis;
use crate::report::{Heat, Measurement, Store};
use crate::scenario::Extent;
use crate::server::{Kind, Server};
use crate::tally::Outcome;
use crate::usage::Usage;
use core_affinity::CoreId;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Before a measurement: caches, branch predictors, the first pages of every buffer.
pub const WARM_UP: Duration = Duration::from_millis(300);

/// Enough to see what the limit is.
pub const PROBE_MAX: Duration = Duration::from_secs(1);

/// A server that uses less of its core than this waits for something else.
const BUSY: f64 = 0.9;

/// Of what the slowest of those can take: low enough that it can follow in a noisy minute.
pub const OFFERED: f64 = 0.7;

/// A server that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub kind: Kind,
    /// Its name, with a number behind if it is measured more than once.
    pub label: String,
}

/// What is the same for all.
#[derive(Clone, Copy, Debug)]
pub struct Contest<'a> {
    /// Where the programs are.
    pub folder: &'a Path,
    /// The servers' core.
    pub core: Option<CoreId>,
    /// For heats with [`Store::Redis`].
    pub redis: Option<&'a Redis>,
    /// Keep-alive connections.
    pub connections: usize,
    /// Of one measurement.
    pub duration: Duration,
}

impl Contest<'_> {
    /// Measures one server once.
    ///
    /// # Errors
    ///
    /// When it cannot be started, fails, or gives a wrong answer.
    pub fn measure(
        &self,
        heat: Heat,
        entry: &Entry,
        round: usize,
        offered: Option<f64>,
    ) -> Result<Measurement, String> {
        let fault = |e| format!("{}, {}: {e}", heat.name(), entry.label);
        self.measured(heat, entry, round, offered).map_err(fault)
    }

    /// The rate that all of a heat are offered and why; none where each is its own limit.
    ///
    /// # Errors
    ///
    /// When one of them cannot be started, fails, or gives a wrong answer.
    pub fn common_rate(
        &self,
        heat: Heat,
        entries: &[&Entry],
    ) -> Result<Option<(f64, String)>, String> {
        let short = Self { duration: self.duration.min(PROBE_MAX), ..*self };
        let probe = |entry: &&Entry| short.measure(heat, entry, 0, None);
        let probes: Vec<Measurement> = entries.iter().map(probe).collect::<Result<_, _>>()?;
        Ok(rate_for(&probes))
    }

    fn measured(
        &self,
        heat: Heat,
        entry: &Entry,
        round: usize,
        offered: Option<f64>,
    ) -> Result<Measurement, String> {
        let redis = self.redis.filter(|_| heat.store == Store::Redis && entry.kind.writes());
        let server = match redis {
            None => Server::start(entry.kind, self.folder, self.core)?,
            Some(redis) => {
                redis.ask("FLUSHALL")?;
                let url = format!("redis://127.0.0.1:{}/", redis.port);
                let arguments = [entry.kind.arguments(), &["--redis-url", &url]].concat();
                Server::start_with(entry.kind, &arguments, self.folder, self.core)?
            }
        };
        let (scenario, connections) = (heat.scenario, self.connections);
        let extent = Extent::default();
        let load = Load { scenario, extent, connections, duration: WARM_UP, rate: offered };
        drive_load(server.address, &load)?;
        let of_store = || stored(entry.kind, server.address, redis.is_some());
        let stored_before = of_store()?;
        let before = (Usage::of(server.id())?, Usage::of(std::process::id())?);
        let outcome = drive_load(server.address, &Load { duration: self.duration, ..load })?;
        let usage = Usage::of(server.id())?.since(&before.0);
        let generator = Usage::of(std::process::id())?.since(&before.1).cpu;
        let stored = of_store()?;
        check(heat, entry.kind, &outcome, redis)?;
        Ok(Measurement {
            round,
            heat,
            server: entry.label.clone(),
            offered,
            outcome,
            usage,
            generator,
            kept: stored.map_or(outcome.accepted, |after| {
                after.kept.saturating_sub(stored_before.unwrap_or_default().kept)
            }),
            dropped: stored.map_or(0, |after| {
                after.dropped.saturating_sub(stored_before.unwrap_or_default().dropped)
            }),
        })
    }
}

/// Every event must have been accepted, and Redis must have some.
fn check(heat: Heat, kind: Kind, outcome: &Outcome, redis: Option<&Redis>) -> Result<(), String> {
    let events = u64::try_from(heat.scenario.events_per_request()).unwrap_or(0);
    let expected = outcome.requests * kind.accepted(events);
    if outcome.accepted != expected {
        return Err(format!("accepted {} of {expected} events", outcome.accepted));
    }
    if let Some(redis) = redis
        && redis.keys()? == 0
    {
        return Err("nothing came to Redis".to_owned());
    }
    Ok(())
}

/// What a server that writes behind its answers says of its store. The Go service answers when
/// Redis has.
fn stored(kind: Kind, address: SocketAddr, writes: bool) -> Result<Option<Stored>, String> {
    if !writes || kind != Kind::Corepulse {
        return Ok(None);
    }
    Stored::of(address).map(Some)
}

/// A rate that each of the probed that were not their own limit can follow, if there are such.
fn rate_for(probes: &[Measurement]) -> Option<(f64, String)> {
    let waits = |probe: &&Measurement| probe.server_share() < BUSY || probe.kept_share() < BUSY;
    let waiting = probes.iter().find(waits)?;
    let lowest = probes
        .iter()
        .filter(waits)
        .map(|probe| probe.requests_per_second() * probe.kept_share())
        .min_by(f64::total_cmp)?;
    let rate = (lowest * OFFERED).round().max(1.0);
    let why = format!(
        "{}: the server was not the limit ({} used {:.0} % of its core, the generator \
         {:.0} %, and {:.0} % of the events were kept): all were offered {rate:.0} requests/s; \
         compare their CPU, not their requests/s",
        waiting.heat.name(),
        waiting.server,
        waiting.server_share() * 100.0,
        waiting.generator_share() * 100.0,
        waiting.kept_share() * 100.0,
    );
    Some((rate, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn probe(server: &str, requests: u64, cpu_ms: u64, kept: u64) -> Measurement {
        let elapsed = Duration::from_secs(1);
        let cpu = Duration::from_millis(cpu_ms);
        Measurement {
            round: 0,
            heat: Heat { scenario: Scenario::Single, store: Store::Redis },
            server: server.to_owned(),
            offered: None,
            outcome: Outcome { requests, accepted: requests, elapsed, ..Outcome::default() },
            usage: Usage { cpu, ..Usage::default() },
            generator: elapsed,
            kept,
            dropped: 0,
        }
    }

    #[test]
    fn servers_that_are_their_own_limit_are_offered_all_they_take() {
        assert_eq!(rate_for(&[probe("a", 1000, 990, 1000), probe("b", 500, 950, 500)]), None);
    }

    #[test]
    fn where_some_wait_all_are_offered_what_the_slowest_of_them_can_take() {
        let probes = [
            probe("a", 1000, 700, 1000),
            probe("b", 800, 800, 800),
            probe("its own limit", 100, 990, 100),
        ];
        let (rate, why) = rate_for(&probes).unwrap();
        assert_eq!(format!("{rate}"), "560");
        assert!(why.contains("a used 70 % of its core, the generator 100 %"), "{why}");
        // All of its core, and a fifth of what it took came to Redis.
        let (rate, _) = rate_for(&[probe("a", 1000, 990, 200)]).unwrap();
        assert_eq!(format!("{rate}"), "140");
    }
}
