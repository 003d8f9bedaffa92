//! Windows of optional fields: a device has one for each optional field that it has ever sent.
//!
//! They are slots of their own, linked from the device in the order of the fields. So a device pays
//! for what it sends, and a schema without optional fields for nothing.

use std::iter;

use super::device_state::WindowState;
use super::field_state::FieldState;
use super::series::{Anomalous, Rules, apply};
use super::slots::{NO_SLOT, Slot, Slots};
use super::window::Window;
use crate::limits;
use crate::metric::event::Event;

/// The window of one optional field of one device; its values are in its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionalField {
    pub(super) window: Window,
    /// The index of the field.
    field: u8,
    /// The slot of the device's next field, or [`NO_SLOT`].
    next: u32,
}

/// The optional fields of all devices of a shard.
pub(super) struct OptionalFields {
    /// For each device the slot of its first field, or [`NO_SLOT`]; none if the schema has no
    /// optional fields.
    firsts: Slots<u32>,
    is_used: bool,
    slots: Slots<OptionalField>,
    free: Vec<u32>,
}

impl OptionalFields {
    /// Returns the memory of the windows under these rules, which is none yet.
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            firsts: Slots::new(0, 0),
            is_used: !rules.schema.optional().is_empty(),
            slots: Slots::new(rules.window, 1),
            free: Vec::new(),
        }
    }

    /// Adds a device without any field. Devices have the numbers of their slots.
    pub(super) fn add_device(&mut self) {
        if self.is_used {
            self.firsts.push(NO_SLOT);
        }
    }

    /// Scores the optional fields of an event, `bits` of its set, and adds them to their windows. A
    /// field that the device has not sent before gets one. Calls `found` with each anomaly and the
    /// index of its field.
    pub(super) fn apply(
        &mut self,
        rules: &Rules,
        device: u32,
        event: &Event<'_>,
        mut bits: u16,
        mut found: impl FnMut(usize, &Anomalous<1>),
    ) {
        // The slot before `at`, whose link leads there.
        let mut before = NO_SLOT;
        let mut at = self.first(device);
        while bits != 0 {
            let field = bits.trailing_zeros() as usize;
            let held = self.slots.record(at).map(|held| (usize::from(held.field), held.next));
            if let Some((_, next)) = held.filter(|(other, _)| *other < field) {
                (before, at) = (at, next);
                continue;
            }
            if held.is_none_or(|(other, _)| other > field) {
                let Some(slot) = self.insert(field, at) else {
                    return;
                };
                match (self.slots.record_mut(before), self.firsts.record_mut(device)) {
                    (Some(before), _) => before.next = slot,
                    (None, Some(first)) => *first = slot,
                    (None, None) => return,
                }
                at = slot;
            }
            let (Some((held, mut row)), Some(&value)) =
                (self.slots.write::<1>(at), event.values.get(field))
            else {
                return;
            };
            let window = &mut held.window;
            if let Some(anomalous) =
                apply(rules, window, &mut row, field, &[value], event.timestamp_ms)
            {
                found(field, &anomalous);
            }
            bits &= bits - 1;
        }
    }

    #[cold]
    fn insert(&mut self, field: usize, next: u32) -> Option<u32> {
        let field = u8::try_from(field).ok()?;
        let record = OptionalField { window: Window::EMPTY, field, next };
        match self.free.pop() {
            Some(slot) => {
                *self.slots.record_mut(slot)? = record;
                Some(slot)
            }
            None => self.slots.push(record),
        }
    }

    /// Replaces the fields of a device by copies, which are in the order of the fields.
    pub(super) fn replace(&mut self, device: u32, copies: &[(u8, WindowState)]) {
        self.free(device);
        let mut next = NO_SLOT;
        for (field, copy) in copies.iter().rev() {
            let Some(slot) = self.insert(usize::from(*field), next) else {
                return;
            };
            let window = self.slots.restore_row(slot, copy);
            if let Some((held, window)) = self.slots.record_mut(slot).zip(window) {
                held.window = window;
            }
            next = slot;
        }
        if let Some(first) = self.firsts.record_mut(device) {
            *first = next;
        }
    }

    /// Returns the number of fields that a device has.
    pub(super) fn count(&self, device: u32) -> usize {
        self.of(device).count()
    }

    fn first(&self, device: u32) -> u32 {
        self.firsts.record(device).copied().unwrap_or(NO_SLOT)
    }

    /// Frees all fields of a device.
    pub(super) fn free(&mut self, device: u32) {
        let first = self.firsts.record_mut(device);
        let mut at = first.map_or(NO_SLOT, |first| std::mem::replace(first, NO_SLOT));
        while let Some(held) = self.slots.record(at) {
            let next = held.next;
            self.slots.clear(at);
            self.free.push(at);
            at = next;
        }
    }

    /// Returns the fields of a device with their indexes.
    pub(super) fn of(&self, device: u32) -> impl Iterator<Item = (usize, Slot<'_, OptionalField>)> {
        let mut at = self.first(device);
        iter::from_fn(move || {
            let slot = self.slots.read(at)?;
            at = slot.record.next;
            Some((usize::from(slot.record.field), slot))
        })
    }

    /// Returns the number of slots for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.firsts.capacity() + self.slots.capacity() + self.free.capacity()
    }
}

const _: () =
    assert!(size_of::<OptionalField>() + size_of::<FieldState>() == limits::OPTIONAL_FIELD_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{FieldOptions, FieldSet, Schema};
    use proptest::prelude::*;

    fn rules(fields: usize) -> Rules {
        let fields: Vec<_> = (0..fields)
            .map(|number| FieldOptions {
                name: format!("f{number}"),
                is_required: false,
                range: None,
                least_deviation: 0.0,
            })
            .collect();
        let names = ["device_id".to_owned()];
        let schema = Schema::leak(&fields, [&names, &names, &names]);
        Rules {
            schema,
            window: 3,
            threshold: 2.0,
            min_samples: 2,
            cooldown: 1,
            judges_duplicates: false,
        }
    }

    proptest! {
        /// Two devices that send any fields in any order: each has exactly the fields that it sent,
        /// in their order, with their last values.
        #[test]
        fn a_device_has_the_fields_that_it_sent(
            events in prop::collection::vec((0..2_usize, any::<u16>()), 0..40),
        ) {
            let rules = rules(16);
            let mut optional = OptionalFields::new(&rules);
            (0..2).for_each(|_| optional.add_device());
            let mut sent = [const { [const { Vec::new() }; 16] }; 2];
            for (number, (device, bits)) in events.into_iter().enumerate() {
                let values: Vec<f64> = (0..16).map(|field| (number * 16 + field) as f64).collect();
                let event = Event {
                    present: FieldSet::from_bits(bits),
                    values: &values,
                    ..Event::default()
                };
                optional.apply(&rules, device as u32, &event, bits, |_, _| {});
                for field in (0..16).filter(|field| bits >> field & 1 == 1) {
                    let held: &mut Vec<f64> = &mut sent[device][field];
                    held.push(values[field]);
                    held.drain(..held.len().saturating_sub(3));
                }
            }
            for (device, sent) in (0..).zip(&sent) {
                let found: Vec<_> = optional
                    .of(device)
                    .map(|(field, slot)| {
                        let mut values = slot.values[..slot.record.window.count()].to_vec();
                        values.sort_by(f64::total_cmp);
                        (field, values)
                    })
                    .collect();
                let expected = sent.iter().cloned().enumerate();
                let expected: Vec<_> = expected.filter(|(_, held)| !held.is_empty()).collect();
                prop_assert_eq!(found, expected);
            }
            // What is freed is used again, and brings nothing along.
            let capacity = optional.slots.len();
            (0..2).for_each(|device| optional.free(device));
            prop_assert_eq!(optional.free.len(), capacity);
            prop_assert!((0..2).all(|device| optional.of(device).next().is_none()));
            let event = Event { values: &[7.0], ..Event::default() };
            optional.apply(&rules, 0, &event, 1, |_, _| {});
            let (field, slot) = optional.of(0).next().unwrap();
            let score = slot.states[0].score();
            prop_assert_eq!((field, slot.record.window.count(), score), (0, 1, None));
            prop_assert_eq!(optional.slots.len(), capacity.max(1));
        }
    }
}
