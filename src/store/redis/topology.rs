//! The topology of a cluster: which primary has which keys.
//!
//! The server of a key follows from its slot, CRC16 (XMODEM) of the key modulo 16,384 (Redis
//! Cluster Specification, "Key distribution model"). Keys of metrics have no braces, and so no hash
//! tags; of other keys it is the [`hashed_part`] that counts.

use crc::{CRC_16_XMODEM, Crc};
use redis::{ConnectionInfo, FromRedisValue, Value, cmd};

use super::connection::{Connection, at_address};
use super::error::{ErrorKind, RedisError, RedisResult};
use crate::limits::STORE_TOPOLOGY_BYTES_MAX;

/// Slots of every cluster.
const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Returns the slot of a key.
fn slot_of(key: &[u8]) -> u16 {
    CRC.checksum(key) % SLOTS
}

/// Returns the hash tag of a key, which is between its first opening brace and the next closing
/// one, or the whole key if it has none.
pub(super) fn hashed_part(key: &[u8]) -> &[u8] {
    let tag = || {
        let start = key.iter().position(|byte| *byte == b'{')? + 1;
        let rest = key.get(start..)?;
        let end = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..end).filter(|tag| !tag.is_empty())
    };
    tag().unwrap_or(key)
}

/// The primaries of a cluster, and the slots that each has.
#[derive(Clone, Default)]
pub(super) struct Topology {
    nodes: Vec<ConnectionInfo>,
    /// The first and the last slot of each range, and the index of its node.
    ranges: Vec<(u16, u16, usize)>,
}

impl Topology {
    /// Fetches the topology from a node, which was reached by `info`.
    pub(super) fn ask(connection: &mut Connection, info: &ConnectionInfo) -> RedisResult<Self> {
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
        // A node that does not know its own address means the one that was asked.
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

    /// Returns all primaries, and nodes that were added.
    pub(super) fn nodes(&self) -> &[ConnectionInfo] {
        &self.nodes
    }

    /// Adds a node without slots.
    pub(super) fn add_node(&mut self, node: ConnectionInfo) {
        self.nodes.push(node);
    }

    /// Returns the index of the primary that has this key, if any has it at the moment.
    pub(super) fn index_of(&self, key: &[u8]) -> Option<usize> {
        let slot = slot_of(key);
        let mut ranges = self.ranges.iter();
        ranges.find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|range| range.2)
    }

    /// Returns the primary that has this key, if any has it at the moment.
    pub(super) fn node_of(&self, key: &[u8]) -> Option<&ConnectionInfo> {
        self.nodes.get(self.index_of(key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;

    #[test]
    fn slots_are_those_of_the_specification() {
        // Its appendix: CRC16 of "123456789" is 0x31C3.
        assert_eq!(CRC.checksum(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
    }

    #[test]
    fn hash_tags_are_those_of_the_specification() {
        for (key, hashed) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{", "foo}bar{"),
            ("", ""),
        ] {
            assert_eq!(hashed_part(key.as_bytes()), hashed.as_bytes(), "{key}");
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
