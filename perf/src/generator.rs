//! A closed loop over many keep-alive connections: each sends its next turn when every answer to
//! the one before has come. One thread, one epoll.

use crate::answers;
use crate::scenario::{Scenario, Traffic};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A server that answers nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What one drive did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests sent; each was answered with 202.
    pub requests: u64,
    /// The sum of the answers' `accepted`.
    pub accepted: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    /// Answers still to come.
    awaited: usize,
}

struct Generator {
    traffic: Traffic,
    per_turn: usize,
    chunk: Vec<u8>,
    outcome: Outcome,
}

/// Drives `scenario` for `duration` and then waits for the answers under way.
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
    let fault = |e: std::io::Error| format!("{address}: {e}");
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(0);
    let mut generator = Generator {
        traffic: Traffic::new(scenario, &address.to_string(), now_ms),
        per_turn: scenario.requests_per_turn(),
        chunk: vec![0; 64 * 1024],
        outcome: Outcome::default(),
    };
    let mut poll = Poll::new().map_err(fault)?;
    let mut open = Vec::new();
    for token in 0..connections {
        let connection = connect(address, &poll, Token(token)).map_err(fault)?;
        open.push(connection);
    }
    let mut events = Events::with_capacity(connections);
    let start = Instant::now();
    for connection in &mut open {
        generator.send(connection)?;
    }
    let mut is_over = false;
    while !is_over || open.iter().any(|connection| connection.awaited > 0) {
        poll.poll(&mut events, Some(SILENCE_MAX)).map_err(fault)?;
        if events.is_empty() {
            return Err(format!("{address}: silent for {SILENCE_MAX:?}"));
        }
        is_over = is_over || start.elapsed() >= duration;
        for event in &events {
            if let Some(connection) = open.get_mut(event.token().0) {
                generator.turn(connection, is_over)?;
            }
        }
    }
    generator.outcome.elapsed = start.elapsed();
    Ok(generator.outcome)
}

fn connect(address: SocketAddr, poll: &Poll, token: Token) -> std::io::Result<Connection> {
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, token, interest)?;
    Ok(Connection { stream, out: Vec::new(), written: 0, received: Vec::new(), awaited: 0 })
}

impl Generator {
    fn send(&mut self, connection: &mut Connection) -> Result<(), String> {
        self.traffic.next_turn(&mut connection.out);
        connection.written = 0;
        connection.awaited = self.per_turn;
        self.outcome.requests += u64::try_from(self.per_turn).unwrap_or(0);
        connection.flush()
    }

    fn turn(&mut self, connection: &mut Connection, is_over: bool) -> Result<(), String> {
        connection.flush()?;
        loop {
            let length = connection.receive(&mut self.chunk)?;
            self.take_answers(connection)?;
            let is_answered = connection.awaited == 0 && connection.received.is_empty();
            if is_answered && !is_over {
                self.send(connection)?;
            }
            // After a short read the socket is drained.
            if length < self.chunk.len() {
                return Ok(());
            }
        }
    }

    fn take_answers(&mut self, connection: &mut Connection) -> Result<(), String> {
        let mut taken = 0;
        while let Some(answer) =
            answers::first(connection.received.get(taken..).unwrap_or_default())?
        {
            taken += answer.length;
            self.outcome.accepted += answer.accepted;
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
