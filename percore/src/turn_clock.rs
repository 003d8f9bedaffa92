//! The turn clock: the time at which a turn of the event loop began, and the time since when its
//! input may have waited.

/// A poll that returns within this time did not sleep; it only took its time in the kernel.
const AT_ONCE_NS: u64 = 20_000;

/// The times of a turn, in monotonic nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnClock {
    began_ns: u64,
    ended_ns: u64,
    readable_ns: u64,
}

impl TurnClock {
    /// Begins a turn. An event that the kernel reports at once happened while the core was at work,
    /// perhaps at the beginning of the last turn. That is assumed, so that a request which waited
    /// for others is charged its wait, and rather too much than too little.
    pub const fn begin(&mut self, now_ns: u64) {
        let slept = now_ns.saturating_sub(self.ended_ns) > AT_ONCE_NS;
        self.readable_ns = if slept { now_ns } else { self.began_ns };
        (self.began_ns, self.ended_ns) = (now_ns, now_ns);
    }

    /// Ends the turn.
    pub const fn end(&mut self, now_ns: u64) {
        self.ended_ns = now_ns;
    }

    /// Returns the time at which the turn began.
    pub const fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// Returns the earliest time at which the input of this turn may have been readable.
    pub const fn readable_ns(&self) -> u64 {
        self.readable_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_a_long_turn_is_charged_from_its_beginning() {
        let ms = 1_000_000;
        let mut turn = TurnClock::default();
        turn.begin(100 * ms);
        assert_eq!(turn.readable_ns(), 100 * ms, "the core slept until then");
        turn.end(130 * ms);
        let mut busy = turn;
        busy.begin(130 * ms + 2_000);
        assert_eq!(busy.readable_ns(), 100 * ms, "it came while the core was at work");
        turn.begin(131 * ms);
        assert_eq!(turn.readable_ns(), 131 * ms, "the kernel had nothing before");
    }
}
