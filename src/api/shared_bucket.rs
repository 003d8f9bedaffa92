//! The bucket of a limit that all cores share, such as a token's.
//!
//! A request takes room for all of its events at once, and gives back what they did not need. So
//! cores meet here once a request, not once an event. Each looks at the clock at a time of its own;
//! the bucket's time is the latest that it was told, as one whose time is a little earlier would
//! find less room than there is.

use crate::config::RateLimit;
use crate::gcra::{Dues, Paces};
use percore::sync::Mutex;

/// A limit, and what has been taken of it.
#[derive(Debug)]
pub struct SharedBucket {
    paces: Paces,
    taken: Mutex<Taken>,
}

/// The due times by what was taken, and the latest time that the bucket was told.
#[derive(Debug, Default)]
struct Taken {
    dues: Dues,
    latest_ns: u64,
}

impl Taken {
    /// Returns the time, which is not before any other.
    fn time_ns(&mut self, now_ns: u64) -> u64 {
        self.latest_ns = self.latest_ns.max(now_ns);
        self.latest_ns
    }
}

impl SharedBucket {
    /// Returns a bucket of which nothing is taken.
    pub fn new(limit: &RateLimit) -> Self {
        Self { paces: limit.paces(), taken: Mutex::default() }
    }

    /// Takes room for so many events, or as much as there is now. Returns for how many.
    pub fn take(&self, now_ns: u64, events: u64) -> u64 {
        let mut taken = self.taken.lock();
        let now_ns = taken.time_ns(now_ns);
        let passing = self.paces.room(&taken.dues, now_ns).min(events);
        self.paces.spend(&mut taken.dues, now_ns, passing);
        passing
    }

    /// Gives back room that was taken for so many events, which did not pass.
    pub fn give_back(&self, events: u64) {
        self.paces.give_back(&mut self.taken.lock().dues, events);
    }

    /// Returns the nanoseconds until an event may pass; 0 if one may now.
    pub fn wait_ns(&self, now_ns: u64) -> u64 {
        let mut taken = self.taken.lock();
        let now_ns = taken.time_ns(now_ns);
        self.paces.wait_ns(&taken.dues, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let bucket = SharedBucket::new(&"10:1,15:60".parse().unwrap());
        let now_ns = 5_000_000_000;
        assert_eq!((bucket.take(now_ns, 4), bucket.take(now_ns, 100)), (4, 6));
        assert_eq!((bucket.take(now_ns, 1), bucket.wait_ns(now_ns)), (0, 100_000_000));
        bucket.give_back(3);
        assert_eq!((bucket.wait_ns(now_ns), bucket.take(now_ns, 5)), (0, 3));
        // The longer pair has five left, and then one in four seconds.
        assert_eq!(bucket.take(now_ns + 1_000_000_000, 100), 5);
        assert_eq!(bucket.wait_ns(now_ns + 1_000_000_000), 3_000_000_000);
    }

    #[test]
    fn a_core_whose_time_is_a_little_earlier_finds_the_same_room() {
        let bucket = SharedBucket::new(&"5:10".parse().unwrap());
        let now_ns = 5_000_000_000;
        assert_eq!((bucket.take(now_ns, 2), bucket.take(now_ns - 7, 9)), (2, 3));
        assert_eq!(bucket.wait_ns(now_ns - 9), 2_000_000_000);
    }

    #[test]
    fn threads_get_no_more_together_than_there_is() {
        let bucket = SharedBucket::new(&"100000:1000".parse().unwrap());
        let got = AtomicU64::new(0);
        thread::scope(|scope| {
            for events in 1..=4 {
                let (bucket, got) = (&bucket, &got);
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let taken = bucket.take(0, events);
                        let unused = taken.min(round % 2);
                        bucket.give_back(unused);
                        got.fetch_add(taken - unused, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(got.into_inner() + bucket.take(0, u64::MAX), 100_000);
    }
}
