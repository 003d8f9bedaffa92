//! The writer of one request: it applies events to their home shards.

use super::anomaly::Found;
use super::anomaly_records::Receipt;
use super::applied::{Applied, Unjudged};
use super::shard::{Arrived, Guesses, Shard};
use super::slots::NO_SLOT;
use super::{Analytics, CoreState};
use crate::limits;
use crate::metric::id_hash::IdHash;
use percore::sync::Mutex;

/// A writer that applies the events of one request to their home shards.
///
/// A shard stays locked for a group of events, because locking is a tenth of the cost of an event,
/// and because their memory is fetched together.
pub struct ShardWriter<'a> {
    pub(super) analytics: &'a Analytics,
    pub(super) core: &'a CoreState,
    pub(super) receipt: Receipt,
}

impl ShardWriter<'_> {
    /// Returns the number of an event's home shard: that of its device, or the core's own for an
    /// event without a device id.
    #[inline]
    pub fn home(&self, device_id: Option<&[u8]>, hash: IdHash) -> usize {
        match device_id {
            Some(_) => hash.shard(self.analytics.shards.len()),
            None => self.core.number as usize,
        }
    }

    /// Returns true if another thread has a shard locked just now.
    pub fn is_busy(&self, home: usize) -> bool {
        self.analytics.shards.get(home).is_some_and(|shard| shard.is_locked())
    }

    /// Scores events, at most [`limits::EVENTS_PER_HOLD`], and adds them to their series, under the
    /// locks of their home shards. Of those next to each other with one home it is locked once.
    /// Appends their anomalies to `points`. Allocates only for a new device, for a field that is
    /// new to its device, or for a device whose window is elsewhere.
    pub fn apply(&self, group: &[Arrived<'_>], points: &mut Vec<Found>) -> Applied {
        let mut guesses = Guesses::NONE;
        self.apply_before(group, &[], &mut guesses, points)
    }

    /// The same, and asks for the memory that the `next` events will need. `guesses` has what was
    /// found for the group when it was the next one, and then for those that are.
    #[inline]
    pub fn apply_before(
        &self,
        group: &[Arrived<'_>],
        next: &[Arrived<'_>],
        guesses: &mut Guesses,
        points: &mut Vec<Found>,
    ) -> Applied {
        if let [shard] = &*self.analytics.shards {
            return self.apply_run(shard, group, next, guesses, points);
        }
        let home_of = |arrived: &Arrived<'_>| self.home(arrived.event.device_id, arrived.hash);
        let of_home = |events: &[Arrived<'_>], home| {
            events.iter().take_while(|arrived| home_of(arrived) == home).count()
        };
        let (mut rest, mut applied) = (group, Applied::default());
        while let Some(first) = rest.first() {
            let home = home_of(first);
            let (run, after) = rest.split_at_checked(of_home(rest, home)).unwrap_or_default();
            let next = next.get(..if after.is_empty() { of_home(next, home) } else { 0 });
            if let Some(shard) = self.analytics.shards.get(home) {
                applied += self.apply_run(shard, run, next.unwrap_or_default(), guesses, points);
            }
            rest = after;
        }
        applied
    }

    /// Applies events of one shard.
    fn apply_run(
        &self,
        home: &Mutex<Shard>,
        run: &[Arrived<'_>],
        next: &[Arrived<'_>],
        guesses: &mut Guesses,
        points: &mut Vec<Found>,
    ) -> Applied {
        debug_assert!(run.len() <= limits::EVENTS_PER_HOLD, "{} events", run.len());
        let Self { analytics: Analytics { quota, lease, .. }, core, receipt } = *self;
        let mut applied = Applied::default();
        let mut shard = home.lock();
        let is_large = shard.is_large();
        let mut slots = Guesses::NONE.slots;
        if is_large {
            slots = shard.guess(run, guesses).slots;
            *guesses = shard.look_up(next);
        }
        for (arrived, guess) in run.iter().zip(slots) {
            debug_assert_eq!(arrived.hash, self.analytics.ids.hash_of(&arrived.event));
            let mut result = shard.apply(receipt, arrived, guess, quota, points);
            if result == Err(Unjudged::Refused) {
                drop(shard);
                result = self.apply_with_reclaimed(home, arrived, points);
                shard = home.lock();
            }
            if let Err(reason) = result {
                applied.add(reason);
            }
        }
        if is_large {
            shard.prefetch(next, guesses);
        }
        let wakes = shard.take_wake();
        drop(shard);
        if wakes {
            lease.wake();
        }
        if !applied.is_none() {
            core.refused.add(applied.refused());
        }
        applied
    }

    /// Applies an event of a new device once a slot of another one was reclaimed.
    #[cold]
    #[inline(never)]
    fn apply_with_reclaimed(
        &self,
        home: &Mutex<Shard>,
        arrived: &Arrived<'_>,
        points: &mut Vec<Found>,
    ) -> Result<(), Unjudged> {
        let Self { analytics, core, receipt } = *self;
        if !analytics.reclaim_slots(core.number, receipt.now.mono_ns) {
            return Err(Unjudged::Refused);
        }
        home.lock().apply(receipt, arrived, NO_SLOT, &analytics.quota, points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::AnalyticsSettings;
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::FieldSet;
    use percore::clock::Now;

    const SECOND_NS: u64 = 1_000_000_000;

    /// Fewer than there are ids, so that slots change hands, and more than a cache holds.
    const DEVICES_MAX: usize = 2500;

    fn analytics(cores: usize, ids: IdHasher) -> Analytics {
        let settings = AnalyticsSettings {
            devices_max: DEVICES_MAX * cores,
            device_ttl_ns: 10 * SECOND_NS,
            judge_duplicates: false,
            ..AnalyticsSettings::small()
        };
        Analytics::new(settings, cores, ids)
    }

    #[test]
    fn what_is_looked_up_early_changes_no_verdict() {
        for cores in [1, 3] {
            // Of one hasher, so that a device has the same home in both.
            let hasher = IdHasher::default();
            let (early, alone) = (analytics(cores, hasher.clone()), analytics(cores, hasher));
            let ids: Vec<String> =
                (0..DEVICES_MAX * cores + 500).map(|n| format!("d{n}")).collect();
            let mut random = fastrand::Rng::with_seed(7);
            let mut refused = 0;
            for number in 0..6000_u64 {
                let now = Now { mono_ns: number * SECOND_NS / 100, wall_us: 0 };
                // Of a batch some devices come again, and some events have none.
                let values: Vec<[f64; 2]> = (0..random.usize(0..30))
                    .map(|_| [random.u8(..).into(), random.u8(..).into()])
                    .collect();
                let events: Vec<Event<'_>> = values
                    .iter()
                    .map(|values| Event {
                        device_id: random
                            .choice(&ids)
                            .filter(|_| random.u8(..) > 9)
                            .map(String::as_bytes),
                        timestamp: number,
                        timestamp_ms: 1_700_000_000_000 + number as i64,
                        present: FieldSet::from_bits(3),
                        values,
                        ..Event::default()
                    })
                    .collect();
                let arrived_at = |analytics: &Analytics| -> Vec<_> {
                    let arrived = (0..).zip(&events).map(|(index, event)| Arrived {
                        event: *event,
                        hash: analytics.ids.hash_of(event),
                        index,
                    });
                    arrived.collect()
                };
                let (mut expected, mut found) = (Vec::new(), Vec::new());
                let core = random.usize(..cores);
                let writer = alone.writer(core, now, events.len());
                let mut applied = Applied::default();
                for arrived in arrived_at(&alone) {
                    applied += writer.apply(&[arrived], &mut expected);
                }
                let writer = early.writer(core, now, events.len());
                let (arrived, mut guesses) = (arrived_at(&early), Guesses::NONE);
                let groups: Vec<_> = arrived.chunks(limits::EVENTS_PER_HOLD).collect();
                let mut applied_early = Applied::default();
                for (at, group) in groups.iter().enumerate() {
                    let next = groups.get(at + 1).copied().unwrap_or_default();
                    applied_early += writer.apply_before(group, next, &mut guesses, &mut found);
                }
                assert_eq!((applied_early, found), (applied, expected), "{number} of {cores}");
                refused += applied.refused();
            }
            assert!(refused > 0);
            assert_eq!(early.totals(Now::default()), alone.totals(Now::default()));
        }
    }
}
