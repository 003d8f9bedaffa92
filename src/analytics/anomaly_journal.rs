//! The journal: the last findings of all shards in one order, each with a number of its own.
//!
//! Shards log their findings without knowing of each other. The journal takes over what is new in
//! each log when somebody asks, so nothing is paid for it otherwise. Numbers count the findings of
//! the instance from 1 on; those that were gone before somebody asked have numbers too, so that a
//! reader knows what it has missed. The last ones of each kind are kept, and counted apart from the
//! others as well: so one who reads one kind alone knows what it has missed of that.

use std::collections::VecDeque;

use super::anomaly::{Finding, FindingKind};
use super::anomaly_log::{seen_ns, tick};
use super::finding_log::{Drained, OwnerId, Place, Unread};
use super::shard::Shard;
use crate::limits;
use percore::clock::Now;
use percore::sync::{Mutex, MutexGuard};

/// A finding with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedAnomaly {
    /// The number among all findings.
    pub number: u64,
    /// The number among the findings of its kind.
    pub number_of_kind: u64,
    /// The time on the monotonic clock at which it came, to some 17 ms.
    pub seen_ns: u64,
    /// The device; `None` for an anonymous event.
    pub device_id: Option<String>,
    /// The anomaly, or the novelty.
    pub finding: Finding,
}

impl NumberedAnomaly {
    /// Returns the number among the findings of a kind, or among all.
    pub const fn number_in(&self, kind: Option<FindingKind>) -> u64 {
        match kind {
            None => self.number,
            Some(_) => self.number_of_kind,
        }
    }
}

/// A question to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnomalyQuery {
    /// The kind that is asked for; both without it.
    pub kind: Option<FindingKind>,
    /// The number, in that kind, of the last one that was seen. Without it the newest are asked
    /// for.
    pub since: Option<u64>,
    /// The most findings of the answer.
    pub limit: usize,
}

/// The answer to one who asks for findings.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyPage {
    /// The findings, the newest first.
    pub anomalies: Vec<NumberedAnomaly>,
    /// The number, in the kind asked for, from which to go on: what has a larger one is new.
    pub next: u64,
    /// The findings of that kind after the number asked for, and up to `next`, that are not here.
    pub missed: u64,
}

/// The last findings of an instance.
#[derive(Debug)]
pub(super) struct Journal {
    /// For each shard the place of the next finding to be taken over.
    next_of_shards: Vec<Place>,
    kinds: [Entries; FindingKind::ALL.len()],
}

/// The findings of one kind.
#[derive(Debug, Default)]
struct Entries {
    /// The number of the last one.
    last: u64,
    /// The last ones, the oldest first.
    kept: VecDeque<NumberedAnomaly>,
}

/// The time that a job may take while others go on, in ticks: minutes.
const MARGIN_TICKS: u32 = 1 << 14;

impl Journal {
    pub(super) fn new(shards: usize) -> Self {
        let next_of_shards = vec![Place::default(); shards];
        Self { next_of_shards, kinds: [Entries::default(), Entries::default()] }
    }

    /// Takes over what is new in the logs of all shards.
    pub(super) fn drain<'s>(&mut self, shards: impl Iterator<Item = &'s Mutex<Shard>>, now: Now) {
        let mut drained = Vec::new();
        for (next, shard) in self.next_of_shards.iter_mut().zip(shards) {
            let new = drain_shard(next, shard, &mut drained);
            for (kind, new) in self.kinds.iter_mut().zip(new) {
                // Those that are counted here and not pushed below.
                kind.last += new;
            }
        }
        for it in &drained {
            self.of(it.finding.kind()).last -= 1;
        }
        // A sort that keeps the order of a shard's own findings. Some of these may be a little
        // younger than the job that asks.
        let later = tick(now.mono_ns).wrapping_add(MARGIN_TICKS);
        drained.sort_by_key(|drained: &Drained| u32::MAX - later.wrapping_sub(drained.tick));
        for it in drained {
            self.push(&it, now);
        }
    }

    fn push(&mut self, drained: &Drained, now: Now) {
        let Drained { finding, tick, owner } = drained;
        self.of(finding.kind()).last += 1;
        let device_id = match owner {
            OwnerId::Anonymous => None,
            OwnerId::Held(bytes, id) => {
                let id = id.get(..*bytes).unwrap_or_default();
                Some(String::from_utf8_lossy(id).into_owned())
            }
            OwnerId::Forgotten => return,
        };
        let number = self.last(None);
        let entries = self.of(finding.kind());
        if entries.kept.len() == limits::JOURNAL_ENTRIES {
            entries.kept.pop_front();
        }
        entries.kept.push_back(NumberedAnomaly {
            number,
            number_of_kind: entries.last,
            seen_ns: seen_ns(*tick, now.mono_ns),
            device_id,
            finding: *finding,
        });
    }

    const fn of(&mut self, kind: FindingKind) -> &mut Entries {
        let [anomalies, novelties] = &mut self.kinds;
        match kind {
            FindingKind::Anomaly => anomalies,
            FindingKind::Novelty => novelties,
        }
    }

    /// Returns the findings of a kind, or all.
    fn entries(&self, kind: Option<FindingKind>) -> impl Iterator<Item = &Entries> {
        let is_asked = move |of: &FindingKind| kind.is_none_or(|kind| kind == *of);
        FindingKind::ALL
            .into_iter()
            .zip(&self.kinds)
            .filter(move |(of, _)| is_asked(of))
            .map(|it| it.1)
    }

    /// Returns the number of the last finding of a kind, or of all.
    fn last(&self, kind: Option<FindingKind>) -> u64 {
        self.entries(kind).map(|entries| entries.last).sum()
    }

    /// Returns true if a finding of the kind has had the number asked for, or the next one will be
    /// the first.
    pub(super) fn knows(&self, query: &AnomalyQuery) -> bool {
        query.since.is_none_or(|since| since <= self.last(query.kind))
    }

    /// Returns the newest findings or, after a number, the oldest of those behind it: so one who
    /// goes on from `next` each time sees each finding of its kind once.
    pub(super) fn page(&self, query: &AnomalyQuery) -> AnomalyPage {
        let AnomalyQuery { kind, since, limit } = *query;
        let number = |entry: &NumberedAnomaly| entry.number_in(kind);
        let (seen, last) = (since.unwrap_or_default(), self.last(kind));
        let mut found: Vec<&NumberedAnomaly> = self
            .entries(kind)
            .flat_map(|entries| {
                let first = entries.kept.partition_point(|entry| number(entry) <= seen);
                entries.kept.iter().skip(first)
            })
            .collect();
        // Two runs that are sorted already, if there are both kinds.
        found.sort_by_key(|entry| entry.number);
        let is_whole = found.len() <= limit;
        if since.is_some() {
            found.truncate(limit);
        } else {
            found.drain(..found.len().saturating_sub(limit));
        }
        let reached = found.last().filter(|_| since.is_some() && !is_whole);
        let next = reached.map_or(last, |newest| number(newest));
        let missed =
            since.map_or(0, |since| next.saturating_sub(since).saturating_sub(found.len() as u64));
        let anomalies = found.into_iter().rev().cloned().collect();
        AnomalyPage { anomalies, next, missed }
    }
}

/// Appends the findings of a shard from a place on, the newest of each kind if there are many, and
/// moves the place behind them. Returns how many there were of each kind.
fn drain_shard(
    from: &mut Place,
    shard: &Mutex<Shard>,
    drained: &mut Vec<Drained>,
) -> [u64; FindingKind::ALL.len()] {
    let Unread { new, mut at, end } = shard.lock().unread(*from, limits::JOURNAL_ENTRIES);
    while at != end {
        // Nothing is allocated under the lock.
        drained.reserve(limits::FINDINGS_PER_HOLD);
        let held = shard.lock();
        held.copy_findings(&mut at, end, limits::FINDINGS_PER_HOLD, drained);
        MutexGuard::unlock_fair(held);
    }
    *from = end;
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::novelty::NoveltySettings;
    use crate::analytics::novelty::local_day::LocalDay;
    use crate::analytics::{Analytics, AnalyticsSettings, Arrived};
    use crate::limits::JOURNAL_ENTRIES;
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::{FieldSet, Schema};
    use FindingKind::{Anomaly, Novelty};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// The events of one value after which a series stands still: more than between two spikes.
    const STUCK_AFTER: u32 = 9;

    /// A finding: its device, its kind and its value.
    type Sent = (String, FindingKind, u64);

    struct Sender {
        analytics: Analytics,
        ids: IdHasher,
        now: u64,
        /// The findings. The devices' values are these; one is told by its own.
        sent: Vec<Sent>,
    }

    impl Sender {
        fn new(cores: usize, device_ttl_ns: u64) -> Self {
            let settings = AnalyticsSettings {
                schema: Schema::standard(),
                window: 5,
                threshold: 2.0,
                min_samples: 3,
                cooldown: 0,
                devices_max: 100_000,
                device_ttl_ns,
                device_limit: None,
                judge_duplicates: true,
            };
            let ids = IdHasher::default();
            let analytics = Analytics::new(settings, cores, ids.clone());
            Self { analytics, ids, now: 0, sent: Vec::new() }
        }

        /// Returns one whose second judge tells what stands still.
        fn with_novelty(cores: usize, device_ttl_ns: u64) -> Self {
            let sender = Self::new(cores, device_ttl_ns);
            let settings = NoveltySettings {
                sensitivity: None,
                stuck_after: Some(STUCK_AFTER),
                day: Arc::new(LocalDay::UTC),
            };
            Self { analytics: sender.analytics.with_novelty(settings), ..sender }
        }

        fn send(&mut self, id: &str, value: f64) {
            self.now += 1 << 24;
            self.send_at_once(id, value);
        }

        /// Sends an event in the tick of the last one.
        fn send_at_once(&mut self, id: &str, value: f64) {
            let values = [value, 1.0];
            let device_id = (!id.is_empty()).then_some(id.as_bytes());
            let present = FieldSet::from_bits(3);
            let event = Event { device_id, present, values: &values, ..Event::default() };
            let arrived = Arrived { event, hash: self.ids.hash_of(&event), index: 0 };
            let mut points = Vec::new();
            self.analytics.writer(0, self.now(), 1).apply(&[arrived], &mut points);
            let sent = |finding: Finding| (id.to_owned(), finding.kind(), finding.value() as u64);
            self.sent.extend(points.iter().map(|it| sent(it.finding)));
        }

        const fn now(&self) -> Now {
            Now { mono_ns: self.now, wall_us: 0 }
        }

        fn ask(&self, kind: Option<FindingKind>, since: Option<u64>, limit: usize) -> AnomalyPage {
            self.analytics.anomalies(&AnomalyQuery { kind, since, limit }, self.now()).unwrap()
        }

        fn page(&self, since: Option<u64>, limit: usize) -> AnomalyPage {
            self.ask(None, since, limit)
        }

        fn knows(&self, kind: Option<FindingKind>, number: u64) -> bool {
            let query = AnomalyQuery { kind, since: Some(number), limit: 1 };
            self.analytics.anomalies(&query, self.now()).is_some()
        }

        /// Returns the findings of a kind, or all, each with its place among all.
        fn all(&self, kind: Option<FindingKind>) -> Vec<(usize, Sent)> {
            let all = self.sent.iter().cloned().enumerate();
            all.filter(|(_, sent)| kind.is_none_or(|kind| kind == sent.1)).collect()
        }

        /// Returns those of them that are kept.
        fn kept(&self, kind: Option<FindingKind>) -> Vec<(usize, Sent)> {
            let mut kept = Vec::new();
            for kind in FindingKind::ALL.into_iter().filter(|it| kind.is_none_or(|of| of == *it)) {
                let mut all = self.all(Some(kind));
                kept.extend(all.split_off(all.len().saturating_sub(JOURNAL_ENTRIES)));
            }
            kept.sort_by_key(|(at, _)| *at);
            kept
        }
    }

    fn found(page: &AnomalyPage) -> Vec<Sent> {
        let oldest_first = page.anomalies.iter().rev();
        let of = |it: &NumberedAnomaly| {
            let id = it.device_id.clone().unwrap_or_default();
            (id, it.finding.kind(), it.finding.value() as u64)
        };
        oldest_first.map(of).collect()
    }

    fn spikes(sender: &mut Sender, id: &str, count: usize) {
        let until = sender.all(Some(Anomaly)).len() + count;
        let mut number = 0_u32;
        let mut left = count;
        while left > 0 {
            number += 1;
            sender.send(id, if number.is_multiple_of(8) { f64::from(number) * 1e3 } else { 1.0 });
            left -= usize::from(number.is_multiple_of(8));
        }
        assert_eq!(sender.all(Some(Anomaly)).len(), until);
    }

    /// Has both fields of so many new devices stand still.
    fn stand_still(sender: &mut Sender, devices: usize) {
        let all = sender.all(Some(Novelty)).len();
        for device in 0..devices {
            let id = format!("still-{}-{device}", sender.now);
            (0..STUCK_AFTER).for_each(|_| sender.send(&id, 1.0));
        }
        assert_eq!(sender.all(Some(Novelty)).len(), all + 2 * devices);
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

    /// One who reads a kind, or both.
    #[derive(Clone, Debug, Default)]
    struct Poller {
        kind: Option<FindingKind>,
        next: u64,
        /// The place, among all, behind the last one that it has read or missed.
        reached: usize,
        seen: usize,
        missed: u64,
    }

    impl Poller {
        /// Reads on, and compares with what the journal has to have kept.
        fn poll(&mut self, sender: &Sender, limit: usize) -> Result<(), TestCaseError> {
            let page = sender.ask(self.kind, Some(self.next), limit);
            let kept = sender.kept(self.kind);
            let left: Vec<_> = kept.iter().filter(|(at, _)| *at >= self.reached).collect();
            let expected: Vec<Sent> = left.iter().take(limit).map(|(_, it)| it.clone()).collect();
            prop_assert_eq!(found(&page), expected);
            let missed = page.next - self.next - page.anomalies.len() as u64;
            prop_assert_eq!(page.missed, missed);
            let last = left.get(limit - 1).filter(|_| left.len() > limit);
            self.reached = last.map_or(sender.sent.len(), |(at, _)| at + 1);
            let of_kind = sender.all(self.kind);
            if self.kind.is_some() || last.is_none() {
                // Those of a kind have the numbers in which they came, whatever was missed.
                let before = of_kind.iter().filter(|(at, _)| *at < self.reached).count();
                prop_assert_eq!(page.next, before as u64);
            }
            self.next = page.next;
            self.seen += page.anomalies.len();
            self.missed += page.missed;
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Whoever reads one kind or both, newest first or on from where they were, gets what a
        /// list of all that came says, of which the last ones of each kind are kept.
        #[test]
        fn each_kind_is_kept_and_counted_apart(
            steps in prop::collection::vec(
                (0..12_u8, 0..900_usize, 0..3_usize, 1..1100_usize), 1..40),
            cores in 1..4_usize,
        ) {
            let kinds = [None, Some(Anomaly), Some(Novelty)];
            let mut sender = Sender::with_novelty(cores, u64::MAX);
            let mut pollers = kinds.map(|kind| Poller { kind, ..Poller::default() });
            for (number, (what, size, who, limit)) in steps.into_iter().enumerate() {
                match what {
                    0 => spikes(&mut sender, "noisy", size),
                    1 => stand_still(&mut sender, size),
                    2..5 => pollers[who].poll(&sender, limit)?,
                    5 => {
                        let newest = sender.ask(kinds[who], None, limit);
                        let kept = sender.kept(kinds[who]);
                        let kept = kept.iter().skip(kept.len().saturating_sub(limit));
                        let kept: Vec<Sent> = kept.map(|it| it.1.clone()).collect();
                        prop_assert_eq!(found(&newest), kept);
                        let all = sender.all(kinds[who]).len() as u64;
                        prop_assert_eq!((newest.next, newest.missed), (all, 0));
                        prop_assert!(sender.knows(kinds[who], all));
                        prop_assert!(!sender.knows(kinds[who], all + 1));
                    }
                    _ => {
                        let id = ["", "a", "b"][who];
                        for at in 0..size % 20 {
                            let value = if at == 12 { 1e3 + number as f64 } else { 1.0 };
                            // In one tick the order is that of the shard alone.
                            if cores == 1 {
                                sender.send_at_once(id, value);
                            } else {
                                sender.send(id, value);
                            }
                        }
                    }
                }
            }
            for poller in &mut pollers {
                while poller.next < sender.all(poller.kind).len() as u64 {
                    poller.poll(&sender, 1000)?;
                }
                let all = sender.all(poller.kind).len() as u64;
                prop_assert_eq!((poller.next, poller.seen as u64 + poller.missed), (all, all));
            }
        }
    }

    #[test]
    fn neither_kind_pushes_the_other_out() {
        let mut sender = Sender::with_novelty(2, u64::MAX);
        stand_still(&mut sender, 3);
        for turn in 0..20 {
            spikes(&mut sender, &format!("noisy-{turn}"), JOURNAL_ENTRIES / 4);
            // Somebody asks, or nobody does.
            if turn % 2 == 0 {
                sender.page(None, 1);
            }
        }
        let novelties: Vec<Sent> = sender.all(Some(Novelty)).into_iter().map(|it| it.1).collect();
        let page = sender.ask(Some(Novelty), Some(0), 1000);
        assert_eq!((found(&page), page.missed), (novelties.clone(), 0));
        let both = sender.page(Some(0), 10_000);
        assert_eq!(both.anomalies.len(), JOURNAL_ENTRIES + novelties.len());
        assert_eq!(both.missed, 4 * JOURNAL_ENTRIES as u64);
        // The other way round.
        stand_still(&mut sender, 2 * JOURNAL_ENTRIES);
        let page = sender.ask(Some(Anomaly), None, 10_000);
        let anomalies = sender.kept(Some(Anomaly)).into_iter().map(|it| it.1);
        assert_eq!(found(&page), Vec::from_iter(anomalies));
    }

    #[test]
    fn who_comes_late_is_told_what_was_missed() {
        let mut sender = Sender::new(1, u64::MAX);
        spikes(&mut sender, "a", 3);
        assert_eq!(sender.page(Some(1), 10).missed, 0);
        spikes(&mut sender, "a", JOURNAL_ENTRIES + 40);
        let page = sender.page(Some(1), 10_000);
        assert_eq!(page.anomalies.len(), JOURNAL_ENTRIES);
        assert_eq!(page.missed, 2 + 40);
        assert_eq!(page.next, sender.sent.len() as u64);
        let numbers: BTreeSet<u64> = page.anomalies.iter().map(|it| it.number).collect();
        assert_eq!(numbers.len(), page.anomalies.len());
        assert_eq!(found(&page), sender.sent[43..]);
    }

    #[test]
    fn a_number_that_none_has_had_is_unknown() {
        let mut sender = Sender::with_novelty(2, u64::MAX);
        assert_eq!(sender.page(Some(0), 1).next, 0);
        let kinds = [None, Some(Anomaly), Some(Novelty)];
        assert!(kinds.iter().all(|kind| sender.knows(*kind, 0) && !sender.knows(*kind, 1)));
        stand_still(&mut sender, 1);
        spikes(&mut sender, "a", 1);
        assert_eq!(sender.page(Some(3), 1).anomalies, []);
        for (kind, last) in kinds.into_iter().zip([3, 1, 2]) {
            assert!(sender.knows(kind, last) && !sender.knows(kind, last + 1));
        }
    }

    #[test]
    fn a_finding_never_gets_the_name_of_another_device() {
        let ttl_ns = 1_000 << 24;
        let mut sender = Sender::with_novelty(1, ttl_ns);
        spikes(&mut sender, "gone", 2);
        sender.now += 2 * ttl_ns;
        sender.analytics.sweep(0, sender.now());
        assert_eq!(sender.analytics.devices(), 0);
        let gone = sender.sent.len();
        // It gets the slot.
        spikes(&mut sender, "new", 2);
        let page = sender.page(Some(0), 10);
        assert_eq!(found(&page), sender.sent[gone..]);
        assert_eq!((gone, page.next, page.missed), (3, 6, 3));
        let page = sender.ask(Some(Novelty), Some(0), 10);
        assert_eq!((found(&page).len(), page.next, page.missed), (1, 2, 1));
    }
}
