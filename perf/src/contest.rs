//! One server after the other under the same load.
//!
//! Each measurement has a fresh process, warmed up; where a state takes long to prepare, windows of
//! a large fleet or idle connections, the process lives on from round to round.

use crate::ask::{ask_in_turn, ask_until};
use crate::cores::Cores;
use crate::devices::{Devices, Order};
use crate::drive::oha::RATE_MAX;
use crate::drive::{Drive, Generator, Load};
use crate::measurement::{Asked, Heat, Measurement, Store, number};
use crate::prepare::{self, Memory};
use crate::server::Kind;
use crate::usage::{Usage, threads};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use testkit::{HttpClient, Redis, RedisReply, Server, StoreCounters, wait_until_within};

/// Before a measurement, in seconds: caches, branch predictors, the first pages of every buffer.
const WARM_UP_S: u64 = 1;

/// Longest wait until Redis has everything; a burst is written in far less.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Requests for a page without a load.
const ALONE: u32 = 300;

/// A server that is measured, and the state in which it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contender {
    /// Its name in the table.
    pub label: String,
    /// The program; `None` for a server that runs already.
    pub kind: Option<Kind>,
    /// Where that is.
    pub address: Option<SocketAddr>,
    /// Arguments of the program.
    pub arguments: Vec<String>,
    /// Size of a fleet whose windows are filled before; `None` for the load's own devices.
    pub devices: Option<u32>,
    /// Connections that have posted once and are idle.
    pub idle: u32,
    /// A page that is asked for beside the load.
    pub asked: Option<String>,
}

impl Contender {
    fn has_counters(&self) -> bool {
        self.kind.is_none_or(|kind| kind == Kind::Corepulse)
    }

    fn writes(&self) -> bool {
        self.kind.is_some_and(Kind::writes)
    }
}

/// Conditions that are the same for all.
#[derive(Debug)]
pub struct Contest {
    /// Sends the load.
    pub generator: Generator,
    /// Placement of the processes.
    pub cores: Cores,
    /// For heats with [`Store::Redis`].
    pub redis: Option<Redis>,
    /// Load, but for the scenario and the devices.
    pub load: Load,
    /// The share of what a server answers at most that it is offered.
    pub share: Option<f64>,
    /// Requests for a page, each second.
    pub asks_per_second: u32,
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
    _idle: Vec<HttpClient>,
}

/// Outcomes of events, by the counters of a server that has them.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: u64,
    kept: u64,
    dropped: u64,
    pending: u64,
}

impl Counts {
    fn of(address: SocketAddr) -> Self {
        let StoreCounters { accepted, stored, coalesced, dropped, pending, .. } =
            StoreCounters::scrape(address);
        Self { accepted, kept: stored + coalesced, dropped, pending }
    }

    /// Waits until nothing is on its way to Redis.
    fn settled(address: SocketAddr) -> Self {
        wait_until_within(SETTLE_MAX, "nothing waits for Redis", || {
            Some(Self::of(address)).filter(|counts| counts.pending == 0)
        })
    }

    /// Returns what came since `before`. What is pending is a level: the later one.
    const fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            kept: self.kept - before.kept,
            dropped: self.dropped - before.dropped,
            pending: self.pending,
        }
    }
}

impl Contest {
    /// Says something at once, and again below the table.
    pub fn note(&mut self, what: String) {
        eprintln!("{what}");
        self.notes.push(what);
    }

    /// Measures a server once. What was prepared for it is taken from `kept`, and left there if
    /// that took long.
    pub fn measure(
        &mut self,
        heat: Heat,
        contender: &Contender,
        round: usize,
        kept: &mut Option<Prepared>,
    ) -> Result<Measurement, String> {
        let fault = |e| format!("{}, {}: {e}", heat.scenario.name(), contender.label);
        let mut prepared = match kept.take() {
            Some(prepared) => prepared,
            None => self.prepare(heat, contender).map_err(fault)?,
        };
        let measurement = self.measured(heat, contender, round, &mut prepared).map_err(fault)?;
        let takes_long = contender.devices.is_some() || contender.idle > 0;
        *kept = Some(prepared).filter(|_| takes_long);
        Ok(measurement)
    }

    fn load(&self, heat: Heat, contender: &Contender) -> Load {
        let fleet = |count| Devices::of(count, heat.order);
        let devices = contender.devices.map_or(self.load.devices, fleet);
        Load { scenario: heat.scenario, devices, ..self.load }
    }

    fn prepare(&mut self, heat: Heat, contender: &Contender) -> Result<Prepared, String> {
        let mut arguments = contender.arguments.clone();
        let redis = self.redis.as_mut().filter(|_| heat.store == Store::Redis);
        if let Some(redis) = redis.filter(|_| contender.writes()) {
            redis.execute(&["FLUSHALL"]);
            arguments.extend(["--redis-url".to_owned(), redis.url()]);
        }
        let start = |kind: Kind| kind.start(&arguments, self.cores.server);
        let server = contender.kind.map(start).transpose()?;
        let address = server.as_ref().map(|server| server.address).or(contender.address);
        let address = address.ok_or("neither a program nor an address")?;
        let mut prepared = Prepared { server, address, position: 0, _idle: Vec::new() };
        let Some(id) = prepared.server.as_ref().map(Server::id) else { return Ok(prepared) };
        if contender.devices.is_some() {
            let order = Heat { order: Order::InTurn, ..heat };
            let load = Load { rate: None, ..self.load(order, contender) };
            let memory = prepare::fill_windows(&self.generator, address, id, &load)?;
            self.memory.push(memory.of(&contender.label));
        }
        if contender.idle > 0 {
            let (connections, memory) = prepare::open_idle(address, id, contender.idle)?;
            prepared._idle = connections;
            self.memory.extend(memory.map(|memory| memory.of(&contender.label)));
        }
        if let Some(page) = &contender.asked {
            let before = threads(id)?;
            ask_in_turn(address, page, ALONE)?;
            let each = threads(id)?.into_iter().map(|(name, seconds)| {
                let used = seconds - before.get(&name).unwrap_or(&0.0);
                (name, used * 1e6 / f64::from(ALONE))
            });
            let each =
                each.filter(|(_, us)| *us >= 1.0).map(|(name, us)| format!("{name} {us:.0}"));
            let each = each.collect::<Vec<_>>().join(", ");
            self.note(format!("{}: one {page} alone: µs of {each}", contender.label));
        }
        Ok(prepared)
    }

    fn measured(
        &mut self,
        heat: Heat,
        contender: &Contender,
        round: usize,
        prepared: &mut Prepared,
    ) -> Result<Measurement, String> {
        let mut load = self.load(heat, contender);
        let address = prepared.address;
        let counted = contender.has_counters().then(|| Counts::of(address));
        let warm_up = Load { seconds: WARM_UP_S, ..load };
        let warm = self.generator.drive(address, &warm_up, &mut prepared.position)?;
        if let Some(share) = self.share {
            // What still waits for Redis does not count: a queue that grows is no rate to hold.
            let counted = counted.map(|before| Counts::of(address).since(before));
            let kept = counted.filter(|_| heat.store == Store::Redis).map_or(1.0, |counts| {
                (number(counts.kept) / number(counts.accepted.max(1))).min(1.0)
            });
            load.rate = Some(rate_of(number(warm.requests) / warm.seconds * kept, share));
        }
        let writes = heat.store == Store::Redis && contender.writes();
        let counts = |settles: bool| match (contender.has_counters(), settles) {
            (false, _) => Counts::default(),
            (true, false) => Counts::of(address),
            (true, true) => Counts::settled(address),
        };
        let id = prepared.server.as_ref().map(Server::id);
        let usage = || id.map_or_else(|| Ok(Usage::default()), Usage::of);
        let (counted, before) = (counts(writes), usage()?);
        let (drive, asked) = self.drive(contender, &load, id, prepared)?;
        let usage = usage()?.since(&before);
        if let Some(faults) = &drive.faults {
            return Err(faults.clone());
        }
        let mut measurement = Measurement::of(round, heat, &contender.label, &drive, &usage);
        measurement.offered_per_second = load.rate.map(f64::from);
        measurement.asked = asked;
        if contender.has_counters() {
            // As much as is answered may be more than Redis takes: what is kept by then counts.
            let now = counts(writes && load.rate.is_some());
            compare_counts(&load, &mut measurement, &now.since(counted))?;
        }
        if let Some(redis) = self.redis.as_mut().filter(|_| writes)
            && redis.execute(&["DBSIZE"]) == RedisReply::Integer(0)
        {
            return Err("nothing came to Redis".to_owned());
        }
        Ok(measurement)
    }

    /// Drives a server, with what runs beside the load.
    fn drive(
        &self,
        contender: &Contender,
        load: &Load,
        id: Option<u32>,
        prepared: &mut Prepared,
    ) -> Result<(Drive, Option<Asked>), String> {
        let (address, is_over) = (prepared.address, AtomicBool::new(false));
        thread::scope(|scope| {
            let is_over = &is_over;
            let ask = |page| move || ask_until(address, page, self.asks_per_second, is_over);
            let asking = contender.asked.as_ref().map(|page| scope.spawn(ask(page)));
            let attached = self.attached.as_ref().zip(id).map(|(what, id)| attach(what, id));
            let drive = self.generator.drive(address, load, &mut prepared.position);
            is_over.store(true, Ordering::Relaxed);
            let asked = asking.map(|asking| asking.join().unwrap_or(Err("panicked".to_owned())));
            if let Some(mut child) = attached.transpose()? {
                child.wait().map_err(|e| e.to_string())?;
            }
            Ok((drive?, asked.transpose()?))
        })
    }
}

/// Returns a share of a rate, as far as the generator for fixed rates goes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn rate_of(saturation: f64, share: f64) -> u32 {
    (saturation * share).round().clamp(1.0, f64::from(RATE_MAX)) as u32
}

/// Starts a command that is told of the server's process.
fn attach(what: &str, id: u32) -> Result<Child, String> {
    let mut command = Command::new("sh");
    command.args(["-c", what]).env("PID", id.to_string());
    command.spawn().map_err(|e| format!("{what}: {e}"))
}

/// Takes the server's own counts into a measurement. It must have accepted every event that the
/// generator has an answer for, and not more than may have been under way in the end.
fn compare_counts(load: &Load, own: &mut Measurement, counts: &Counts) -> Result<(), String> {
    let per_request = load.scenario.events_per_request();
    let under_way = match load.rate {
        Some(_) => 0,
        None => usize::from(load.connections) * load.scenario.requests_per_turn() * per_request,
    };
    let (answered, accepted) = (own.accepted, counts.accepted);
    if !(answered..=answered + under_way as u64).contains(&accepted) {
        return Err(format!("the server accepted {accepted} events, {answered} were answered"));
    }
    own.accepted = accepted;
    if own.store == Store::Redis {
        (own.kept, own.dropped) = (counts.kept, counts.dropped);
    } else {
        own.kept = accepted;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measurement;
    use crate::scenario::Scenario;

    #[test]
    fn the_server_accepts_what_was_answered_and_what_was_under_way() {
        let load = Load {
            scenario: Scenario::Ndjson,
            devices: Devices::default(),
            connections: 2,
            threads: 1,
            seconds: 2,
            rate: None,
        };
        let compare = |load: &Load, accepted| {
            let mut own = measurement(0, Store::Redis, "a", 1.0);
            let counts = Counts { accepted, kept: 7, dropped: 3, pending: 0 };
            compare_counts(load, &mut own, &counts).map(|()| (own.accepted, own.kept, own.dropped))
        };
        assert!(compare(&load, 999_999).is_err());
        assert_eq!(compare(&load, 1_000_000), Ok((1_000_000, 7, 3)));
        assert_eq!(compare(&load, 1_002_000), Ok((1_002_000, 7, 3)));
        assert!(compare(&load, 1_002_001).is_err());
        assert!(compare(&Load { rate: Some(500), ..load }, 1_000_001).is_err());
    }
}
