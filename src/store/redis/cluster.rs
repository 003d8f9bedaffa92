//! A cluster: which server has which keys, and one link over all of them.
//!
//! A key's server follows from its slot, CRC16 (XMODEM) of the key modulo 16,384 (Redis Cluster
//! Specification, "Key distribution model"); our keys have no braces, and so no hash tags. The link
//! deals a block's commands out to the servers, which work side by side, and collects the replies
//! in the order of the commands. A command that gets `ASK`, as its slot is being moved, is sent
//! where that leads, and its reply takes the place of the first; the others do not wait. When a
//! server is gone or has lost a slot, the whole link is given up, and the slots are asked for
//! again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crc::{CRC_16_XMODEM, Crc};
use memchr::memchr;
use redis::{ConnectionInfo, FromRedisValue, Value, cmd};

use super::connection::Connection;
use super::connector::{Discovery, at_address};
use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError};
use super::link::{ConnectionId, Link, Reply};
use super::session::Session;
use crate::limits::{
    STORE_CONNECT_MS_MAX, STORE_NODES_WITHOUT_SLOTS_MAX, STORE_REPLY_MS_MAX,
    STORE_TOPOLOGY_BYTES_MAX,
};
use percore::clock::{Clock, nanoseconds};

const SLOTS: u16 = 16_384;

/// Goes ahead of a command for a slot that its node is still importing.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// A command follows `ASK` so often: nodes that lead to each other have to come to terms first.
const HOPS_MAX: u8 = 3;

/// Past so many the slots are asked for again: some move must have ended long ago.
const MOVING_KEYS_MAX: usize = 10_000;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

fn slot_of(key: &[u8]) -> u16 {
    CRC.checksum(key) % SLOTS
}

/// The primaries, and the slots that each has.
#[derive(Clone, Default)]
pub(super) struct Topology {
    nodes: Vec<ConnectionInfo>,
    /// First and last slot, and the node that has them.
    ranges: Vec<(u16, u16, usize)>,
}

impl Topology {
    /// Asks a node, which was reached by `info`.
    pub(super) fn ask(
        connection: &mut Connection,
        info: &ConnectionInfo,
    ) -> Result<Self, RedisError> {
        let reply =
            connection.query_bounded(cmd("CLUSTER").arg("SLOTS"), STORE_TOPOLOGY_BYTES_MAX)?;
        let wrong = || RedisError::new(ErrorKind::Protocol, "its slots cannot be read");
        let mut topology = Self::default();
        let Value::Array(ranges) = reply else {
            return Err(wrong());
        };
        for range in ranges {
            topology.add(range, info).ok_or_else(wrong)?;
        }
        if topology.ranges.is_empty() {
            return Err(RedisError::new(ErrorKind::ClusterDown, "nobody has any slot"));
        }
        Ok(topology)
    }

    /// Adds `[first, last, [host, port, …], replicas…]`.
    fn add(&mut self, range: Value, asked: &ConnectionInfo) -> Option<()> {
        let Value::Array(fields) = range else {
            return None;
        };
        let [first, last, Value::Array(primary), ..] = fields.as_slice() else {
            return None;
        };
        let number = |value: &Value| u16::from_redis_value(value.clone()).ok();
        let host = String::from_redis_value(primary.first()?.clone()).unwrap_or_default();
        // A node that does not know its own name means the address that we asked.
        let node = if host.is_empty() {
            asked.clone()
        } else {
            at_address(asked, &host, number(primary.get(1)?)?)
        };
        let known = self.nodes.iter().position(|known| known.addr() == node.addr());
        let at = known.unwrap_or(self.nodes.len());
        if known.is_none() {
            self.nodes.push(node);
        }
        self.ranges.push((number(first)?, number(last)?, at));
        Some(())
    }

    /// All primaries.
    pub(super) fn nodes(&self) -> &[ConnectionInfo] {
        &self.nodes
    }

    fn index_of(&self, key: &[u8]) -> Option<usize> {
        let slot = slot_of(key);
        let mut ranges = self.ranges.iter();
        ranges.find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|range| range.2)
    }

    /// The primary that has this key, if any has it at the moment.
    pub(super) fn node_of(&self, key: &[u8]) -> Option<&ConnectionInfo> {
        self.nodes.get(self.index_of(key)?)
    }
}

/// A link over all primaries.
pub(super) struct ClusterSession {
    topology: Topology,
    nodes: Vec<Node>,
    /// How many of them have slots; the others were met by `ASK`.
    primaries: usize,
    /// The commands whose replies have not been given, in their order.
    sent: VecDeque<SentCommand>,
    /// The number of the first of them.
    first: u64,
    /// Keys of slots that are being moved, and the node that has them already.
    moving: HashMap<Vec<u8>, usize>,
    /// Abandoned connections at servers that are no primaries now, and may yet be met.
    abandoned_elsewhere: Vec<ConnectionId>,
    discovery: Arc<Discovery>,
    clock: Clock,
    timeout: Duration,
}

struct Node {
    session: Session,
    /// Its commands of the block at hand.
    commands: Vec<u8>,
    /// Those whose replies have not come from it, in the order of these.
    awaited: VecDeque<ExpectedReply>,
}

struct ExpectedReply {
    number: u64,
    /// Whether an `ASKING` with a reply of its own went ahead.
    asking: bool,
}

struct SentCommand {
    node: usize,
    command: Box<[u8]>,
    /// How often it was sent somewhere else.
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

    /// Adds a command to what it gets next.
    fn add(&mut self, number: u64, command: &[u8], asking: bool) {
        if asking {
            self.commands.extend_from_slice(ASKING);
        }
        self.commands.extend_from_slice(command);
        self.awaited.push_back(ExpectedReply { number, asking });
    }

    /// Sends what it is to get.
    fn flush(&mut self) -> Result<(), RedisError> {
        if !self.commands.is_empty() {
            self.session.send(&self.commands)?;
            self.commands.clear();
        }
        Ok(())
    }
}

/// The link is out of step.
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
    ) -> Result<Self, RedisError> {
        let mut nodes = Vec::with_capacity(topology.nodes().len());
        for info in topology.nodes() {
            match open(info, &discovery, deadline, abandoned) {
                Ok(session) => nodes.push(Node::new(session)),
                Err(error) => {
                    // Whoever named it may be the one that is cut off.
                    discovery.rotate_servers();
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

    /// Adds a command to what its node gets next.
    fn assign(&mut self, command: &[u8], key: &[u8]) -> Result<(), RedisError> {
        let moved_to = self.moving.get(key).copied();
        let at = moved_to.or_else(|| self.topology.index_of(key));
        let number = self.first + self.sent.len() as u64;
        let Some((at, node)) = at.and_then(|at| Some((at, self.nodes.get_mut(at)?))) else {
            self.discovery.rotate_servers();
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

    fn sent_command(&mut self, number: u64) -> Result<&mut SentCommand, RedisError> {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.sent.get_mut(index)).ok_or_else(out_of_step)
    }

    /// Takes the next reply from a node.
    fn receive_from(&mut self, at: usize) -> Result<(), RedisError> {
        let node = self.nodes.get_mut(at).ok_or_else(out_of_step)?;
        let ExpectedReply { number, asking } = node.awaited.pop_front().ok_or_else(out_of_step)?;
        if asking && let Some(error) = node.session.receive_refusal()? {
            return Err(error);
        }
        let reply = match node.session.receive_refusal()? {
            None => Reply::Ok,
            Some(mut error) => {
                if error.kind == ErrorKind::Ask && self.follow_ask(number, at, &mut error)? {
                    return Ok(());
                }
                if matches!(error.kind, ErrorKind::Moved | ErrorKind::ClusterDown) {
                    self.discovery.rotate_servers();
                }
                Reply::Error(error)
            }
        };
        self.sent_command(number)?.reply = Some(reply);
        Ok(())
    }

    /// Sends a command to where `ASK` leads, and no other of its slot: the old node keeps the keys
    /// that it still has. Says whether the reply is to be waited for.
    fn follow_ask(
        &mut self,
        number: u64,
        from: usize,
        error: &mut RedisError,
    ) -> Result<bool, RedisError> {
        let (host, port) = error.redirection().ok_or_else(|| error.clone())?;
        let asked = self.topology.nodes.get(from).ok_or_else(out_of_step)?;
        let info = at_address(asked, host, port);
        let known = self.topology.nodes.iter().position(|node| node.addr() == info.addr());
        if known.is_none() && self.nodes.len() >= self.primaries + STORE_NODES_WITHOUT_SLOTS_MAX {
            return Err(error.clone());
        }
        let to = match known.map_or_else(|| self.add_node(info), Ok) {
            Ok(to) => to,
            Err(unreachable) => {
                // Nobody is there yet: the key is tried again, and the others go on.
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
        // A newer value of the key may get there first: then both are sent again, in order.
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

    /// Connects to a node that another one has named: it is getting its first slot.
    fn add_node(&mut self, info: ConnectionInfo) -> Result<usize, RedisError> {
        let mut deadline = Deadline::new(self.clock, Duration::from_millis(STORE_CONNECT_MS_MAX));
        let session = open(&info, &self.discovery, &mut deadline, &mut self.abandoned_elsewhere)
            .map_err(|error| error.at(&info.addr().to_string()))?;
        self.topology.nodes.push(info);
        self.nodes.push(Node::new(session));
        Ok(self.nodes.len() - 1)
    }
}

/// Connects to a node, and ends abandoned connections there.
fn open(
    info: &ConnectionInfo,
    discovery: &Arc<Discovery>,
    deadline: &mut Deadline,
    abandoned: &mut Vec<ConnectionId>,
) -> Result<Session, RedisError> {
    let mut session = Session::open(info, &discovery.resolver, deadline, abandoned)?;
    session.require_primary();
    Ok(session)
}

impl Link for ClusterSession {
    fn send(&mut self, commands: &[u8]) -> Result<(), RedisError> {
        let mut rest = commands;
        while !rest.is_empty() {
            let (command, key) = split_command(rest).ok_or_else(out_of_step)?;
            self.assign(command, key)?;
            rest = rest.get(command.len()..).unwrap_or_default();
        }
        self.nodes.iter_mut().try_for_each(Node::flush)
    }

    fn receive(&mut self) -> Result<Reply, RedisError> {
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
                // The replies to those that went there before it come first.
                let now_ns = clock.now().mono_ns;
                let whole_ns = nanoseconds(self.timeout);
                if now_ns > *until_ns.get_or_insert(now_ns.saturating_add(whole_ns)) {
                    return Err(RedisError::new(ErrorKind::Timeout, "no answer in time"));
                }
            }
            self.receive_from(at)?;
        }
    }

    fn ping(&mut self) -> Result<(), RedisError> {
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

/// The first command of `bytes`, an array of bulk strings of which the second is the key, and that
/// key.
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

/// The number of the line at `at`, which begins with `mark`, and where the next line begins.
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
    use redis::IntoConnectionInfo;

    #[test]
    fn slots_are_those_of_the_specification() {
        // Its appendix: CRC16 of "123456789" is 0x31C3.
        assert_eq!(CRC.checksum(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
    }

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

    #[test]
    fn each_slot_has_the_node_that_was_told() {
        let asked = "redis://:pw@seed:7000".into_connection_info().unwrap();
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: &str, port| Value::Array(vec![text(host), Value::Int(port)]);
        let range =
            |first, last, node| Value::Array(vec![Value::Int(first), Value::Int(last), node]);
        let mut topology = Topology::default();
        topology.add(range(0, 8_000, node("a", 1)), &asked).unwrap();
        topology.add(range(8_001, 12_000, node("", 2)), &asked).unwrap();
        topology.add(range(12_002, 16_383, node("a", 1)), &asked).unwrap();
        assert_eq!(topology.nodes.len(), 2);
        let address = |key: &[u8]| topology.node_of(key).map(|node| node.addr().to_string());
        assert_eq!(address(b"foo").as_deref(), Some("a:1"));
        assert_eq!(topology.node_of(b"foo").unwrap().redis_settings().password(), Some("pw"));
        let held_by = |slot: u16| {
            (0..100_000_u32).map(|n| n.to_string()).find(|key| slot_of(key.as_bytes()) == slot)
        };
        assert_eq!(address(held_by(8_001).unwrap().as_bytes()).as_deref(), Some("seed:7000"));
        assert_eq!(address(held_by(12_001).unwrap().as_bytes()), None);
        assert!(topology.add(Value::Okay, &asked).is_none());
    }
}
