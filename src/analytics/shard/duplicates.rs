//! Duplicates: events that repeat the last one of their device, as clients send them again that got
//! no answer.
//!
//! Such an event has the key of the one before, so the store replaces it by the same. But another
//! place in the windows would make the next values seem further off than they are, and an anomaly
//! would be two.

use super::{ANONYMOUS, Shard};
use crate::analytics::anomaly_records::Arrival;
use crate::analytics::applied::Unjudged;
use crate::analytics::slots::Slot;
use crate::analytics::window::Window;

impl Shard {
    /// Returns true if an event has the timestamp of its device's last one, and each of its values
    /// is the newest of its field, of that time. Which field the last event had beside these does
    /// not matter. A timestamp that the server gave is none that came before.
    pub(super) fn is_duplicate(&self, arrival: &Arrival<'_>) -> bool {
        let Arrival { event, slot, .. } = *arrival;
        let row = self.slots.read(slot).filter(|row| row.record.timestamp == event.timestamp);
        let Some(row) = row.filter(|_| slot != ANONYMOUS && !self.rules.judges_duplicates) else {
            return false;
        };
        let required = event.values.get(..self.required).unwrap_or_default();
        if self.required > 0 && !repeats(&row, &row.record.window, required, event.timestamp_ms) {
            return false;
        }
        let mut left = event.present.bits() & self.optional_bits;
        for (field, row) in self.optional.of(slot) {
            let bit = 1 << field & left;
            let value = event.values.get(field..=field).unwrap_or_default();
            if bit != 0 && !repeats(&row, &row.record.window, value, event.timestamp_ms) {
                return false;
            }
            left &= !bit;
        }
        left == 0
    }

    /// Counts an event that repeats the last one of its device.
    pub(super) fn count_duplicate(&mut self, arrival: &Arrival<'_>) -> Unjudged {
        self.duplicates += 1;
        if let Some(device) = self.slots.record_mut(arrival.slot) {
            device.hear(arrival.receipt.now);
            device.counts.add_event(arrival.slot, &mut self.carries);
        }
        Unjudged::Duplicate
    }
}

/// Returns true if the newest event of a window has this time and these values.
fn repeats<T>(row: &Slot<'_, T>, window: &Window, values: &[f64], timestamp_ms: i64) -> bool {
    let Some(at) = window.newest(row.offsets.len()) else {
        return false;
    };
    let held = row.values.get(at * values.len()..).unwrap_or_default();
    window.timestamp_ms(at, row.offsets, row.wide) == Some(timestamp_ms)
        && held.len() >= values.len()
        && held.iter().zip(values).all(|(held, value)| held.to_bits() == value.to_bits())
}

#[cfg(test)]
mod tests {
    use crate::analytics::{Analytics, AnalyticsSettings, Applied, Arrived};
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::samples::numbered;
    use crate::schema::{FieldSet, Schema};
    use percore::clock::Now;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Instance {
        analytics: Analytics,
        ids: IdHasher,
    }

    impl Instance {
        fn new(schema: &'static Schema, judge_duplicates: bool) -> Self {
            let settings = AnalyticsSettings {
                schema,
                window: 5,
                threshold: 1.5,
                min_samples: 2,
                cooldown: 1,
                devices_max: 9,
                device_ttl_ns: 1000,
                device_limit: None,
                judge_duplicates,
            };
            let ids = IdHasher::default();
            Self { analytics: Analytics::new(settings, 1, ids.clone()), ids }
        }

        fn send(&self, id: &str, sent: &Sent, mono_ns: u64) -> Applied {
            let event = Event {
                device_id: (!id.is_empty()).then_some(id.as_bytes()),
                timestamp: sent.key,
                timestamp_ms: sent.key.cast_signed() / 4,
                present: FieldSet::from_bits(sent.bits),
                values: &sent.values,
                ..Event::default()
            };
            let arrived = Arrived { event, hash: self.ids.hash_of(&event), index: 0 };
            let now = Now { mono_ns, wall_us: 0 };
            self.analytics.writer(0, now, 1).apply(&[arrived], &mut Vec::new())
        }
    }

    #[derive(Clone, Debug, PartialEq)]
    struct Sent {
        /// Four of them are one millisecond.
        key: u64,
        bits: u16,
        values: Vec<f64>,
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let values = prop::collection::vec(prop_oneof![Just(0.0), Just(-0.0), Just(9.5)], 3);
        (0..12_u64, any::<u16>(), values).prop_map(|(key, bits, values)| Sent { key, bits, values })
    }

    proptest! {
        /// The events that a naive twin leaves give the same windows and verdicts.
        #[test]
        fn a_duplicate_leaves_the_windows_as_they_are(
            (required, optional) in prop_oneof![Just((2, 0)), Just((1, 2)), Just((0, 3))],
            steps in prop::collection::vec((sent(), 0..4_u8, prop::bool::weighted(0.02)), 1..120),
        ) {
            let schema = numbered(required, optional);
            let (instance, twin) = (Instance::new(schema, false), Instance::new(schema, true));
            let fields = required + optional;
            let (mut last, mut now_ns, mut duplicates) = (None::<Sent>, 0, 0);
            // The newest of each field: its time and its value.
            let mut newest = BTreeMap::new();
            for (mut sent, repeats, is_silent) in steps {
                if let Some(last) = last.as_ref().filter(|_| repeats > 1) {
                    // A whole repetition, or one that lacks fields.
                    let bits = if repeats == 2 { last.bits } else { last.bits & sent.bits };
                    sent = Sent { bits, ..last.clone() };
                }
                sent.bits = (sent.bits | ((1 << required) - 1)) & ((1 << fields) - 1);
                sent.bits |= u16::from(sent.bits == 0);
                if is_silent {
                    now_ns += 1001;
                    newest.clear();
                    last = None;
                }
                let has = |field: &usize| sent.bits >> field & 1 == 1;
                let of = |field: usize| (sent.key / 4, sent.values[field].to_bits());
                let is_duplicate = last.as_ref().is_some_and(|last| last.key == sent.key)
                    && (0..fields).filter(has).all(|at| newest.get(&at) == Some(&of(at)));
                let applied = instance.send("d", &sent, now_ns);
                prop_assert_eq!(applied, Applied::of(0, 0, is_duplicate.into()), "{:?}", sent);
                if is_duplicate {
                    duplicates += 1;
                } else {
                    prop_assert_eq!(twin.send("d", &sent, now_ns), Applied::default());
                    newest.extend((0..fields).filter(has).map(|at| (at, of(at))));
                    last = Some(sent);
                }
            }
            let now = Now { mono_ns: now_ns, wall_us: 0 };
            let [mut found, expected] =
                [&instance, &twin].map(|it| it.analytics.device("d", now).unwrap());
            let totals = instance.analytics.totals(now);
            prop_assert_eq!(totals.duplicates, duplicates);
            // They count as events of the device, as what is acknowledged does.
            prop_assert!((expected.accepted..=expected.accepted + duplicates)
                .contains(&found.accepted));
            found.accepted = expected.accepted;
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
            prop_assert_eq!(totals.points, twin.analytics.totals(now).points);
        }
    }

    #[test]
    fn only_what_has_a_device_is_a_duplicate_and_nothing_if_all_is_to_be_judged() {
        let sent = Sent { key: 0, bits: 3, values: vec![1.0, 2.0] };
        let instance = Instance::new(Schema::standard(), false);
        let sends = |instance: &Instance, id| [0; 3].map(|_| instance.send(id, &sent, 0));
        let twice = [Applied::default(), Applied::of(0, 0, 1), Applied::of(0, 0, 1)];
        assert_eq!(sends(&instance, "d"), twice);
        assert_eq!(sends(&instance, ""), [Applied::default(); 3]);
        let old = Instance::new(Schema::standard(), true);
        assert_eq!(sends(&old, "d"), [Applied::default(); 3]);
        let accepted = |of: &Instance| of.analytics.device("d", Now::default()).unwrap().accepted;
        assert_eq!((accepted(&instance), accepted(&old)), (3, 3));
    }
}
