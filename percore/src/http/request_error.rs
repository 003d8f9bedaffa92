//! Errors of requests that cannot be read.

use thiserror::Error;

use super::status::Status;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// The unit in which the texts give limits.
const KIB: usize = 1024;

/// The error of a request that cannot be read. The bytes after it on the connection are not parsed:
/// nobody knows where the next request would begin.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// The request line is not `method SP target SP version`.
    #[error("request line: expected a method, a target and HTTP/1.1")]
    RequestLine,
    /// The target is in none of the four forms, or in one that its method may not use.
    #[error("request target: expected a path that starts with /, percent-encoded as in RFC 3986")]
    Target,
    /// A target of `https` on a connection in clear.
    #[error("request target: https is served over TLS, if at all")]
    Misdirected,
    /// A request in clear where TLS is spoken.
    #[error("request: sent in clear to a port where TLS is spoken; its URL begins with https://")]
    InClear,
    /// A CONNECT: this is an origin server.
    #[error("CONNECT: this server opens no tunnels")]
    Tunnel,
    /// A header field's name or value has a byte that it may not have, or is folded.
    #[error("header field: expected a token, a colon and a value on one line")]
    Field,
    /// A line of the head ends in LF without CR.
    #[error("head: expected CR LF at the end of each line, found LF alone")]
    BareLineFeed,
    /// `Host` is missing or malformed, or stands twice.
    #[error("Host: expected exactly one, with a host and an optional port")]
    Host,
    /// `Content-Length` is not one decimal number, given once.
    #[error("Content-Length: expected one decimal number, given once")]
    ContentLength,
    /// `Transfer-Encoding` beside `Content-Length`, in HTTP/1.0, or misspelt.
    #[error(
        "Transfer-Encoding: expected chunked once, as the last coding, in HTTP/1.1 and \
        without Content-Length"
    )]
    TransferEncoding,
    /// A chunk's size, its line end, or a trailer is malformed.
    #[error(
        "chunked body: expected a size in hexadecimal digits, CR LF, as many \
        bytes, CR LF"
    )]
    Chunk,
    /// The request line is longer than `REQUEST_LINE_BYTES_MAX`.
    #[error("request line: longer than {} KiB", REQUEST_LINE_BYTES_MAX / KIB)]
    TargetTooLong,
    /// The head is longer than `HEAD_BYTES_MAX`, or has more than `HEADERS_MAX` fields.
    #[error("head: longer than {} KiB or more than {HEADERS_MAX} fields", HEAD_BYTES_MAX / KIB)]
    HeadTooLarge,
    /// The trailers are longer than `TRAILER_BYTES_MAX`.
    #[error("trailers: longer than {} KiB", TRAILER_BYTES_MAX / KIB)]
    TrailersTooLarge,
    /// The body is longer than `--max-body`.
    #[error("body: longer than the server takes (--max-body)")]
    BodyTooLarge,
    /// A transfer coding other than `chunked`.
    #[error("Transfer-Encoding: only chunked is known")]
    UnknownTransferCoding,
    /// A method outside RFC 9110 and RFC 5789.
    #[error("method: not known to this server")]
    UnknownMethod,
    /// An expectation other than `100-continue`.
    #[error("Expect: only 100-continue is known")]
    Expectation,
    /// A version of HTTP other than 1.0 and 1.1.
    #[error("HTTP version: expected HTTP/1.1 or HTTP/1.0")]
    Version,
    /// The request did not arrive within `--request-timeout`.
    #[error("request: not received in full in time (--request-timeout)")]
    Timeout,
    /// The server holds as many connections as it may, and none is idle.
    #[error("connections: the server holds as many as it may")]
    ConnectionLimit,
    /// The server holds as many half requests as it may.
    #[error("request: the server holds as many half requests as it may")]
    MemoryLimit,
}

impl RequestError {
    /// Returns the status of the answer.
    pub const fn status(self) -> Status {
        match self {
            Self::RequestLine
            | Self::Target
            | Self::Field
            | Self::BareLineFeed
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Chunk
            | Self::InClear => Status::BadRequest,
            Self::TargetTooLong => Status::UriTooLong,
            Self::HeadTooLarge | Self::TrailersTooLarge => Status::RequestHeaderFieldsTooLarge,
            Self::BodyTooLarge => Status::ContentTooLarge,
            Self::Misdirected => Status::MisdirectedRequest,
            Self::UnknownTransferCoding | Self::UnknownMethod | Self::Tunnel => {
                Status::NotImplemented
            }
            Self::Expectation => Status::ExpectationFailed,
            Self::Version => Status::HttpVersionNotSupported,
            Self::Timeout => Status::RequestTimeout,
            Self::ConnectionLimit | Self::MemoryLimit => Status::ServiceUnavailable,
        }
    }
}

// Their details give them in whole KiB.
const _: () = assert!(REQUEST_LINE_BYTES_MAX.is_multiple_of(KIB));
const _: () = assert!(HEAD_BYTES_MAX.is_multiple_of(KIB));
const _: () = assert!(TRAILER_BYTES_MAX.is_multiple_of(KIB));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_as_they_are() {
        for (error, detail) in [
            (RequestError::TargetTooLong, "request line: longer than 8 KiB"),
            (RequestError::HeadTooLarge, "head: longer than 16 KiB or more than 100 fields"),
            (RequestError::TrailersTooLarge, "trailers: longer than 4 KiB"),
        ] {
            assert_eq!(error.to_string(), detail);
        }
    }
}
