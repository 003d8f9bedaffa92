//! The gate before the analytics: which events keep to the limits of their devices.
//!
//! What does not is neither scored nor stored, so all events of a request are looked at before any
//! of them is applied. An event counts for its device when it is let in, whatever becomes of it.

use super::anomaly_records::Receipt;
use super::shard::{Arrived, Guesses, Shard};
use super::slots::NO_SLOT;
use super::{Analytics, DeviceKey};
use crate::limits::EVENTS_PER_HOLD;
use percore::clock::Now;
use percore::sync::Mutex;

/// The gate for the events of one request.
pub struct DeviceGate<'a> {
    analytics: &'a Analytics,
    receipt: Receipt,
}

impl Analytics {
    /// Returns the gate for a request that `core` received; `None` if devices have no limit.
    pub fn gate(&self, core: usize, now: Now) -> Option<DeviceGate<'_>> {
        let receipt = || Receipt { now, core: self.core(core).number, received: 0 };
        self.has_device_limit.then(|| DeviceGate { analytics: self, receipt: receipt() })
    }
}

impl DeviceGate<'_> {
    /// Counts those events of a group, of at most [`EVENTS_PER_HOLD`], that keep to the limits of
    /// their devices, in their order. An event without a device has no limit, and neither has one
    /// whose device is new while there are too many others. Of those next to each other with one
    /// home the shard is locked once.
    pub fn admit(&self, group: &[Arrived<'_>]) -> [u64; EVENTS_PER_HOLD] {
        let shards = &self.analytics.shards;
        let home = |arrived: &Arrived<'_>| arrived.hash.shard(shards.len());
        let mut waits = [0; EVENTS_PER_HOLD];
        let (mut rest, mut places) = (group, waits.as_mut_slice());
        while let Some(first) = rest.first() {
            let home_of_run = home(first);
            let run = rest.iter().take_while(|arrived| home(arrived) == home_of_run).count();
            let (run, after) = rest.split_at_checked(run).unwrap_or_default();
            let Some((run_places, after_places)) = places.split_at_mut_checked(run.len()) else {
                break;
            };
            if let Some(shard) = shards.get(home_of_run) {
                self.admit_run(shard, run, run_places);
            }
            (rest, places) = (after, after_places);
        }
        waits
    }

    /// Looks at events of one shard.
    fn admit_run(&self, home: &Mutex<Shard>, run: &[Arrived<'_>], waits: &mut [u64]) {
        let Self { analytics, receipt } = *self;
        let mut shard = home.lock();
        let is_large = shard.is_large();
        let guesses = if is_large { shard.guess(run, &Guesses::NONE) } else { Guesses::NONE };
        for ((arrived, guess), wait_ns) in run.iter().zip(guesses.slots).zip(waits) {
            let Some(key) = arrived.key() else {
                continue;
            };
            let mut found = shard.admit(receipt, key, guess, &analytics.quota);
            if found.is_none() {
                drop(shard);
                found = self.admit_with_reclaimed(home, key);
                shard = home.lock();
            }
            *wait_ns = found.unwrap_or_default();
        }
    }

    /// Looks at an event of a new device once a slot of another one was reclaimed.
    #[cold]
    fn admit_with_reclaimed(&self, home: &Mutex<Shard>, key: DeviceKey<'_>) -> Option<u64> {
        let Self { analytics, receipt } = *self;
        if !analytics.reclaim_slots(receipt.core, receipt.now.mono_ns) {
            return None;
        }
        home.lock().admit(receipt, key, NO_SLOT, &analytics.quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::AnalyticsSettings;
    use crate::gcra::{Pace, Paces};
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::FieldSet;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SECOND_NS: u64 = 1_000_000_000;

    fn analytics(paces: Paces, cores: usize, devices_max: usize) -> Analytics {
        let settings = AnalyticsSettings {
            devices_max,
            device_ttl_ns: 100 * SECOND_NS,
            device_limit: Some(paces),
            judge_duplicates: false,
            ..AnalyticsSettings::small()
        };
        Analytics::new(settings, cores, IdHasher::default())
    }

    fn arrived<'a>(analytics: &Analytics, id: Option<&'a str>) -> Arrived<'a> {
        let device_id = id.map(str::as_bytes);
        let present = FieldSet::from_bits(3);
        let event =
            Event { device_id, timestamp: 1, present, values: &[1.0; 2], ..Event::default() };
        Arrived { event, hash: analytics.ids.hash_of(&event), index: 0 }
    }

    fn at(mono_ns: u64) -> Now {
        Now { mono_ns, wall_us: 0 }
    }

    proptest! {
        /// The limits of devices are their own, in groups of any devices on any number of shards.
        #[test]
        fn each_device_has_a_limit_of_its_own(
            cores in 1..5_usize,
            groups in prop::collection::vec(
                (prop::collection::vec(prop::option::weighted(0.9, 0..20_u32), 1..=8),
                    0..3 * SECOND_NS), 1..100),
        ) {
            let paces: Paces = [Pace::new(3, 2), Pace::new(20, 60)].into_iter().collect();
            let analytics = analytics(paces, cores, 100);
            let mut twins = BTreeMap::new();
            let mut now_ns = 0;
            for (devices, step_ns) in groups {
                now_ns += step_ns;
                let ids: Vec<_> =
                    devices.iter().map(|device| device.map(|it| format!("d{it}"))).collect();
                let group: Vec<_> =
                    ids.iter().map(|id| arrived(&analytics, id.as_deref())).collect();
                let core = devices.len() % cores;
                let waits = analytics.gate(core, at(now_ns)).unwrap().admit(&group);
                let passing: Vec<_> = group
                    .iter()
                    .zip(waits)
                    .filter_map(|(arrived, wait_ns)| (wait_ns == 0).then_some(*arrived))
                    .collect();
                for (device, wait_ns) in devices.iter().zip(waits) {
                    let Some(device) = device else {
                        prop_assert_eq!(wait_ns, 0);
                        continue;
                    };
                    let dues = twins.entry(*device).or_insert_with(|| paces.ticks(now_ns));
                    prop_assert_eq!(wait_ns, paces.wait_ns(dues, now_ns));
                    if wait_ns == 0 {
                        paces.spend(dues, now_ns, 1);
                    }
                }
                let writer = analytics.writer(core, at(now_ns), passing.len());
                writer.apply(&passing, &mut Vec::new());
            }
            prop_assert_eq!(analytics.devices(), twins.len());
        }
    }

    #[test]
    fn a_new_device_takes_the_slot_of_an_expired_one_and_owes_nothing() {
        let analytics = analytics([Pace::new(2, 50)].into_iter().collect(), 1, 1);
        let admit = |id, now_ns| {
            let group = [arrived(&analytics, Some(id)); 3];
            let waits = analytics.gate(0, at(now_ns)).unwrap().admit(&group);
            [0, 1, 2].map(|at| waits[at] / SECOND_NS)
        };
        assert_eq!(admit("first", 0), [0, 0, 25]);
        // There is no room for it, so it has no limit.
        assert_eq!(admit("second", SECOND_NS), [0; 3]);
        let later_ns = 200 * SECOND_NS;
        assert_eq!(admit("second", later_ns), [0, 0, 25]);
        assert_eq!((analytics.devices(), admit("first", later_ns)), (1, [0; 3]));
    }

    #[test]
    fn a_device_that_was_silent_for_too_long_starts_afresh_with_a_limit_as_well() {
        let analytics = analytics([Pace::new(2, 50)].into_iter().collect(), 1, 1);
        for (now_ns, accepted) in [(0, 2), (90 * SECOND_NS, 4), (191 * SECOND_NS, 2)] {
            let mut group = [arrived(&analytics, Some("d")); 3];
            for (later, arrived) in (0..).zip(&mut group) {
                arrived.event.timestamp = now_ns + later;
            }
            let waits = analytics.gate(0, at(now_ns)).unwrap().admit(&group);
            assert_eq!(waits.map(|wait_ns| wait_ns == 0)[..3], [true, true, false]);
            analytics.writer(0, at(now_ns), 2).apply(&group[..2], &mut Vec::new());
            let device = analytics.device("d", at(now_ns)).unwrap();
            assert_eq!((device.accepted, device.window.count as u64), (accepted, accepted));
        }
    }

    #[test]
    fn without_a_limit_there_is_no_gate() {
        let settings = AnalyticsSettings {
            judge_duplicates: false,
            devices_max: 1,
            device_ttl_ns: 1,
            ..AnalyticsSettings::small()
        };
        assert!(Analytics::new(settings, 1, IdHasher::default()).gate(0, at(0)).is_none());
    }
}
