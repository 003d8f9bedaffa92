//! Commands of any kind, and their replies.

use redis::Value;

use super::error::{RedisError, RedisResult};

/// A command, as the bytes that are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    words: usize,
    /// The words, each as a bulk string.
    bytes: Vec<u8>,
}

impl Command {
    /// Returns a command without arguments.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_capacity(name, 0)
    }

    /// Returns a command without arguments, with room for so many bytes of them.
    pub(crate) fn with_capacity(name: &str, bytes: usize) -> Self {
        let bytes = Vec::with_capacity(WORD_BYTES + name.len() + bytes);
        Self { words: 0, bytes }.arg(name)
    }

    /// Returns the command with one more argument.
    #[must_use]
    pub(crate) fn arg(self, argument: impl AsRef<[u8]>) -> Self {
        self.arg_of(&[argument.as_ref()])
    }

    /// Returns the command with one more argument, which is these parts together.
    #[must_use]
    pub(crate) fn arg_of(mut self, parts: &[&[u8]]) -> Self {
        put_length(b'$', parts.iter().map(|part| part.len()).sum(), &mut self.bytes);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.extend_from_slice(b"\r\n");
        self.words += 1;
        self
    }

    /// Returns the command with one more argument, a number.
    #[must_use]
    pub(crate) fn number(self, number: u64) -> Self {
        self.arg(itoa::Buffer::new().format(number))
    }

    /// Returns the words, the name first.
    #[cfg(test)]
    pub(crate) fn words(&self) -> Vec<&[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(|| take_word(&mut rest)).collect()
    }

    /// Returns the command that was packed like this; `None` if it is none.
    #[cfg(test)]
    pub(super) fn unpack(packed: &[u8]) -> Option<Self> {
        let mut bytes = packed;
        let words = take_line(&mut bytes)?.strip_prefix(b"*")?;
        Some(Self { words: str::from_utf8(words).ok()?.parse().ok()?, bytes: bytes.to_vec() })
    }

    /// Returns the number of bytes to send, or a few more.
    pub(super) const fn len(&self) -> usize {
        WORD_BYTES + self.bytes.len()
    }

    /// Appends the bytes to send.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        put_length(b'*', self.words, out);
        out.extend_from_slice(&self.bytes);
    }
}

/// Bytes around a word, at most: `$`, its length, and the ends of two lines.
const WORD_BYTES: usize = 25;

/// Appends the line with the length of a word or of a list.
pub(crate) fn put_length(kind: u8, length: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Takes the first line of a command's bytes.
pub(super) fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let (line, after) = rest.split_at_checked(end)?;
    *rest = after.get(2..)?;
    Some(line)
}

/// Takes the first word of a command's bytes.
pub(super) fn take_word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length: usize = str::from_utf8(take_line(rest)?.get(1..)?).ok()?.parse().ok()?;
    let (word, after) = rest.split_at_checked(length)?;
    *rest = after.get(2..)?;
    Some(word)
}

/// A reply, without the differences between the versions of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing: an absent key, a wait that timed out, a transaction that was not run.
    Nil,
    /// A number.
    Integer(i64),
    /// `OK`.
    Okay,
    /// A string, or another word.
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
            Value::Okay => Self::Okay,
            Value::Array(values) | Value::Set(values) => Self::List(all(values).collect()),
            Value::Map(pairs) => {
                Self::List(all(pairs.into_iter().flat_map(<[Value; 2]>::from).collect()).collect())
            }
            Value::ServerError(error) => Self::Error(RedisError::from_reply(&error).at(server)),
            other => Self::Error(RedisError::unexpected(&other).at(server)),
        }
    }
}

/// The end of a command of many: its reply, or an error if it is not known whether it was run.
///
/// Nearly all are `+OK`, and take no more memory than this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End(Option<Box<RedisResult<Reply>>>);

impl End {
    pub(crate) const OKAY: Self = Self(None);

    pub(crate) const fn is_okay(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the error, if it is not known whether the command was run.
    pub(super) fn error(&self) -> Option<&RedisError> {
        self.0.as_ref().and_then(|result| result.as_ref().as_ref().err())
    }

    pub(crate) fn into_result(self) -> RedisResult<Reply> {
        self.0.map_or(Ok(Reply::Okay), |result| *result)
    }
}

impl From<RedisResult<Reply>> for End {
    fn from(result: RedisResult<Reply>) -> Self {
        Self(if let Ok(Reply::Okay) = result { None } else { Some(Box::new(result)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::error::ErrorKind;
    use proptest::prelude::*;
    use redis::Cmd;

    #[test]
    fn an_end_is_what_it_was_made_of() {
        let error = RedisError::new(ErrorKind::Oom, "full");
        let ends = [
            Ok(Reply::Okay),
            Ok(Reply::Bytes(b"OK".to_vec())),
            Ok(Reply::Error(error.clone())),
            Err(error.clone()),
        ];
        for (at, result) in ends.into_iter().enumerate() {
            let end = End::from(result.clone());
            assert_eq!((end.is_okay(), end.error()), (at == 0, (at == 3).then_some(&error)));
            assert_eq!(end.into_result(), result);
        }
        assert_eq!(size_of::<End>(), size_of::<usize>());
    }

    proptest! {
        #[test]
        fn a_command_is_packed_as_the_client_library_does_it(
            arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9),
        ) {
            let (mut known, mut packed) = (Cmd::new(), Vec::new());
            known.arg("SET");
            let mut command = Command::new("SET");
            for (at, argument) in arguments.iter().enumerate() {
                known.arg(argument);
                let (begin, end) = argument.split_at(at.min(argument.len()));
                command = command.arg_of(&[begin, end]);
            }
            command.pack(&mut packed);
            prop_assert_eq!(&packed, &known.get_packed_command());
            prop_assert!(packed.len() <= command.len());
            let words = command.words();
            prop_assert_eq!(words[0], b"SET");
            prop_assert!(words[1..].iter().eq(&arguments));
            prop_assert_eq!(Command::unpack(&packed), Some(command));
        }
    }
}
