//! The socket of a connection: a stream of the kernel, behind the header of a proxy if it came from
//! one, and with a place among the connections of its peer if those are limited.
//!
//! What a proxy says before the first byte of the client is taken out here, so that TLS and
//! requests see nothing of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::http::peer::Peer;
use crate::network::{Incoming, Stream};
use crate::peer_rules::{PeerPlace, PeerRules};
use crate::proxy_header::{self, ProxyHeader};

/// The bytes that are received at once while a header is waited for.
const CHUNK_BYTES: usize = 1024;

/// A socket.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    /// The origin, if the rules for peers have a use for it.
    origin: Option<Box<Origin>>,
}

/// The origin of a connection.
#[derive(Debug)]
struct Origin {
    rules: PeerRules,
    stage: Stage,
    /// The client that a proxy has named.
    client: Option<SocketAddr>,
    place: Option<PeerPlace>,
}

#[derive(Debug)]
enum Stage {
    /// The header may be on its way; these bytes have come.
    Header(Vec<u8>),
    /// These bytes of the client came with the header, and those from this one on are not read.
    Rest(Vec<u8>, usize),
    /// The kernel has what comes next.
    Open,
}

impl Socket {
    /// Returns what was accepted, by rules for its peer. One that has too many connections is
    /// refused.
    pub fn accepted(incoming: Incoming<TcpStream>, rules: &PeerRules) -> Incoming<Self> {
        let Incoming { stream: tcp, peer, is_secure, .. } = incoming;
        let plain = Incoming::new(Self { tcp, origin: None }, peer, is_secure);
        if rules.are_none() {
            return plain;
        }
        let Self { tcp, .. } = plain.stream;
        let address = tcp.address().map(|address| address.ip());
        let is_proxied = rules.trusts(address);
        let stage = if is_proxied { Stage::Header(Vec::new()) } else { Stage::Open };
        // A proxy's connections are those of its clients.
        let place = if is_proxied { Ok(None) } else { rules.take_place(address) };
        let is_refused = place.is_err();
        let place = place.ok().flatten();
        let origin = Origin { rules: rules.clone(), stage, client: None, place };
        let stream = Self { tcp, origin: Some(Box::new(origin)) };
        Incoming { is_proxied, is_refused, ..Incoming::new(stream, peer, is_secure) }
    }

    /// Returns the stream of the kernel, to be registered.
    pub const fn source(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}

impl Origin {
    /// Reads bytes of the client, behind the header.
    #[cold]
    fn read(&mut self, tcp: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        if let Stage::Header(received) = &mut self.stage {
            let mut received = std::mem::take(received);
            match read_header(tcp, &mut received) {
                Ok(Some((end, client))) => {
                    self.client = client;
                    if let Some(client) = client {
                        let place = self.rules.take_place(Some(client.ip()));
                        self.place = place.map_err(|_| ErrorKind::QuotaExceeded)?;
                    }
                    self.stage = Stage::Rest(received, end);
                }
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.stage = Stage::Header(received);
                    return Err(error);
                }
            }
        }
        let mut copied = 0;
        if let Stage::Rest(received, at) = &mut self.stage {
            let rest = received.get(*at..).unwrap_or_default();
            copied = rest.len().min(out.len());
            out.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            *at += copied;
            if *at < received.len() {
                return Ok(copied);
            }
            self.stage = Stage::Open;
        }
        // A short read says that the socket is drained, so it has to be.
        match out.get_mut(copied..).filter(|room| !room.is_empty()) {
            None => Ok(copied),
            Some(room) => match tcp.read(room) {
                Ok(bytes) => Ok(copied + bytes),
                Err(_) if copied > 0 => Ok(copied),
                Err(error) => Err(error),
            },
        }
    }
}

/// Reads until the header is there, or known to be absent. Returns its length and the client that
/// it names; `None` at the end of the stream.
fn read_header(
    tcp: &mut impl Read,
    received: &mut Vec<u8>,
) -> io::Result<Option<(usize, Option<SocketAddr>)>> {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let bytes = tcp.read(&mut chunk)?;
        if bytes == 0 {
            return Ok(None);
        }
        received.extend(chunk.iter().take(bytes));
        match proxy_header::parse(received) {
            Ok(ProxyHeader::Partial) => {}
            Ok(ProxyHeader::Absent) => return Ok(Some((0, None))),
            Ok(ProxyHeader::Complete { bytes, client }) => return Ok(Some((bytes, client))),
            Err(proxy_header::Malformed) => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

impl Read for Socket {
    #[inline]
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.origin {
            Some(origin) if !matches!(origin.stage, Stage::Open) => origin.read(&mut self.tcp, out),
            _ => self.tcp.read(out),
        }
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

impl Stream for Socket {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.tcp.shutdown_write()
    }

    fn reset_on_close(&self) {
        self.tcp.reset_on_close();
    }
}

impl Stream for TcpStream {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_on_close(&self) {
        // If that fails, the socket is closed all the same.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Peer for Socket {
    fn address(&self) -> Option<SocketAddr> {
        let client = self.origin.as_ref().and_then(|origin| origin.client);
        client.or_else(|| self.tcp.address())
    }
}

impl Peer for TcpStream {
    fn address(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::Networks;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::Arc;

    /// A stream that has come in pieces; behind them nothing is readable, or it ends.
    struct Pieces(VecDeque<Vec<u8>>, bool);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = self.0.pop_front() else {
                return if self.1 { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
            };
            let bytes = piece.len().min(out.len());
            let rest = piece.split_off(bytes);
            out[..bytes].copy_from_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Ok(bytes)
        }
    }

    fn origin(limit: Option<usize>) -> Origin {
        let proxies = Networks::parse("127.0.0.1").ok().map(Arc::new);
        let stage = Stage::Header(Vec::new());
        Origin { rules: PeerRules::new(proxies, limit), stage, client: None, place: None }
    }

    /// Reads all that can be read, so many bytes at once.
    fn read_all(origin: &mut Origin, stream: &mut Pieces, at_once: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut out) = (Vec::new(), vec![0; at_once]);
        loop {
            // As a connection does: then as if nothing special had been.
            let read = match &origin.stage {
                Stage::Open => stream.read(&mut out),
                _ => origin.read(stream, &mut out),
            };
            match read {
                Ok(0) => return Ok(all),
                Ok(bytes) => all.extend(&out[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && stream.0.is_empty() => {
                    return Ok(all);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 443\r\n";
    const BINARY: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x9c\x40\x01\xbb";
    const CLIENT: &str = "192.0.2.1:40000";

    #[test]
    fn a_header_is_taken_out_wherever_it_is_split() {
        let request = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        for header in [HEADER, BINARY] {
            let all = [header, request].concat();
            for split in 0..=all.len() {
                for at_once in [1, 7, 4096] {
                    let (first, second) = all.split_at(split);
                    let pieces = [first.to_vec(), second.to_vec()].into_iter();
                    let pieces = pieces.filter(|piece| !piece.is_empty()).collect();
                    let mut origin = origin(None);
                    let read = read_all(&mut origin, &mut Pieces(pieces, false), at_once).unwrap();
                    assert_eq!(read, request, "at {split}, {at_once} at once");
                    assert_eq!(origin.client, Some(CLIENT.parse().unwrap()));
                }
            }
            // Byte by byte.
            let bytes = all.iter().map(|byte| vec![*byte]).collect();
            assert_eq!(
                read_all(&mut origin(None), &mut Pieces(bytes, false), 64).unwrap(),
                request
            );
        }
    }

    #[test]
    fn without_a_header_all_bytes_are_of_the_client() {
        for sent in [&b"GET / HTTP/1.1\r\n"[..], b"P", b"\r\n\r\nGET /", &[b'x'; 5000]] {
            let mut origin = origin(None);
            let read = read_all(&mut origin, &mut Pieces([sent.to_vec()].into(), true), 100);
            // What may be a start is not handed on before it is known; here it never is.
            let expected = if sent == b"P" { &b""[..] } else { sent };
            assert_eq!((read.unwrap(), origin.client), (expected.to_vec(), None));
        }
    }

    #[test]
    fn a_bad_header_ends_the_connection_and_so_does_a_client_with_too_many() {
        let read = |origin: &mut Origin, sent: &[u8]| {
            read_all(origin, &mut Pieces([sent.to_vec()].into(), false), 100)
                .map_err(|it| it.kind())
        };
        let bad = b"PROXY TCP4 1 2 3 4\r\nGET";
        assert_eq!(read(&mut origin(None), bad), Err(ErrorKind::InvalidData));
        let mut first = origin(Some(1));
        assert_eq!(read(&mut first, HEADER), Ok(Vec::new()));
        let rules = first.rules.clone();
        let again = || Origin { rules: rules.clone(), ..origin(None) };
        assert_eq!(read(&mut again(), BINARY), Err(ErrorKind::QuotaExceeded));
        let other = b"PROXY TCP4 192.0.2.2 198.51.100.1 40000 443\r\n";
        assert_eq!(read(&mut again(), other), Ok(Vec::new()));
        drop(first);
        assert_eq!(read(&mut again(), BINARY), Ok(Vec::new()));
    }

    proptest! {
        /// The pieces in which bytes come and the room for them make no difference.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            header in 0..3_usize,
            cuts in prop::collection::vec(0..300_usize, 0..6),
            at_once in 1..400_usize,
        ) {
            let header: &[u8] = [HEADER, BINARY, b""][header];
            let all = [header, b"GET ", &bytes].concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| all[cut[0]..cut[1]].to_vec());
            let pieces = pieces.filter(|piece| !piece.is_empty()).collect();
            let mut origin = origin(None);
            let read = read_all(&mut origin, &mut Pieces(pieces, false), at_once).unwrap();
            prop_assert_eq!(&read, &all[header.len()..]);
            prop_assert_eq!(origin.client.is_some(), !header.is_empty());
        }
    }
}
