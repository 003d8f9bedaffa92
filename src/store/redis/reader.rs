//! The reader: it looks keys up over connections of its own, so that a slow look-up delays no
//! write.

use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, Value, cmd};

use super::connection::{Connection, at_address};
use super::deadline::Deadline;
use super::discovery::Discovery;
use super::error::{ErrorKind, RedisError, RedisResult, RetryPolicy};
use super::shared_state::SharedState;
use super::topology::Topology;
use crate::config::redis_url::{RedisMode, RedisUrl};
use crate::limits::{
    RECORD_BYTES_MAX, STORE_LOOKUP_MS_MAX, STORE_LOOKUP_PAUSE_MS, STORE_NODES_WITHOUT_SLOTS_MAX,
};
use crate::store::lookup::LookupResult;
use percore::clock::Clock;

/// Redirections of one look-up, at most: two nodes may redirect to each other for a while.
const HOPS_MAX: usize = 3;

/// See the head of this file. One thread at a time uses it.
pub(crate) struct Reader {
    shared: Arc<SharedState>,
    url: RedisUrl,
    discovery: Arc<Discovery>,
    state: ReaderState,
    clock: Clock,
    /// Redis is not asked before this time, because it could not be reached.
    resume_ms: u64,
}

/// Open connections, and the topology as last fetched.
#[derive(Default)]
struct ReaderState {
    /// The connection that was used last is at the end.
    connections: Vec<(ConnectionInfo, Connection)>,
    topology: Option<Topology>,
    /// True if a node has redirected a key: the topology is out of date.
    has_moved: bool,
}

/// The reason why a look-up has no value.
enum LookupError {
    /// Redis could not be reached.
    Unreachable(RedisError),
    /// Redis replied with an error.
    Refused(RedisError),
    /// The value is longer than any metric of ours.
    NotOurs,
}

impl Reader {
    pub(crate) fn new(
        shared: Arc<SharedState>,
        url: RedisUrl,
        discovery: Arc<Discovery>,
        clock: Clock,
    ) -> Self {
        Self { shared, url, discovery, state: ReaderState::default(), clock, resume_ms: 0 }
    }

    /// Looks `key` up, and appends its value to `out` if it is a metric of ours.
    pub(crate) fn lookup(&mut self, key: &[u8], out: &mut Vec<u8>) -> LookupResult {
        if self.clock.now().mono_ms() < self.resume_ms {
            return LookupResult::Unavailable;
        }
        // An idle connection may have been closed by the server, a slot may have moved, or a
        // password may have been set: then the second attempt has a new connection.
        let attempts = 1 + usize::from(!self.state.connections.is_empty());
        let mut deadline = Deadline::new(self.clock, Duration::from_millis(STORE_LOOKUP_MS_MAX));
        let mut is_reachable = false;
        for _ in 0..attempts {
            // Taken out, so that after a panic no connection with half a reply is kept.
            let mut state = std::mem::take(&mut self.state);
            let found = state.fetch(&self.url, &self.discovery, key, &mut deadline);
            let error = match found {
                // The connection is closed: the rest of the value is still on its way.
                Err(LookupError::NotOurs) => return LookupResult::Absent,
                Err(LookupError::Unreachable(error)) => {
                    is_reachable = false;
                    error
                }
                Err(LookupError::Refused(error)) => {
                    is_reachable = true;
                    if error.kind.retry_policy() != RetryPolicy::Reconnect {
                        self.shared.reader_errors.add(error.kind);
                        self.state = state;
                        let is_foreign = error.kind == ErrorKind::WrongType;
                        return if is_foreign {
                            LookupResult::Absent
                        } else {
                            LookupResult::Unavailable
                        };
                    }
                    error
                }
                Ok(value) => {
                    self.state = state;
                    let encoding = &self.shared.encoding;
                    let ours = value.filter(|value| encoding.is_value_of(key, value));
                    out.extend_from_slice(ours.as_deref().unwrap_or_default());
                    return if ours.is_some() { LookupResult::Found } else { LookupResult::Absent };
                }
            };
            self.shared.reader_errors.add(error.kind);
            self.discovery.forget_primary();
        }
        if !is_reachable {
            // The pause begins now: look-ups that queued behind a server that hangs fail at once.
            self.resume_ms = self.clock.now().mono_ms() + STORE_LOOKUP_PAUSE_MS;
        }
        LookupResult::Unavailable
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
            // The key is at another node, or does not exist.
            if let Some((host, port)) = error.redirection() {
                server = at_address(&server, host, port);
            }
            asking = error.kind == ErrorKind::Ask;
            if error.kind == ErrorKind::Moved {
                // Other slots may have moved as well, and the node that told the slots did not
                // know.
                self.has_moved = true;
                discovery.ask_another_first();
            }
        }
        Err(LookupError::Refused(RedisError::new(ErrorKind::Moved, "nodes lead to each other")))
    }

    /// Returns the server that has this key, as far as is known.
    fn server_of(
        &mut self,
        url: &RedisUrl,
        discovery: &Arc<Discovery>,
        key: &[u8],
        deadline: &mut Deadline,
    ) -> RedisResult<ConnectionInfo> {
        match url.mode() {
            RedisMode::Standalone(info) => Ok(info.clone()),
            RedisMode::Sentinel { sentinels, primary, info } => {
                // The writer may have followed a failover: the old primary may be up again.
                match discovery.primary() {
                    Some(current) => Ok(current),
                    None => discovery.primary_by_name(sentinels, primary, info, deadline),
                }
            }
            RedisMode::Cluster(seeds) => {
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

    /// Closes the least recently used connections to servers that are neither `home` nor nodes with
    /// slots, until at most `left` of them are open.
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

    /// Returns an open connection to `server`; `home` is the server where the look-up began.
    fn connection_to(
        &mut self,
        server: &ConnectionInfo,
        home: &ConnectionInfo,
        discovery: &Arc<Discovery>,
        deadline: &mut Deadline,
    ) -> RedisResult<&mut Connection> {
        let is_it = |(open, _): &(ConnectionInfo, _)| open.addr() == server.addr();
        let open = match self.connections.iter().position(is_it) {
            Some(at) => self.connections.remove(at),
            None => {
                // A node may be named once and never again.
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
    /// Converts the error of a command.
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
        // Another program's string is longer than a reply may be; it is no reply without end.
        Err(_) if connection.announced_bytes().is_some_and(|bytes| bytes > RECORD_BYTES_MAX) => {
            Err(LookupError::NotOurs)
        }
        Err(error) => Err(LookupError::from_reply(error)),
    }
}
