//! A modelled Redis: one hash, mailboxes, a clock of its own, and what can go wrong with it.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::FLEET_MAIL_SECONDS;
use crate::store::redis::command::{Command, Reply};
use crate::store::redis::error::{ErrorKind, RedisError};

type Hash = BTreeMap<Vec<u8>, Vec<u8>>;

/// A mailbox, and the time at which it ends.
struct List {
    items: VecDeque<Vec<u8>>,
    ends_ns: u64,
}

/// See the head of this file.
pub(super) struct SimRedis {
    hash: Hash,
    /// Writes of the hash so far.
    writes: u64,
    lists: BTreeMap<Vec<u8>, List>,
    /// The writes that there had been when each connection began to watch.
    watched: BTreeMap<u64, u64>,
    /// The commands that each connection has queued since `MULTI`.
    queued: BTreeMap<u64, Vec<Command>>,
    /// The copy that a replica of it has.
    replica: Hash,
    /// Its clock at the beginning of the simulation, in microseconds since 1970.
    pub(super) clock_us: i64,
    /// It refuses writes, with this error.
    pub(super) refuses: Option<ErrorKind>,
    /// Transactions that were not run, as somebody had written.
    pub(super) conflicts: u64,
    /// Entries that were folded.
    pub(super) folded: u64,
}

impl SimRedis {
    pub(super) fn new(clock_us: i64) -> Self {
        Self {
            hash: Hash::new(),
            writes: 0,
            lists: BTreeMap::new(),
            watched: BTreeMap::new(),
            queued: BTreeMap::new(),
            replica: Hash::new(),
            clock_us,
            refuses: None,
            conflicts: 0,
            folded: 0,
        }
    }

    /// Brings the replica up to date.
    pub(super) fn replicate(&mut self) {
        self.replica = self.hash.clone();
    }

    /// Makes the replica the primary, as far as it has come.
    pub(super) fn fail_over(&mut self) {
        self.hash = self.replica.clone();
        self.lists.clear();
        self.forget_connections();
    }

    /// Forgets all.
    pub(super) fn empty(&mut self) {
        self.hash.clear();
        self.lists.clear();
        self.writes += 1;
    }

    pub(super) fn now_us(&self, now_ns: u64) -> i64 {
        self.clock_us + (now_ns / 1000).cast_signed()
    }

    pub(super) fn forget_connections(&mut self) {
        self.watched.clear();
        self.queued.clear();
    }

    pub(super) fn close(&mut self, connection: u64) {
        self.watched.remove(&connection);
        self.queued.remove(&connection);
    }

    /// Returns the number of fields of the directory.
    pub(super) fn fields(&self) -> usize {
        self.hash.len()
    }

    /// Takes the oldest message of a mailbox.
    pub(super) fn pop(&mut self, key: &[u8], now_ns: u64) -> Option<Vec<u8>> {
        let list = self.lists.get_mut(key).filter(|list| now_ns < list.ends_ns)?;
        list.items.pop_front()
    }

    /// Runs a command.
    pub(super) fn run(&mut self, connection: u64, command: &Command, now_ns: u64) -> Reply {
        let words = command.words();
        match (words[0], self.queued.get_mut(&connection)) {
            (b"EXEC", Some(_)) => self.run_transaction(connection, now_ns),
            (_, Some(queued)) => {
                queued.push(command.clone());
                text("QUEUED")
            }
            _ => self.run_words(connection, &words, now_ns),
        }
    }

    fn run_transaction(&mut self, connection: u64, now_ns: u64) -> Reply {
        let queued = self.queued.remove(&connection).unwrap();
        let watched = self.watched.remove(&connection);
        if watched.is_some_and(|writes| writes != self.writes) {
            self.conflicts += 1;
            return Reply::Nil;
        }
        if self.refuses.is_some() && !queued.is_empty() {
            let message = "EXECABORT Transaction discarded because of previous errors.";
            return Reply::Error(RedisError::new(ErrorKind::Other, message));
        }
        let removed = queued.iter().filter(|it| it.words()[0] == b"HDEL");
        self.folded += removed.map(|it| it.words().len() as u64 - 2).sum::<u64>();
        let run = |command: &Command| self.run(connection, command, now_ns);
        Reply::List(queued.iter().map(run).collect())
    }

    fn run_words(&mut self, connection: u64, words: &[&[u8]], now_ns: u64) -> Reply {
        let writes = matches!(words[0], b"HSET" | b"HSETNX" | b"HDEL" | b"RPUSH" | b"EXPIRE");
        if let Some(kind) = self.refuses
            && (writes && (kind != ErrorKind::Oom || !matches!(words[0], b"HDEL" | b"EXPIRE")))
        {
            return Reply::Error(RedisError::new(kind, "it refuses"));
        }
        let owned = |word: &[u8]| word.to_vec();
        match *words {
            [b"TIME"] => {
                let now_us = self.now_us(now_ns);
                let (seconds, rest) = (now_us / 1_000_000, now_us % 1_000_000);
                Reply::List(vec![text(&seconds.to_string()), text(&rest.to_string())])
            }
            [b"INFO", _] => text("maxmemory:0\r\n"),
            [b"HGETALL", _] => {
                let pairs = self.hash.iter().flat_map(|(field, value)| [field, value]);
                Reply::List(pairs.map(|it| Reply::Bytes(it.clone())).collect())
            }
            [b"HSET", _, field, value] => {
                self.writes += 1;
                let old = self.hash.insert(owned(field), owned(value));
                Reply::Integer(i64::from(old.is_none()))
            }
            [b"HSETNX", _, field, value] => {
                if self.hash.contains_key(field) {
                    return Reply::Integer(0);
                }
                self.writes += 1;
                self.hash.insert(owned(field), owned(value));
                Reply::Integer(1)
            }
            [b"HDEL", _, ref fields @ ..] => {
                self.writes += 1;
                let removed = fields.iter().filter(|field| self.hash.remove(**field).is_some());
                Reply::Integer(removed.count() as i64)
            }
            [b"WATCH", _] => {
                self.watched.insert(connection, self.writes);
                text("OK")
            }
            [b"MULTI"] => {
                self.queued.insert(connection, Vec::new());
                text("OK")
            }
            _ => self.run_on_list(words, now_ns),
        }
    }

    fn run_on_list(&mut self, words: &[&[u8]], now_ns: u64) -> Reply {
        match *words {
            [b"RPUSH", key, item] => {
                let list = self
                    .lists
                    .entry(key.to_vec())
                    .or_insert_with(|| List { items: VecDeque::new(), ends_ns: u64::MAX });
                if now_ns >= list.ends_ns {
                    list.items.clear();
                    list.ends_ns = u64::MAX;
                }
                list.items.push_back(item.to_vec());
                Reply::Integer(list.items.len() as i64)
            }
            [b"EXPIRE", key, seconds] => {
                let known = FLEET_MAIL_SECONDS.to_string();
                assert_eq!(seconds, known.as_bytes());
                let Some(list) = self.lists.get_mut(key) else {
                    return Reply::Integer(0);
                };
                list.ends_ns = now_ns + FLEET_MAIL_SECONDS * 1_000_000_000;
                Reply::Integer(1)
            }
            _ => panic!(
                "not modelled: {:?}",
                words.iter().map(|it| it.escape_ascii().to_string()).collect::<Vec<_>>()
            ),
        }
    }
}

fn text(text: &str) -> Reply {
    Reply::Bytes(text.as_bytes().to_vec())
}
