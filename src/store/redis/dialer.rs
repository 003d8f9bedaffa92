//! From a URL to the servers: directly, by asking sentinels, or by asking a cluster for its slots.

use std::sync::Arc;
use std::time::Duration;

use redis::{Connection, ConnectionAddr, ConnectionInfo};

use super::cluster::{ClusterSession, Topology};
use super::failure::Kind;
use super::link::{Dialer, Identity, Link};
use super::patience::Patience;
use super::session::{Session, ask, connect, kind_of};
use crate::clock::Clock;
use crate::config::redis_url::{RedisUrl, Route};
use crate::sync::Mutex;

/// What was learnt of the servers, by whoever was there last: writer and reader tell each other.
#[derive(Default)]
pub(in crate::store) struct Book {
    /// The primary that sentinels named last.
    pub(in crate::store) primary: Option<ConnectionInfo>,
    /// The nodes that a cluster had last: those of the URL may be gone when others are there.
    nodes: Vec<ConnectionInfo>,
    /// Who of those that can be asked is asked first.
    first: usize,
}

/// The book of one store.
pub(in crate::store) type SharedBook = Arc<Mutex<Book>>;

/// Opens connections to where the URL leads at the moment.
pub(super) struct RedisDialer {
    url: RedisUrl,
    book: SharedBook,
    clock: Clock,
}

impl RedisDialer {
    pub(super) const fn new(url: RedisUrl, book: SharedBook, clock: Clock) -> Self {
        Self { url, book, clock }
    }
}

impl Dialer for RedisDialer {
    type Link = Box<dyn Link + Send>;

    fn dial(
        &mut self,
        patience: Duration,
        abandoned: &mut Vec<Identity>,
    ) -> Result<Self::Link, Kind> {
        let patience = &mut Patience::new(self.clock, patience);
        match self.url.route() {
            Route::Direct(info) => Ok(Box::new(Session::open(info, patience, abandoned)?)),
            Route::Sentinel { sentinels, primary, info } => {
                let info = primary_by_name(sentinels, primary, info, &self.book, patience)?;
                Ok(Box::new(Session::open(&info, patience, abandoned)?))
            }
            Route::Cluster(seeds) => {
                let topology = topology(seeds, &self.book, patience)?;
                Ok(Box::new(ClusterSession::open(topology, self.clock, patience, abandoned)?))
            }
        }
    }
}

/// Asks one server after the other until one answers. The next time begins with that one, or behind
/// those that did not answer, so that each has its turn however many are silent.
fn ask_each<T>(
    servers: &[ConnectionInfo],
    book: &SharedBook,
    patience: &mut Patience,
    ask: impl Fn(&mut Connection, &ConnectionInfo) -> Result<T, Kind>,
) -> Result<T, Kind> {
    let mut failure = Kind::Connect;
    for _ in 0..servers.len() {
        let at = book.lock().first % servers.len();
        let Some(server) = servers.get(at) else {
            continue;
        };
        match connect(server, patience).and_then(|mut connection| ask(&mut connection, server)) {
            Ok(answer) => return Ok(answer),
            Err(kind) => failure = kind,
        }
        book.lock().first = at + 1;
        if patience.step().is_err() {
            break;
        }
    }
    Err(failure)
}

/// The slots of a cluster, as one of its nodes knows them.
pub(super) fn topology(
    seeds: &[ConnectionInfo],
    book: &SharedBook,
    patience: &mut Patience,
) -> Result<Topology, Kind> {
    let known = [seeds, book.lock().nodes.as_slice()].concat();
    let topology = ask_each(&known, book, patience, Topology::ask)?;
    book.lock().nodes = topology.nodes().to_vec();
    Ok(topology)
}

/// The primary of this name, as one of the sentinels knows it.
pub(super) fn primary_by_name(
    sentinels: &[ConnectionInfo],
    name: &str,
    info: &ConnectionInfo,
    book: &SharedBook,
    patience: &mut Patience,
) -> Result<ConnectionInfo, Kind> {
    let ask = |connection: &mut Connection, _: &_| primary_of(connection, name, info);
    let primary = ask_each(sentinels, book, patience, ask)?;
    book.lock().primary = Some(primary.clone());
    Ok(primary)
}

/// Where the primary of this name is, as a sentinel says.
fn primary_of(
    sentinel: &mut Connection,
    name: &str,
    info: &ConnectionInfo,
) -> Result<ConnectionInfo, Kind> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let address: Option<(String, u16)> =
        ask(sentinel, &command).map_err(|error| kind_of(&error))?;
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
