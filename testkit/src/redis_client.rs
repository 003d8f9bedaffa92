//! Client of the Redis protocol (RESP 2), over the Unix socket of a test's own Redis.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::wait::TIMEOUT;

/// Commands that go out before their replies are read: both fit into the buffers between.
const PIPELINE_MAX: usize = 200;

/// A reply, by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisReply {
    /// A simple string, such as `OK`.
    Status(String),
    /// An error.
    Error(String),
    /// An integer.
    Integer(i64),
    /// A bulk string; `None` for a value that is not there.
    Text(Option<String>),
    /// An array.
    List(Vec<RedisReply>),
}

impl RedisReply {
    /// Returns the text of a value, or `None` where there is none.
    pub fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// Returns the integer; panics at any other type.
    pub fn integer(self) -> i64 {
        match self {
            Self::Integer(integer) => integer,
            other => panic!("no integer: {other:?}"),
        }
    }

    /// Returns the elements of an array; panics at any other type.
    pub fn list(self) -> Vec<Self> {
        match self {
            Self::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Returns the texts of a list by the texts before them: Redis lists fields and values so.
    pub fn fields(self) -> BTreeMap<String, String> {
        let texts = self.list().into_iter().map(|part| part.text().unwrap_or_default());
        let texts: Vec<String> = texts.collect();
        texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// Checks that the command was obeyed.
    pub fn assert_ok(self) {
        assert_eq!(self, Self::Status("OK".to_owned()));
    }
}

/// One connection.
#[derive(Debug)]
pub struct RedisClient(BufReader<UnixStream>);

impl RedisClient {
    /// Connects to the Unix socket at a path.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command without waiting for its reply.
    pub fn send(&mut self, command: &[&str]) -> io::Result<()> {
        self.0.get_mut().write_all(&packed(command))
    }

    /// Sends a command, and receives its reply.
    pub fn try_execute(&mut self, command: &[&str]) -> io::Result<RedisReply> {
        self.send(command)?;
        self.receive()
    }

    /// Executes commands in their order.
    pub fn execute_all(&mut self, commands: &[Vec<&str>]) -> io::Result<Vec<RedisReply>> {
        let mut replies = Vec::with_capacity(commands.len());
        for part in commands.chunks(PIPELINE_MAX) {
            let bytes: Vec<u8> = part.iter().flat_map(|command| packed(command)).collect();
            self.0.get_mut().write_all(&bytes)?;
            for _ in part {
                replies.push(self.receive()?);
            }
        }
        Ok(replies)
    }

    /// Receives one reply.
    pub fn receive(&mut self) -> io::Result<RedisReply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at(1);
        let integer = || rest.parse::<i64>().unwrap_or_else(|error| panic!("{error}: {line:?}"));
        match kind {
            "+" => Ok(RedisReply::Status(rest.to_owned())),
            "-" => Ok(RedisReply::Error(rest.to_owned())),
            ":" => Ok(RedisReply::Integer(integer())),
            "$" => self.text(usize::try_from(integer()).ok()),
            "*" => (0..integer())
                .map(|_| self.receive())
                .collect::<io::Result<_>>()
                .map(RedisReply::List),
            _ => panic!("no reply: {line:?}"),
        }
    }

    /// Receives the text of an announced length, which is none for a value that is not there.
    fn text(&mut self, length: Option<usize>) -> io::Result<RedisReply> {
        let Some(length) = length else {
            return Ok(RedisReply::Text(None));
        };
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(RedisReply::Text(Some(String::from_utf8(bytes).expect("all that is stored is text"))))
    }
}

fn packed(command: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        bytes.extend(format!("${}\r\n{part}\r\n", part.len()).bytes());
    }
    bytes
}
