//! Look-ups, on connections of their own: a slow one must not hold up what is written.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, Value, cmd};

use super::Shared;
use super::cluster::Topology;
use super::connection::Connection;
use super::connector::{Discovery, at_address};
use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError, RetryPolicy};
use crate::config::redis_url::{RedisUrl, Route};
use crate::limits::{
    RECORD_BYTES_MAX, STORE_LOOKUP_MS_MAX, STORE_LOOKUP_PAUSE_MS, STORE_NODES_WITHOUT_SLOTS_MAX,
};
use crate::store::Lookup;
use crate::store::encoding::is_value_of;
use percore::clock::Clock;

/// A look-up follows so many redirections: nodes that lead to each other have to come to terms.
const HOPS_MAX: usize = 3;

/// Reads single keys. One thread at a time uses it.
pub(in crate::store) struct Reader {
    shared: Arc<Shared>,
    url: RedisUrl,
    discovery: Arc<Discovery>,
    state: ReaderState,
    clock: Clock,
    /// Nothing is asked before this time: Redis was away.
    resume_ms: u64,
}

/// What is open, and what was learnt.
#[derive(Default)]
struct ReaderState {
    /// In the order in which they were asked last.
    connections: Vec<(ConnectionInfo, Connection)>,
    topology: Option<Topology>,
    /// Somebody has said that a slot is elsewhere.
    has_moved: bool,
}

/// Why a look-up has no answer.
enum LookupError {
    /// Redis could not be asked.
    Unreachable(RedisError),
    /// It refused this.
    Refused(RedisError),
    /// What it has is longer than any metric.
    NotOurs,
}

impl fmt::Debug for Reader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reader").field("resume_ms", &self.resume_ms).finish_non_exhaustive()
    }
}

impl Reader {
    pub(in crate::store) fn new(
        shared: Arc<Shared>,
        url: RedisUrl,
        discovery: Arc<Discovery>,
        clock: Clock,
    ) -> Self {
        Self { shared, url, discovery, state: ReaderState::default(), clock, resume_ms: 0 }
    }

    /// Appends the value of `key` to `out`, if it is a metric of ours.
    pub(in crate::store) fn lookup(&mut self, key: &[u8], out: &mut Vec<u8>) -> Lookup {
        if self.clock.now().mono_ms() < self.resume_ms {
            return Lookup::Unavailable;
        }
        // An idle connection may have been closed over there, a slot may have moved, or a password
        // been set: that is no answer yet.
        let attempts = 1 + usize::from(!self.state.connections.is_empty());
        let mut deadline = Deadline::new(self.clock, Duration::from_millis(STORE_LOOKUP_MS_MAX));
        let mut is_reachable = false;
        for _ in 0..attempts {
            // Out of our hands: where this panics, no connection with half a reply stays behind.
            let mut state = std::mem::take(&mut self.state);
            let found = state.fetch(&self.url, &self.discovery, key, &mut deadline);
            let error = match found {
                // The rest of it is still on its way.
                Err(LookupError::NotOurs) => return Lookup::Absent,
                Err(LookupError::Unreachable(error)) => {
                    is_reachable = false;
                    error
                }
                Err(LookupError::Refused(error)) => {
                    is_reachable = true;
                    if error.kind.retry_policy() != RetryPolicy::Reconnect {
                        self.shared.errors.reader.add(error.kind);
                        self.state = state;
                        let is_foreign = error.kind == ErrorKind::WrongType;
                        return if is_foreign { Lookup::Absent } else { Lookup::Unavailable };
                    }
                    error
                }
                Ok(value) => {
                    self.state = state;
                    let key = self.shared.encoding.key_without_prefix(key);
                    let ours = value.filter(|value| is_value_of(key, value));
                    out.extend_from_slice(ours.as_deref().unwrap_or_default());
                    return if ours.is_some() { Lookup::Found } else { Lookup::Absent };
                }
            };
            self.shared.errors.reader.add(error.kind);
            self.discovery.forget_primary();
        }
        if !is_reachable {
            // From now on: whoever has queued behind a server that hangs is told at once.
            self.resume_ms = self.clock.now().mono_ms() + STORE_LOOKUP_PAUSE_MS;
        }
        Lookup::Unavailable
    }
}

impl From<RedisError> for LookupError {
    fn from(error: RedisError) -> Self {
        Self::Unreachable(error)
    }
}

impl ReaderState {
    fn fetch(
        &mut self,
        url: &RedisUrl,
        discovery: &Arc<Discovery>,
        key: &[u8],
        deadline: &mut Deadline,
    ) -> Result<Option<Vec<u8>>, LookupError> {
        let home = self.server_of(url, discovery, key, deadline)?;
        let mut server = home.clone();
        let mut asking = false;
        for _ in 0..=HOPS_MAX {
            let connection = self.connection_to(&server, &home, discovery, deadline)?;
            connection.set_timeout(deadline.next_wait()?);
            if asking {
                connection.query(&cmd("ASKING")).map_err(LookupError::from_reply)?;
            }
            let error = match get(connection, key) {
                Err(LookupError::Refused(error)) if error.redirection().is_some() => error,
                answer => return answer,
            };
            // The key is at another node already, or nowhere.
            if let Some((host, port)) = error.redirection() {
                server = at_address(&server, host, port);
            }
            asking = error.kind == ErrorKind::Ask;
            if error.kind == ErrorKind::Moved {
                // Others may have moved as well, and who told us of the slots did not know.
                self.has_moved = true;
                discovery.rotate_servers();
            }
        }
        Err(LookupError::Refused(RedisError::new(ErrorKind::Moved, "nodes lead to each other")))
    }

    /// The server that has this key, as far as is known.
    fn server_of(
        &mut self,
        url: &RedisUrl,
        discovery: &Arc<Discovery>,
        key: &[u8],
        deadline: &mut Deadline,
    ) -> Result<ConnectionInfo, RedisError> {
        match url.route() {
            Route::Direct(info) => Ok(info.clone()),
            Route::Sentinel { sentinels, primary, info } => {
                // The writer follows a failover, and so do we: the old primary may be there again.
                match discovery.primary() {
                    Some(current) => Ok(current),
                    None => discovery.primary_by_name(sentinels, primary, info, deadline),
                }
            }
            Route::Cluster(seeds) => {
                if self.topology.is_none() || self.has_moved {
                    self.topology = Some(discovery.topology(seeds, deadline)?);
                    self.has_moved = false;
                }
                let node = self.topology.as_ref().and_then(|topology| topology.node_of(key));
                let nobody = || RedisError::new(ErrorKind::ClusterDown, "nobody has this slot");
                node.cloned().ok_or_else(nobody)
            }
        }
    }

    /// Closes the connections that were not used for longest to servers that are neither this one
    /// nor nodes with slots, until so many are left.
    fn close_surplus(&mut self, home: &ConnectionInfo, left: usize) {
        let topology = self.topology.as_ref();
        let has_slots = |info: &ConnectionInfo| {
            let mut nodes = topology.iter().flat_map(|topology| topology.nodes());
            nodes.any(|node| node.addr() == info.addr())
        };
        let has_no_slots = |info: &ConnectionInfo| info.addr() != home.addr() && !has_slots(info);
        let without_slots = self.connections.iter().filter(|(info, _)| has_no_slots(info)).count();
        let mut surplus = without_slots.saturating_sub(left);
        self.connections.retain(|(info, _)| {
            let goes = surplus > 0 && has_no_slots(info);
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// An open connection to a server; `home` is where the look-up began.
    fn connection_to(
        &mut self,
        server: &ConnectionInfo,
        home: &ConnectionInfo,
        discovery: &Arc<Discovery>,
        deadline: &mut Deadline,
    ) -> Result<&mut Connection, RedisError> {
        let is_it = |(open, _): &(ConnectionInfo, _)| open.addr() == server.addr();
        let open = match self.connections.iter().position(is_it) {
            Some(at) => self.connections.remove(at),
            None => {
                // Whoever is named may be named once and never again.
                self.close_surplus(home, STORE_NODES_WITHOUT_SLOTS_MAX - 1);
                (server.clone(), Connection::open(server, &discovery.resolver, deadline)?)
            }
        };
        self.connections.push(open);
        let found = self.connections.last_mut().map(|(_, connection)| connection);
        found.ok_or_else(|| ErrorKind::Connect.into())
    }
}

impl LookupError {
    /// Redis has been asked, and this is what came.
    fn from_reply(error: RedisError) -> Self {
        if error.kind.is_connection_error() {
            Self::Unreachable(error)
        } else {
            Self::Refused(error)
        }
    }
}

fn get(connection: &mut Connection, key: &[u8]) -> Result<Option<Vec<u8>>, LookupError> {
    match connection.query(cmd("GET").arg(key)) {
        Ok(Value::BulkString(value)) => Ok(Some(value)),
        Ok(Value::Nil) => Ok(None),
        Ok(_) => Err(LookupError::Unreachable(RedisError::new(ErrorKind::Protocol, "no string"))),
        // A string that is longer than a reply may be is none of ours, and no stream without end.
        Err(_) if connection.announced_bytes().is_some_and(|bytes| bytes > RECORD_BYTES_MAX) => {
            Err(LookupError::NotOurs)
        }
        Err(error) => Err(LookupError::from_reply(error)),
    }
}
