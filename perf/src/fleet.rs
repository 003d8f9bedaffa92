//! Devices that behave: they keep their connections, post at their own pace, and connect anew when
//! an answer says that it was the last or when the server has closed a connection between two
//! requests. Whatever is not answered although they behaved is a fault of the server.
//!
//! One thread, one epoll.

use crate::answers;
use crate::drive::now_ms;
use crate::scenario::{Scenario, Traffic};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// An answer that takes longer does not come.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Between two looks at those that nothing happens to.
const LOOK: Duration = Duration::from_millis(200);

/// Faults that are kept word by word.
const FAULTS_KEPT: usize = 10;

/// How a device posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// One metric several times a second.
    Steady,
    /// One metric every few seconds.
    Rare,
    /// Sixteen requests at once, about once a second.
    Pipelined,
}

impl Habit {
    /// All of them; devices have them in turn.
    pub const ALL: [Self; 3] = [Self::Steady, Self::Rare, Self::Pipelined];

    /// As in the summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Rare => "rare",
            Self::Pipelined => "pipelined",
        }
    }

    const fn scenario(self) -> Scenario {
        match self {
            Self::Steady | Self::Rare => Scenario::Device,
            Self::Pipelined => Scenario::Pipelined,
        }
    }

    /// Milliseconds from the last answer to the next request.
    const fn pause_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::Steady => 100..=300,
            Self::Rare => 2_000..=8_000,
            Self::Pipelined => 500..=1_500,
        }
    }

    fn pause(self) -> Duration {
        Duration::from_millis(fastrand::u64(self.pause_ms()))
    }
}

/// What became of the devices of one habit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Requests sent.
    pub requests: u64,
    /// The sum of the answers' `accepted`; each request has one event.
    pub accepted: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections that ended with an answer that said so.
    pub told: u64,
    /// Connections that the server closed between two requests.
    pub closed_idle: u64,
    /// The age of the oldest connection at its end.
    pub oldest: Duration,
    /// What the server did wrong, and how often.
    pub faults: u64,
    /// The first of them in words.
    pub said: Vec<String>,
}

impl Ledger {
    fn fault(&mut self, text: String) {
        self.faults += 1;
        if self.said.len() < FAULTS_KEPT {
            self.said.push(text);
        }
    }
}

struct Device {
    habit: Habit,
    stream: Option<TcpStream>,
    opened: Instant,
    received: Vec<u8>,
    /// Answers still to come.
    awaited: usize,
    asked: Instant,
    /// When it posts next, once nothing is awaited.
    due: Instant,
}

/// Devices of every habit, and what became of them.
pub struct Fleet {
    address: SocketAddr,
    poll: Poll,
    devices: Vec<Device>,
    traffic: Vec<Traffic>,
    ledgers: Vec<Ledger>,
    age_max: Duration,
    bytes: Vec<u8>,
}

impl Fleet {
    /// So many devices for the server at `address`, which has to end a connection before it is
    /// older than `age_max`. The first post is within the first pause of each.
    ///
    /// # Errors
    ///
    /// When the system grants no epoll.
    pub fn new(address: SocketAddr, devices: usize, age_max: Duration) -> Result<Self, String> {
        let now = Instant::now();
        let authority = address.to_string();
        let traffic = |habit: Habit| Traffic::new(habit.scenario(), &authority, now_ms());
        let device = |habit: &Habit| Device {
            habit: *habit,
            stream: None,
            opened: now,
            received: Vec::new(),
            awaited: 0,
            asked: now,
            due: now + habit.pause(),
        };
        Ok(Self {
            address,
            poll: Poll::new().map_err(|e| e.to_string())?,
            devices: Habit::ALL.iter().cycle().take(devices).map(device).collect(),
            traffic: Habit::ALL.into_iter().map(traffic).collect(),
            ledgers: vec![Ledger::default(); Habit::ALL.len()],
            age_max,
            bytes: Vec::new(),
        })
    }

    /// Posts for `duration`, and then waits for the answers under way.
    ///
    /// # Errors
    ///
    /// When the system refuses to wait for events.
    pub fn run(mut self, duration: Duration) -> Result<Vec<Ledger>, String> {
        let mut events = Events::with_capacity(1024);
        let end = Instant::now() + duration;
        while Instant::now() < end || self.devices.iter().any(|device| device.awaited > 0) {
            let next = self.devices.iter().filter(|device| device.awaited == 0);
            let next = next.map(|device| device.due).min();
            let ahead = next.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, Some(ahead.min(LOOK))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(|e| e.to_string())?,
            }
            for event in &events {
                if let Some(mut turn) = self.turn(event.token().0) {
                    turn.receive();
                }
            }
            let is_over = Instant::now() >= end;
            for number in 0..self.devices.len() {
                if let Some(mut turn) = self.turn(number) {
                    turn.look(is_over);
                }
            }
        }
        Ok(self.ledgers)
    }

    fn turn(&mut self, number: usize) -> Option<Turn<'_>> {
        let device = self.devices.get_mut(number)?;
        let habit = device.habit as usize;
        Some(Turn {
            number,
            address: self.address,
            age_max: self.age_max,
            poll: &self.poll,
            ledger: self.ledgers.get_mut(habit)?,
            traffic: self.traffic.get_mut(habit)?,
            device,
            bytes: &mut self.bytes,
        })
    }
}

/// One device with what it needs to act.
struct Turn<'f> {
    number: usize,
    address: SocketAddr,
    age_max: Duration,
    poll: &'f Poll,
    device: &'f mut Device,
    ledger: &'f mut Ledger,
    traffic: &'f mut Traffic,
    bytes: &'f mut Vec<u8>,
}

impl Turn<'_> {
    /// Looks after the device: posts if it is due, and finds out what has not happened.
    fn look(&mut self, is_over: bool) {
        if self.device.awaited > 0 && self.device.asked.elapsed() > ANSWER_MAX {
            self.fail("no answer in time");
        }
        if self.device.stream.is_some() && self.device.opened.elapsed() > self.age_max {
            self.fail("still open");
        }
        let is_due = self.device.awaited == 0 && self.device.due <= Instant::now();
        if is_due && !is_over {
            // Whether the server has closed the connection is found out before, as clients do.
            self.receive();
            if let Err(error) = self.post() {
                self.fail(&error.to_string());
            }
        }
    }

    fn post(&mut self) -> std::io::Result<()> {
        if self.device.stream.is_none() {
            self.connect()?;
        }
        self.traffic.next_turn(self.bytes);
        let requests = self.device.habit.scenario().requests_per_turn();
        self.device.awaited = requests;
        self.device.asked = Instant::now();
        self.ledger.requests += u64::try_from(requests).unwrap_or(0);
        // Some kilobytes: an idle socket takes them at once.
        self.device.stream.as_mut().map_or(Ok(()), |stream| stream.write_all(self.bytes))
    }

    fn connect(&mut self) -> std::io::Result<()> {
        self.device.opened = Instant::now();
        let stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(self.number), Interest::READABLE)?;
        self.device.stream = Some(stream);
        self.ledger.opened += 1;
        Ok(())
    }

    /// Receives all that has come.
    fn receive(&mut self) {
        let mut chunk = [0; 16 * 1024];
        while let Some(stream) = &mut self.device.stream {
            match stream.read(&mut chunk) {
                Ok(0) => self.closed("closed"),
                Ok(length) => {
                    self.device.received.extend(chunk.iter().take(length));
                    self.take_answers();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.closed(&error.to_string()),
            }
        }
    }

    fn take_answers(&mut self) {
        while !self.device.received.is_empty() {
            let answer = match answers::first(&self.device.received) {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(error) => return self.fail(&error),
            };
            self.device.received.drain(..answer.length);
            self.ledger.accepted += answer.accepted;
            let Some(awaited) = self.device.awaited.checked_sub(1) else {
                return self.fail("an answer to no request");
            };
            self.device.awaited = awaited;
            if awaited == 0 {
                self.device.due = Instant::now() + self.device.habit.pause();
            }
            if answer.closes {
                if awaited > 0 {
                    return self.fail(&format!("{awaited} requests behind the last answer"));
                }
                self.ledger.told += 1;
                return self.end();
            }
        }
    }

    /// The server has closed the connection: it may, if nothing was under way.
    fn closed(&mut self, how: &str) {
        if self.device.awaited > 0 {
            return self.fail(&format!("{how} with a request under way"));
        }
        self.ledger.closed_idle += 1;
        self.end();
    }

    fn fail(&mut self, what: &str) {
        let Device { habit, opened, .. } = self.device;
        let (habit, age) = (habit.name(), opened.elapsed().as_secs_f64());
        let number = self.number;
        self.ledger.fault(format!("device {number} ({habit}), age {age:.3} s: {what}"));
        self.end();
    }

    fn end(&mut self) {
        if self.device.stream.take().is_some() {
            let age = self.device.opened.elapsed();
            self.ledger.oldest = self.ledger.oldest.max(age);
            if age > self.age_max {
                let age = age.as_secs_f64();
                self.ledger.fault(format!("device {}: it lived for {age:.3} s", self.number));
            }
        }
        if self.device.awaited > 0 {
            self.device.due = Instant::now() + self.device.habit.pause();
        }
        self.device.awaited = 0;
        self.device.received.clear();
    }
}
