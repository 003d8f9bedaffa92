//! A core without a kernel: streams in memory, and turns at times that the caller chooses.
//!
//! Tests and counts of instructions or allocations run the code that serves sockets on it, and
//! nothing else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use super::engine::EngineConfig;
use super::event_loop::EventLoop;
use super::network::{Event, Incoming, Network, Readiness, Stream};
use crate::clock::Now;
use crate::http::handler::Handler;
use crate::http::peer::Peer;
use crate::limits::{OUT_BYTES_MAX, RECEIVE_BYTES};

/// Bytes that are copied at once. A longer copy may be a single instruction that is repeated for
/// each byte, and counted as often.
const COPY_BYTES: usize = 1024;

/// A stream in memory, which takes whatever is written.
#[derive(Debug)]
struct MemoryStream {
    /// The bytes that the peer has sent.
    input: Vec<u8>,
    /// The number of those that have been read.
    read: usize,
    /// The bytes that were written.
    output: Vec<u8>,
}

impl MemoryStream {
    /// Returns a stream that does not allocate for what one turn receives.
    fn new() -> Self {
        let [input, output] = [RECEIVE_BYTES, OUT_BYTES_MAX].map(Vec::with_capacity);
        Self { input, read: 0, output }
    }
}

impl Read for MemoryStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.input.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = rest.len().min(buffer.len());
        for (to, from) in buffer.chunks_mut(COPY_BYTES).zip(rest.chunks(COPY_BYTES)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        self.read += bytes;
        Ok(bytes)
    }
}

impl Write for MemoryStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Peer for MemoryStream {
    fn address(&self) -> Option<SocketAddr> {
        Some(PEER)
    }
}

impl Stream for MemoryStream {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&self) {}
}

/// The address of every peer.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A network of streams in memory that wait to be accepted.
#[derive(Debug, Default)]
struct MemoryNetwork {
    incoming: VecDeque<Incoming<MemoryStream>>,
    /// The slot of the stream that was registered last.
    slot: usize,
}

impl Network for MemoryNetwork {
    type Stream = MemoryStream;

    fn accept(&mut self) -> io::Result<Incoming<MemoryStream>> {
        Ok(self.incoming.pop_front().ok_or(ErrorKind::WouldBlock)?)
    }

    fn register(&mut self, _: &mut MemoryStream, slot: usize) -> io::Result<()> {
        self.slot = slot;
        Ok(())
    }

    fn deregister(&mut self, _: &mut MemoryStream) {}

    fn close_listener(&mut self) {}
}

/// One core and its connections, driven turn by turn.
#[derive(Debug)]
pub struct OfflineCore<H: Handler> {
    event_loop: EventLoop<H, MemoryNetwork>,
}

impl<H: Handler> OfflineCore<H> {
    /// Returns a core with this handler and without connections.
    #[must_use]
    pub fn new(handler: H, config: &EngineConfig) -> Self {
        let (network, server) = (MemoryNetwork::default(), config.server_state(1));
        Self { event_loop: EventLoop::new(0, network, None, handler, server) }
    }

    /// Runs a turn in which a client connects, and returns the slot of the connection.
    pub fn connect(&mut self, now: Now) -> usize {
        self.connect_to(false, now)
    }

    /// Runs a turn in which a client connects to where TLS is spoken, with the credentials of the
    /// configuration; returns the slot of the connection.
    pub fn connect_securely(&mut self, now: Now) -> usize {
        self.connect_to(true, now)
    }

    fn connect_to(&mut self, is_secure: bool, now: Now) -> usize {
        let incoming = Incoming::new(MemoryStream::new(), PEER, is_secure);
        self.event_loop.network_mut().incoming.push_back(incoming);
        self.run_turn([Event::Incoming], now, now);
        self.event_loop.network_mut().slot
    }

    /// Runs a turn from `now` to `ended` in which the connection in `slot` receives `input`.
    pub fn receive(&mut self, slot: usize, input: &[u8], now: Now, ended: Now) {
        self.put(slot, input);
        self.run_turn([readable(slot)], now, ended);
    }

    /// Runs a turn from `now` to `ended` in which each of these connections receives something.
    pub fn receive_each(&mut self, inputs: &[(usize, &[u8])], now: Now, ended: Now) {
        inputs.iter().for_each(|(slot, input)| self.put(*slot, input));
        self.run_turn(inputs.iter().map(|(slot, _)| readable(*slot)), now, ended);
    }

    fn put(&mut self, slot: usize, input: &[u8]) {
        if let Some(stream) = self.event_loop.stream_mut(slot) {
            stream.input.clear();
            input.chunks(COPY_BYTES).for_each(|bytes| stream.input.extend_from_slice(bytes));
            stream.read = 0;
            stream.output.clear();
        }
    }

    /// Runs a turn from `now` to `ended` because another thread has answered a request.
    pub fn wake(&mut self, now: Now, ended: Now) {
        self.run_turn([Event::WakeUp], now, ended);
    }

    /// Returns what was sent on the connection in `slot` since it received something; nothing if
    /// the connection is closed.
    pub fn sent(&mut self, slot: usize) -> &[u8] {
        self.event_loop.stream_mut(slot).map_or(&[], |stream| &stream.output)
    }

    fn run_turn(&mut self, events: impl IntoIterator<Item = Event>, now: Now, ended: Now) {
        let _ = self.event_loop.turn(now, events);
        self.event_loop.end_turn(ended);
    }
}

/// Returns the report of a stream that has received something.
fn readable(slot: usize) -> Event {
    Event::Stream(Readiness { slot, readable: true, ..Readiness::default() })
}
