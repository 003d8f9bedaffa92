//! `corepulse healthcheck`: asks the server on this machine for its health, for containers whose
//! image has no other program to ask with.

use std::io::{self, Read, Write};

use socket2::Socket;
use thiserror::Error;

use crate::local_server;
use percore::listen::Listen;
use percore::listener::Address;

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
    let talk = |mut stream: Socket| {
        stream.write_all(REQUEST)?;
        let mut status = [0; HEALTHY.len()];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    let (status, address) = local_server::exchange(listen, talk)
        .map_err(|(error, address)| HealthcheckError::NoAnswer(address, error))?;
    if status == HEALTHY { Ok(()) } else { Err(HealthcheckError::WrongAnswer(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

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
