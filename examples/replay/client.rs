//! A blocking keep-alive HTTP/1.1 client for one target: requests out, whole responses in.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The limit of an answer's head: those of this server have some two hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const HEADERS_MAX: usize = 64;
/// The time after which a silent server counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The server that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Host and port as the URL spells them.
    pub(crate) authority: String,
}

impl Target {
    /// Parses `http://host:port`. Any address but a loopback one needs `allow_remote`.
    pub(crate) fn parse(url: &str, allow_remote: bool) -> Result<Self, String> {
        let rest = url.strip_prefix("http://");
        let authority = rest.ok_or_else(|| format!("{url}: expected http://host:port"))?;
        let authority = authority.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
            return Err(format!("{url}: expected http://host:port"));
        }
        let port_is_given =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let resolved = if port_is_given {
            authority.to_socket_addrs()
        } else {
            format!("{authority}:80").to_socket_addrs()
        };
        let mut addresses = resolved.map_err(|e| format!("{url}: {e}"))?;
        let address = addresses.next().ok_or_else(|| format!("{url}: no address"))?;
        if !allow_remote && !address.ip().is_loopback() {
            return Err(format!("{url}: not on this machine; --allow-remote permits it"));
        }
        Ok(Self { address, authority: authority.to_owned() })
    }
}

/// The status and the body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The head of an answer: its length and the properties that its reading depends on.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    closes: bool,
}

/// A client with one connection, which is opened on first use and again after the server closed it.
pub(crate) struct Client {
    target: Target,
    /// The header lines of every request.
    fixed: String,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn new(target: Target, content_type: &str, gzip: bool, token: Option<&str>) -> Self {
        let mut fixed = format!(
            "POST /metrics HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\n",
            target.authority
        );
        if gzip {
            fixed.push_str("Content-Encoding: gzip\r\n");
        }
        if let Some(token) = token {
            fixed.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        Self { target, fixed, stream: None, received: Vec::new() }
    }

    /// Sends one body and reads the whole answer.
    pub(crate) fn post(&mut self, body: &[u8]) -> io::Result<Response> {
        let head = format!("{}Content-Length: {}\r\n\r\n", self.fixed, body.len());
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.write_all(&message)?;
        let (response, closes) = self.receive(&mut stream)?;
        if !closes {
            self.stream = Some(stream);
        }
        Ok(response)
    }

    fn connect(&mut self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.target.address, SILENCE_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        self.received.clear();
        Ok(stream)
    }

    fn receive(&mut self, stream: &mut TcpStream) -> io::Result<(Response, bool)> {
        loop {
            match head(&self.received)? {
                // RFC 9110, section 15.2: interim answers precede the final one.
                Some(head) if head.status < 200 => {
                    self.received.drain(..head.bytes);
                }
                Some(head) if self.received.len() >= head.bytes + head.body_bytes => {
                    let body = self.received.split_off(head.bytes);
                    if body.len() > head.body_bytes {
                        return Err(wrong("bytes after the answer"));
                    }
                    self.received.clear();
                    let status = head.status;
                    return Ok((Response { status, body }, head.closes));
                }
                _ => self.read_more(stream)?,
            }
        }
    }

    fn read_more(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Err(wrong("closed before the whole answer"));
        }
        self.received.extend(chunk.iter().take(length));
        Ok(())
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Parses the head that `received` starts with; `None` if it is incomplete.
fn head(received: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(received);
    let bytes = match parsed.map_err(|_| wrong("no HTTP answer"))? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial if received.len() > HEAD_BYTES_MAX => {
            return Err(wrong("a head without an end"));
        }
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let found = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    let length = match value("content-length") {
        Some(text) => text.parse().map_err(|_| wrong("a bad Content-Length"))?,
        None if status < 200 => 0,
        None => return Err(wrong("no Content-Length")),
    };
    if length > BODY_BYTES_MAX {
        return Err(wrong("an answer of more than 16 MiB"));
    }
    let closes = value("connection").is_some_and(|text| text.eq_ignore_ascii_case("close"));
    Ok(Some(Head { status, bytes, body_bytes: length, closes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_on_this_machine() {
        let target = Target::parse("http://127.0.0.1:8080", false).unwrap();
        assert_eq!(target.address.port(), 8080);
        assert!(Target::parse("http://[::1]:8080/", false).is_ok());
        assert_eq!(Target::parse("http://127.0.0.1", false).unwrap().address.port(), 80);
        assert!(Target::parse("http://192.0.2.1:8080", false).is_err());
        assert!(Target::parse("http://192.0.2.1:8080", true).is_ok());
        for url in ["127.0.0.1:8080", "https://127.0.0.1", "http://", "http://127.0.0.1/a/b"] {
            assert!(Target::parse(url, true).is_err(), "{url}");
        }
    }

    const ANSWER: &[u8] =
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\nConnection: close\r\n\r\n{}";

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let expected = Head { status: 202, bytes: ANSWER.len() - 2, body_bytes: 2, closes: true };
        for end in 0..ANSWER.len() - 2 {
            assert_eq!(head(&ANSWER[..end]).unwrap(), None, "at byte {end}");
        }
        assert_eq!(head(ANSWER).unwrap(), Some(expected));
    }

    #[test]
    fn an_answer_without_a_length_is_wrong() {
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0-a\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap().is_some());
    }
}
