//! Discovery of servers: the primary that sentinels name, and the slots that a cluster's nodes
//! have.

use redis::{ConnectionInfo, cmd};

use super::connection::{Connection, at_address};
use super::deadline::Deadline;
use super::error::{RedisError, RedisResult};
use super::resolver::Resolver;
use super::topology::Topology;
use percore::sync::Mutex;

/// The servers as they were last seen. Writer and reader share it, so that each learns from the
/// other.
#[derive(Default)]
pub(crate) struct Discovery {
    /// Resolves host names.
    pub(super) resolver: Resolver,
    known: Mutex<Known>,
}

/// Answers of the servers that were asked last.
#[derive(Default)]
struct Known {
    /// The primary that sentinels named last.
    primary: Option<ConnectionInfo>,
    /// The nodes that a cluster had last: those of the URL may be gone while others are left.
    nodes: Vec<ConnectionInfo>,
    /// The number of the server that is asked first, modulo the number of servers.
    first: usize,
}

impl Discovery {
    /// Returns the primary that sentinels named last.
    pub(super) fn primary(&self) -> Option<ConnectionInfo> {
        self.known.lock().primary.clone()
    }

    /// Forgets the primary, as it may be another server now.
    pub(super) fn forget_primary(&self) {
        self.known.lock().primary = None;
    }

    /// Lets another server be asked first the next time: the last answer was wrong.
    pub(super) fn ask_another_first(&self) {
        let mut known = self.known.lock();
        known.first = known.first.wrapping_add(1);
    }

    /// Asks one server after the other until one answers. The next call begins with that one, or
    /// after those that did not answer, so that each is asked however many are silent.
    fn ask_any<T>(
        &self,
        servers: &[ConnectionInfo],
        deadline: &mut Deadline,
        ask: impl Fn(&mut Connection, &ConnectionInfo) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut last_error = RedisError::connect("there is nobody to ask");
        for _ in 0..servers.len() {
            let at = self.known.lock().first % servers.len();
            let Some(server) = servers.get(at) else {
                continue;
            };
            let opened = Connection::open(server, &self.resolver, deadline);
            match opened.and_then(|mut connection| ask(&mut connection, server)) {
                Ok(answer) => return Ok(answer),
                Err(error) => last_error = error.at(&server.addr().to_string()),
            }
            self.known.lock().first = at + 1;
            if deadline.next_wait().is_err() {
                break;
            }
        }
        Err(last_error)
    }

    /// Fetches the slots of a cluster from one of its nodes.
    pub(super) fn topology(
        &self,
        seeds: &[ConnectionInfo],
        deadline: &mut Deadline,
    ) -> RedisResult<Topology> {
        let servers = [seeds, self.known.lock().nodes.as_slice()].concat();
        let topology = self.ask_any(&servers, deadline, Topology::ask)?;
        self.known.lock().nodes = topology.nodes().to_vec();
        Ok(topology)
    }

    /// Fetches the address of the primary of this name from one of the sentinels; `info` has its
    /// user and password.
    pub(super) fn primary_by_name(
        &self,
        sentinels: &[ConnectionInfo],
        name: &str,
        info: &ConnectionInfo,
        deadline: &mut Deadline,
    ) -> RedisResult<ConnectionInfo> {
        let mut command = cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let unknown = || RedisError::connect(format!("it knows no primary by the name {name}"));
        let ask = |sentinel: &mut Connection, _: &_| {
            let address: Option<(String, u16)> = sentinel.query_as(&command)?;
            let (host, port) = address.ok_or_else(unknown)?;
            Ok(at_address(info, &host, port))
        };
        let primary = self.ask_any(sentinels, deadline, ask)?;
        self.known.lock().primary = Some(primary.clone());
        Ok(primary)
    }
}
