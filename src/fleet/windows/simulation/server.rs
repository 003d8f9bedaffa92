//! A modelled Redis: strings that expire, a hash, mailboxes, a replica that lags, and what can go
//! wrong with it.

use std::collections::{BTreeMap, VecDeque};

use crate::store::redis::command::{Command, Reply};

type Strings = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

#[derive(Clone, Default)]
struct Memory {
    strings: Strings,
    hash: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// One server.
#[derive(Default)]
pub(super) struct SimRedis {
    memory: Memory,
    lists: BTreeMap<Vec<u8>, VecDeque<Vec<u8>>>,
    replica: Memory,
    pub(super) frozen_until_ns: u64,
    pub(super) down_until_ns: u64,
    pub(super) commands: u64,
    /// The times that it has begun anew, without the connections that there were.
    pub(super) lives: u64,
    /// The most messages that were in a mailbox.
    pub(super) longest_list: usize,
}

impl SimRedis {
    pub(super) fn replicate(&mut self) {
        self.replica = self.memory.clone();
    }

    pub(super) fn fail_over(&mut self) {
        self.memory = self.replica.clone();
        self.lists.clear();
        self.lives += 1;
    }

    pub(super) fn empty(&mut self) {
        self.forget();
        self.lives += 1;
    }

    /// Loses all, and no connection: an operator has emptied it.
    pub(super) fn forget(&mut self) {
        self.memory = Memory::default();
        self.lists.clear();
    }

    /// Returns true if there is something in a mailbox.
    pub(super) fn has_mail(&self, key: &[u8]) -> bool {
        self.lists.get(key).is_some_and(|list| !list.is_empty())
    }

    pub(super) fn pop(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.lists.get_mut(key)?.pop_front()
    }

    /// Writes a field of the directory. Returns true if it was not there.
    pub(super) fn write_entry(&mut self, field: &[u8], value: Vec<u8>) -> bool {
        self.memory.hash.insert(field.to_vec(), value).is_none()
    }

    fn get(&self, key: &[u8], now_ns: u64) -> Reply {
        let found = self.memory.strings.get(key).filter(|(_, ends_ns)| now_ns < *ends_ns);
        found.map_or(Reply::Nil, |(value, _)| Reply::Bytes(value.clone()))
    }

    /// Runs a command.
    pub(super) fn run(&mut self, command: &Command, now_ns: u64) -> Reply {
        self.commands += 1;
        let words = command.words();
        match *words {
            [b"SET", key, value, b"PX", ttl, ref rest @ ..] => {
                let ttl_ms: u64 = str::from_utf8(ttl).unwrap().parse().unwrap();
                let before = self.get(key, now_ns);
                let ends_ns = now_ns + ttl_ms * 1_000_000;
                self.memory.strings.insert(key.to_vec(), (value.to_vec(), ends_ns));
                match rest {
                    [] => Reply::Okay,
                    [b"GET"] => before,
                    _ => panic!("not modelled"),
                }
            }
            [b"GET", key] => self.get(key, now_ns),
            [b"MGET", ref keys @ ..] => {
                Reply::List(keys.iter().map(|key| self.get(key, now_ns)).collect())
            }
            [b"HGETALL", _] => {
                let pairs = self.memory.hash.iter().flat_map(|(field, value)| [field, value]);
                Reply::List(pairs.map(|it| Reply::Bytes(it.clone())).collect())
            }
            [b"RPUSH", key, item] => {
                let list = self.lists.entry(key.to_vec()).or_default();
                list.push_back(item.to_vec());
                self.longest_list = self.longest_list.max(list.len());
                Reply::Integer(list.len() as i64)
            }
            [b"EXPIRE", ..] => Reply::Integer(1),
            _ => panic!("not modelled: {:?}", String::from_utf8_lossy(words[0])),
        }
    }
}
