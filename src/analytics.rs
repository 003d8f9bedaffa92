//! Rolling averages and z-scores of device metrics, sharded by device.
//!
//! ```text
//! core ─ 8 events ─▶ home shard (a brief lock): score against the window, add, count ──▶ anomalies
//!      └─ event ──▶ PendingEvents (no lock) ── once a turn ──▶ PublishedEvents (a brief lock)
//! /analyze: copy each shard's and each core's part under its lock ──▶ merge ──▶ compute once
//! ```
//!
//! No socket, no thread, no clock; time is passed in as [`Now`]. The files from the bottom up:
//! [`moments`] computes means and deviations, `running_sums` keeps what they follow from, `window`
//! is the ring buffer of one series, `slots` the memory of all series, `series` scores events,
//! `device_index` finds devices by id, `expiry` schedules the sweep of silent devices,
//! `device_quota` limits their number, `device_limits` the rates of their events, the `gate` lets
//! in what keeps to those, `shard` joins all of these, [`recent`] orders the last events of all
//! cores, and [`summary`] is the result. [`directory`] lists devices, by a [`ranking`], and
//! [`anomaly_journal`] the findings of all shards. An [`instance_part`] is what other instances
//! are told. A [`device_state`] is what moves with a device to another instance, and [`lineage`]
//! how two of them become one. With [`shared_windows`] a device's window goes to the instance that
//! hears it: a `cell` is how a device stands to the others, `waiting` has the events whose windows
//! are under way, and `lease` is the time for which all others count on this instance.

pub mod anomaly;
pub mod anomaly_journal;
mod anomaly_log;
mod anomaly_records;
mod applied;
mod brought_anomalies;
mod cell;
mod cells;
mod counts;
mod device;
mod device_index;
mod device_limits;
mod device_quota;
pub mod device_state;
pub mod device_values;
pub mod directory;
mod expiry;
mod field_state;
mod finding_log;
mod gate;
pub mod instance_part;
mod lease;
pub mod lineage;
mod log_ring;
pub mod moments;
mod novel_fields;
pub mod novelty;
pub mod novelty_summary;
mod optional_fields;
mod prefetch;
pub mod ranking;
pub mod recent;
mod running_sums;
mod second_judge;
mod series;
mod shard;
mod shard_writer;
pub mod shared_windows;
mod sliding_counter;
mod slot_list;
mod slots;
pub mod summary;
mod sweeps;
mod waiting;
mod window;

use crate::gcra::Paces;
use crate::limits;
use crate::metric::id_hash::IdHasher;
use crate::schema::{Field, Schema};
use percore::clock::Now;
use percore::sync::{CachePadded, Count, Mutex, PerCore};

use anomaly_records::Receipt;
pub use applied::Applied;
use device_limits::DeviceLimits;
use device_quota::DeviceQuota;
use field_state::COOLDOWN_MAX;
pub use gate::DeviceGate;
use lease::Lease;
use novelty::NoveltySettings;
use recent::{NewestN, PendingEvents, PublishedEvents};
use series::Rules;
pub use shard::{Arrived, Guesses};
use shard::{DeviceKey, Shard};
pub use shard_writer::ShardWriter;
use summary::{AnalyticsTotals, FieldSnapshot, InstanceSummary, PartialSummary, SeriesSummary};

/// The settings of the analytics: how events are scored, and how many devices are held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnalyticsSettings {
    /// The fields that are scored.
    pub schema: &'static Schema,
    /// Events of a window; clamped to 1 to [`limits::WINDOW_MAX`].
    pub window: usize,
    /// A value is anomalous when |z| is larger.
    pub threshold: f64,
    /// Events that a window must hold before the next one is scored; 0 counts as 1. If this is
    /// larger than `window`, no event is ever scored.
    pub min_samples: usize,
    /// An anomaly at most so many events after the last one of an episode belongs to that episode.
    pub cooldown: usize,
    /// Devices held at once, over all shards.
    pub devices_max: usize,
    /// A device that is silent for longer is removed.
    pub device_ttl_ns: u64,
    /// The paces that the events of each device have to keep to, if there are any. None of their
    /// periods is longer than `device_ttl_ns`.
    pub device_limit: Option<Paces>,
    /// True if an event that repeats the last one of its device is judged as any other.
    pub judge_duplicates: bool,
}

/// The analytics of an instance, shared by all cores.
pub struct Analytics {
    rules: Rules,
    has_device_limit: bool,
    ids: IdHasher,
    quota: CachePadded<DeviceQuota>,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    cores: PerCore<CoreState>,
    journal: Mutex<anomaly_journal::Journal>,
    lease: CachePadded<Lease>,
    novelty: Option<NoveltySettings>,
}

/// The published state of one receiving core. Only the core itself counts here.
struct CoreState {
    number: u32,
    /// Events that it received.
    received: Count,
    /// Those of them whose device got no window.
    refused: Count,
    published: Mutex<PublishedEvents>,
}

impl Analytics {
    /// Returns analytics for so many cores, with as many shards; 0 counts as 1. `ids` hashes the
    /// ids of all events.
    pub fn new(settings: AnalyticsSettings, cores: usize, ids: IdHasher) -> Self {
        let cores = cores.clamp(1, limits::WORKERS_MAX);
        let rules = Rules {
            window: settings.window.clamp(1, limits::WINDOW_MAX),
            threshold: settings.threshold,
            min_samples: settings.min_samples.max(1),
            cooldown: u32::try_from(settings.cooldown)
                .map_or(COOLDOWN_MAX, |cooldown| cooldown.min(COOLDOWN_MAX)),
            schema: settings.schema,
            judges_duplicates: settings.judge_duplicates,
        };
        let shard = |ids: &IdHasher| {
            let limits = settings.device_limit.map(DeviceLimits::new);
            Shard::new(rules, settings.device_ttl_ns, ids.clone(), limits)
        };
        let core = |number| {
            let number = u32::try_from(number).unwrap_or_default();
            CoreState {
                number,
                received: Count::default(),
                refused: Count::default(),
                published: Mutex::new(PublishedEvents::new(number, &rules)),
            }
        };
        Self {
            rules,
            has_device_limit: settings.device_limit.is_some(),
            quota: CachePadded::new(DeviceQuota::new(settings.devices_max, settings.device_ttl_ns)),
            shards: (0..cores).map(|_| CachePadded::new(Mutex::new(shard(&ids)))).collect(),
            cores: PerCore::new(cores, core),
            journal: Mutex::new(anomaly_journal::Journal::new(cores)),
            lease: CachePadded::new(Lease::default()),
            novelty: None,
            ids,
        }
    }

    /// Returns the buffer that collects the events of a core for [`Self::publish`].
    pub fn pending_events(&self, core: usize) -> PendingEvents {
        PendingEvents::new(core, &self.rules)
    }

    /// Returns a writer for the events of one request that `core` received, so many at most.
    pub fn writer(&self, core: usize, now: Now, events: usize) -> ShardWriter<'_> {
        if self.lease.may_have_run_out(now.mono_ns) {
            self.note_lapse(now.mono_ns);
        }
        let core = self.core(core);
        let received = core.received.total();
        core.received.add(events as u64);
        let receipt = Receipt { now, core: core.number, received };
        ShardWriter { analytics: self, core, receipt }
    }

    /// Returns the members that a metric may have.
    pub const fn schema(&self) -> &'static Schema {
        self.rules.schema
    }

    /// Returns true if events have to keep to a limit of their device, see [`Self::gate`].
    #[inline(always)]
    pub const fn has_device_limit(&self) -> bool {
        self.has_device_limit
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Publishes the pending events of a core to the window over all series. To be called once a
    /// turn, before any of them is answered. It takes one short lock, which only readers contend
    /// for.
    pub fn publish(&self, pending: &mut PendingEvents) {
        self.core(pending.core()).published.lock().publish(pending);
    }

    /// Returns the merged state of this instance.
    pub fn instance(&self, now: Now) -> InstanceSummary {
        self.whole(now).summary(&self.rules)
    }

    /// Returns the parts of all cores and shards as one.
    fn whole(&self, now: Now) -> PartialSummary {
        let limit = self.rules.summary_events();
        let required = self.rules.schema.required_set().bits();
        let mut whole = self.merged_counts(now);
        // Memory is allocated before the lock is taken, which is then held for a copy only.
        for core in self.cores.iter() {
            let mut events: Vec<_> =
                self.rules.shared_windows().map(|_| Vec::with_capacity(limit)).collect();
            let (accepted, values) = {
                let published = core.published.lock();
                published.copy_to(&mut events);
                (published.accepted(), published.values(required))
            };
            whole = whole.merge(PartialSummary {
                accepted,
                values,
                events: events.into_iter().map(|events| NewestN::of(limit, events)).collect(),
                ..PartialSummary::empty(&self.rules)
            });
        }
        whole
    }

    /// Returns the state of one device; `None` if it is unknown or has expired.
    pub fn device(&self, id: &str, now: Now) -> Option<SeriesSummary> {
        let key = self.device_key(id.as_bytes());
        let shard = self.shards.get(key.hash.shard(self.shards.len()))?;
        let field = |_: &Field| FieldSnapshot::new(self.rules.window);
        let mut fields: Vec<_> = self.rules.schema.fields().iter().map(field).collect();
        let mut recent = Vec::with_capacity(limits::RECENT_ANOMALIES_MAX);
        let mut novelty = self.novelty_copies();
        let copy = {
            let shard = shard.lock();
            shard.copy_novelty(key, now.mono_ns, &mut novelty);
            shard.snapshot(key, now.mono_ns, &mut fields, &mut recent)?
        };
        let novelty = self.novelty_summaries(&novelty);
        Some(summary::of_device(&self.rules, id, &copy, &fields, recent, novelty))
    }

    /// Returns the number of devices that hold a slot; an expired one counts until it is swept.
    pub fn devices(&self) -> usize {
        self.quota.devices()
    }

    /// Returns the counts for the exposition. Takes one brief lock per shard.
    pub fn totals(&self, now: Now) -> AnalyticsTotals {
        self.merged_counts(now).totals
    }

    fn device_key<'a>(&self, id: &'a [u8]) -> DeviceKey<'a> {
        DeviceKey { id, hash: self.ids.hash(id) }
    }

    /// Returns a core by its number, modulo the number of cores.
    fn core(&self, core: usize) -> &CoreState {
        self.cores.at(core % self.cores.cores())
    }

    /// Returns the counts of all shards, merged.
    fn merged_counts(&self, now: Now) -> PartialSummary {
        let partial_of = |shard: &CachePadded<Mutex<Shard>>| {
            let mut partial = PartialSummary::empty(&self.rules);
            let mut recent = Vec::with_capacity(limits::RECENT_ANOMALIES_MAX);
            shard.lock().add_to(&mut partial, &mut recent, now.mono_ns);
            partial.recent = NewestN::of(limits::RECENT_ANOMALIES_MAX, recent);
            partial
        };
        let mut refused = PartialSummary::empty(&self.rules);
        refused.totals.devices_refused = self.cores.iter().map(|core| core.refused.total()).sum();
        self.shards.iter().map(partial_of).fold(refused, PartialSummary::merge)
    }
}

#[cfg(test)]
mod tests {
    use super::anomaly::Found;
    use super::summary::FieldSummary;
    use super::*;
    use crate::metric::event::Event;
    use crate::schema::FieldSet;
    use std::collections::HashMap;

    impl AnalyticsSettings {
        /// The settings of tests: small windows, and few devices.
        pub(in crate::analytics) fn small() -> Self {
            Self {
                schema: Schema::standard(),
                window: 8,
                threshold: 2.0,
                min_samples: 4,
                cooldown: 8,
                devices_max: 100,
                device_ttl_ns: 3_600_000_000_000,
                device_limit: None,
                judge_duplicates: true,
            }
        }
    }

    /// The verdict on one event.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Verdict {
        Calm,
        Anomalous,
        Refused,
    }

    /// Applies an event, and returns its verdict.
    fn apply(analytics: &Analytics, core: usize, now: Now, event: &Event<'_>) -> Verdict {
        judge(analytics, core, now, event).0
    }

    /// Applies an event, and returns its verdict with its anomalies.
    fn judge(
        analytics: &Analytics,
        core: usize,
        now: Now,
        event: &Event<'_>,
    ) -> (Verdict, Vec<Found>) {
        let mut points = Vec::new();
        let arrived = Arrived { event: *event, hash: analytics.ids.hash_of(event), index: 0 };
        let applied = analytics.writer(core, now, 1).apply(&[arrived], &mut points);
        let verdict = match applied.refused() {
            0 if points.is_empty() => Verdict::Calm,
            0 => Verdict::Anomalous,
            _ => Verdict::Refused,
        };
        (verdict, points)
    }

    /// Returns the summaries of both fields.
    fn fields(summary: &SeriesSummary) -> [FieldSummary; 2] {
        [0, 1].map(|at: usize| summary.fields[at].unwrap())
    }

    const SECOND_NS: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * SECOND_NS, wall_us: 0 }
    }

    fn event(device_id: Option<&str>, values: [f64; 2]) -> Event<'_> {
        Event {
            device_id: device_id.map(str::as_bytes),
            timestamp_ms: 1_700_000_000_000,
            present: FieldSet::from_bits(3),
            values: values.to_vec().leak(),
            ..Event::default()
        }
    }

    /// Four calm events and one far out in cpu.
    fn alarm(analytics: &Analytics, now: Now, id: Option<&str>, value: f64) {
        for cpu in [1.0, 2.0, 1.0, 2.0, value] {
            apply(analytics, 0, now, &event(id, [cpu, 5.0]));
        }
    }

    #[test]
    fn an_empty_instance_has_counts_of_zero_and_no_numbers() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 2, IdHasher::default());
        let summary = analytics.instance(at(0));
        assert_eq!(summary.series.fields, [None, None]);
        assert_eq!((summary.series.accepted, summary.totals), (0, AnalyticsTotals::default()));
        let window = summary.series.window;
        assert_eq!((window.size, window.count, window.from_ms), (8, 0, None));
        assert_eq!(analytics.device("d1", at(0)), None);
        assert_eq!(analytics.sweep(0, at(0)), None);
    }

    #[test]
    fn a_device_tells_its_window_and_the_verdict_on_its_latest() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 2, IdHasher::default());
        alarm(&analytics, at(1), Some("d1"), 100.0);
        let summary = analytics.device("d1", at(1)).unwrap();
        let [cpu, rps] = fields(&summary);
        assert_eq!((cpu.min, cpu.max, cpu.last), (1.0, 100.0, 100.0));
        assert_eq!(cpu.rolling_average, 106.0 / 5.0);
        assert_eq!(cpu.z_score, Some((100.0 - 1.5) / 0.5));
        assert!(cpu.anomaly && !rps.anomaly);
        assert_eq!((rps.rolling_average, rps.stddev, rps.z_score), (5.0, 0.0, Some(0.0)));
        assert_eq!((summary.accepted, summary.window.count), (5, 5));
        let anomalies = summary.anomalies;
        assert_eq!((anomalies.points, anomalies.episodes, anomalies.last_minute), (1, 1, 1));
        let [recent] = anomalies.recent.try_into().unwrap();
        let point = recent.point;
        assert_eq!((point.field.name(), point.value, point.mean), ("cpu", 100.0, 1.5));
        assert_eq!((point.stddev, point.z), (0.5, 197.0));
        assert_eq!(recent.device_id.as_deref(), Some("d1"));
    }

    #[test]
    fn verdicts_of_a_device_do_not_depend_on_cores_nor_on_who_receives() {
        let one = Analytics::new(AnalyticsSettings::small(), 1, IdHasher::default());
        let many = Analytics::new(AnalyticsSettings::small(), 7, IdHasher::default());
        for i in 0..2000_u64 {
            let id = format!("d{}", i % 13);
            let values = [(i * i % 101) as f64, (i * 7919 % 1009) as f64];
            let event = event(Some(&id), values);
            let core = usize::try_from(i % 11).unwrap();
            assert_eq!(judge(&one, 0, at(i), &event), judge(&many, core, at(i), &event));
        }
        assert_eq!(one.devices(), 13);
        assert_eq!(many.instance(at(0)).totals, one.instance(at(0)).totals);
        assert_eq!(
            many.instance(at(0)).series.anomalies.recent,
            one.instance(at(0)).series.anomalies.recent
        );
    }

    #[test]
    fn an_anonymous_event_belongs_to_the_receiving_cores_series() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 2, IdHasher::default());
        alarm(&analytics, at(1), None, 100.0);
        // The other core's series has no events yet, and so no verdict.
        let verdict = apply(&analytics, 1, at(1), &event(None, [100.0, 5.0]));
        assert_eq!(verdict, Verdict::Calm);
        let summary = analytics.instance(at(1));
        assert_eq!((summary.series.anomalies.points, summary.totals.devices), (1, 0));
        assert_eq!(summary.series.anomalies.recent[0].device_id, None);
        // A core that does not exist counts as one that does.
        apply(&analytics, usize::MAX, at(1), &event(None, [1.0, 1.0]));
        analytics.publish(&mut analytics.pending_events(usize::MAX));
        assert!(analytics.device("", at(1)).is_none());
    }

    #[test]
    fn past_the_limit_a_new_device_counts_in_all_alone() {
        let settings = AnalyticsSettings { devices_max: 3, ..AnalyticsSettings::small() };
        let analytics = Analytics::new(settings, 2, IdHasher::default());
        let mut pending = analytics.pending_events(0);
        for round in 0..2 {
            for id in ["a", "b", "c", "d", "e"] {
                let event = event(Some(id), [1.0, 2.0]);
                let verdict = apply(&analytics, 0, at(round), &event);
                assert_eq!(verdict == Verdict::Refused, ["d", "e"].contains(&id));
                pending.push(at(round), 0, || event);
            }
        }
        analytics.publish(&mut pending);
        assert!(analytics.device("c", at(1)).is_some());
        assert!(analytics.device("d", at(1)).is_none());
        let summary = analytics.instance(at(1));
        assert_eq!((summary.totals.devices, summary.totals.devices_refused), (3, 4));
        assert_eq!((summary.series.accepted, summary.series.window.count), (10, 8));
    }

    /// A client that invents ids must not slow others down: no event waits for all shards' locks.
    #[test]
    fn a_refused_device_takes_the_lock_of_its_own_shard_alone() {
        let settings = AnalyticsSettings { devices_max: 1, ..AnalyticsSettings::small() };
        let analytics = Analytics::new(settings, 2, IdHasher::default());
        let home = |id: &str| analytics.device_key(id.as_bytes()).hash.shard(2);
        let known = "d0";
        let stranger = (1..).map(|i| format!("d{i}")).find(|id| home(id) != home(known)).unwrap();
        let refused = |now| {
            apply(&analytics, 0, now, &event(Some(&stranger), [1.0, 2.0])) == Verdict::Refused
        };
        assert!(apply(&analytics, 0, at(0), &event(Some(known), [1.0, 2.0])) != Verdict::Refused);
        assert!(refused(at(0)), "after looking for an expired device");
        let held = analytics.shards[home(known)].lock();
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            scope.spawn(move || sender.send(refused(at(3600))));
            let answer = receiver.recv_timeout(std::time::Duration::from_secs(10));
            drop(held);
            assert_eq!(answer, Ok(true));
        });
        // When the known one has expired, the next event gets its slot.
        assert!(
            apply(&analytics, 0, at(3601), &event(Some(&stranger), [1.0, 2.0])) != Verdict::Refused
        );
        assert_eq!(analytics.totals(at(3601)).devices_refused, 2);
    }

    #[test]
    fn silent_devices_keep_nobody_out() {
        let settings = AnalyticsSettings { devices_max: 300, ..AnalyticsSettings::small() };
        let analytics = Analytics::new(settings, 2, IdHasher::default());
        let take = |seconds, names: std::ops::Range<u32>| {
            names.fold(0, |refused, name| {
                let name = format!("d{name}");
                let verdict = apply(&analytics, 0, at(seconds), &event(Some(&name), [1.0, 2.0]));
                refused + u32::from(verdict == Verdict::Refused)
            })
        };
        assert_eq!(take(0, 0..310), 10);
        // No sweep has run, and all but one have expired.
        assert_eq!(take(3600, 7..8), 0);
        assert_eq!(take(3601, 1000..1299), 0);
        assert_eq!(take(3601, 1299..1310), 11);
        assert!(analytics.device("d7", at(3601)).is_some());
        assert_eq!(analytics.instance(at(3601)).totals.devices, 300);
    }

    #[test]
    fn a_silent_device_is_unknown_at_once_and_starts_afresh() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 2, IdHasher::default());
        alarm(&analytics, at(0), Some("d1"), 100.0);
        assert!(analytics.device("d1", at(3600)).is_some());
        assert!(analytics.device("d1", at(3601)).is_none());
        let verdict = apply(&analytics, 0, at(3601), &event(Some("d1"), [9.0, 9.0]));
        assert_eq!(verdict, Verdict::Calm);
        let summary = analytics.device("d1", at(3601)).unwrap();
        assert_eq!((summary.accepted, summary.window.count), (1, 1));
        assert_eq!((summary.anomalies.points, summary.anomalies.recent.len()), (0, 0));
        // Its counts stay in the totals, and its anomalies keep its id.
        let totals = analytics.instance(at(3601));
        assert_eq!((totals.series.anomalies.points, totals.totals.devices), (1, 1));
        assert_eq!(totals.series.anomalies.recent[0].device_id.as_deref(), Some("d1"));
        assert_eq!(totals.series.anomalies.last_minute, 0);
    }

    #[test]
    fn swept_slots_are_reused_in_time_and_totals_never_fall() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 3, IdHasher::default());
        let mut totals = AnalyticsTotals::default();
        for generation in 0..5_u64 {
            let start = generation * 5000;
            for i in 0..100 {
                let id = format!("device-of-a-long-name-{generation}-{i}");
                alarm(&analytics, at(start), Some(&id), 100.0);
                let summary = analytics.device(&id, at(start)).unwrap();
                assert_eq!((summary.accepted, summary.anomalies.recent.len()), (5, 1));
            }
            assert_eq!(analytics.devices(), 100);
            let now = analytics.totals(at(start));
            assert_eq!(now.points[..2], [totals.points[0] + 100, 0]);
            assert_eq!(now.episodes, now.points);
            totals = now;
            // Only core 1 is awake: it sweeps the shards of the others too.
            let mut calls = 0;
            let mut wake_ns = analytics.sweep(1, at(start));
            while let Some(mono_ns) = wake_ns {
                let wall_us = 0;
                assert!(mono_ns > at(start + 3600).mono_ns, "nothing to do before");
                assert!(mono_ns < at(start + 3600 + 3600 / 8).mono_ns, "late");
                wake_ns = analytics.sweep(1, Now { mono_ns, wall_us });
                calls += 1;
            }
            assert_eq!((analytics.devices(), calls <= 6), (0, true));
            assert_eq!(analytics.totals(at(start)).points, totals.points);
        }
        let recent = analytics.instance(at(30_000)).series.anomalies.recent;
        assert_eq!(recent.len(), 20);
        assert_eq!(recent[0].device_id.as_deref(), Some("device-of-a-long-name-4-99"));
        assert_eq!(recent[19].device_id.as_deref(), Some("device-of-a-long-name-4-80"));
    }

    #[test]
    fn a_busy_device_is_kept_while_its_neighbours_go() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 1, IdHasher::default());
        for i in 0..100 {
            apply(&analytics, 0, at(i), &event(Some(&format!("d{i}")), [1.0, 1.0]));
        }
        let mut due_ns = analytics.sweep(0, at(100)).unwrap();
        for minute in 1..120 {
            let now = at(100 + minute * 60);
            apply(&analytics, 0, now, &event(Some("d7"), [1.0, 1.0]));
            if now.mono_ns >= due_ns {
                due_ns = analytics.sweep(0, now).unwrap();
            }
        }
        assert_eq!(analytics.devices(), 1);
        let accepted = analytics.device("d7", at(7300)).unwrap().accepted;
        assert_eq!(accepted, 120);
    }

    #[test]
    fn all_is_scored_by_the_newest_against_the_others_in_its_window() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 2, IdHasher::default());
        let mut pending = [analytics.pending_events(0), analytics.pending_events(1)];
        let mut publish = |second: u64, cpu: f64| {
            let pending = &mut pending[usize::try_from(second % 2).unwrap()];
            pending.push(at(second), 0, || event(None, [cpu, 5.0]));
            analytics.publish(pending);
            fields(&analytics.instance(at(second)).series)[0]
        };
        for second in 0..4 {
            assert_eq!(publish(second, 1.0 + (second % 2) as f64).z_score, None);
        }
        let spike = publish(4, 100.0);
        assert_eq!((spike.z_score, spike.anomaly), (Some(197.0), true));
        assert_eq!((spike.last, spike.min, spike.rolling_average), (100.0, 1.0, 106.0 / 5.0));
        for second in 5..12 {
            publish(second, 100.0);
        }
        // The spike and seven more are the whole window before it.
        let level = publish(12, 100.0);
        assert_eq!((level.z_score, level.stddev, level.min), (Some(0.0), 0.0, 100.0));
    }

    /// The newest event is scored against a whole window before it, here as for a device.
    #[test]
    fn all_and_a_device_agree_where_a_verdict_needs_a_whole_window() {
        let settings = AnalyticsSettings { min_samples: 8, ..AnalyticsSettings::small() };
        let analytics = Analytics::new(settings, 1, IdHasher::default());
        let mut pending = analytics.pending_events(0);
        for second in 0..30_u32 {
            let now = at(second.into());
            let cpu = f64::from(second * second % 17) + if second == 20 { 1e4 } else { 0.0 };
            let event = event(Some("d1"), [cpu, 1.0]);
            let verdict = apply(&analytics, 0, now, &event);
            pending.push(now, 0, || event);
            analytics.publish(&mut pending);
            let instance = analytics.instance(now);
            let device = analytics.device("d1", now).unwrap();
            assert_eq!(
                (&instance.series.fields, instance.series.window),
                (&device.fields, device.window)
            );
            let [all, _] = fields(&instance.series);
            assert_eq!(all.z_score.is_some(), second >= 8);
            assert_eq!(all.anomaly, verdict == Verdict::Anomalous);
        }
    }

    #[test]
    fn a_windows_span_is_from_its_least_to_its_greatest_timestamp() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 2, IdHasher::default());
        let mut pending = analytics.pending_events(0);
        let base_ms = 1_700_000_000_000;
        // The first two are out of the window of eight in the end.
        for ms in [99_000, -99_000, 5, 900, 3, 40, 7, 6, 30, 20] {
            let event = Event { timestamp_ms: base_ms + ms, ..event(Some("d1"), [1.0, 1.0]) };
            apply(&analytics, 0, at(1), &event);
            pending.push(at(1), 0, || event);
        }
        analytics.publish(&mut pending);
        let device = analytics.device("d1", at(1)).unwrap().window;
        for window in [analytics.instance(at(1)).series.window, device] {
            assert_eq!((window.from_ms, window.to_ms), (Some(base_ms + 3), Some(base_ms + 900)));
        }
    }

    #[test]
    fn last_minute_forgets_what_is_older() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 1, IdHasher::default());
        for (second, count) in [(0, 1), (30, 2), (59, 3), (70, 3), (200, 1)] {
            alarm(&analytics, at(second), Some(&second.to_string()), 100.0);
            assert_eq!(analytics.instance(at(second)).series.anomalies.last_minute, count);
        }
    }

    #[test]
    fn cores_that_apply_at_once_lose_nothing() {
        let analytics = Analytics::new(AnalyticsSettings::small(), 4, IdHasher::default());
        std::thread::scope(|scope| {
            for core in 0..4 {
                let analytics = &analytics;
                scope.spawn(move || {
                    let mut pending = analytics.pending_events(core);
                    for i in 0..5000_u64 {
                        let id = format!("d{}", i % 37);
                        let event = event(Some(&id), [i as f64, 1.0]);
                        apply(analytics, core, at(i / 100), &event);
                        pending.push(at(i / 100), 0, || event);
                        analytics.publish(&mut pending);
                        if i % 500 == 0 {
                            let summary = analytics.instance(at(i / 100));
                            assert!(
                                summary.series.accepted > i && summary.series.window.count <= 8
                            );
                        }
                    }
                });
            }
        });
        let by_id: HashMap<String, u64> = (0..37)
            .map(|i| format!("d{i}"))
            .map(|id| (id.clone(), analytics.device(&id, at(50)).unwrap().accepted))
            .collect();
        assert_eq!(by_id.values().sum::<u64>(), 20_000);
        let summary = analytics.instance(at(50));
        assert_eq!((summary.series.accepted, summary.totals.devices), (20_000, 37));
    }
}
