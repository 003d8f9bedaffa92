//! A connection to a Redis: greeting, commands, replies.
//!
//! The `redis` crate packs commands and parses replies; the bytes come by a [`Stream`] of our own,
//! which holds each reply to a deadline and a length, with whatever is told unasked ahead of it.
//! Any fault but an error reply ends the connection: it may be out of step.

use std::io::Write;
use std::time::Duration;

use redis::{
    Cmd, ConnectionInfo, FromRedisValue, Parser, ProtocolVersion, RedisConnectionInfo, Value, cmd,
};

use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError};
use super::resolver::Resolver;
use super::stream::Stream;
use crate::limits::STORE_REPLY_BYTES_MAX;

/// See the head of this file.
pub(super) struct Connection {
    stream: Stream,
    parser: Parser,
    server: String,
}

impl Connection {
    /// Connects and greets, waiting for each reply no longer than for the connection: a frozen
    /// server accepts, and then says nothing.
    pub(super) fn open(
        info: &ConnectionInfo,
        resolver: &Resolver,
        deadline: &mut Deadline,
    ) -> Result<Self, RedisError> {
        let server = info.addr().to_string();
        let opened = Stream::open(info.addr(), resolver, deadline).and_then(|stream| {
            let mut connection = Self { stream, parser: Parser::new(), server: server.clone() };
            connection.handshake(info.redis_settings(), deadline)?;
            connection.set_timeout(deadline.next_wait()?);
            Ok(connection)
        });
        opened.map_err(|error| {
            let kind = match error.kind {
                ErrorKind::Io | ErrorKind::Timeout => ErrorKind::Connect,
                kind => kind,
            };
            RedisError { kind, ..error }.at(&server)
        })
    }

    /// Says who we are, and which database is meant.
    fn handshake(
        &mut self,
        settings: &RedisConnectionInfo,
        deadline: &mut Deadline,
    ) -> Result<(), RedisError> {
        self.authenticate(settings, deadline).map_err(RedisError::without_secrets)?;
        if settings.db() != 0 {
            self.set_timeout(deadline.next_wait()?);
            self.query(cmd("SELECT").arg(settings.db()))?;
        }
        Ok(())
    }

    /// Gives user and password, which Redis may repeat in its refusal.
    fn authenticate(
        &mut self,
        settings: &RedisConnectionInfo,
        deadline: &mut Deadline,
    ) -> Result<(), RedisError> {
        let mut query = |command: &Cmd| {
            self.set_timeout(deadline.next_wait()?);
            self.query(command)
        };
        let (user, password) = (settings.username(), settings.password());
        if settings.protocol() == ProtocolVersion::RESP3 {
            let mut hello = cmd("HELLO");
            hello.arg("3");
            if let Some(password) = password {
                hello.arg("AUTH").arg(user.unwrap_or("default")).arg(password);
            }
            query(&hello)?;
        } else if let Some(password) = password {
            match query(cmd("AUTH").arg(user).arg(password)) {
                // Before Redis 6 there are no users.
                Err(error) if user.is_some() && error.message.contains("wrong number of arg") => {
                    query(cmd("AUTH").arg(password))?;
                }
                answer => {
                    answer?;
                }
            }
        }
        Ok(())
    }

    /// Whom it leads to.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Waits this long for each reply, and for each time that something is sent.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_timeout(timeout);
    }

    /// Sends packed commands.
    pub(super) fn send(&mut self, commands: &[u8]) -> Result<(), RedisError> {
        self.stream.begin_exchange(STORE_REPLY_BYTES_MAX);
        let sent = self.stream.write_all(commands).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.stream.redis_error(&error).at(&self.server))
    }

    /// Waits for the next reply of at most so many bytes, which may be an error.
    pub(super) fn receive(&mut self, bytes_max: usize) -> Result<Value, RedisError> {
        self.stream.begin_exchange(bytes_max);
        loop {
            match self.parser.parse_value(&mut self.stream) {
                // Something told unasked: with RESP3 alone, and no reply to anything.
                Ok(Value::Push { .. }) => {}
                Ok(value) => return Ok(value),
                Err(error) => {
                    let known = self.stream.take_error();
                    let error = known
                        .unwrap_or_else(|| RedisError::new(ErrorKind::Protocol, error.to_string()));
                    return Err(error.at(&self.server));
                }
            }
        }
    }

    /// Sends a command and waits for its reply.
    pub(super) fn query(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        self.query_bounded(command, STORE_REPLY_BYTES_MAX)
    }

    /// The same, for a reply of at most so many bytes.
    pub(super) fn query_bounded(
        &mut self,
        command: &Cmd,
        bytes_max: usize,
    ) -> Result<Value, RedisError> {
        self.send(&command.get_packed_command())?;
        match self.receive(bytes_max)? {
            Value::ServerError(error) => Err(RedisError::from_reply(&error).at(&self.server)),
            value => Ok(value),
        }
    }

    /// Asks for something of a certain form.
    pub(super) fn query_as<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        let value = self.query(command)?;
        T::from_redis_value(value).map_err(|error| {
            RedisError::new(ErrorKind::Protocol, error.to_string()).at(&self.server)
        })
    }

    /// How long the string is that the reply at hand announced, if it is one. It is known also
    /// where the reply was too long to be read.
    pub(super) fn announced_bytes(&self) -> Option<usize> {
        let line = self.stream.head().strip_prefix(b"$")?.split(|byte| *byte == b'\r').next()?;
        std::str::from_utf8(line).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests;
