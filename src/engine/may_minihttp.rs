//! The second engine: the same handler behind `may_minihttp`, to compare the first one with.
//!
//! `may_minihttp` accepts connections, runs one coroutine for each, reads heads and writes answers;
//! [`exchange`] is what it calls with a request, [`peers`] knows the connections, of which it tells
//! nothing by itself. Work stealing is off, and a coroutine runs where may puts it: at the worker
//! `descriptor % workers`, whose things are [`Desk`]s here, one for each.
//!
//! What `may_minihttp` 0.1.11 lacks is made good here as far as a service can: lengths are checked
//! before it touches a body, an unread body never passes for a request, and connections are ended
//! through a duplicate of their socket. `ARCHITECTURE.md` lists what remains.

mod exchange;
mod fields;
mod letterbox;
mod peers;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use may_minihttp::HttpServiceFactory;

use super::drain::Phase;
use super::listener;
use super::meter::Meter;
use super::percore::Common;
use super::timers::TICK_MS;
use crate::clock::Clock;
use crate::http::handler::Handler;
use crate::sync::Mutex;
use exchange::Exchange;
use fields::Fields;
use peers::Peers;

/// Stack of a coroutine, in words: 128 KiB, of which a request touches a fifth. may's default is a
/// quarter of that, and an overflow ends the process.
const STACK_WORDS: usize = 16 * 1024;

/// One worker's things. They are behind a lock because a coroutine that has waited may go on at
/// another worker, and because of the warden; hardly ever does anybody wait for it.
struct Desk<H> {
    handler: H,
    meter: Meter,
    clock: Clock,
    /// The body of the answer that is being made.
    body: Vec<u8>,
}

/// What all connections have in common.
struct Office<H> {
    desks: Box<[Mutex<Desk<H>>]>,
    common: Common,
    peers: Peers,
    fields: Fields,
}

/// The running engine.
#[derive(Debug)]
pub struct MayMinihttp {
    address: SocketAddr,
    /// Dropped to end the warden's sleep.
    alarm: Sender<()>,
    warden: JoinHandle<()>,
}

impl MayMinihttp {
    /// Starts to serve on `address`. may's workers are as many as `staff`, pinned one a core or not
    /// at all. They are the process's: a second engine in it has as many as the first, and they
    /// never end.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the system grants no thread.
    pub fn start<H: Handler + Send + 'static>(
        address: SocketAddr,
        staff: impl IntoIterator<Item = (H, Meter)>,
        pinned: bool,
        common: Common,
    ) -> io::Result<Self> {
        let desk = |(handler, meter)| {
            let clock = common.clock;
            Mutex::new(Desk { handler, meter, clock, body: Vec::new() })
        };
        let desks: Box<[_]> = staff.into_iter().map(desk).collect();
        may::config().set_workers(desks.len()).set_stack_size(STACK_WORDS).set_worker_pin(pinned);
        let peers = Peers::new();
        let office = Arc::new(Office { desks, common, peers, fields: Fields::default() });
        // Bound, so that the port is known, and never listened on: that is may's part.
        let reserved = listener::reserve(address)?;
        let address = reserved.address;
        // Dropping the handle lets the accepting coroutine run on.
        let _ = Reception(Arc::clone(&office)).start(address)?;
        let (alarm, sleep) = channel();
        let work = move || {
            while !office.is_over() {
                match sleep.recv_timeout(Duration::from_millis(TICK_MS)) {
                    Err(RecvTimeoutError::Timeout) | Ok(()) => office.inspect(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        let warden = thread::Builder::new().name("warden".into()).spawn(work)?;
        Ok(Self { address, alarm, warden })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.warden.is_finished()
    }

    /// Looks at the phase at once.
    pub fn wake(&self) {
        // It fails only when the warden has ended.
        let _ = self.alarm.send(());
    }

    /// Waits until every connection has ended, or the drain's deadline has passed; `false` if its
    /// thread failed. Whoever connects after that is closed without a word: `may_minihttp` cannot
    /// be told to stop listening.
    #[must_use]
    pub fn join(self) -> bool {
        self.warden.join().is_ok()
    }
}

/// What `may_minihttp` asks for a service whenever it has accepted a connection.
struct Reception<H>(Arc<Office<H>>);

impl<H: Handler + Send + 'static> HttpServiceFactory for Reception<H> {
    type Service = Exchange<H>;

    fn new_service(&self, descriptor: usize) -> Exchange<H> {
        Exchange::new(Arc::clone(&self.0), descriptor)
    }
}

impl<H: Handler> Office<H> {
    /// The time of a thread that is no worker.
    fn now_ms(&self) -> u64 {
        let mut clock = self.common.clock;
        clock.now().mono_ms()
    }

    /// What workers of the first engine do between requests: old things go, and overdue connections
    /// are ended.
    fn inspect(&self) {
        for desk in &self.desks {
            let mut desk = desk.lock();
            let now = desk.clock.now();
            // What is due later is found by the next inspection.
            let _ = desk.handler.end_turn(now);
        }
        let closing = self.common.drain.phase() == Phase::Closing;
        self.peers.inspect(self.now_ms(), closing);
    }

    fn is_over(&self) -> bool {
        let late = || self.now_ms() >= self.common.drain.deadline_ns() / 1_000_000;
        self.common.drain.phase() == Phase::Closing && (self.peers.is_empty() || late())
    }
}

impl<H> fmt::Debug for Office<H> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Office").field("desks", &self.desks.len()).finish_non_exhaustive()
    }
}
