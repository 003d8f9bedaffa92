//! A server on this machine, as its own options say where it listens: for the subcommands that ask
//! it something.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use percore::listen::Listen;
use percore::listener::Address;

/// The time-out of an exchange: a server that takes longer is not well. Docker allows 30 seconds.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Calls `talk` with a connection to the server that listens there, and returns what it returns.
///
/// # Errors
///
/// The server cannot be reached within two seconds, or `talk` failed. A server that listens at two
/// addresses is asked at the first one that is reachable.
pub fn exchange<T>(
    listen: &Listen,
    talk: impl Fn(Socket) -> io::Result<T>,
) -> Result<(T, Address), (io::Error, Address)> {
    let ask = |address: &Address| connect(address).and_then(&talk);
    let (first, second) = reachable(listen);
    match (ask(&first), second) {
        (Err(error), Some(second)) if is_unreachable(&error) => match ask(&second) {
            Ok(answer) => Ok((answer, second)),
            Err(error) => Err((error, first)),
        },
        (Ok(answer), _) => Ok((answer, first)),
        (Err(error), _) => Err((error, first)),
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable)
}

fn connect(address: &Address) -> io::Result<Socket> {
    let (domain, address) = match address {
        Address::Internet(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    // It bounds waiting for a place in the queue of a Unix socket as well (man 7 socket).
    socket.set_write_timeout(Some(TIMEOUT))?;
    match domain {
        Domain::UNIX => socket.connect(&address)?,
        _ => socket.connect_timeout(&address, TIMEOUT)?,
    }
    Ok(socket)
}

/// Returns the addresses to connect to: a server that listens on every address also listens on
/// loopback, of which a machine may have one family only.
fn reachable(listen: &Listen) -> (Address, Option<Address>) {
    let both = |first: IpAddr, second: IpAddr, port| {
        let address = |ip| Address::Internet(SocketAddr::new(ip, port));
        (address(first), Some(address(second)))
    };
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    match listen {
        Listen::Everywhere(port) | Listen::Localhost(port) => both(v4, v6, *port),
        Listen::At(address) if !address.ip().is_unspecified() => {
            (Address::Internet(*address), None)
        }
        Listen::At(SocketAddr::V4(address)) => {
            (Address::Internet(SocketAddr::new(v4, address.port())), None)
        }
        Listen::At(SocketAddr::V6(address)) => both(v6, v4, address.port()),
        Listen::Unix(path) => (Address::Unix(path.clone()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listen, expected) in [
            (":8080", "127.0.0.1:8080 [::1]:8080"),
            ("localhost:8080", "127.0.0.1:8080 [::1]:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080 127.0.0.1:8080"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            let (first, second) = reachable(&Listen::parse(listen).unwrap());
            let shown = [Some(first), second].map(|address| address.map(|it| it.to_string()));
            let shown: Vec<_> = shown.into_iter().flatten().collect();
            assert_eq!(shown.join(" "), expected);
        }
    }
}
