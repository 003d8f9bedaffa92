//! The embedded store: a ring of append-only segments for each core, and one budget for all.
//!
//! A core inserts into its own ring only, so inserts do not contend; a look-up asks every ring.
//! What leaves, leaves by whole segments: when its newest record has expired, or when newer records
//! need the room. Then the oldest segment of all rings goes, whoever wrote it, so that what is kept
//! is what is newest, however the load is spread over the cores. There is one time to live for all.
//!
//! Readers expect the last write of a key or nothing. One ring keeps to that by itself, because
//! its segments are in the order of time. Between rings it takes a horizon: the newest record that
//! a ring has let go. Whatever another ring has from before it might be an older version of a key
//! whose newer one has left, so it is not shown. That hides little: the oldest segment of all went,
//! so only records that are older than its newest, in segments that go on to later ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::limits::{RECORDS_PER_HOLD, SEGMENTS_PER_CORE_MIN};
use crate::store::block::{Block, Record};
use crate::store::event_counters::{EventCounters, EvictReason};
use crate::store::key::KeyHasher;
use crate::store::segment::{Segment, Shape};
use percore::clock::Now;
use percore::sync::{Mutex, PerCore};

/// A segment takes records in for this fraction of the time to live, so that the first of them
/// outstays its time by no more than that.
const OPEN_FRACTION: u64 = 8;

/// The store inside this process.
#[derive(Debug)]
pub struct MemoryStore {
    shards: PerCore<Shard>,
    hasher: KeyHasher,
    shape: Shape,
    /// Segments that there are, in rings, spare or in the hands of a core.
    segments: AtomicUsize,
    segments_max: usize,
    ttl_ns: u64,
}

/// What one core writes.
#[derive(Debug, Default)]
struct Shard {
    ring: Mutex<Ring>,
    /// One more than the time of the newest record that left; 0 while none has.
    horizon: AtomicU64,
}

/// Segments, the oldest in front; only the last one takes records in.
#[derive(Debug, Default)]
struct Ring {
    segments: VecDeque<Segment>,
    /// The buffers of a segment that left, for the next one. They count as memory in use.
    spare: Option<Segment>,
    opened: u64,
}

/// Which version of a key is the newest: by time of entry, then by core.
type Version = (u64, usize);

impl MemoryStore {
    /// `capacity_bytes`, index included, for all cores together. A budget too small for two of the
    /// smallest segments a core is raised to that. The hasher is the one of the blocks handed over.
    #[must_use]
    pub fn new(cores: usize, capacity_bytes: usize, ttl_ms: u64, hasher: KeyHasher) -> Self {
        let ttl_ns = ttl_ms.saturating_mul(1_000_000);
        let cores = cores.max(1);
        let share = capacity_bytes / cores;
        let shape = Shape::new(share / SEGMENTS_PER_CORE_MIN, ttl_ns / OPEN_FRACTION);
        Self {
            shards: PerCore::new(cores, |_| Shard::default()),
            hasher,
            shape,
            segments: AtomicUsize::new(0),
            segments_max: (capacity_bytes / shape.cost_bytes()).max(2 * cores),
            ttl_ns,
        }
    }

    /// The bytes it may come to use, index included.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.segments_max * self.shape.cost_bytes()
    }

    /// The bytes it has allocated; pages that were never written are among them.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.segments.load(Ordering::Relaxed) * self.shape.cost_bytes()
    }

    /// Copies a block's records in, then counts the outcome of its events and empties it.
    ///
    /// Only `core` hands over to its ring. The ring is locked for a few records at a time, so that
    /// a look-up does not wait for a whole block; buffers are made and cleared outside the lock.
    pub fn hand_over(&self, core: usize, block: &mut Block, now: Now, counters: &EventCounters) {
        let mut records = block.records();
        let mut refused = None;
        loop {
            let mut stored = 0;
            let mut is_done = false;
            let mut ring = self.shards.at(core).ring.lock();
            while stored < RECORDS_PER_HOLD {
                let Some(record) = refused.take().or_else(|| records.next()) else {
                    is_done = true;
                    break;
                };
                if !ring.insert(&record) {
                    refused = Some(record);
                    break;
                }
                stored += 1;
            }
            // Under the lock: another core may evict them next, and no record leaves that was never
            // counted.
            counters.add_stored(core, stored as u64);
            drop(ring);
            if is_done {
                break;
            }
            if let Some(record) = refused {
                self.open_segment(core, record.entered_ns, now, counters);
            }
        }
        drop(records);
        counters.add_coalesced(core, block.settle());
        block.clear();
    }

    /// Appends to `out` the value of the newest version of `key`, and says whether there is one.
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
        // The horizons are read last: what left while we were looking is behind them.
        let is_shown = best.is_some_and(|version| !self.is_behind_horizon(version));
        if !is_shown {
            out.truncate(start);
        }
        is_shown
    }

    /// Lets expired segments of a core's ring go. Returns when to call again, by the monotonic
    /// clock in nanoseconds, or `None` while the ring is empty.
    pub fn maintain(&self, core: usize, now: Now, counters: &EventCounters) -> Option<u64> {
        let shard = self.shards.at(core);
        loop {
            let mut ring = shard.ring.lock();
            let gone = shard.pop_expired(&mut ring, |newest_ns| self.has_expired(newest_ns, now));
            let Some(gone) = gone else {
                let next = ring.segments.front();
                let next_ns = next.map(|front| front.newest_ns.saturating_add(self.ttl_ns));
                // An idle core keeps no buffers.
                let spare = next_ns.is_none().then(|| ring.spare.take()).flatten();
                drop(ring);
                self.discard(spare);
                return next_ns;
            };
            let surplus = ring.spare.replace(gone);
            let records = ring.spare.as_ref().map_or(0, |spare| spare.records);
            drop(ring);
            self.discard(surplus);
            counters.add_evicted(core, EvictReason::Expired, records);
        }
    }

    /// Appends an empty segment to a core's ring; the oldest of all leaves if there is no room.
    fn open_segment(&self, core: usize, base_ns: u64, now: Now, counters: &EventCounters) {
        self.maintain(core, now, counters);
        let shard = self.shards.at(core);
        let spare = shard.ring.lock().spare.take();
        let mut segment = spare.unwrap_or_else(|| self.find_room(core, counters));
        let mut ring = shard.ring.lock();
        ring.opened += 1;
        let sequence = ring.opened;
        drop(ring);
        segment.reopen(sequence, base_ns);
        shard.ring.lock().segments.push_back(segment);
    }

    /// A segment from the budget; when that is spent, one that is spare somewhere, or the oldest.
    fn find_room(&self, core: usize, counters: &EventCounters) -> Segment {
        let is_granted =
            self.segments.try_update(Ordering::Relaxed, Ordering::Relaxed, |segments| {
                (segments < self.segments_max).then_some(segments + 1)
            });
        if is_granted.is_ok() {
            return Segment::new(self.shape);
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
            // At most one segment a core is in hands, of two for each: some ring has one.
            let Some((oldest_ns, shard)) = oldest else {
                continue;
            };
            let mut ring = shard.ring.lock();
            // It may have left meanwhile, or have newer records now: then all are looked at again.
            let gone = shard.pop_expired(&mut ring, |newest_ns| newest_ns == oldest_ns);
            drop(ring);
            if let Some(gone) = gone {
                counters.add_evicted(core, EvictReason::Capacity, gone.records);
                return gone;
            }
        }
    }

    /// Gives a segment's memory back.
    fn discard(&self, segment: Option<Segment>) {
        if segment.is_some() {
            drop(segment);
            self.segments.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a record that came in at `entered_ns` has had its time.
    fn has_expired(&self, entered_ns: u64, now: Now) -> bool {
        now.mono_ns >= entered_ns.saturating_add(self.ttl_ns)
    }

    /// Whether some ring may have let a newer version go.
    fn is_behind_horizon(&self, version: Version) -> bool {
        self.shards.iter().enumerate().any(|(core, shard)| {
            let horizon = shard.horizon.load(Ordering::Acquire);
            horizon.checked_sub(1).is_some_and(|newest_ns| (newest_ns, core) > version)
        })
    }
}

/// What one probe of one segment found.
struct Probe {
    sequence: u64,
    newest_ns: u64,
    /// When the key's record came in; its value was then appended to `out`.
    found_ns: Option<u64>,
    /// The length of `out` before.
    out_len: usize,
}

impl Shard {
    /// Probes the newest segment with a sequence under `below`, under a lock of its own. `None`
    /// when there is no such segment.
    fn probe(&self, below: u64, hash: u64, key: &[u8], out: &mut Vec<u8>) -> Option<Probe> {
        let out_len = out.len();
        let ring = self.ring.lock();
        let newest = ring.segments.back()?.sequence;
        // Sequences in a ring have no gaps, so the place follows from the distance to the newest.
        let distance = (newest + 1).saturating_sub(below);
        let place = ring.segments.len().checked_sub(1 + usize::try_from(distance).ok()?)?;
        let segment = ring.segments.get(place)?;
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

    /// Takes the oldest segment out if `leaves` says so of its newest record; the horizon moves
    /// before the records are gone, and only forward, as the segments of a ring are in order.
    fn pop_expired(&self, ring: &mut Ring, leaves: impl Fn(u64) -> bool) -> Option<Segment> {
        let newest_ns = ring.segments.front()?.newest_ns;
        if !leaves(newest_ns) {
            return None;
        }
        self.horizon.store(newest_ns.saturating_add(1), Ordering::Release);
        ring.segments.pop_front()
    }
}

impl Ring {
    /// Appends to the last segment; false if there is none that has room.
    fn insert(&mut self, record: &Record<'_>) -> bool {
        self.segments.back_mut().is_some_and(|segment| segment.insert(record))
    }
}

#[cfg(test)]
mod tests;
