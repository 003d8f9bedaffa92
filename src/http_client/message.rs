//! Messages of HTTP on a connection of the client: a request sent, an answer received, both whole
//! and within their time.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use httparse::{EMPTY_HEADER, Header};
use socket2::Socket;

use percore::http::chunked::Chunked;

/// The most bytes of an answer; the largest, a page of devices, is an eighth of that.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The most header fields of an answer: proxies add some.
const FIELDS_MAX: usize = 128;

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

/// The head of an answer, as far as it means anything here.
struct Head {
    status: u16,
    retry_after: Option<u64>,
    content_length: Option<usize>,
    is_chunked: bool,
    closes: bool,
}

/// Receives the final answer, and whether it is the last one of its connection.
pub(super) fn receive(socket: &mut Socket, wait: &Wait<'_>) -> io::Result<(Answer, bool)> {
    let mut received = Vec::new();
    let head = loop {
        match head(&received)? {
            // RFC 9110, section 15.2: interim answers precede the final one.
            Some((head, end)) if (100..200).contains(&head.status) => {
                received.drain(..end);
            }
            Some((head, end)) => {
                received.drain(..end);
                break head;
            }
            None if received.len() > HEAD_BYTES_MAX => return Err(malformed()),
            None if more(socket, &mut received, wait)? == 0 => {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            None => {}
        }
    };
    let has_end = head.is_chunked || head.content_length.is_some();
    let body = receive_body(&head, socket, received, wait)?;
    let Head { status, retry_after, closes, .. } = head;
    Ok((Answer { status, retry_after, body }, closes || !has_end))
}

/// Receives the body of an answer of which some bytes have come with the head.
fn receive_body(
    head: &Head,
    socket: &mut Socket,
    mut body: Vec<u8>,
    wait: &Wait<'_>,
) -> io::Result<Vec<u8>> {
    if matches!(head.status, 204 | 304) {
        return Ok(Vec::new());
    }
    let (mut chunked, mut decoded) = (Chunked::default(), 0);
    loop {
        if head.is_chunked {
            let progress = chunked.decode(&mut body, decoded, ANSWER_BYTES_MAX);
            let progress = progress.map_err(|_| malformed())?;
            decoded = progress.decoded;
            body.truncate(decoded);
            if progress.done {
                return Ok(body);
            }
        } else if head.content_length.is_some_and(|length| body.len() >= length) {
            body.truncate(head.content_length.unwrap_or_default());
            return Ok(body);
        }
        if body.len() > ANSWER_BYTES_MAX {
            return Err(malformed());
        }
        if more(socket, &mut body, wait)? == 0 {
            let ends_here = !head.is_chunked && head.content_length.is_none();
            return if ends_here { Ok(body) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// The end of waiting: an exchange has a deadline, however often the server moves a byte.
pub(super) struct Wait<'a> {
    pub(super) deadline: Instant,
    pub(super) is_over: &'a dyn Fn() -> bool,
}

impl Wait<'_> {
    /// Calls a function of a socket until it has moved something, or the wait is over.
    fn until(&self, mut moves: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.deadline || (self.is_over)() {
                return Err(ErrorKind::TimedOut.into());
            }
            match moves() {
                Err(error) if is_pause(&error) => {}
                moved => return moved,
            }
        }
    }
}

/// Returns true if an error only says that nothing has happened yet.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Sends a whole request.
pub(super) fn send(socket: &mut Socket, mut bytes: &[u8], wait: &Wait<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = wait.until(|| socket.write(bytes))?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Appends what comes next; returns its length, which is 0 at the end of the connection.
fn more(socket: &mut Socket, received: &mut Vec<u8>, wait: &Wait<'_>) -> io::Result<usize> {
    let mut buffer = [0; 16 << 10];
    let length = wait.until(|| socket.read(&mut buffer))?;
    received.extend_from_slice(buffer.get(..length).unwrap_or_default());
    Ok(length)
}

/// Returns the head and its end, once it is complete.
fn head(received: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let end = match response.parse(received) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(malformed()),
    };
    let field = |name: &str| {
        let is_it = |field: &&Header<'_>| field.name.eq_ignore_ascii_case(name);
        let found = response.headers.iter().find(is_it)?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let has = |name: &str, token: &str| {
        field(name)
            .is_some_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
    };
    let content_length = match field("content-length").map(str::parse) {
        Some(Err(_)) => return Err(malformed()),
        Some(Ok(length)) => Some(length),
        None => None,
    };
    let head = Head {
        status: response.code.unwrap_or_default(),
        retry_after: field("retry-after").and_then(|seconds| seconds.parse().ok()),
        content_length,
        is_chunked: has("transfer-encoding", "chunked"),
        closes: has("connection", "close") || response.version == Some(0),
    };
    Ok(Some((head, end)))
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the answer is not HTTP")
}
