//! Look-ups, on connections of their own: a slow one must not hold up what is written.

use percore::clock::Clock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, Value, cmd};

use super::Shared;
use super::cluster::Topology;
use super::connection::Connection;
use super::dialer::{SharedBook, at_address};
use super::failure::{Fault, Kind, Treatment};
use super::patience::Patience;
use crate::config::redis_url::{RedisUrl, Route};
use crate::limits::{
    RECORD_BYTES_MAX, STORE_LOOKUP_MS_MAX, STORE_LOOKUP_PAUSE_MS, STORE_STRANGERS_MAX,
};
use crate::store::Lookup;
use crate::store::encoding::is_value_of;

/// A look-up follows so many redirections: nodes that lead to each other have to come to terms.
const HOPS_MAX: usize = 3;

/// Reads single keys. One thread at a time uses it.
pub(in crate::store) struct Reader {
    shared: Arc<Shared>,
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
    /// In the order in which they were asked last.
    connections: Vec<(ConnectionInfo, Connection)>,
    topology: Option<Topology>,
    /// Somebody has said that a slot is elsewhere.
    has_moved: bool,
}

/// Why a look-up has no answer.
enum Unanswered {
    /// Redis could not be asked.
    Unreached(Fault),
    /// It refused this.
    Refused(Fault),
    /// What it has is longer than any metric.
    Foreign,
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
        book: SharedBook,
        clock: Clock,
    ) -> Self {
        Self { shared, url, book, known: Known::default(), clock, resume_ms: 0 }
    }

    /// Appends the value of `key` to `out`, if it is a metric of ours.
    pub(in crate::store) fn lookup(&mut self, key: &[u8], out: &mut Vec<u8>) -> Lookup {
        if self.clock.now().mono_ms() < self.resume_ms {
            return Lookup::Unavailable;
        }
        // An idle connection may have been closed over there, a slot may have moved, or a password
        // been set: that is no answer yet.
        let attempts = 1 + usize::from(!self.known.connections.is_empty());
        let mut patience = Patience::new(self.clock, Duration::from_millis(STORE_LOOKUP_MS_MAX));
        let mut was_reached = false;
        for _ in 0..attempts {
            // Out of our hands: where this panics, no connection with half a reply stays behind.
            let mut known = std::mem::take(&mut self.known);
            let found = known.ask(&self.url, &self.book, key, &mut patience);
            let fault = match found {
                // The rest of it is still on its way.
                Err(Unanswered::Foreign) => return Lookup::Absent,
                Err(Unanswered::Unreached(fault)) => {
                    was_reached = false;
                    fault
                }
                Err(Unanswered::Refused(fault)) => {
                    was_reached = true;
                    if fault.kind.treatment() != Treatment::Reconnect {
                        self.shared.errors.reader.add(fault.kind);
                        self.known = known;
                        let is_foreign = fault.kind == Kind::WrongType;
                        return if is_foreign { Lookup::Absent } else { Lookup::Unavailable };
                    }
                    fault
                }
                Ok(value) => {
                    self.known = known;
                    let key = self.shared.encoding.key_without_prefix(key);
                    let ours = value.filter(|value| is_value_of(key, value));
                    out.extend_from_slice(ours.as_deref().unwrap_or_default());
                    return if ours.is_some() { Lookup::Found } else { Lookup::Absent };
                }
            };
            self.shared.errors.reader.add(fault.kind);
            self.book.forget_primary();
        }
        if !was_reached {
            // From now on: whoever has queued behind a server that hangs is told at once.
            self.resume_ms = self.clock.now().mono_ms() + STORE_LOOKUP_PAUSE_MS;
        }
        Lookup::Unavailable
    }
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self::Unreached(fault)
    }
}

impl Known {
    fn ask(
        &mut self,
        url: &RedisUrl,
        book: &SharedBook,
        key: &[u8],
        patience: &mut Patience,
    ) -> Result<Option<Vec<u8>>, Unanswered> {
        let home = self.server_of(url, book, key, patience)?;
        let mut server = home.clone();
        let mut asking = false;
        for _ in 0..=HOPS_MAX {
            let connection = self.connection_to(&server, &home, book, patience)?;
            connection.set_patience(patience.step()?);
            if asking {
                connection.ask(&cmd("ASKING")).map_err(Unanswered::of_reply)?;
            }
            let fault = match get(connection, key) {
                Err(Unanswered::Refused(fault)) if fault.leads_to().is_some() => fault,
                answer => return answer,
            };
            // The key is at another node already, or nowhere.
            if let Some((host, port)) = fault.leads_to() {
                server = at_address(&server, host, port);
            }
            asking = fault.kind == Kind::Ask;
            if fault.kind == Kind::Moved {
                // Others may have moved as well, and who told us of the slots did not know.
                self.has_moved = true;
                book.distrust_first();
            }
        }
        Err(Unanswered::Refused(Fault::new(Kind::Moved, "nodes lead to each other")))
    }

    /// The server that has this key, as far as is known.
    fn server_of(
        &mut self,
        url: &RedisUrl,
        book: &SharedBook,
        key: &[u8],
        patience: &mut Patience,
    ) -> Result<ConnectionInfo, Fault> {
        match url.route() {
            Route::Direct(info) => Ok(info.clone()),
            Route::Sentinel { sentinels, primary, info } => {
                // The writer follows a failover, and so do we: the old primary may be there again.
                match book.primary() {
                    Some(current) => Ok(current),
                    None => book.primary_by_name(sentinels, primary, info, patience),
                }
            }
            Route::Cluster(seeds) => {
                if self.topology.is_none() || self.has_moved {
                    self.topology = Some(book.topology(seeds, patience)?);
                    self.has_moved = false;
                }
                let node = self.topology.as_ref().and_then(|topology| topology.node_of(key));
                let nobody = || Fault::new(Kind::ClusterDown, "nobody has this slot");
                node.cloned().ok_or_else(nobody)
            }
        }
    }

    /// Closes the connections that were not used for longest to servers that are neither this one
    /// nor nodes with slots, until so many are left.
    fn forget_strangers(&mut self, home: &ConnectionInfo, left: usize) {
        let topology = self.topology.as_ref();
        let has_slots = |info: &ConnectionInfo| {
            let mut nodes = topology.iter().flat_map(|topology| topology.nodes());
            nodes.any(|node| node.addr() == info.addr())
        };
        let is_stranger = |info: &ConnectionInfo| info.addr() != home.addr() && !has_slots(info);
        let strangers = self.connections.iter().filter(|(info, _)| is_stranger(info)).count();
        let mut surplus = strangers.saturating_sub(left);
        self.connections.retain(|(info, _)| {
            let goes = surplus > 0 && is_stranger(info);
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// An open connection to a server; `home` is where the look-up began.
    fn connection_to(
        &mut self,
        server: &ConnectionInfo,
        home: &ConnectionInfo,
        book: &SharedBook,
        patience: &mut Patience,
    ) -> Result<&mut Connection, Fault> {
        let is_it = |(open, _): &(ConnectionInfo, _)| open.addr() == server.addr();
        let open = match self.connections.iter().position(is_it) {
            Some(at) => self.connections.remove(at),
            None => {
                // Whoever is named may be named once and never again.
                self.forget_strangers(home, STORE_STRANGERS_MAX - 1);
                (server.clone(), Connection::open(server, &book.resolver, patience)?)
            }
        };
        self.connections.push(open);
        let found = self.connections.last_mut().map(|(_, connection)| connection);
        found.ok_or_else(|| Kind::Connect.into())
    }
}

impl Unanswered {
    /// Redis has been asked, and this is what came.
    fn of_reply(fault: Fault) -> Self {
        if fault.kind.is_of_connection() { Self::Unreached(fault) } else { Self::Refused(fault) }
    }
}

fn get(connection: &mut Connection, key: &[u8]) -> Result<Option<Vec<u8>>, Unanswered> {
    match connection.ask(cmd("GET").arg(key)) {
        Ok(Value::BulkString(value)) => Ok(Some(value)),
        Ok(Value::Nil) => Ok(None),
        Ok(_) => Err(Unanswered::Unreached(Fault::new(Kind::Protocol, "no string"))),
        // A string that is longer than a reply may be is none of ours, and no stream without end.
        Err(_) if connection.announced_bytes().is_some_and(|bytes| bytes > RECORD_BYTES_MAX) => {
            Err(Unanswered::Foreign)
        }
        Err(fault) => Err(Unanswered::of_reply(fault)),
    }
}
