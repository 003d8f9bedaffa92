//! The floor: the least that an HTTP server on epoll can do for a request.
//!
//! One thread, one receive and one send per readiness, heads found with `httparse`, bodies skipped
//! by their Content-Length, one fixed answer. It checks nothing that a real server must check, and
//! is here to be compared with, not to be used: what a server costs beyond it is its own work.

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\n\
    Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 29\r\n\r\n\
    {\"accepted\":1,\"anomalies\":0}\n";

const RECEIVE_BYTES: usize = 256 * 1024;
const LISTENER: Token = Token(usize::MAX);

/// A bare epoll loop with a fixed answer.
#[derive(Debug, Parser)]
struct Options {
    /// A loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

struct Connection {
    stream: TcpStream,
    framing: Framing,
}

/// The state of a connection between two receives.
#[derive(Default)]
struct Framing {
    /// The start of a head whose end has not come yet.
    partial: Vec<u8>,
    /// Bytes of a body that are still to come.
    body_left: usize,
}

/// The buffers of the one thread, lent to each connection in turn.
struct Loop {
    received: Vec<u8>,
    answers: Vec<u8>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if !options.listen.ip().is_loopback() {
        return Err(io::Error::other("the floor serves its own machine only"));
    }
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(options.listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    eprintln!("floor: listening on {}", listener.local_addr()?);
    let mut connections = Slab::new();
    let mut core = Loop { received: vec![0; RECEIVE_BYTES], answers: Vec::new() };
    let mut events = Events::with_capacity(256);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let entry = connections.vacant_entry();
                    let token = Token(entry.key());
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    entry.insert(Connection { stream, framing: Framing::default() });
                }
            } else if let Some(connection) = connections.get_mut(event.token().0) {
                // Whatever goes wrong with a connection ends it.
                if !core.serve(connection).unwrap_or(false) {
                    connections.remove(event.token().0);
                }
            }
        }
    }
}

impl Loop {
    /// One readiness: false when the peer has closed.
    fn serve(&mut self, connection: &mut Connection) -> io::Result<bool> {
        self.answers.clear();
        loop {
            let length = match connection.stream.read(&mut self.received) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let bytes = self.received.get(..length).unwrap_or_default();
            connection.framing.consume(bytes, &mut self.answers)?;
            // After a short read the socket is drained.
            if length < self.received.len() {
                break;
            }
        }
        if !self.answers.is_empty() {
            // Some kilobytes at most, to a peer that waits for them: they always fit.
            connection.stream.write_all(&self.answers)?;
        }
        Ok(true)
    }
}

impl Framing {
    /// Counts the requests that end in `bytes`, one answer each.
    fn consume(&mut self, received: &[u8], answers: &mut Vec<u8>) -> io::Result<()> {
        let mut joined = std::mem::take(&mut self.partial);
        let mut bytes = received;
        if !joined.is_empty() {
            joined.extend_from_slice(received);
            bytes = &joined;
        }
        loop {
            if self.body_left > 0 {
                let here = self.body_left.min(bytes.len());
                bytes = bytes.get(here..).unwrap_or_default();
                self.body_left -= here;
                if self.body_left > 0 {
                    return Ok(());
                }
                answers.extend_from_slice(ANSWER);
            }
            match head(bytes)? {
                Some((length, body_bytes)) => {
                    bytes = bytes.get(length..).unwrap_or_default();
                    self.body_left = body_bytes;
                    if body_bytes == 0 {
                        answers.extend_from_slice(ANSWER);
                    }
                }
                None => {
                    self.partial.extend_from_slice(bytes);
                    return Ok(());
                }
            }
        }
    }
}

/// The length of the head that `bytes` start with, and that of the body behind it.
fn head(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes);
    match parsed.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))? {
        httparse::Status::Complete(length) => {
            let named =
                |name| request.headers.iter().find(move |h| h.name.eq_ignore_ascii_case(name));
            let text = named("Content-Length").and_then(|h| std::str::from_utf8(h.value).ok());
            Ok(Some((length, text.and_then(|t| t.parse().ok()).unwrap_or(0))))
        }
        httparse::Status::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_one_answer_wherever_it_is_cut() {
        let post = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let both = [post, get, post].concat().into_bytes();
        for end in 0..both.len() {
            let (mut framing, mut answers) = (Framing::default(), Vec::new());
            framing.consume(&both[..end], &mut answers).unwrap();
            framing.consume(&both[end..], &mut answers).unwrap();
            assert_eq!(answers.len(), 3 * ANSWER.len(), "cut at byte {end}");
        }
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let end = ANSWER.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        assert_eq!(ANSWER.len() - end - 4, 29);
    }
}
