//! The second engine: the same handler behind `may_minihttp`, to compare the first one with.
//!
//! `may_minihttp` accepts connections, runs one coroutine for each, reads heads and writes answers;
//! [`exchange`] is what it calls with a request, [`connections`] knows the connections, of which it tells
//! nothing by itself. Work stealing is off, and a coroutine runs where may puts it: at the worker
//! `descriptor % workers`, whose things are [`Desk`]s here, one for each.
//!
//! What `may_minihttp` 0.1.11 lacks is made good here as far as a service can: lengths are checked
//! before it touches a body, an unread body never passes for a request, and connections are ended
//! through a duplicate of their socket. `ARCHITECTURE.md` lists what remains.

mod answer_slot;
mod connections;
mod exchange;
mod fields;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use may_minihttp::HttpServiceFactory;

use super::cores::{EngineConfig, Failed};
use super::event_loop::ServerState;
use super::listener::{Address, Bound, Reserved};
use super::shutdown::{Phase, Shutdown};
use super::timers::TICK_MS;
use crate::clock::{Clock, nanoseconds};
use crate::http::handler::Handler;
use crate::sync::Mutex;
use connections::Connections;
use exchange::Exchange;
use fields::Fields;

/// Stack of a coroutine, in words: 128 KiB, of which a request touches a fifth. may's default is a
/// quarter of that, and an overflow ends the process.
const STACK_WORDS: usize = 16 * 1024;

/// At the end the warden looks this often whether the last connections have gone.
const CLOSING_TICK_MS: u64 = 5;

/// One worker's things. They are behind a lock because a coroutine that has waited may go on at
/// another worker, and because of the warden; hardly ever does anybody wait for it.
struct Desk<H> {
    handler: H,
    clock: Clock,
    /// The body of the answer that is being made.
    body: Vec<u8>,
}

/// What all connections have in common.
struct Shared<H> {
    desks: Box<[Mutex<Desk<H>>]>,
    common: ServerState,
    connections: Connections,
    fields: Fields,
}

/// The running engine.
#[derive(Debug)]
pub struct MayMinihttp {
    bound: Bound,
    workers: usize,
    shutdown: Arc<Shutdown>,
    clock: Clock,
    /// Ends the warden's sleep.
    alarm: Sender<()>,
    warden: JoinHandle<()>,
}

impl MayMinihttp {
    /// Starts to serve at the reserved address, with the handler that `make` makes for each worker.
    /// may's workers are the process's, and never end: a second engine in it has as many as the
    /// first.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start<H: Handler + Send + 'static>(
        reserved: &Reserved,
        setup: &EngineConfig,
        workers: usize,
        mut make: impl FnMut(usize) -> H,
    ) -> io::Result<Self> {
        let desk = |number| {
            Mutex::new(Desk { handler: make(number), clock: setup.clock, body: Vec::new() })
        };
        let desks = (0..workers).map(desk).collect();
        let pinned = setup.placement.cores.is_some();
        may::config().set_workers(workers).set_stack_size(STACK_WORDS).set_worker_pin(pinned);
        let common = setup.common(workers);
        let shutdown = Arc::clone(&common.shutdown);
        let office = Arc::new(Shared {
            desks,
            common,
            connections: Connections::new(),
            fields: Fields::default(),
        });
        for address in reserved.bound.addresses() {
            if let Address::Internet(address) = address {
                // The coroutine that accepts runs on without its handle.
                let _ = ServiceFactory(Arc::clone(&office)).start(*address)?;
            }
        }
        let (alarm, alarmed) = channel();
        let work = move || office.guard(&alarmed);
        let warden = thread::Builder::new().name("warden".to_owned()).spawn(work)?;
        let bound = reserved.bound.clone();
        Ok(Self { bound, workers, shutdown, clock: setup.clock, alarm, warden })
    }

    /// Where it listens.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// How many workers it has.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.workers
    }

    /// Whether it runs, as it does until it is drained.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.warden.is_finished()
    }

    /// Takes it out of service: connections are still taken and answered, each answer the last of
    /// its connection.
    pub fn begin_drain(&self) {
        self.shutdown.begin();
        self.wake();
    }

    /// Ends the connections, those under way when they have been answered, and gives up what is
    /// left after `timeout`. Whoever connects from then on is closed without a word:
    /// `may_minihttp` cannot be told to listen no more.
    ///
    /// # Errors
    ///
    /// The warden failed.
    pub fn drain(self, timeout: Duration) -> Result<(), Failed> {
        let mut clock = self.clock;
        self.shutdown.close(clock.now().mono_ns.saturating_add(nanoseconds(timeout)));
        self.wake();
        self.warden.join().map_err(|_| {
            tracing::error!("the warden panicked");
            Failed(1)
        })
    }

    fn wake(&self) {
        // It fails only when the warden has ended.
        let _ = self.alarm.send(());
    }
}

/// What `may_minihttp` asks for a service whenever it has accepted a connection.
struct ServiceFactory<H>(Arc<Shared<H>>);

impl<H: Handler + Send + 'static> HttpServiceFactory for ServiceFactory<H> {
    type Service = Exchange<H>;

    fn new_service(&self, descriptor: usize) -> Exchange<H> {
        Exchange::new(Arc::clone(&self.0), descriptor)
    }
}

impl<H: Handler> Shared<H> {
    /// The warden's work, until the end: what the loops of the first engine do between requests.
    fn guard(&self, alarmed: &Receiver<()>) {
        loop {
            let tick_ms = if self.is_closing() { CLOSING_TICK_MS } else { TICK_MS };
            // An alarm, the end of a tick or an engine that was let go of: each is worth a look.
            let alarm = alarmed.recv_timeout(Duration::from_millis(tick_ms));
            self.inspect();
            if self.is_over() || alarm == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Old things go, and overdue connections are ended.
    fn inspect(&self) {
        for desk in &self.desks {
            let mut desk = desk.lock();
            let now = desk.clock.now();
            // What is due later is found by a later inspection.
            let _ = desk.handler.end_turn(now);
        }
        self.connections.inspect(self.now_ms(), self.is_closing());
    }

    fn is_closing(&self) -> bool {
        self.common.shutdown.phase() == Phase::Closing
    }

    fn is_over(&self) -> bool {
        let late = || self.now_ms() >= self.common.shutdown.deadline_ns() / 1_000_000;
        self.is_closing() && (self.connections.is_empty() || late())
    }

    fn now_ms(&self) -> u64 {
        let mut clock = self.common.clock;
        clock.now().mono_ms()
    }
}

impl<H> fmt::Debug for Shared<H> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Shared").field("desks", &self.desks.len()).finish_non_exhaustive()
    }
}
