//! A link to all servers that have keys of this deployment: the one of a URL, the primary that
//! sentinels name, or all primaries of a cluster.
//!
//! Each command goes to the server of its key. The servers work side by side, each with a thread
//! for the time of the exchange, so that one that is slow or gone delays none but its own commands.
//! A command that a server has redirected was not run there: it is sent again to the server that is
//! named. Nothing else is sent again: who asks decides that.

mod exchange;
mod pause;
mod server;
#[cfg(test)]
mod tests;

use std::panic::resume_unwind;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redis::ConnectionInfo;

use self::exchange::{Exchange, Redirection};
use self::pause::Pause;
use self::server::{Outcome, Server, Task, Terms};
use super::batch::Batch;
use super::command::End;
use super::connection::at_address;
use super::deadline::Deadline;
use super::discovery::Discovery;
use super::error::{ErrorKind, RedisError, RedisResult};
use super::topology::{Topology, hashed_part};
use crate::config::redis_url::{RedisMode, RedisUrl};
use crate::limits::{STORE_CONNECT_MS_MAX, STORE_LOOKUP_PAUSE_MS, STORE_NODES_WITHOUT_SLOTS_MAX};
use percore::clock::{Clock, nanoseconds};

/// A command is redirected at most so often: to the node that has its slot by now, and to the one
/// that the slot is being moved to.
const HOPS_MAX: usize = 2;

/// Where servers fail, the slots are fetched no more often than this.
const REFRESH_NS: u64 = STORE_LOOKUP_PAUSE_MS * 1_000_000;

/// See the head of this file.
pub(crate) struct KeysLink {
    url: RedisUrl,
    discovery: Arc<Discovery>,
    clock: Clock,
    /// All servers that were met lately.
    servers: Vec<Server>,
    route: Option<Route>,
    /// True if the route is out of date.
    is_stale: bool,
    /// The time before which the route is not asked for again, if there is one.
    refresh_ns: u64,
    pause: Option<Pause>,
    /// True once a connection was lost: those that are opened from then on may replace it.
    has_lost: bool,
}

/// The end of an exchange.
#[derive(Debug)]
pub(crate) struct Exchanged {
    /// One for each command, in their order. An error is that of the connection, or of a server
    /// that could not take the command: it was run, or it was not.
    pub(crate) ends: Vec<End>,
    /// True if a connection was lost, or one was opened that may replace a lost one, or another
    /// server has taken over from one that was connected. What was written before may be gone, and
    /// others may have written since.
    pub(crate) broke: bool,
}

/// The way from a key to its server.
enum Route {
    /// All keys are on this server.
    One(ConnectionInfo),
    Cluster(Topology),
}

impl Route {
    fn server_of(&self, commands: &Batch, index: usize) -> Option<&ConnectionInfo> {
        match self {
            Self::One(server) => Some(server),
            Self::Cluster(topology) => topology.node_of(hashed_part(commands.key(index))),
        }
    }

    fn servers(&self) -> &[ConnectionInfo] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(topology) => topology.nodes(),
        }
    }

    fn leads_to(&self, server: &ConnectionInfo) -> bool {
        self.servers().iter().any(|known| known.addr() == server.addr())
    }
}

impl KeysLink {
    /// Returns a link that connects when it is used.
    pub(crate) fn new(url: RedisUrl, discovery: Arc<Discovery>, clock: Clock) -> Self {
        Self {
            url,
            discovery,
            clock,
            servers: Vec::new(),
            route: None,
            is_stale: false,
            refresh_ns: 0,
            pause: None,
            has_lost: false,
        }
    }

    /// Sends commands, each to the server of its second word, and returns their ends; a reply has
    /// `reply_bytes_max` at most. All of it takes as long as `wait`, at most, connecting included.
    /// Commands of one key are run in their order, and so are all that one server gets.
    pub(crate) fn exchange(
        &mut self,
        commands: &Batch,
        wait: Duration,
        reply_bytes_max: usize,
    ) -> Exchanged {
        let until_ns = self.clock.now().mono_ns.saturating_add(nanoseconds(wait));
        let mut exchange = Exchange { commands, ends: Vec::new(), plan: Vec::new(), broke: false };
        if !commands.is_empty() {
            self.refresh(&mut exchange, until_ns);
            self.plan(&mut exchange);
        }
        // The command itself, and its redirections.
        for hop in 0..=HOPS_MAX {
            let plan = std::mem::take(&mut exchange.plan);
            if plan.iter().all(Vec::is_empty) {
                break;
            }
            let terms = Terms {
                commands,
                resolver: &self.discovery.resolver,
                clock: self.clock,
                until_ns,
                reply_bytes_max,
                requires_primary: matches!(self.url.mode(), RedisMode::Sentinel { .. }),
            };
            let outcomes = run(&mut self.servers, &plan, &terms);
            let mut redirected = Vec::new();
            for (at, outcome) in outcomes {
                let tasks = plan.get(at).map_or(&[][..], Vec::as_slice);
                self.take(at, tasks, outcome, &mut exchange, &mut redirected);
            }
            if redirected.iter().any(|redirection| !redirection.asking) {
                self.refresh(&mut exchange, until_ns);
            }
            if hop < HOPS_MAX {
                exchange.retain_in_order(&mut redirected);
                for Redirection { index, to, asking } in redirected {
                    exchange.add(to, Task { index, asking });
                }
            }
        }
        self.close_surplus();
        exchange.complete();
        Exchanged { ends: exchange.ends, broke: exchange.broke }
    }

    /// Learns the route, if it is not known or out of date. If that fails, the old one stays.
    fn refresh(&mut self, exchange: &mut Exchange, until_ns: u64) {
        let now_ns = self.clock.now().mono_ns;
        let is_due = self.route.is_none() || self.is_stale && now_ns >= self.refresh_ns;
        if !is_due {
            return;
        }
        let paused = self.pause.as_ref().map_or(Ok(()), |pause| pause.check(now_ns));
        let learnt = match paused {
            Ok(()) => {
                let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                let timeout = left.min(Duration::from_millis(STORE_CONNECT_MS_MAX));
                let learnt = self.learn_route(&mut Deadline::new(self.clock, timeout));
                let ended_ns = self.clock.now().mono_ns;
                self.refresh_ns = ended_ns.saturating_add(REFRESH_NS);
                let error = learnt.as_ref().err().cloned();
                self.pause = error.map(|error| Pause::after(now_ns, ended_ns, error));
                learnt
            }
            Err(error) => Err(error),
        };
        match learnt {
            Ok(route) => {
                exchange.broke |= self.close_former(&route);
                self.route = Some(route);
                self.is_stale = false;
            }
            Err(error) if self.route.is_none() => {
                exchange.ends = vec![Err(error).into(); exchange.commands.len()];
            }
            Err(_) => {}
        }
    }

    fn learn_route(&self, deadline: &mut Deadline) -> RedisResult<Route> {
        match self.url.mode() {
            RedisMode::Standalone(info) => Ok(Route::One(info.clone())),
            RedisMode::Sentinel { sentinels, primary, info } => {
                self.discovery.primary_by_name(sentinels, primary, info, deadline).map(Route::One)
            }
            RedisMode::Cluster(seeds) => {
                self.discovery.topology(seeds, deadline).map(Route::Cluster)
            }
        }
    }

    /// Closes the connections to servers that have lost all their keys. Returns true if there were
    /// any: a server that is a replica by now may have lost what it had not passed on.
    fn close_former(&mut self, route: &Route) -> bool {
        let Some(former) = &self.route else {
            return false;
        };
        let left =
            |server: &&mut Server| former.leads_to(&server.info) && !route.leads_to(&server.info);
        self.servers.iter_mut().filter(left).fold(false, |any, server| server.close() | any)
    }

    /// Gives each command to the server of its key.
    fn plan(&mut self, exchange: &mut Exchange) {
        let Self { route: Some(route), servers, is_stale, .. } = self else {
            return;
        };
        let mut last: Option<(&ConnectionInfo, usize)> = None;
        for index in 0..exchange.commands.len() {
            if let Some(info) = route.server_of(exchange.commands, index) {
                // Mostly it is that of the command before.
                let known = last.filter(|(known, _)| ptr::eq(*known, info));
                let at = known.map_or_else(|| place_of(servers, info), |(_, at)| at);
                last = Some((info, at));
                exchange.add(at, Task { index, asking: false });
            } else {
                let error = RedisError::new(ErrorKind::ClusterDown, "nobody has this slot");
                exchange.set(index, Err(error).into());
                *is_stale = true;
            }
        }
    }

    /// Takes the outcome of a server's tasks, and appends those that are to be sent elsewhere.
    fn take(
        &mut self,
        at: usize,
        tasks: &[Task],
        outcome: Outcome,
        exchange: &mut Exchange,
        redirected: &mut Vec<Redirection>,
    ) {
        let Outcome { ends, has_opened, failure, has_lost } = outcome;
        exchange.broke |= has_lost || has_opened && self.has_lost;
        self.has_lost |= has_lost;
        if failure.is_some() {
            self.is_stale = true;
            self.discovery.forget_primary();
        }
        let asked = self.servers.get(at).map(|server| server.info.clone());
        let (mut has_moved, mut is_down) = (false, false);
        for (task, end) in tasks.iter().zip(&ends) {
            let Some(error) = end.error() else {
                continue;
            };
            is_down |= error.kind == ErrorKind::ClusterDown;
            if let Some(asked) = &asked
                && let Some((host, port)) = error.redirection()
            {
                let to = place_of(&mut self.servers, &at_address(asked, host, port));
                let asking = error.kind == ErrorKind::Ask;
                has_moved |= !asking;
                redirected.push(Redirection { index: task.index, to, asking });
            }
        }
        exchange.set_all(tasks, ends);
        if has_moved || is_down {
            // The node that told the slots did not know, or is cut off from the others.
            self.is_stale = true;
            self.discovery.ask_another_first();
        }
        if has_moved {
            self.refresh_ns = 0;
        }
    }

    /// Forgets the servers without slots that were met first, until few are left: a faulty node may
    /// name any address.
    fn close_surplus(&mut self) {
        let route = self.route.as_ref();
        let has_keys = |server: &Server| route.is_some_and(|route| route.leads_to(&server.info));
        let without = self.servers.iter().filter(|server| !has_keys(server)).count();
        let mut surplus = without.saturating_sub(STORE_NODES_WITHOUT_SLOTS_MAX);
        self.servers.retain(|server| {
            let goes = surplus > 0 && !has_keys(server);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// Returns the place of a server, which is added if it was not met before.
fn place_of(servers: &mut Vec<Server>, info: &ConnectionInfo) -> usize {
    let known = servers.iter().position(|server| server.info.addr() == info.addr());
    known.unwrap_or_else(|| {
        servers.push(Server::new(info.clone()));
        servers.len() - 1
    })
}

/// Lets all servers do their tasks at once: one of them on this thread, each other one on its own.
fn run(servers: &mut [Server], plan: &[Vec<Task>], terms: &Terms) -> Vec<(usize, Outcome)> {
    let all = servers.iter_mut().zip(plan).enumerate();
    let mut busy = all.filter(|(_, (_, tasks))| !tasks.is_empty());
    let own = busy.next();
    thread::scope(|scope| {
        let others = busy.map(|(at, (server, tasks))| {
            let thread = thread::Builder::new().name("keys-link".to_owned());
            let spawned = thread.spawn_scoped(scope, move || server.run(tasks, terms));
            (at, tasks.len(), spawned)
        });
        let others: Vec<_> = others.collect();
        let own = own.map(|(at, (server, tasks))| (at, server.run(tasks, terms)));
        let others = others.into_iter().map(|(at, tasks, spawned)| match spawned {
            Ok(thread) => (at, thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
            Err(error) => (at, Outcome::of_failure(tasks, RedisError::connect(error))),
        });
        own.into_iter().chain(others).collect()
    })
}
