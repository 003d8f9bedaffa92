//! The HTTP client of the subcommands. It talks to one server: that of a URL, or the one on this
//! machine that was started with the same options.
//!
//! A connection is kept between requests, and opened again where the server has closed it. Nothing
//! is sent twice: an error says whether the server may have got the request.

mod message;

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use crate::config::Secret;
use crate::config::server_url::ServerUrl;
pub use message::Answer;
use message::{Wait, receive, send};
use percore::listen::Listen;
use percore::listener::Address;

/// The time-out of those who ask a server for its state: one that takes longer is not well. Docker
/// allows 30 seconds.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time without a look at the clock, while nothing comes.
const GLANCE: Duration = Duration::from_millis(50);

/// A server that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the options of a server on this machine say that it listens.
    Local(Listen),
    /// At a URL.
    Url(ServerUrl),
}

impl Place {
    /// Returns the server of a URL, or without one that on this machine.
    pub fn new(to: Option<ServerUrl>, listen: &Listen) -> Self {
        to.map_or_else(|| Self::Local(listen.clone()), Self::Url)
    }

    fn addresses(&self) -> io::Result<Vec<Address>> {
        match self {
            Self::Local(listen) => Ok(reachable(listen)),
            Self::Url(url) => {
                let found = (url.host(), url.port()).to_socket_addrs()?;
                Ok(found.map(Address::Internet).collect())
            }
        }
    }

    /// Returns the name that a request has for the server, and the path before its own.
    fn host_and_base(&self) -> (String, &str) {
        match self {
            Self::Local(_) => ("localhost".to_owned(), ""),
            Self::Url(url) => (url.authority(), url.base()),
        }
    }
}

/// Returns the addresses to connect to: a server that listens on every address also listens on
/// loopback, of which a machine may have one family only.
fn reachable(listen: &Listen) -> Vec<Address> {
    let at = |ip, port| Address::Internet(SocketAddr::new(ip, port));
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    match listen {
        Listen::Everywhere(port) | Listen::Localhost(port) => vec![at(v4, *port), at(v6, *port)],
        Listen::At(address) if !address.ip().is_unspecified() => vec![Address::Internet(*address)],
        Listen::At(SocketAddr::V4(address)) => vec![at(v4, address.port())],
        Listen::At(SocketAddr::V6(address)) => vec![at(v6, address.port()), at(v4, address.port())],
        Listen::Unix(path) => vec![Address::Unix(path.clone())],
    }
}

/// The reason for which there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no connection, so the server has not got the request.
    #[error("{0}: {1}")]
    NoConnection(String, io::Error),
    /// The server may have got the request.
    #[error("{0}: {1}")]
    NoAnswer(Address, io::Error),
}

/// A client.
#[derive(Debug)]
pub struct HttpClient {
    place: Place,
    /// The header lines of every request.
    fixed: String,
    /// The time-out of connecting, and that of an exchange.
    timeout: Duration,
    connection: Option<(Socket, Address)>,
}

impl HttpClient {
    /// Makes a client without a connection.
    pub fn new(place: Place, token: Option<&Secret>, timeout: Duration) -> Self {
        let mut fixed = format!("Host: {}\r\n", place.host_and_base().0);
        if let Some(token) = token {
            fixed.push_str(&format!("Authorization: Bearer {}\r\n", token.expose()));
        }
        Self { place, fixed, timeout, connection: None }
    }

    /// Connects, if there is no connection.
    ///
    /// # Errors
    ///
    /// The server cannot be reached at any of its addresses.
    pub fn connect(&mut self) -> Result<(), ClientError> {
        let connection = self.connection.take().filter(|(socket, _)| is_open(socket));
        self.connection = Some(connection.map_or_else(|| self.open(), Ok)?);
        Ok(())
    }

    /// Asks for a resource.
    ///
    /// # Errors
    ///
    /// There is no answer of HTTP within the time-out.
    pub fn get(&mut self, target: &str) -> Result<(Answer, Address), ClientError> {
        self.exchange("GET", target, "", &[], &|| false)
    }

    /// Posts a body. Now and then `is_over` is asked whether to wait no longer.
    ///
    /// # Errors
    ///
    /// There is no answer of HTTP within the time-out.
    pub fn post(
        &mut self,
        target: &str,
        content_type: &str,
        body: &[u8],
        is_over: &dyn Fn() -> bool,
    ) -> Result<(Answer, Address), ClientError> {
        let length = body.len();
        let fields = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n");
        self.exchange("POST", target, &fields, body, is_over)
    }

    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
        is_over: &dyn Fn() -> bool,
    ) -> Result<(Answer, Address), ClientError> {
        self.connect()?;
        let Some((mut socket, address)) = self.connection.take() else {
            return Err(ClientError::NoConnection(
                target.to_owned(),
                ErrorKind::NotConnected.into(),
            ));
        };
        let base = self.place.host_and_base().1;
        let head = format!("{method} {base}{target} HTTP/1.1\r\n{}{fields}\r\n", self.fixed);
        let wait = Wait { deadline: Instant::now() + self.timeout, is_over };
        let sent = send(&mut socket, &[head.as_bytes(), body].concat(), &wait);
        // A server may answer and close before it has the whole request (413, 401): what it says
        // counts for more than that the rest could not be sent.
        let received = receive(&mut socket, &wait);
        match received.map_err(|error| sent.err().unwrap_or(error)) {
            Ok((answer, is_last)) => {
                if !is_last {
                    self.connection = Some((socket, address.clone()));
                }
                Ok((answer, address))
            }
            Err(error) => Err(ClientError::NoAnswer(address, in_words(error))),
        }
    }

    /// Connects to the first address that can be reached.
    fn open(&self) -> Result<(Socket, Address), ClientError> {
        let (name, _) = self.place.host_and_base();
        let addresses = self.place.addresses();
        let addresses =
            addresses.map_err(|error| ClientError::NoConnection(name.clone(), error))?;
        let mut first = None;
        for address in addresses {
            match open(&address, self.timeout) {
                Ok(socket) => return Ok((socket, address)),
                Err(error) => {
                    first.get_or_insert((address.to_string(), in_words(error)));
                }
            }
        }
        let (address, error) =
            first.unwrap_or_else(|| (name, io::Error::from(ErrorKind::AddrNotAvailable)));
        Err(ClientError::NoConnection(address, error))
    }
}

/// Returns an error with words in place of the system's for a time-out and an early end, which
/// are riddles.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            io::Error::new(ErrorKind::TimedOut, "no answer in time")
        }
        ErrorKind::UnexpectedEof => {
            io::Error::new(ErrorKind::UnexpectedEof, "the connection ended before the answer did")
        }
        _ => error,
    }
}

fn open(address: &Address, timeout: Duration) -> io::Result<Socket> {
    let (domain, address) = match address {
        Address::Internet(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    // It bounds waiting for a place in the queue of a Unix socket (man 7 socket).
    socket.set_write_timeout(Some(timeout))?;
    match domain {
        Domain::UNIX => socket.connect(&address)?,
        _ => {
            socket.connect_timeout(&address, timeout)?;
            socket.set_tcp_nodelay(true)?;
        }
    }
    socket.set_write_timeout(Some(GLANCE))?;
    socket.set_read_timeout(Some(GLANCE))?;
    Ok(socket)
}

/// Returns true if nothing has come on an idle connection: neither its end nor an answer that
/// nobody has asked for.
fn is_open(socket: &Socket) -> bool {
    let peeked =
        socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [MaybeUninit::uninit()]));
    let is_quiet = matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock);
    socket.set_nonblocking(false).is_ok() && is_quiet
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    const SHORT: Duration = Duration::from_secs(20);

    fn local(address: SocketAddr) -> Place {
        Place::Local(Listen::At(address))
    }

    /// Starts a server that answers the requests of one connection after the other, and ends a
    /// connection behind the answers that it has for it. Sends back what it was asked.
    fn serve(
        connections: Vec<Vec<&'static [u8]>>,
    ) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let mut asked = Vec::new();
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).unwrap();
                        request.extend(byte);
                    }
                    asked.push(String::from_utf8(request).unwrap());
                    stream.write_all(answer).unwrap();
                }
            }
            asked
        });
        (address, asked)
    }

    fn answered(bytes: &'static [u8]) -> Result<Answer, String> {
        let (address, _) = serve(vec![vec![bytes]]);
        let mut client = HttpClient::new(local(address), None, SHORT);
        let answer = client.get("/").map(|(answer, _)| answer);
        answer.map_err(|error| error.to_string())
    }

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
            let addresses = reachable(&Listen::parse(listen).unwrap());
            let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), expected);
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (bytes, status, body) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"[..], 200, "ab"),
            (b"HTTP/1.1 404 \r\n\r\nto the end", 404, "to the end"),
            (b"HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", 204, ""),
            (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 200, "a"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
                  2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                200,
                "abc",
            ),
        ] {
            let answer = answered(bytes).unwrap();
            assert_eq!((answer.status, &*answer.body), (status, body.as_bytes()));
        }
        let answer = answered(b"HTTP/1.1 503 -\r\nretry-after: 7\r\n\r\n").unwrap();
        assert_eq!(answer.retry_after, Some(7));
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_says_so() {
        for (bytes, expected) in [
            (&b""[..], "the connection ended before the answer did"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
                "the connection ended before the answer did",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na",
                "the connection ended before the answer did",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
                "the answer is not HTTP",
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "the answer is not HTTP"),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "the answer is not HTTP"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "the answer is not HTTP"),
        ] {
            let error = answered(bytes).unwrap_err();
            assert!(error.starts_with("127.0.0.1:") && error.ends_with(expected), "{error}");
        }
        let endless = [&b"HTTP/1.1 200 OK\r\n"[..], &b"A: b\r\n".repeat(20_000)].concat();
        assert!(answered(endless.leak()).unwrap_err().ends_with("the answer is not HTTP"));
    }

    #[test]
    fn a_connection_is_kept_until_the_server_ends_it() {
        const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        // The second connection ends without a word.
        let (address, asked) = serve(vec![vec![KEPT, LAST], vec![KEPT], vec![KEPT]]);
        let url: ServerUrl = format!("http://{address}/base/").parse().unwrap();
        let token = Secret::from("word");
        let place = Place::new(Some(url), &Listen::Everywhere(1));
        let mut client = HttpClient::new(place, Some(&token), SHORT);
        for number in 0..4 {
            if number == 3 {
                let (socket, _) = client.connection.as_ref().unwrap();
                while is_open(socket) {
                    thread::yield_now();
                }
            }
            let (answer, _) = client.get(&format!("/{number}")).unwrap();
            assert_eq!(answer.status, 200);
        }
        let asked = asked.join().unwrap();
        let head = format!(
            "GET /base/3 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer word\r\n\r\n"
        );
        assert_eq!((asked.len(), &asked[3]), (4, &head));
    }

    #[test]
    fn nobody_there_is_no_connection() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut client = HttpClient::new(local(nobody), None, SHORT);
        let error = client.get("/").unwrap_err();
        assert!(matches!(error, ClientError::NoConnection(..)), "{error}");
        assert!(error.to_string().starts_with(&format!("{nobody}: Connection refused")), "{error}");
        let url: ServerUrl = "http://nowhere.invalid:1".parse().unwrap();
        let mut client = HttpClient::new(Place::Url(url), None, SHORT);
        let error = client.connect().unwrap_err().to_string();
        assert!(error.starts_with("nowhere.invalid:1: "), "{error}");
    }

    #[test]
    fn a_silent_server_is_waited_for_until_the_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = local(listener.local_addr().unwrap());
        let mut client = HttpClient::new(place, None, Duration::from_millis(20));
        let error = client.get("/").unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer(..)), "{error}");
        assert!(error.to_string().ends_with(": no answer in time"), "{error}");
    }
}
