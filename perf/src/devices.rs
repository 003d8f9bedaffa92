//! Fleets of devices, and the orders in which they send.
//!
//! The order decides how much the processor's caches help a server, which has its devices in
//! memory in the order in which it met them:
//!
//! | order | the next device | comes again | so |
//! |---|---|---|---|
//! | in turn | the neighbour in memory | after all others | the processor reads ahead |
//! | shuffled | anywhere | after all others | no cache helps a fleet that is larger than it |
//! | random | anywhere | at any time | some are still in a cache |
//!
//! A real fleet is between the first two: devices send at their periods, so they come round in one
//! order, and the order in which a server met them was chance, and long ago.

use clap::ValueEnum;

/// The largest fleet.
pub const DEVICES_MAX: i64 = 10_000_000;

/// The order in which devices send.
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
    /// Number of devices; at least one, at most [`DEVICES_MAX`].
    pub count: u32,
    pub order: Order,
    /// Digits of an id behind its `device-`.
    pub digits: usize,
}

impl Default for Devices {
    /// Returns `device-0000` to `device-0999`, in turn.
    fn default() -> Self {
        Self { count: 1000, order: Order::InTurn, digits: 4 }
    }
}

impl Devices {
    /// Returns `device-0000000` and so on: ids of all these fleets are of one length.
    pub const fn of(count: u32, order: Order) -> Self {
        Self { count, order, digits: 7 }
    }

    /// Returns the devices of the first events; those of later events are the same again.
    pub fn listed(self) -> Vec<u32> {
        let mut random = fastrand::Rng::with_seed(u64::from(self.count));
        let mut all: Vec<u32> = (0..self.count).collect();
        match self.order {
            Order::InTurn => {}
            Order::Shuffled => random.shuffle(&mut all),
            // Four draws for each device, and then the same again.
            Order::Random => {
                all = (0..self.count * 4).map(|_| random.u32(0..self.count)).collect();
            }
        }
        all
    }

    /// Returns how many events in a row have the same timestamp: as many as are of different
    /// devices for sure, so that no key comes twice.
    pub fn together(self) -> u64 {
        if self.order == Order::Random { 1 } else { self.count.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_round_each_device_sends_once_and_shuffled_ones_are_seldom_neighbours() {
        for count in [1, 2, 1000, 100_000] {
            let mut listed = Devices::of(count, Order::Shuffled).listed();
            let near = listed.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
            // By chance, 64 before and 64 after of a hundred thousand.
            assert!(count <= 1000 || near < 300, "{near} pairs are near");
            listed.sort_unstable();
            assert_eq!(listed, Devices::of(count, Order::InTurn).listed());
        }
    }

    #[test]
    fn random_devices_are_all_alike() {
        let mut events = [0; 100];
        let devices = Devices::of(100, Order::Random);
        devices.listed().into_iter().for_each(|device| events[device as usize] += 1);
        assert_eq!((events.iter().sum::<u32>(), devices.together()), (400, 1));
        assert!(events.iter().all(|&count| count < 16), "{events:?}");
    }
}
