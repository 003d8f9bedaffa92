//! A simulated Redis that fails at random, with a clock of its own.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

use crate::store::encoding::Encoding;
use crate::store::redis::error::{ErrorKind, RedisResult, RetryPolicy};
use crate::store::redis::link::{ConnectionId, Connector, Link, Reply};

const SECOND_NS: u64 = 1_000_000_000;

pub(super) const TTL_S: u32 = 300;
pub(super) const TTL_NS: u64 = TTL_S as u64 * SECOND_NS;

/// The server, its connections and the time.
pub(super) struct SimServer {
    encoding: Encoding,
    random: Rng,
    pub(super) now_ns: u64,
    /// The time of entry of each value.
    pub(super) entered_ns: HashMap<u64, u64>,
    /// Commands of abandoned connections that ran.
    pub(super) stale: u64,
    data: HashMap<String, u64>,
    confirmed: HashMap<String, u64>,
    /// The newest value of each key that a restart has lost.
    lost: HashMap<String, u64>,
    connections: Vec<Connection>,
    frozen_until_ns: u64,
    away_until_ns: u64,
    refusing: Option<(ErrorKind, u64)>,
    /// One in so many calls fails.
    rarity: u32,
    /// The time that each reply takes.
    pub(super) reply_ns: u64,
    /// Replies that were sent.
    pub(super) replies: u64,
}

#[derive(Default)]
struct Connection {
    /// Commands that the server has not read.
    unread: VecDeque<Command>,
    abandoned: bool,
}

#[derive(Clone)]
struct Command {
    key: String,
    value: u64,
}

impl SimServer {
    pub(super) fn new(seed: u64, encoding: Encoding) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x5eed);
        let rarity = [50, 300, 3_000][random.usize(..3)];
        Self {
            encoding,
            random,
            now_ns: SECOND_NS,
            entered_ns: HashMap::new(),
            stale: 0,
            data: HashMap::new(),
            confirmed: HashMap::new(),
            lost: HashMap::new(),
            connections: Vec::new(),
            frozen_until_ns: 0,
            away_until_ns: 0,
            refusing: None,
            rarity,
            reply_ns: 1_000,
            replies: 0,
        }
    }

    /// Begins a fault, or lets a long time pass.
    pub(super) fn inject_fault(&mut self) {
        let until_ns = self.now_ns + self.random.u64(1..10 * SECOND_NS);
        match self.random.u8(..6) {
            0 => self.frozen_until_ns = until_ns,
            1 => self.away_until_ns = until_ns,
            2 | 3 => {
                let kind = ErrorKind::ALL[self.random.usize(..ErrorKind::ALL.len())];
                self.refusing = Some((kind, until_ns));
            }
            4 => self.now_ns += self.random.u64(..2 * TTL_NS),
            _ => self.restart(),
        }
    }

    pub(super) fn heal(&mut self) {
        (self.frozen_until_ns, self.away_until_ns, self.refusing) = (0, 0, None);
        self.rarity = u32::MAX;
    }

    /// The server loses its data and all connections.
    fn restart(&mut self) {
        for (key, value) in self.data.drain() {
            let lost = self.lost.entry(key).or_default();
            *lost = value.max(*lost);
        }
        self.confirmed.clear();
        for connection in &mut self.connections {
            connection.unread.clear();
            connection.abandoned = true;
        }
    }

    /// Returns the value that a key has.
    pub(super) fn value(&self, key: &str) -> Option<u64> {
        self.data.get(key).copied()
    }

    /// Returns true if a key has this value or a newer one, or had until a restart.
    pub(super) fn has_had(&self, key: &str, value: u64) -> bool {
        [&self.data, &self.lost].iter().any(|values| values.get(key) >= Some(&value))
    }

    fn fails_now(&mut self) -> bool {
        self.random.u32(..self.rarity) == 0
    }

    fn is_frozen(&self) -> bool {
        self.now_ns < self.frozen_until_ns
    }

    /// Runs some commands of abandoned connections, in random order between connections.
    fn run_stale(&mut self) {
        for at in 0..self.connections.len() {
            while self.connections[at].abandoned && self.random.u8(..4) > 0 {
                let Some(command) = self.connections[at].unread.pop_front() else {
                    break;
                };
                self.stale += 1;
                self.write(command);
            }
        }
    }

    /// Writes a value, which must not be older than the one before.
    fn write(&mut self, command: Command) {
        let Command { key, value } = command;
        let before = self.data.insert(key, value).unwrap_or(0);
        assert!(before <= value, "{value} was written over {before}");
    }

    /// Runs the next command of a connection; `None` if it has sent none.
    fn run_next(&mut self, connection: usize) -> Option<(Command, Reply)> {
        let command = self.connections[connection].unread.pop_front()?;
        let now_ns = self.now_ns;
        if let Some((kind, _)) = self.refusing.filter(|(_, until_ns)| now_ns < *until_ns) {
            // Errors that are no replies are injected elsewhere.
            let is_reply = !["connect", "timeout", "io", "protocol"].contains(&kind.name());
            if is_reply && self.random.bool() {
                return Some((command, Reply::Error(kind.into())));
            }
        }
        self.write(command.clone());
        Some((command, Reply::Ok { count: 1 }))
    }

    /// Runs what abandoned connections had sent; then no value may be older than a confirmed one.
    pub(super) fn check_end(&mut self) {
        self.frozen_until_ns = 0;
        self.run_stale();
        for (key, confirmed) in &self.confirmed {
            let value = self.data.get(key).copied().unwrap_or(0);
            assert!(value >= *confirmed, "{key}: {value} is older than {confirmed}");
        }
    }
}

pub(super) struct SimConnector(pub(super) Rc<RefCell<SimServer>>);

pub(super) struct SimLink {
    server: Rc<RefCell<SimServer>>,
    number: usize,
    timeout_ns: u64,
    /// True after a reply that asks for a retry: those behind it confirm nothing.
    draining: bool,
    /// The reply or the error behind those that were taken together.
    next: Option<RedisResult<Reply>>,
}

impl Connector for SimConnector {
    type Link = SimLink;

    fn connect(
        &mut self,
        timeout: Duration,
        abandoned: &mut Vec<ConnectionId>,
    ) -> RedisResult<Box<SimLink>> {
        let mut server = self.0.borrow_mut();
        server.now_ns += 1_000;
        if server.now_ns < server.away_until_ns || server.fails_now() {
            return Err(ErrorKind::Connect.into());
        }
        if server.is_frozen() {
            server.now_ns += u64::try_from(timeout.as_nanos()).unwrap();
            return Err(ErrorKind::Timeout.into());
        }
        while let Some(id) = abandoned.pop() {
            server.run_stale();
            if server.fails_now() {
                abandoned.push(id);
                return Err(ErrorKind::Io.into());
            }
            let number = usize::try_from(id.client_id).unwrap();
            server.connections[number].unread.clear();
        }
        server.connections.push(Connection::default());
        let number = server.connections.len() - 1;
        let link = Rc::clone(&self.0);
        let (timeout_ns, draining, next) = (SECOND_NS, false, None);
        Ok(Box::new(SimLink { server: link, number, timeout_ns, draining, next }))
    }
}

impl Link for SimLink {
    fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        let mut server = self.server.borrow_mut();
        self.draining = false;
        let commands = parse(commands, &server);
        if server.connections[self.number].abandoned {
            return Err(ErrorKind::Io.into());
        }
        let mut taken = commands.len();
        let is_cut = server.fails_now();
        if is_cut {
            taken = server.random.usize(..=taken);
        }
        server.connections[self.number].unread.extend(commands.into_iter().take(taken));
        if is_cut { Err(ErrorKind::Io.into()) } else { Ok(()) }
    }

    /// Takes some replies together, as they may have come: it waits for none but the first.
    fn receive(&mut self, most: usize) -> RedisResult<Reply> {
        let together = {
            let mut server = self.server.borrow_mut();
            let is_fast = server.reply_ns < 1_000_000;
            if is_fast {
                [1, server.random.usize(1..=most), most][server.random.usize(..3)]
            } else {
                1
            }
        };
        let mut count = 0;
        while count < together && !(count > 0 && self.server.borrow().is_frozen()) {
            let next = self.next.take().unwrap_or_else(|| self.receive_one());
            if next != Ok(Reply::Ok { count: 1 }) {
                if count == 0 {
                    return next;
                }
                self.next = Some(next);
                break;
            }
            count += 1;
        }
        Ok(Reply::Ok { count })
    }

    fn ping(&mut self) -> RedisResult<()> {
        let mut server = self.server.borrow_mut();
        let is_gone = server.connections[self.number].abandoned || server.is_frozen();
        if is_gone || server.fails_now() {
            return Err(ErrorKind::Io.into());
        }
        server.replies += 1;
        Ok(())
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout_ns = u64::try_from(timeout.as_nanos()).unwrap();
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        let client_id = i64::try_from(self.number).unwrap();
        vec![ConnectionId { server: String::new(), client_id, address: String::new() }]
    }
}

impl SimLink {
    fn receive_one(&mut self) -> RedisResult<Reply> {
        let mut server = self.server.borrow_mut();
        server.now_ns += server.reply_ns;
        if server.is_frozen() {
            let left_ns = server.frozen_until_ns - server.now_ns;
            server.now_ns += left_ns.min(self.timeout_ns);
            if left_ns > self.timeout_ns {
                return Err(ErrorKind::Timeout.into());
            }
        }
        if server.connections[self.number].abandoned || server.fails_now() {
            return Err(ErrorKind::Io.into());
        }
        server.run_stale();
        server.replies += 1;
        let (command, reply) = server.run_next(self.number).expect("a command for each reply");
        if server.fails_now() {
            // The command ran, and its reply is lost.
            return Err(ErrorKind::Io.into());
        }
        match &reply {
            Reply::Ok { .. } if !self.draining => {
                let newest = server.confirmed.entry(command.key).or_default();
                *newest = command.value.max(*newest);
            }
            Reply::Ok { .. } => {}
            Reply::Error(error) => self.draining |= error.kind.retry_policy() == RetryPolicy::Retry,
        }
        Ok(reply)
    }
}

/// A link that is dropped leaves the commands that it had sent in the server's socket.
impl Drop for SimLink {
    fn drop(&mut self) {
        self.server.borrow_mut().connections[self.number].abandoned = true;
    }
}

/// Parses commands, and checks that each is a SET that does not outlive its event.
fn parse(bytes: &[u8], server: &SimServer) -> Vec<Command> {
    let mut words = Vec::new();
    let mut lines = std::str::from_utf8(bytes).unwrap().split_terminator("\r\n");
    while let Some(count) = lines.next() {
        assert_eq!(count, "*5");
        let mut word = || {
            let length: usize = lines.next().unwrap().strip_prefix('$').unwrap().parse().unwrap();
            let word = lines.next().unwrap();
            assert_eq!(word.len(), length);
            word
        };
        let [set, key, value, ex, ttl_s] = [word(), word(), word(), word(), word()];
        assert_eq!((set, ex), ("SET", "EX"));
        assert!(server.encoding.is_value_of(key.as_bytes(), value.as_bytes()), "{key}: {value}");
        // Every field has the same value; the time stands before them, and the device behind.
        let mut fields = value.split(',').skip(1).map(|field| field.rsplit(':').next().unwrap());
        let value = fields.next().unwrap();
        let (value, ttl_s): (u64, u64) = (value.parse().unwrap(), ttl_s.parse().unwrap());
        let ends_ns = server.now_ns + ttl_s * SECOND_NS;
        let due_ns = server.entered_ns[&value] + TTL_NS;
        assert!(ttl_s > 0 && ends_ns < due_ns + 2 * SECOND_NS, "{ttl_s} s");
        assert!(ends_ns >= due_ns, "{ttl_s} s are too few");
        words.push(Command { key: key.to_owned(), value });
    }
    words
}
