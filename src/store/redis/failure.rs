//! What goes wrong with Redis, by kind, and what is done about it.

use crate::sync::Count;

/// What becomes of a command after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is final: the same command would fail again.
    Drop,
    /// It is sent again over the same connection, after a pause.
    Retry,
    /// It is sent again over another connection, which may lead elsewhere or be let in.
    Reconnect,
}

macro_rules! kinds {
    ($($(#[$reason:meta])* $kind:ident $name:literal $code:literal $treatment:ident)*) => {
        /// The kinds of errors, as they are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$reason])* $kind),* }

        impl Kind {
            /// All of them, in the order of their index.
            pub(super) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// The label value in metrics.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// What is done about it.
            pub(super) const fn treatment(self) -> Treatment {
                match self { $(Self::$kind => Treatment::$treatment),* }
            }

            /// The kind of an error reply, by its first word.
            pub(super) fn of_code(code: &str) -> Self {
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
    /// A cluster lacks slots until a failover has happened.
    ClusterDown "clusterdown" "CLUSTERDOWN" Retry
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
    /// Whatever else Redis says of a command: it would say so again.
    Other "other" "ERR" Drop
    /// No connection could be made.
    Connect "connect" "" Reconnect
    /// No reply came in time.
    Timeout "timeout" "" Reconnect
    /// A signal, as the profiler's, came while a reply was waited for, which the crate then throws
    /// away: what it said is not known.
    Interrupted "interrupted" "" Retry
    /// The connection broke.
    Io "io" "" Reconnect
    /// The replies are not those of the commands.
    Protocol "protocol" "" Reconnect
}

/// Errors so far, by kind; counted by the writer alone.
#[derive(Debug, Default)]
pub(super) struct ErrorCounts([Count; Kind::ALL.len()]);

impl ErrorCounts {
    /// Counts one.
    pub(super) fn add(&self, kind: Kind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.add(1);
        }
    }

    /// How many there were.
    pub(super) fn total(&self, kind: Kind) -> u64 {
        self.0.get(kind as usize).map_or(0, Count::total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_known_by_their_first_word() {
        assert_eq!(Kind::of_code("OOM"), Kind::Oom);
        assert_eq!(Kind::of_code("READONLY").treatment(), Treatment::Reconnect);
        assert_eq!(Kind::of_code("NOPERM").treatment(), Treatment::Drop);
        for unknown in ["", "WHATEVER", "oom", "Io"] {
            assert_eq!(Kind::of_code(unknown), Kind::Other);
        }
    }

    #[test]
    fn kinds_are_counted_apart_under_names_of_their_own() {
        let counts = ErrorCounts::default();
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            let same = Kind::ALL.into_iter().filter(|other| other.name() == kind.name());
            assert_eq!(same.count(), 1);
            counts.add(kind);
            assert_eq!(counts.total(kind), 1);
        }
    }
}
