//! The event loop of one core, which serves its connections turn by turn.
//!
//! A turn takes the events that are ready, serves each connection at most once, takes messages from
//! other threads, accepts new connections and ends overdue ones; then the core sleeps until the
//! next event. Nothing in a turn blocks or waits. [`accept`] admits connections, [`queues`] share
//! out what is costly, [`drain`] ends the core in order.

mod accept;
mod drain;
mod queues;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Waker};

use super::buffer_pool::BufferPool;
use super::connection::Connection;
use super::connection_table::ConnectionTable;
use super::context::{AfterServe, ConnectionLimits, CoreContext};
use super::epoll::Epoll;
use super::inbox::{Inbox, Message};
use super::server_state::ServerState;
use super::shutdown::Phase;
use super::timers::Timers;
use super::turn_clock::TurnClock;
use crate::clock::Now;
use crate::http::handler::{AnswerSink, ConnectionId, Handler};
use crate::http::response::Encoder;
use crate::limits::{EVENTS_PER_TURN, HANDSHAKE_STEPS_PER_TURN, SHARE_BYTES_MAX};
use crate::network::{Event, Network, Readiness};
use crate::observer::CloseReason;

/// The time after which an observer that wants another turn gets one.
const WANTED_TURN_NS: u64 = 1_000_000;

/// The event loop of one core, before its thread runs it.
#[derive(Debug)]
pub struct EventLoop<H, N: Network> {
    number: usize,
    network: N,
    inbox: Arc<Inbox<N::Stream>>,
    answer_sink: Arc<dyn AnswerSink>,
    limits: ConnectionLimits,
    server: ServerState<N::Stream>,
    handler: H,
    turn_clock: TurnClock,
    connections: ConnectionTable<N::Stream>,
    timers: Timers,
    buffers: BufferPool,
    encoder: Encoder,
    /// Connections that are served in the next turn, whatever the network reports.
    ready_queue: VecDeque<ConnectionId>,
    /// Connections with a request that may take long, for which a turn had no share left. Each turn
    /// has one share for all of them, however many they are.
    costly_queue: VecDeque<ConnectionId>,
    /// Connections with a step of a TLS handshake for which a turn had none left.
    handshake_queue: VecDeque<ConnectionId>,
    /// The steps of TLS handshakes that this turn has left.
    handshake_steps: usize,
    /// The cost of the requests of this turn.
    cost: usize,
    /// True if the turn's share of costly requests is spent.
    share_spent: bool,
    accepting: bool,
    accept_retry_ms: Option<u64>,
    phase: Phase,
    /// While the core closes: the time until which connections may send their first request.
    grace_until_ms: Option<u64>,
    now: Now,
    due: Vec<usize>,
    messages: Vec<Message<N::Stream>>,
}

impl<H: Handler, N: Network> EventLoop<H, N> {
    /// Returns the event loop of core `number`. Other threads end its sleep with `waker`.
    #[must_use]
    pub fn new(
        number: usize,
        network: N,
        waker: Option<Waker>,
        handler: H,
        server: ServerState<N::Stream>,
    ) -> Self {
        let inbox = Arc::new(Inbox::new(waker));
        let mut clock = server.clock;
        Self {
            number,
            network,
            answer_sink: Arc::clone(&inbox) as _,
            inbox,
            limits: server.limits,
            handler,
            turn_clock: TurnClock::default(),
            connections: ConnectionTable::new(Arc::clone(&server.admission_control)),
            timers: Timers::new(),
            buffers: BufferPool::new(server.limits.body_bytes_max),
            encoder: Encoder::default(),
            ready_queue: VecDeque::new(),
            costly_queue: VecDeque::new(),
            handshake_queue: VecDeque::new(),
            handshake_steps: 0,
            cost: 0,
            share_spent: false,
            accepting: false,
            accept_retry_ms: None,
            phase: Phase::Serving,
            grace_until_ms: None,
            now: clock.now(),
            due: Vec::new(),
            messages: Vec::new(),
            server,
        }
    }

    /// Returns the inbox, to wake the core from other threads.
    #[must_use]
    pub fn inbox(&self) -> Arc<Inbox<N::Stream>> {
        Arc::clone(&self.inbox)
    }

    /// Returns the stream of the connection in `slot`.
    pub fn stream_mut(&mut self, slot: usize) -> Option<&mut N::Stream> {
        self.connections.at(slot).map(Connection::stream_mut)
    }

    /// Returns the network.
    pub const fn network_mut(&mut self) -> &mut N {
        &mut self.network
    }

    /// Runs one turn at the time `now`: takes the events, serves each connection at most once, and
    /// returns the time at which the handler wants another turn whatever happens.
    pub fn turn(&mut self, now: Now, events: impl IntoIterator<Item = Event>) -> Option<u64> {
        self.now = now;
        self.turn_clock.begin(now.mono_ns);
        self.follow_phase();
        // Only the connections that were queued before this turn: those that are queued now wait
        // for the next one, so that every connection gets its share.
        let left_over = self.ready_queue.len();
        // Requests that wait for a share get it before those of this turn.
        (self.cost, self.share_spent) = (0, !self.costly_queue.is_empty());
        let has_handshakes = !self.handshake_queue.is_empty();
        self.handshake_steps = if has_handshakes { 0 } else { HANDSHAKE_STEPS_PER_TURN };
        for event in events {
            match event {
                Event::Incoming => self.accepting = true,
                Event::WakeUp => {}
                Event::Stream(readiness) => self.serve_ready(readiness),
            }
        }
        for _ in 0..left_over {
            if let Some(id) = self.ready_queue.pop_front() {
                self.serve_queued(id);
            }
        }
        self.serve_costly();
        if has_handshakes {
            self.serve_handshakes();
        }
        self.receive_messages();
        self.accept();
        self.expire();
        self.close_silent_connections();
        self.handler.end_turn(self.now)
    }

    /// Ends the turn at the time `now`, when its answers have been given to the kernel.
    pub fn end_turn(&mut self, now: Now) {
        self.now = now;
        self.turn_clock.end(now.mono_ns);
        self.handler.turn_ended(self.turn_clock.began_ns(), now.mono_ns);
    }

    /// Returns the time for which the kernel may keep the core asleep; `None` for as long as it
    /// likes.
    fn poll_timeout(&self, wake_at_ns: Option<u64>) -> Option<Duration> {
        if !(self.ready_queue.is_empty()
            && self.costly_queue.is_empty()
            && self.handshake_queue.is_empty())
            || (self.accepting && self.accept_retry_ms.is_none())
        {
            return Some(Duration::ZERO);
        }
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let closing = (self.phase == Phase::Closing).then(|| self.server.shutdown.deadline_ns());
        let wake_at_ns = [
            wake_at_ns,
            self.timers.next_ms().map(ns),
            self.accept_retry_ms.map(ns),
            self.handler.wants_turn().then(|| self.now.mono_ns.saturating_add(WANTED_TURN_NS)),
            self.grace_until_ms.map(ns),
            closing,
        ];
        let first = wake_at_ns.into_iter().flatten().min()?;
        Some(Duration::from_nanos(first.saturating_sub(self.now.mono_ns)))
    }

    fn is_done(&self) -> bool {
        let over = self.now.mono_ns >= self.server.shutdown.deadline_ns();
        // A connection may be on its way from a core that has not seen the shutdown yet.
        let gone = || self.connections.is_empty() && self.inbox.close_if_empty();
        self.phase == Phase::Closing && (over || gone())
    }

    fn serve_ready(&mut self, ready: Readiness) {
        self.apply(ready.slot, |connection, core| {
            connection.set_readiness(ready.readable, ready.read_closed);
            if ready.write_closed {
                connection.mark_peer_gone();
            }
            // A queued connection is served later in this turn, or in the next.
            if connection.queued { AfterServe::Wait } else { connection.serve(core) }
        });
    }

    fn serve(&mut self, slot: usize) {
        self.apply(slot, Connection::serve);
    }

    /// Calls `act` on a connection with the context of this core, and takes the step that it
    /// returns.
    fn apply(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Connection<N::Stream>, &mut CoreContext<'_, H>) -> AfterServe,
    ) {
        self.apply_unbudgeted(slot, act);
        if self.buffers.is_over_budget() {
            self.evict_to_budget();
        }
    }

    /// Evicts the connections that hold most memory, and have for longest, until the pool is within
    /// its budget. To evict the connection that grows next instead would let some that hold on to
    /// theirs keep all others out.
    #[cold]
    fn evict_to_budget(&mut self) {
        for (_, id) in self.connections.by_eviction_weight(self.now.mono_ms()).into_iter().rev() {
            if self.buffers.has_headroom() {
                return;
            }
            self.apply_unbudgeted(id.slot, Connection::evict);
        }
    }

    fn apply_unbudgeted(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Connection<N::Stream>, &mut CoreContext<'_, H>) -> AfterServe,
    ) {
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        let mut core = CoreContext {
            handler: &mut self.handler,
            answer_sink: &self.answer_sink,
            limits: &self.limits,
            buffers: &mut self.buffers,
            encoder: &mut self.encoder,
            now: self.now,
            readable_ns: self.turn_clock.readable_ns(),
            draining: self.phase >= Phase::Draining,
            share_spent: self.share_spent,
            handshake_steps: &mut self.handshake_steps,
            cost: 0,
        };
        let next = act(connection, &mut core);
        self.cost += core.cost;
        self.share_spent |= self.cost >= SHARE_BYTES_MAX;
        if next == AfterServe::Again && !connection.queued {
            connection.queued = true;
            let queue = match connection.is_deferred() {
                false => &mut self.ready_queue,
                true if connection.is_handshaking() => &mut self.handshake_queue,
                true => &mut self.costly_queue,
            };
            queue.push_back(connection.id());
        }
        match next {
            AfterServe::Close(reason) => self.close(slot, reason),
            AfterServe::Again | AfterServe::Wait => {
                self.timers.schedule(slot, connection.deadline_ms(&self.limits));
            }
        }
    }

    fn set_timer(&mut self, slot: usize) {
        if let Some(connection) = self.connections.at(slot) {
            self.timers.schedule(slot, connection.deadline_ms(&self.limits));
        }
    }

    fn close(&mut self, slot: usize, reason: CloseReason) {
        let Some(mut connection) = self.connections.remove(slot) else {
            return;
        };
        match reason {
            CloseReason::PeerLimit => {
                self.handler.peer_limit_reached(connection.stream_mut(), self.now);
            }
            CloseReason::ProxyHeader => {
                self.handler.proxy_header_malformed(connection.stream_mut(), self.now);
            }
            _ => {}
        }
        connection.end_tls(reason, &mut self.handler, self.now);
        connection.release_buffers(&mut self.buffers);
        self.network.deregister(connection.stream_mut());
        self.handler.connection_closed(reason);
        self.server.balancer.remove_connection(self.number);
    }

    fn receive_messages(&mut self) {
        if !self.inbox.take(&mut self.messages) {
            return;
        }
        let mut messages = std::mem::take(&mut self.messages);
        for something in messages.drain(..) {
            match something {
                Message::Answer(request, answer) => {
                    if self.connections.get(request.connection).is_some() {
                        let act =
                            |connection: &mut Connection<N::Stream>,
                             core: &mut CoreContext<'_, H>| {
                                connection.deliver(request, &answer, core)
                            };
                        self.apply(request.connection.slot, act);
                    }
                }
                Message::Connection(connection) => self.admit_or_forward(connection),
            }
        }
        self.messages = messages;
    }

    fn expire(&mut self) {
        if !self.timers.has_due(self.now.mono_ms()) {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        self.timers.fire(self.now.mono_ms(), &mut due);
        for slot in due.drain(..) {
            let Some(connection) = self.connections.at(slot) else {
                continue;
            };
            if connection.deadline_ms(&self.limits) <= self.now.mono_ms() {
                self.apply(slot, Connection::expire);
            } else {
                self.set_timer(slot);
            }
        }
        self.due = due;
    }
}

impl<H: Handler> EventLoop<H, Epoll> {
    /// Serves until the server has shut down.
    ///
    /// # Errors
    ///
    /// The kernel refuses to wait for events.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut wake_at_ns = self.handler.end_turn(self.now);
        loop {
            let timeout = self.poll_timeout(wake_at_ns);
            match self.network.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(error),
            }
            let now = self.server.clock.now();
            wake_at_ns = self.turn(now, events.iter().map(Event::from));
            // The second and last reading of the clock in a turn: the durations of answers and of
            // the turn end here.
            let now = self.server.clock.now();
            self.end_turn(now);
            if self.is_done() {
                self.close_all();
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineConfig;
    use crate::http::handler::{Context, Reply};
    use crate::http::request::Request;
    use crate::http::response::Response;
    use crate::listener::Listener;
    use crate::observer::Observer;
    use crate::peer_rules::PeerRules;

    struct Fine;

    impl Observer for Fine {}

    impl Handler for Fine {
        fn handle(&mut self, _: &Request<'_>, _: &Context<'_>, _: &mut Vec<u8>) -> Reply {
            Reply::Now(Response::ok("text/plain", 0))
        }
    }

    #[test]
    fn a_core_whose_listener_fails_for_good_sleeps() {
        let config = EngineConfig::for_workers(1);
        let listener = Listener::broken();
        let error = listener.accept().unwrap_err();
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "{error}");
        let (epoll, _) = Epoll::new(listener, PeerRules::default()).unwrap();
        let mut core = EventLoop::new(0, epoll, None, Fine, config.server_state(1));
        let now = core.now;
        core.turn(now, [Event::Incoming]);
        let pause = core.poll_timeout(None).unwrap();
        assert!(pause > Duration::from_millis(50), "{pause:?}");
        // After that it is tried again.
        let mono_ns = now.mono_ns + pause.as_nanos() as u64;
        core.turn(Now { mono_ns, ..now }, []);
        assert!(core.poll_timeout(None).unwrap() > Duration::from_millis(50));
    }
}
