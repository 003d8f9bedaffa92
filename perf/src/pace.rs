//! Fixed times at which turns are due, the connections in rotation.
//!
//! A timer of the kernel ticks once for each turn, so that a rate is kept without spinning and
//! finer than the milliseconds that epoll waits in. A turn that is due while its connection still
//! waits for answers is sent after them, and counts from when it was due: a slow server cannot hide
//! what it makes others wait for.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// The times of all connections.
#[derive(Debug)]
pub struct Pace {
    timer: OwnedFd,
    start: Instant,
    interval_s: f64,
    /// Ticks so far; tick `n` is for connection `n % connections`.
    ticks: u64,
    /// Of each connection, the turns taken.
    taken: Vec<u64>,
}

impl Pace {
    /// So many turns a second from `start` on, over all connections.
    ///
    /// # Errors
    ///
    /// When the rate is none, or the kernel grants no timer.
    pub fn new(start: Instant, turns_per_s: f64, connections: usize) -> Result<Self, String> {
        let interval = Duration::try_from_secs_f64(turns_per_s.recip())
            .ok()
            .filter(|interval| !interval.is_zero())
            .ok_or_else(|| format!("no rate: {turns_per_s} a second"))?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(|e| e.to_string())?;
        let every = Timespec {
            tv_sec: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: interval.subsec_nanos().into(),
        };
        let times = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times).map_err(|e| e.to_string())?;
        let interval_s = interval.as_secs_f64();
        Ok(Self { timer, start, interval_s, ticks: 0, taken: vec![0; connections] })
    }

    /// Has an epoll wake up for each tick.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn register(&self, registry: &Registry, token: Token) -> std::io::Result<()> {
        registry.register(&mut SourceFd(&self.timer.as_raw_fd()), token, Interest::READABLE)
    }

    /// The connections for which a turn has become due since the last call, each once at most.
    ///
    /// # Errors
    ///
    /// When the timer cannot be read.
    pub fn tick(&mut self) -> Result<impl Iterator<Item = usize> + use<>, String> {
        let mut count = [0; 8];
        let new = match rustix::io::read(&self.timer, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(format!("the timer: {error}")),
        };
        let first = self.ticks;
        self.ticks += new;
        let all = self.taken.len();
        let rotation = u64::try_from(all).unwrap_or(u64::MAX);
        let once = new.min(rotation);
        let connection = move |tick: u64| usize::try_from(tick % rotation).unwrap_or(all);
        Ok((first..first + once).map(connection))
    }

    /// When the next turn of a connection was due; `None` if that is still to come.
    pub fn take_due(&mut self, connection: usize) -> Option<Instant> {
        let rotation = u64::try_from(self.taken.len()).ok()?;
        let taken = self.taken.get_mut(connection)?;
        let tick = u64::try_from(connection).ok()? + *taken * rotation;
        if tick >= self.ticks {
            return None;
        }
        *taken += 1;
        // The first tick comes one interval after the start.
        let after_s = number(tick + 1) * self.interval_s;
        Some(self.start + Duration::try_from_secs_f64(after_s).ok()?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "no count of ticks comes near 2^53")]
fn number(ticks: u64) -> f64 {
    ticks as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock whose ticks the test makes: the timer's own are an hour apart.
    fn pace(connections: usize) -> Pace {
        Pace::new(Instant::now(), 1.0 / 3600.0, connections).unwrap()
    }

    #[test]
    fn connections_take_turns_that_are_an_interval_apart() {
        let mut pace = pace(2);
        assert_eq!(pace.take_due(0), None);
        pace.ticks = 3;
        let hours = |pace: &mut Pace, number| {
            let due = pace.take_due(number)?;
            Some((due - pace.start).as_secs() / 3600)
        };
        assert_eq!(hours(&mut pace, 0), Some(1));
        assert_eq!(hours(&mut pace, 0), Some(3));
        assert_eq!(hours(&mut pace, 0), None);
        assert_eq!(hours(&mut pace, 1), Some(2));
        assert_eq!(hours(&mut pace, 1), None);
    }

    #[test]
    fn no_rate_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::new(Instant::now(), rate, 1).is_err(), "{rate}");
        }
    }
}
