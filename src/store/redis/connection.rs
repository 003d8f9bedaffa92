//! A connection to a Redis server: handshake, commands, replies.
//!
//! The `redis` crate packs commands and parses replies, but for `+OK`, which a [`ReplyBuffer`]
//! counts. The bytes come over a [`Stream`] of our own, which bounds the time and the length of
//! each reply, push messages ahead of it included. Any error but an error reply ends the
//! connection: its replies may no longer match its commands.

use std::io::Write;
use std::time::Duration;

use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, Parser, ProtocolVersion,
    RedisConnectionInfo, Value, cmd,
};

use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError, RedisResult};
use super::reply_buffer::ReplyBuffer;
use super::resolver::Resolver;
use super::stream::Stream;
use crate::limits::STORE_REPLY_BYTES_MAX;

pub(super) struct Connection {
    stream: Stream,
    received: ReplyBuffer,
    parser: Parser,
    server: String,
}

/// The next replies.
#[derive(Debug, PartialEq)]
pub(super) enum Replies {
    /// `+OK`, so many times.
    Ok(usize),
    /// One reply.
    Other(Value),
}

impl Connection {
    /// Connects and does the handshake. Each wait is bounded by the deadline: a frozen server
    /// accepts the connection, and then does not answer.
    pub(super) fn open(
        info: &ConnectionInfo,
        resolver: &Resolver,
        deadline: &mut Deadline,
    ) -> RedisResult<Self> {
        let server = info.addr().to_string();
        let opened = Stream::open(info.addr(), resolver, deadline).and_then(|stream| {
            let (received, parser) = (ReplyBuffer::new(), Parser::new());
            let mut connection = Self { stream, received, parser, server: server.clone() };
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

    /// Authenticates, and selects the database.
    fn handshake(
        &mut self,
        settings: &RedisConnectionInfo,
        deadline: &mut Deadline,
    ) -> RedisResult<()> {
        self.authenticate(settings, deadline).map_err(RedisError::without_secrets)?;
        if settings.db() != 0 {
            self.set_timeout(deadline.next_wait()?);
            self.query(cmd("SELECT").arg(settings.db()))?;
        }
        Ok(())
    }

    /// Sends user and password, which Redis may repeat in an error.
    fn authenticate(
        &mut self,
        settings: &RedisConnectionInfo,
        deadline: &mut Deadline,
    ) -> RedisResult<()> {
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
                // Redis before version 6 has no users.
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

    /// Returns the address of the server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sets the time-out of each reply and of each send.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_timeout(timeout);
    }

    /// Sends packed commands.
    pub(super) fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        self.stream.begin_exchange(STORE_REPLY_BYTES_MAX);
        let sent = self.stream.write_all(commands).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.stream.redis_error(&error).at(&self.server))
    }

    /// Waits for the next reply of at most `bytes_max` bytes, which may be an error reply.
    pub(super) fn receive(&mut self, bytes_max: usize) -> RedisResult<Value> {
        self.stream.begin_exchange(bytes_max);
        self.parse()
    }

    /// Waits for the next reply of at most `bytes_max` bytes, and takes those that came together
    /// with it, as long as all of them are `+OK` and no more than `most`.
    pub(super) fn receive_oks(&mut self, most: usize, bytes_max: usize) -> RedisResult<Replies> {
        self.stream.begin_exchange(bytes_max);
        loop {
            match self.received.take_oks(most) {
                0 if self.received.may_become_ok() => {
                    let received = self.received.fill(&mut self.stream);
                    received.map_err(|error| self.stream.redis_error(&error).at(&self.server))?;
                }
                // It may have come behind a push message.
                0 => {
                    return self.parse().map(|value| match value {
                        Value::Okay => Replies::Ok(1),
                        value => Replies::Other(value),
                    });
                }
                oks => return Ok(Replies::Ok(oks)),
            }
        }
    }

    /// Parses the next reply.
    fn parse(&mut self) -> RedisResult<Value> {
        loop {
            match self.parser.parse_value(self.received.lines(&mut self.stream)) {
                // A push message, which only RESP3 has: no reply to a command.
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
    pub(super) fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.query_bounded(command, STORE_REPLY_BYTES_MAX)
    }

    /// Like [`Self::query`], for a reply of at most `bytes_max` bytes.
    pub(super) fn query_bounded(&mut self, command: &Cmd, bytes_max: usize) -> RedisResult<Value> {
        self.send(&command.get_packed_command())?;
        match self.receive(bytes_max)? {
            Value::ServerError(error) => Err(RedisError::from_reply(&error).at(&self.server)),
            value => Ok(value),
        }
    }

    /// Like [`Self::query`], and converts the reply.
    pub(super) fn query_as<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let value = self.query(command)?;
        T::from_redis_value(value).map_err(|error| {
            RedisError::new(ErrorKind::Protocol, error.to_string()).at(&self.server)
        })
    }

    /// Sends `PING`. A user who may not send it has a reply as well.
    pub(super) fn ping(&mut self) -> RedisResult<()> {
        match self.query(&cmd("PING")) {
            Ok(Value::SimpleString(pong)) if pong == "PONG" => Ok(()),
            Ok(other) => Err(RedisError::unexpected(&other).at(&self.server)),
            Err(error) if error.kind == ErrorKind::NoPerm => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Checks that the server is a primary. Returns false if the ACL does not allow to ask.
    pub(super) fn check_primary(&mut self) -> RedisResult<bool> {
        match self.query(&cmd("ROLE")) {
            Ok(role) => check_role(&role).map(|()| true).map_err(|error| error.at(&self.server)),
            Err(error) if error.is_about_command() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the length that the last reply announced, if it is a bulk string. It is known even
    /// if the string was too long to be read.
    pub(super) fn announced_bytes(&self) -> Option<usize> {
        let line = self.received.head().strip_prefix(b"$")?.split(|byte| *byte == b'\r').next()?;
        std::str::from_utf8(line).ok()?.parse().ok()
    }
}

/// Checks the reply to `ROLE`, a list that begins with the role.
fn check_role(role: &Value) -> RedisResult<()> {
    let Value::Array(parts) = role else {
        return Err(RedisError::unexpected(role));
    };
    match parts.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        Some(Value::BulkString(role)) => {
            let role = String::from_utf8_lossy(role);
            Err(RedisError::new(ErrorKind::ReadOnly, format!("its role is {role}")))
        }
        _ => Err(RedisError::unexpected(role)),
    }
}

/// Returns `info` with another address. An empty host means the same host.
pub(super) fn at_address(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host_at = |same: &String| if host.is_empty() { same.clone() } else { host.to_owned() };
    let address = match info.addr() {
        ConnectionAddr::TcpTls { host: same, insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host_at(same),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        ConnectionAddr::Tcp(same, _) => ConnectionAddr::Tcp(host_at(same), port),
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(address)
}

#[cfg(test)]
mod tests;
