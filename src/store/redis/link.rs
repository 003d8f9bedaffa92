//! The link: what the writer needs of a connection. The simulation has a link of its own.

use std::time::Duration;

use super::error::{RedisError, RedisResult};
use crate::limits::STORE_BACKOFF_MS_MAX;

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

/// Replies to commands, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK` to each of so many commands.
    Ok { count: usize },
    /// An error.
    Error(RedisError),
}

/// A connection. It is dropped after an error: its replies may no longer match its commands.
pub(super) trait Link {
    /// Writes commands.
    fn send(&mut self, commands: &[u8]) -> RedisResult<()>;

    /// Waits for the next reply. If it is `+OK`, others like it may be taken with it, up to `most`
    /// in all.
    fn receive(&mut self, most: usize) -> RedisResult<Reply>;

    /// Checks that Redis answers.
    fn ping(&mut self) -> RedisResult<()>;

    /// Sets the time-out of each reply and each write.
    fn set_timeout(&mut self, timeout: Duration);

    /// Returns the ids of the connection at each of its servers, as far as Redis told them.
    fn connection_ids(&self) -> Vec<ConnectionId>;
}

/// A maker of links.
pub(super) trait Connector {
    /// The links that it opens.
    type Link: Link + ?Sized;

    /// Connects within `timeout`. Before it returns it ends the abandoned connections at the
    /// server: commands that Redis still reads from them would run after those that are sent next.
    /// Those that have ended are removed from the list; those at other servers stay in it.
    fn connect(
        &mut self,
        timeout: Duration,
        abandoned: &mut Vec<ConnectionId>,
    ) -> RedisResult<Box<Self::Link>>;

    /// Returns the longest pause between two attempts.
    fn backoff_ms_max(&self) -> u64 {
        STORE_BACKOFF_MS_MAX
    }
}
