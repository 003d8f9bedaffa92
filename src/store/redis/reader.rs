//! Look-ups, on connections of their own: a slow one must not hold up what is written.

use std::fmt;
use std::time::Duration;

use redis::{Connection, ConnectionInfo, RedisResult, Value};

use super::cluster::Topology;
use super::dialer::{SharedBook, at_address, primary_by_name, topology};
use super::failure::Kind;
use super::patience::Patience;
use super::session::{ask, connect, kind_of};
use crate::clock::Clock;
use crate::config::redis_url::{RedisUrl, Route};
use crate::limits::{STORE_LOOKUP_MS_MAX, STORE_LOOKUP_PAUSE_MS};
use crate::store::Lookup;

/// Reads single keys. One thread at a time uses it.
pub(in crate::store) struct Reader {
    url: RedisUrl,
    book: SharedBook,
    known: Known,
    clock: Clock,
    /// Nothing is asked before this time: Redis was away.
    resume_ms: u64,
}

/// What is open, and what was learnt.
#[derive(Default)]
struct Known {
    connections: Vec<(ConnectionInfo, Connection)>,
    topology: Option<Topology>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reader").field("resume_ms", &self.resume_ms).finish_non_exhaustive()
    }
}

impl Reader {
    pub(in crate::store) fn new(url: RedisUrl, book: SharedBook, clock: Clock) -> Self {
        Self { url, book, known: Known::default(), clock, resume_ms: 0 }
    }

    /// Appends the value of `key` to `out`.
    pub(in crate::store) fn lookup(&mut self, key: &[u8], out: &mut Vec<u8>) -> Lookup {
        if self.clock.now().mono_ms() < self.resume_ms {
            return Lookup::Unavailable;
        }
        // An idle connection may have been closed over there, and a slot may have moved: that is no
        // answer yet.
        let attempts = 1 + usize::from(!self.known.connections.is_empty());
        let mut patience = Patience::new(self.clock, Duration::from_millis(STORE_LOOKUP_MS_MAX));
        for _ in 0..attempts {
            // Out of our hands: where this panics, no connection with half a reply stays behind.
            let mut known = std::mem::take(&mut self.known);
            match known.ask(&self.url, &self.book, key, &mut patience) {
                Ok(value) => {
                    self.known = known;
                    out.extend_from_slice(value.as_deref().unwrap_or_default());
                    return if value.is_some() { Lookup::Found } else { Lookup::Absent };
                }
                Err(_) => self.book.lock().primary = None,
            }
        }
        // From now on: whoever has queued behind a server that hangs is told at once.
        self.resume_ms = self.clock.now().mono_ms() + STORE_LOOKUP_PAUSE_MS;
        Lookup::Unavailable
    }
}

impl Known {
    fn ask(
        &mut self,
        url: &RedisUrl,
        book: &SharedBook,
        key: &[u8],
        patience: &mut Patience,
    ) -> Result<Option<Vec<u8>>, Kind> {
        let server = self.server_of(url, book, key, patience)?;
        let error = match get(self.connection_to(&server, patience)?, key) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // The slot is being moved: the key is at the other node already, or nowhere.
        let told = error.redirect_node().filter(|_| kind_of(&error) == Kind::Ask);
        let address = told.and_then(|(address, _)| address.rsplit_once(':'));
        let Some((host, port)) = address else {
            return Err(kind_of(&error));
        };
        let port = port.parse().map_err(|_| Kind::Protocol)?;
        let other = at_address(&server, host.to_owned(), port);
        let connection = self.connection_to(&other, patience)?;
        ask::<Value>(connection, &redis::cmd("ASKING")).map_err(|error| kind_of(&error))?;
        get(connection, key).map_err(|error| kind_of(&error))
    }

    /// The server that has this key, as far as is known.
    fn server_of(
        &mut self,
        url: &RedisUrl,
        book: &SharedBook,
        key: &[u8],
        patience: &mut Patience,
    ) -> Result<ConnectionInfo, Kind> {
        match url.route() {
            Route::Direct(info) => Ok(info.clone()),
            Route::Sentinel { sentinels, primary, info } => {
                // The writer follows a failover, and so do we: the old primary may be there again.
                let current = book.lock().primary.clone();
                match current {
                    Some(current) => Ok(current),
                    None => primary_by_name(sentinels, primary, info, book, patience),
                }
            }
            Route::Cluster(seeds) => {
                if self.topology.is_none() {
                    self.topology = Some(topology(seeds, book, patience)?);
                }
                let node = self.topology.as_ref().and_then(|topology| topology.node_of(key));
                node.cloned().ok_or(Kind::ClusterDown)
            }
        }
    }

    fn connection_to(
        &mut self,
        server: &ConnectionInfo,
        patience: &mut Patience,
    ) -> Result<&mut Connection, Kind> {
        let is_it = |(open, _): &(ConnectionInfo, _)| open.addr() == server.addr();
        let at = match self.connections.iter().position(is_it) {
            Some(at) => at,
            None => {
                self.connections.push((server.clone(), connect(server, patience)?));
                self.connections.len() - 1
            }
        };
        self.connections.get_mut(at).map(|(_, connection)| connection).ok_or(Kind::Connect)
    }
}

fn get(connection: &mut Connection, key: &[u8]) -> RedisResult<Option<Vec<u8>>> {
    ask(connection, redis::cmd("GET").arg(key))
}
