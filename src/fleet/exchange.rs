//! Exchanges with Redis: batches of commands, what they are for, and how they end.

use super::directory::{Folded, Incarnation};
use crate::store::redis::command::{Command, Reply};
use crate::store::redis::error::RedisError;

/// Commands that are to be sent together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) commands: Vec<Command>,
    /// The connection that they need, if it matters.
    pub(super) only_over: Option<u64>,
}

/// The end of a batch.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) sent_ns: u64,
    pub(super) received_ns: u64,
    /// The connection over which it went.
    pub(super) connection: Option<u64>,
    pub(super) result: Result<Vec<Reply>, RedisError>,
}

/// The next thing to do, after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sends a batch, and waits for its end or for something else until this time.
    Send { batch: Batch, wake_ns: u64 },
    /// Waits until this time, if nothing comes before.
    Wait { wake_ns: u64 },
    /// Nothing: the member has ended.
    End,
}

/// Entries that are to be folded, and what is in their place then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub(super) which: Vec<Incarnation>,
    pub(super) folded: Folded,
}

/// The purpose of a batch. Its own replies are the last ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads the time of Redis.
    Time,
    /// Asks what Redis does when its memory is full.
    Policy,
    /// Writes the own entry unless this is the first look after a while, and reads all.
    Census { writes: bool },
    /// Brings messages and entries alone.
    Post,
    /// Reads the directory to fold some of it.
    Watch,
    /// Folds entries, if nobody has written since.
    Fold(Fold),
    /// Writes the last entry.
    Leave,
}

/// The part of its life that a member is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// It writes its last entry, until this time at most.
    Leaving(u64),
    Gone,
}

impl Purpose {
    /// Returns the number of its own replies.
    pub(super) fn replies(&self) -> usize {
        match self {
            Self::Time | Self::Policy | Self::Leave => 1,
            Self::Census { writes } => 1 + usize::from(*writes),
            Self::Post => 0,
            Self::Watch => 2,
            Self::Fold(fold) => 2 + 2 * usize::from(!fold.which.is_empty()),
        }
    }
}

/// Returns the error that a reply is, if it is one.
pub(super) const fn error_of(reply: &Reply) -> Option<&RedisError> {
    match reply {
        Reply::Error(error) => Some(error),
        _ => None,
    }
}
