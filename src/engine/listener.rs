//! Listening sockets: one per core on the same port, so that accepting needs no lock.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SEND_BUFFER_BYTES;

/// A listening socket that does not block.
pub type Listener = mio::net::TcpListener;

/// Connections that wait in the kernel to be accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Opens `count` listeners on `address`. Port 0 lets the kernel choose one, the same for all.
///
/// # Errors
///
/// The address is in use, is not this machine's, or needs a privilege.
pub fn open(address: SocketAddr, count: usize) -> io::Result<Vec<Listener>> {
    if address.port() != 0 {
        refuse_to_share(address)?;
    }
    let first = bind(address)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        listeners.push(bind(bound)?);
    }
    Ok(listeners)
}

/// Finds out whether somebody listens already: SO_REUSEPORT would let a forgotten instance of this
/// server take a share of the connections, and of every device's window, without a word.
fn refuse_to_share(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections of the process before it.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = bound(address)?;
    socket.set_nonblocking(true)?;
    // Both are inherited by every accepted connection: a second small answer must not wait for the
    // acknowledgement of the first (Nagle against delayed ACK, up to 40 ms).
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.listen(BACKLOG)?;
    Ok(Listener::from_std(socket.into()))
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A port for somebody else to listen on, who shares it by SO_REUSEPORT.
#[derive(Debug)]
pub struct Reserved {
    /// Bound and not listening: no connection comes here.
    _socket: Socket,
    /// Where it is.
    pub address: SocketAddr,
}

/// Reserves `address`. Port 0 lets the kernel choose one.
///
/// # Errors
///
/// The address is in use, is not this machine's, or needs a privilege.
pub fn reserve(address: SocketAddr) -> io::Result<Reserved> {
    if address.port() != 0 {
        refuse_to_share(address)?;
    }
    let socket = bound(address)?;
    let chosen = socket.local_addr()?.as_socket();
    Ok(Reserved { _socket: socket, address: chosen.unwrap_or(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_listeners_share_the_port_that_the_kernel_chose() {
        let listeners = open(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        assert_ne!(port, 0);
        assert!(listeners.iter().all(|l| l.local_addr().unwrap().port() == port));
    }

    #[test]
    fn a_port_in_use_is_not_shared() {
        let first = open(([127, 0, 0, 1], 0).into(), 2).unwrap();
        let taken = first[0].local_addr().unwrap();
        assert_eq!(open(taken, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(open(taken, 1).is_ok());
    }

    #[test]
    fn accepted_connections_inherit_no_delay() {
        let listener = open(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // The connection is complete on loopback when `connect` returns.
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
