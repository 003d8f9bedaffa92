//! The journal: the last anomalies of all shards in one order, each with a number of its own.
//!
//! Shards log their anomalies without knowing of each other. The journal takes over what is new in
//! each log when somebody asks, so nothing is paid for it otherwise. Numbers count the anomalies of
//! the instance from 1 on; those that were gone before somebody asked have numbers too, so that a
//! reader knows what it has missed.

use std::collections::VecDeque;

use super::anomaly::{Drained, Finding, OwnerId, seen_ns, tick};
use super::shard::Shard;
use crate::limits;
use percore::clock::Now;
use percore::sync::{Mutex, MutexGuard};

/// An anomaly with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedAnomaly {
    /// The number.
    pub number: u64,
    /// The time on the monotonic clock at which it came, to some 17 ms.
    pub seen_ns: u64,
    /// The device; `None` for an anonymous event.
    pub device_id: Option<String>,
    /// The anomaly, or the novelty.
    pub finding: Finding,
}

/// The answer to one who asks for anomalies.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyPage {
    /// The anomalies, the newest first.
    pub anomalies: Vec<NumberedAnomaly>,
    /// The number from which to go on: what has a larger one is new.
    pub next: u64,
    /// The anomalies after the number asked for, and up to `next`, that are not here.
    pub missed: u64,
}

/// The last anomalies of an instance.
#[derive(Debug)]
pub(super) struct Journal {
    /// For each shard the number of its next anomaly to be taken over.
    next_of_shards: Vec<u32>,
    /// The number of the last anomaly.
    last: u64,
    entries: VecDeque<NumberedAnomaly>,
}

/// The time that a job may take while others go on, in ticks: minutes.
const MARGIN_TICKS: u32 = 1 << 14;

impl Journal {
    pub(super) fn new(shards: usize) -> Self {
        Self { next_of_shards: vec![0; shards], last: 0, entries: VecDeque::new() }
    }

    /// Takes over what is new in the logs of all shards.
    pub(super) fn drain<'s>(&mut self, shards: impl Iterator<Item = &'s Mutex<Shard>>, now: Now) {
        let mut drained = Vec::new();
        for (next, shard) in self.next_of_shards.iter_mut().zip(shards) {
            let (new, end) = drain_shard(*next, shard, &mut drained);
            *next = end;
            // Those that are counted here and not pushed below.
            self.last += new;
        }
        self.last -= drained.len() as u64;
        // A sort that keeps the order of a shard's own anomalies. Some of these may be a little
        // younger than the job that asks.
        let later = tick(now.mono_ns).wrapping_add(MARGIN_TICKS);
        drained.sort_by_key(|drained: &Drained| u32::MAX - later.wrapping_sub(drained.entry.tick));
        for Drained { entry, owner } in drained {
            self.last += 1;
            let device_id = match owner {
                OwnerId::Anonymous => None,
                OwnerId::Held(bytes, id) => {
                    let id = id.get(..bytes).unwrap_or_default();
                    Some(String::from_utf8_lossy(id).into_owned())
                }
                OwnerId::Forgotten => continue,
            };
            if self.entries.len() == limits::ANOMALY_JOURNAL_ENTRIES {
                self.entries.pop_front();
            }
            self.entries.push_back(NumberedAnomaly {
                number: self.last,
                seen_ns: seen_ns(entry.tick, now.mono_ns),
                device_id,
                finding: entry.finding,
            });
        }
    }

    /// Returns true if an anomaly has had this number, or the next one will be the first.
    pub(super) const fn knows(&self, number: u64) -> bool {
        number <= self.last
    }

    /// Returns the newest anomalies or, after a number, the oldest of those behind it: so one who
    /// goes on from `next` each time sees each anomaly once.
    pub(super) fn page(&self, since: Option<u64>, limit: usize) -> AnomalyPage {
        let Some(since) = since else {
            let anomalies = self.entries.iter().rev().take(limit).cloned().collect();
            return AnomalyPage { anomalies, next: self.last, missed: 0 };
        };
        let first = self.entries.partition_point(|entry| entry.number <= since);
        let later = self.entries.iter().skip(first);
        let mut anomalies: Vec<_> = later.clone().take(limit).cloned().collect();
        let is_whole = later.count() == anomalies.len();
        let newest = anomalies.last().map(|newest| newest.number).filter(|_| !is_whole);
        let next = newest.unwrap_or(self.last);
        let missed = next.saturating_sub(since).saturating_sub(anomalies.len() as u64);
        anomalies.reverse();
        AnomalyPage { anomalies, next, missed }
    }
}

/// Appends the anomalies of a shard from a number on, the newest if there are many. Returns how
/// many there were, and the number of the next one.
fn drain_shard(from: u32, shard: &Mutex<Shard>, drained: &mut Vec<Drained>) -> (u64, u32) {
    let (end, held) = shard.lock().logged();
    let new = end.wrapping_sub(from);
    let kept = (new as usize).min(held).min(limits::ANOMALY_JOURNAL_ENTRIES);
    let mut number = end.wrapping_sub(kept as u32);
    while number != end {
        let count = (end.wrapping_sub(number) as usize).min(limits::ANOMALIES_PER_HOLD);
        // Nothing is allocated under the lock.
        drained.reserve(count);
        let held = shard.lock();
        held.copy_anomalies(number, count, drained);
        MutexGuard::unlock_fair(held);
        number = number.wrapping_add(count as u32);
    }
    (new.into(), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::{Analytics, AnalyticsSettings, Arrived};
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::{FieldSet, Schema};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    struct Sender {
        analytics: Analytics,
        ids: IdHasher,
        now: u64,
        /// The devices' values are these; an anomaly's is told by its own.
        sent: Vec<(String, u64)>,
    }

    impl Sender {
        fn new(cores: usize, device_ttl_ns: u64) -> Self {
            let settings = AnalyticsSettings {
                schema: Schema::standard(),
                window: 5,
                threshold: 2.0,
                min_samples: 3,
                cooldown: 0,
                devices_max: 100,
                device_ttl_ns,
                device_limit: None,
                judge_duplicates: true,
            };
            let ids = IdHasher::default();
            let analytics = Analytics::new(settings, cores, ids.clone());
            Self { analytics, ids, now: 0, sent: Vec::new() }
        }

        fn send(&mut self, id: &str, value: f64) {
            self.now += 1 << 24;
            let values = [value, 1.0];
            let device_id = (!id.is_empty()).then_some(id.as_bytes());
            let present = FieldSet::from_bits(3);
            let event = Event { device_id, present, values: &values, ..Event::default() };
            let arrived = Arrived { event, hash: self.ids.hash_of(&event), index: 0 };
            let mut points = Vec::new();
            let now = Now { mono_ns: self.now, wall_us: 0 };
            self.analytics.writer(0, now, 1).apply(&[arrived], &mut points);
            self.sent.extend(points.iter().map(|it| (id.to_owned(), it.finding.value() as u64)));
        }

        pub(super) fn page(&self, since: Option<u64>, limit: usize) -> AnomalyPage {
            let now = Now { mono_ns: self.now, wall_us: 0 };
            self.analytics.anomalies(since, limit, now).unwrap()
        }
    }

    fn found(page: &AnomalyPage) -> Vec<(String, u64)> {
        let oldest_first = page.anomalies.iter().rev();
        let of = |it: &NumberedAnomaly| {
            let id = it.device_id.clone().unwrap_or_default();
            (id, it.finding.value() as u64)
        };
        oldest_first.map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Pollers that come now and then see each anomaly once, in the order in which they came.
        #[test]
        fn pollers_see_each_once_and_in_order(
            steps in prop::collection::vec((0..6_u8, 0..5_u64, any::<bool>(), 1..7_usize), 1..200),
            cores in 1..4_usize,
        ) {
            let mut sender = Sender::new(cores, u64::MAX);
            let (mut seen, mut next) = (Vec::new(), 0);
            let mut steps: Vec<_> = steps.into_iter().enumerate().collect();
            // At the end all is fetched.
            steps.extend((0..200).map(|_| (0, (9, 0, true, 7))));
            for (number, (device, spike, polls, limit)) in steps {
                if device < 9 {
                    let id = ["", "a", "b", "c", "dd", "e:e"][usize::from(device)];
                    sender.send(id, if spike == 0 { 1_000.0 + number as f64 } else { 1.0 });
                }
                if polls {
                    let page = sender.page(Some(next), limit);
                    prop_assert!(page.anomalies.len() <= limit);
                    prop_assert_eq!(page.missed, 0);
                    prop_assert!(page.anomalies.iter().all(|it| it.number > next));
                    seen.extend(found(&page));
                    next = page.next;
                }
            }
            prop_assert_eq!(&seen, &sender.sent);
            prop_assert_eq!(next, seen.len() as u64);
            let newest = sender.page(None, 5);
            prop_assert_eq!(found(&newest), &seen[seen.len().saturating_sub(5)..]);
            prop_assert_eq!((newest.next, newest.missed), (next, 0));
        }
    }

    fn spikes(sender: &mut Sender, id: &str, count: usize) {
        let until = sender.sent.len() + count;
        let mut number = 0_u32;
        while sender.sent.len() < until {
            number += 1;
            sender.send(id, if number.is_multiple_of(8) { f64::from(number) * 1e3 } else { 1.0 });
        }
    }

    #[test]
    fn who_comes_late_is_told_what_was_missed() {
        let mut sender = Sender::new(1, u64::MAX);
        spikes(&mut sender, "a", 3);
        assert_eq!(sender.page(Some(1), 10).missed, 0);
        spikes(&mut sender, "a", limits::ANOMALY_JOURNAL_ENTRIES + 40);
        let page = sender.page(Some(1), 10_000);
        assert_eq!(page.anomalies.len(), limits::ANOMALY_JOURNAL_ENTRIES);
        assert_eq!(page.missed, 2 + 40);
        assert_eq!(page.next, sender.sent.len() as u64);
        let numbers: BTreeSet<u64> = page.anomalies.iter().map(|it| it.number).collect();
        assert_eq!(numbers.len(), page.anomalies.len());
        assert_eq!(found(&page), sender.sent[43..]);
    }

    #[test]
    fn a_number_that_none_has_had_is_unknown() {
        let mut sender = Sender::new(2, u64::MAX);
        assert_eq!(sender.page(Some(0), 1).next, 0);
        assert!(sender.analytics.anomalies(Some(1), 1, Now::default()).is_none());
        spikes(&mut sender, "a", 1);
        assert_eq!(sender.page(Some(1), 1).anomalies, []);
        assert!(sender.analytics.anomalies(Some(2), 1, Now::default()).is_none());
    }

    #[test]
    fn an_anomaly_never_gets_the_name_of_another_device() {
        let ttl_ns = 1_000 << 24;
        let mut sender = Sender::new(1, ttl_ns);
        spikes(&mut sender, "gone", 1);
        sender.now += 2 * ttl_ns;
        let now = Now { mono_ns: sender.now, wall_us: 0 };
        sender.analytics.sweep(0, now);
        assert_eq!(sender.analytics.devices(), 0);
        // It gets the slot.
        spikes(&mut sender, "new", 1);
        let page = sender.page(Some(0), 10);
        assert_eq!(found(&page), sender.sent[1..]);
        assert_eq!((page.next, page.missed), (2, 1));
    }
}
