//! A soak: hundreds of devices on a server whose connections may live half a minute.
//!
//! No connection may grow older than its age, the jitter and a second, and no request of a device
//! may fail, although connections end all the time.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use testkit::http_client::metric;
use testkit::{HttpClient, Server, post};

const DEVICES: usize = 300;

/// The server's `--max-connection-age`.
const AGE: Duration = Duration::from_secs(30);

/// The age that no connection reaches: a tenth of jitter on top, and a second for what the server
/// waits for a request, a tick of its timers, and the machine.
const AGE_MAX: Duration = Duration::from_secs(34);

/// The ways in which a device posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// One metric several times a second.
    Steady,
    /// One metric every few seconds.
    Rare,
    /// Sixteen requests at once, about once a second.
    Pipelined,
}

impl Habit {
    const ALL: [Self; 3] = [Self::Steady, Self::Rare, Self::Pipelined];

    const fn requests(self) -> usize {
        match self {
            Self::Steady | Self::Rare => 1,
            Self::Pipelined => 16,
        }
    }

    /// Returns the pause from the last response to the next request.
    fn pause(self) -> Duration {
        let milliseconds: RangeInclusive<u64> = match self {
            Self::Steady => 100..=300,
            Self::Rare => 2_000..=8_000,
            Self::Pipelined => 500..=1_500,
        };
        Duration::from_millis(fastrand::u64(milliseconds))
    }
}

/// Counts of the devices of one habit.
#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    accepted: u64,
    /// Connections that were opened.
    opened: u64,
    /// Connections that ended with a response that said so.
    announced: u64,
    /// Connections that the server closed between two requests.
    closed_idle: u64,
    /// The age of the oldest connection at its end.
    oldest: Duration,
    faults: Vec<String>,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.accepted += other.accepted;
        self.opened += other.opened;
        self.announced += other.announced;
        self.closed_idle += other.closed_idle;
        self.oldest = self.oldest.max(other.oldest);
        self.faults.extend(other.faults);
    }
}

struct Connection {
    client: HttpClient,
    opened: Instant,
}

struct Device {
    address: SocketAddr,
    habit: Habit,
    request: Vec<u8>,
    connection: Option<Connection>,
    counts: Counts,
}

impl Device {
    fn new(address: SocketAddr, number: usize) -> Self {
        let habit = Habit::ALL[number % Habit::ALL.len()];
        let request = post(metric(&format!("device-{number}"), 1_700_000_000).as_bytes());
        Self { address, habit, request, connection: None, counts: Counts::default() }
    }

    /// Posts until the end, and returns what became of it.
    fn run(mut self, end: Instant) -> (Habit, Counts) {
        loop {
            let next = Instant::now() + self.habit.pause();
            self.pause_until(next.min(end));
            if next >= end {
                return (self.habit, self.counts);
            }
            self.post();
        }
    }

    /// Pauses, during which the server may close the connection, but may send nothing.
    fn pause_until(&mut self, end: Instant) {
        loop {
            let remaining = end.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return;
            }
            let Some(connection) = &self.connection else {
                thread::park_timeout(remaining);
                continue;
            };
            let age_left = AGE_MAX.saturating_sub(connection.opened.elapsed());
            if age_left.is_zero() {
                self.fail("still open");
                continue;
            }
            let stream = connection.client.stream();
            stream.set_read_timeout(Some(remaining.min(age_left))).unwrap();
            match stream.peek(&mut [0]) {
                Ok(0) => {
                    self.counts.closed_idle += 1;
                    self.end_connection();
                }
                Ok(_) => self.fail("a response to no request"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => self.fail(&error.to_string()),
            }
        }
    }

    /// Sends the requests of one turn, on a new connection if there is none, and reads the
    /// responses.
    fn post(&mut self) {
        if self.connection.is_none() {
            let opened = Instant::now();
            let client = HttpClient::connect(self.address);
            self.connection = Some(Connection { client, opened });
            self.counts.opened += 1;
        }
        let requests = self.habit.requests();
        self.counts.requests += requests as u64;
        let client = &mut self.connection.as_mut().unwrap().client;
        client.stream().set_read_timeout(Some(testkit::TIMEOUT)).unwrap();
        if let Err(error) = client.try_send(&self.request.repeat(requests)) {
            return self.fail(&error.to_string());
        }
        for awaited in (0..requests).rev() {
            let client = &mut self.connection.as_mut().unwrap().client;
            let response = match client.try_receive(false) {
                Ok(Some(response)) => response,
                Ok(None) => return self.fail("closed with a request under way"),
                Err(error) => return self.fail(&error.to_string()),
            };
            if response.status != 202 || response.json()["accepted"] != 1 {
                return self.fail(&format!("{response:?}"));
            }
            self.counts.accepted += 1;
            if response.closes_connection() {
                if awaited > 0 {
                    return self.fail(&format!("{awaited} requests behind the last response"));
                }
                self.counts.announced += 1;
                self.end_connection();
            }
        }
    }

    fn fail(&mut self, what: &str) {
        let age = self.connection.as_ref().map(|connection| connection.opened.elapsed());
        let habit = self.habit;
        self.counts.faults.push(format!("{habit:?}, age {age:?}: {what}"));
        self.connection = None;
    }

    fn end_connection(&mut self) {
        let age = self.connection.take().unwrap().opened.elapsed();
        self.counts.oldest = self.counts.oldest.max(age);
        if age > AGE_MAX {
            self.counts.faults.push(format!("{:?}: a connection lived for {age:?}", self.habit));
        }
    }
}

#[test]
fn devices_lose_no_request_when_connections_end_of_age() {
    let duration = super::seconds(90);
    let server = Server::start(&["--workers", "2", "--max-connection-age", "30s"]);
    let end = Instant::now() + duration;
    let ticks = server.cpu_ticks();
    let mut counts: [Counts; 3] = Default::default();
    thread::scope(|scope| {
        let devices: Vec<_> = (0..DEVICES)
            .map(|number| Device::new(server.address, number))
            .map(|device| scope.spawn(move || device.run(end)))
            .collect();
        for device in devices {
            let (habit, its) = device.join().expect("a device does not panic");
            counts[habit as usize].add(its);
        }
    });
    println!(
        "| devices | requests | connections | announced ends | closed between requests | oldest |\n\
         |---|---|---|---|---|---|"
    );
    for (habit, counts) in Habit::ALL.iter().zip(&counts) {
        let Counts { requests, opened, announced, closed_idle, oldest, .. } = counts;
        let oldest = oldest.as_secs_f64();
        println!(
            "| {habit:?} | {requests} | {opened} | {announced} | {closed_idle} | {oldest:.2} s |"
        );
    }
    println!(
        "the server used {:.1} s of CPU time and holds {} MiB",
        (server.cpu_ticks() - ticks) as f64 / 100.0,
        server.resident_bytes() / (1024 * 1024)
    );
    for (habit, counts) in Habit::ALL.iter().zip(&counts) {
        assert!(counts.faults.is_empty(), "{:#?}", counts.faults);
        assert_eq!(counts.accepted, counts.requests, "{habit:?}");
        // Each device has seen the end of a connection by then.
        let outlives_connections = duration >= 2 * AGE + Duration::from_secs(10);
        assert!(counts.announced > 0 || !outlives_connections, "{habit:?}: no end was announced");
    }
}
