//! The events that wait: those of devices whose windows are on their way from another instance.
//!
//! They are kept until the window has come, and are then judged in their order. Both the events of
//! a device and those of a shard are bounded: of too many, the oldest of the device is dropped, as
//! the window forgets it first. It counts as an event of the device that was not judged.

use std::collections::{BTreeMap, VecDeque};

use super::anomaly_records::{Arrival, Receipt};
use crate::limits::{FIELDS_MAX, WAITING_EVENTS_MAX};
use crate::metric::event::Event;
use crate::schema::FieldSet;

/// An event that waits, without its values.
#[derive(Clone, Copy, Debug)]
struct WaitingEvent {
    timestamp: u64,
    timestamp_ms: i64,
    receipt: Receipt,
    index: u32,
    present: FieldSet,
}

/// The events of one device.
#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<WaitingEvent>,
    /// The values side by side, as many of each event as the schema has fields.
    values: VecDeque<f64>,
    /// The events that were dropped.
    dropped: u64,
    /// The timestamp of the newest event, and be it dropped.
    newest: u64,
}

impl Queue {
    fn pop(&mut self, fields: usize) -> Option<Waited> {
        let event = self.events.pop_front()?;
        let mut values = [0.0; FIELDS_MAX];
        for (place, value) in values.iter_mut().zip(self.values.drain(..fields)) {
            *place = value;
        }
        Some(Waited { event, values })
    }
}

/// An event that has waited.
pub(super) struct Waited {
    event: WaitingEvent,
    values: [f64; FIELDS_MAX],
}

impl Waited {
    /// Returns the event, of the device with this id.
    pub(super) fn event<'a>(&'a self, id: &'a [u8]) -> Event<'a> {
        let WaitingEvent { timestamp, timestamp_ms, present, .. } = self.event;
        let device_id = Some(id);
        let values = &self.values;
        Event { device_id, timestamp, timestamp_ms, present, values, ..Event::default() }
    }

    /// Returns the arrival of that event, whose device is in this slot.
    pub(super) const fn arrival<'a>(
        &self,
        event: &'a Event<'a>,
        slot: u32,
        tag: u32,
    ) -> Arrival<'a> {
        let WaitingEvent { receipt, index, .. } = self.event;
        Arrival { event, index, slot, tag, receipt }
    }
}

/// The events of a shard that wait, by the slots of their devices.
#[derive(Debug)]
pub(super) struct WaitingEvents {
    fields: usize,
    of_device_max: usize,
    queues: BTreeMap<u32, Queue>,
    /// The events that wait now.
    events: usize,
    /// The events that have come here so far.
    total: u64,
    /// The events that were dropped so far.
    unjudged: u64,
}

impl WaitingEvents {
    /// Returns the memory of events with so many fields, which is none yet. Of a device so many are
    /// kept.
    pub(super) const fn new(fields: usize, of_device_max: usize) -> Self {
        let queues = BTreeMap::new();
        Self { fields, of_device_max, queues, events: 0, total: 0, unjudged: 0 }
    }

    /// Adds an event behind those of its device.
    pub(super) fn push(&mut self, arrival: &Arrival<'_>) {
        let Arrival { event, index, slot, receipt, .. } = *arrival;
        self.total += 1;
        let queue = self.queues.entry(slot).or_default();
        queue.newest = event.timestamp;
        if queue.events.len() >= self.of_device_max || self.events >= WAITING_EVENTS_MAX {
            queue.dropped += 1;
            self.unjudged += 1;
            if queue.pop(self.fields).is_none() {
                return;
            }
            self.events -= 1;
        }
        self.events += 1;
        let (timestamp, timestamp_ms) = (event.timestamp, event.timestamp_ms);
        let present = event.present;
        queue.events.push_back(WaitingEvent { timestamp, timestamp_ms, receipt, index, present });
        let values = event.values.iter().copied().chain(std::iter::repeat(0.0));
        queue.values.extend(values.take(self.fields));
    }

    /// Takes the oldest event of a device.
    pub(super) fn pop(&mut self, slot: u32) -> Option<Waited> {
        let waited = self.queues.get_mut(&slot)?.pop(self.fields)?;
        self.events -= 1;
        Some(waited)
    }

    /// Returns the number of events of a device that wait or were dropped.
    pub(super) fn of_device(&self, slot: u32) -> u64 {
        self.queues.get(&slot).map_or(0, |queue| queue.dropped + queue.events.len() as u64)
    }

    /// Returns the timestamp of a device's newest event that came here; `None` if there is none.
    pub(super) fn newest_timestamp(&self, slot: u32) -> Option<u64> {
        Some(self.queues.get(&slot)?.newest)
    }

    /// Returns true if a device has an event here.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.queues.get(&slot).is_some_and(|queue| !queue.events.is_empty())
    }

    /// Forgets a device. Events that it still has here are dropped. Returns how many of its events
    /// were dropped.
    pub(super) fn remove(&mut self, slot: u32) -> u64 {
        self.queues.remove(&slot).map_or(0, |queue| {
            let events = queue.events.len();
            self.events -= events;
            self.unjudged += events as u64;
            queue.dropped + events as u64
        })
    }

    /// Returns the number of devices with events here.
    pub(super) fn devices(&self) -> usize {
        self.queues.len()
    }

    /// Returns the number of events that wait now, that have come so far, and that were dropped.
    pub(super) const fn counts(&self) -> [u64; 3] {
        [self.events as u64, self.total, self.unjudged]
    }
}

// The memory of an event is what `limits` says, without its values.
const _: () = assert!(size_of::<WaitingEvent>() <= crate::limits::WAITING_EVENT_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::id_hash::IdHash;
    use percore::clock::Now;
    use proptest::prelude::*;

    fn push(waiting: &mut WaitingEvents, slot: u32, number: u64) {
        let values = [number as f64, -1.0];
        let event = Event { timestamp: number, values: &values, ..Event::default() };
        let receipt = Receipt { now: Now::default(), core: 0, received: number };
        let tag = IdHash::default().tag();
        waiting.push(&Arrival { event: &event, index: 0, slot, tag, receipt });
    }

    proptest! {
        #[test]
        fn the_newest_of_a_device_wait_in_their_order(
            steps in prop::collection::vec((0..4_u32, 0..9_u8), 0..200),
            window in 1..8_usize,
        ) {
            // One field has no value.
            let mut waiting = WaitingEvents::new(2, window);
            let mut twins = [const { VecDeque::new() }; 4];
            let (mut total, mut dropped) = (0, [0_u64; 4]);
            let mut forgotten = 0;
            for (number, (slot, action)) in (0..).zip(steps) {
                let twin: &mut VecDeque<u64> = &mut twins[slot as usize];
                match action {
                    0 => {
                        let before = std::mem::take(&mut dropped[slot as usize]);
                        let lost = twin.len() as u64 + before;
                        prop_assert_eq!(waiting.remove(slot), lost);
                        twin.clear();
                        forgotten += lost;
                    }
                    1 => {
                        let waited = waiting.pop(slot);
                        prop_assert_eq!(waited.is_some(), !twin.is_empty());
                        if let Some((waited, number)) = waited.zip(twin.pop_front()) {
                            let event = waited.event(b"d");
                            prop_assert_eq!(event.device_id, Some(&b"d"[..]));
                            prop_assert_eq!(event.timestamp, number);
                            prop_assert_eq!(&event.values[..3], [number as f64, -1.0, 0.0]);
                            let arrival = waited.arrival(&event, slot, 9);
                            prop_assert_eq!((arrival.slot, arrival.tag), (slot, 9));
                            prop_assert_eq!(arrival.receipt.received, number);
                        }
                    }
                    _ => {
                        push(&mut waiting, slot, number);
                        twin.push_back(number);
                        prop_assert_eq!(waiting.newest_timestamp(slot), Some(number));
                        total += 1;
                        if twin.len() > window {
                            twin.pop_front();
                            dropped[slot as usize] += 1;
                        }
                    }
                }
                let held = twin.len();
                prop_assert_eq!(waiting.of_device(slot), held as u64 + dropped[slot as usize]);
                prop_assert_eq!(waiting.has(slot), held > 0);
                let events = twins.iter().map(VecDeque::len).sum::<usize>() as u64;
                let unjudged = forgotten + dropped.iter().sum::<u64>();
                prop_assert_eq!(waiting.counts(), [events, total, unjudged]);
            }
        }
    }

    #[test]
    fn a_shard_keeps_no_more_than_its_share() {
        let mut waiting = WaitingEvents::new(2, 50);
        for number in 0..2 * WAITING_EVENTS_MAX as u64 {
            push(&mut waiting, (number / 10) as u32, number);
        }
        let max = WAITING_EVENTS_MAX as u64;
        assert_eq!(waiting.counts(), [max, 2 * max, max]);
        // A device that came too late has none, and still waits.
        let late = (2 * max / 10) as u32 - 1;
        assert_eq!((waiting.of_device(late), waiting.has(late)), (10, false));
        // One that was there has its own newest.
        push(&mut waiting, 3, 7);
        assert_eq!(waiting.pop(3).map(|it| it.event(b"d").timestamp), Some(31));
        push(&mut waiting, 3, 8);
        assert_eq!(waiting.remove(3), 11);
        push(&mut waiting, late, 8);
        assert_eq!((waiting.of_device(late), waiting.has(late)), (11, true));
        assert_eq!(waiting.counts()[0], max - 9);
    }
}
