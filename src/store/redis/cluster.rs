//! A link to a cluster: one session for each primary.
//!
//! The link sends each command of a block to the server that has its key. The servers work side by
//! side, and the replies are returned in the order of the commands. A command whose reply is `ASK`,
//! because its slot is being moved, is sent again to the node that `ASK` names, and the second
//! reply replaces the first; other commands do not wait for it. When a server is gone or has lost a
//! slot, the whole link is closed, and the slots are fetched again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;
use redis::ConnectionInfo;

use super::connection::at_address;
use super::deadline::Deadline;
use super::discovery::Discovery;
use super::error::{ErrorKind, RedisError, RedisResult};
use super::link::{ConnectionId, Link, Reply};
use super::session::Session;
use super::topology::Topology;
use crate::limits::{STORE_CONNECT_MS_MAX, STORE_NODES_WITHOUT_SLOTS_MAX, STORE_REPLY_MS_MAX};
use percore::clock::{Clock, nanoseconds};

/// The command that goes ahead of one whose slot the node is still importing.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A command is redirected at most so often: two nodes may redirect to each other for a while.
const HOPS_MAX: u8 = 3;

/// Keys remembered as moving. With more, the slots are fetched again: some move must have ended.
const MOVING_KEYS_MAX: usize = 10_000;

pub(super) struct ClusterSession {
    topology: Topology,
    nodes: Vec<Node>,
    /// Nodes with slots, which come first; `ASK` led to the others.
    primaries: usize,
    /// The commands whose replies have not been returned, in their order.
    sent: VecDeque<SentCommand>,
    /// The number of the first command in `sent`.
    first: u64,
    /// Keys of slots that are being moved, and the node that each has been moved to.
    moving: HashMap<Vec<u8>, usize>,
    /// Abandoned connections to servers that were no primaries when the link was opened.
    abandoned_elsewhere: Vec<ConnectionId>,
    discovery: Arc<Discovery>,
    clock: Clock,
    timeout: Duration,
}

/// A server with its share of the commands.
struct Node {
    session: Session,
    /// Commands that are not sent yet.
    commands: Vec<u8>,
    /// The replies that it owes, in their order.
    awaited: VecDeque<ExpectedReply>,
}

struct ExpectedReply {
    /// The number of the command.
    number: u64,
    /// True if `ASKING` went ahead, which has a reply of its own.
    asking: bool,
}

struct SentCommand {
    node: usize,
    command: Box<[u8]>,
    /// The number of times that it was redirected.
    hops: u8,
    reply: Option<Reply>,
}

impl SentCommand {
    fn key(&self) -> &[u8] {
        split_command(&self.command).map_or(&[], |(_, key)| key)
    }
}

impl Node {
    const fn new(session: Session) -> Self {
        Self { session, commands: Vec::new(), awaited: VecDeque::new() }
    }

    /// Appends a command to those that are sent next.
    fn add(&mut self, number: u64, command: &[u8], asking: bool) {
        if asking {
            self.commands.extend_from_slice(ASKING);
        }
        self.commands.extend_from_slice(command);
        self.awaited.push_back(ExpectedReply { number, asking });
    }

    /// Sends the appended commands.
    fn flush(&mut self) -> RedisResult<()> {
        if !self.commands.is_empty() {
            self.session.send(&self.commands)?;
            self.commands.clear();
        }
        Ok(())
    }
}

/// Returns the error of a reply that matches no command.
fn out_of_step() -> RedisError {
    RedisError::new(ErrorKind::Protocol, "a reply to nothing")
}

impl ClusterSession {
    /// Connects to every primary.
    pub(super) fn open(
        topology: Topology,
        discovery: Arc<Discovery>,
        clock: Clock,
        deadline: &mut Deadline,
        abandoned: &mut Vec<ConnectionId>,
    ) -> RedisResult<Self> {
        let mut nodes = Vec::with_capacity(topology.nodes().len());
        for info in topology.nodes() {
            match open_session(info, &discovery, deadline, abandoned) {
                Ok(session) => nodes.push(Node::new(session)),
                Err(error) => {
                    // The node that named it may be cut off from the others.
                    discovery.ask_another_first();
                    return Err(error);
                }
            }
        }
        Ok(Self {
            primaries: nodes.len(),
            topology,
            nodes,
            sent: VecDeque::new(),
            first: 0,
            moving: HashMap::new(),
            abandoned_elsewhere: abandoned.clone(),
            discovery,
            clock,
            timeout: Duration::from_millis(STORE_REPLY_MS_MAX),
        })
    }

    /// Appends a command to those of the node that has its key.
    fn assign(&mut self, command: &[u8], key: &[u8]) -> RedisResult<()> {
        let moved_to = self.moving.get(key).copied();
        let at = moved_to.or_else(|| self.topology.index_of(key));
        let number = self.first + self.sent.len() as u64;
        let Some((at, node)) = at.and_then(|at| Some((at, self.nodes.get_mut(at)?))) else {
            self.discovery.ask_another_first();
            return Err(RedisError::new(ErrorKind::ClusterDown, "nobody has this slot"));
        };
        node.add(number, command, moved_to.is_some());
        self.sent.push_back(SentCommand {
            node: at,
            command: command.into(),
            hops: 0,
            reply: None,
        });
        Ok(())
    }

    fn sent_command(&mut self, number: u64) -> RedisResult<&mut SentCommand> {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.sent.get_mut(index)).ok_or_else(out_of_step)
    }

    /// Waits for the next reply of a node.
    fn receive_from(&mut self, at: usize) -> RedisResult<()> {
        let node = self.nodes.get_mut(at).ok_or_else(out_of_step)?;
        let ExpectedReply { number, asking } = node.awaited.pop_front().ok_or_else(out_of_step)?;
        if asking && let Reply::Error(error) = node.session.receive(1)? {
            return Err(error);
        }
        let mut reply = node.session.receive(1)?;
        if let Reply::Error(error) = &mut reply {
            if error.kind == ErrorKind::Ask && self.follow_ask(number, at, error)? {
                return Ok(());
            }
            if matches!(error.kind, ErrorKind::Moved | ErrorKind::ClusterDown) {
                self.discovery.ask_another_first();
            }
        }
        self.sent_command(number)?.reply = Some(reply);
        Ok(())
    }

    /// Sends a command again to the node that `ASK` names, but no other command of its slot: the
    /// old node still has keys of it. Returns true if the command was sent and has a reply to wait
    /// for.
    fn follow_ask(
        &mut self,
        number: u64,
        from: usize,
        error: &mut RedisError,
    ) -> RedisResult<bool> {
        let (host, port) = error.redirection().ok_or_else(|| error.clone())?;
        let asked = self.topology.nodes().get(from).ok_or_else(out_of_step)?;
        let info = at_address(asked, host, port);
        let known = self.topology.nodes().iter().position(|node| node.addr() == info.addr());
        if known.is_none() && self.nodes.len() >= self.primaries + STORE_NODES_WITHOUT_SLOTS_MAX {
            return Err(error.clone());
        }
        let to = match known.map_or_else(|| self.add_node(info), Ok) {
            Ok(to) => to,
            Err(unreachable) => {
                // The node is not up yet: this command is sent again later, the others go on.
                error.message = format!("{} ({})", error.message, unreachable.message);
                error.server = unreachable.server;
                return Ok(false);
            }
        };
        if self.moving.len() >= MOVING_KEYS_MAX {
            return Err(error.clone());
        }
        let sent = self.sent_command(number)?;
        sent.hops += 1;
        let (hops, command) = (sent.hops, sent.command.clone());
        let key = split_command(&command).map_or(&[][..], |(_, key)| key);
        self.moving.insert(key.to_vec(), to);
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        // A newer value of the key could be written first: then both are sent again, in order.
        let is_newest = !self.sent.iter().skip(index + 1).any(|later| later.key() == key);
        if hops > HOPS_MAX || !is_newest {
            return Ok(false);
        }
        let node = self.nodes.get_mut(to).ok_or_else(out_of_step)?;
        node.add(number, &command, true);
        node.flush()?;
        self.sent_command(number)?.node = to;
        Ok(true)
    }

    /// Connects to a node without slots that another one has named: it gets its first slot.
    fn add_node(&mut self, info: ConnectionInfo) -> RedisResult<usize> {
        let mut deadline = Deadline::new(self.clock, Duration::from_millis(STORE_CONNECT_MS_MAX));
        let session =
            open_session(&info, &self.discovery, &mut deadline, &mut self.abandoned_elsewhere)
                .map_err(|error| error.at(&info.addr().to_string()))?;
        self.topology.add_node(info);
        self.nodes.push(Node::new(session));
        Ok(self.nodes.len() - 1)
    }
}

/// Connects to a node, and ends abandoned connections to it.
fn open_session(
    info: &ConnectionInfo,
    discovery: &Arc<Discovery>,
    deadline: &mut Deadline,
    abandoned: &mut Vec<ConnectionId>,
) -> RedisResult<Session> {
    let mut session = Session::open(info, &discovery.resolver, deadline, abandoned)?;
    session.require_primary();
    Ok(session)
}

impl Link for ClusterSession {
    fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        let mut rest = commands;
        while !rest.is_empty() {
            let (command, key) = split_command(rest).ok_or_else(out_of_step)?;
            self.assign(command, key)?;
            rest = rest.get(command.len()..).unwrap_or_default();
        }
        self.nodes.iter_mut().try_for_each(Node::flush)
    }

    fn receive(&mut self, _: usize) -> RedisResult<Reply> {
        let mut clock = self.clock;
        let mut until_ns = None;
        loop {
            let first = self.sent.front_mut().ok_or_else(out_of_step)?;
            if let Some(reply) = first.reply.take() {
                self.sent.pop_front();
                self.first += 1;
                return Ok(reply);
            }
            let (at, hops) = (first.node, first.hops);
            if hops > 0 {
                // That node replies to earlier commands first, so the time is bounded as a whole.
                let now_ns = clock.now().mono_ns;
                let whole_ns = nanoseconds(self.timeout);
                if now_ns > *until_ns.get_or_insert(now_ns.saturating_add(whole_ns)) {
                    return Err(RedisError::new(ErrorKind::Timeout, "no answer in time"));
                }
            }
            self.receive_from(at)?;
        }
    }

    fn ping(&mut self) -> RedisResult<()> {
        self.nodes.iter_mut().try_for_each(|node| node.session.ping())
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.nodes.iter_mut().for_each(|node| node.session.set_timeout(timeout));
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        self.nodes.iter().flat_map(|node| node.session.connection_ids()).collect()
    }
}

/// Splits the first command off `bytes`: an array of bulk strings, the second of which is the key.
/// Returns the command and its key.
fn split_command(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (words, mut at) = number_line(bytes, 0, b'*')?;
    let mut key: &[u8] = &[];
    for word in 0..words {
        let (length, start) = number_line(bytes, at, b'$')?;
        if word == 1 {
            key = bytes.get(start..start + length)?;
        }
        at = start + length + 2;
    }
    Some((bytes.get(..at)?, key))
}

/// Returns the number in the line at `at`, which begins with `mark`, and the start of the next
/// line.
fn number_line(bytes: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let line = bytes.get(at..)?;
    let end = memchr(b'\r', line)?;
    let digits = line.get(..end)?.strip_prefix(&[mark])?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, at + end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::encoding::encode_set;

    #[test]
    fn blocks_are_dealt_out_command_by_command() {
        let mut bytes = Vec::new();
        let keys: [&[u8]; 3] = [b"metric:1", b"metric:d1:1700000000", b"metric:2"];
        for key in keys {
            encode_set(key, b"{\"a\":\"\r\n$5\r\n\"}", 300, &mut bytes);
        }
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some((command, key)) = split_command(rest) {
            found.push(key);
            rest = &rest[command.len()..];
        }
        assert_eq!((found.as_slice(), rest), (keys.as_slice(), &b""[..]));
        let (first, _) = split_command(&bytes).unwrap();
        for end in 0..first.len() {
            assert!(split_command(&bytes[..end]).is_none(), "{end}");
        }
    }
}
