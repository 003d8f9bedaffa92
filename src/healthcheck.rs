//! `corepulse healthcheck`: asks the server on this machine for its health, for containers whose
//! image has no other program to ask with.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use percore::listen::Listen;
use percore::listener::Address;

/// The time-out of the exchange: a server that takes longer is not well. Docker allows 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HEALTHY: &[u8] = b"HTTP/1.1 200 ";

/// The reason for which a server is not healthy.
#[derive(Debug, Error)]
pub enum HealthcheckError {
    /// The server could not be asked.
    #[error("GET /health at {0}: {1}")]
    NoAnswer(Address, io::Error),
    /// The server answered something other than 200.
    #[error("GET /health at {0}: expected 200")]
    WrongAnswer(Address),
    /// The kernel chose the port, and only the server's log tells it.
    #[error("--listen: port 0 is none to ask at; give the one that the log names")]
    UnknownPort,
}

/// Asks the server that listens there.
///
/// # Errors
///
/// It cannot be reached within two seconds, or answers anything but 200.
pub fn ask(listen: &Listen) -> Result<(), HealthcheckError> {
    if listen.port() == Some(0) {
        return Err(HealthcheckError::UnknownPort);
    }
    let (first, second) = reachable(listen);
    let status = exchange(&first).map(|status| (status, first.clone()));
    let status = match (status, second) {
        // A server that listens at both addresses is asked at the first one that is reachable.
        (Err(error), Some(second)) if is_unreachable(&error) => {
            exchange(&second).map(|status| (status, second))
        }
        (status, _) => status,
    };
    let (status, address) = status.map_err(|error| HealthcheckError::NoAnswer(first, error))?;
    if status == HEALTHY { Ok(()) } else { Err(HealthcheckError::WrongAnswer(address)) }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable)
}

fn exchange(address: &Address) -> io::Result<[u8; HEALTHY.len()]> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(REQUEST)?;
    let mut status = [0; HEALTHY.len()];
    stream.read_exact(&mut status)?;
    Ok(status)
}

fn connect(address: &Address) -> io::Result<Socket> {
    let (domain, address) = match address {
        Address::Internet(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
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
    use std::net::TcpListener;
    use std::thread;

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

    /// Starts a server that answers its first request with `answer`.
    fn says(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; REQUEST.len()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        let well = says(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(ask(&well.into()).is_ok());
        for answer in [&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.9\r\n"]
        {
            assert!(matches!(ask(&says(answer).into()), Err(HealthcheckError::WrongAnswer(_))));
        }
        assert!(matches!(ask(&says(b"HTTP").into()), Err(HealthcheckError::NoAnswer(..))));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for listen in [nobody.into(), Listen::Everywhere(nobody.port())] {
            assert!(matches!(ask(&listen), Err(HealthcheckError::NoAnswer(..))), "{listen}");
        }
        assert!(matches!(ask(&Listen::Everywhere(0)), Err(HealthcheckError::UnknownPort)));
        let no_file = Listen::Unix("/nowhere/at/all.sock".into());
        assert!(matches!(ask(&no_file), Err(HealthcheckError::NoAnswer(..))));
    }

    #[test]
    fn where_one_family_has_nobody_the_other_is_asked() {
        let only_v6 = TcpListener::bind("[::1]:0").map(|listener| listener.local_addr().unwrap());
        let Ok(address) = only_v6 else {
            // A machine without IPv6 has no second family.
            return;
        };
        let listener = TcpListener::bind(address).unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; REQUEST.len()]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        assert!(ask(&Listen::Localhost(address.port())).is_ok());
        answering.join().unwrap();
    }
}
