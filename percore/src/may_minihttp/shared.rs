//! The state that all connections of the second engine share, and the reaper's work on it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::connections::Connections;
use super::fields::Fields;
use crate::clock::Clock;
use crate::http::handler::Handler;
use crate::server_state::ServerState;
use crate::shutdown::Phase;
use crate::sync::Mutex;
use crate::timers::TICK_MS;

/// The reaper's pause while the engine closes: how often it looks whether the last connection has
/// gone.
const CLOSING_TICK_MS: u64 = 5;

/// The parts of one worker. They are behind a lock because a coroutine that has waited may go on at
/// another worker, and because of the reaper; it is hardly ever contended.
pub(super) struct Worker<H> {
    pub(super) handler: H,
    pub(super) clock: Clock,
    /// The body of the answer that is being made.
    pub(super) body: Vec<u8>,
}

/// The state that all connections share.
pub(super) struct Shared<H> {
    pub(super) workers: Box<[Mutex<Worker<H>>]>,
    pub(super) server: ServerState,
    pub(super) connections: Connections,
    pub(super) fields: Fields,
}

impl<H: Handler> Shared<H> {
    /// Returns the state of an engine with so many workers, each with a handler of `make`.
    pub(super) fn new(
        server: ServerState,
        workers: usize,
        mut make: impl FnMut(usize) -> H,
    ) -> Self {
        let clock = server.clock;
        let worker = |number| Mutex::new(Worker { handler: make(number), clock, body: Vec::new() });
        let workers = (0..workers).map(worker).collect();
        Self { workers, server, connections: Connections::new(), fields: Fields::default() }
    }

    /// Runs the reaper until the engine has ended: it does what the event loops of the first engine
    /// do between requests.
    pub(super) fn run_reaper(&self, woken: &Receiver<()>) {
        loop {
            let tick_ms = if self.is_closing() { CLOSING_TICK_MS } else { TICK_MS };
            // After a wake-up, after a tick and when the engine was dropped alike, it looks.
            let wake_up = woken.recv_timeout(Duration::from_millis(tick_ms));
            self.reap();
            if self.is_over() || wake_up == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Ends a turn of every handler, and ends the connections that are overdue.
    fn reap(&self) {
        for worker in &self.workers {
            let mut worker = worker.lock();
            let now = worker.clock.now();
            // The next tick comes whether or not the handler asks for one.
            let _ = worker.handler.end_turn(now);
        }
        self.connections.reap(self.now_ms(), self.is_closing());
    }

    fn is_closing(&self) -> bool {
        self.server.shutdown.phase() == Phase::Closing
    }

    fn is_over(&self) -> bool {
        let is_late = || self.now_ms() >= self.server.shutdown.deadline_ns() / 1_000_000;
        self.is_closing() && (self.connections.is_empty() || is_late())
    }

    /// Returns the monotonic time in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        let mut clock = self.server.clock;
        clock.now().mono_ms()
    }
}
