//! A link to one server, whose abandoned connections are fenced off when it is opened.

use std::time::Duration;

use redis::{ConnectionInfo, Value};

use super::connection::{Connection, Replies};
use super::deadline::Deadline;
use super::error::{RedisError, RedisResult};
use super::fence;
use super::link::{ConnectionId, Link, Reply};
use super::resolver::Resolver;
use crate::limits::{STORE_REPLY_BYTES_MAX, STORE_REPLY_MS_MAX};

/// An open connection to write over.
pub(super) struct Session {
    connection: Connection,
    id: Option<ConnectionId>,
    /// True if a ping checks the role as well: another server may have become the primary, and a
    /// writer with nothing to write would not notice.
    requires_primary: bool,
}

impl Session {
    /// Connects to the server, and ends abandoned connections of ours there.
    pub(super) fn open(
        info: &ConnectionInfo,
        resolver: &Resolver,
        deadline: &mut Deadline,
        abandoned: &mut Vec<ConnectionId>,
    ) -> RedisResult<Self> {
        let (mut connection, id) = fence::open(info, resolver, deadline, abandoned)?;
        connection.set_timeout(Duration::from_millis(STORE_REPLY_MS_MAX));
        Ok(Self { connection, id, requires_primary: false })
    }

    /// Lets each ping check that the server is a primary.
    pub(super) const fn require_primary(&mut self) {
        self.requires_primary = true;
    }
}

impl Link for Session {
    fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        self.connection.send(commands)
    }

    fn receive(&mut self, most: usize) -> RedisResult<Reply> {
        match self.connection.receive_oks(most, STORE_REPLY_BYTES_MAX)? {
            Replies::Ok(count) => Ok(Reply::Ok { count }),
            Replies::Other(Value::ServerError(error)) => {
                Ok(Reply::Error(RedisError::from_reply(&error).at(self.connection.server())))
            }
            Replies::Other(other) => {
                Err(RedisError::unexpected(&other).at(self.connection.server()))
            }
        }
    }

    fn ping(&mut self) -> RedisResult<()> {
        if self.requires_primary {
            self.requires_primary = self.connection.check_primary()?;
            if self.requires_primary {
                return Ok(());
            }
        }
        self.connection.ping()
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.connection.set_timeout(timeout);
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        self.id.iter().cloned().collect()
    }
}
