//! The knowledge of the second judge of each device: a state for each field that it has sent.
//!
//! A column beside the slots of devices, which is there only if that judge is asked for. The fields
//! of a device are linked in their order, so that a device pays for what it sends.

use super::anomaly::NovelPoint;
use super::novelty::judgement::EventTime;
use super::novelty::local_day::LocalHour;
use super::novelty::series_bands::SeriesBands;
use super::novelty::stillness::Stillness;
use super::novelty::{BANDS_BYTES, FieldNovelty, NoveltySettings, Reason, STILLNESS_BYTES};
use super::slots::{NO_SLOT, Slots};
use crate::metric::event::Event;
use crate::schema::Schema;

/// The place of one field of one device among its fields.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The slot of the device's next field, or [`NO_SLOT`].
    next: u32,
    /// The index of the field.
    field: u8,
}

/// The fields of all devices of a shard.
pub(super) struct NovelFields {
    settings: NoveltySettings,
    /// The hour of the last event.
    hour: LocalHour,
    /// For each device the slot of its first field, or [`NO_SLOT`].
    firsts: Slots<u32>,
    links: Slots<Link>,
    /// As many as there are links, if the detector is on.
    bands: Slots<SeriesBands>,
    /// As many as there are links, if standing still is judged.
    stills: Slots<Stillness>,
    free: Vec<u32>,
}

impl NovelFields {
    /// Returns the memory of these judges, for so many devices that have sent nothing yet.
    pub(super) fn new(settings: NoveltySettings, devices: usize) -> Self {
        let mut fields = Self {
            settings,
            hour: LocalHour::NEVER,
            firsts: Slots::new(0, 0),
            links: Slots::new(0, 0),
            bands: Slots::new(0, 0),
            stills: Slots::new(0, 0),
            free: Vec::new(),
        };
        (0..devices).for_each(|_| fields.add_device());
        fields
    }

    /// Adds a device without any field. Devices have the numbers of their slots.
    pub(super) fn add_device(&mut self) {
        self.firsts.push(NO_SLOT);
    }

    /// Asks for what judging an event of a device will need.
    pub(super) fn prefetch(&self, device: u32, timestamp_ms: i64) {
        let hour = self.hour.number_at(timestamp_ms);
        let hour = hour.unwrap_or_else(|| self.settings.day.hour(timestamp_ms));
        let mut at = self.first(device);
        while let Some(link) = self.links.record(at) {
            if let Some(bands) = self.bands.record(at) {
                bands.prefetch(hour);
            }
            at = link.next;
        }
    }

    /// Judges all fields of an event, and learns them. Calls `found` with what is new.
    pub(super) fn judge(
        &mut self,
        device: u32,
        event: &Event<'_>,
        schema: &Schema,
        mut found: impl FnMut(NovelPoint),
    ) {
        let ms = event.timestamp_ms;
        let time = EventTime { ms, hour: self.hour(ms) };
        let (mut before, mut at) = (NO_SLOT, self.first(device));
        let mut bits = event.present.bits();
        while bits != 0 {
            let field = bits.trailing_zeros() as usize;
            let held = self.links.record(at).map(|link| (usize::from(link.field), link.next));
            if let Some((_, next)) = held.filter(|(other, _)| *other < field) {
                (before, at) = (at, next);
                continue;
            }
            let held = held.filter(|(other, _)| *other == field).map(|(_, next)| (at, next));
            let added = || Some((self.insert(device, field, before, at)?, at));
            let (Some((slot, next)), Some(&value)) = (held.or_else(added), event.values.get(field))
            else {
                return;
            };
            if let Some((score, reason)) = self.judge_field(slot, value, time) {
                let Some(field) = schema.field(field) else {
                    return;
                };
                found(NovelPoint { timestamp_ms: ms, field, value, score, reason });
            }
            (before, at) = (slot, next);
            bits &= bits - 1;
        }
    }

    /// Returns the hour of a time, which is that of the last event for most.
    #[inline(always)]
    fn hour(&mut self, ms: i64) -> u8 {
        self.hour.number_at(ms).unwrap_or_else(|| {
            self.hour = self.settings.day.hour_of(ms);
            self.settings.day.hour(ms)
        })
    }

    /// Judges one value. Of two reasons that of the bands is told, which is the rarer one; that the
    /// series stands still is told by the next event then.
    fn judge_field(&mut self, slot: u32, value: f64, time: EventTime) -> Option<(f32, Reason)> {
        let mut verdict = None;
        if let Some(stuck_after) = self.settings.stuck_after
            && let Some(still) = self.stills.record_mut(slot)
            && still.push(value, stuck_after)
        {
            verdict = Some((1.0, Reason::Stuck));
        }
        if let Some(sensitivity) = &self.settings.sensitivity
            && let Some(bands) = self.bands.record_mut(slot)
        {
            let judgement = bands.push(sensitivity, value, time);
            if let Some(quantity) = judgement.alert {
                if verdict.is_some() {
                    self.stills.record_mut(slot).into_iter().for_each(Stillness::put_off);
                }
                verdict = Some((judgement.score, Reason::Left(quantity)));
            }
        }
        verdict
    }

    /// Adds a field to a device, between two of its fields, and returns its slot.
    #[cold]
    fn insert(&mut self, device: u32, field: usize, before: u32, next: u32) -> Option<u32> {
        let link = Link { next, field: u8::try_from(field).ok()? };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.links.record_mut(slot)? = link;
                slot
            }
            None => {
                if self.settings.sensitivity.is_some() {
                    self.bands.push(SeriesBands::new())?;
                }
                if self.settings.stuck_after.is_some() {
                    self.stills.push(Stillness::default())?;
                }
                self.links.push(link)?
            }
        };
        match (self.links.record_mut(before), self.firsts.record_mut(device)) {
            (Some(before), _) => before.next = slot,
            (None, Some(first)) => *first = slot,
            (None, None) => return None,
        }
        Some(slot)
    }

    /// Frees all fields of a device.
    pub(super) fn free(&mut self, device: u32) {
        let first = self.firsts.record_mut(device);
        let mut at = first.map_or(NO_SLOT, |first| std::mem::replace(first, NO_SLOT));
        while let Some(link) = self.links.record(at) {
            let next = link.next;
            if let Some(bands) = self.bands.record_mut(at) {
                *bands = SeriesBands::new();
            }
            if let Some(still) = self.stills.record_mut(at) {
                *still = Stillness::default();
            }
            self.free.push(at);
            at = next;
        }
    }

    /// Replaces the fields of a device by copies, which are in the order of the fields.
    pub(super) fn replace(&mut self, device: u32, copies: &[FieldNovelty]) {
        self.free(device);
        let mut before = NO_SLOT;
        for copy in copies {
            let Some(slot) = self.insert(device, usize::from(copy.field), before, NO_SLOT) else {
                return;
            };
            if let (Some(place), Some(bands)) = (self.bands.record_mut(slot), &copy.bands) {
                *place = bands.clone();
            }
            if let (Some(place), Some(still)) = (self.stills.record_mut(slot), copy.stillness) {
                *place = still;
            }
            before = slot;
        }
    }

    /// Returns copies of the fields of a device, in their order.
    pub(super) fn of(&self, device: u32) -> impl Iterator<Item = FieldNovelty> {
        let mut at = self.first(device);
        std::iter::from_fn(move || {
            let link = self.links.record(at)?;
            let bands = self.bands.record(at).cloned();
            let stillness = self.stills.record(at).copied();
            at = link.next;
            Some(FieldNovelty { field: link.field, bands, stillness })
        })
    }

    fn first(&self, device: u32) -> u32 {
        self.firsts.record(device).copied().unwrap_or(NO_SLOT)
    }
}

const _: () = assert!(size_of::<SeriesBands>() + size_of::<Link>() <= BANDS_BYTES);
const _: () = assert!(size_of::<Stillness>() + size_of::<Link>() <= STILLNESS_BYTES);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::analytics::novelty::EXCESS_ON;
    use crate::analytics::novelty::local_day::LocalDay;
    use crate::schema::FieldSet;
    use crate::schema::samples::sixteen;

    const STUCK_AFTER: u32 = 3;

    fn settings() -> NoveltySettings {
        NoveltySettings {
            sensitivity: Some(NoveltySettings::sensitivity(EXCESS_ON)),
            stuck_after: Some(STUCK_AFTER),
            day: Arc::new(LocalDay::UTC),
        }
    }

    fn copies(fields: &NovelFields, device: u32) -> Vec<FieldNovelty> {
        fields.of(device).collect()
    }

    proptest! {
        /// Devices that send any fields in any order, are forgotten and move: what is known of each
        /// field is what is known of its series alone.
        #[test]
        fn each_field_is_a_series_of_its_own(
            events in prop::collection::vec((0..3_u32, any::<u16>(), 0..40_u8), 0..120),
        ) {
            let schema = sixteen();
            let mut fields = NovelFields::new(settings(), 3);
            let mut alone: BTreeMap<(u32, usize), (SeriesBands, Stillness)> = BTreeMap::new();
            let sensitivity = NoveltySettings::sensitivity(EXCESS_ON);
            for (number, (device, bits, kind)) in events.into_iter().enumerate() {
                let value = |field: u8| f64::from(kind % 4 + field);
                let values: Vec<f64> = (0..16).map(value).collect();
                match kind {
                    0 => {
                        fields.free(device);
                        alone.retain(|(of, _), _| *of != device);
                    }
                    1 => {
                        let moved = copies(&fields, device);
                        fields.free(device);
                        fields.replace(device, &moved);
                    }
                    _ => {
                        let ms = number as i64 * 600_000;
                        let event = Event {
                            timestamp_ms: ms,
                            present: FieldSet::from_bits(bits),
                            values: &values,
                            ..Event::default()
                        };
                        let mut found = Vec::new();
                        let note = |point: NovelPoint| found.push(point.field.index());
                        fields.judge(device, &event, schema, note);
                        let mut expected = Vec::new();
                        for field in (0..16).filter(|field| bits >> field & 1 == 1) {
                            let (bands, still) = alone.entry((device, field)).or_default();
                            let time = EventTime { ms, hour: LocalDay::UTC.hour(ms) };
                            let is_stuck = still.push(values[field], STUCK_AFTER);
                            let alert = bands.push(&sensitivity, values[field], time).alert;
                            expected.extend((is_stuck || alert.is_some()).then_some(field));
                        }
                        prop_assert_eq!(found, expected);
                    }
                }
            }
            for device in 0..3 {
                let expected: Vec<_> = alone
                    .iter()
                    .filter(|((of, _), _)| *of == device)
                    .map(|((_, field), (bands, still))| FieldNovelty {
                        field: *field as u8,
                        bands: Some(bands.clone()),
                        stillness: Some(*still),
                    })
                    .collect();
                prop_assert_eq!(copies(&fields, device), expected);
            }
            // What is freed is used again.
            let held = alone.len();
            prop_assert_eq!(fields.links.len() - fields.free.len(), held);
            prop_assert_eq!([fields.bands.len(), fields.stills.len()], [fields.links.len(); 2]);
        }
    }

    #[test]
    fn a_judge_that_is_not_asked_has_no_memory() {
        let settings = NoveltySettings { sensitivity: None, ..settings() };
        let mut fields = NovelFields::new(settings, 1);
        let event = Event { present: FieldSet::from_bits(1), values: &[7.0], ..Event::default() };
        let mut told = 0;
        (0..5).for_each(|_| fields.judge(0, &event, sixteen(), |_| told += 1));
        assert_eq!((told, fields.bands.len(), fields.stills.len()), (1, 0, 1));
    }
}
