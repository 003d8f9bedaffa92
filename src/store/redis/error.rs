//! What goes wrong with Redis, by kind, and what is done about it.

use redis::ServerError;

use percore::sync::Count;

/// Bytes kept of what Redis or the system said: an address that a node sends us to fits.
const MESSAGE_BYTES_MAX: usize = 512;

/// How Redis and its kin refuse to let somebody in, in the words of their sources: whatever is said
/// beyond that may repeat what it was given.
const KNOWN_MESSAGES: [&str; 13] = [
    "WRONGPASS invalid username-password pair or user is disabled.",
    "WRONGPASS",
    "ERR AUTH <password> called without any password configured for the default user",
    "ERR Client sent AUTH, but no password is set",
    "ERR invalid password",
    "ERR unknown command",
    "ERR wrong number of arguments",
    "ERR syntax error",
    "ERR max number of clients reached",
    "NOAUTH",
    "NOPERM",
    "NOPROTO",
    "DENIED Redis is running in protected mode",
];

/// What stands for the rest.
const REDACTED: &str = "[the rest is not told: it may repeat user or password]";

/// An error, as it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedisError {
    pub(super) kind: ErrorKind,
    /// The server, once there is one.
    pub(super) server: String,
    /// In the words of Redis or of the system, as they came.
    pub(super) message: String,
}

impl RedisError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { kind, server: String::new(), message }
    }

    /// What Redis said instead of doing as it was told.
    pub(super) fn from_reply(error: &ServerError) -> Self {
        let message = [error.code(), error.details().unwrap_or_default()].join(" ");
        Self::new(ErrorKind::from_code(error.code()), message)
    }

    /// The same, and where: whoever was closest to it has said so before.
    pub(super) fn at(mut self, server: &str) -> Self {
        if self.server.is_empty() {
            server.clone_into(&mut self.server);
        }
        self
    }

    /// The same without a word that Redis may have from us, for what we were refused when we gave
    /// user and password: it repeats the arguments of a command that it does not know, cut off
    /// anywhere, and what stands between us may quote them in any way. So nothing is looked for in
    /// what it said; what is known to be without secrets is kept.
    pub(super) fn without_secrets(self) -> Self {
        // The words of the system and our own.
        if matches!(self.kind, ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Io) {
            return self;
        }
        let known = KNOWN_MESSAGES.into_iter().find(|refusal| self.message.starts_with(refusal));
        let message = match known {
            Some(known) if known.len() == self.message.len() => known.to_owned(),
            Some(known) => format!("{known} {REDACTED}"),
            None if self.kind == ErrorKind::Other => REDACTED.to_owned(),
            None => format!("{} {REDACTED}", self.kind.name()),
        };
        Self { message, ..self }
    }

    /// The host and the port that `MOVED` or `ASK` leads to. A node that does not know its own name
    /// leaves the host empty, and means the one that was asked.
    pub(super) fn redirection(&self) -> Option<(&str, u16)> {
        if !matches!(self.kind, ErrorKind::Ask | ErrorKind::Moved) {
            return None;
        }
        let (host, port) = self.message.split(' ').nth(2)?.rsplit_once(':')?;
        Some((host, port.parse().ok()?))
    }
}

impl From<ErrorKind> for RedisError {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind, "")
    }
}

/// What becomes of a command after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// It is final: the same command would fail again.
    Drop,
    /// It is sent again over the same connection, after a pause.
    Retry,
    /// It is sent again over another connection, which may lead elsewhere or be let in.
    Reconnect,
}

macro_rules! kinds {
    ($($(#[$reason:meta])* $kind:ident $name:literal $code:literal $retry_policy:ident)*) => {
        /// The kinds of errors, as they are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ErrorKind { $($(#[$reason])* $kind),* }

        impl ErrorKind {
            /// All of them, in the order of their index.
            pub(super) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// The label value in metrics.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// What is done about it.
            pub(super) const fn retry_policy(self) -> RetryPolicy {
                match self { $(Self::$kind => RetryPolicy::$retry_policy),* }
            }

            /// The kind of an error reply, by its first word.
            pub(super) fn from_code(code: &str) -> Self {
                let codes = [$($code),*].into_iter().zip(Self::ALL);
                let mut known = codes.filter(|(known, _)| !known.is_empty() && *known == code);
                known.next().map_or(Self::Other, |(_, kind)| kind)
            }
        }
    };
}

kinds! {
    /// Over `maxmemory`: keys expire all the time, and then there is room.
    Oom "oom" "OOM" Retry
    /// Redis cannot write its snapshot and refuses until it can.
    Misconf "misconf" "MISCONF" Retry
    /// Too few replicas are connected; they come back.
    NoReplicas "noreplicas" "NOREPLICAS" Retry
    /// A script runs; it ends.
    Busy "busy" "BUSY" Retry
    /// A cluster moves the slot; the move ends.
    TryAgain "tryagain" "TRYAGAIN" Retry
    /// A cluster lacks slots until a failover has happened, or this node is cut off from the others
    /// and does not know that it has: they are asked for the slots.
    ClusterDown "clusterdown" "CLUSTERDOWN" Reconnect
    /// A replica: the name or the sentinels may lead to the new primary by now.
    ReadOnly "readonly" "READONLY" Reconnect
    /// Redis reads its data back after a start; nothing is stored before it has.
    Loading "loading" "LOADING" Reconnect
    /// A password was set: a new connection gives it.
    NoAuth "noauth" "NOAUTH" Reconnect
    /// The password is wrong; it may be corrected over there.
    WrongPass "wrongpass" "WRONGPASS" Reconnect
    /// A replica that has lost its primary.
    MasterDown "masterdown" "MASTERDOWN" Reconnect
    /// The slot is on another node.
    Moved "moved" "MOVED" Reconnect
    /// The slot is being moved, and the key belongs to the other node already: it is asked next.
    Ask "ask" "ASK" Retry
    /// The user may not write this key: sending it again changes nothing.
    NoPerm "noperm" "NOPERM" Drop
    /// A look-up met a value of another type: somebody else's key.
    WrongType "wrongtype" "WRONGTYPE" Drop
    /// Whatever else Redis says of a command: it would say so again.
    Other "other" "ERR" Drop
    /// No connection could be made.
    Connect "connect" "" Reconnect
    /// No reply came in time.
    Timeout "timeout" "" Reconnect
    /// The connection broke.
    Io "io" "" Reconnect
    /// The replies are not those of the commands.
    Protocol "protocol" "" Reconnect
}

impl ErrorKind {
    /// Whether the connection failed, rather than Redis refused something over it.
    pub(super) const fn is_connection_error(self) -> bool {
        matches!(self, Self::Connect | Self::Timeout | Self::Io | Self::Protocol)
    }
}

/// Errors so far, by kind; counted by one thread alone.
#[derive(Debug, Default)]
pub(super) struct ErrorCounts([Count; ErrorKind::ALL.len()]);

impl ErrorCounts {
    /// Counts one.
    pub(super) fn add(&self, kind: ErrorKind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.add(1);
        }
    }

    /// How many there were.
    pub(super) fn total(&self, kind: ErrorKind) -> u64 {
        self.0.get(kind as usize).map_or(0, Count::total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_known_by_their_first_word() {
        assert_eq!(ErrorKind::from_code("OOM"), ErrorKind::Oom);
        assert_eq!(ErrorKind::from_code("READONLY").retry_policy(), RetryPolicy::Reconnect);
        assert_eq!(ErrorKind::from_code("NOPERM").retry_policy(), RetryPolicy::Drop);
        for unknown in ["", "WHATEVER", "oom", "Io"] {
            assert_eq!(ErrorKind::from_code(unknown), ErrorKind::Other);
        }
    }

    #[test]
    fn a_redirection_names_its_node() {
        let leads = |message: &str| {
            let error =
                RedisError::new(ErrorKind::from_code(message.split(' ').next().unwrap()), message);
            error.redirection().map(|(host, port)| (host.to_owned(), port))
        };
        assert_eq!(leads("MOVED 3999 127.0.0.1:6381"), Some(("127.0.0.1".to_owned(), 6381)));
        assert_eq!(leads("ASK 3999 ::1:6381"), Some(("::1".to_owned(), 6381)));
        assert_eq!(leads("ASK 3999 :6381"), Some((String::new(), 6381)));
        for none in ["ERR 3999 127.0.0.1:6381", "ASK", "MOVED 1", "MOVED 1 a", "ASK 1 a:b"] {
            assert_eq!(leads(none), None, "{none}");
        }
    }

    #[test]
    fn what_may_repeat_a_secret_is_left_out() {
        let kept = |message: &str| {
            let kind = ErrorKind::from_code(message.split(' ').next().unwrap());
            RedisError::new(kind, message).without_secrets().message
        };
        let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(kept(wrong), wrong);
        for (message, start) in [
            ("ERR unknown command 'AUTH', with args beginning with: 'hunter2' ", "ERR unknown"),
            ("ERR unknown command `HELLO`, with args beginning with: `3`, `hun", "ERR unknown"),
            ("WRONGPASS for hunter2", "WRONGPASS ["),
            ("LOADING aHVudGVyMg==", "loading ["),
            ("ERR \\x68unter2", "["),
            ("hunter2", "["),
        ] {
            let kept = kept(message);
            assert!(kept.starts_with(start) && kept.ends_with(REDACTED), "{message}: {kept}");
            assert!(!["hun", "ter2", "aHV"].iter().any(|part| kept.contains(part)), "{kept}");
        }
        let own = RedisError::new(ErrorKind::Timeout, "no answer in time");
        assert_eq!(own.clone().without_secrets(), own);
    }

    #[test]
    fn what_is_said_is_kept_up_to_a_length() {
        let error = RedisError::new(ErrorKind::Other, "é".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(error.message.len(), MESSAGE_BYTES_MAX);
        assert_eq!(error.at("a").at("b").server, "a");
    }

    #[test]
    fn kinds_are_counted_apart_under_names_of_their_own() {
        let counts = ErrorCounts::default();
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            let same = ErrorKind::ALL.into_iter().filter(|other| other.name() == kind.name());
            assert_eq!(same.count(), 1);
            counts.add(kind);
            assert_eq!(counts.total(kind), 1);
        }
    }
}
