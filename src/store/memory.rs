//! The memory store: a ring of append-only segments for each core, and one budget for all.
//!
//! A core appends to its own ring only, so cores do not contend; a look-up searches every ring.
//! Records are removed by whole segments: when the newest record of one has expired, or when newer
//! records need the space. Then the oldest segment of all rings is evicted, whichever core wrote
//! it, so that the newest records are kept however the load is spread over the cores. All records
//! have the same time to live.
//!
//! A look-up returns the last write of a key, or nothing. Inside one ring that holds because its
//! segments are in the order of time. Between rings it takes a horizon: the time of the newest
//! record that a ring has removed. An older record in another ring could be an older version of a
//! key whose newer version was removed, so it is hidden. That hides few records: the oldest segment
//! was evicted, so only records that are older than its newest and share a segment with later ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::limits::{RECORDS_PER_HOLD, SEGMENTS_PER_CORE_MIN};
use crate::metric::event::Event;
use crate::metric::id_hash::{IdHash, IdHasher};
use crate::schema::Schema;
use crate::store::block::Appended;
use crate::store::event_counters::{EventCounters, EvictReason};
use crate::store::key::Key;
use crate::store::segment::{Segment, SegmentConfig};
use percore::clock::Now;
use percore::sync::{Mutex, MutexGuard, PerCore};

/// A segment takes records for this fraction of the time to live, so that the first of them stays
/// in memory longer than its time by no more than that.
const OPEN_FRACTION: u64 = 8;

/// See the head of this file.
#[derive(Debug)]
pub struct MemoryStore {
    schema: &'static Schema,
    shards: PerCore<Shard>,
    ids: IdHasher,
    config: SegmentConfig,
    /// Allocated segments: in rings, spare, or just being opened by a core.
    segments: AtomicUsize,
    segments_max: usize,
    ttl_ns: u64,
}

/// The part of the store that one core writes.
#[derive(Debug, Default)]
struct Shard {
    ring: Mutex<Ring>,
    /// One more than the time of the newest record that was removed; 0 while none was.
    horizon: AtomicU64,
}

/// Segments, the oldest first; only the last one takes records.
#[derive(Debug, Default)]
struct Ring {
    segments: VecDeque<Segment>,
    /// A segment that was removed, to be used again. It counts as memory in use.
    spare: Option<Segment>,
    opened: u64,
    uncounted: Uncounted,
}

/// Events in a ring that the counters do not have yet; none while the ring is not locked.
#[derive(Clone, Copy, Debug, Default)]
struct Uncounted {
    events: u64,
    /// The number of them without a record of their own.
    coalesced: u64,
}

/// The version of a record, by which the newest of a key is found: time of entry, then core.
type Version = (u64, usize);

impl MemoryStore {
    /// Creates a store of `capacity_bytes`, index included, for all cores together. A budget too
    /// small for two of the smallest segments a core is raised to that. `ids` hashes the ids of all
    /// events.
    pub fn new(
        schema: &'static Schema,
        cores: usize,
        capacity_bytes: usize,
        ttl_ms: u64,
        ids: IdHasher,
    ) -> Self {
        let ttl_ns = ttl_ms.saturating_mul(1_000_000);
        let cores = cores.max(1);
        let share = capacity_bytes / cores;
        let config = SegmentConfig::new(share / SEGMENTS_PER_CORE_MIN, ttl_ns / OPEN_FRACTION);
        Self {
            schema,
            shards: PerCore::new(cores, |_| Shard::default()),
            ids,
            config,
            segments: AtomicUsize::new(0),
            segments_max: (capacity_bytes / config.cost_bytes()).max(2 * cores),
            ttl_ns,
        }
    }

    /// Returns the bytes that the store may use, index included.
    pub fn capacity_bytes(&self) -> usize {
        self.segments_max * self.config.cost_bytes()
    }

    /// Returns the bytes that the store has allocated, pages that were never written included.
    pub fn allocated_bytes(&self) -> usize {
        self.segments.load(Ordering::Relaxed) * self.config.cost_bytes()
    }

    /// Returns what appends the events of one request. Only `core` appends to its ring, and its
    /// slot of the counters is its own.
    pub const fn appender<'a>(
        &'a self,
        core: usize,
        now: Now,
        counters: &'a EventCounters,
    ) -> RingAppender<'a> {
        RingAppender { store: self, counters, core, now, ring: None }
    }

    /// Counts the events in the rings that the counters do not have. It waits for a core that has a
    /// request at hand.
    pub fn uncounted(&self) -> u64 {
        self.shards.iter().map(|shard| shard.ring.lock().uncounted.events).sum()
    }

    /// Appends to `out` the value of the newest version of `key`. Returns true if there is one.
    pub fn lookup(&self, key: &[u8], now: Now, out: &mut Vec<u8>) -> bool {
        let Some(key) = Key::parse(key) else {
            return false;
        };
        let hash = key.hash(&self.ids);
        let start = out.len();
        let mut best: Option<Version> = None;
        for (core, shard) in self.shards.iter().enumerate() {
            let mut below = u64::MAX;
            while let Some(probe) = self.probe(shard, below, (hash, key), out) {
                below = probe.sequence;
                let is_better = best.is_none_or(|(best_ns, _)| probe.newest_ns >= best_ns);
                if self.has_expired(probe.newest_ns, now) || !is_better {
                    out.truncate(probe.out_len);
                    break;
                }
                let Some(entered_ns) = probe.found_ns else {
                    continue;
                };
                let version = (entered_ns, core);
                if self.has_expired(entered_ns, now) || best.is_some_and(|best| best > version) {
                    out.truncate(probe.out_len);
                } else {
                    out.drain(start..probe.out_len);
                    best = Some(version);
                }
                break;
            }
        }
        // The horizons are read last: records that were removed meanwhile are behind them.
        let is_shown = best.is_some_and(|version| !self.is_behind_horizon(version));
        if !is_shown {
            out.truncate(start);
        }
        is_shown
    }

    /// Searches the newest segment with a sequence under `below`, and locks the ring only for that.
    /// Returns `None` if there is no such segment.
    fn probe(
        &self,
        shard: &Shard,
        below: u64,
        (hash, key): (u64, Key<'_>),
        out: &mut Vec<u8>,
    ) -> Option<Probe> {
        let out_len = out.len();
        let ring = shard.ring.lock();
        let newest = ring.segments.back()?.sequence;
        // Sequences in a ring have no gaps, so the index follows from the distance to the newest.
        let distance = (newest + 1).saturating_sub(below);
        let index = ring.segments.len().checked_sub(1 + usize::try_from(distance).ok()?)?;
        let segment = ring.segments.get(index)?;
        let found = segment.find(hash, key);
        if let Some((_, parts)) = found {
            parts.write_value(self.schema, out);
        }
        Some(Probe {
            sequence: segment.sequence,
            newest_ns: segment.newest_ns,
            found_ns: found.map(|(entered_ns, _)| entered_ns),
            out_len,
        })
    }

    /// Removes expired segments of a core's ring. Returns the time of the next call, by the
    /// monotonic clock in nanoseconds, or `None` while the ring is empty.
    pub fn sweep(&self, core: usize, now: Now, counters: &EventCounters) -> Option<u64> {
        let shard = self.shards.at(core);
        loop {
            let mut ring = shard.ring.lock();
            let removed =
                shard.pop_oldest_if(&mut ring, |newest_ns| self.has_expired(newest_ns, now));
            let Some(removed) = removed else {
                let next = ring.segments.front();
                let next_ns = next.map(|front| front.newest_ns.saturating_add(self.ttl_ns));
                // An idle core keeps no buffers.
                let spare = next_ns.is_none().then(|| ring.spare.take()).flatten();
                drop(ring);
                self.free(spare);
                return next_ns;
            };
            let surplus = ring.spare.replace(removed);
            let records = ring.spare.as_ref().map_or(0, |spare| spare.records);
            drop(ring);
            self.free(surplus);
            counters.add_evicted(core, EvictReason::Expired, records);
        }
    }

    /// Appends an empty segment to a core's ring. If the budget is spent, the oldest of all is
    /// evicted.
    fn open_segment(&self, core: usize, now: Now, counters: &EventCounters) {
        self.sweep(core, now, counters);
        let shard = self.shards.at(core);
        let spare = shard.ring.lock().spare.take();
        let mut segment = spare.unwrap_or_else(|| self.allocate_segment(core, counters));
        let mut ring = shard.ring.lock();
        ring.opened += 1;
        let sequence = ring.opened;
        drop(ring);
        segment.reopen(sequence, now.mono_ns);
        shard.ring.lock().segments.push_back(segment);
    }

    /// Returns a new segment or, when the budget is spent, a spare one of any ring or the oldest.
    fn allocate_segment(&self, core: usize, counters: &EventCounters) -> Segment {
        let is_granted =
            self.segments.try_update(Ordering::Relaxed, Ordering::Relaxed, |segments| {
                (segments < self.segments_max).then_some(segments + 1)
            });
        if is_granted.is_ok() {
            return Segment::new(self.config);
        }
        loop {
            let mut oldest = None;
            for shard in self.shards.iter() {
                let mut ring = shard.ring.lock();
                if let Some(spare) = ring.spare.take() {
                    return spare;
                }
                let front_ns = ring.segments.front().map(|front| front.newest_ns);
                drop(ring);
                let is_older = |ns| oldest.is_none_or(|(oldest_ns, _)| ns < oldest_ns);
                if let Some(front_ns) = front_ns.filter(|&ns| is_older(ns)) {
                    oldest = Some((front_ns, shard));
                }
            }
            // Each core opens at most one segment at a time, of two for each: some ring has one.
            let Some((oldest_ns, shard)) = oldest else {
                continue;
            };
            let mut ring = shard.ring.lock();
            // It may be removed by now, or have newer records: then all rings are searched again.
            let removed = shard.pop_oldest_if(&mut ring, |newest_ns| newest_ns == oldest_ns);
            drop(ring);
            if let Some(removed) = removed {
                counters.add_evicted(core, EvictReason::Capacity, removed.records);
                return removed;
            }
        }
    }

    /// Frees a segment.
    fn free(&self, segment: Option<Segment>) {
        if segment.is_some() {
            drop(segment);
            self.segments.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns true if the time to live of a record that came in at `entered_ns` is over.
    fn has_expired(&self, entered_ns: u64, now: Now) -> bool {
        now.mono_ns >= entered_ns.saturating_add(self.ttl_ns)
    }

    /// Returns true if a ring may have removed a newer version.
    fn is_behind_horizon(&self, version: Version) -> bool {
        self.shards.iter().enumerate().any(|(core, shard)| {
            let horizon = shard.horizon.load(Ordering::Acquire);
            horizon.checked_sub(1).is_some_and(|newest_ns| (newest_ns, core) > version)
        })
    }
}

/// The result of searching one segment.
struct Probe {
    sequence: u64,
    newest_ns: u64,
    /// The time of entry of the key's record, if it was found and its value appended to `out`.
    found_ns: Option<u64>,
    /// The length of `out` before.
    out_len: usize,
}

impl Shard {
    /// Removes the oldest segment if `condition` holds for the time of its newest record. The
    /// horizon moves before the records are removed, and only forward: a ring's segments are in
    /// order.
    fn pop_oldest_if(&self, ring: &mut Ring, condition: impl Fn(u64) -> bool) -> Option<Segment> {
        let newest_ns = ring.segments.front()?.newest_ns;
        if !condition(newest_ns) {
            return None;
        }
        self.horizon.store(newest_ns.saturating_add(1), Ordering::Release);
        ring.segments.pop_front()
    }
}

/// Appends a request's events to the ring of a core, which it locks for a few of them at a time, so
/// that a look-up does not wait for all; segments are allocated and cleared outside the lock.
///
/// Events are counted before the lock is released, also when this is dropped: they are accepted
/// before another thread can see them, and have their outcome before another core can evict them.
#[derive(Debug)]
pub struct RingAppender<'a> {
    store: &'a MemoryStore,
    counters: &'a EventCounters,
    core: usize,
    now: Now,
    ring: Option<MutexGuard<'a, Ring>>,
}

impl RingAppender<'_> {
    /// Appends one event, whose device id has this hash. It counts as coalesced if its key came in
    /// at the same time, in the segment that is being filled: both are of one turn.
    #[inline]
    pub fn append(&mut self, event: &Event<'_>, hash: IdHash) -> Appended {
        debug_assert_eq!(hash, self.store.ids.hash_of(event));
        let hash = hash.key_hash(event.timestamp);
        let ring = self.ring.get_or_insert_with(|| self.store.shards.at(self.core).ring.lock());
        let last = ring.segments.back_mut();
        let appended = last.and_then(|segment| segment.insert(hash, event, self.now.mono_ns));
        let Some(appended) = appended else {
            return self.append_to_new_segment(hash, event);
        };
        if ring.uncounted.add(appended) >= RECORDS_PER_HOLD as u64 {
            self.release();
        }
        appended
    }

    /// Appends an event for which the last segment has no room. Another core may evict the new
    /// segment before it is used, and then there is another one.
    #[cold]
    fn append_to_new_segment(&mut self, hash: u64, event: &Event<'_>) -> Appended {
        let Self { store, core, now, .. } = *self;
        loop {
            self.release();
            store.open_segment(core, now, self.counters);
            let ring = self.ring.insert(store.shards.at(core).ring.lock());
            let last = ring.segments.back_mut();
            if let Some(appended) =
                last.and_then(|segment| segment.insert(hash, event, now.mono_ns))
            {
                ring.uncounted.add(appended);
                return appended;
            }
        }
    }

    /// Counts the events of this hold, and releases the lock.
    fn release(&mut self) {
        let Some(mut ring) = self.ring.take() else {
            return;
        };
        let Uncounted { events, coalesced } = std::mem::take(&mut ring.uncounted);
        self.counters.add_accepted(self.core, events);
        self.counters.add_stored(self.core, events - coalesced);
        if coalesced > 0 {
            self.counters.add_coalesced(self.core, coalesced);
        }
    }
}

impl Drop for RingAppender<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

impl Uncounted {
    /// Adds one event. Returns the number of events.
    fn add(&mut self, appended: Appended) -> u64 {
        self.events += 1;
        self.coalesced += u64::from(appended == Appended::Coalesced);
        self.events
    }
}

#[cfg(test)]
mod tests;
