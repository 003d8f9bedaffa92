//! `corepulse healthcheck`: asks the server on this machine for its health, for containers whose
//! image has no other program to ask with.

use thiserror::Error;

use crate::http_client::{ClientError, HttpClient, Place, TIMEOUT};
use percore::listen::Listen;
use percore::listener::Address;

/// The reason for which a server is not healthy.
#[derive(Debug, Error)]
pub enum HealthcheckError {
    /// The server could not be asked.
    #[error("GET /health at {0}")]
    NoAnswer(#[from] ClientError),
    /// The server answered something other than 200.
    #[error("GET /health at {0}: expected 200, found {1}")]
    WrongAnswer(Address, u16),
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
    let mut client = HttpClient::new(Place::Local(listen.clone()), None, TIMEOUT);
    match client.get("/health")? {
        (answer, _) if answer.status == 200 => Ok(()),
        (answer, address) => Err(HealthcheckError::WrongAnswer(address, answer.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;

    fn read_request(stream: &mut TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
    }

    /// Starts a server that answers its first request with `answer`.
    fn says(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        let well = says(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(ask(&well.into()).is_ok());
        let ill = ask(&says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").into());
        assert!(matches!(ill, Err(HealthcheckError::WrongAnswer(_, 503))), "{ill:?}");
        for answer in [&b"HTTP"[..], b"SSH-2.0-OpenSSH_9.9\r\n"] {
            assert!(matches!(ask(&says(answer).into()), Err(HealthcheckError::NoAnswer(_))));
        }
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
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        assert!(ask(&Listen::Localhost(address.port())).is_ok());
        answering.join().unwrap();
    }
}
