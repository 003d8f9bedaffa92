//! Listening sockets: each core has its own on the same port, so that accepting needs no lock.
//!
//! A Unix socket is one for all cores, because SO_REUSEPORT does not exist there: every core has a
//! descriptor of it, and the one that accepts a connection first hands it on to the core with the
//! fewest.

mod unix;

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits::{RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES};
use crate::listen::Listen;
use crate::network::Incoming;
use unix::SocketFile;

/// The connections that wait in the kernel to be accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The listener of a core: a socket that does not block, or several, for `localhost` is two
/// addresses.
#[derive(Debug)]
pub struct Listener {
    doors: Vec<Door>,
    /// The index of the socket that is asked first: no flood at one of them keeps the others
    /// waiting.
    next: Cell<usize>,
}

/// A socket of a listener.
#[derive(Debug)]
struct Door {
    socket: DoorSocket,
    /// True if TLS is spoken here.
    is_secure: bool,
}

#[derive(Debug)]
enum DoorSocket {
    Tcp(TcpListener),
    /// The file is dropped before the last descriptor.
    Unix(Arc<SocketFile>, UnixListener),
}

/// The addresses at which a server listens, those in clear first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    clear: Vec<Address>,
    secure: Vec<Address>,
}

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address of TCP; the port is the kernel's choice if 0 was asked for.
    Internet(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Bound {
    /// Returns the addresses without TLS.
    pub fn addresses(&self) -> &[Address] {
        &self.clear
    }

    /// Returns the addresses where TLS is spoken.
    pub fn secure_addresses(&self) -> &[Address] {
        &self.secure
    }

    /// Returns the first address of TCP without TLS, if there is one.
    pub fn internet(&self) -> Option<SocketAddr> {
        first_internet(&self.clear)
    }

    /// Returns the first address of TCP where TLS is spoken, if there is one.
    pub fn secure_internet(&self) -> Option<SocketAddr> {
        first_internet(&self.secure)
    }
}

fn first_internet(addresses: &[Address]) -> Option<SocketAddr> {
    addresses.iter().find_map(|address| match address {
        Address::Internet(address) => Some(*address),
        Address::Unix(_) => None,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// As URLs, where there are such.
impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clear = self.clear.iter().map(|address| (address, "http://", ""));
        let secure = self.secure.iter().map(|address| (address, "https://", " (TLS)"));
        for (index, (address, scheme, note)) in clear.chain(secure).enumerate() {
            let and = if index > 0 { " and " } else { "" };
            match address {
                Address::Internet(address) => write!(out, "{and}{scheme}{address}")?,
                Address::Unix(_) => write!(out, "{and}{address}{note}")?,
            }
        }
        Ok(())
    }
}

impl Listener {
    fn of(sockets: Vec<DoorSocket>) -> Self {
        let doors = sockets.into_iter().map(|socket| Door { socket, is_secure: false });
        Self { doors: doors.collect(), next: Cell::new(0) }
    }

    /// Adds the sockets of another listener, at which TLS is spoken if `is_secure`.
    #[must_use]
    pub fn with(mut self, other: Self, is_secure: bool) -> Self {
        self.doors.extend(other.doors.into_iter().map(|door| Door { is_secure, ..door }));
        self
    }

    /// Returns a listener that was shut down: it is always ready, and accepting from it fails.
    #[cfg(test)]
    pub fn broken() -> Self {
        let here = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = open(&here, 1).unwrap().remove(0);
        for door in &listener.doors {
            if let DoorSocket::Tcp(socket) = &door.socket {
                SockRef::from(socket).shutdown(std::net::Shutdown::Both).unwrap();
            }
        }
        listener
    }

    /// Accepts a connection that waits.
    ///
    /// # Errors
    ///
    /// None waits (`WouldBlock`), or see man 2 accept.
    pub fn accept(&self) -> io::Result<Incoming<TcpStream>> {
        for _ in 0..self.doors.len() {
            let at = self.next.get();
            self.next.set((at + 1) % self.doors.len());
            let Some(Door { socket, is_secure }) = self.doors.get(at) else {
                continue;
            };
            let accepted = match socket {
                DoorSocket::Tcp(listener) => listener.accept(),
                DoorSocket::Unix(_, listener) => unix::accept(listener),
            };
            match accepted {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok((stream, peer)) => {
                    return Ok(Incoming::new(stream, peer, *is_secure));
                }
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Returns the addresses at which it listens.
    ///
    /// # Errors
    ///
    /// The kernel does not tell them.
    pub fn bound(&self) -> io::Result<Bound> {
        let mut bound = Bound::default();
        for door in &self.doors {
            let address = match &door.socket {
                DoorSocket::Tcp(listener) => Address::Internet(listener.local_addr()?),
                DoorSocket::Unix(file, _) => Address::Unix(file.path().to_owned()),
            };
            if door.is_secure { bound.secure.push(address) } else { bound.clear.push(address) }
        }
        Ok(bound)
    }
}

impl Door {
    fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            DoorSocket::Tcp(listener) => listener,
            DoorSocket::Unix(_, listener) => listener,
        }
    }
}

/// All sockets have one token: after its event each of them is asked.
impl Source for Listener {
    fn register(&mut self, at: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.doors.iter_mut().try_for_each(|door| door.source().register(at, token, interest))
    }

    fn reregister(&mut self, at: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.doors.iter_mut().try_for_each(|door| door.source().reregister(at, token, interest))
    }

    fn deregister(&mut self, at: &Registry) -> io::Result<()> {
        self.doors.iter_mut().try_for_each(|door| door.source().deregister(at))
    }
}

/// Opens a listener for each of `count` cores. Port 0 lets the kernel choose one, the same for all.
///
/// # Errors
///
/// The address is in use, is not this machine's, or needs a privilege.
pub fn open(listen: &Listen, count: usize) -> io::Result<Vec<Listener>> {
    if let Listen::Unix(path) = listen {
        let (file, listener) = unix::open(path, BACKLOG)?;
        let share = |_| {
            let listener = UnixListener::from_std(listener.try_clone()?);
            Ok(Listener::of(vec![DoorSocket::Unix(Arc::clone(&file), listener)]))
        };
        return (0..count).map(share).collect();
    }
    let first = claim(listen)?;
    let addresses: Vec<_> = first.iter().map(address_of).collect::<io::Result<_>>()?;
    let mut listeners = vec![listen_on(first)?];
    while listeners.len() < count {
        let sockets = addresses.iter().map(|address| bound(*address));
        listeners.push(listen_on(sockets.collect::<io::Result<_>>()?)?);
    }
    Ok(listeners)
}

/// Binds a socket to each address of `listen`.
fn claim(listen: &Listen) -> io::Result<Vec<Socket>> {
    match *listen {
        Listen::At(address) => Ok(vec![claim_one(address)?]),
        Listen::Everywhere(port) => {
            let [v6, v4] =
                [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
            Ok(vec![or_without_ipv6(claim_one(v6), || claim_one(v4))?])
        }
        Listen::Localhost(port) => {
            let v4 = claim_one((Ipv4Addr::LOCALHOST, port).into())?;
            let port = address_of(&v4)?.port();
            let v6 = claim_one((Ipv6Addr::LOCALHOST, port).into()).map(Some);
            Ok([Some(v4), or_without_ipv6(v6, || Ok(None))?].into_iter().flatten().collect())
        }
        Listen::Unix(_) => Err(ErrorKind::Unsupported.into()),
    }
}

/// Returns the outcome or, if that is an error of a machine whose kernel has no IPv6, the result of
/// `instead`.
fn or_without_ipv6<T>(
    outcome: io::Result<T>,
    instead: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    match outcome {
        Err(error) if Errno::from_io_error(&error).is_some_and(|e| missing.contains(&e)) => {
            instead()
        }
        outcome => outcome,
    }
}

fn claim_one(address: SocketAddr) -> io::Result<Socket> {
    if address.port() != 0 {
        refuse_to_share(address)?;
    }
    bound(address)
}

/// Fails if another server listens at the address: SO_REUSEPORT would silently let a forgotten
/// instance of this server take a share of the connections, and of every device's window.
fn refuse_to_share(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections of the process before it.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` means both families, whatever `net.ipv6.bindv6only` says.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen_on(sockets: Vec<Socket>) -> io::Result<Listener> {
    let door = |socket: Socket| {
        socket.set_nonblocking(true)?;
        // Accepted connections inherit these. A second small answer must not wait for the
        // acknowledgement of the first (Nagle against delayed ACK, up to 40 ms).
        socket.set_tcp_nodelay(true)?;
        // Before it listens: the largest window is agreed on when a connection is made.
        bound_buffers(&socket)?;
        socket.listen(BACKLOG)?;
        Ok(DoorSocket::Tcp(TcpListener::from_std(socket.into())))
    };
    sockets.into_iter().map(door).collect::<io::Result<_>>().map(Listener::of)
}

/// Bounds the memory of a connection in the kernel, both ways.
///
/// # Errors
///
/// It is no socket.
pub fn bound_buffers<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket: SockRef<'s> = socket.into();
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)
}

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| ErrorKind::InvalidInput.into())
}

/// A port that another engine will listen on, sharing it by SO_REUSEPORT.
#[derive(Debug)]
pub struct Reserved {
    /// Bound and not listening: they receive no connection.
    _sockets: Vec<Socket>,
    /// The addresses.
    pub bound: Bound,
}

/// Reserves the addresses of `listen`, by TCP. Port 0 lets the kernel choose one.
///
/// # Errors
///
/// The address is in use, is not this machine's, or needs a privilege.
pub fn reserve(listen: &Listen) -> io::Result<Reserved> {
    let sockets = claim(listen)?;
    let addresses = sockets.iter().map(|socket| address_of(socket).map(Address::Internet));
    let bound = Bound { clear: addresses.collect::<io::Result<_>>()?, secure: Vec::new() };
    Ok(Reserved { _sockets: sockets, bound })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream as Client;

    const HERE: Listen = Listen::At(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

    fn port(listener: &Listener) -> u16 {
        listener.bound().unwrap().internet().unwrap().port()
    }

    /// Returns true if a connection to that address comes to one of these listeners.
    fn reaches(listeners: &[Listener], address: SocketAddr) -> bool {
        // It is complete on loopback when `connect` returns.
        let client = Client::connect(address);
        client.is_ok() && listeners.iter().any(|listener| listener.accept().is_ok())
    }

    #[test]
    fn all_listeners_share_the_port_that_the_kernel_chose() {
        let listeners = open(&HERE, 3).unwrap();
        let chosen = port(&listeners[0]);
        assert_ne!(chosen, 0);
        assert!(listeners.iter().all(|listener| port(listener) == chosen));
    }

    #[test]
    fn everywhere_is_ipv6_and_ipv4() {
        let listeners = open(&Listen::Everywhere(0), 2).unwrap();
        let port = port(&listeners[0]);
        assert!(reaches(&listeners, (Ipv4Addr::LOCALHOST, port).into()));
        let has_ipv6 = Client::connect((Ipv6Addr::LOCALHOST, 1)).map_err(|error| error.kind());
        if has_ipv6.err() == Some(ErrorKind::ConnectionRefused) {
            assert!(reaches(&listeners, (Ipv6Addr::LOCALHOST, port).into()));
            assert_eq!(listeners[0].bound().unwrap().to_string(), format!("http://[::]:{port}"));
        }
    }

    #[test]
    fn localhost_is_both_loopback_addresses_and_nothing_else() {
        let listeners = open(&Listen::Localhost(0), 2).unwrap();
        let port = port(&listeners[1]);
        for address in listeners[1].bound().unwrap().addresses() {
            let Address::Internet(address) = address else { panic!("{address}") };
            assert!(address.ip().is_loopback() && address.port() == port, "{address}");
            assert!(reaches(&listeners, *address), "{address}");
        }
        assert!(!reaches(&listeners, (Ipv4Addr::new(127, 0, 0, 2), port).into()));
    }

    #[test]
    fn without_ipv6_what_is_left_will_do() {
        for error in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert!(matches!(or_without_ipv6(Err(error.into()), || Ok(4)), Ok(4)), "{error}");
        }
        assert!(matches!(or_without_ipv6(Ok(6), || Ok(4)), Ok(6)));
        let in_use = or_without_ipv6(Err(Errno::ADDRINUSE.into()), || Ok(4));
        assert_eq!(in_use.unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_in_use_is_not_shared() {
        let first = open(&HERE, 2).unwrap();
        let taken = first[0].bound().unwrap().internet().unwrap();
        assert_eq!(open(&taken.into(), 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        for listen in [Listen::Everywhere(taken.port()), Listen::Localhost(taken.port())] {
            assert_eq!(open(&listen, 1).unwrap_err().kind(), ErrorKind::AddrInUse, "{listen}");
            assert_eq!(reserve(&listen).unwrap_err().kind(), ErrorKind::AddrInUse, "{listen}");
        }
        drop(first);
        assert!(open(&taken.into(), 1).is_ok());
    }

    #[test]
    fn accepted_connections_inherit_no_delay() {
        let listener = open(&HERE, 1).unwrap().remove(0);
        let _client = Client::connect(listener.bound().unwrap().internet().unwrap()).unwrap();
        // The connection is complete on loopback when `connect` returns.
        let accepted = listener.accept().unwrap().stream;
        assert!(accepted.nodelay().unwrap());
    }

    /// The kernel doubles what it is asked for, for its own bookkeeping; it may grant less.
    #[test]
    fn accepted_connections_inherit_bounded_buffers() {
        let listener = open(&HERE, 1).unwrap().remove(0);
        let _client = Client::connect(listener.bound().unwrap().internet().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().stream;
        let socket = SockRef::from(&accepted);
        assert!(socket.recv_buffer_size().unwrap() <= 2 * RECEIVE_BUFFER_BYTES);
        assert!(socket.send_buffer_size().unwrap() <= 2 * SEND_BUFFER_BYTES);
    }
}
