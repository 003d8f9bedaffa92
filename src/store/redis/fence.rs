//! The fence: before anything is sent over a new connection, the abandoned connections of ours at
//! the server are ended. Commands that Redis still reads from them would run after newer ones.

use redis::{Cmd, ConnectionInfo, Value, cmd};

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{RedisError, RedisResult};
use super::link::ConnectionId;
use super::resolver::Resolver;

/// Connects to a server, and ends the abandoned connections there, which go from the list. Returns
/// the connection, and its id if Redis tells it.
pub(super) fn open(
    info: &ConnectionInfo,
    resolver: &Resolver,
    deadline: &mut Deadline,
    abandoned: &mut Vec<ConnectionId>,
) -> RedisResult<(Connection, Option<ConnectionId>)> {
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
    Ok((connection, id))
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
        Ok(other) => Err(RedisError::unexpected(&other).at(connection.server())),
        // The error may be about the connection, such as one too many, and not a reply at all. It
        // was a reply if `PING` gets one as well.
        Err(error) if error.is_about_command() => match connection.ping() {
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
        Err(error) if !error.is_about_command() => Err(error),
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
