//! A blocking keep-alive client of one connection: a request out, its whole answer in.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that says nothing for so long has lost the request.
const SILENCE_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes());
        self.receive()
    }

    /// Posts a body under a type that says nothing about its form.
    pub(crate) fn post(&mut self, body: &str) -> Response {
        self.try_post(body).unwrap()
    }

    /// Posts a body that is gzip.
    pub(crate) fn post_gzip(&mut self, body: &[u8]) -> Response {
        self.send(&post(body, "Content-Encoding: gzip\r\n"));
        self.receive()
    }

    pub(crate) fn send(&mut self, request: &[u8]) {
        self.stream.get_mut().write_all(request).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Response {
        self.try_receive().unwrap()
    }

    /// Posts to a server that may be gone: an error where no whole answer came.
    pub(crate) fn try_post(&mut self, body: &str) -> io::Result<Response> {
        self.stream.get_mut().write_all(&post(body.as_bytes(), ""))?;
        self.try_receive()
    }

    fn try_receive(&mut self) -> io::Result<Response> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status in {line:?}"));
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let mut body = vec![0; length.expect("every answer has a length")];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body).unwrap();
        Ok(Response { status, body })
    }
}

/// A POST of this body, with further header lines.
pub(crate) fn post(body: &[u8], fields: &str) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST /metrics HTTP/1.1\r\nHost: t\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
