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

use super::failure::{Fault, Kind};
use super::patience::Patience;
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
        patience: &mut Patience,
    ) -> Result<Self, Fault> {
        let server = info.addr().to_string();
        let opened = Stream::open(info.addr(), resolver, patience).and_then(|stream| {
            let mut connection = Self { stream, parser: Parser::new(), server: server.clone() };
            connection.greet(info.redis_settings(), patience)?;
            connection.set_patience(patience.step()?);
            Ok(connection)
        });
        opened.map_err(|fault| {
            let kind = match fault.kind {
                Kind::Io | Kind::Timeout => Kind::Connect,
                kind => kind,
            };
            Fault { kind, ..fault }.at(&server)
        })
    }

    /// Says who we are, and which database is meant.
    fn greet(
        &mut self,
        settings: &RedisConnectionInfo,
        patience: &mut Patience,
    ) -> Result<(), Fault> {
        self.be_let_in(settings, patience).map_err(Fault::without_secrets)?;
        if settings.db() != 0 {
            self.set_patience(patience.step()?);
            self.ask(cmd("SELECT").arg(settings.db()))?;
        }
        Ok(())
    }

    /// Gives user and password, which Redis may repeat in its refusal.
    fn be_let_in(
        &mut self,
        settings: &RedisConnectionInfo,
        patience: &mut Patience,
    ) -> Result<(), Fault> {
        let mut ask = |command: &Cmd| {
            self.set_patience(patience.step()?);
            self.ask(command)
        };
        let (user, password) = (settings.username(), settings.password());
        if settings.protocol() == ProtocolVersion::RESP3 {
            let mut hello = cmd("HELLO");
            hello.arg("3");
            if let Some(password) = password {
                hello.arg("AUTH").arg(user.unwrap_or("default")).arg(password);
            }
            ask(&hello)?;
        } else if let Some(password) = password {
            match ask(cmd("AUTH").arg(user).arg(password)) {
                // Before Redis 6 there are no users.
                Err(fault) if user.is_some() && fault.said.contains("wrong number of arg") => {
                    ask(cmd("AUTH").arg(password))?;
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
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.stream.set_patience(patience);
    }

    /// Sends packed commands.
    pub(super) fn send(&mut self, commands: &[u8]) -> Result<(), Fault> {
        self.stream.begin(STORE_REPLY_BYTES_MAX);
        let sent = self.stream.write_all(commands).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.stream.fault(&error).at(&self.server))
    }

    /// Waits for the next reply of at most so many bytes, which may be an error.
    pub(super) fn receive(&mut self, bytes_max: usize) -> Result<Value, Fault> {
        self.stream.begin(bytes_max);
        loop {
            match self.parser.parse_value(&mut self.stream) {
                // Something told unasked: with RESP3 alone, and no reply to anything.
                Ok(Value::Push { .. }) => {}
                Ok(value) => return Ok(value),
                Err(error) => {
                    let fault = self.stream.take_fault();
                    let fault =
                        fault.unwrap_or_else(|| Fault::new(Kind::Protocol, error.to_string()));
                    return Err(fault.at(&self.server));
                }
            }
        }
    }

    /// Sends a command and waits for its reply.
    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        self.ask_for(command, STORE_REPLY_BYTES_MAX)
    }

    /// The same, for a reply of at most so many bytes.
    pub(super) fn ask_for(&mut self, command: &Cmd, bytes_max: usize) -> Result<Value, Fault> {
        self.send(&command.get_packed_command())?;
        match self.receive(bytes_max)? {
            Value::ServerError(error) => Err(Fault::of_reply(&error).at(&self.server)),
            value => Ok(value),
        }
    }

    /// Asks for something of a certain form.
    pub(super) fn ask_as<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Fault> {
        let value = self.ask(command)?;
        T::from_redis_value(value)
            .map_err(|error| Fault::new(Kind::Protocol, error.to_string()).at(&self.server))
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
