//! The open loop: requests are due at fixed times, whether the server is ready for them or not.
//!
//! A latency counts from when the request was due, and is told apart into what the server's side
//! took and what this thread was late itself:
//!
//! ```text
//! due ─ server's ─▶ a connection is free ─ own ─▶ sent ─ server's ─▶ arrived ─ own ─▶ read
//! ```
//!
//! The kernel says when an answer arrived: it stamps each packet that it hands to a socket
//! (`SO_TIMESTAMPNS`), on the core that sent it. So what passes until this thread has its core
//! again, which a Redis or another tenant may hold, is not taken for the server's. A request waits
//! for a connection only while all of them wait for the server.

use crate::cores::run_on;
use crate::generator::{Drive, Generator, HOST, Latency, Load, Shares, now_ms};
use crate::scenario::Scenario;
use crate::traffic::Traffic;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::thread::set_current_timer_slack;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::io::{IoSliceMut, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;

/// The highest rate that one thread keeps up for sure, in requests a second.
pub const RATE_MAX: u32 = 50_000;

/// The time to the first request: longer than the kernel takes to begin with its stamps.
const START_AFTER_NS: u64 = 20_000_000;

/// The longest wait for anything to happen.
const SILENCE_MAX_NS: u64 = 10_000_000_000;

const RECEIVE_BYTES: usize = 64 * 1024;

/// The moments of a request, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Moments {
    due: u64,
    /// When its connection was free, if that was later.
    free: u64,
    sent: u64,
    arrived: u64,
    read: u64,
}

impl Moments {
    /// Returns the nanoseconds that the server's side took, and those that this thread was late.
    const fn shares(self) -> [u64; 2] {
        let Self { due, free, sent, arrived, read } = self;
        let since = u64::saturating_sub;
        [since(free, due) + since(arrived, sent), since(sent, free) + since(read, arrived)]
    }
}

struct Connection {
    socket: TcpStream,
    /// When the answer before arrived.
    free: u64,
    /// When the request under way was due, and when it was sent.
    request: Option<(u64, u64)>,
    received: Vec<u8>,
}

/// Drives a server at a rate, on this core. As many requests as are due are sent, however long that
/// takes.
pub(super) fn drive(
    generator: &Generator,
    address: SocketAddr,
    load: &Load,
    rate: u32,
    position: &mut u64,
) -> Result<Drive, String> {
    if load.scenario == Scenario::Pipelined || load.threads > 1 {
        return Err("a rate is for requests that are not pipelined, by one thread".to_owned());
    }
    let total = u64::from(rate) * load.seconds;
    let mut traffic = Traffic::of(load.scenario, load.dialect, load.devices, HOST, now_ms());
    traffic.skip_to(*position);
    *position += total;
    run_on(generator.core(), || {
        // Without it the kernel adds 50 µs to each wait.
        set_current_timer_slack(NonZeroU64::new(1)).map_err(text)?;
        Loop::new(address, load, traffic, (rate, total))?.run()
    })
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// A loop over the connections.
struct Loop {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Those without a request under way, the one that has been free for longest first.
    free: VecDeque<usize>,
    traffic: Traffic,
    turn: Vec<u8>,
    buffer: Vec<u8>,
    stamps: Vec<u8>,
    start: u64,
    rate: u64,
    total: u64,
    /// Requests that have been sent.
    sent: u64,
    done: Vec<Moments>,
    /// Answers with another status than 2xx, and how many.
    faults: BTreeMap<u16, u64>,
}

impl Loop {
    fn new(
        address: SocketAddr,
        load: &Load,
        traffic: Traffic,
        (rate, total): (u32, u64),
    ) -> Result<Self, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(text)?;
        let mut connections = Vec::new();
        for number in 0..load.connections {
            let socket = TcpStream::connect(address).map_err(text)?;
            socket.set_nodelay(true).map_err(text)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).map_err(text)?;
            let data = epoll::EventData::new_u64(number.into());
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN).map_err(text)?;
            let received = Vec::new();
            connections.push(Connection { socket, free: 0, request: None, received });
        }
        Ok(Self {
            epoll,
            free: (0..connections.len()).collect(),
            connections,
            traffic,
            turn: Vec::new(),
            buffer: vec![0; RECEIVE_BYTES],
            stamps: nix::cmsg_space!(TimeSpec),
            start: now() + START_AFTER_NS,
            rate: rate.into(),
            total,
            sent: 0,
            done: Vec::with_capacity(usize::try_from(total).map_err(text)?),
            faults: BTreeMap::new(),
        })
    }

    fn due(&self) -> u64 {
        self.start + self.sent * 1_000_000_000 / self.rate
    }

    fn run(mut self) -> Result<Drive, String> {
        let used = cpu_seconds();
        let mut events = Vec::with_capacity(self.connections.len());
        while (self.done.len() as u64) < self.total {
            let wait = self.send_due()?;
            events.clear();
            let time = Timespec {
                tv_sec: wait.div_euclid(1_000_000_000).cast_signed(),
                tv_nsec: wait.rem_euclid(1_000_000_000).cast_signed(),
            };
            let found = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&time));
            if found.map_err(text)? == 0 && wait == SILENCE_MAX_NS {
                return Err(format!(
                    "no answer to {} requests",
                    self.sent - self.done.len() as u64
                ));
            }
            for event in &events {
                self.receive(usize::try_from(event.data.u64()).map_err(text)?)?;
            }
        }
        Ok(self.outcome(cpu_seconds() - used))
    }

    /// Sends what is due while connections are free, and returns for how long nothing else is.
    fn send_due(&mut self) -> Result<u64, String> {
        while self.sent < self.total {
            let due = self.due();
            let Some(&number) = self.free.front() else { break };
            let wait = due.saturating_sub(now());
            if wait > 0 {
                return Ok(wait.min(SILENCE_MAX_NS - 1));
            }
            self.free.pop_front();
            self.traffic.next_turn(&mut self.turn);
            let connection = self.connections.get_mut(number).ok_or("no such connection")?;
            let sent = now();
            connection.socket.write_all(&self.turn).map_err(text)?;
            connection.request = Some((due, sent));
            self.sent += 1;
        }
        Ok(SILENCE_MAX_NS)
    }

    /// Receives what has come of an answer.
    fn receive(&mut self, number: usize) -> Result<(), String> {
        let connection = self.connections.get_mut(number).ok_or("no such connection")?;
        let mut into = [IoSliceMut::new(&mut self.buffer)];
        let fd = connection.socket.as_raw_fd();
        let message =
            match recvmsg::<()>(fd, &mut into, Some(&mut self.stamps), MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(()),
                other => other.map_err(text)?,
            };
        let stamp = message.cmsgs().map_err(text)?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(time),
            _ => None,
        });
        let bytes = message.bytes;
        let read = now();
        // Without a stamp, all of it is the server's.
        let arrived = stamp.map_or(read, nanoseconds);
        connection.received.extend(self.buffer.iter().take(bytes));
        if bytes == 0 {
            return Err("the server closed a connection".to_owned());
        }
        let Some(status) = answer(&connection.received)? else { return Ok(()) };
        let (due, sent) = connection.request.take().ok_or("an answer without a request")?;
        connection.received.clear();
        let free = connection.free.max(due);
        connection.free = arrived;
        self.free.push_back(number);
        self.done.push(Moments { due, free, sent, arrived, read });
        if !(200..300).contains(&status) {
            *self.faults.entry(status).or_default() += 1;
        }
        Ok(())
    }

    fn outcome(&self, generator: f64) -> Drive {
        let latency = |of: fn(&Moments) -> u64| Latency::of(self.done.iter().map(of));
        let last = self.done.iter().map(|moments| moments.read).max().unwrap_or(self.start);
        let faults = self.faults.iter().map(|(status, count)| format!("{count} with {status}"));
        Drive {
            requests: self.done.len() as u64,
            seconds: last.saturating_sub(self.start) as f64 / 1e9,
            latency: latency(|moments| moments.read.saturating_sub(moments.due)),
            shares: Some(Shares {
                server: latency(|moments| moments.shares()[0]),
                generator: latency(|moments| moments.shares()[1]),
            }),
            faults: (!self.faults.is_empty()).then(|| faults.collect::<Vec<_>>().join(", ")),
            generator,
        }
    }
}

/// Returns the status of an answer, if all of it has come.
fn answer(bytes: &[u8]) -> Result<Option<u16>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(text)?;
    let (httparse::Status::Complete(head), Some(status)) = (parsed, response.code) else {
        return Ok(None);
    };
    let is_length = |header: &&httparse::Header| header.name.eq_ignore_ascii_case("content-length");
    let length = response.headers.iter().find(is_length);
    let length = match length.map(|header| String::from_utf8_lossy(header.value).parse::<usize>()) {
        Some(length) => length.map_err(text)?,
        None if status == 204 => 0,
        None => return Err("an answer without a length".to_owned()),
    };
    Ok((bytes.len() >= head + length).then_some(status))
}

/// Returns nanoseconds since 1970, by the clock of the kernel's stamps.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    nanoseconds(TimeSpec::new(time.tv_sec, time.tv_nsec))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    let whole = u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000;
    whole + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// Returns the CPU time of this thread so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Devices;
    use crate::traffic::Dialect;
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn a_latency_is_the_servers_share_and_the_generators() {
        let moments = Moments { due: 100, free: 130, sent: 150, arrived: 250, read: 280 };
        assert_eq!(moments.shares(), [30 + 100, 20 + 30]);
        assert_eq!(moments.shares().iter().sum::<u64>(), moments.read - moments.due);
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let whole = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end]), Ok(None), "at byte {end}");
        }
        assert_eq!(answer(whole), Ok(Some(202)));
        assert_eq!(answer(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some(204)));
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    /// The outcome of so many requests of one connection, to a server that answers them in turn.
    fn driven(count: u64, answers: &'static [&'static str]) -> Drive {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let load = Load {
            scenario: Scenario::Single,
            dialect: Dialect::Corepulse,
            devices: Devices::default(),
            connections: 1,
            threads: 1,
            seconds: 1,
            rate: Some(1000),
        };
        let serve = move || {
            let mut socket = listener.accept().unwrap().0;
            let mut request = [0; 1024];
            for status in answers.iter().cycle() {
                if socket.read(&mut request).unwrap() == 0 {
                    return;
                }
                let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                socket.write_all(text.as_bytes()).unwrap();
            }
        };
        thread::scope(|scope| {
            scope.spawn(serve);
            let traffic = Traffic::new(Scenario::Single, HOST, now_ms());
            Loop::new(address, &load, traffic, (1000, count)).unwrap().run().unwrap()
        })
    }

    #[test]
    fn the_kernel_says_when_an_answer_arrived() {
        let drive = driven(100, &["202 Accepted"]);
        let shares = drive.shares.unwrap();
        assert_eq!((drive.requests, drive.faults), (100, None));
        // Between the stamp and the reading there is a wake-up; without stamps there is nothing.
        assert!(shares.server.p50 > 0.0 && shares.server.p50 <= drive.latency.p50, "{shares:?}");
        assert!(shares.generator.p50 > 0.0 && shares.generator.max <= drive.latency.max);
    }

    #[test]
    fn whatever_is_no_success_is_said() {
        let faults = driven(4, &["202 Accepted", "503 Busy", "204 No Content", "400 Bad"]).faults;
        assert_eq!(faults.as_deref(), Some("1 with 400, 1 with 503"));
    }
}
