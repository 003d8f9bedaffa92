//! From a URL to the servers: directly, by asking sentinels, or by asking a cluster for its slots.

use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, cmd};

use super::cluster::{ClusterSession, Topology};
use super::connection::Connection;
use super::failure::{Fault, Kind};
use super::link::{Dialer, Identity, Link};
use super::patience::Patience;
use super::resolver::Resolver;
use super::session::Session;
use crate::config::redis_url::{RedisUrl, Route};
use crate::limits::STORE_REPLY_MS_MAX;
use percore::clock::Clock;
use percore::sync::Mutex;

/// What was learnt of the servers, by whoever was there last: writer and reader tell each other.
#[derive(Default)]
pub(in crate::store) struct Book {
    /// Where names lead.
    pub(super) resolver: Resolver,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// The primary that sentinels named last.
    primary: Option<ConnectionInfo>,
    /// The nodes that a cluster had last: those of the URL may be gone when others are there.
    nodes: Vec<ConnectionInfo>,
    /// Who of those that can be asked is asked first.
    first: usize,
}

/// The book of one store.
pub(in crate::store) type SharedBook = Arc<Book>;

impl Book {
    /// The primary that sentinels named last.
    pub(super) fn primary(&self) -> Option<ConnectionInfo> {
        self.notes.lock().primary.clone()
    }

    /// The primary may be another one by now.
    pub(super) fn forget_primary(&self) {
        self.notes.lock().primary = None;
    }

    /// The slots are not where somebody said: another one is asked first the next time.
    pub(super) fn distrust_first(&self) {
        let mut notes = self.notes.lock();
        notes.first = notes.first.wrapping_add(1);
    }

    /// Asks one server after the other until one answers. The next time begins with that one, or
    /// behind those that did not answer, so that each has its turn however many are silent.
    fn ask_each<T>(
        &self,
        servers: &[ConnectionInfo],
        patience: &mut Patience,
        ask: impl Fn(&mut Connection, &ConnectionInfo) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut failure = Fault::new(Kind::Connect, "there is nobody to ask");
        for _ in 0..servers.len() {
            let at = self.notes.lock().first % servers.len();
            let Some(server) = servers.get(at) else {
                continue;
            };
            let opened = Connection::open(server, &self.resolver, patience);
            match opened.and_then(|mut connection| ask(&mut connection, server)) {
                Ok(answer) => return Ok(answer),
                Err(fault) => failure = fault.at(&server.addr().to_string()),
            }
            self.notes.lock().first = at + 1;
            if patience.step().is_err() {
                break;
            }
        }
        Err(failure)
    }

    /// The slots of a cluster, as one of its nodes knows them.
    pub(super) fn topology(
        &self,
        seeds: &[ConnectionInfo],
        patience: &mut Patience,
    ) -> Result<Topology, Fault> {
        let known = [seeds, self.notes.lock().nodes.as_slice()].concat();
        let topology = self.ask_each(&known, patience, Topology::ask)?;
        self.notes.lock().nodes = topology.nodes().to_vec();
        Ok(topology)
    }

    /// The primary of this name, as one of the sentinels knows it; `info` is how to be let in.
    pub(super) fn primary_by_name(
        &self,
        sentinels: &[ConnectionInfo],
        name: &str,
        info: &ConnectionInfo,
        patience: &mut Patience,
    ) -> Result<ConnectionInfo, Fault> {
        let ask = |connection: &mut Connection, _: &_| primary_of(connection, name, info);
        let primary = self.ask_each(sentinels, patience, ask)?;
        self.notes.lock().primary = Some(primary.clone());
        Ok(primary)
    }
}

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
    ) -> Result<Self::Link, Fault> {
        let (book, patience) = (&self.book, &mut Patience::new(self.clock, patience));
        match self.url.route() {
            Route::Direct(info) => {
                Ok(Box::new(Session::open(info, &book.resolver, patience, abandoned)?))
            }
            Route::Sentinel { sentinels, primary, info } => {
                let info = book.primary_by_name(sentinels, primary, info, patience)?;
                let mut session = Session::open(&info, &book.resolver, patience, abandoned)?;
                // Sentinels may be late themselves.
                session.ask_role();
                session.set_patience(patience.step()?);
                session.ping()?;
                session.set_patience(Duration::from_millis(STORE_REPLY_MS_MAX));
                Ok(Box::new(session))
            }
            Route::Cluster(seeds) => {
                let topology = book.topology(seeds, patience)?;
                let book = Arc::clone(book);
                Ok(Box::new(ClusterSession::open(topology, book, self.clock, patience, abandoned)?))
            }
        }
    }
}

/// Where the primary of this name is, as a sentinel says.
fn primary_of(
    sentinel: &mut Connection,
    name: &str,
    info: &ConnectionInfo,
) -> Result<ConnectionInfo, Fault> {
    let mut command = cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let address: Option<(String, u16)> = sentinel.ask_as(&command)?;
    let unknown = || Fault::new(Kind::Connect, format!("it knows no primary by the name {name}"));
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
