//! Many keep-alive connections on one thread with one epoll.
//!
//! Without a rate each sends its next turn when every answer to the one before has come, and
//! whatever goes wrong ends the drive. With a rate the load is open: the times of [`crate::pace`]
//! say when each turn is due, and do not wait for the server. A turn whose connection still waits
//! for answers is sent after them and counts from when it was due. What has waited for [`WAIT_MAX`]
//! is given up and counted as never sent, so the backlog of a server that cannot keep up is
//! bounded; what goes wrong is counted by kind, and a connection that has ended is opened again.

use crate::answers;
use crate::connection::{Connection, Failure};
use crate::fault::Fault;
use crate::pace::{Part, Schedule, Timer, Turn};
use crate::scenario::{Extent, Scenario, Traffic};
use crate::tally::{Outcome, Tally};
use crate::usage::ThreadTime;
use mio::{Events, Poll, Registry, Token};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An answer that takes longer does not come.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A turn that its connection has not been free for in this time is given up. Longer than anything
/// that a device would wait, and short enough that a drive ends soon after its last turn was due.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// Between two looks at connections that nothing happens to.
const LOOK: Duration = Duration::from_millis(100);

const TIMER: Token = Token(usize::MAX);

/// What a drive sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The requests.
    pub scenario: Scenario,
    /// How many devices they come from, and events in a batch.
    pub extent: Extent,
    /// Keep-alive connections.
    pub connections: usize,
    /// How long.
    pub duration: Duration,
    /// Requests a second, over all connections; `None` for as many as are answered.
    pub rate: Option<f64>,
}

/// Drives `scenario` for `duration`, as fast as it is answered, and then waits for the answers
/// under way.
///
/// # Errors
///
/// When a connection fails, the server is silent, or an answer is not what it must be.
pub fn drive(
    address: SocketAddr,
    scenario: Scenario,
    connections: usize,
    duration: Duration,
) -> Result<Outcome, String> {
    let extent = Extent::default();
    drive_load(address, &Load { scenario, extent, connections, duration, rate: None })
}

/// The same with whatever load.
///
/// # Errors
///
/// When a connection fails, the server is silent, or an answer is not what it must be.
pub fn drive_load(address: SocketAddr, load: &Load) -> Result<Outcome, String> {
    let generator = Generator::open(address, load, Part::WHOLE)?;
    let tally = generator.run(Instant::now(), &AtomicU64::new(0))?;
    tally.outcome().map_err(|e| format!("{address}: {e}"))
}

/// The connections of one thread, open and about to begin.
#[derive(Debug)]
pub struct Generator {
    poll: Poll,
    open: Vec<Connection>,
    sender: Sender,
}

impl Generator {
    /// Opens the connections of one part of a load: as many as its share of them, at least one.
    ///
    /// # Errors
    ///
    /// When one cannot be opened.
    pub fn open(address: SocketAddr, load: &Load, part: Part) -> Result<Self, String> {
        let fault = |e: std::io::Error| format!("{address}: {e}");
        let poll = Poll::new().map_err(fault)?;
        let of = usize::try_from(part.of).unwrap_or(1);
        let connections = (load.connections / of).max(1);
        let open = (0..connections)
            .map(|number| Connection::open(address, poll.registry(), Token(number)))
            .collect::<Result<_, _>>()
            .map_err(fault)?;
        let registry = poll.registry().try_clone().map_err(fault)?;
        Ok(Self { poll, open, sender: Sender::new(address, load, part, registry)? })
    }

    /// Sends the load, from `start` on, and waits for the answers; `answered` says meanwhile how
    /// many have come.
    ///
    /// # Errors
    ///
    /// When the load has no rate and anything goes wrong, or the kernel refuses what this needs.
    pub fn run(mut self, start: Instant, answered: &AtomicU64) -> Result<Tally, String> {
        let address = self.sender.address;
        let fault = |e: std::io::Error| format!("{address}: {e}");
        let before = ThreadTime::of_this();
        let sender = &mut self.sender;
        sender.begin(start, &mut self.open)?;
        let mut events = Events::with_capacity(self.open.len() + 1);
        while !sender.is_done() {
            match self.poll.poll(&mut events, Some(LOOK)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.map_err(fault)?,
            }
            sender.woken = Instant::now();
            sender.is_over |= sender.woken.duration_since(start) >= sender.load.duration;
            for event in &events {
                match self.open.get_mut(event.token().0) {
                    Some(connection) => sender.turn(event.token().0, connection)?,
                    None => sender.tick(&mut self.open)?,
                }
            }
            sender.look(&mut self.open)?;
            answered.store(sender.tally.answered, Ordering::Relaxed);
        }
        let mut tally = self.sender.tally;
        tally.end(start.elapsed(), ThreadTime::of_this().since(&before));
        Ok(tally)
    }
}

#[derive(Debug)]
struct Sender {
    address: SocketAddr,
    load: Load,
    part: Part,
    registry: Registry,
    traffic: Traffic,
    per_turn: usize,
    chunk: Vec<u8>,
    tally: Tally,
    /// The times, and what wakes up for them; `None` without a rate.
    paced: Option<(Schedule, Timer)>,
    /// Turns sent without a rate.
    turns: u64,
    /// Connections that wait for answers.
    waiting: usize,
    /// When the kernel last said what has happened.
    woken: Instant,
    looked: Instant,
    /// Whether the duration is over.
    is_over: bool,
}

impl Sender {
    fn new(
        address: SocketAddr,
        load: &Load,
        part: Part,
        registry: Registry,
    ) -> Result<Self, String> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(0);
        let now = Instant::now();
        Ok(Self {
            address,
            load: *load,
            part,
            registry,
            traffic: Traffic::of(load.scenario, load.extent, &address.to_string(), now_ms),
            per_turn: load.scenario.requests_per_turn(),
            chunk: vec![0; 64 * 1024],
            tally: Tally::new()?,
            paced: None,
            turns: 0,
            waiting: 0,
            woken: now,
            looked: now,
            is_over: false,
        })
    }

    fn begin(&mut self, start: Instant, open: &mut [Connection]) -> Result<(), String> {
        (self.woken, self.looked) = (start, start);
        let Some(rate) = self.load.rate else {
            return self.send_next_of_all(open);
        };
        let per_turn = f64::from(u32::try_from(self.per_turn).unwrap_or(1));
        let (duration, part) = (self.load.duration, self.part);
        let schedule = Schedule::new(start, rate / per_turn, duration, part, open.len())?;
        let timer = Timer::every(schedule.interval())?;
        timer.register(&self.registry, TIMER).map_err(|e| e.to_string())?;
        self.tally.planned = schedule.planned() * self.requests_per_turn();
        self.paced = Some((schedule, timer));
        Ok(())
    }

    fn requests_per_turn(&self) -> u64 {
        u64::try_from(self.per_turn).unwrap_or(1)
    }

    /// Whether there is nothing to be sent or to be waited for any more.
    fn is_done(&self) -> bool {
        let all_sent = self.paced.as_ref().map_or(self.is_over, |(times, _)| times.left() == 0);
        all_sent && self.waiting == 0
    }

    /// Sends what has become due on connections that wait for nothing.
    fn tick(&mut self, open: &mut [Connection]) -> Result<(), String> {
        let Some((schedule, timer)) = &mut self.paced else { return Ok(()) };
        timer.clear()?;
        for number in schedule.newly_due(self.woken) {
            if let Some(connection) = open.get_mut(number) {
                self.send_next(number, connection)?;
            }
        }
        Ok(())
    }

    /// Now and then: gives up on answers that do not come, and sends what no event led to.
    fn look(&mut self, open: &mut [Connection]) -> Result<(), String> {
        if self.woken.duration_since(self.looked) < LOOK {
            return Ok(());
        }
        self.looked = self.woken;
        for connection in &mut *open {
            let waits = self.woken.saturating_duration_since(connection.sent);
            if connection.awaited > 0 && waits > ANSWER_MAX {
                let why = format!("{}: silent for {ANSWER_MAX:?}", self.address);
                self.fail(connection, (Fault::Silent, why))?;
            }
        }
        self.send_next_of_all(open)
    }

    fn send_next_of_all(&mut self, open: &mut [Connection]) -> Result<(), String> {
        let mut numbered = open.iter_mut().enumerate();
        numbered.try_for_each(|(number, connection)| self.send_next(number, connection))
    }

    /// Sends the next turn of a connection whose answers have come, if there is to be one now.
    fn send_next(&mut self, number: usize, connection: &mut Connection) -> Result<(), String> {
        while connection.awaited == 0 {
            let now = Instant::now();
            let Some(turn) = self.take_due(number, now) else { return Ok(()) };
            let waited = now.saturating_duration_since(turn.due);
            if waited > WAIT_MAX {
                self.tally.unsent += self.requests_per_turn();
                self.tally.latencies.record_all(waited, self.requests_per_turn());
            } else {
                // One that fails at once leaves its connection free for the next.
                self.send(number, connection, turn, now)?;
            }
        }
        Ok(())
    }

    fn take_due(&mut self, number: usize, now: Instant) -> Option<Turn> {
        if let Some((schedule, _)) = &mut self.paced {
            return schedule.take_due(number, now);
        }
        let turn = Turn { number: self.turns, due: now };
        self.turns += 1;
        (!self.is_over).then_some(turn)
    }

    fn send(
        &mut self,
        number: usize,
        connection: &mut Connection,
        turn: Turn,
        now: Instant,
    ) -> Result<(), String> {
        self.tally.lags.record(now.saturating_duration_since(turn.due.max(connection.free_since)));
        self.tally.requests += self.requests_per_turn();
        if self.paced.is_none() {
            self.tally.planned += self.requests_per_turn();
        }
        self.waiting += 1;
        connection.begin(self.per_turn, turn.due, now);
        if !connection.is_open() {
            self.tally.reopened += 1;
            if let Err(failure) = connection.reopen(self.address, &self.registry, Token(number)) {
                return self.fail(connection, failure);
            }
        }
        self.traffic.turn(turn.number, &mut connection.out);
        connection.flush().or_else(|failure| self.fail(connection, failure))
    }

    fn turn(&mut self, number: usize, connection: &mut Connection) -> Result<(), String> {
        if let Err(failure) = self.exchange(connection) {
            self.fail(connection, failure)?;
        }
        self.send_next(number, connection)
    }

    /// Writes what is left of a turn and reads what there is of its answers.
    fn exchange(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        connection.flush()?;
        loop {
            let length = connection.receive(&mut self.chunk)?;
            if length > 0 {
                self.take_answers(connection)?;
            }
            // After a short read the socket is drained.
            if length < self.chunk.len() {
                return Ok(());
            }
        }
    }

    fn take_answers(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let took = connection.asked.elapsed();
        let (mut taken, mut closes) = (0, false);
        let malformed = |why: String| (Fault::Malformed, why);
        while !closes
            && let Some(reply) =
                answers::reply(connection.received.get(taken..).unwrap_or_default())
                    .map_err(malformed)?
        {
            taken += reply.length;
            closes = reply.closes;
            let left = connection.awaited.checked_sub(1);
            connection.awaited =
                left.ok_or_else(|| malformed("more answers than requests".to_owned()))?;
            match reply.accepted() {
                Ok(accepted) => {
                    self.tally.answered += 1;
                    self.tally.accepted += accepted;
                    self.tally.latencies.record(took);
                }
                Err((_, why)) if self.paced.is_none() => return Err((Fault::Refused, why)),
                Err((fault, why)) => self.tally.fail(fault, 1, why),
            }
            if connection.awaited == 0 {
                self.waiting -= 1;
                connection.free_since = self.woken;
            }
        }
        connection.received.drain(..taken);
        if closes {
            let why = "the server closed a connection before its last answer".to_owned();
            return Err((Fault::Closed, why));
        }
        Ok(())
    }

    /// Lets go of a connection, and counts what it owed an answer to.
    fn fail(&mut self, connection: &mut Connection, failure: Failure) -> Result<(), String> {
        let (fault, why) = failure;
        let owed = connection.awaited;
        // Between two turns a connection may end, but nothing can be answered.
        if (self.paced.is_none() && owed > 0) || (fault != Fault::Closed && owed == 0) {
            return Err(why);
        }
        if owed > 0 {
            if fault == Fault::Silent {
                let waited = self.woken.saturating_duration_since(connection.asked);
                self.tally.latencies.record_all(waited, u64::try_from(owed).unwrap_or(1));
            }
            self.tally.fail(fault, owed, why);
            self.waiting -= 1;
            connection.free_since = self.woken;
        }
        connection.close();
        Ok(())
    }
}
