//! A cluster: which server has which keys, and one link over all of them.
//!
//! A key's server follows from its slot, CRC16 (XMODEM) of the key modulo 16,384 (Redis Cluster
//! Specification, "Key distribution model"); our keys have no braces, and so no hash tags. The link
//! deals a block's commands out to the servers, which work side by side, and collects the replies
//! in the order of the commands. A key whose slot is being moved follows where `ASK` leads. When a
//! server is gone or has lost a slot, the whole link is given up, and the slots are asked for
//! again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crc::{CRC_16_XMODEM, Crc};
use memchr::memchr;
use redis::{Connection, ConnectionInfo, FromRedisValue, Value};

use super::dialer::at_address;
use super::failure::Kind;
use super::link::{Identity, Link, Reply};
use super::patience::Patience;
use super::session::{Session, ask, kind_of};
use crate::clock::Clock;
use crate::limits::STORE_DIAL_MS_MAX;

const SLOTS: u16 = 16_384;

/// Goes ahead of a command for a slot that its node is still importing.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

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
    pub(super) fn ask(connection: &mut Connection, info: &ConnectionInfo) -> Result<Self, Kind> {
        let mut command = redis::cmd("CLUSTER");
        let reply: Value = ask(connection, command.arg("SLOTS")).map_err(|e| kind_of(&e))?;
        let mut topology = Self::default();
        let Value::Array(ranges) = reply else {
            return Err(Kind::Protocol);
        };
        for range in ranges {
            topology.add(range, info).ok_or(Kind::Protocol)?;
        }
        if topology.ranges.is_empty() { Err(Kind::ClusterDown) } else { Ok(topology) }
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
            at_address(asked, host, number(primary.get(1)?)?)
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
    /// The commands whose replies have not come, in their order.
    sent: VecDeque<Sent>,
    /// Keys of slots that are being moved, and the node that has them already.
    moving: HashMap<Vec<u8>, usize>,
    clock: Clock,
}

struct Node {
    session: Session,
    /// Its commands of the block at hand.
    commands: Vec<u8>,
}

struct Sent {
    node: usize,
    key: Box<[u8]>,
    /// Whether an `ASKING` with a reply of its own went ahead.
    asking: bool,
}

impl ClusterSession {
    /// Connects to every primary.
    pub(super) fn open(
        topology: Topology,
        clock: Clock,
        patience: &mut Patience,
        abandoned: &mut Vec<Identity>,
    ) -> Result<Self, Kind> {
        let mut nodes = Vec::with_capacity(topology.nodes().len());
        for info in topology.nodes() {
            let session = Session::open(info, patience, abandoned)?;
            nodes.push(Node { session, commands: Vec::new() });
        }
        Ok(Self { topology, nodes, sent: VecDeque::new(), moving: HashMap::new(), clock })
    }

    /// Adds a command to what its node gets next.
    fn deal(&mut self, command: &[u8], key: &[u8]) -> Result<(), Kind> {
        let moved_to = self.moving.get(key).copied();
        let at = moved_to.or_else(|| self.topology.index_of(key)).ok_or(Kind::ClusterDown)?;
        let node = self.nodes.get_mut(at).ok_or(Kind::ClusterDown)?;
        if moved_to.is_some() {
            node.commands.extend_from_slice(ASKING);
        }
        node.commands.extend_from_slice(command);
        self.sent.push_back(Sent { node: at, key: key.into(), asking: moved_to.is_some() });
        Ok(())
    }

    /// Notes where a key is to be sent instead, from `ASK slot host:port`. The old node keeps the
    /// keys that it still has, so that a whole slot must not follow.
    fn follow(&mut self, key: &[u8], told: &str) -> Result<(), Kind> {
        let address = told.split(' ').nth(1).ok_or(Kind::Protocol)?;
        let mut nodes = self.topology.nodes().iter();
        let at = match nodes.position(|node| node.addr().to_string() == address) {
            Some(at) => at,
            None => self.meet(address)?,
        };
        if self.moving.len() >= MOVING_KEYS_MAX {
            return Err(Kind::Ask);
        }
        self.moving.insert(key.to_vec(), at);
        Ok(())
    }

    /// Connects to a node that is getting its first slot.
    fn meet(&mut self, address: &str) -> Result<usize, Kind> {
        let (host, port) = address.rsplit_once(':').ok_or(Kind::Protocol)?;
        let port = port.parse().map_err(|_| Kind::Protocol)?;
        let like = self.topology.nodes().first().ok_or(Kind::ClusterDown)?;
        let info = at_address(like, host.to_owned(), port);
        let mut patience = Patience::new(self.clock, Duration::from_millis(STORE_DIAL_MS_MAX));
        let session = Session::open(&info, &mut patience, &mut Vec::new())?;
        self.topology.nodes.push(info);
        self.nodes.push(Node { session, commands: Vec::new() });
        Ok(self.nodes.len() - 1)
    }
}

impl Link for ClusterSession {
    fn send(&mut self, commands: &[u8]) -> Result<(), Kind> {
        let mut rest = commands;
        while !rest.is_empty() {
            let (command, key) = split_command(rest).ok_or(Kind::Protocol)?;
            self.deal(command, key)?;
            rest = rest.get(command.len()..).unwrap_or_default();
        }
        for node in self.nodes.iter_mut().filter(|node| !node.commands.is_empty()) {
            node.session.send(&node.commands)?;
            node.commands.clear();
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Reply, Kind> {
        let Sent { node, key, asking } = self.sent.pop_front().ok_or(Kind::Protocol)?;
        let session = &mut self.nodes.get_mut(node).ok_or(Kind::Protocol)?.session;
        if asking && session.receive()? != Reply::Ok {
            return Err(Kind::Ask);
        }
        let refusal = match session.receive_refusal() {
            Ok(Some(refusal)) => refusal,
            Ok(None) => return Ok(Reply::Ok),
            Err(Kind::Interrupted) => return Ok(Reply::Error(Kind::Interrupted)),
            Err(kind) => return Err(kind),
        };
        let kind = Kind::of_code(refusal.code());
        if kind == Kind::Ask {
            self.follow(&key, refusal.details().unwrap_or_default())?;
        }
        Ok(Reply::Error(kind))
    }

    fn ping(&mut self) -> Result<(), Kind> {
        self.nodes.iter_mut().try_for_each(|node| node.session.ping())
    }

    fn set_patience(&mut self, patience: Duration) -> Result<(), Kind> {
        self.nodes.iter_mut().try_for_each(|node| node.session.set_patience(patience))
    }

    fn identities(&self) -> Vec<Identity> {
        self.nodes.iter().flat_map(|node| node.session.identities()).collect()
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
    use crate::store::packing::pack_again;
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
            pack_again(key, b"{\"a\":\"\r\n$5\r\n\"}", 300, &mut bytes);
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
