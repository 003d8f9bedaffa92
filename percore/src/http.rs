//! HTTP/1.1 without sockets: bytes in, requests out; responses in, bytes out.
//!
//! In the order of the data flow: [`request_reader`] finds complete requests in the received bytes,
//! through the [`head_cache`] or, where a head is new, `head`, `target`, [`framing`] and
//! [`chunked`]. A [`handler`] answers each [`request`] with a [`response`], and errors as a
//! [`problem`]. [`content_coding`] decodes bodies, [`accept_encoding`] compresses them, [`accept`]
//! tells which form of an answer is preferred, and [`uri`] holds the grammar of hosts and paths.
//!
//! Framing follows RFC 9112. Ambiguous requests are refused: a guess here is a smuggled request at
//! the proxy in front of us.

pub mod accept;
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
