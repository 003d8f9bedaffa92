//! Fleet time: the clock of Redis, which orders what several replicas did.
//!
//! The wall clocks of replicas may be minutes apart; they order nothing. Each replica asks Redis
//! for its time once a second, and takes the difference to its own monotonic clock from the
//! quickest of the last exchanges: it is right to half of the time which that one took (Cristian,
//! "Probabilistic clock synchronization", 1989).

use std::collections::VecDeque;

/// The exchanges that are remembered.
const READINGS_MAX: usize = 16;

/// The microseconds by which clocks may drift apart while readings are remembered.
const DRIFT_US: u64 = 2_000;

/// The clock of one replica.
#[derive(Debug, Default)]
pub(super) struct FleetClock {
    /// Durations of the last exchanges, and the offsets that follow from them, both in
    /// microseconds.
    readings: VecDeque<(u64, i64)>,
    offset_us: Option<i64>,
}

impl FleetClock {
    /// Adds a reading: Redis told `told_us` between these two moments of the monotonic clock.
    pub(super) fn add(&mut self, sent_ns: u64, received_ns: u64, told_us: i64) {
        let took_us = received_ns.saturating_sub(sent_ns) / 1000;
        let middle_us = microseconds(sent_ns) + signed(took_us / 2);
        let offset_us = told_us.saturating_sub(middle_us);
        // Readings that exclude each other are of clocks that were set, or of two servers.
        self.readings.retain(|(other_took_us, other_us)| {
            let bound_us = (took_us / 2).saturating_add(other_took_us / 2) + DRIFT_US;
            offset_us.abs_diff(*other_us) <= bound_us
        });
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back((took_us, offset_us));
        // Of equally quick ones the latest.
        let quickest = self.readings.iter().rev().min_by_key(|(took_us, _)| *took_us);
        self.offset_us = quickest.map(|(_, offset_us)| *offset_us);
    }

    /// Returns fleet time at this moment, in microseconds since 1970; `None` before the first
    /// reading.
    pub(super) fn at(&self, mono_ns: u64) -> Option<i64> {
        self.offset_us.map(|offset_us| microseconds(mono_ns) + offset_us)
    }
}

fn microseconds(ns: u64) -> i64 {
    signed(ns / 1000)
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_exchange_tells_the_time_best() {
        let mut clock = FleetClock::default();
        assert_eq!(clock.at(0), None);
        // Redis is 1,000 s ahead; the way there took all of the time.
        clock.add(0, 200_000_000, 1_000_200_000);
        assert_eq!(clock.at(0), Some(1_000_100_000));
        clock.add(1_000_000_000, 1_000_100_000, 1_001_000_050);
        assert_eq!(clock.at(5_000_000_000), Some(1_005_000_000));
        clock.add(2_000_000_000, 2_300_000_000, 1_002_300_000);
        assert_eq!(clock.at(5_000_000_000), Some(1_005_000_000));
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let mut clock = FleetClock::default();
        clock.add(0, 100_000, 5_000_050);
        clock.add(1_000_000_000, 1_900_000_000, 6_450_000);
        assert_eq!(clock.at(0), Some(5_000_000));
        clock.add(2_000_000_000, 2_900_000_000, 2_450_000);
        assert_eq!(clock.at(0), Some(0));
    }

    #[test]
    fn old_readings_are_forgotten() {
        let mut clock = FleetClock::default();
        clock.add(0, 1000, 500);
        for second in 1..=READINGS_MAX as u64 {
            let sent_ns = second * 1_000_000_000;
            clock.add(sent_ns, sent_ns + 50_000, microseconds(sent_ns) + 25 + 7);
        }
        assert_eq!(clock.at(0), Some(7));
    }
}
