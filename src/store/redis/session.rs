//! A connection to a real Redis, through the `redis` crate: address, TLS, greeting, replies.
//!
//! Any error ends the connection. The crate keeps half a reply after a time-out and then throws the
//! late one away, and a write that times out may have sent half a command: neither can be gone on
//! from.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{
    Client, Cmd, Connection, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ServerError, Value,
};

use super::failure::Kind;
use super::link::{Identity, Link, Reply};
use super::patience::Patience;
use crate::limits::STORE_REPLY_MS_MAX;

/// An open connection.
pub(super) struct Session {
    connection: Connection,
    identity: Option<Identity>,
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Session {
    /// Greets the server, and ends abandoned connections of ours there.
    pub(super) fn open(
        info: &ConnectionInfo,
        patience: &mut Patience,
        abandoned: &mut Vec<Identity>,
    ) -> Result<Self, Kind> {
        let mut connection = connect(info, patience)?;
        let server = info.addr().to_string();
        let identity = identify(&mut connection, &server).map_err(|error| kind_of(&error))?;
        let is_here = |identity: &Identity| identity.server == server;
        while let Some(at) = abandoned.iter().position(is_here) {
            if let Some(identity) = abandoned.get(at) {
                end(&mut connection, identity).map_err(|error| kind_of(&error))?;
            }
            abandoned.swap_remove(at);
        }
        let mut session = Self { connection, identity };
        session.set_patience(Duration::from_millis(STORE_REPLY_MS_MAX))?;
        Ok(session)
    }

    /// Waits for the next reply: `None` if it is `+OK`, or else the error.
    pub(super) fn receive_refusal(&mut self) -> Result<Option<ServerError>, Kind> {
        loop {
            match self.connection.recv_response() {
                Ok(Value::Okay) => return Ok(None),
                Ok(Value::ServerError(error)) => return Ok(Some(error)),
                // Something told unasked: with RESP3 alone, and no reply to anything.
                Ok(Value::Push { .. }) => {}
                Ok(_) => return Err(Kind::Protocol),
                Err(error) => return Err(kind_of(&error)),
            }
        }
    }
}

impl Link for Session {
    fn send(&mut self, commands: &[u8]) -> Result<(), Kind> {
        self.connection.send_packed_command(commands).map_err(|error| kind_of(&error))
    }

    fn receive(&mut self) -> Result<Reply, Kind> {
        match self.receive_refusal() {
            Ok(refusal) => {
                Ok(refusal.map_or(Reply::Ok, |error| Reply::Error(Kind::of_code(error.code()))))
            }
            // A reply as well: the connection is still in step.
            Err(Kind::Interrupted) => Ok(Reply::Error(Kind::Interrupted)),
            Err(kind) => Err(kind),
        }
    }

    fn ping(&mut self) -> Result<(), Kind> {
        ask::<Value>(&mut self.connection, &redis::cmd("PING")).map_err(|error| kind_of(&error))?;
        Ok(())
    }

    fn set_patience(&mut self, patience: Duration) -> Result<(), Kind> {
        set_patience(&self.connection, patience).map_err(|error| kind_of(&error))
    }

    fn identities(&self) -> Vec<Identity> {
        self.identity.iter().cloned().collect()
    }
}

/// Connects and greets, waiting for each reply as long as for the connection: a frozen server
/// accepts, and then says nothing.
pub(super) fn connect(info: &ConnectionInfo, patience: &mut Patience) -> Result<Connection, Kind> {
    // A process has one source of cryptography; whoever chose before us chose as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let step = patience.step()?;
    let client = Client::open(info.clone()).map_err(|_| Kind::Connect)?;
    let connection =
        client.get_connection_with_timeout(step).map_err(|error| match kind_of(&error) {
            Kind::Io | Kind::Timeout => Kind::Connect,
            kind => kind,
        })?;
    set_patience(&connection, patience.step()?).map_err(|error| kind_of(&error))?;
    Ok(connection)
}

fn set_patience(connection: &Connection, patience: Duration) -> RedisResult<()> {
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))
}

/// How often a command is asked again whose reply was lost to a signal. The profiler sends one for
/// each hundredth of a second of CPU time, and who waits uses none.
const INTERRUPTIONS_MAX: usize = 16;

/// Asks a command that may be asked again.
pub(super) fn ask<T: FromRedisValue>(connection: &mut Connection, command: &Cmd) -> RedisResult<T> {
    for _ in 0..INTERRUPTIONS_MAX {
        match command.query(connection) {
            Err(error) if is_interruption(&error) => {}
            reply => return reply,
        }
    }
    command.query(connection)
}

/// Whether a signal ended a wait: reading with a time-out is not begun again by the kernel (man 7
/// signal), and the crate does not do so either. It throws the reply away when that comes.
fn is_interruption(error: &RedisError) -> bool {
    // The crate hides the error in a box, and says nothing of this kind.
    let boxed =
        error.source().and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let error = boxed.and_then(|boxed| boxed.downcast_ref::<io::Error>());
    error.is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

/// Asks Redis who we are. Before 6.2 it cannot tell all of it, and an ACL may forbid to ask: then
/// an abandoned connection cannot be ended, and what Redis still reads from it runs late.
fn identify(connection: &mut Connection, server: &str) -> RedisResult<Option<Identity>> {
    match ask::<String>(connection, redis::cmd("CLIENT").arg("INFO")) {
        Ok(info) => Ok(parse_client_info(server, &info)),
        Err(error) if needs_another_connection(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether an error says more than that the command is not to be had.
fn needs_another_connection(error: &RedisError) -> bool {
    !matches!(kind_of(error), Kind::Other | Kind::NoPerm)
}

fn parse_client_info(server: &str, info: &str) -> Option<Identity> {
    let field = |name: &str| {
        let found = info.split_ascii_whitespace().find_map(|field| field.strip_prefix(name));
        found.filter(|value| !value.is_empty())
    };
    let id = field("id=")?.parse().ok()?;
    Some(Identity { server: server.to_owned(), id, address: field("addr=")?.to_owned() })
}

/// Ends an abandoned connection at the server. When the reply is here, nothing of it runs any more,
/// whatever the reply is: the connection had ended before, or it has now.
fn end(connection: &mut Connection, identity: &Identity) -> RedisResult<()> {
    let mut command = redis::cmd("CLIENT");
    // Numbers begin anew when Redis restarts: the address says that it is ours.
    command.arg("KILL").arg("ID").arg(identity.id).arg("ADDR").arg(&identity.address);
    match ask::<Value>(connection, &command) {
        Err(error) if needs_another_connection(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The kind of an error of the crate.
pub(super) fn kind_of(error: &RedisError) -> Kind {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => Kind::Timeout,
        ErrorKind::Io if is_interruption(error) => Kind::Interrupted,
        ErrorKind::Io => Kind::Io,
        ErrorKind::AuthenticationFailed => Kind::WrongPass,
        ErrorKind::Server(_) | ErrorKind::Extension => Kind::of_code(error.code().unwrap_or("")),
        ErrorKind::InvalidClientConfig => Kind::Connect,
        _ => Kind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let kind = |kind: io::ErrorKind| kind_of(&RedisError::from(io::Error::from(kind)));
        assert_eq!(kind(io::ErrorKind::Interrupted), Kind::Interrupted);
        assert_eq!(kind(io::ErrorKind::WouldBlock), Kind::Timeout);
        assert_eq!(kind(io::ErrorKind::ConnectionReset), Kind::Io);
    }

    #[test]
    fn a_connection_is_known_by_server_number_and_address() {
        let info = "id=7 addr=127.0.0.1:50312 laddr=127.0.0.1:6379 fd=8 name= age=0\n";
        let (server, address) = ("cache:6379".to_owned(), "127.0.0.1:50312".to_owned());
        assert_eq!(
            parse_client_info("cache:6379", info),
            Some(Identity { server, id: 7, address })
        );
        for bad in ["", "id=x addr=a", "addr=a", "id=7", "id=7 addr="] {
            assert_eq!(parse_client_info("a", bad), None, "{bad}");
        }
    }
}
