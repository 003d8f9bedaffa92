//! The writer of one request: it applies events to their home shards.

use super::anomaly::Found;
use super::anomaly_records::Receipt;
use super::applied::{Applied, Unjudged};
use super::shard::{Arrived, NO_GUESSES, Shard};
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
        if let [shard] = &*self.analytics.shards {
            return self.apply_run(shard, group, points);
        }
        let home_of = |arrived: &Arrived<'_>| self.home(arrived.event.device_id, arrived.hash);
        let (mut rest, mut applied) = (group, Applied::default());
        while let Some(first) = rest.first() {
            let home = home_of(first);
            let run = rest.iter().take_while(|arrived| home_of(arrived) == home).count();
            let (run, after) = rest.split_at_checked(run).unwrap_or_default();
            if let Some(shard) = self.analytics.shards.get(home) {
                applied += self.apply_run(shard, run, points);
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
        points: &mut Vec<Found>,
    ) -> Applied {
        debug_assert!(run.len() <= limits::EVENTS_PER_HOLD, "{} events", run.len());
        let Self { analytics: Analytics { quota, lease, .. }, core, receipt } = *self;
        let mut applied = Applied::default();
        let mut shard = home.lock();
        let guesses = if shard.is_large() { shard.prefetch(run) } else { NO_GUESSES };
        for (arrived, guess) in run.iter().zip(guesses) {
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
