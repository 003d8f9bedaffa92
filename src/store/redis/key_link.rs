//! A link to the server that has certain keys, for commands of any kind.
//!
//! The writer's links take `SET` alone, in blocks. Here every reply matters, and nothing is sent
//! again: who asks decides that.

use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionInfo;

use super::command::{Command, Reply};
use super::connection::Connection;
use super::deadline::Deadline;
use super::discovery::Discovery;
use super::error::{ErrorKind, RedisError, RedisResult};
use crate::config::redis_url::{RedisMode, RedisUrl};
use crate::limits::STORE_CONNECT_MS_MAX;
use percore::clock::{Clock, nanoseconds};

/// The least time-out of a wait. Replies that are there already take no time.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// See the head of this file.
pub(crate) struct KeyLink {
    url: RedisUrl,
    discovery: Arc<Discovery>,
    /// The part of the keys that a cluster hashes.
    hash_tag: String,
    clock: Clock,
    connection: Option<Connection>,
    /// The connections that were opened so far.
    opened: u64,
}

impl KeyLink {
    /// Returns a link that connects when it is used. All keys have the hash tag `{hash_tag}`, so
    /// that one node of a cluster has them.
    pub(crate) fn new(
        url: RedisUrl,
        discovery: Arc<Discovery>,
        hash_tag: &str,
        clock: Clock,
    ) -> Self {
        let hash_tag = hash_tag.to_owned();
        Self { url, discovery, hash_tag, clock, connection: None, opened: 0 }
    }

    /// Returns the number of the open connection: what it remembers, as `WATCH`, is gone with the
    /// next one.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.connection.as_ref().map(|_| self.opened)
    }

    /// Sends commands, and returns their replies, of at most `reply_bytes_max` each. They are
    /// awaited for as long as `wait` in all.
    ///
    /// # Errors
    ///
    /// The connection failed, or another server has the keys by now. The commands were run, or
    /// some of them, or none; the next exchange begins with a new connection.
    pub(crate) fn exchange(
        &mut self,
        commands: &[Command],
        wait: Duration,
        reply_bytes_max: usize,
    ) -> RedisResult<Vec<Reply>> {
        let exchanged = self.try_exchange(commands, wait, reply_bytes_max);
        if let Err(error) = &exchanged {
            self.connection = None;
            self.discovery.forget_primary();
            if matches!(error.kind, ErrorKind::Moved | ErrorKind::ClusterDown) {
                self.discovery.ask_another_first();
            }
        }
        exchanged
    }

    fn try_exchange(
        &mut self,
        commands: &[Command],
        wait: Duration,
        reply_bytes_max: usize,
    ) -> RedisResult<Vec<Reply>> {
        // Taken out, so that after a panic no connection with half a reply is kept.
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let until_ns = self.clock.now().mono_ns.saturating_add(nanoseconds(wait));
        connection.set_timeout(wait);
        let mut bytes = Vec::with_capacity(commands.iter().map(Command::len).sum());
        commands.iter().for_each(|command| command.pack(&mut bytes));
        connection.send(&bytes)?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            let left_ns = until_ns.saturating_sub(self.clock.now().mono_ns);
            connection.set_timeout(Duration::from_nanos(left_ns).max(WAIT_MIN));
            let reply = Reply::of(connection.receive(reply_bytes_max)?, connection.server());
            match reply {
                Reply::Error(error) if error.leads_elsewhere() => return Err(error),
                reply => replies.push(reply),
            }
        }
        self.connection = Some(connection);
        Ok(replies)
    }

    fn open(&mut self) -> RedisResult<Connection> {
        let timeout = Duration::from_millis(STORE_CONNECT_MS_MAX);
        let mut deadline = Deadline::new(self.clock, timeout);
        let server = self.server(&mut deadline)?;
        self.opened += 1;
        Connection::open(&server, &self.discovery.resolver, &mut deadline)
    }

    /// Returns the server that has the keys.
    fn server(&self, deadline: &mut Deadline) -> RedisResult<ConnectionInfo> {
        match self.url.mode() {
            RedisMode::Standalone(info) => Ok(info.clone()),
            RedisMode::Sentinel { sentinels, primary, info } => {
                self.discovery.primary_by_name(sentinels, primary, info, deadline)
            }
            RedisMode::Cluster(seeds) => {
                let topology = self.discovery.topology(seeds, deadline)?;
                let node = topology.node_of(self.hash_tag.as_bytes());
                let nobody = || RedisError::new(ErrorKind::ClusterDown, "nobody has this slot");
                node.cloned().ok_or_else(nobody)
            }
        }
    }
}
