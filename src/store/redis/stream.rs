//! A byte stream to Redis: each exchange on it has a deadline and a bound of bytes.
//!
//! A time-out of the socket begins anew with each byte: a peer that sends one now and then would
//! hold the reader for ever, and a reply without end would fill the memory. So the deadline and the
//! number of bytes are those of a whole exchange. TLS runs on top, so that they hold for its
//! records as well. A signal ends a wait early (man 7 signal); then the wait goes on.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redis::ConnectionAddr;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockAddr, Socket, Type};

use super::deadline::Deadline;
use super::error::{ErrorKind, RedisError, RedisResult};
use super::resolver::Resolver;
use super::tls;
use crate::limits::STORE_REPLY_BYTES_MAX;
use percore::clock::{Clock, nanoseconds};

/// The shortest time-out: to the system, zero means no time-out.
const WAIT_MIN: Duration = Duration::from_millis(1);

pub(super) struct Stream {
    transport: Transport,
}

enum Transport {
    Plain(BoundedSocket),
    Tls(Box<StreamOwned<ClientConnection, BoundedSocket>>),
}

impl Stream {
    /// Connects, and does the TLS handshake if the address asks for TLS.
    pub(super) fn open(
        address: &ConnectionAddr,
        resolver: &Resolver,
        deadline: &mut Deadline,
    ) -> RedisResult<Self> {
        let transport = match address {
            ConnectionAddr::Tcp(host, port) => {
                Transport::Plain(connect(host, *port, resolver, deadline)?)
            }
            ConnectionAddr::TcpTls { host, port, insecure, .. } => {
                let mut session = tls::client(host, *insecure)?;
                let mut socket = connect(host, *port, resolver, deadline)?;
                socket.begin_exchange(STORE_REPLY_BYTES_MAX);
                while session.is_handshaking() {
                    let shaken = session.complete_io(&mut socket);
                    shaken.map_err(|error| socket.redis_error(&error))?;
                }
                Transport::Tls(Box::new(StreamOwned::new(session, socket)))
            }
            ConnectionAddr::Unix(path) => Transport::Plain(connect_unix(path, deadline)?),
            _ => return Err(RedisError::connect("an address of an unknown kind")),
        };
        Ok(Self { transport })
    }

    fn socket(&mut self) -> &mut BoundedSocket {
        match &mut self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_mut(),
        }
    }

    /// Sets the time-out of each exchange that begins from now on.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.socket().timeout = timeout.max(WAIT_MIN);
    }

    /// Begins an exchange, in which at most `bytes_max` bytes are received.
    pub(super) fn begin_exchange(&mut self, bytes_max: usize) {
        self.socket().begin_exchange(bytes_max);
    }

    /// Converts an error of this stream.
    pub(super) fn redis_error(&mut self, error: &io::Error) -> RedisError {
        self.socket().redis_error(error)
    }

    /// Takes the last error of the socket, if there is one.
    pub(super) fn take_error(&mut self) -> Option<RedisError> {
        self.socket().error.take()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.read(buffer),
            Transport::Tls(stream) => match stream.read(buffer)? {
                // A TLS connection that ends in order.
                0 if !buffer.is_empty() => stream.get_mut().remember(Err(hung_up())),
                bytes => Ok(bytes),
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}

fn connect(
    host: &str,
    port: u16,
    resolver: &Resolver,
    deadline: &mut Deadline,
) -> RedisResult<BoundedSocket> {
    let addresses =
        resolver.resolve(host, port, deadline.next_wait()?).map_err(RedisError::connect)?;
    let mut last_error = RedisError::connect("its name has no address");
    for address in addresses {
        match connect_to(address, deadline.next_wait()?) {
            Ok(socket) => return BoundedSocket::new(socket, deadline),
            Err(error) => last_error = RedisError::connect(error),
        }
    }
    Err(last_error)
}

fn connect_to(address: SocketAddr, wait: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect_timeout(&address.into(), wait)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn connect_unix(path: &Path, deadline: &mut Deadline) -> RedisResult<BoundedSocket> {
    let wait = deadline.next_wait()?;
    let connected = SockAddr::unix(path).and_then(|address| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect_timeout(&address, wait)?;
        Ok(socket)
    });
    BoundedSocket::new(connected.map_err(RedisError::connect)?, deadline)
}

/// A socket with a deadline and a bound for each exchange.
struct BoundedSocket {
    socket: Socket,
    clock: Clock,
    timeout: Duration,
    /// The deadline of the current exchange, once it has had to wait.
    deadline_ns: Option<u64>,
    /// Bytes that may still be received in the current exchange.
    left_bytes: usize,
    /// The time-outs that the socket has, for reading and for writing.
    socket_timeouts: [Duration; 2],
    error: Option<RedisError>,
}

impl BoundedSocket {
    fn new(socket: Socket, deadline: &mut Deadline) -> RedisResult<Self> {
        Ok(Self {
            socket,
            clock: deadline.clock(),
            timeout: deadline.next_wait()?,
            deadline_ns: None,
            left_bytes: STORE_REPLY_BYTES_MAX,
            socket_timeouts: [Duration::ZERO; 2],
            error: None,
        })
    }

    fn begin_exchange(&mut self, bytes_max: usize) {
        (self.deadline_ns, self.left_bytes, self.error) = (None, bytes_max, None);
    }

    /// Returns the time left for the current exchange. At its first wait that is the whole
    /// time-out, which the socket has already: replies that come together cost no system call to
    /// set it.
    fn remaining(&mut self) -> io::Result<Duration> {
        let now_ns = self.clock.now().mono_ns;
        let whole_ns = nanoseconds(self.timeout);
        let deadline_ns = *self.deadline_ns.get_or_insert(now_ns.saturating_add(whole_ns));
        match deadline_ns.checked_sub(now_ns) {
            None | Some(0) => Err(io::ErrorKind::TimedOut.into()),
            Some(left_ns) => Ok(Duration::from_nanos(left_ns).max(WAIT_MIN)),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left_bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a reply without end"));
        }
        loop {
            let wait = self.remaining()?;
            let [known, _] = &mut self.socket_timeouts;
            if let Some(other) = other_timeout(*known, wait) {
                self.socket.set_read_timeout(Some(other))?;
                *known = other;
            }
            match self.socket.read(buffer) {
                Ok(0) if !buffer.is_empty() => return Err(hung_up()),
                Ok(bytes) => {
                    self.left_bytes = self.left_bytes.saturating_sub(bytes);
                    return Ok(bytes);
                }
                Err(error) => retry_wait(error)?,
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let wait = self.remaining()?;
            let [_, known] = &mut self.socket_timeouts;
            if let Some(other) = other_timeout(*known, wait) {
                self.socket.set_write_timeout(Some(other))?;
                *known = other;
            }
            match self.socket.write(bytes) {
                Ok(sent) => return Ok(sent),
                Err(error) => retry_wait(error)?,
            }
        }
    }

    /// Remembers an error: TLS and the parser wrap it in texts of their own.
    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.error = Some(classify(error));
        }
        result
    }

    fn redis_error(&mut self, error: &io::Error) -> RedisError {
        self.error.take().unwrap_or_else(|| classify(error))
    }
}

/// Returns the time-out that a socket has to be given for a wait; `None` if the known one will do.
/// One that ends early does: then the wait goes on, by its deadline. So that the next waits, which
/// are a little longer or shorter, cost no system call, it is given some less than the wait.
fn other_timeout(known: Duration, wait: Duration) -> Option<Duration> {
    let will_do = known <= wait && known >= wait / 2;
    (!will_do).then(|| (wait - wait / 8).max(WAIT_MIN))
}

/// Returns the error of a peer that sends nothing more.
fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")
}

/// Returns an error unless the wait is to go on: after a signal, or a time-out that came too early.
fn retry_wait(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
}

/// Converts an error of the system.
fn classify(error: &io::Error) -> RedisError {
    match error.kind() {
        io::ErrorKind::TimedOut => RedisError::new(ErrorKind::Timeout, "no answer in time"),
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData => {
            RedisError::new(ErrorKind::Protocol, error.to_string())
        }
        _ => RedisError::new(ErrorKind::Io, error.to_string()),
    }
}

impl Read for BoundedSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = self.receive(buffer);
        self.remember(received)
    }
}

impl Write for BoundedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.send(bytes);
        self.remember(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket is not to wait longer than the deadline lets it; and that of a wait that differs
    /// little from the one before is not set again.
    #[test]
    fn a_time_out_ends_no_later_than_the_wait_and_serves_the_next_ones() {
        let ms = Duration::from_millis;
        let mut known = Duration::ZERO;
        let mut set = 0;
        for wait in (900..=1_000).rev().chain(900..=1_000) {
            if let Some(other) = other_timeout(known, ms(wait)) {
                (known, set) = (other, set + 1);
            }
            assert!(known <= ms(wait) && known >= ms(wait) / 2, "{known:?} {wait}");
        }
        assert_eq!(set, 1);
        assert_eq!(other_timeout(known, ms(100)), Some(ms(100) - ms(100) / 8));
        assert_eq!(other_timeout(ms(100), ms(10_000)), Some(ms(8_750)));
        assert_eq!(other_timeout(ms(100), WAIT_MIN), Some(WAIT_MIN));
        assert_eq!(other_timeout(WAIT_MIN, WAIT_MIN), None);
    }
}
