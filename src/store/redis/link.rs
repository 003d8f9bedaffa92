//! The link: what the writer needs of a connection. The simulation has a link of its own.

use std::time::Duration;

use super::error::RedisError;

/// The id of a connection at its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectionId {
    /// The server that gave the id.
    pub(super) server: String,
    /// The client id, a number.
    pub(super) client_id: i64,
    /// The address of our end, as the server sees it: client ids begin anew when it restarts.
    pub(super) address: String,
}

/// The reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`.
    Ok,
    /// An error.
    Error(RedisError),
}

/// A connection. It is dropped after an error: its replies may no longer match its commands.
pub(super) trait Link {
    /// Writes commands.
    ///
    /// # Errors
    ///
    /// The connection is of no further use, for this reason.
    fn send(&mut self, commands: &[u8]) -> Result<(), RedisError>;

    /// Waits for the next reply.
    ///
    /// # Errors
    ///
    /// The connection is of no further use, for this reason.
    fn receive(&mut self) -> Result<Reply, RedisError>;

    /// Checks that Redis answers.
    ///
    /// # Errors
    ///
    /// The connection is of no further use, for this reason.
    fn ping(&mut self) -> Result<(), RedisError>;

    /// Sets the time-out of each reply and each write.
    fn set_timeout(&mut self, timeout: Duration);

    /// Returns the ids of the connection at each of its servers, as far as Redis told them.
    fn connection_ids(&self) -> Vec<ConnectionId>;
}

/// A maker of links.
pub(super) trait Connector {
    /// The links that it opens.
    type Link: Link;

    /// Connects within `timeout`. Before it returns it ends the abandoned connections at the
    /// server: commands that Redis still reads from them would run after those that are sent next.
    /// Those that have ended are removed from the list; those at other servers stay in it.
    ///
    /// # Errors
    ///
    /// No connection could be made, for this reason.
    fn connect(
        &mut self,
        timeout: Duration,
        abandoned: &mut Vec<ConnectionId>,
    ) -> Result<Self::Link, RedisError>;
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn send(&mut self, commands: &[u8]) -> Result<(), RedisError> {
        (**self).send(commands)
    }

    fn receive(&mut self) -> Result<Reply, RedisError> {
        (**self).receive()
    }

    fn ping(&mut self) -> Result<(), RedisError> {
        (**self).ping()
    }

    fn set_timeout(&mut self, timeout: Duration) {
        (**self).set_timeout(timeout);
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        (**self).connection_ids()
    }
}
