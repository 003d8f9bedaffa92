//! A link to one server.
//!
//! Before anything is sent, a new session ends the abandoned connections of ours at the server (the
//! fence): commands that Redis still reads from them would overwrite newer values.

use std::time::Duration;

use redis::{Cmd, ConnectionInfo, Value, cmd};

use super::connection::{Connection, Replies};
use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError, RedisResult, RetryPolicy};
use super::link::{ConnectionId, Link, Reply};
use super::resolver::Resolver;
use crate::limits::STORE_REPLY_MS_MAX;

/// An open connection to write over.
pub(super) struct Session {
    connection: Connection,
    id: Option<ConnectionId>,
    /// True if a ping checks the role as well: another server may have become the primary, and a
    /// writer with nothing to write would not notice.
    requires_primary: bool,
}

impl Session {
    /// Connects to the server, and ends abandoned connections of ours there.
    pub(super) fn open(
        info: &ConnectionInfo,
        resolver: &Resolver,
        deadline: &mut Deadline,
        abandoned: &mut Vec<ConnectionId>,
    ) -> RedisResult<Self> {
        let mut connection = Connection::open(info, resolver, deadline)?;
        let id = fetch_id(&mut connection)?;
        let server = connection.server().to_owned();
        while let Some(at) = abandoned.iter().position(|id| id.server == server) {
            if let Some(id) = abandoned.get(at) {
                connection.set_timeout(deadline.next_wait()?);
                end(&mut connection, id)?;
            }
            abandoned.swap_remove(at);
        }
        connection.set_timeout(Duration::from_millis(STORE_REPLY_MS_MAX));
        Ok(Self { connection, id, requires_primary: false })
    }

    /// Lets each ping check that the server is a primary.
    pub(super) const fn require_primary(&mut self) {
        self.requires_primary = true;
    }
}

impl Link for Session {
    fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        self.connection.send(commands)
    }

    fn receive(&mut self, most: usize) -> RedisResult<Reply> {
        match self.connection.receive_oks(most)? {
            Replies::Ok(count) => Ok(Reply::Ok { count }),
            Replies::Other(Value::ServerError(error)) => {
                Ok(Reply::Error(RedisError::from_reply(&error).at(self.connection.server())))
            }
            Replies::Other(other) => Err(unexpected(&other).at(self.connection.server())),
        }
    }

    fn ping(&mut self) -> RedisResult<()> {
        if self.requires_primary {
            match self.connection.query(&cmd("ROLE")) {
                Ok(role) => return check_role(&role).map_err(|f| f.at(self.connection.server())),
                // The ACL does not allow it.
                Err(error) if is_about_command(&error) => self.requires_primary = false,
                Err(error) => return Err(error),
            }
        }
        ping(&mut self.connection)
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.connection.set_timeout(timeout);
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        self.id.iter().cloned().collect()
    }
}

fn unexpected(reply: &Value) -> RedisError {
    RedisError::new(ErrorKind::Protocol, format!("an unexpected reply: {reply:?}"))
}

/// Sends `PING`. A user who may not send it has a reply as well.
fn ping(connection: &mut Connection) -> RedisResult<()> {
    match connection.query(&cmd("PING")) {
        Ok(Value::SimpleString(pong)) if pong == "PONG" => Ok(()),
        Ok(other) => Err(unexpected(&other).at(connection.server())),
        Err(error) if error.kind == ErrorKind::NoPerm => Ok(()),
        Err(error) => Err(error),
    }
}

/// Checks the reply to `ROLE`, a list that begins with the role.
fn check_role(role: &Value) -> RedisResult<()> {
    let Value::Array(parts) = role else {
        return Err(unexpected(role));
    };
    match parts.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        Some(Value::BulkString(role)) => {
            let role = String::from_utf8_lossy(role);
            Err(RedisError::new(ErrorKind::ReadOnly, format!("its role is {role}")))
        }
        _ => Err(unexpected(role)),
    }
}

/// Returns true if an error concerns this command alone, such as a command that is not allowed.
fn is_about_command(error: &RedisError) -> bool {
    error.kind.retry_policy() == RetryPolicy::Drop
}

/// Asks Redis for the id of this connection. Redis before 6.2 does not tell all of it, and an ACL
/// may forbid to ask: then the connection cannot be ended from another one once it is abandoned,
/// and commands that Redis still reads from it run late.
fn fetch_id(connection: &mut Connection) -> RedisResult<Option<ConnectionId>> {
    let client_info: RedisResult<Value> = connection.query(cmd("CLIENT").arg("INFO"));
    match client_info {
        Ok(Value::BulkString(info)) => {
            Ok(parse_client_info(connection.server(), &String::from_utf8_lossy(&info)))
        }
        Ok(Value::VerbatimString { text, .. }) => Ok(parse_client_info(connection.server(), &text)),
        Ok(other) => Err(unexpected(&other).at(connection.server())),
        // The error may be about the connection, such as one too many, and not a reply at all. It
        // was a reply if `PING` gets one as well.
        Err(error) if is_about_command(&error) => match ping(connection) {
            Ok(()) => Ok(None),
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn parse_client_info(server: &str, info: &str) -> Option<ConnectionId> {
    let field = |name: &str| {
        let found = info.split_ascii_whitespace().find_map(|field| field.strip_prefix(name));
        found.filter(|value| !value.is_empty())
    };
    let client_id = field("id=")?.parse().ok()?;
    Some(ConnectionId { server: server.to_owned(), client_id, address: field("addr=")?.to_owned() })
}

/// Ends an abandoned connection at the server. After the reply, whatever it is, no command of it
/// runs any more: the connection had ended before, or it has now.
fn end(connection: &mut Connection, id: &ConnectionId) -> RedisResult<()> {
    let mut command: Cmd = cmd("CLIENT");
    // Client ids begin anew when Redis restarts: the address shows that the connection is ours.
    command.arg("KILL").arg("ID").arg(id.client_id).arg("ADDR").arg(&id.address);
    match connection.query(&command) {
        Err(error) if !is_about_command(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_known_by_server_number_and_address() {
        let info = "id=7 addr=127.0.0.1:50312 laddr=127.0.0.1:6379 fd=8 name= age=0\n";
        let (server, address) = ("cache:6379".to_owned(), "127.0.0.1:50312".to_owned());
        assert_eq!(
            parse_client_info("cache:6379", info),
            Some(ConnectionId { server, client_id: 7, address })
        );
        for bad in ["", "id=x addr=a", "addr=a", "id=7", "id=7 addr="] {
            assert_eq!(parse_client_info("a", bad), None, "{bad}");
        }
    }
}
