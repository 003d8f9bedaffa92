//! The peer of a connection, as a log line names it.

use std::fmt;
use std::net::SocketAddr;

/// The other end of a connection, which can be asked for its address. That is a system call, so
/// only a log line that is due asks; in return, nothing is kept or copied for it.
pub trait Peer: fmt::Debug {
    /// Returns its address; `None` if it has none, or has gone.
    fn address(&self) -> Option<SocketAddr>;
}

/// The display of a peer in a log line.
#[derive(Clone, Copy, Debug)]
pub struct PeerDisplay<'a>(pub &'a dyn Peer);

impl fmt::Display for PeerDisplay<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.address() {
            // A listener for both families has IPv4 addresses in those of IPv6.
            // Of who stands behind a proxy no port is told.
            Some(address) if address.port() == 0 => address.ip().to_canonical().fmt(out),
            Some(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(out),
            None => out.write_str("unknown"),
        }
    }
}

/// A peer whose address is known already, or unknown.
impl Peer for Option<SocketAddr> {
    fn address(&self) -> Option<SocketAddr> {
        *self
    }
}
