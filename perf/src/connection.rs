//! One keep-alive connection of the generator: a turn under way or none.

use crate::fault::Fault;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// What befell a connection.
pub type Failure = (Fault, String);

/// A connection, open or to be opened again.
#[derive(Debug)]
pub struct Connection {
    stream: Option<TcpStream>,
    /// The turn; what the kernel has not taken of it is still to be written.
    pub out: Vec<u8>,
    written: usize,
    /// The beginning of an answer.
    pub received: Vec<u8>,
    /// Answers still to come.
    pub awaited: usize,
    /// From when they are waited for: where a rate is set, when the turn was due.
    pub asked: Instant,
    /// When the turn was sent.
    pub sent: Instant,
    /// When the generator could have known that all answers had come.
    pub free_since: Instant,
}

impl Connection {
    /// Connects, and waits for that.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or the system has no room for one more.
    pub fn open(address: SocketAddr, registry: &Registry, token: Token) -> std::io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        let now = Instant::now();
        let mut connection = Self {
            stream: None,
            out: Vec::new(),
            written: 0,
            received: Vec::new(),
            awaited: 0,
            asked: now,
            sent: now,
            free_since: now,
        };
        connection.take(TcpStream::from_std(stream), registry, token)?;
        Ok(connection)
    }

    /// Whether there is a stream; it may be on its way yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Connects again, without waiting.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn reopen(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<(), Failure> {
        let stream = TcpStream::connect(address);
        let taken = stream.and_then(|stream| self.take(stream, registry, token));
        taken.map_err(|e| (Fault::Connect, format!("connecting: {e}")))
    }

    fn take(
        &mut self,
        mut stream: TcpStream,
        registry: &Registry,
        token: Token,
    ) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Lets go of the stream, and of what was under way.
    pub fn close(&mut self) {
        self.stream = None;
        self.out.clear();
        self.received.clear();
        self.written = 0;
        self.awaited = 0;
    }

    /// Begins a turn, which is in `out`: its answers are waited for from `asked` on.
    pub const fn begin(&mut self, answers: usize, asked: Instant, now: Instant) {
        self.written = 0;
        self.awaited = answers;
        self.asked = asked;
        self.sent = now;
    }

    /// Writes until the kernel takes no more.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_not_now(&error) => return Ok(()),
                Err(error) => return Err(failure("sending", &error)),
            }
        }
        Ok(())
    }

    /// One receive; 0 when nothing had arrived.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn receive(&mut self, chunk: &mut [u8]) -> Result<usize, Failure> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        match stream.read(chunk) {
            Ok(0) => Err((Fault::Closed, "the server closed a connection".to_owned())),
            Ok(length) => {
                self.received.extend(chunk.iter().take(length));
                Ok(length)
            }
            // The kernel says again when there is something.
            Err(error) if is_not_now(&error) => Ok(0),
            Err(error) => Err(failure("receiving", &error)),
        }
    }
}

/// Nothing has come, or the connection itself is still on its way, or a signal came between: the
/// kernel says again, or at the next look there is something.
fn is_not_now(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn failure(doing: &str, error: &Error) -> Failure {
    let fault = match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotConnected => Fault::Connect,
        _ => Fault::Closed,
    };
    (fault, format!("{doing}: {error}"))
}
