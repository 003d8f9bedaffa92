//! What the writer needs of a connection, and how one comes about; a simulation has its own.

use std::time::Duration;

use super::failure::Fault;

/// A connection as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Which server that is: numbers say nothing at another one.
    pub(super) server: String,
    /// Its number there.
    pub(super) id: i64,
    /// Where it came from, as seen from there: numbers begin anew when a server restarts.
    pub(super) address: String,
}

/// The reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`.
    Ok,
    /// An error.
    Error(Fault),
}

/// One connection. After an error it is dropped: it may be out of step.
pub(super) trait Link {
    /// Writes commands.
    ///
    /// # Errors
    ///
    /// The connection is of no further use, for this reason.
    fn send(&mut self, commands: &[u8]) -> Result<(), Fault>;

    /// Waits for the next reply.
    ///
    /// # Errors
    ///
    /// The connection is of no further use, for this reason.
    fn receive(&mut self) -> Result<Reply, Fault>;

    /// Asks whether Redis is there.
    ///
    /// # Errors
    ///
    /// It is not; the connection is of no further use.
    fn ping(&mut self) -> Result<(), Fault>;

    /// Waits no longer than this from now on, for each reply and each write.
    fn set_patience(&mut self, patience: Duration);

    /// Who it is at the other end, as far as Redis told: one for each server that it leads to.
    fn identities(&self) -> Vec<Identity>;
}

/// Makes connections.
pub(super) trait Dialer {
    /// What it makes.
    type Link: Link;

    /// Connects within `patience`, and ends the abandoned connections at the server before it
    /// returns: what Redis still reads from them would run after what is sent next. Those that are
    /// known to have ended are taken out of the list; those at other servers stay in it.
    ///
    /// # Errors
    ///
    /// No connection could be made, for this reason.
    fn dial(
        &mut self,
        patience: Duration,
        abandoned: &mut Vec<Identity>,
    ) -> Result<Self::Link, Fault>;
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn send(&mut self, commands: &[u8]) -> Result<(), Fault> {
        (**self).send(commands)
    }

    fn receive(&mut self) -> Result<Reply, Fault> {
        (**self).receive()
    }

    fn ping(&mut self) -> Result<(), Fault> {
        (**self).ping()
    }

    fn set_patience(&mut self, patience: Duration) {
        (**self).set_patience(patience);
    }

    fn identities(&self) -> Vec<Identity> {
        (**self).identities()
    }
}
