//! A link to one server: the fence before anything is sent, replies, and whether it is still there.

use std::fmt;
use std::time::Duration;

use redis::{Cmd, ConnectionInfo, Value, cmd};

use super::connection::Connection;
use super::failure::{Fault, Kind, Treatment};
use super::link::{Identity, Link, Reply};
use super::patience::Patience;
use super::resolver::Resolver;
use crate::limits::{STORE_REPLY_BYTES_MAX, STORE_REPLY_MS_MAX};

/// An open connection to write over.
pub(super) struct Session {
    connection: Connection,
    identity: Option<Identity>,
    /// Whether to ask for its role as well: somebody else may have become the primary, and who has
    /// nothing to write would never hear of it.
    asks_role: bool,
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
        resolver: &Resolver,
        patience: &mut Patience,
        abandoned: &mut Vec<Identity>,
    ) -> Result<Self, Fault> {
        let mut connection = Connection::open(info, resolver, patience)?;
        let identity = identify(&mut connection)?;
        let server = connection.server().to_owned();
        while let Some(at) = abandoned.iter().position(|identity| identity.server == server) {
            if let Some(identity) = abandoned.get(at) {
                connection.set_patience(patience.step()?);
                end(&mut connection, identity)?;
            }
            abandoned.swap_remove(at);
        }
        connection.set_patience(Duration::from_millis(STORE_REPLY_MS_MAX));
        Ok(Self { connection, identity, asks_role: false })
    }

    /// From now on makes sure that it is a primary each time that it is asked whether it is there.
    pub(super) const fn ask_role(&mut self) {
        self.asks_role = true;
    }

    /// Waits for the next reply: `None` if it is `+OK`, or else the error.
    pub(super) fn receive_refusal(&mut self) -> Result<Option<Fault>, Fault> {
        match self.connection.receive(STORE_REPLY_BYTES_MAX)? {
            Value::Okay => Ok(None),
            Value::ServerError(error) => {
                Ok(Some(Fault::of_reply(&error).at(self.connection.server())))
            }
            other => Err(unexpected(&other).at(self.connection.server())),
        }
    }
}

impl Link for Session {
    fn send(&mut self, commands: &[u8]) -> Result<(), Fault> {
        self.connection.send(commands)
    }

    fn receive(&mut self) -> Result<Reply, Fault> {
        Ok(self.receive_refusal()?.map_or(Reply::Ok, Reply::Error))
    }

    fn ping(&mut self) -> Result<(), Fault> {
        if self.asks_role {
            match self.connection.ask(&cmd("ROLE")) {
                Ok(role) => return check_role(&role).map_err(|f| f.at(self.connection.server())),
                // An ACL of before we asked for it.
                Err(fault) if is_about_command(&fault) => self.asks_role = false,
                Err(fault) => return Err(fault),
            }
        }
        ping(&mut self.connection)
    }

    fn set_patience(&mut self, patience: Duration) {
        self.connection.set_patience(patience);
    }

    fn identities(&self) -> Vec<Identity> {
        self.identity.iter().cloned().collect()
    }
}

fn unexpected(reply: &Value) -> Fault {
    Fault::new(Kind::Protocol, format!("an unexpected reply: {reply:?}"))
}

/// Asks whether it is there. Who may not ask has an answer as well.
fn ping(connection: &mut Connection) -> Result<(), Fault> {
    match connection.ask(&cmd("PING")) {
        Ok(Value::SimpleString(pong)) if pong == "PONG" => Ok(()),
        Ok(other) => Err(unexpected(&other).at(connection.server())),
        Err(fault) if fault.kind == Kind::NoPerm => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// `ROLE` answers a list that begins with the role.
fn check_role(role: &Value) -> Result<(), Fault> {
    let Value::Array(parts) = role else {
        return Err(unexpected(role));
    };
    match parts.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        Some(Value::BulkString(role)) => {
            let role = String::from_utf8_lossy(role);
            Err(Fault::new(Kind::ReadOnly, format!("its role is {role}")))
        }
        _ => Err(unexpected(role)),
    }
}

/// Whether an error says no more than that the command is not to be had.
fn is_about_command(fault: &Fault) -> bool {
    fault.kind.treatment() == Treatment::Drop
}

/// Asks Redis who we are. Before 6.2 it cannot tell all of it, and an ACL may forbid to ask: then
/// an abandoned connection cannot be ended, and what Redis still reads from it runs late.
fn identify(connection: &mut Connection) -> Result<Option<Identity>, Fault> {
    let client_info: Result<Value, Fault> = connection.ask(cmd("CLIENT").arg("INFO"));
    match client_info {
        Ok(Value::BulkString(info)) => {
            Ok(parse_client_info(connection.server(), &String::from_utf8_lossy(&info)))
        }
        Ok(Value::VerbatimString { text, .. }) => Ok(parse_client_info(connection.server(), &text)),
        Ok(other) => Err(unexpected(&other).at(connection.server())),
        // It may as well have been a refusal of the connection, such as of one too many, which is
        // said without being asked: another reply has to follow where this one is ours.
        Err(fault) if is_about_command(&fault) => match ping(connection) {
            Ok(()) => Ok(None),
            Err(_) => Err(fault),
        },
        Err(fault) => Err(fault),
    }
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
fn end(connection: &mut Connection, identity: &Identity) -> Result<(), Fault> {
    let mut command: Cmd = cmd("CLIENT");
    // Numbers begin anew when Redis restarts: the address says that it is ours.
    command.arg("KILL").arg("ID").arg(identity.id).arg("ADDR").arg(&identity.address);
    match connection.ask(&command) {
        Err(fault) if !is_about_command(&fault) => Err(fault),
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
            Some(Identity { server, id: 7, address })
        );
        for bad in ["", "id=x addr=a", "addr=a", "id=7", "id=7 addr="] {
            assert_eq!(parse_client_info("a", bad), None, "{bad}");
        }
    }
}
