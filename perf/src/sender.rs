//! What one thread of the generator sends and when, and what it makes of the answers.

use crate::answers;
use crate::connection::{Connection, Failure};
use crate::fault::Fault;
use crate::generator::Load;
use crate::pace::{Part, Schedule, Timer, Turn};
use crate::scenario::Traffic;
use crate::tally::Tally;
use mio::{Registry, Token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An answer that takes longer does not come.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A turn that its connection has not been free for in this time is given up. Longer than anything
/// that a device would wait, and short enough that a drive ends soon after its last turn was due.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// Between two looks at connections that nothing happens to.
pub const LOOK: Duration = Duration::from_millis(100);

const TIMER: Token = Token(usize::MAX);

/// The thread's part of a load.
#[derive(Debug)]
pub struct Sender<'t> {
    address: SocketAddr,
    load: Load,
    part: Part,
    registry: Registry,
    traffic: &'t mut Traffic,
    /// The number of the first turn.
    first: u64,
    per_turn: usize,
    chunk: Vec<u8>,
    tally: Tally,
    /// The times, and what wakes up for them; `None` without a rate.
    paced: Option<(Schedule, Timer)>,
    /// Behind the last turn of those that were sent.
    turns: u64,
    /// Connections that wait for answers.
    waiting: usize,
    /// When the kernel last said what has happened.
    woken: Instant,
    looked: Instant,
    /// Whether the duration is over.
    is_over: bool,
}

impl<'t> Sender<'t> {
    /// Turns count from where `traffic` is.
    ///
    /// # Errors
    ///
    /// When the histograms' bounds are wrong, which they are not.
    pub fn new(
        address: SocketAddr,
        load: &Load,
        part: Part,
        traffic: &'t mut Traffic,
        registry: Registry,
    ) -> Result<Self, String> {
        let now = Instant::now();
        Ok(Self {
            address,
            load: *load,
            part,
            registry,
            first: traffic.position(),
            traffic,
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

    /// Sends the first turns, or has an epoll wake up for them when there is a rate.
    ///
    /// # Errors
    ///
    /// When there is no such rate, or, without one, anything goes wrong.
    pub fn begin(&mut self, start: Instant, open: &mut [Connection]) -> Result<(), String> {
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

    /// What became of it. The traffic is left behind the last turn, which need not be the one that
    /// was sent last.
    #[must_use]
    pub fn end(self) -> Tally {
        self.traffic.go_to(self.first + self.turns);
        self.tally
    }

    /// The epoll has said what has happened since `start`.
    pub fn wake(&mut self, start: Instant) {
        self.woken = Instant::now();
        self.is_over |= self.woken.duration_since(start) >= self.load.duration;
    }

    /// Answers so far.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.tally.answered
    }

    fn requests_per_turn(&self) -> u64 {
        u64::try_from(self.per_turn).unwrap_or(1)
    }

    /// Whether there is nothing to be sent or to be waited for any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let all_sent = self.paced.as_ref().map_or(self.is_over, |(times, _)| times.left() == 0);
        all_sent && self.waiting == 0
    }

    /// Sends what has become due on connections that wait for nothing.
    ///
    /// # Errors
    ///
    /// When the load has no rate and anything goes wrong, or the kernel refuses what this needs.
    pub fn tick(&mut self, open: &mut [Connection]) -> Result<(), String> {
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
    ///
    /// # Errors
    ///
    /// When the load has no rate and anything goes wrong, or the kernel refuses what this needs.
    pub fn look(&mut self, open: &mut [Connection]) -> Result<(), String> {
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
        (!self.is_over).then_some(Turn { number: self.turns, due: now })
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
        self.turns = self.turns.max(turn.number + 1);
        self.traffic.go_to(self.first + turn.number);
        self.traffic.next_turn(&mut connection.out);
        connection.flush().or_else(|failure| self.fail(connection, failure))
    }

    /// Takes the answers that have come over a connection, and sends its next turn.
    ///
    /// # Errors
    ///
    /// When the load has no rate and anything goes wrong, or the kernel refuses what this needs.
    pub fn turn(&mut self, number: usize, connection: &mut Connection) -> Result<(), String> {
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
