//! `corepulse healthcheck`: asks the server on this machine whether it serves, for containers whose
//! image has no other program to ask with.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// One who needs longer is not well. Docker's own patience is thirty seconds.
const PATIENCE: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HEALTHY: &[u8] = b"HTTP/1.1 200 ";

/// Why a server is not well.
#[derive(Debug)]
pub enum Unhealthy {
    /// It could not be asked.
    Silent(SocketAddr, io::Error),
    /// It answered something else than 200.
    Ill(SocketAddr),
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(address, error) => write!(out, "http://{address}/health: {error}"),
            Self::Ill(address) => write!(out, "http://{address}/health: expected 200"),
        }
    }
}

impl std::error::Error for Unhealthy {}

/// Asks the server that listens on `listen`.
///
/// # Errors
///
/// It cannot be reached within two seconds, or answers anything but 200.
pub fn ask(listen: SocketAddr) -> Result<(), Unhealthy> {
    let address = reachable(listen);
    let status = exchange(address).map_err(|error| Unhealthy::Silent(address, error))?;
    if status == HEALTHY { Ok(()) } else { Err(Unhealthy::Ill(address)) }
}

fn exchange(address: SocketAddr) -> io::Result<[u8; HEALTHY.len()]> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut status = [0; HEALTHY.len()];
    stream.read_exact(&mut status)?;
    Ok(status)
}

/// An address that may be connected to: who listens on all of them also listens on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let reachable = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reachable("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:8080"), "[::1]:8080");
        assert_eq!(reachable("10.0.0.1:80"), "10.0.0.1:80");
    }

    /// A server that says `answer` to the first who asks.
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
        assert!(ask(says(b"HTTP/1.1 200 OK\r\n\r\n")).is_ok());
        for answer in [&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.9\r\n"]
        {
            assert!(matches!(ask(says(answer)), Err(Unhealthy::Ill(_))));
        }
        assert!(matches!(ask(says(b"HTTP")), Err(Unhealthy::Silent(..))));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(ask(nobody), Err(Unhealthy::Silent(..))));
    }
}
