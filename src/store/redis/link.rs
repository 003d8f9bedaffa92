//! What the writer needs of a connection, and how one comes about; a simulation has its own.

use std::time::Duration;

use super::error::RedisError;

/// A connection as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectionId {
    /// Which server that is: numbers say nothing at another one.
    pub(super) server: String,
    /// Its number there.
    pub(super) client_id: i64,
    /// Where it came from, as seen from there: numbers begin anew when a server restarts.
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

/// One connection. After an error it is dropped: it may be out of step.
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

    /// Asks whether Redis is there.
    ///
    /// # Errors
    ///
    /// It is not; the connection is of no further use.
    fn ping(&mut self) -> Result<(), RedisError>;

    /// Waits no longer than this from now on, for each reply and each write.
    fn set_timeout(&mut self, timeout: Duration);

    /// Who it is at the other end, as far as Redis told: one for each server that it leads to.
    fn connection_ids(&self) -> Vec<ConnectionId>;
}

/// Makes connections.
pub(super) trait Connector {
    /// What it makes.
    type Link: Link;

    /// Connects within `deadline`, and ends the abandoned connections at the server before it
    /// returns: what Redis still reads from them would run after what is sent next. Those that are
    /// known to have ended are taken out of the list; those at other servers stay in it.
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
