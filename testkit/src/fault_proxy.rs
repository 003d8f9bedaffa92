//! A TCP proxy in front of a Redis that damages the stream as the test says.
//!
//! Each connection has two pumps, one a direction, that ask the shared orders before each chunk.
//! A pump looks up from its socket every few milliseconds, so that orders reach idle ones too.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::wait::TIMEOUT;

/// The longest time in which a pump does not notice an order.
const TICK: Duration = Duration::from_millis(5);

/// Reads, a tick at most each, that wait for the peer of an ended connection.
const DRAIN_READS: u32 = 40;

/// One of the two streams of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to Redis.
    ToRedis,
    /// From Redis to the server.
    ToServer,
}

/// The way in which a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// A reset (RST), as a crashed host or an impatient middlebox does.
    Reset,
    /// An orderly end of both streams (FIN), in the middle of whatever was said.
    End,
}

/// The treatment of all connections until another one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// Everything is passed on.
    Forward,
    /// Every chunk comes so much later.
    Delay(Duration),
    /// Connections are accepted, what comes is read, and nothing is ever passed on. Connections
    /// that have lost something are reset when the mode ends.
    BlackHole,
    /// The port is closed and the connections are reset.
    Refuse,
}

/// A cut that waits for its byte.
#[derive(Clone, Copy, Debug)]
struct Cut {
    direction: Direction,
    bytes: usize,
    ending: CloseMode,
}

#[derive(Debug)]
struct FaultSettings {
    mode: ProxyMode,
    cut: Option<Cut>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<FaultSettings>,
    /// Connections with a lower number hold back what is on its way to Redis.
    held_below: AtomicU64,
    connections: AtomicU64,
    cuts: AtomicU64,
    is_ending: AtomicBool,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, FaultSettings> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> ProxyMode {
        self.orders().mode
    }

    /// Returns how many of these bytes still pass, and how the connection ends behind them.
    fn passing(&self, direction: Direction, bytes: usize) -> (usize, Option<CloseMode>) {
        let mut orders = self.orders();
        match &mut orders.cut {
            Some(cut) if cut.direction == direction && cut.bytes <= bytes => {
                let (passing, ending) = (cut.bytes, cut.ending);
                orders.cut = None;
                (passing, Some(ending))
            }
            Some(cut) if cut.direction == direction => {
                cut.bytes -= bytes;
                (bytes, None)
            }
            _ => (bytes, None),
        }
    }
}

/// The proxy; it ends with its test.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts one in front of the Redis at this address.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            orders: Mutex::new(FaultSettings { mode: ProxyMode::Forward, cut: None }),
            held_below: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor =
            thread::spawn(move || accept(Some(listener), address, upstream, &for_acceptor));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Returns the URL by which a server finds Redis through it.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Sets the treatment of all connections.
    pub fn set(&self, mode: ProxyMode) {
        self.shared.orders().mode = mode;
    }

    /// Cuts the connection by which the last of so many bytes goes, counted from now over all
    /// connections, right behind that byte. It happens once.
    pub fn cut_after(&self, direction: Direction, bytes: usize, ending: CloseMode) {
        self.shared.orders().cut = Some(Cut { direction, bytes, ending });
    }

    /// Returns the number of connections that were cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that it has accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Keeps what comes for Redis on today's connections, also when their sender has gone; later
    /// connections are forwarded.
    pub fn hold_back(&self) {
        self.shared.held_below.store(self.connections(), Ordering::SeqCst);
    }

    /// Sends what was held back, however late.
    pub fn release(&self) {
        self.shared.held_below.store(0, Ordering::SeqCst);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            // Its panic has been printed; a second one would hide the test's own.
            let _ = acceptor.join();
        }
    }
}

/// Accepts until the end; closes the port while connections are to be refused.
fn accept(
    mut listener: Option<TcpListener>,
    address: SocketAddr,
    upstream: SocketAddr,
    shared: &Arc<Shared>,
) {
    while !shared.is_ending.load(Ordering::SeqCst) {
        if shared.mode() == ProxyMode::Refuse {
            listener = None;
        } else if listener.is_none() {
            // An outgoing connection of another process may have the port for a moment.
            listener = TcpListener::bind(address).ok();
        }
        let accepted = listener.as_ref().map(|listener| {
            listener.set_nonblocking(true).unwrap();
            listener.accept()
        });
        match accepted {
            Some(Ok((client, _))) => connect(client, upstream, shared),
            _ => thread::park_timeout(TICK),
        }
    }
}

/// One connection: both sockets, closed when both pumps have let go of them.
struct ProxiedConnection {
    number: u64,
    server: TcpStream,
    /// None in a black hole that was one from the start, and where Redis is away.
    redis: Option<TcpStream>,
    is_over: AtomicBool,
}

impl ProxiedConnection {
    /// Ends it; a reset is what closing sends once nothing may linger.
    fn end(&self, ending: CloseMode) {
        for stream in std::iter::once(&self.server).chain(&self.redis) {
            // The peer may have gone first.
            let _ = match ending {
                CloseMode::Reset => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
                CloseMode::End => stream.shutdown(Shutdown::Write),
            };
        }
        self.is_over.store(true, Ordering::SeqCst);
        if ending == CloseMode::End {
            self.drain();
        }
    }

    /// Reads what still comes for a moment: closing before that would be a reset after all.
    fn drain(&self) {
        let mut chunk = [0; 4096];
        for _ in 0..DRAIN_READS {
            match read(&self.server, &mut chunk) {
                Ok(Chunk::Bytes(_) | Chunk::Nothing) => {}
                Ok(Chunk::End) | Err(_) => return,
            }
        }
    }
}

fn connect(server: TcpStream, upstream: SocketAddr, shared: &Arc<Shared>) {
    server.set_nonblocking(false).unwrap();
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    let is_hole = shared.mode() == ProxyMode::BlackHole;
    let redis = (!is_hole).then(|| TcpStream::connect_timeout(&upstream, TIMEOUT).ok()).flatten();
    for stream in std::iter::once(&server).chain(&redis) {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TICK)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    }
    let pair =
        Arc::new(ProxiedConnection { number, server, redis, is_over: AtomicBool::new(false) });
    if pair.redis.is_none() && !is_hole {
        pair.end(CloseMode::Reset);
        return;
    }
    for direction in [Direction::ToRedis, Direction::ToServer] {
        let (pair, shared) = (Arc::clone(&pair), Arc::clone(shared));
        thread::spawn(move || {
            if let Some(ending) = pump(direction, &pair, &shared).unwrap_or(Some(CloseMode::Reset))
            {
                pair.end(ending);
            }
        });
    }
}

/// The outcome of a read.
enum Chunk {
    Bytes(usize),
    Nothing,
    End,
}

fn read(mut stream: &TcpStream, chunk: &mut [u8]) -> io::Result<Chunk> {
    match stream.read(chunk) {
        Ok(0) => Ok(Chunk::End),
        Ok(bytes) => Ok(Chunk::Bytes(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(Chunk::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// Passes one direction on until it ends, and says how the connection is to end; `None` where the
/// other direction has said so already.
fn pump(
    direction: Direction,
    pair: &ProxiedConnection,
    shared: &Shared,
) -> io::Result<Option<CloseMode>> {
    let (from, to) = match direction {
        Direction::ToRedis => (Some(&pair.server), pair.redis.as_ref()),
        Direction::ToServer => (pair.redis.as_ref(), Some(&pair.server)),
    };
    let (mut chunk, mut held) = (vec![0; 64 * 1024], Vec::new());
    let (mut has_lost, mut is_finished) = (pair.redis.is_none(), false);
    while !pair.is_over.load(Ordering::SeqCst) && !shared.is_ending.load(Ordering::SeqCst) {
        let read = match from {
            Some(from) if !is_finished => read(from, &mut chunk),
            _ => {
                thread::park_timeout(TICK);
                Ok(Chunk::Nothing)
            }
        };
        // Looked up after the read: an order given before a byte was sent holds for that byte.
        let mode = shared.mode();
        if mode == ProxyMode::Refuse || (has_lost && mode != ProxyMode::BlackHole) {
            return Ok(Some(CloseMode::Reset));
        }
        let is_held = direction == Direction::ToRedis
            && pair.number < shared.held_below.load(Ordering::SeqCst);
        match read {
            Ok(Chunk::Bytes(_)) if mode == ProxyMode::BlackHole => has_lost = true,
            Ok(Chunk::Bytes(bytes)) => held.extend_from_slice(&chunk[..bytes]),
            Ok(Chunk::Nothing) => {}
            // Held bytes outlive their sender, however its connection ended.
            Ok(Chunk::End) | Err(_) if is_held => is_finished = true,
            Ok(Chunk::End) => return Ok(Some(CloseMode::End)),
            Err(error) => return Err(error),
        }
        if is_held || held.is_empty() {
            continue;
        }
        if let ProxyMode::Delay(delay) = mode {
            thread::park_timeout(delay);
        }
        if let Some(ending) = pass(direction, &mut held, to, shared)? {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            return Ok(Some(ending));
        }
        if is_finished {
            return Ok(Some(CloseMode::End));
        }
    }
    Ok(None)
}

/// Writes what may pass; answers how the connection ends if it is cut behind that.
fn pass(
    direction: Direction,
    held: &mut Vec<u8>,
    to: Option<&TcpStream>,
    shared: &Shared,
) -> io::Result<Option<CloseMode>> {
    let (passing, ending) = shared.passing(direction, held.len());
    if let Some(mut to) = to {
        to.write_all(&held[..passing])?;
    }
    held.clear();
    Ok(ending)
}
