//! Errors of Redis and of the connections to it, by kind, and what each leads to.

use redis::{ServerError, Value};

use percore::sync::Count;

/// Bytes kept of a message of Redis or the system: an address that a node redirects to fits.
const MESSAGE_BYTES_MAX: usize = 512;

/// Beginnings of the errors with which Redis and its relatives reject a login, as in their sources.
/// What follows them may repeat the user or the password.
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

/// The text that replaces the rest.
const REDACTED: &str = "[the rest is not told: it may repeat user or password]";

/// An error of Redis or of a connection to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisError {
    pub(crate) kind: ErrorKind,
    /// The server; empty as long as it is not known.
    pub(crate) server: String,
    /// The message of Redis or of the system, unchanged.
    pub(crate) message: String,
}

/// The result of an operation on Redis.
pub(crate) type RedisResult<T> = Result<T, RedisError>;

impl RedisError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { kind, server: String::new(), message }
    }

    /// Converts an error of connecting.
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` passes it")]
    pub(super) fn connect(error: impl ToString) -> Self {
        Self::new(ErrorKind::Connect, error.to_string())
    }

    /// Converts an error reply.
    pub(super) fn from_reply(error: &ServerError) -> Self {
        let message = [error.code(), error.details().unwrap_or_default()].join(" ");
        Self::new(ErrorKind::from_code(error.code()), message)
    }

    /// Returns the error of a reply that does not fit its command.
    pub(super) fn unexpected(reply: &Value) -> Self {
        Self::new(ErrorKind::Protocol, format!("an unexpected reply: {reply:?}"))
    }

    /// Returns true if the error concerns this command alone, such as one that is not allowed.
    pub(super) fn is_about_command(&self) -> bool {
        self.kind.retry_policy() == RetryPolicy::Drop
    }

    /// Returns true if an error reply means that another connection is to be tried: the command was
    /// not run.
    pub(super) fn leads_elsewhere(&self) -> bool {
        self.kind.retry_policy() == RetryPolicy::Reconnect || self.kind == ErrorKind::Ask
    }

    /// Adds the server, unless it is set already.
    pub(super) fn at(mut self, server: &str) -> Self {
        if self.server.is_empty() {
            server.clone_into(&mut self.server);
        }
        self
    }

    /// Redacts the message of an error that follows a login. Redis repeats the arguments of a
    /// command that it does not know, cut off anywhere, and a proxy may quote them in any way. So
    /// the message is not searched for secrets: only texts that are known to be free of them are
    /// kept.
    pub(super) fn without_secrets(self) -> Self {
        // These messages are the system's or our own.
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

    /// Returns the host and the port that `MOVED` or `ASK` names. A node that does not know its own
    /// host leaves it empty, and means the host that was asked.
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

/// The treatment of a command after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// The command is dropped: it would fail again.
    Drop,
    /// The command is sent again over the same connection, after a pause.
    Retry,
    /// The command is sent again over a new connection, which may lead to another server or log in.
    Reconnect,
}

macro_rules! kinds {
    ($($(#[$reason:meta])* $kind:ident $name:literal $code:literal $retry_policy:ident)*) => {
        /// The kinds of errors, as they are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ErrorKind { $($(#[$reason])* $kind),* }

        impl ErrorKind {
            /// All kinds, in the order of their index.
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// Returns the label value in metrics.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// Returns what to do with the command.
            pub(super) const fn retry_policy(self) -> RetryPolicy {
                match self { $(Self::$kind => RetryPolicy::$retry_policy),* }
            }

            /// Returns the kind of an error reply, by its first word.
            pub(super) fn from_code(code: &str) -> Self {
                let codes = [$($code),*].into_iter().zip(Self::ALL);
                let mut known = codes.filter(|(known, _)| !known.is_empty() && *known == code);
                known.next().map_or(Self::Other, |(_, kind)| kind)
            }
        }
    };
}

kinds! {
    /// Redis is over `maxmemory`: keys expire all the time, and then there is room.
    Oom "oom" "OOM" Retry
    /// Redis cannot write its snapshot, and takes no writes until it can.
    Misconf "misconf" "MISCONF" Retry
    /// Too few replicas are connected; they come back.
    NoReplicas "noreplicas" "NOREPLICAS" Retry
    /// A script runs, and will end.
    Busy "busy" "BUSY" Retry
    /// A cluster moves the slot; the move ends.
    TryAgain "tryagain" "TRYAGAIN" Retry
    /// A cluster lacks slots until a failover, or this node is cut off from the others and does not
    /// know of one: another node is asked for the slots.
    ClusterDown "clusterdown" "CLUSTERDOWN" Reconnect
    /// The server is a replica: its name or the sentinels may lead to the new primary by now.
    ReadOnly "readonly" "READONLY" Reconnect
    /// Redis loads its data after a start, and takes no writes meanwhile.
    Loading "loading" "LOADING" Reconnect
    /// A password was set: a new connection sends it.
    NoAuth "noauth" "NOAUTH" Reconnect
    /// The password is wrong; it may be corrected at the server.
    WrongPass "wrongpass" "WRONGPASS" Reconnect
    /// A replica that has lost its primary.
    MasterDown "masterdown" "MASTERDOWN" Reconnect
    /// The slot is on another node.
    Moved "moved" "MOVED" Reconnect
    /// The slot is being moved, and the key belongs to the other node already: it is asked next.
    Ask "ask" "ASK" Retry
    /// The user may not write this key.
    NoPerm "noperm" "NOPERM" Drop
    /// A look-up found a value of another type, which another program stored.
    WrongType "wrongtype" "WRONGTYPE" Drop
    /// Any other error reply: the command would get it again.
    Other "other" "ERR" Drop
    /// No connection could be made.
    Connect "connect" "" Reconnect
    /// No reply came in time.
    Timeout "timeout" "" Reconnect
    /// The connection broke.
    Io "io" "" Reconnect
    /// The replies do not match the commands.
    Protocol "protocol" "" Reconnect
}

impl ErrorKind {
    /// Returns true if the connection failed, and false if Redis replied with an error.
    pub(super) const fn is_connection_error(self) -> bool {
        matches!(self, Self::Connect | Self::Timeout | Self::Io | Self::Protocol)
    }
}

/// Counts of errors by kind; one thread writes them.
#[derive(Debug, Default)]
pub(crate) struct ErrorCounts([Count; ErrorKind::ALL.len()]);

impl ErrorCounts {
    /// Counts one error.
    pub(crate) fn add(&self, kind: ErrorKind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.add(1);
        }
    }

    /// Returns the number of errors of this kind.
    pub(crate) fn total(&self, kind: ErrorKind) -> u64 {
        self.0.get(kind as usize).map_or(0, Count::total)
    }
}

impl ErrorCounts {
    /// Returns all counts, with the names of their kinds.
    pub(crate) fn totals(&self) -> Vec<(&'static str, u64)> {
        ErrorKind::ALL.into_iter().map(|kind| (kind.name(), self.total(kind))).collect()
    }
}

/// Returns the error counts of a store that has no remote server: all zero.
pub(crate) fn no_errors() -> Vec<(&'static str, u64)> {
    ErrorKind::ALL.into_iter().map(|kind| (kind.name(), 0)).collect()
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
