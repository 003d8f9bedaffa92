//! The default engine: one thread per core, each with its own listener, epoll and connections.
//!
//! A turn takes what the kernel has ready, serves each connection once, takes in newcomers and
//! later answers, ends what is overdue, and sleeps again. Nothing in it blocks or waits.
//! [`arrivals`] is how connections come, [`departure`] how the core itself goes.

mod arrivals;
mod departure;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::buffers::Buffers;
use super::connection::Connection;
use super::connections::{Connections, Population};
use super::crew::Crew;
use super::drain::{Drain, Phase};
use super::lent::{Desk, Lent, Next, Patience};
use super::listener::Listener;
use super::mailbox::{Inbox, Posted};
use super::meter::Meter;
use super::timers::Timers;
use crate::clock::{Clock, Now};
use crate::http::handler::{ConnectionId, Handler, Mailbox};
use crate::http::response::Encoder;
use crate::limits::EVENTS_PER_TURN;
use crate::telemetry::counters::CloseReason;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// What the cores of one server have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// Deadlines and sizes.
    pub patience: Patience,
    /// A connection's age, in milliseconds; `u64::MAX` for no limit.
    pub connection_age_ms: u64,
    /// All connections.
    pub population: Arc<Population>,
    /// All cores.
    pub crew: Arc<Crew>,
    /// The end.
    pub drain: Arc<Drain>,
    /// The time.
    pub clock: Clock,
}

impl Common {
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
pub struct Core<H> {
    number: usize,
    poll: Poll,
    listener: Option<Listener>,
    inbox: Arc<Inbox>,
    desk: Desk,
    common: Common,
    handler: H,
    meter: Meter,
    connections: Connections,
    timers: Timers,
    buffers: Buffers,
    encoder: Encoder,
    /// Connections to be served in the next turn whatever the kernel says.
    again: VecDeque<ConnectionId>,
    accepting: bool,
    accept_retry_ms: Option<u64>,
    phase: Phase,
    /// At the end: until when newcomers may still ask.
    newcomers_until_ms: Option<u64>,
    now: Now,
    due: Vec<usize>,
    posted: Vec<Posted>,
}

impl<H: Handler> Core<H> {
    /// Core `number`, which accepts from `listener`.
    ///
    /// # Errors
    ///
    /// The kernel grants no epoll or event descriptor.
    pub fn new(
        number: usize,
        mut listener: Listener,
        handler: H,
        meter: Meter,
        common: Common,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let inbox = Arc::new(Inbox::new(poll.registry(), WAKER)?);
        let mailbox: Arc<dyn Mailbox> = Arc::clone(&inbox) as _;
        let mut clock = common.clock;
        Ok(Self {
            number,
            poll,
            listener: Some(listener),
            inbox,
            desk: Desk { mailbox, patience: common.patience },
            handler,
            meter,
            connections: Connections::new(Arc::clone(&common.population)),
            timers: Timers::new(),
            buffers: Buffers::new(common.patience.body_bytes_max),
            encoder: Encoder::default(),
            again: VecDeque::new(),
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
            self.meter.begin_turn(self.now.mono_ns);
            self.turn(&events);
            wake_at_ns = self.handler.end_turn(self.now);
            // The second and last reading of a turn: answers and the time at work end here.
            self.now = self.common.clock.now();
            self.meter.end_turn(self.now.mono_ns);
            if self.is_done() {
                self.close_all();
                return Ok(());
            }
        }
    }

    fn turn(&mut self, events: &Events) {
        self.enter_phase();
        // Only those that were left over before this turn: whoever is queued now waits for the
        // next, so that every connection gets its share.
        let left_over = self.again.len();
        for event in events {
            match event.token() {
                LISTENER => self.accepting = true,
                WAKER => {}
                Token(slot) => self.serve_event(slot, event),
            }
        }
        for _ in 0..left_over {
            self.serve_again();
        }
        self.deliver_posted();
        self.accept();
        self.expire();
        self.dismiss_newcomers();
    }

    /// How long the kernel may keep the core asleep.
    fn sleep(&self, wake_at_ns: Option<u64>) -> Option<Duration> {
        if !self.again.is_empty() || (self.accepting && self.accept_retry_ms.is_none()) {
            return Some(Duration::ZERO);
        }
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        let closing = (self.phase == Phase::Closing).then(|| self.common.drain.deadline_ns());
        let wake_at_ns = [
            wake_at_ns,
            self.timers.next_ms().map(ns),
            self.accept_retry_ms.map(ns),
            self.newcomers_until_ms.map(ns),
            closing,
        ];
        let first = wake_at_ns.into_iter().flatten().min()?;
        Some(Duration::from_nanos(first.saturating_sub(self.now.mono_ns)))
    }

    fn is_done(&self) -> bool {
        let over = self.now.mono_ns >= self.common.drain.deadline_ns();
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
        // One in the queue has its place in this turn or the next already.
        if !connection.queued {
            self.serve(slot);
        }
    }

    fn serve_again(&mut self) {
        let Some(id) = self.again.pop_front() else {
            return;
        };
        if let Some(connection) = self.connections.of(id) {
            connection.queued = false;
            self.serve(id.slot);
        }
    }

    fn serve(&mut self, slot: usize) {
        self.with(slot, Connection::serve);
    }

    /// Lends the core's things to a connection, and does what it says afterwards.
    fn with(&mut self, slot: usize, act: impl FnOnce(&mut Connection, &mut Lent<'_, H>) -> Next) {
        let Some(connection) = self.connections.at(slot) else {
            return;
        };
        let mut lent = Lent {
            handler: &mut self.handler,
            desk: &self.desk,
            buffers: &mut self.buffers,
            encoder: &mut self.encoder,
            meter: &mut self.meter,
            now: self.now,
            draining: self.phase >= Phase::Draining,
        };
        let next = act(connection, &mut lent);
        if next == Next::Again && !connection.queued {
            connection.queued = true;
            self.again.push_back(connection.id());
        }
        match next {
            Next::Close(reason) => self.close(slot, reason),
            Next::Again | Next::Wait => self.set_timer(slot),
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
        self.meter.closed(reason);
        self.common.crew.leave(self.number);
    }

    fn deliver_posted(&mut self) {
        let mut posted = std::mem::take(&mut self.posted);
        self.inbox.take(&mut posted);
        for something in posted.drain(..) {
            match something {
                Posted::Answer(request, answer) => {
                    if self.connections.of(request.connection).is_some() {
                        let act = |connection: &mut Connection, lent: &mut Lent<'_, H>| {
                            connection.deliver(request, &answer, lent)
                        };
                        self.with(request.connection.slot, act);
                    }
                }
                Posted::Newcomer(newcomer) => self.receive(newcomer),
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
