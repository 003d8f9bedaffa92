//! From a URL to the servers: directly, by asking sentinels, or by asking a cluster for its slots.

use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, cmd};

use super::cluster::{ClusterSession, Topology};
use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError};
use super::link::{ConnectionId, Connector, Link};
use super::resolver::Resolver;
use super::session::Session;
use crate::config::redis_url::{RedisUrl, Route};
use crate::limits::STORE_REPLY_MS_MAX;
use percore::clock::Clock;
use percore::sync::Mutex;

/// What was learnt of the servers, by whoever was there last: writer and reader tell each other.
#[derive(Default)]
pub(in crate::store) struct Discovery {
    /// Where names lead.
    pub(super) resolver: Resolver,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The primary that sentinels named last.
    primary: Option<ConnectionInfo>,
    /// The nodes that a cluster had last: those of the URL may be gone when others are there.
    nodes: Vec<ConnectionInfo>,
    /// Who of those that can be asked is asked first.
    first: usize,
}

impl Discovery {
    /// The primary that sentinels named last.
    pub(super) fn primary(&self) -> Option<ConnectionInfo> {
        self.known.lock().primary.clone()
    }

    /// The primary may be another one by now.
    pub(super) fn forget_primary(&self) {
        self.known.lock().primary = None;
    }

    /// The slots are not where somebody said: another one is asked first the next time.
    pub(super) fn rotate_servers(&self) {
        let mut known = self.known.lock();
        known.first = known.first.wrapping_add(1);
    }

    /// Asks one server after the other until one answers. The next time begins with that one, or
    /// behind those that did not answer, so that each has its turn however many are silent.
    fn ask_any<T>(
        &self,
        servers: &[ConnectionInfo],
        deadline: &mut Deadline,
        ask: impl Fn(&mut Connection, &ConnectionInfo) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let mut last_error = RedisError::new(ErrorKind::Connect, "there is nobody to ask");
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

    /// The slots of a cluster, as one of its nodes knows them.
    pub(super) fn topology(
        &self,
        seeds: &[ConnectionInfo],
        deadline: &mut Deadline,
    ) -> Result<Topology, RedisError> {
        let servers = [seeds, self.known.lock().nodes.as_slice()].concat();
        let topology = self.ask_any(&servers, deadline, Topology::ask)?;
        self.known.lock().nodes = topology.nodes().to_vec();
        Ok(topology)
    }

    /// The primary of this name, as one of the sentinels knows it; `info` is how to be let in.
    pub(super) fn primary_by_name(
        &self,
        sentinels: &[ConnectionInfo],
        name: &str,
        info: &ConnectionInfo,
        deadline: &mut Deadline,
    ) -> Result<ConnectionInfo, RedisError> {
        let ask = |connection: &mut Connection, _: &_| primary_of(connection, name, info);
        let primary = self.ask_any(sentinels, deadline, ask)?;
        self.known.lock().primary = Some(primary.clone());
        Ok(primary)
    }
}

/// Opens connections to where the URL leads at the moment.
pub(super) struct RedisConnector {
    url: RedisUrl,
    discovery: Arc<Discovery>,
    clock: Clock,
}

impl RedisConnector {
    pub(super) const fn new(url: RedisUrl, discovery: Arc<Discovery>, clock: Clock) -> Self {
        Self { url, discovery, clock }
    }
}

impl Connector for RedisConnector {
    type Link = Box<dyn Link + Send>;

    fn connect(
        &mut self,
        timeout: Duration,
        abandoned: &mut Vec<ConnectionId>,
    ) -> Result<Self::Link, RedisError> {
        let (discovery, deadline) = (&self.discovery, &mut Deadline::new(self.clock, timeout));
        match self.url.route() {
            Route::Direct(info) => {
                Ok(Box::new(Session::open(info, &discovery.resolver, deadline, abandoned)?))
            }
            Route::Sentinel { sentinels, primary, info } => {
                let info = discovery.primary_by_name(sentinels, primary, info, deadline)?;
                let mut session = Session::open(&info, &discovery.resolver, deadline, abandoned)?;
                // Sentinels may be late themselves.
                session.require_primary();
                session.set_timeout(deadline.next_wait()?);
                session.ping()?;
                session.set_timeout(Duration::from_millis(STORE_REPLY_MS_MAX));
                Ok(Box::new(session))
            }
            Route::Cluster(seeds) => {
                let topology = discovery.topology(seeds, deadline)?;
                let discovery = Arc::clone(discovery);
                Ok(Box::new(ClusterSession::open(
                    topology, discovery, self.clock, deadline, abandoned,
                )?))
            }
        }
    }
}

/// Where the primary of this name is, as a sentinel says.
fn primary_of(
    sentinel: &mut Connection,
    name: &str,
    info: &ConnectionInfo,
) -> Result<ConnectionInfo, RedisError> {
    let mut command = cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let address: Option<(String, u16)> = sentinel.query_as(&command)?;
    let unknown =
        || RedisError::new(ErrorKind::Connect, format!("it knows no primary by the name {name}"));
    let (host, port) = address.ok_or_else(unknown)?;
    Ok(at_address(info, &host, port))
}

/// The same way in, at another address. Without a host it is the same host.
pub(super) fn at_address(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host_at = |same: &String| if host.is_empty() { same.clone() } else { host.to_owned() };
    let address = match info.addr() {
        ConnectionAddr::TcpTls { host: same, insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host_at(same),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        ConnectionAddr::Tcp(same, _) => ConnectionAddr::Tcp(host_at(same), port),
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(address)
}
