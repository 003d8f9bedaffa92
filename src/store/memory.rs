//! The memory store: a ring of append-only segments for each core, and one budget for all.
//!
//! A core inserts into its own ring only, so inserts do not contend; a look-up searches every ring.
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
use crate::store::block::{Block, Record};
use crate::store::event_counters::{EventCounters, EvictReason};
use crate::store::key::KeyHasher;
use crate::store::segment::{Segment, SegmentConfig};
use percore::clock::Now;
use percore::sync::{Mutex, PerCore};

/// A segment takes records for this fraction of the time to live, so that the first of them stays
/// in memory longer than its time by no more than that.
const OPEN_FRACTION: u64 = 8;

/// See the head of this file.
#[derive(Debug)]
pub struct MemoryStore {
    shards: PerCore<Shard>,
    hasher: KeyHasher,
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
}

/// The version of a record, by which the newest of a key is found: time of entry, then core.
type Version = (u64, usize);

impl MemoryStore {
    /// Creates a store of `capacity_bytes`, index included, for all cores together. A budget too
    /// small for two of the smallest segments a core is raised to that. The hasher is that of the
    /// blocks.
    pub fn new(cores: usize, capacity_bytes: usize, ttl_ms: u64, hasher: KeyHasher) -> Self {
        let ttl_ns = ttl_ms.saturating_mul(1_000_000);
        let cores = cores.max(1);
        let share = capacity_bytes / cores;
        let config = SegmentConfig::new(share / SEGMENTS_PER_CORE_MIN, ttl_ns / OPEN_FRACTION);
        Self {
            shards: PerCore::new(cores, |_| Shard::default()),
            hasher,
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

    /// Inserts the records of a block, counts the outcomes of its events, and empties it.
    ///
    /// Only `core` inserts into its ring. The ring is locked for a few records at a time, so that a
    /// look-up does not wait for a whole block; segments are allocated and cleared outside the
    /// lock.
    pub fn insert_block(&self, core: usize, block: &mut Block, now: Now, counters: &EventCounters) {
        let mut records = block.records();
        let mut rejected = None;
        loop {
            let mut stored = 0;
            let mut is_done = false;
            let mut ring = self.shards.at(core).ring.lock();
            while stored < RECORDS_PER_HOLD {
                let Some(record) = rejected.take().or_else(|| records.next()) else {
                    is_done = true;
                    break;
                };
                if !ring.insert(&record) {
                    rejected = Some(record);
                    break;
                }
                stored += 1;
            }
            // Under the lock: another core may evict the records next, and an eviction must not be
            // counted before its record was.
            counters.add_stored(core, stored as u64);
            drop(ring);
            if is_done {
                break;
            }
            if let Some(record) = rejected {
                self.open_segment(core, record.entered_ns, now, counters);
            }
        }
        drop(records);
        counters.add_coalesced(core, block.take_coalesced());
        block.clear();
    }

    /// Appends to `out` the value of the newest version of `key`. Returns true if there is one.
    pub fn lookup(&self, key: &[u8], now: Now, out: &mut Vec<u8>) -> bool {
        let hash = self.hasher.hash(key);
        let start = out.len();
        let mut best: Option<Version> = None;
        for (core, shard) in self.shards.iter().enumerate() {
            let mut below = u64::MAX;
            while let Some(probe) = shard.probe(below, hash, key, out) {
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
    fn open_segment(&self, core: usize, base_ns: u64, now: Now, counters: &EventCounters) {
        self.sweep(core, now, counters);
        let shard = self.shards.at(core);
        let spare = shard.ring.lock().spare.take();
        let mut segment = spare.unwrap_or_else(|| self.allocate_segment(core, counters));
        let mut ring = shard.ring.lock();
        ring.opened += 1;
        let sequence = ring.opened;
        drop(ring);
        segment.reopen(sequence, base_ns);
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
    /// Searches the newest segment with a sequence under `below`, and locks the ring only for that.
    /// Returns `None` if there is no such segment.
    fn probe(&self, below: u64, hash: u64, key: &[u8], out: &mut Vec<u8>) -> Option<Probe> {
        let out_len = out.len();
        let ring = self.ring.lock();
        let newest = ring.segments.back()?.sequence;
        // Sequences in a ring have no gaps, so the index follows from the distance to the newest.
        let distance = (newest + 1).saturating_sub(below);
        let index = ring.segments.len().checked_sub(1 + usize::try_from(distance).ok()?)?;
        let segment = ring.segments.get(index)?;
        let found = segment.find(hash, key);
        if let Some((_, value)) = found {
            out.extend_from_slice(value);
        }
        Some(Probe {
            sequence: segment.sequence,
            newest_ns: segment.newest_ns,
            found_ns: found.map(|(entered_ns, _)| entered_ns),
            out_len,
        })
    }

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

impl Ring {
    /// Inserts into the last segment. Returns false if it has no room, or there is none.
    fn insert(&mut self, record: &Record<'_>) -> bool {
        self.segments.back_mut().is_some_and(|segment| segment.insert(record))
    }
}

#[cfg(test)]
mod tests;
