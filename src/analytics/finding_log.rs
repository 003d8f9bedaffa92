//! The last findings of a shard: a log of each kind, so that neither pushes the other out.
//!
//! Anomalies come in thousands where devices are noisy, and novelties are what an operator looks
//! for. Those of one device are never asked for: so novelties are not linked as anomalies are, and
//! a device knows none of them. Each has the number of the anomaly that comes next, by which both
//! kinds are read in the order in which they came.

use super::anomaly::{Finding, FindingKind, NovelPoint};
use super::anomaly_log::{AnomalyLog, Owner, tick};
use super::log_ring::LogRing;
use crate::limits;

/// A novelty in its log.
#[derive(Clone, Copy, Debug)]
struct NovelEntry {
    point: NovelPoint,
    owner: Owner,
    /// The time in ticks, for the order of several shards.
    tick: u32,
    /// The number of the anomaly that comes next.
    next_anomaly: u32,
}

/// A finding of either log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    pub(super) finding: Finding,
    pub(super) owner: Owner,
    /// The time in ticks, for the order of several shards.
    pub(super) tick: u32,
}

/// A place between two findings of a shard: the number of the next one of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    anomaly: u32,
    novelty: u32,
}

/// The findings behind a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    /// The number of those that there have been, by kind.
    pub(super) new: [u64; FindingKind::ALL.len()],
    /// The place of the first of those that are still in the logs, and are not too many.
    pub(super) at: Place,
    /// The place behind the last one.
    pub(super) end: Place,
}

/// The id of a finding's device, copied under the lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum OwnerId {
    /// No device.
    Anonymous,
    /// A device that is held: the bytes of its id.
    Held(usize, [u8; limits::DEVICE_ID_BYTES_MAX]),
    /// A device that was forgotten since.
    Forgotten,
}

/// A finding on its way from a log into the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    pub(super) finding: Finding,
    pub(super) tick: u32,
    pub(super) owner: OwnerId,
}

/// The newest findings of a device. Devices do not know their novelties, which are rare: so what
/// counts is those of the whole shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NewestFound {
    /// The number of its newest anomaly that was found here; `None` if none was.
    pub(super) anomaly: Option<u32>,
    /// The number of the next novelty of the shard; `None` if it has none.
    pub(super) next_novelty: Option<u32>,
}

/// The last findings of a shard.
pub(super) struct FindingLog {
    pub(super) anomalies: AnomalyLog,
    novelties: LogRing<NovelEntry, { limits::NOVELTY_LOG_ENTRIES }>,
}

impl FindingLog {
    /// Returns logs without findings, and without memory for novelties.
    pub(super) fn new() -> Self {
        Self { anomalies: AnomalyLog::new(), novelties: LogRing::without_memory() }
    }

    /// Reserves the memory for novelties.
    pub(super) fn reserve_novelties(&mut self) {
        self.novelties = LogRing::new();
    }

    /// Adds a novelty of the device in a slot.
    pub(super) fn push_novelty(&mut self, owner: Owner, point: NovelPoint, mono_ns: u64) {
        let next_anomaly = self.anomalies.next();
        let entry = NovelEntry { point, owner, tick: tick(mono_ns), next_anomaly };
        self.novelties.push(entry);
    }

    /// Returns the number of the next novelty; `None` if there are none.
    pub(super) fn next_novelty(&self) -> Option<u32> {
        (self.novelties.len() > 0).then_some(self.novelties.next)
    }

    /// Returns the place behind the last finding.
    const fn end(&self) -> Place {
        Place { anomaly: self.anomalies.next(), novelty: self.novelties.next }
    }

    /// Returns what has come since a place, and where to read it from: the newest of each kind, at
    /// most so many.
    pub(super) fn unread(&self, from: Place, most: usize) -> Unread {
        let end = self.end();
        let first = |from: u32, end: u32, held: usize| {
            let new = end.wrapping_sub(from);
            let kept = (new as usize).min(held).min(most);
            (u64::from(new), end.wrapping_sub(kept as u32))
        };
        let (anomalies, anomaly) = first(from.anomaly, end.anomaly, self.anomalies.len());
        let (novelties, novelty) = first(from.novelty, end.novelty, self.novelties.len());
        Unread { new: [anomalies, novelties], at: Place { anomaly, novelty }, end }
    }

    /// Returns the finding at a place before `end`, and moves the place behind it; `None` if it is
    /// not in its log any more.
    pub(super) fn read(&self, at: &mut Place, end: Place) -> Option<Logged> {
        if at.novelty != end.novelty {
            let novelty = self.novelties.entry(at.novelty);
            // Numbers wrap around, so what tells is how far they are from the end.
            let left = end.anomaly.wrapping_sub(at.anomaly);
            if novelty.is_none_or(|it| end.anomaly.wrapping_sub(it.next_anomaly) >= left) {
                at.novelty = at.novelty.wrapping_add(1);
                let NovelEntry { point, owner, tick, .. } = *novelty?;
                return Some(Logged { finding: Finding::Novel(point), owner, tick });
            }
        }
        if at.anomaly == end.anomaly {
            return None;
        }
        let anomaly = self.anomalies.entry(at.anomaly);
        at.anomaly = at.anomaly.wrapping_add(1);
        let anomaly = anomaly?;
        let finding = Finding::Anomaly(anomaly.point);
        Some(Logged { finding, owner: anomaly.owner, tick: anomaly.tick })
    }

    /// Returns the number of entries for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.anomalies.capacity() + self.novelties.capacity()
    }
}

// The log of a shard stays within the 48 KiB that `limits` promises.
const _: () = assert!(size_of::<NovelEntry>() <= 48);
