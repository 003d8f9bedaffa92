//! TLS between a socket and HTTP, without sockets: records in, bytes of HTTP and records out.
//!
//! [`credentials`] makes of files what a server shows and asks for, [`acceptor`] has those that new
//! connections get, and may be given others while it serves. A [`session`] is the TLS of one
//! connection. What is said of a failed handshake is in [`failure`], the names in a certificate are
//! read by [`certificate`], and [`client_verifier`] asks clients for theirs.
//!
//! The protocol is that of the crate `rustls`: TLS 1.2 and 1.3, and of each only what is held to be
//! safe. It is used without buffers of its own, so that an idle connection has none.

pub mod acceptor;
pub mod certificate;
mod client_verifier;
pub mod credentials;
pub mod failure;
pub mod session;
