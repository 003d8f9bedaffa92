//! The devices and anomalies of an instance for those who list them.
//!
//! A list is made in one pass over all slots, in short steps: a shard's lock is held for
//! [`DEVICES_PER_HOLD`] slots at most, and handed over to who waits for it. Under it keys and ids
//! are compared, and of few devices copied; the ranking itself is kept outside.

use super::Analytics;
use super::anomaly_journal::{AnomalyPage, AnomalyQuery, Journal};
use super::device_values::{self, DeviceValues, FieldValues};
use super::novelty_summary::NoveltySummary;
use super::ranking::{RankBy, RankQuery, Ranking, TopRanks, score_key};
use super::shard::Shard;
use super::summary::{self, FieldSnapshot, FieldSummary, SeriesSummary};
use crate::limits::{
    DEVICE_ID_BYTES_MAX, DEVICES_PER_HOLD, MARKED_ANOMALIES_MAX, RECENT_ANOMALIES_MAX,
};
use crate::schema::Field;
use percore::clock::Now;
use percore::sync::{Mutex, MutexGuard};

/// The state of a device, as lists have it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceState {
    /// The id.
    pub id: String,
    /// The time of its last event on the monotonic clock.
    pub seen_ns: u64,
    /// Its events since it was added.
    pub accepted: u64,
    /// Its anomalous values.
    pub points: u64,
    /// Its episodes.
    pub episodes: u64,
    /// The fields of the schema in their order; `None` before the first value.
    pub fields: Vec<Option<FieldSummary>>,
    /// The words of the second judge on them; nothing without that judge.
    pub novelty: Vec<Option<NoveltySummary>>,
}

impl DeviceState {
    /// Returns the distance of the last value from its mean in standard deviations: of the field
    /// of this index, or the largest of all; `None` if none was scored.
    pub fn score(&self, field: Option<usize>) -> Option<f64> {
        let fields = self.fields.iter().enumerate();
        let fields = fields.filter(|(at, _)| field.is_none_or(|field| field == *at));
        let scores = fields.filter_map(|(_, summary)| Some(summary.as_ref()?.z_score?.abs()));
        scores.max_by(f64::total_cmp)
    }

    /// Returns true if the last value of a field is an anomaly.
    pub fn is_anomalous(&self) -> bool {
        self.fields.iter().flatten().any(|field| field.anomaly)
    }

    /// Returns the key in an order, as [`super::ranking::Rank`] has it.
    pub fn key(&self, by: RankBy) -> u64 {
        match by {
            RankBy::Id => 0,
            RankBy::LastSeen => self.seen_ns,
            RankBy::Anomalies => self.points,
            RankBy::Score(field) => score_key(self.score(field)),
        }
    }
}

/// The state of one device, with the values of its windows.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceDetail {
    /// The summary.
    pub summary: SeriesSummary,
    /// The time of its last event on the monotonic clock.
    pub seen_ns: u64,
    /// The values of its windows.
    pub values: DeviceValues,
}

/// The devices of one step that may belong to the page, copied under the lock.
struct Candidates {
    keys: Vec<(u64, usize)>,
    ids: Vec<u8>,
}

impl Candidates {
    fn new() -> Self {
        let slots = DEVICES_PER_HOLD as usize;
        // Nothing is allocated under the lock.
        Self {
            keys: Vec::with_capacity(slots),
            ids: Vec::with_capacity(slots * DEVICE_ID_BYTES_MAX),
        }
    }

    fn push(&mut self, key: u64, id: &[u8]) {
        self.keys.push((key, id.len()));
        self.ids.extend_from_slice(id);
    }

    /// Moves them to the ranking.
    fn give_to(&mut self, top: &mut TopRanks<'_>) {
        let mut ids = self.ids.as_slice();
        for (key, id_bytes) in self.keys.drain(..) {
            let (id, rest) = ids.split_at_checked(id_bytes).unwrap_or_default();
            top.add(key, id);
            ids = rest;
        }
        self.ids.clear();
    }
}

impl Analytics {
    /// Returns the devices of a page. Devices that are there from the beginning to the end of this
    /// call are considered; those that come or go meanwhile may be.
    pub fn ranking(&self, query: &RankQuery, now: Now) -> Ranking {
        let mut top = TopRanks::new(query);
        let mut candidates = Candidates::new();
        for shard in &self.shards {
            rank_shard(shard, query.by, now, &mut top, &mut candidates);
        }
        top.finish()
    }

    /// Returns all that is known of one device; `None` if it is unknown or has expired.
    pub fn detail(&self, id: &str, now: Now) -> Option<DeviceDetail> {
        let key = self.device_key(id.as_bytes());
        let shard = self.shards.get(key.hash.shard(self.shards.len()))?;
        let fields = self.rules.schema.fields().iter();
        let mut snapshots: Vec<_> =
            fields.clone().map(|_| FieldSnapshot::new(self.rules.window)).collect();
        let mut values: Vec<_> = fields.map(|_| FieldValues::new(self.rules.window)).collect();
        let mut recent = Vec::with_capacity(RECENT_ANOMALIES_MAX);
        let mut points = Vec::with_capacity(MARKED_ANOMALIES_MAX);
        // Under one lock, so that all of it is of the same moment.
        let mut novelty = self.novelty_copies();
        let (copy, seen_ns) = {
            let shard = shard.lock();
            shard.copy_novelty(key, now.mono_ns, &mut novelty);
            let copy = shard.snapshot(key, now.mono_ns, &mut snapshots, &mut recent)?;
            (copy, shard.copy_values(key, &mut values, &mut points)?)
        };
        let novelty = self.novelty_summaries(&novelty);
        Some(DeviceDetail {
            summary: summary::of_device(&self.rules, id, &copy, &snapshots, recent, novelty),
            seen_ns,
            values: device_values::join(&self.rules, &values, &points),
        })
    }

    /// Returns the timestamp of a device's last event, as its key has it; `None` if the device is
    /// unknown or has expired.
    pub fn newest_timestamp(&self, id: &str, now: Now) -> Option<u64> {
        let key = self.device_key(id.as_bytes());
        let shard = self.shards.get(key.hash.shard(self.shards.len()))?;
        shard.lock().newest_timestamp(key, now.mono_ns)
    }

    /// Returns the newest findings of all shards or, after a number, the oldest ones. `None` if no
    /// finding of the kind has had that number yet.
    pub fn anomalies(&self, query: &AnomalyQuery, now: Now) -> Option<AnomalyPage> {
        let journal = self.list_anomalies(now);
        journal.knows(query).then(|| journal.page(query))
    }

    /// Brings the journal up to date, and returns it.
    pub(super) fn list_anomalies(&self, now: Now) -> MutexGuard<'_, Journal> {
        let mut journal = self.journal.lock();
        journal.drain(self.shards.iter().map(|shard| &**shard), now);
        journal
    }

    /// Returns the states of devices, in the order of their ids; of those that are not held, none.
    pub fn states<'i>(&self, ids: impl Iterator<Item = &'i [u8]>, now: Now) -> Vec<DeviceState> {
        let field = |_: &Field| FieldSnapshot::new(self.rules.window);
        let mut fields: Vec<_> = self.rules.schema.fields().iter().map(field).collect();
        let mut novelty = self.novelty_copies();
        let state = |id| {
            novelty.clear();
            fields.iter_mut().for_each(FieldSnapshot::clear);
            let key = self.device_key(id);
            let shard = self.shards.get(key.hash.shard(self.shards.len()))?;
            let counts = {
                let shard = shard.lock();
                shard.copy_novelty(key, now.mono_ns, &mut novelty);
                shard.counts_of(key, now.mono_ns, &mut fields)?
            };
            Some(DeviceState {
                id: String::from_utf8_lossy(id).into_owned(),
                seen_ns: counts.seen_ns,
                accepted: counts.accepted,
                points: counts.points,
                episodes: counts.episodes,
                fields: fields.iter().map(FieldSnapshot::summary).collect(),
                novelty: self.novelty_summaries(&novelty),
            })
        };
        ids.filter_map(state).collect()
    }
}

/// Shows the devices of a shard to a ranking.
fn rank_shard(
    shard: &Mutex<Shard>,
    by: RankBy,
    now: Now,
    top: &mut TopRanks<'_>,
    candidates: &mut Candidates,
) {
    let mut visited = Some(0);
    while let Some(before) = visited {
        let held = shard.lock();
        visited = held.visit(before, DEVICES_PER_HOLD, now.mono_ns, by, |key, id| {
            if top.admits(key, id) {
                candidates.push(key, id);
            }
        });
        // To take the lock again at once would keep a core out that waits for it.
        MutexGuard::unlock_fair(held);
        candidates.give_to(top);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::{AnalyticsSettings, Arrived};
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::{FieldSet, Schema};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const TTL_NS: u64 = 1_000;

    fn analytics(cores: usize) -> (Analytics, IdHasher) {
        let settings = AnalyticsSettings {
            schema: Schema::standard(),
            window: 5,
            threshold: 2.0,
            min_samples: 3,
            cooldown: 5,
            devices_max: 10_000,
            device_ttl_ns: TTL_NS,
            device_limit: None,
            judge_duplicates: false,
        };
        let ids = IdHasher::default();
        (Analytics::new(settings, cores, ids.clone()), ids)
    }

    fn at(mono_ns: u64) -> Now {
        Now { mono_ns, wall_us: 0 }
    }

    fn post(analytics: &Analytics, ids: &IdHasher, id: &str, cpu: f64, now: Now) {
        let values = [cpu, 1.0];
        let event = Event {
            device_id: Some(id.as_bytes()),
            present: FieldSet::from_bits(3),
            values: &values,
            ..Event::default()
        };
        let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
        assert_eq!(analytics.writer(0, now, 1).apply(&[arrived], &mut Vec::new()).refused(), 0);
    }

    fn query(by: RankBy, limit: usize) -> RankQuery {
        RankQuery { by, prefix: Vec::new(), after: None, limit }
    }

    fn texts(ranking: &Ranking) -> Vec<String> {
        ranking.ranks.iter().map(|rank| String::from_utf8(rank.id.to_vec()).unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Against a map: what is listed, and in which order, by each of the orders.
        #[test]
        fn a_list_is_that_of_a_naive_sort(
            events in prop::collection::vec((0..30_u32, 0..6_u8), 0..200),
            limit in 1..40_usize,
            cores in 1..4_usize,
        ) {
            let (analytics, ids) = analytics(cores);
            let (mut seen, mut now) = (BTreeMap::new(), 0);
            for (device, value) in events {
                now += 1;
                let id = format!("d{device}");
                post(&analytics, &ids, &id, f64::from(value.pow(3)), at(now));
                seen.insert(id, now);
            }
            let held = seen.keys().map(String::as_bytes);
            let all: Vec<DeviceState> = analytics.states(held, at(now));
            prop_assert_eq!(all.len(), seen.len());
            for by in [
                RankBy::Id, RankBy::LastSeen, RankBy::Anomalies,
                RankBy::Score(None), RankBy::Score(Some(0)), RankBy::Score(Some(1)),
            ] {
                let mut expected: Vec<&DeviceState> = all.iter().collect();
                expected.sort_by_key(|state| (u64::MAX - state.key(by), state.id.clone()));
                let expected: Vec<String> =
                    expected.iter().take(limit).map(|state| state.id.clone()).collect();
                let ranking = analytics.ranking(&query(by, limit), at(now));
                prop_assert_eq!(texts(&ranking), expected, "{:?}", by);
                prop_assert_eq!(ranking.total, seen.len() as u64);
                prop_assert_eq!(ranking.is_last, limit >= seen.len());
            }
            for state in &all {
                prop_assert_eq!(state.seen_ns, seen[&state.id]);
                let summary = analytics.device(&state.id, at(now)).unwrap();
                prop_assert_eq!(&state.fields, &summary.fields);
                let anomalies = &summary.anomalies;
                prop_assert_eq!(state.points, anomalies.points);
                prop_assert_eq!(state.episodes, anomalies.episodes);
                prop_assert_eq!(state.accepted, summary.accepted);
            }
        }

        /// Devices come and go between the pages; those that are there all the time are listed
        /// once, and none is listed that was never there.
        #[test]
        fn paging_misses_none_that_stays_and_repeats_none(
            stay in prop::collection::btree_set(0..400_u32, 0..100),
            steps in prop::collection::vec(prop::collection::vec(0..400_u32, 0..20), 1..60),
            limit in 1..20_usize,
        ) {
            let (analytics, ids) = analytics(3);
            let id = |device: u32| format!("device-{device}");
            let mut now = 0;
            let (mut listed, mut held) = (Vec::new(), BTreeSet::new());
            let mut query = query(RankBy::Id, limit);
            let mut steps = steps.into_iter().cycle();
            loop {
                // All that do not stay go, and others come.
                now += TTL_NS + 1;
                for &device in &stay {
                    post(&analytics, &ids, &id(device), 1.0, at(now));
                }
                for core in 0..3 {
                    analytics.sweep(core, at(now));
                }
                let others = steps.next().unwrap_or_default();
                for &device in &others {
                    post(&analytics, &ids, &id(device), 1.0, at(now));
                    held.insert(id(device));
                }
                let ranking = analytics.ranking(&query, at(now));
                let here: BTreeSet<&u32> = stay.iter().chain(&others).collect();
                prop_assert_eq!(ranking.total, here.len() as u64);
                listed.extend(texts(&ranking));
                query.after = ranking.ranks.last().cloned();
                if ranking.is_last {
                    break;
                }
            }
            let once: BTreeSet<&String> = listed.iter().collect();
            prop_assert_eq!(once.len(), listed.len(), "listed twice");
            prop_assert!(listed.is_sorted());
            let staying: BTreeSet<String> = stay.iter().map(|device| id(*device)).collect();
            prop_assert!(staying.iter().all(|id| once.contains(id)), "missed");
            prop_assert!(listed.iter().all(|id| staying.contains(id) || held.contains(id)));
        }
    }

    #[test]
    fn expired_devices_are_not_listed() {
        let (analytics, ids) = analytics(2);
        post(&analytics, &ids, "old", 1.0, at(0));
        post(&analytics, &ids, "new", 1.0, at(TTL_NS));
        let listed = |now| texts(&analytics.ranking(&query(RankBy::Id, 9), at(now)));
        assert_eq!(listed(TTL_NS), ["new", "old"]);
        assert_eq!(listed(TTL_NS + 1), ["new"]);
        let ids = ["old", "new", "none"].map(str::as_bytes);
        let states = analytics.states(ids.into_iter(), at(TTL_NS + 1));
        assert_eq!(states.len(), 1);
        assert_eq!(states[0].id, "new");
    }

    #[test]
    fn more_devices_than_one_hold_visits_are_all_listed() {
        let (analytics, ids) = analytics(2);
        for device in 0..1000 {
            let id = format!("{device:0>width$}", width = 1 + device % DEVICE_ID_BYTES_MAX);
            post(&analytics, &ids, &id, 1.0, at(1));
        }
        let ranking = analytics.ranking(&query(RankBy::LastSeen, 2000), at(1));
        let devices = analytics.devices();
        assert!(devices > 900, "{devices}");
        assert_eq!((ranking.ranks.len(), ranking.total), (devices, devices as u64));
        assert_eq!(ranking.visited, devices as u64);
    }

    #[test]
    fn a_device_is_known_with_its_values_and_its_newest_timestamp() {
        let (analytics, ids) = analytics(2);
        let mut sent: Vec<f64> = Vec::new();
        for number in 0..9_u64 {
            let value = if number == 6 { 1e5 } else { (number % 3) as f64 };
            let (id, values) = ("d1", [value, 1.0]);
            let event = Event {
                device_id: Some(id.as_bytes()),
                timestamp: 17 + number,
                timestamp_ms: 1000 * i64::try_from(17 + number).unwrap(),
                present: FieldSet::from_bits(3),
                values: &values,
                ..Event::default()
            };
            let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
            analytics.writer(0, at(number), 1).apply(&[arrived], &mut Vec::new());
            sent.push(value);
        }
        let detail = analytics.detail("d1", at(9)).unwrap();
        assert_eq!(
            (Some(&detail.summary), detail.seen_ns),
            (analytics.device("d1", at(9)).as_ref(), 8)
        );
        assert_eq!(detail.values.timestamps_ms, [21_000, 22_000, 23_000, 24_000, 25_000]);
        let cpu: Vec<_> = detail.values.fields[0].iter().map(|it| it.unwrap()).collect();
        assert_eq!(cpu.iter().map(|it| it.value).collect::<Vec<_>>(), sent[4..]);
        let marked: Vec<bool> = cpu.iter().map(|it| it.is_anomalous).collect();
        assert_eq!(marked, [false, false, true, false, false]);
        assert_eq!(cpu[2].z, Some(detail.summary.anomalies.recent[0].point.z));
        assert_eq!(cpu[4].z, detail.summary.fields[0].unwrap().z_score);
        assert_eq!(analytics.newest_timestamp("d1", at(9)), Some(25));
        for (id, now) in [("d2", 9), ("d1", 9 + TTL_NS)] {
            assert_eq!(analytics.newest_timestamp(id, at(now)), None);
            assert_eq!(analytics.detail(id, at(now)), None);
        }
    }
}
