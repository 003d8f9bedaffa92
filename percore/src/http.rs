//! HTTP/1.1 without sockets: bytes in, requests out; responses in, bytes out.
//!
//! In the order in which data flows: [`intake`] finds whole requests in what a connection has
//! received, by way of [`heads`] that were seen before, `head`, `target`, [`framing`] and
//! [`chunked`]; a [`handler`] answers each [`request`] with a [`response`], errors as a
//! [`problem`]; [`content_coding`] inflates bodies, [`accept_encoding`] compresses them, and
//! [`uri`] knows what hosts and paths may be.
//! Framing follows RFC 9112. What is ambiguous is refused: a guess here is a smuggled request at
//! the proxy in front of us.

pub mod accept_encoding;
pub mod chunked;
pub mod content_coding;
pub mod date;
pub mod framing;
pub mod handler;
mod head;
pub mod head_cache;
pub mod headers;
pub mod peer;
pub mod problem;
pub mod request;
pub mod request_error;
pub mod request_reader;
pub mod response;
pub mod status;
mod target;
pub mod uri;
