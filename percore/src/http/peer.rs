//! The peer of a connection, as the log names it.

use std::fmt;
use std::net::SocketAddr;

/// The other end of a connection, to be asked for its address. That is a system call, so that only
/// a line of the log which is due asks; in return nothing is kept for it, and nothing copied.
pub trait Peer: fmt::Debug {
    /// Its address; `None` if it has none, or has gone.
    fn address(&self) -> Option<SocketAddr>;
}

/// A peer as a line of the log shows it.
#[derive(Clone, Copy, Debug)]
pub struct PeerDisplay<'a>(pub &'a dyn Peer);

impl fmt::Display for PeerDisplay<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.address() {
            // A listener for both families has IPv4 addresses in those of IPv6.
            Some(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(out),
            None => out.write_str("unknown"),
        }
    }
}

/// Who is known beforehand, or nobody.
impl Peer for Option<SocketAddr> {
    fn address(&self) -> Option<SocketAddr> {
        *self
    }
}
