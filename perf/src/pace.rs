//! Fixed times at which turns are due, the connections in rotation, and the timer that wakes up for
//! them.
//!
//! The times are arithmetic: turn `n` is due `n + 1` intervals after the start, whatever became of
//! those before it. A turn that is due while its connection still waits for answers is sent after
//! them, and counts from when it was due: a slow server cannot hide what it makes others wait for.
//! What nobody could send is not forgotten either: [`Schedule::take_due`] hands every turn out
//! once, and who takes it decides whether it is still worth sending.
//!
//! A timer of the kernel ticks once for each turn, so that a rate is kept without spinning and
//! finer than the milliseconds that epoll waits in.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// One thread's part of a load: every `of`th turn, from the `number`th on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub number: u32,
    /// Parts there are.
    pub of: u32,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { number: 0, of: 1 };
}

/// One turn of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the whole load, over all parts, from 0.
    pub number: u64,
    /// When it is to be sent.
    pub due: Instant,
}

/// When the turns of one part are due, and which connection has them.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    part: Part,
    /// Between two turns of the whole load; whole nanoseconds, as the kernel's timer has it.
    interval_ns: u64,
    /// Turns of this part; turn `n` is for connection `n % connections`.
    planned: u64,
    /// Turns whose connections have been told that they are due.
    told: u64,
    /// Of each connection, the turns taken.
    taken: Vec<u64>,
    taken_all: u64,
}

impl Schedule {
    /// So many turns a second for `duration` from `start` on, over all connections of all parts.
    ///
    /// # Errors
    ///
    /// When the rate is none.
    pub fn new(
        start: Instant,
        turns_per_s: f64,
        duration: Duration,
        part: Part,
        connections: usize,
    ) -> Result<Self, String> {
        let interval_ns = Duration::try_from_secs_f64(turns_per_s.recip())
            .ok()
            .and_then(|interval| u64::try_from(interval.as_nanos()).ok())
            .filter(|&ns| ns > 0 && connections > 0 && part.number < part.of)
            .ok_or_else(|| format!("no rate: {turns_per_s} a second"))?;
        let whole = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) / interval_ns;
        let (number, of) = (u64::from(part.number), u64::from(part.of));
        // Of 0..whole those that leave this remainder.
        let planned = whole.saturating_sub(number).div_ceil(of);
        let taken = vec![0; connections];
        Ok(Self { start, part, interval_ns, planned, told: 0, taken, taken_all: 0 })
    }

    /// Between two turns of this part.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns.saturating_mul(self.part.of.into()))
    }

    /// Turns of this part.
    #[must_use]
    pub const fn planned(&self) -> u64 {
        self.planned
    }

    /// Turns that nobody has taken yet.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.planned - self.taken_all
    }

    /// The connections for which a turn has become due since the last call, each once at most.
    pub fn newly_due(&mut self, now: Instant) -> impl Iterator<Item = usize> + use<> {
        let first = self.told;
        self.told = self.due_by(now).max(first);
        let connections = self.taken.len();
        let rotation = u64::try_from(connections).unwrap_or(u64::MAX);
        let once = (self.told - first).min(rotation);
        let connection = move |turn: u64| usize::try_from(turn % rotation).unwrap_or(connections);
        (first..first + once).map(connection)
    }

    /// The next turn of a connection; `None` if that is still to come, or there is none any more.
    pub fn take_due(&mut self, connection: usize, now: Instant) -> Option<Turn> {
        let rotation = u64::try_from(self.taken.len()).ok()?;
        let due_by = self.due_by(now);
        let taken = self.taken.get_mut(connection)?;
        let own = u64::try_from(connection).ok()? + *taken * rotation;
        if own >= due_by {
            return None;
        }
        *taken += 1;
        self.taken_all += 1;
        let number = self.in_whole(own);
        Some(Turn { number, due: self.start + self.after(number) })
    }

    /// How many turns of this part have become due.
    fn due_by(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        let whole = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) / self.interval_ns;
        let (number, of) = (u64::from(self.part.number), u64::from(self.part.of));
        whole.saturating_sub(number).div_ceil(of).min(self.planned)
    }

    fn in_whole(&self, own: u64) -> u64 {
        own * u64::from(self.part.of) + u64::from(self.part.number)
    }

    /// The first turn is due one interval after the start.
    fn after(&self, number: u64) -> Duration {
        Duration::from_nanos((number + 1).saturating_mul(self.interval_ns))
    }
}

/// Wakes an epoll up when a turn is due.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// Ticks at every interval from now on.
    ///
    /// # Errors
    ///
    /// When the kernel grants none.
    pub fn every(interval: Duration) -> Result<Self, String> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(|e| e.to_string())?;
        let every = Timespec {
            tv_sec: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: interval.subsec_nanos().into(),
        };
        let times = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times).map_err(|e| e.to_string())?;
        Ok(Self(timer))
    }

    /// Has an epoll wake up for each tick.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn register(&self, registry: &Registry, token: Token) -> std::io::Result<()> {
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, Interest::READABLE)
    }

    /// Takes the ticks so far, or the next would wake nobody up.
    ///
    /// # Errors
    ///
    /// When the timer cannot be read.
    pub fn clear(&self) -> Result<(), String> {
        match rustix::io::read(&self.0, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(format!("the timer: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Ten turns a second for a second; the clock is the test's own.
    fn schedule(part: Part, connections: usize) -> Schedule {
        Schedule::new(Instant::now(), 10.0, SECOND, part, connections).unwrap()
    }

    fn at(schedule: &Schedule, ms: u64) -> Instant {
        schedule.start + Duration::from_millis(ms)
    }

    /// Number and due time of the next turn that is due by then, in milliseconds.
    fn take(schedule: &mut Schedule, connection: usize, ms: u64) -> Option<(u64, u128)> {
        let now = at(schedule, ms);
        let turn = schedule.take_due(connection, now)?;
        Some((turn.number, (turn.due - schedule.start).as_millis()))
    }

    #[test]
    fn connections_take_turns_that_are_an_interval_apart() {
        let mut schedule = schedule(Part::WHOLE, 2);
        assert_eq!(take(&mut schedule, 0, 99), None);
        assert_eq!(take(&mut schedule, 0, 100), Some((0, 100)));
        assert_eq!(take(&mut schedule, 0, 299), None);
        assert_eq!(take(&mut schedule, 1, 299), Some((1, 200)));
        assert_eq!(take(&mut schedule, 2, 1000), None);
    }

    #[test]
    fn a_turn_that_waited_for_its_connection_keeps_its_time() {
        let mut schedule = schedule(Part::WHOLE, 2);
        // The first connection had to wait for nearly all of the second.
        let late: Vec<_> = std::iter::from_fn(|| take(&mut schedule, 0, 950)).collect();
        assert_eq!(late, [(0, 100), (2, 300), (4, 500), (6, 700), (8, 900)]);
    }

    #[test]
    fn the_plan_ends_and_what_is_left_of_it_is_counted() {
        let mut schedule = schedule(Part::WHOLE, 3);
        assert_eq!((schedule.planned(), schedule.left()), (10, 10));
        let hour = 3_600_000;
        for connection in 0..3 {
            while take(&mut schedule, connection, hour).is_some() {}
        }
        assert_eq!(schedule.left(), 0);
        let now = at(&schedule, hour);
        // Each of the three was told once, however often its time had come.
        assert_eq!(schedule.newly_due(now).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(schedule.newly_due(now).count(), 0);
    }

    #[test]
    fn connections_are_told_in_rotation_when_a_turn_becomes_due() {
        let mut schedule = schedule(Part::WHOLE, 3);
        let mut told = |ms| {
            let now = at(&schedule, ms);
            schedule.newly_due(now).collect::<Vec<_>>()
        };
        assert_eq!(told(50), [0; 0]);
        assert_eq!(told(210), [0, 1]);
        // A clock never runs backwards, but who asks may be late.
        assert_eq!(told(150), [0; 0]);
        assert_eq!(told(410), [2, 0]);
    }

    #[test]
    fn parts_share_the_turns_of_the_whole_without_a_gap() {
        let mut all = Vec::new();
        for number in 0..3 {
            let mut part = schedule(Part { number, of: 3 }, 2);
            assert_eq!(part.interval(), Duration::from_millis(300));
            let planned = part.planned();
            let mut own = Vec::new();
            for connection in 0..2 {
                own.extend(std::iter::from_fn(|| take(&mut part, connection, 1000)));
            }
            assert_eq!((own.len() as u64, part.left()), (planned, 0));
            all.extend(own);
        }
        all.sort_unstable();
        let expected: Vec<(u64, u128)> = (0..10).map(|n| (n, u128::from(n + 1) * 100)).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn no_rate_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = Schedule::new(Instant::now(), rate, SECOND, Part::WHOLE, 1);
            assert!(refused.is_err(), "{rate}");
        }
    }
}
