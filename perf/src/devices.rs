//! Which devices a stream of events comes from, and in what order they send.
//!
//! The order decides what the caches of a processor can do for a server, so it is named. A server
//! that met its devices by number has them in its memory by number:
//!
//! | order | the next device | again | what that is good for |
//! |---|---|---|---|
//! | in turn | the neighbour in memory | after all others | the processor reads ahead |
//! | shuffled | anywhere | after all others | nothing, if the fleet is larger than the caches |
//! | random | anywhere | at any time | some are still in a cache |
//!
//! A real fleet is between the first two: devices send at their periods, so they come round in one
//! order; and in which order a server met them was chance, and long ago.

use clap::ValueEnum;

/// Digits of the ids of [`Devices::of`]: those of all its fleets are of one length.
const DIGITS: usize = 7;

/// The largest fleet of [`Devices::of`].
pub const DEVICES_MAX: u64 = 10_u64.pow(DIGITS as u32);

/// The order in which devices send. See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// By number, round and round.
    InTurn,
    /// Round and round, each once in a round, in one order that has nothing to do with numbers.
    Shuffled,
    /// Any device at any time.
    Random,
}

impl Order {
    /// As in the table and in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InTurn => "in turn",
            Self::Shuffled => "shuffled",
            Self::Random => "random",
        }
    }
}

/// A fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// At least one.
    pub count: u64,
    /// The order in which they send.
    pub order: Order,
    digits: usize,
}

impl Default for Devices {
    /// `device-0000` to `device-0999`, in turn.
    fn default() -> Self {
        Self { count: 1000, order: Order::InTurn, digits: 4 }
    }
}

impl Devices {
    /// `device-0000000` and so on: at least one, at most [`DEVICES_MAX`].
    #[must_use]
    pub fn of(count: u64, order: Order) -> Self {
        Self { count: count.clamp(1, DEVICES_MAX), order, digits: DIGITS }
    }

    /// Digits of an id behind its `device-`.
    #[must_use]
    pub const fn digits(&self) -> usize {
        self.digits
    }

    /// The device that sends event `number`, and at what moment, both from 0 on. At one moment
    /// each device sends once at most, or keys would repeat.
    #[must_use]
    pub fn sender(&self, number: u64) -> (u64, u64) {
        let (moment, place) = (number / self.count, number % self.count);
        match self.order {
            Order::InTurn => (place, moment),
            Order::Shuffled => (self.shuffled(place), moment),
            Order::Random => (self.drawn(number), number),
        }
    }

    /// Each number below `count` for one other: those of the next power of two are mixed by steps
    /// that can be undone, and those that come out too large are mixed again.
    fn shuffled(&self, place: u64) -> u64 {
        let bits = u64::BITS - (self.count - 1).leading_zeros();
        let (mask, half) = ((1 << bits) - 1, (bits / 2).max(1));
        let mut mixed = place;
        loop {
            for odd in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb_u64] {
                mixed = mixed.wrapping_mul(odd) & mask;
                mixed ^= mixed >> half;
            }
            if mixed < self.count {
                return mixed;
            }
        }
    }

    /// The finish of `SplitMix64`, brought into range by a multiplication.
    fn drawn(&self, number: u64) -> u64 {
        let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 32) * self.count) >> 32
    }
}

// A draw has 32 bits.
const _: () = assert!(DEVICES_MAX < 1 << 32);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn in_a_round_each_device_sends_once() {
        for count in [1, 2, 3, 4, 1000, 1023, 1024, 1025, 20_000] {
            for order in [Order::InTurn, Order::Shuffled] {
                let devices = Devices::of(count, order);
                for round in 0..3 {
                    let numbers = round * count..(round + 1) * count;
                    let senders: BTreeSet<_> = numbers.map(|at| devices.sender(at)).collect();
                    let expected: BTreeSet<_> = (0..count).map(|device| (device, round)).collect();
                    assert_eq!(senders, expected, "{devices:?}");
                }
            }
        }
    }

    #[test]
    fn shuffled_devices_are_no_neighbours_and_no_constant_step_apart() {
        let devices = Devices::of(100_000, Order::Shuffled);
        let order: Vec<u64> = (0..100_000).map(|at| devices.sender(at).0).collect();
        let near = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
        // By chance, 64 before and 64 after of a hundred thousand.
        assert!(near < 300, "{near} pairs are near");
        let steps: BTreeSet<i64> = order
            .windows(2)
            .map(|pair| i64::try_from(pair[0]).unwrap() - i64::try_from(pair[1]).unwrap())
            .collect();
        assert!(steps.len() > 30_000, "{} different steps only", steps.len());
    }

    #[test]
    fn random_devices_are_all_alike_and_their_moments_are_their_own() {
        let devices = Devices::of(100, Order::Random);
        let mut events = [0; 100];
        for number in 0..100_000 {
            let (device, moment) = devices.sender(number);
            events[usize::try_from(device).unwrap()] += 1;
            assert_eq!(moment, number);
        }
        assert!(events.iter().all(|&count| (850..1150).contains(&count)), "{events:?}");
    }
}
