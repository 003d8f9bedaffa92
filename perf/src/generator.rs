//! Many keep-alive connections on one thread with one epoll.
//!
//! Without a rate each sends its next turn when every answer to the one before has come, and
//! whatever goes wrong ends the drive. With a rate the load is open: the times of [`crate::pace`]
//! say when each turn is due, and do not wait for the server. A turn whose connection still waits
//! for answers is sent after them and counts from when it was due. What has waited for
//! [`crate::sender::WAIT_MAX`] is given up and counted as never sent, so the backlog of a server
//! that cannot keep up is bounded; what goes wrong is counted by kind, and a connection that has
//! ended is opened again.

use crate::connection::Connection;
use crate::pace::Part;
use crate::scenario::{Extent, Scenario, Traffic};
use crate::sender::{LOOK, Sender};
use crate::tally::{Outcome, Tally};
use crate::usage::ThreadTime;
use mio::{Events, Poll, Token};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

impl Load {
    /// Its requests for the server at `address`, with timestamps of the minutes before now.
    #[must_use]
    pub fn traffic(&self, address: SocketAddr) -> Traffic {
        Traffic::of(self.scenario, self.extent, &address.to_string(), now_ms())
    }
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
    drive_traffic(address, load, &mut load.traffic(address))
}

/// The same from where `traffic`, which is of the load's scenario and extent, was left.
///
/// # Errors
///
/// When a connection fails, the server is silent, or an answer is not what it must be.
pub fn drive_traffic(
    address: SocketAddr,
    load: &Load,
    traffic: &mut Traffic,
) -> Result<Outcome, String> {
    let generator = Generator::open(address, load, Part::WHOLE, traffic)?;
    let tally = generator.run(Instant::now(), &AtomicU64::new(0))?;
    tally.outcome().map_err(|e| format!("{address}: {e}"))
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(0)
}

/// The connections of one thread, open and about to begin.
#[derive(Debug)]
pub struct Generator<'t> {
    poll: Poll,
    open: Vec<Connection>,
    sender: Sender<'t>,
}

impl<'t> Generator<'t> {
    /// Opens the connections of one part of a load: as many as its share of them, at least one.
    /// Turns count from where `traffic` is, of which each part has its own.
    ///
    /// # Errors
    ///
    /// When one cannot be opened.
    pub fn open(
        address: SocketAddr,
        load: &Load,
        part: Part,
        traffic: &'t mut Traffic,
    ) -> Result<Self, String> {
        let fault = |e: std::io::Error| format!("{address}: {e}");
        let poll = Poll::new().map_err(fault)?;
        let of = usize::try_from(part.of).unwrap_or(1);
        let connections = (load.connections / of).max(1);
        let open = (0..connections)
            .map(|number| Connection::open(address, poll.registry(), Token(number)))
            .collect::<Result<_, _>>()
            .map_err(fault)?;
        let registry = poll.registry().try_clone().map_err(fault)?;
        Ok(Self { poll, open, sender: Sender::new(address, load, part, traffic, registry)? })
    }

    /// Sends the load, from `start` on, and waits for the answers; `answered` says meanwhile how
    /// many have come.
    ///
    /// # Errors
    ///
    /// When the load has no rate and anything goes wrong, or the kernel refuses what this needs.
    pub fn run(mut self, start: Instant, answered: &AtomicU64) -> Result<Tally, String> {
        let fault = |e: std::io::Error| format!("waiting for events: {e}");
        let before = ThreadTime::of_this();
        let sender = &mut self.sender;
        sender.begin(start, &mut self.open)?;
        let mut events = Events::with_capacity(self.open.len() + 1);
        while !sender.is_done() {
            match self.poll.poll(&mut events, Some(LOOK)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.map_err(fault)?,
            }
            sender.wake(start);
            for event in &events {
                match self.open.get_mut(event.token().0) {
                    Some(connection) => sender.turn(event.token().0, connection)?,
                    None => sender.tick(&mut self.open)?,
                }
            }
            sender.look(&mut self.open)?;
            answered.store(sender.answered(), Ordering::Relaxed);
        }
        let mut tally = self.sender.end();
        tally.end(start.elapsed(), ThreadTime::of_this().since(&before));
        Ok(tally)
    }
}
