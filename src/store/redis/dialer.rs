//! From a URL to the servers: directly, by asking sentinels, or by asking a cluster for its slots.

use std::time::Duration;

use redis::{Connection, ConnectionAddr, ConnectionInfo};

use super::cluster::{ClusterSession, Topology};
use super::failure::Kind;
use super::link::{Dialer, Identity, Link};
use super::session::{Session, connect, kind_of};
use crate::config::redis_url::{RedisUrl, Route};

/// Steps that share the patience with one attempt: an address, a greeting, a question.
const STEPS: u32 = 3;

/// Opens connections to where the URL leads at the moment.
pub(super) struct RedisDialer {
    url: RedisUrl,
    /// Who is asked first: whoever answered last.
    first: usize,
    /// The nodes that a cluster had last: those of the URL may be gone when others are there.
    nodes: Vec<ConnectionInfo>,
}

impl RedisDialer {
    pub(super) const fn new(url: RedisUrl) -> Self {
        Self { url, first: 0, nodes: Vec::new() }
    }
}

impl Dialer for RedisDialer {
    type Link = Box<dyn Link + Send>;

    fn dial(
        &mut self,
        patience: Duration,
        abandoned: &mut Vec<Identity>,
    ) -> Result<Self::Link, Kind> {
        let step = patience / STEPS;
        match self.url.route() {
            Route::Direct(info) => Ok(Box::new(Session::open(info, step, abandoned)?)),
            Route::Sentinel { sentinels, primary, info } => {
                let info = ask_each(sentinels, &mut self.first, step, |connection, _| {
                    primary_of(connection, primary, info)
                })?;
                Ok(Box::new(Session::open(&info, step, abandoned)?))
            }
            Route::Cluster(seeds) => {
                let known = [seeds.as_slice(), self.nodes.as_slice()].concat();
                let topology = topology(&known, &mut self.first, step)?;
                self.nodes.clear();
                self.nodes.extend_from_slice(topology.nodes());
                Ok(Box::new(ClusterSession::open(topology, step, abandoned)?))
            }
        }
    }
}

/// Asks one server after the other, from the `first` on, until one answers.
pub(super) fn ask_each<T>(
    servers: &[ConnectionInfo],
    first: &mut usize,
    step: Duration,
    ask: impl Fn(&mut Connection, &ConnectionInfo) -> Result<T, Kind>,
) -> Result<T, Kind> {
    let mut failure = Kind::Connect;
    for offset in 0..servers.len() {
        let at = (*first + offset) % servers.len();
        let Some(server) = servers.get(at) else {
            continue;
        };
        match connect(server, step).and_then(|mut connection| ask(&mut connection, server)) {
            Ok(answer) => {
                *first = at;
                return Ok(answer);
            }
            Err(kind) => failure = kind,
        }
    }
    Err(failure)
}

/// The slots of a cluster, as one of its nodes knows them.
pub(super) fn topology(
    seeds: &[ConnectionInfo],
    first: &mut usize,
    step: Duration,
) -> Result<Topology, Kind> {
    ask_each(seeds, first, step, Topology::ask)
}

/// Where the primary of this name is, as a sentinel says.
pub(super) fn primary_of(
    sentinel: &mut Connection,
    name: &str,
    info: &ConnectionInfo,
) -> Result<ConnectionInfo, Kind> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let address: Option<(String, u16)> =
        command.query(sentinel).map_err(|error| kind_of(&error))?;
    let (host, port) = address.ok_or(Kind::Connect)?;
    Ok(at_address(info, host, port))
}

/// The same way in, at another address.
pub(super) fn at_address(info: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(address)
}
