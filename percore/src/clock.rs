//! Time as a value: the clock is read twice a turn, and the reading is passed down.
//!
//! Protocol, decoding and analytics are given the time. Order and durations use the monotonic
//! clock, which all cores share; timestamps for people use the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Nanoseconds since the origin of this process's [`Clock`]; comparable between cores.
    pub mono_ns: u64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub wall_us: i64,
}

impl Now {
    /// Returns the milliseconds since the clock's origin.
    pub const fn mono_ms(self) -> u64 {
        self.mono_ns / 1_000_000
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    pub const fn wall_ms(self) -> i64 {
        self.wall_us / 1000
    }
}

/// A source of readings. Copies share the origin; each holds its own anchor of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    anchor_ns: u64,
    anchor_wall_us: i64,
}

/// The wall clock is read again after this long, so that its corrections reach us.
const ANCHOR_AGE_NS: u64 = 1_000_000_000;

impl Clock {
    /// Returns a clock whose monotonic readings start near zero.
    pub fn start() -> Self {
        Self { origin: Instant::now(), anchor_ns: 0, anchor_wall_us: wall_us() }
    }

    /// Reads the monotonic clock, and once a second the wall clock as well.
    pub fn now(&mut self) -> Now {
        let mono_ns = nanoseconds(self.origin.elapsed());
        let mut since_ns = mono_ns.saturating_sub(self.anchor_ns);
        if since_ns >= ANCHOR_AGE_NS {
            self.anchor_ns = mono_ns;
            self.anchor_wall_us = wall_us();
            since_ns = 0;
        }
        // Under a second, so the quotient fits whatever its type.
        let since_us = i64::try_from(since_ns / 1000).unwrap_or(0);
        Now { mono_ns, wall_us: self.anchor_wall_us.saturating_add(since_us) }
    }
}

fn wall_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Returns a duration in whole nanoseconds; 584 years are the most that fits.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_never_go_back_and_copies_agree() {
        let mut one = Clock::start();
        let mut other = one;
        let mut last = one.now();
        for _ in 0..1000 {
            let now = other.now();
            assert!(now.mono_ns >= last.mono_ns);
            assert!(now.wall_ms() >= last.wall_ms() - 1, "{now:?} after {last:?}");
            last = now;
            std::mem::swap(&mut one, &mut other);
        }
    }

    #[test]
    fn a_copy_past_its_anchor_asks_the_wall_clock_again() {
        let mut clock = Clock::start();
        clock.origin -= Duration::from_secs(5);
        clock.anchor_wall_us = 0;
        let now = clock.now();
        assert!(now.mono_ns >= 5_000_000_000);
        assert!(now.wall_us > 1_600_000_000_000_000);
    }
}
