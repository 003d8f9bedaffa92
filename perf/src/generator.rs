//! Many keep-alive connections, each of which sends its next turn when every answer to the one
//! before has come: at once, or, where a rate is set, when its time has come too. One thread, one
//! epoll.

use crate::answers;
use crate::latency::{Latencies, Latency};
use crate::pace::Pace;
use crate::scenario::{Scenario, Traffic};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A server that answers nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(10);

const TIMER: Token = Token(usize::MAX);

/// What a drive sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The requests.
    pub scenario: Scenario,
    /// Keep-alive connections.
    pub connections: usize,
    /// How long.
    pub duration: Duration,
    /// Requests a second, over all connections; `None` for as many as are answered.
    pub rate: Option<f64>,
}

/// What one drive did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests sent; each was answered with 202.
    pub requests: u64,
    /// The sum of the answers' `accepted`.
    pub accepted: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From a request to its answer; where a rate is set, from when the request was due.
    pub latency: Latency,
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    /// Answers still to come.
    awaited: usize,
    /// From when its answers are waited for.
    asked: Instant,
}

struct Generator<'t> {
    traffic: &'t mut Traffic,
    per_turn: usize,
    chunk: Vec<u8>,
    outcome: Outcome,
    latencies: Latencies,
    pace: Option<Pace>,
    is_over: bool,
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
    drive_load(address, &Load { scenario, connections, duration, rate: None })
}

/// The same with whatever load.
///
/// # Errors
///
/// When a connection fails, the server is silent, or an answer is not what it must be.
pub fn drive_load(address: SocketAddr, load: &Load) -> Result<Outcome, String> {
    let mut traffic = Traffic::new(load.scenario, &address.to_string(), now_ms());
    drive_traffic(address, load, &mut traffic)
}

/// The same from where `traffic`, which is of the load's scenario, was left.
///
/// # Errors
///
/// When a connection fails, the server is silent, or an answer is not what it must be.
pub fn drive_traffic(
    address: SocketAddr,
    load: &Load,
    traffic: &mut Traffic,
) -> Result<Outcome, String> {
    let fault = |e: std::io::Error| format!("{address}: {e}");
    let mut poll = Poll::new().map_err(fault)?;
    let mut open = Vec::new();
    for number in 0..load.connections {
        open.push(connect(address, &poll, Token(number)).map_err(fault)?);
    }
    let mut events = Events::with_capacity(load.connections + 1);
    let start = Instant::now();
    let mut generator = Generator::new(traffic, load, start)?;
    match &generator.pace {
        Some(pace) => pace.register(poll.registry(), TIMER).map_err(fault)?,
        None => open.iter_mut().try_for_each(|c| generator.send(c, start))?,
    }
    while !generator.is_over || open.iter().any(|connection| connection.awaited > 0) {
        poll.poll(&mut events, Some(SILENCE_MAX)).map_err(fault)?;
        if events.is_empty() {
            return Err(format!("{address}: silent for {SILENCE_MAX:?}"));
        }
        if !generator.is_over && start.elapsed() >= load.duration {
            generator.is_over = true;
            // No more ticks: a server that is silent from now on is found out.
            generator.pace = None;
        }
        for event in &events {
            if let Some(connection) = open.get_mut(event.token().0) {
                generator.turn(event.token().0, connection)?;
            } else {
                generator.tick(&mut open)?;
            }
        }
    }
    generator.outcome.elapsed = start.elapsed();
    generator.outcome.latency = generator.latencies.summary();
    Ok(generator.outcome)
}

fn connect(address: SocketAddr, poll: &Poll, token: Token) -> std::io::Result<Connection> {
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, token, interest)?;
    let asked = Instant::now();
    Ok(Connection { stream, out: Vec::new(), written: 0, received: Vec::new(), awaited: 0, asked })
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(0)
}

impl<'t> Generator<'t> {
    fn new(traffic: &'t mut Traffic, load: &Load, start: Instant) -> Result<Self, String> {
        let per_turn = load.scenario.requests_per_turn();
        let turns = f64::from(u32::try_from(per_turn).unwrap_or(1));
        let pace = load.rate.map(|rate| Pace::new(start, rate / turns, load.connections));
        Ok(Self {
            traffic,
            per_turn,
            chunk: vec![0; 64 * 1024],
            outcome: Outcome::default(),
            latencies: Latencies::new()?,
            pace: pace.transpose()?,
            is_over: false,
        })
    }

    fn send(&mut self, connection: &mut Connection, asked: Instant) -> Result<(), String> {
        self.traffic.next_turn(&mut connection.out);
        connection.written = 0;
        connection.awaited = self.per_turn;
        connection.asked = asked;
        self.outcome.requests += u64::try_from(self.per_turn).unwrap_or(0);
        connection.flush()
    }

    /// Sends the next turn of a connection whose answers have come, if there is to be one now.
    fn send_next(&mut self, number: usize, connection: &mut Connection) -> Result<(), String> {
        if self.is_over || connection.awaited > 0 || !connection.received.is_empty() {
            return Ok(());
        }
        let due = match &mut self.pace {
            None => Some(Instant::now()),
            Some(pace) => pace.take_due(number),
        };
        due.map_or(Ok(()), |due| self.send(connection, due))
    }

    /// Sends what has become due on connections that wait for nothing.
    fn tick(&mut self, open: &mut [Connection]) -> Result<(), String> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        for number in pace.tick()? {
            if let Some(connection) = open.get_mut(number) {
                self.send_next(number, connection)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, number: usize, connection: &mut Connection) -> Result<(), String> {
        connection.flush()?;
        loop {
            let length = connection.receive(&mut self.chunk)?;
            if length > 0 {
                self.take_answers(connection)?;
                self.send_next(number, connection)?;
            }
            // After a short read the socket is drained.
            if length < self.chunk.len() {
                return Ok(());
            }
        }
    }

    fn take_answers(&mut self, connection: &mut Connection) -> Result<(), String> {
        let took = connection.asked.elapsed();
        let mut taken = 0;
        while let Some(answer) =
            answers::first(connection.received.get(taken..).unwrap_or_default())?
        {
            taken += answer.length;
            self.outcome.accepted += answer.accepted;
            self.latencies.record(took);
            connection.awaited =
                connection.awaited.checked_sub(1).ok_or("more answers than requests")?;
        }
        connection.received.drain(..taken);
        Ok(())
    }
}

impl Connection {
    /// Writes until the kernel takes no more.
    fn flush(&mut self) -> Result<(), String> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("sending: {error}")),
            }
        }
        Ok(())
    }

    /// One receive; 0 when nothing had arrived.
    fn receive(&mut self, chunk: &mut [u8]) -> Result<usize, String> {
        match self.stream.read(chunk) {
            Ok(0) => Err("the server closed a connection".to_owned()),
            Ok(length) => {
                self.received.extend(chunk.iter().take(length));
                Ok(length)
            }
            // The kernel says again when there is something.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(format!("receiving: {error}")),
        }
    }
}
