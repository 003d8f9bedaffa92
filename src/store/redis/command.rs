//! Commands of any kind, and their replies.

use redis::{Cmd, Value};

use super::error::RedisError;

/// A command, as its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command(Vec<Vec<u8>>);

impl Command {
    /// Returns a command without arguments.
    pub(crate) fn new(name: &str) -> Self {
        Self(vec![name.as_bytes().to_vec()])
    }

    /// Returns the command with one more argument.
    #[must_use]
    pub(crate) fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.0.push(argument.as_ref().to_vec());
        self
    }

    /// Returns the words, the name first.
    pub(crate) fn words(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Returns the second word, which is a key, or the first of several of one slot.
    pub(super) fn key(&self) -> &[u8] {
        self.words().get(1).map_or(&[], Vec::as_slice)
    }

    /// Returns the bytes to send.
    pub(super) fn packed(&self) -> Vec<u8> {
        let mut packed = Cmd::new();
        self.words().iter().for_each(|word| {
            packed.arg(word);
        });
        packed.get_packed_command()
    }
}

/// A reply, without the differences between the versions of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing: an absent key, a wait that timed out, a transaction that was not run.
    Nil,
    /// A number.
    Integer(i64),
    /// A string, or a word such as `OK`.
    Bytes(Vec<u8>),
    /// Several; of a map, each key is followed by its value.
    List(Vec<Reply>),
    /// An error, of this command alone.
    Error(RedisError),
}

impl Reply {
    /// Converts a reply of this server.
    pub(super) fn of(value: Value, server: &str) -> Self {
        let all = |values: Vec<Value>| values.into_iter().map(|value| Self::of(value, server));
        match value {
            Value::Nil => Self::Nil,
            Value::Int(number) => Self::Integer(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(values) | Value::Set(values) => Self::List(all(values).collect()),
            Value::Map(pairs) => {
                Self::List(all(pairs.into_iter().flat_map(<[Value; 2]>::from).collect()).collect())
            }
            Value::ServerError(error) => Self::Error(RedisError::from_reply(&error).at(server)),
            other => Self::Error(RedisError::unexpected(&other).at(server)),
        }
    }
}
