//! One server after the other under the same load.
//!
//! Each measurement has a fresh process, warmed up; where a state takes long to prepare, windows of
//! a large fleet or idle connections, the process lives on from round to round.

use crate::cores::Cores;
use crate::counts::{Counted, Counts, compare};
use crate::devices::{Devices, Order};
use crate::drive::drive;
use crate::drive::open_loop::RATE_MAX;
use crate::generator::{Drive, Generator, Load};
use crate::measurement::{Conditions, Measurement, PageLoad, Store};
use crate::page;
use crate::preparation::{Memory, fill_windows, open_idle};
use crate::server::Kind;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use testkit::{HttpClient, Redis, RedisReply, Server, Usage};

/// Seconds before a measurement: caches, branch predictors, the first pages of every buffer.
const WARM_UP_S: u64 = 1;

/// Browsers that have a page open beside a load, and ask once a second.
const BROWSERS: u16 = 10;

/// Requests for a page without a load.
const ALONE: u32 = 300;

/// A server that is measured, and the state in which it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    pub label: String,
    /// The program; `None` for a server that runs already.
    pub kind: Option<Kind>,
    /// Where that is.
    pub address: Option<SocketAddr>,
    pub arguments: Vec<String>,
    /// Size of a fleet whose windows are filled before; `None` for the load's own devices.
    pub devices: Option<u32>,
    /// Connections that have posted once and are idle.
    pub idle: u32,
    /// A page that is requested beside the load: paths, with blanks between them.
    pub page: Option<String>,
}

impl Candidate {
    /// Returns what it is but for its name and the page: those that are to have the same load.
    fn alike(&self) -> Self {
        Self { label: String::new(), page: None, ..self.clone() }
    }
}

/// Everything that is the same for all candidates.
#[derive(Debug)]
pub struct Comparison {
    /// Sends the load.
    pub generator: Generator,
    pub cores: Cores,
    /// The Redis of [`Store::Redis`].
    pub redis: Option<Redis>,
    /// Load, but for the scenario and the devices.
    pub load: Load,
    /// The part of what a server answers at most that it is offered.
    pub percent: Option<u32>,
    /// The rates that follow from it: each is found once, so that all rounds have the same load,
    /// and so have servers that differ only by a page beside it.
    pub rates: Vec<(Conditions, Candidate, u32)>,
    /// Further replicas in a fleet with each server.
    pub replicas: u16,
    /// The fleets so far, each of which has a name of its own.
    pub fleets: u32,
    /// A command that runs beside each load; `PID` in its environment is the server's.
    pub attached: Option<String>,
    /// Sentences to be read with the results.
    pub notes: Vec<String>,
    /// Memory that prepared states take.
    pub memory: Vec<Memory>,
}

/// A server in its state.
#[derive(Debug)]
pub struct Prepared {
    server: Option<Server>,
    address: SocketAddr,
    /// The number of the next turn.
    position: u64,
    /// The other replicas of its fleet.
    replicas: Vec<Server>,
    _idle: Vec<HttpClient>,
}

impl Comparison {
    /// Measures a server once. A prepared one is taken from `kept`, and left there if preparing it
    /// took long.
    pub fn measure(
        &mut self,
        conditions: Conditions,
        candidate: &Candidate,
        kept: &mut Option<Prepared>,
    ) -> Result<Measurement, String> {
        let fleet = |count| Devices::of(count, conditions.order);
        let devices = candidate.devices.map_or(self.load.devices, fleet);
        let dialect = candidate.kind.map(Kind::dialect).unwrap_or_default();
        let load = Load { scenario: conditions.scenario, dialect, devices, ..self.load };
        let writes = conditions.store == Store::Redis && candidate.kind.is_some_and(Kind::writes);
        let mut prepared = match kept.take() {
            Some(prepared) => prepared,
            None => self.prepare(candidate, &load, writes)?,
        };
        let row = self.measured(conditions, candidate, load, writes, &mut prepared)?;
        let takes_long = candidate.devices.is_some() || candidate.idle > 0;
        *kept = Some(prepared).filter(|_| takes_long);
        Ok(row)
    }

    fn prepare(
        &mut self,
        candidate: &Candidate,
        load: &Load,
        writes: bool,
    ) -> Result<Prepared, String> {
        let mut arguments = candidate.arguments.clone();
        if candidate.kind == Some(Kind::Corepulse) {
            arguments.extend(load.scenario.arguments());
        }
        if let Some(redis) = self.redis.as_mut().filter(|_| writes) {
            redis.execute(&["FLUSHALL"]);
            arguments.extend(["--redis-url".to_owned(), redis.url()]);
        }
        let has_fleet = writes && self.replicas > 0;
        if has_fleet {
            self.fleets += 1;
            arguments.extend(["--fleet".to_owned(), format!("perf-{}", self.fleets)]);
        }
        let start = |kind: Kind| kind.start(&arguments, self.cores.server);
        let server = candidate.kind.map(start).transpose()?;
        let address = server.as_ref().map(|server| server.address).or(candidate.address);
        let address = address.ok_or("neither a program nor an address")?;
        let replicas = if has_fleet { self.replicas } else { 0 };
        let replica = |_| Kind::Corepulse.start(&arguments, self.cores.redis);
        let replicas = (0..replicas).map(replica).collect::<Result<_, _>>()?;
        let mut prepared = Prepared { server, address, position: 0, replicas, _idle: Vec::new() };
        let Some(id) = prepared.server.as_ref().map(Server::id) else { return Ok(prepared) };
        let labelled = (candidate.label.as_str(), id);
        if candidate.devices.is_some() {
            let devices = Devices { order: Order::InTurn, ..load.devices };
            let load = Load { devices, rate: None, ..*load };
            self.memory.extend(fill_windows(&self.generator, address, labelled, &load, writes)?);
        }
        if candidate.idle > 0 {
            let (connections, memory) = open_idle(address, labelled, candidate.idle)?;
            prepared._idle = connections;
            self.memory.extend(memory);
        }
        if let Some(page) = &candidate.page {
            let replicas = prepared.replicas.iter().map(Server::id);
            let asked: Vec<_> = std::iter::once(id).chain(replicas).collect();
            let before: Vec<_> = asked.iter().map(|id| Usage::of(*id)).collect();
            page::request_in_turn(address, page, ALONE)?;
            for (at, (id, before)) in asked.into_iter().zip(before).enumerate() {
                let used = Usage::of(id)?.since(&before?).threads.into_iter();
                let each =
                    used.map(|(name, s)| format!("{name} {:.0}", s * 1e6 / f64::from(ALONE)));
                let each = each.collect::<Vec<_>>().join(", ");
                let who = if at == 0 { "" } else { " of another replica" };
                let label = &candidate.label;
                self.notes.push(format!("{label}: one {page} alone, in µs{who}: {each}"));
            }
        }
        Ok(prepared)
    }

    fn measured(
        &mut self,
        conditions: Conditions,
        candidate: &Candidate,
        mut load: Load,
        writes: bool,
        prepared: &mut Prepared,
    ) -> Result<Measurement, String> {
        let address = prepared.address;
        let counted = Counted::of(candidate.kind, load.scenario);
        let counts = |settles| counted.read(address, settles);
        let started = counts(false);
        let warm_up = Load { seconds: WARM_UP_S, ..load };
        let warm = drive(&self.generator, address, &warm_up, &mut prepared.position)?;
        if let Some(percent) = self.percent {
            // What still waits for Redis does not count: a queue that grows is no rate to hold.
            let Counts { kept, accepted, .. } = counts(false).since(started);
            let is_told = writes && counted.is_told();
            let (kept, accepted) = if is_told { (kept, accepted) } else { (1, 1) };
            let most = warm.requests / WARM_UP_S * kept / accepted.max(1);
            let rate = u32::try_from(most * u64::from(percent) / 100).unwrap_or(RATE_MAX);
            let rate = rate.clamp(1, RATE_MAX);
            load.rate = Some(shared_rate(&mut self.rates, conditions, candidate, rate));
        }
        let id = prepared.server.as_ref().map(Server::id);
        let usage = || id.map_or_else(|| Ok(Usage::default()), Usage::of);
        let (first, before) = (counts(writes), usage()?);
        let (driven, page) = self.drive_beside(candidate, &load, id, prepared)?;
        let usage = usage()?.since(&before);
        if let Some(faults) = driven.faults {
            return Err(faults);
        }
        let mut row = Measurement::of(conditions, &candidate.label, &driven, &usage);
        row.offered_per_second = load.rate.map(f64::from);
        row.page = page;
        if counted.is_told() {
            // As much as is answered may be more than Redis takes: what is kept by then counts.
            compare(&load, &mut row, counts(writes && load.rate.is_some()).since(first))?;
        }
        let redis = self.redis.as_mut().filter(|_| writes);
        if redis.is_some_and(|redis| redis.execute(&["DBSIZE"]) == RedisReply::Integer(0)) {
            return Err("nothing came to Redis".to_owned());
        }
        Ok(row)
    }

    /// Drives a server, with what runs beside the load.
    fn drive_beside(
        &self,
        candidate: &Candidate,
        load: &Load,
        id: Option<u32>,
        prepared: &mut Prepared,
    ) -> Result<(Drive, Option<PageLoad>), String> {
        let (address, is_over) = (prepared.address, &AtomicBool::new(false));
        let request = |page| move || page::request_until(address, page, BROWSERS, is_over);
        thread::scope(|scope| {
            let pages = candidate.page.as_ref().map(|page| scope.spawn(request(page)));
            let attached = self.attached.as_ref().zip(id).map(|(what, id)| attach(what, id));
            let driven = drive(&self.generator, address, load, &mut prepared.position);
            is_over.store(true, Ordering::Relaxed);
            let pages = pages.map(|pages| pages.join().unwrap_or(Err("panicked".to_owned())));
            if let Some(mut child) = attached.transpose()? {
                child.wait().map_err(|e| e.to_string())?;
            }
            Ok((driven?, pages.transpose()?))
        })
    }
}

/// Returns the rate that was found for such a server before, or else this one.
fn shared_rate(
    rates: &mut Vec<(Conditions, Candidate, u32)>,
    conditions: Conditions,
    candidate: &Candidate,
    found: u32,
) -> u32 {
    let alike = candidate.alike();
    let is_same = |of: &&(_, Candidate, _)| (of.0, &of.1) == (conditions, &alike);
    if let Some((_, _, rate)) = rates.iter().find(is_same) {
        return *rate;
    }
    rates.push((conditions, alike, found));
    found
}

/// Starts a command that is told of the server's process.
fn attach(what: &str, id: u32) -> Result<Child, String> {
    let mut command = Command::new("sh");
    command.args(["-c", what]).env("PID", id.to_string());
    command.spawn().map_err(|e| format!("{what}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Order;
    use crate::scenario::Scenario;

    #[test]
    fn servers_that_differ_by_a_page_have_one_rate() {
        let plain = Candidate { label: "a".to_owned(), devices: Some(9), ..Candidate::default() };
        let mut beside = Candidate { label: "b".to_owned(), ..plain.clone() };
        beside.page = Some("/stats".to_owned());
        let other = Candidate { devices: Some(10), ..plain.clone() };
        let mut rates = Vec::new();
        let store = Store::Memory;
        let [hundred, single] = [Scenario::Hundred, Scenario::Single].map(|scenario| Conditions {
            scenario,
            order: Order::InTurn,
            store,
        });
        for (conditions, candidate, found, expected) in [
            (hundred, &plain, 100, 100),
            (hundred, &beside, 200, 100),
            (hundred, &other, 300, 300),
            (single, &plain, 400, 400),
            (hundred, &plain, 500, 100),
        ] {
            assert_eq!(shared_rate(&mut rates, conditions, candidate, found), expected);
        }
    }
}
