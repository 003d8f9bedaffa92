//! The look-ahead: where the devices of the next events are in no cache, what those will need is
//! asked for while the ones before are scored.
//!
//! First the index is looked up, which has to be waited for, and the records of the devices are
//! asked for; once they have come, they tell which places of the rows are needed. All of it is a
//! guess: who scores an event looks whether the slot is its device's.

use super::{ANONYMOUS, Arrived, Shard};
use crate::analytics::device::Device;
use crate::analytics::slots::NO_SLOT;
use crate::analytics::window::Window;
use crate::limits::EVENTS_PER_HOLD;

/// Devices that a core's cache may hold: some megabytes with windows of fifty.
const CACHED_DEVICES: usize = 2048;

/// Slots in which the devices of some events are, unless another id has the same bits of hash or a
/// device has left since, or [`NO_SLOT`].
#[derive(Clone, Copy, Debug)]
pub struct Guesses {
    pub(in crate::analytics) slots: [u32; EVENTS_PER_HOLD],
    /// The number of events, 0 if nothing was looked up.
    events: usize,
}

impl Guesses {
    /// No guesses.
    pub const NONE: Self = Self { slots: [NO_SLOT; EVENTS_PER_HOLD], events: 0 };

    fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied().take(self.events)
    }
}

impl Shard {
    /// Returns true if the devices are so many that a core's cache does not hold them.
    pub(in crate::analytics) fn is_large(&self) -> bool {
        self.slots.len() > CACHED_DEVICES
    }

    /// Returns the guesses for these events: those that were made while the ones before were
    /// scored, if there are any.
    pub(in crate::analytics) fn guess(&self, group: &[Arrived<'_>], early: &Guesses) -> Guesses {
        if early.events == group.len() {
            return *early;
        }
        let guesses = self.look_up(group);
        self.prefetch(group, &guesses);
        guesses
    }

    /// Looks these events up in the index, and asks for the records of their devices.
    pub(in crate::analytics) fn look_up(&self, group: &[Arrived<'_>]) -> Guesses {
        let mut guesses = Guesses { events: group.len(), ..Guesses::NONE };
        for (guess, arrived) in guesses.slots.iter_mut().zip(group) {
            let found = arrived.key().map(|key| self.index.find(key.hash, |_| true));
            *guess = found.map_or(ANONYMOUS, |found| found.unwrap_or(NO_SLOT));
        }
        guesses.slots().filter_map(|slot| self.slots.record(slot)).for_each(Device::prefetch);
        guesses
    }

    /// Asks for what scoring these events will need beside the records. Those it reads, so they
    /// should have been asked for a while before.
    pub(in crate::analytics) fn prefetch(&self, group: &[Arrived<'_>], guesses: &Guesses) {
        for slot in guesses.slots() {
            let window = self.slots.record(slot).map(|device| device.window);
            self.slots.prefetch_row(slot, window.unwrap_or(Window::EMPTY).next());
        }
        if let Some(novel) = &self.novel {
            for (slot, arrived) in guesses.slots().zip(group) {
                novel.prefetch(slot, arrived.event.timestamp_ms);
            }
        }
    }
}
