//! The generic cell rate algorithm (ITU-T I.371): which events keep to a rate.
//!
//! Pure: time is a parameter. A [`Pace`] lets a burst of so many events through at once, and as
//! many again within each period, evenly. Its whole state is one time, at which the events so far
//! would be over if each had waited for its turn: the *due* time. Its twin is a bucket of as many
//! tokens as the burst has events, which fills within a period; but that has to be filled before it
//! is looked at, and so has two numbers to keep.
//!
//! [`Paces`] are several that an event has to keep to all at once: it counts for all or for none.
//! Time that goes back lets nobody through earlier.

use crate::limits::{RATE_EVENTS_MAX, RATE_PAIRS_MAX, RATE_PER_SECOND_MAX, RATE_SECONDS_MAX};

/// Bits of a period in ticks. A due time is at most a period ahead of the clock, so one more bit
/// tells a time ahead from one that has passed.
const PERIOD_BITS: u32 = 38;

/// Bits of a due time that are enough to know it again within a period.
pub const DUE_BITS: u32 = PERIOD_BITS + 2;

const SECOND_NS: u64 = 1_000_000_000;

/// One rate: so many events at once, and as many again within each period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Ticks between two events that come evenly.
    interval: u64,
    /// Ticks of as many events as may come at once.
    burst: u64,
    /// A tick is 2 to the power of this many nanoseconds.
    shift: u32,
}

impl Pace {
    /// Returns the pace of so many events in so many seconds, within the limits of both.
    pub fn new(events: u32, seconds: u32) -> Self {
        let period_ns = u64::from(seconds.clamp(1, RATE_SECONDS_MAX)) * SECOND_NS;
        let events = u64::from(events.clamp(1, RATE_EVENTS_MAX));
        let shift = (u64::BITS - period_ns.leading_zeros()).saturating_sub(PERIOD_BITS);
        // Rounded down, so that who keeps to the rate is never rejected.
        let interval = ((period_ns >> shift) / events).max(1);
        Self { interval, burst: events * interval, shift }
    }

    const fn ticks(self, ns: u64) -> u64 {
        ns >> self.shift
    }

    /// Returns the number of events that may pass now.
    const fn room(self, due: u64, now: u64) -> u64 {
        self.burst.saturating_sub(due.saturating_sub(now)) / self.interval
    }

    /// Returns the ticks until an event may pass.
    const fn wait(self, due: u64, now: u64) -> u64 {
        (due.saturating_sub(now) + self.interval).saturating_sub(self.burst)
    }

    /// Returns the time after which nothing is due any more, in nanoseconds.
    const fn period_ns(self) -> u64 {
        (self.burst + 1) << self.shift
    }
}

/// The due times of as many paces, in the ticks of each.
pub type Dues = [u64; RATE_PAIRS_MAX];

/// Several paces, at most [`RATE_PAIRS_MAX`], all of which an event has to keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paces {
    paces: [Pace; RATE_PAIRS_MAX],
    count: usize,
}

impl FromIterator<Pace> for Paces {
    fn from_iter<I: IntoIterator<Item = Pace>>(paces: I) -> Self {
        let mut all = Self::default();
        for (place, pace) in all.paces.iter_mut().zip(paces) {
            *place = pace;
            all.count += 1;
        }
        all
    }
}

impl Paces {
    /// Returns the number of paces.
    pub const fn count(&self) -> usize {
        self.count
    }

    fn iter(&self) -> impl Iterator<Item = Pace> {
        self.paces.iter().take(self.count).copied()
    }

    /// Returns this time in the ticks of each pace: the due times of who owes nothing.
    pub fn ticks(&self, now_ns: u64) -> Dues {
        let mut ticks = Dues::default();
        for (place, pace) in ticks.iter_mut().zip(self.iter()) {
            *place = pace.ticks(now_ns);
        }
        ticks
    }

    /// Returns the due times now of which only the lowest [`DUE_BITS`] were kept, if no event has
    /// been counted for so many nanoseconds.
    pub fn recover(
        &self,
        kept: impl IntoIterator<Item = u64>,
        silent_ns: u64,
        now_ns: u64,
    ) -> Dues {
        let mut dues = self.ticks(now_ns);
        for ((due, pace), kept) in dues.iter_mut().zip(self.iter()).zip(kept) {
            // What was due is over after a period. Before that it is less than half of what the
            // bits tell apart away from now, so the bits above them follow.
            if silent_ns <= pace.period_ns() {
                let ahead = kept.wrapping_sub(*due) << (u64::BITS - DUE_BITS);
                *due = due.saturating_add_signed(ahead.cast_signed() >> (u64::BITS - DUE_BITS));
            }
        }
        dues
    }

    /// Returns the number of events that may pass now.
    pub fn room(&self, dues: &Dues, now_ns: u64) -> u64 {
        let room = self.iter().zip(dues).map(|(pace, due)| pace.room(*due, pace.ticks(now_ns)));
        room.min().unwrap_or(u64::MAX)
    }

    /// Returns the nanoseconds until an event may pass; 0 if one may now.
    pub fn wait_ns(&self, dues: &Dues, now_ns: u64) -> u64 {
        let wait = |(pace, due): (Pace, &u64)| pace.wait(*due, pace.ticks(now_ns)) << pace.shift;
        self.iter().zip(dues).map(wait).max().unwrap_or_default()
    }

    /// Counts events that pass now, for which there is room.
    pub fn spend(&self, dues: &mut Dues, now_ns: u64, events: u64) {
        for (due, pace) in dues.iter_mut().zip(self.iter()) {
            *due = pace.ticks(now_ns).max(*due) + events * pace.interval;
        }
    }

    /// Counts events as if they had never been, which were counted and did not pass.
    pub fn give_back(&self, dues: &mut Dues, events: u64) {
        for (due, pace) in dues.iter_mut().zip(self.iter()) {
            *due = due.saturating_sub(events * pace.interval);
        }
    }
}

// Every interval is of a thousand ticks or more, so rounding it changes a rate by a thousandth at
// most: a short period has ticks of a nanosecond, a long one at least half of its bits' ticks.
const _: () = assert!(SECOND_NS / RATE_PER_SECOND_MAX as u64 >= 1000);
const _: () = assert!((1 << (PERIOD_BITS - 1)) / RATE_EVENTS_MAX as u64 >= 1000);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bucket of tokens, in fractions of one that are exact: a token is as many parts as the
    /// period has nanoseconds, and each nanosecond brings as many parts as the pace has events.
    struct Bucket {
        events: u128,
        period_ns: u128,
        parts: u128,
        filled_ns: u64,
    }

    impl Bucket {
        fn new(events: u32, seconds: u32) -> Self {
            let period_ns = u128::from(seconds) * u128::from(SECOND_NS);
            let events = u128::from(events);
            Self { events, period_ns, parts: events * period_ns, filled_ns: 0 }
        }

        fn fill(&mut self, now_ns: u64) {
            let since = now_ns.saturating_sub(self.filled_ns);
            self.filled_ns = self.filled_ns.max(now_ns);
            let filled = self.parts + u128::from(since) * self.events;
            self.parts = filled.min(self.events * self.period_ns);
        }

        const fn room(&self) -> u64 {
            (self.parts / self.period_ns) as u64
        }

        fn take(&mut self, events: u64) {
            self.parts -= u128::from(events) * self.period_ns;
        }
    }

    /// Pairs whose intervals are whole numbers of ticks, so that nothing is rounded.
    fn even_pair() -> impl Strategy<Value = (u32, u32)> {
        let events = prop_oneof![Just(1_u32), Just(2), Just(5), Just(10), Just(100), Just(4000)];
        (events, 1..200_u32)
    }

    /// Pairs within the limits.
    fn any_pair() -> impl Strategy<Value = (u32, u32)> {
        (1..=RATE_EVENTS_MAX, 1..=RATE_SECONDS_MAX).prop_filter(
            "at most so many a second",
            |(events, seconds)| {
                u64::from(*events) <= u64::from(*seconds) * u64::from(RATE_PER_SECOND_MAX)
            },
        )
    }

    fn paces(pairs: &[(u32, u32)]) -> Paces {
        pairs.iter().map(|(events, seconds)| Pace::new(*events, *seconds)).collect()
    }

    proptest! {
        #[test]
        fn as_many_pass_as_buckets_of_tokens_let_through(
            pairs in prop::collection::vec(even_pair(), 1..=RATE_PAIRS_MAX),
            steps in prop::collection::vec((0..3_000_000_000_u64, 1..50_u64, 0..4_u32), 1..200),
        ) {
            let limit = paces(&pairs);
            let mut buckets: Vec<_> = pairs.iter().map(|(e, s)| Bucket::new(*e, *s)).collect();
            let mut dues = limit.ticks(0);
            let mut now_ns = 0_u64;
            for (step_ns, wanted, kind) in steps {
                // Time stands still, goes on, or goes back.
                now_ns = match kind {
                    0 => now_ns,
                    1 => now_ns.saturating_sub(step_ns / 4),
                    _ => now_ns + step_ns,
                };
                buckets.iter_mut().for_each(|bucket| bucket.fill(now_ns));
                // One whose time has gone back knows of its tokens what it knew before, and a pace
                // may have to wait for as long again.
                let room = buckets.iter().map(Bucket::room).min().unwrap();
                let passing = limit.room(&dues, now_ns);
                let is_back = buckets.iter().any(|bucket| bucket.filled_ns > now_ns);
                prop_assert!(if is_back { passing <= room } else { passing == room },
                    "{passing} of {room} at {now_ns}");
                prop_assert_eq!(limit.wait_ns(&dues, now_ns) == 0, passing > 0);
                let taken = wanted.min(passing);
                limit.spend(&mut dues, now_ns, taken);
                buckets.iter_mut().for_each(|bucket| bucket.take(taken));
                if is_back {
                    break;
                }
            }
        }

        #[test]
        fn an_event_passes_when_its_wait_is_over_and_not_before(
            pairs in prop::collection::vec(any_pair(), 1..=RATE_PAIRS_MAX),
            start_ns in 0..1_u64 << 50,
        ) {
            let limit = paces(&pairs);
            let mut dues = limit.ticks(start_ns);
            prop_assert_eq!(limit.wait_ns(&dues, start_ns), 0);
            let least = pairs.iter().map(|(events, _)| u64::from(*events)).min().unwrap();
            prop_assert_eq!(limit.room(&dues, start_ns), least);
            limit.spend(&mut dues, start_ns, least);
            let wait_ns = limit.wait_ns(&dues, start_ns);
            prop_assert!(wait_ns > 0 && limit.room(&dues, start_ns) == 0);
            prop_assert!(limit.room(&dues, start_ns + wait_ns) > 0);
            let tick_ns = limit.iter().map(|pace| 1 << pace.shift).max().unwrap();
            prop_assert!(limit.room(&dues, (start_ns + wait_ns).saturating_sub(tick_ns)) == 0
                || tick_ns > wait_ns);
            // All is forgotten after the longest period.
            let after_ns = start_ns + limit.iter().map(Pace::period_ns).max().unwrap();
            prop_assert_eq!(limit.room(&dues, after_ns), least);
            limit.give_back(&mut dues, least);
            prop_assert_eq!(limit.room(&dues, start_ns), least);
        }

        #[test]
        fn the_rate_is_kept_to_a_thousandth((events, seconds) in any_pair()) {
            let pace = Pace::new(events, seconds);
            let ticks = (f64::from(seconds) * 1e9 / f64::from(1 << pace.shift)) / f64::from(events);
            let error = ticks / pace.interval as f64 - 1.0;
            prop_assert!((0.0..=1e-3).contains(&error), "{error} of {pace:?}");
            // The bits of a due time tell it from every other within a period.
            prop_assert!(pace.burst >> PERIOD_BITS == 0, "{pace:?}");
        }

        #[test]
        fn between_two_moments_no_more_pass_than_the_burst_and_the_rate(
            (events, seconds) in even_pair(),
            offsets in prop::collection::vec(0..400_000_000_000_u64, 1..300),
        ) {
            let limit = paces(&[(events, seconds)]);
            let mut times = offsets;
            times.sort_unstable();
            let mut dues = limit.ticks(0);
            let passed: Vec<u64> = times
                .into_iter()
                .filter(|at| {
                    let passes = limit.room(&dues, *at) > 0;
                    if passes {
                        limit.spend(&mut dues, *at, 1);
                    }
                    passes
                })
                .collect();
            let period_ns = u128::from(seconds) * u128::from(SECOND_NS);
            for (at, from) in passed.iter().enumerate() {
                for (many, to) in (1_u128..).zip(passed.iter().skip(at)) {
                    let refilled = u128::from(to - from) * u128::from(events) / period_ns;
                    prop_assert!(many <= u128::from(events) + refilled, "{many} in {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn no_pace_lets_everything_through() {
        let limit = Paces::default();
        let mut dues = limit.ticks(7);
        limit.spend(&mut dues, 7, u64::MAX);
        assert_eq!((limit.room(&dues, 7), limit.wait_ns(&dues, 7)), (u64::MAX, 0));
        assert_eq!(limit.count(), 0);
    }

    #[test]
    fn a_burst_and_what_may_go_on_are_kept_to_at_once() {
        let limit = paces(&[(3, 1), (5, 60)]);
        let mut dues = limit.ticks(0);
        let mut passed = Vec::new();
        for at_ms in (0..14_000).step_by(100) {
            if limit.room(&dues, at_ms * 1_000_000) > 0 {
                limit.spend(&mut dues, at_ms * 1_000_000, 1);
                passed.push(at_ms);
            }
        }
        // Three at once, a third of a second for each of two more, and then one in twelve seconds.
        assert_eq!(passed, [0, 100, 200, 400, 700, 12_000]);
    }
}
