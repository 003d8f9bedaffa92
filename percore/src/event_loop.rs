//! The default engine: one thread per core, each with its own listener, epoll and connections.
//!
//! A turn takes what the kernel has ready, serves each connection once, takes in newcomers and
//! later answers, ends what is overdue, and sleeps again. Nothing in it blocks or waits.
//! [`accept`] is how connections come, [`closing`] how the core itself goes.

mod accept;
mod drain;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::balancer::Balancer;
use super::buffer_pool::BufferPool;
use super::connection::Connection;
use super::connection_table::{AdmissionControl, ConnectionTable};
use super::context::{AfterServe, ConnectionLimits, CoreContext, Desk};
use super::inbox::{Inbox, Message};
use super::listener::Listener;
use super::shutdown::{Phase, Shutdown};
use super::timers::Timers;
use super::turn_clock::TurnClock;
use crate::clock::{Clock, Now};
use crate::http::handler::{AnswerSink, ConnectionId, Handler};
use crate::http::response::Encoder;
use crate::limits::{EVENTS_PER_TURN, SHARE_BYTES_MAX};
use crate::observer::CloseReason;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// An observer that wants another turn gets one after this long.
const WANTED_TURN_NS: u64 = 1_000_000;

/// What the cores of one server have in common.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// Deadlines and sizes.
    pub patience: ConnectionLimits,
    /// A connection's age, in milliseconds; `u64::MAX` for no limit.
    pub connection_age_ms: u64,
    /// All connections.
    pub population: Arc<AdmissionControl>,
    /// All cores.
    pub crew: Arc<Balancer>,
    /// The end.
    pub shutdown: Arc<Shutdown>,
    /// The time.
    pub clock: Clock,
}

impl ServerState {
    /// When a connection that comes now is too old. The age is spread by ±10 %, so that those that
    /// came together do not leave together.
    #[must_use]
    pub fn age_limit_ms(&self, now_ms: u64) -> u64 {
        let age_ms = self.connection_age_ms;
        let spread_ms = age_ms / 10;
        if age_ms == u64::MAX {
            return u64::MAX;
        }
        now_ms + age_ms - spread_ms + fastrand::u64(0..=2 * spread_ms)
    }
}

/// One core, before its thread runs.
#[derive(Debug)]
pub struct EventLoop<H> {
    number: usize,
    poll: Poll,
    listener: Option<Listener>,
    inbox: Arc<Inbox>,
    desk: Desk,
    common: ServerState,
    handler: H,
    turn_clock: TurnClock,
    connections: ConnectionTable,
    timers: Timers,
    buffers: BufferPool,
    encoder: Encoder,
    /// ConnectionTable to be served in the next turn whatever the kernel says.
    again: VecDeque<ConnectionId>,
    /// ConnectionTable with a request that may take long, for which a turn had no share left: each turn
    /// has one share for them, whoever and however many they are.
    costly: VecDeque<ConnectionId>,
    /// What the requests of this turn have cost.
    cost: usize,
    /// Whether the turn has no share left for those that may take long.
    spent: bool,
    accepting: bool,
    accept_retry_ms: Option<u64>,
    phase: Phase,
    /// At the end: until when newcomers may still ask.
    newcomers_until_ms: Option<u64>,
    now: Now,
    due: Vec<usize>,
    posted: Vec<Message>,
}

impl<H: Handler> EventLoop<H> {
    /// Core `number`, which accepts from `listener`.
    ///
    /// # Errors
    ///
    /// The kernel grants no epoll or event descriptor.
    pub fn new(
        number: usize,
        mut listener: Listener,
        handler: H,
        common: ServerState,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let inbox = Arc::new(Inbox::new(poll.registry(), WAKER)?);
        let mailbox: Arc<dyn AnswerSink> = Arc::clone(&inbox) as _;
        let mut clock = common.clock;
        Ok(Self {
            number,
            poll,
            listener: Some(listener),
            inbox,
            desk: Desk { mailbox, patience: common.patience },
            handler,
            turn_clock: TurnClock::default(),
            connections: ConnectionTable::new(Arc::clone(&common.population)),
            timers: Timers::new(),
            buffers: BufferPool::new(common.patience.body_bytes_max),
            encoder: Encoder::default(),
            again: VecDeque::new(),
            costly: VecDeque::new(),
            cost: 0,
            spent: false,
            accepting: false,
            accept_retry_ms: None,
            phase: Phase::Serving,
            newcomers_until_ms: None,
            now: clock.now(),
            due: Vec::new(),
            posted: Vec::new(),
            common,
        })
    }

    /// The inbox, to wake the core from elsewhere.
    #[must_use]
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Serves until it is drained.
    ///
    /// # Errors
    ///
    /// The kernel refuses to wait for events.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut wake_at_ns = self.handler.end_turn(self.now);
        loop {
            let timeout = self.sleep(wake_at_ns);
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(error),
            }
            self.now = self.common.clock.now();
            self.turn_clock.begin(self.now.mono_ns);
            self.turn(&events);
            wake_at_ns = self.handler.end_turn(self.now);
            // The second and last reading of a turn: answers and the time at work end here.
            self.now = self.common.clock.now();
            self.end_turn();
            if self.is_done() {
                self.close_all();
                return Ok(());
            }
        }
    }

    fn end_turn(&mut self) {
        let (began_ns, ended_ns) = (self.turn_clock.began_ns(), self.now.mono_ns);
        self.turn_clock.end(ended_ns);
        self.handler.turn_ended(began_ns, ended_ns);
    }

    fn turn(&mut self, events: &Events) {
        self.enter_phase();
        // Only those that were left over before this turn: whoever is queued now waits for the
        // next, so that every connection gets its share.
        let left_over = self.again.len();
        // Whoever has waited for its share has it before those who come now.
        (self.cost, self.spent) = (0, !self.costly.is_empty());
        for event in events {
            match event.token() {
                LISTENER => self.accepting = true,
                WAKER => {}
                Token(slot) => self.serve_event(slot, event),
            }
        }
        for _ in 0..left_over {
            if let Some(id) = self.again.pop_front() {
                self.serve_queued(id);
            }
        }
        self.serve_costly();
        self.deliver_posted();
        self.accept();
        self.expire();
        self.dismiss_newcomers();
    }

    /// How long the kernel may keep the core asleep.
    fn sleep(&self, wake_at_ns: Option<u64>) -> Option<Duration> {
        if !(self.again.is_empty() && self.costly.is_empty())
            || (self.accepting && self.accept_retry_ms.is_none())
        {
            return Some(Duration::ZERO);
        }
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let closing = (self.phase == Phase::Closing).then(|| self.common.shutdown.deadline_ns());
        let wake_at_ns = [
            wake_at_ns,
            self.timers.next_ms().map(ns),
            self.accept_retry_ms.map(ns),
            self.handler.wants_turn().then(|| self.now.mono_ns.saturating_add(WANTED_TURN_NS)),
            self.newcomers_until_ms.map(ns),
            closing,
        ];
        let first = wake_at_ns.into_iter().flatten().min()?;
        Some(Duration::from_nanos(first.saturating_sub(self.now.mono_ns)))
    }

    fn is_done(&self) -> bool {
        let over = self.now.mono_ns >= self.common.shutdown.deadline_ns();
        // A newcomer may be on its way from a core that has not seen the end yet.
        let gone = || self.connections.is_empty() && self.inbox.close_if_empty();
        self.phase == Phase::Closing && (over || gone())
    }

    fn serve_event(&mut self, slot: usize, event: &Event) {
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        let ends = event.is_read_closed() || event.is_error();
        connection.note(event.is_readable() || ends, ends);
        if event.is_error() || event.is_write_closed() {
            connection.note_gone();
        }
        // One in the queue has its place in this turn or the next already.
        if !connection.queued {
            self.serve(slot);
        }
    }

    /// Serves those who have waited longest with something costly, until the turn has had its share
    /// of that; at least one of them.
    fn serve_costly(&mut self) {
        let waiting = self.costly.len();
        if waiting > 0 {
            (self.cost, self.spent) = (0, false);
        }
        for _ in 0..waiting {
            if self.spent {
                break;
            }
            if let Some(id) = self.costly.pop_front() {
                self.serve_queued(id);
            }
        }
        // Others that wait have it in the next turn, before those who come now.
        self.spent |= !self.costly.is_empty();
    }

    fn serve_queued(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.of(id) {
            connection.queued = false;
            self.serve(id.slot);
        }
    }

    fn serve(&mut self, slot: usize) {
        self.with(slot, Connection::serve);
    }

    /// Lends the core's things to a connection, and does what it says afterwards.
    fn with(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Connection, &mut CoreContext<'_, H>) -> AfterServe,
    ) {
        self.lend(slot, act);
        if self.buffers.are_exhausted() {
            self.relieve();
        }
    }

    /// Where more is lent than may be: whoever holds most, and has for longest, goes. Not whoever
    /// grows next, or some that hold on to what they have would keep all others out.
    #[cold]
    fn relieve(&mut self) {
        for (_, id) in self.connections.burdens(self.now.mono_ms()).into_iter().rev() {
            if self.buffers.are_relieved() {
                return;
            }
            self.lend(id.slot, Connection::evict);
        }
    }

    fn lend(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Connection, &mut CoreContext<'_, H>) -> AfterServe,
    ) {
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        let mut lent = CoreContext {
            handler: &mut self.handler,
            desk: &self.desk,
            buffers: &mut self.buffers,
            encoder: &mut self.encoder,
            now: self.now,
            readable_ns: self.turn_clock.readable_ns(),
            draining: self.phase >= Phase::Draining,
            spent: self.spent,
            cost: 0,
        };
        let next = act(connection, &mut lent);
        self.cost += lent.cost;
        self.spent |= self.cost >= SHARE_BYTES_MAX;
        if next == AfterServe::Again && !connection.queued {
            connection.queued = true;
            let waits_its_turn = connection.waits_its_turn();
            let queue = if waits_its_turn { &mut self.costly } else { &mut self.again };
            queue.push_back(connection.id());
        }
        match next {
            AfterServe::Close(reason) => self.close(slot, reason),
            AfterServe::Again | AfterServe::Wait => self.set_timer(slot),
        }
    }

    fn set_timer(&mut self, slot: usize) {
        if let Some(connection) = self.connections.at(slot) {
            self.timers.enter(slot, connection.deadline_ms(&self.desk.patience));
        }
    }

    fn close(&mut self, slot: usize, reason: CloseReason) {
        let Some(mut connection) = self.connections.remove(slot) else {
            return;
        };
        connection.give_back(&mut self.buffers);
        // Closing the socket takes it out of epoll as well; a failure here changes nothing.
        let _ = self.poll.registry().deregister(connection.stream_mut());
        self.handler.connection_closed(reason);
        self.common.crew.leave(self.number);
    }

    fn deliver_posted(&mut self) {
        let mut posted = std::mem::take(&mut self.posted);
        self.inbox.take(&mut posted);
        for something in posted.drain(..) {
            match something {
                Message::Answer(request, answer) => {
                    if self.connections.of(request.connection).is_some() {
                        let act = |connection: &mut Connection, lent: &mut CoreContext<'_, H>| {
                            connection.deliver(request, &answer, lent)
                        };
                        self.with(request.connection.slot, act);
                    }
                }
                Message::NewConnection(newcomer) => self.receive(newcomer),
            }
        }
        self.posted = posted;
    }

    fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.fire(self.now.mono_ms(), &mut due);
        for slot in due.drain(..) {
            let Some(connection) = self.connections.at(slot) else {
                continue;
            };
            if connection.deadline_ms(&self.desk.patience) <= self.now.mono_ms() {
                self.with(slot, Connection::expire);
            } else {
                self.set_timer(slot);
            }
        }
        self.due = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cores::EngineConfig;
    use crate::http::handler::{Context, Reply};
    use crate::http::request::Request;
    use crate::http::response::Response;
    use crate::observer::Observer;

    struct Fine;

    impl Observer for Fine {}

    impl Handler for Fine {
        fn handle(&mut self, _: &Request<'_>, _: &Context<'_>, _: &mut Vec<u8>) -> Reply {
            Reply::Now(Response::ok("text/plain", 0))
        }
    }

    #[test]
    fn a_core_whose_listener_fails_for_good_sleeps() {
        let setup = EngineConfig::of(1);
        let listener = Listener::broken();
        let error = listener.accept().unwrap_err();
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "{error}");
        let mut core = EventLoop::new(0, listener, Fine, setup.common(1)).unwrap();
        core.accepting = true;
        core.turn(&Events::with_capacity(1));
        let pause = core.sleep(None).unwrap();
        assert!(pause > Duration::from_millis(50), "{pause:?}");
        // After that it is tried again.
        core.now.mono_ns += pause.as_nanos() as u64;
        core.turn(&Events::with_capacity(1));
        assert!(core.sleep(None).unwrap() > Duration::from_millis(50));
    }
}
