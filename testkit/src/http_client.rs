//! Raw HTTP/1.1 client: it sends exactly the bytes that it is given, and checks each response.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use crate::http_response::HttpResponse;
use crate::tls::TlsStream;
use crate::wait::TIMEOUT;

/// One connection.
#[derive(Debug)]
pub struct HttpClient {
    stream: Transport,
    /// Bytes that were received, and are not yet part of a response.
    received: Vec<u8>,
}

/// The bytes of a connection, in clear or in TLS.
#[derive(Debug)]
enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream>),
}

impl Transport {
    const fn tcp(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl HttpClient {
    /// Connects to the server at an address.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).expect("the server accepts");
        Self::from_stream(stream)
    }

    /// Connects with a small receive buffer: if the test does not read, the server's own buffers
    /// fill soon.
    pub fn connect_with_small_buffer(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        socket.connect(&address.into()).expect("the server accepts");
        Self::from_stream(TcpStream::from(socket))
    }

    /// Connects from an address of this machine: each has some ten thousands of ports.
    pub fn connect_from(source: SocketAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&source.into()).expect("a port is free");
        socket.connect(&address.into()).expect("the server accepts");
        Self::from_stream(TcpStream::from(socket))
    }

    /// Takes a connection that has been made.
    pub fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Self { stream: Transport::Clear(stream), received: Vec::new() }
    }

    /// Connects to where the server at an address speaks TLS. The handshake is made with the first
    /// bytes.
    pub fn connect_tls(address: SocketAddr, config: ClientConfig) -> Self {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).expect("the server accepts");
        let client = Self::from_stream(stream.try_clone().expect("there are descriptors left"));
        let stream = Transport::Tls(Box::new(TlsStream::new(stream, config)));
        Self { stream, ..client }
    }

    /// Returns the TLS of the connection, if it has any.
    pub fn tls(&mut self) -> Option<&mut TlsStream> {
        match &mut self.stream {
            Transport::Clear(_) => None,
            Transport::Tls(stream) => Some(stream),
        }
    }

    /// Connects to a Unix socket: to receive and to send are the same there.
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server accepts");
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        let stream = Transport::Clear(OwnedFd::from(stream).into());
        Self { stream, received: Vec::new() }
    }

    /// Returns the socket, for its options.
    pub const fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// Sends bytes, which the server has to receive.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server receives");
    }

    /// Sends to a server that may have had enough.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the stream to the server: nothing more will be sent.
    pub fn shutdown_write(&mut self) {
        if let Transport::Tls(stream) = &mut self.stream {
            stream.close_notify().unwrap();
        }
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Receives one response and checks it, or `None` at a clean end of the stream.
    pub fn try_receive(&mut self, answers_head: bool) -> io::Result<Option<HttpResponse>> {
        loop {
            if let Some((response, bytes)) = HttpResponse::parse(&self.received, answers_head)? {
                response.check(&self.received[..bytes], answers_head);
                self.received.drain(..bytes);
                return Ok(Some(response));
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk)? {
                0 if self.received.is_empty() => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                bytes => self.received.extend_from_slice(&chunk[..bytes]),
            }
        }
    }

    /// Receives the response to anything but HEAD.
    pub fn receive(&mut self) -> HttpResponse {
        let answer = self.try_receive(false).expect("an answer within the time-out");
        answer.expect("an answer before the end of the stream")
    }

    /// Receives the response to HEAD.
    pub fn receive_response_to_head(&mut self) -> HttpResponse {
        let answer = self.try_receive(true).expect("an answer within the time-out");
        answer.expect("an answer before the end of the stream")
    }

    /// Receives the head of a response to HEAD that has no length, as no other response may.
    pub fn head_without_length(&mut self) -> String {
        loop {
            let end = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.received.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is ASCII");
            }
            let mut chunk = [0; 64 * 1024];
            let bytes = self.stream.read(&mut chunk).expect("a head within the time-out");
            assert!(bytes > 0, "the stream ends before the head does");
            self.received.extend_from_slice(&chunk[..bytes]);
        }
    }

    /// Sends a request, and receives the response.
    pub fn request(&mut self, request: &[u8]) -> HttpResponse {
        self.send(request);
        self.receive()
    }

    /// Requests a page, and receives it.
    pub fn get(&mut self, target: &str) -> HttpResponse {
        self.request(&get(target))
    }

    /// Posts metrics under no content type, and receives the answer.
    pub fn post_without_type(&mut self, body: impl AsRef<[u8]>) -> HttpResponse {
        self.request(&post_with("", body.as_ref()))
    }

    /// Receives all that comes until the server ends the stream, which has to be an orderly end.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.received);
        let end = self.stream.read_to_end(&mut rest);
        end.unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(&rest).into_owned();
            panic!("{error} after {text:?}")
        });
        rest
    }

    /// Checks that the server has ended the stream and sends nothing before that.
    pub fn assert_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }

    /// Waits for something to come; returns true if it is the end of the stream, orderly or not.
    pub fn is_ended(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// A barrier for a server with one worker: a response on this connection tells that the worker has
/// taken in everything that was sent to it before, as sockets become readable in order.
#[derive(Debug)]
pub struct Barrier(HttpClient);

impl Barrier {
    /// Connects to the server at an address.
    pub fn new(address: SocketAddr) -> Self {
        Self(HttpClient::connect(address))
    }

    /// Waits until the worker has taken in everything.
    pub fn wait(&mut self) {
        assert_eq!(self.0.request(&get("/health")).status, 200);
    }
}

/// Returns a GET without further fields.
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

/// Returns a GET as a client on this machine sends it, which may see `/debug/`.
pub fn get_as_localhost(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Returns a POST to `/metrics` with further header lines, each with its line end.
pub fn post_with(fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST /metrics HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Returns a POST to `/metrics` of a body in JSON.
pub fn post(body: &[u8]) -> Vec<u8> {
    post_with("Content-Type: application/json\r\n", body)
}

/// Returns a metric of a device at a time, as JSON.
pub fn metric(device: &str, timestamp: u64) -> String {
    format!(r#"{{"timestamp":{timestamp},"cpu":41.5,"rps":1200,"device_id":"{device}"}}"#)
}
