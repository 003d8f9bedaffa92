//! Rolling averages and z-scores of device metrics, sharded by device.
//!
//! ```text
//! core ── event ──▶ home shard (a brief lock): score against the window, enter, count ──▶ Verdict
//!      └─ event ──▶ PendingEvents (no lock) ── once a turn ──▶ the core's published window
//! /analyze: copy each shard's and each core's partial under its lock ──▶ merge ──▶ compute once
//! ```
//!
//! Pure but for its locks: no socket, no thread, no clock; time comes in as [`Now`].
//! From the bottom: [`moments`] computes, `window` is one series' ring, `rows` the memory of all,
//! `series` judges, `device_index` finds devices, `shard` puts them together, `sweep` forgets them,
//! `room` bounds them, [`union`] orders the events of all cores and [`summary`] is what comes out.

pub mod anomaly;
mod device_index;
mod device_quota;
mod expiry;
pub mod moments;
pub mod recent;
mod series;
mod shard;
mod sliding_counter;
mod slots;
pub mod summary;
mod window;

use std::sync::atomic::AtomicU64;

use crate::limits;
use crate::metric::event::Event;
use percore::clock::Now;
use percore::sync::{CachePadded, Count, Mutex, MutexGuard};

use device_index::{IdHash, IdHasher};
use device_quota::{DeviceQuota, ScanResult};
use expiry::STEPS_PER_CALL;
use recent::{NewestN, PendingEvents, PublishedEvents};
use series::Rules;
pub use series::Verdict;
use shard::{DeviceKey, ReceivingCore, Shard};
use summary::{AnalyticsTotals, DeviceSummary, InstanceSummary, PartialSummary};

/// How events are judged, and what may be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnalyticsSettings {
    /// Events of a window, 1 to [`limits::WINDOW_MAX`]; what lies outside is moved inside.
    pub window: usize,
    /// A value is anomalous when |z| is larger.
    pub threshold: f64,
    /// Events that a window must hold for a verdict on the next one; 0 counts as 1. No verdict is
    /// ever given if this is larger than `window`.
    pub min_samples: usize,
    /// An anomaly at most so many events after an episode's last one belongs to that episode.
    pub cooldown: usize,
    /// Devices held at once, over all shards.
    pub devices_max: usize,
    /// A device silent for longer is forgotten.
    pub device_ttl_ns: u64,
}

/// The analytics of an instance; all cores share one.
pub struct Analytics {
    rules: Rules,
    ids: IdHasher,
    quota: CachePadded<DeviceQuota>,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    cores: Box<[CachePadded<CoreState>]>,
}

/// What one receiving core makes known.
struct CoreState {
    number: u32,
    /// Anomalies among the events that it received.
    anomalies: AtomicU64,
    /// Events that it received and that got no window; only the core itself counts here.
    refused: Count,
    window: Mutex<PublishedEvents>,
}

impl Analytics {
    /// For so many cores, and as many shards; 0 counts as 1.
    #[must_use]
    pub fn new(settings: AnalyticsSettings, cores: usize) -> Self {
        let cores = cores.clamp(1, limits::WORKERS_MAX);
        let rules = Rules {
            window: settings.window.clamp(1, limits::WINDOW_MAX),
            threshold: settings.threshold,
            min_samples: settings.min_samples.max(1),
            cooldown: u32::try_from(settings.cooldown).unwrap_or(u32::MAX),
        };
        let shard = || Shard::new(rules, settings.device_ttl_ns);
        let core = |number| CoreState {
            number,
            anomalies: AtomicU64::new(0),
            refused: Count::default(),
            window: Mutex::new(PublishedEvents::new(number, rules.summary_events())),
        };
        Self {
            rules,
            ids: IdHasher::default(),
            quota: CachePadded::new(DeviceQuota::new(settings.devices_max, settings.device_ttl_ns)),
            shards: (0..cores).map(|_| CachePadded::new(Mutex::new(shard()))).collect(),
            cores: (0_u32..).take(cores).map(|number| CachePadded::new(core(number))).collect(),
        }
    }

    /// The buffer in which a core notes what it accepts, for [`Self::publish`].
    #[must_use]
    pub fn pending_events(&self, core: usize) -> PendingEvents {
        PendingEvents::new(core, self.rules.summary_events())
    }

    /// Takes the events of one request that `core` received.
    #[must_use]
    pub fn writer(&self, core: usize, now: Now) -> ShardWriter<'_> {
        ShardWriter { analytics: self, core, now, held: None, left: 0 }
    }

    /// Makes what a core has noted visible in the window over all series. To be called before any
    /// of it is answered, once a turn: one short lock, which only readers ever contend for.
    pub fn publish(&self, recent: &mut PendingEvents) {
        if let Some(core) = self.core(recent.core()) {
            core.window.lock().publish(recent);
        }
    }

    /// The merged state of this instance.
    #[must_use]
    pub fn instance(&self, now: Now) -> InstanceSummary {
        let limit = self.rules.summary_events();
        let mut whole = self.merged_counts(now);
        // Memory is taken before the lock, which is then held for a copy.
        for core in &self.cores {
            let mut events = Vec::with_capacity(limit);
            let accepted = {
                let window = core.window.lock();
                window.copy_to(&mut events);
                window.accepted()
            };
            whole = whole.merge(PartialSummary {
                accepted,
                events: NewestN::of(limit, events),
                ..PartialSummary::empty(limit)
            });
        }
        whole.summary(&self.rules)
    }

    /// The state of one device; `None` if it is unknown, or silent for longer than its time.
    #[must_use]
    pub fn device(&self, id: &str, now: Now) -> Option<DeviceSummary> {
        let key = self.device_key(id.as_bytes());
        let shard = self.shard_for(0, Some(key.hash))?;
        let mut values = Vec::with_capacity(self.rules.window);
        let mut recent = Vec::with_capacity(limits::RECENT_ANOMALIES_MAX);
        let copy = shard.lock().snapshot(key, now.mono_ns, &mut values, &mut recent)?;
        Some(summary::of_device(&self.rules, id, &copy, &values, recent, now.mono_ns))
    }

    /// Frees some of the slots whose devices have been silent for too long, if any are due.
    ///
    /// Answers the monotonic time, in nanoseconds, at which this core wants to be called again;
    /// `None` when no device is held. A core without such an appointment calls after each turn in
    /// which it applied events, which is then one atomic read; a core with one calls at that time.
    pub fn sweep(&self, core: usize, now: Now) -> Option<u64> {
        if self.quota.devices() == 0 {
            return None;
        }
        let sweeper = self.core(core)?.number;
        let next =
            self.shards.iter().map(|shard| self.sweep_shard(shard, sweeper, now.mono_ns)).min();
        next.filter(|&next_ns| next_ns != u64::MAX)
    }

    /// Devices that hold a slot; one that fell silent is counted until it is swept.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.quota.devices()
    }

    /// Counts for the exposition: one brief lock a shard.
    #[must_use]
    pub fn totals(&self, now: Now) -> AnalyticsTotals {
        self.merged_counts(now).totals()
    }

    fn device_key<'a>(&self, id: &'a [u8]) -> DeviceKey<'a> {
        DeviceKey { id, hash: self.ids.hash(id) }
    }

    /// A core by its number; one that does not exist is taken for one that does.
    fn core(&self, core: usize) -> Option<&CoreState> {
        self.cores.get(core % self.cores.len()).map(|core| &**core)
    }

    /// The shard of this hash, or the anonymous one of a core.
    fn shard_for(&self, core: usize, hash: Option<IdHash>) -> Option<&Mutex<Shard>> {
        let shards = self.shards.len();
        let at = hash.map_or(core % shards, |hash| hash.shard(shards));
        self.shards.get(at).map(|shard| &**shard)
    }

    /// What all shards have counted, merged.
    fn merged_counts(&self, now: Now) -> PartialSummary {
        let limit = self.rules.summary_events();
        let partial_of = |shard: &CachePadded<Mutex<Shard>>| {
            let mut partial = PartialSummary::empty(limit);
            let mut recent = Vec::with_capacity(limits::RECENT_ANOMALIES_MAX);
            shard.lock().add_to(&mut partial, &mut recent, now.mono_ns);
            partial.recent = NewestN::of(limits::RECENT_ANOMALIES_MAX, recent);
            partial
        };
        let devices_refused = self.cores.iter().map(|core| core.refused.total()).sum();
        let refused = PartialSummary { devices_refused, ..PartialSummary::empty(limit) };
        self.shards.iter().map(partial_of).fold(refused, PartialSummary::merge)
    }

    /// Looks for devices that are silent for too long, so that they do not keep new ones out until
    /// their turn in the sweep comes, and says whether one was found.
    #[cold]
    fn reclaim_slots(&self, core: u32, now_ns: u64) -> bool {
        self.quota.reclaim(self.shards.len(), now_ns, |at| {
            let Some(shard) = self.shards.get(at) else {
                return ScanResult::NoneUntil(u64::MAX);
            };
            for _ in 0..STEPS_PER_CALL {
                let mut held = shard.lock();
                let may_free_ns = held.may_free_ns();
                if may_free_ns > now_ns {
                    return ScanResult::NoneUntil(may_free_ns);
                }
                let freed = held.sweep_step(core, now_ns, &self.ids).freed;
                if freed > 0 {
                    return ScanResult::Freed(freed);
                }
            }
            ScanResult::NoneUntil(now_ns)
        })
    }

    /// Sweeps a shard if it is due, and answers when this core should do so next.
    fn sweep_shard(&self, shard: &Mutex<Shard>, core: u32, now_ns: u64) -> u64 {
        let mut due_ns = shard.lock().sweep_due_ns(core);
        if due_ns > now_ns {
            return due_ns;
        }
        for _ in 0..STEPS_PER_CALL {
            // The lock is let go between holds: cores that wait for it get their turn.
            let mut held = shard.lock();
            let swept = held.sweep_step(core, now_ns, &self.ids);
            due_ns = held.sweep_due_ns(core);
            drop(held);
            self.quota.release(swept.freed);
            if swept.ended {
                break;
            }
        }
        due_ns
    }
}

/// The events of one request on their way into their shards.
///
/// Locking and unlocking is a tenth of what an event costs. Where there is one core, nobody waits
/// for its shard but whoever scrapes, so that it stays locked for some events at a time.
pub struct ShardWriter<'a> {
    analytics: &'a Analytics,
    core: usize,
    now: Now,
    /// The only shard.
    held: Option<MutexGuard<'a, Shard>>,
    /// Events for which it may be held still.
    left: usize,
}

impl ShardWriter<'_> {
    /// Scores and enters one event, under the lock of its home shard: that of its device, or the
    /// core's own for an event without one. Allocates for a new device alone.
    pub fn apply(&mut self, event: &Event<'_>) -> Verdict {
        let Self { analytics, now, .. } = *self;
        let key = event.device_id.map(|id| analytics.device_key(id));
        let home = analytics.shard_for(self.core, key.map(|key| key.hash));
        let (Some(home), Some(core)) = (home, analytics.core(self.core)) else {
            return Verdict::default();
        };
        let receiving = ReceivingCore { number: core.number, anomalies: &core.anomalies };
        let mut shard = self.held.take().unwrap_or_else(|| {
            self.left = if analytics.shards.len() == 1 { limits::EVENTS_PER_HOLD } else { 1 };
            home.lock()
        });
        if let Some(verdict) = shard.apply(receiving, now, event, key, &analytics.quota) {
            self.left -= 1;
            self.held = (self.left > 0).then_some(shard);
            return verdict;
        }
        drop(shard);
        let quota = &analytics.quota;
        let again = analytics.reclaim_slots(core.number, now.mono_ns).then(|| {
            let mut shard = home.lock();
            shard.apply(receiving, now, event, key, quota)
        });
        again.flatten().unwrap_or_else(|| {
            core.refused.add(1);
            Verdict { refused: true, ..Verdict::default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::event::Field;
    use std::collections::HashMap;

    const SETTINGS: AnalyticsSettings = AnalyticsSettings {
        window: 8,
        threshold: 2.0,
        min_samples: 4,
        cooldown: 8,
        devices_max: 100,
        device_ttl_ns: 3_600_000_000_000,
    };

    const SECOND_NS: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * SECOND_NS, wall_us: 0 }
    }

    fn event(device_id: Option<&str>, values: [f64; 2]) -> Event<'_> {
        Event {
            device_id: device_id.map(str::as_bytes),
            timestamp: b"",
            timestamp_ms: 1_700_000_000_000,
            values,
            literals: [b"", b""],
        }
    }

    /// Four calm events and one far out in cpu.
    fn alarm(analytics: &Analytics, now: Now, id: Option<&str>, value: f64) {
        for cpu in [1.0, 2.0, 1.0, 2.0, value] {
            analytics.writer(0, now).apply(&event(id, [cpu, 5.0]));
        }
    }

    #[test]
    fn an_empty_instance_has_counts_of_zero_and_no_numbers() {
        let analytics = Analytics::new(SETTINGS, 2);
        let summary = analytics.instance(at(0));
        assert_eq!(summary.fields, None);
        assert_eq!((summary.accepted, summary.totals), (0, AnalyticsTotals::default()));
        let window = summary.window;
        assert_eq!((window.size, window.count, window.from_ms), (8, 0, None));
        assert_eq!(analytics.device("d1", at(0)), None);
        assert_eq!(analytics.sweep(0, at(0)), None);
    }

    #[test]
    fn a_device_tells_its_window_and_the_verdict_on_its_latest() {
        let analytics = Analytics::new(SETTINGS, 2);
        alarm(&analytics, at(1), Some("d1"), 100.0);
        let summary = analytics.device("d1", at(1)).unwrap();
        let [cpu, rps] = summary.fields.unwrap();
        assert_eq!((cpu.min, cpu.max, cpu.last), (1.0, 100.0, 100.0));
        assert_eq!(cpu.rolling_average, 106.0 / 5.0);
        assert_eq!(cpu.z_score, Some((100.0 - 1.5) / 0.5));
        assert!(cpu.anomaly && !rps.anomaly);
        assert_eq!((rps.rolling_average, rps.stddev, rps.z_score), (5.0, 0.0, Some(0.0)));
        assert_eq!((summary.accepted, summary.window.count), (5, 5));
        let anomalies = summary.anomalies;
        assert_eq!((anomalies.points, anomalies.episodes, anomalies.last_minute), (1, 1, 1));
        let [recent] = anomalies.recent.try_into().unwrap();
        assert_eq!((recent.field, recent.value, recent.mean), (Field::Cpu, 100.0, 1.5));
        assert_eq!((recent.stddev, recent.z), (0.5, 197.0));
        assert_eq!(recent.device_id.as_deref(), Some("d1"));
    }

    #[test]
    fn verdicts_of_a_device_do_not_depend_on_cores_nor_on_who_receives() {
        let one = Analytics::new(SETTINGS, 1);
        let many = Analytics::new(SETTINGS, 7);
        for i in 0..2000_u64 {
            let id = format!("d{}", i % 13);
            let values = [(i * i % 101) as f64, (i * 7919 % 1009) as f64];
            let event = event(Some(&id), values);
            let core = usize::try_from(i % 11).unwrap();
            assert_eq!(one.writer(0, at(i)).apply(&event), many.writer(core, at(i)).apply(&event));
        }
        assert_eq!(one.devices(), 13);
        assert_eq!(many.instance(at(0)).totals, one.instance(at(0)).totals);
        assert_eq!(many.instance(at(0)).anomalies.recent, one.instance(at(0)).anomalies.recent);
    }

    #[test]
    fn an_anonymous_event_belongs_to_the_receiving_cores_series() {
        let analytics = Analytics::new(SETTINGS, 2);
        alarm(&analytics, at(1), None, 100.0);
        // The other core's series has no events yet, and so no verdict.
        let verdict = analytics.writer(1, at(1)).apply(&event(None, [100.0, 5.0]));
        assert_eq!(verdict, Verdict::default());
        let summary = analytics.instance(at(1));
        assert_eq!((summary.anomalies.points, summary.totals.devices), (1, 0));
        assert_eq!(summary.anomalies.recent[0].device_id, None);
        // A core that does not exist is taken for one that does.
        analytics.writer(usize::MAX, at(1)).apply(&event(None, [1.0, 1.0]));
        analytics.publish(&mut analytics.pending_events(usize::MAX));
        assert!(analytics.device("", at(1)).is_none());
    }

    #[test]
    fn past_the_limit_a_new_device_counts_in_all_alone() {
        let settings = AnalyticsSettings { devices_max: 3, ..SETTINGS };
        let analytics = Analytics::new(settings, 2);
        let mut recent = analytics.pending_events(0);
        for round in 0..2 {
            for id in ["a", "b", "c", "d", "e"] {
                let event = event(Some(id), [1.0, 2.0]);
                let verdict = analytics.writer(0, at(round)).apply(&event);
                assert_eq!(verdict.refused, ["d", "e"].contains(&id));
                recent.push(at(round), &event, 0);
            }
        }
        analytics.publish(&mut recent);
        assert!(analytics.device("c", at(1)).is_some());
        assert!(analytics.device("d", at(1)).is_none());
        let summary = analytics.instance(at(1));
        assert_eq!((summary.totals.devices, summary.totals.devices_refused), (3, 4));
        assert_eq!((summary.accepted, summary.window.count), (10, 8));
    }

    /// Whoever makes ids up must not slow others down: nobody waits for the locks of all shards.
    #[test]
    fn a_refused_device_takes_the_lock_of_its_own_shard_alone() {
        let settings = AnalyticsSettings { devices_max: 1, ..SETTINGS };
        let analytics = Analytics::new(settings, 2);
        let home = |id: &str| analytics.device_key(id.as_bytes()).hash.shard(2);
        let known = "d0";
        let stranger = (1..).map(|i| format!("d{i}")).find(|id| home(id) != home(known)).unwrap();
        let refused =
            |now| analytics.writer(0, now).apply(&event(Some(&stranger), [1.0, 2.0])).refused;
        assert!(!analytics.writer(0, at(0)).apply(&event(Some(known), [1.0, 2.0])).refused);
        assert!(refused(at(0)), "and that looked for room");
        let held = analytics.shards[home(known)].lock();
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            scope.spawn(move || sender.send(refused(at(3600))));
            let answer = receiver.recv_timeout(std::time::Duration::from_secs(10));
            drop(held);
            assert_eq!(answer, Ok(true));
        });
        // When the known one has had its time, the next event finds the room.
        assert!(!analytics.writer(0, at(3601)).apply(&event(Some(&stranger), [1.0, 2.0])).refused);
        assert_eq!(analytics.totals(at(3601)).devices_refused, 2);
    }

    #[test]
    fn silent_devices_keep_nobody_out() {
        let settings = AnalyticsSettings { devices_max: 300, ..SETTINGS };
        let analytics = Analytics::new(settings, 2);
        let take = |seconds, names: std::ops::Range<u32>| {
            names.fold(0, |refused, name| {
                let name = format!("d{name}");
                let verdict =
                    analytics.writer(0, at(seconds)).apply(&event(Some(&name), [1.0, 2.0]));
                refused + u32::from(verdict.refused)
            })
        };
        assert_eq!(take(0, 0..310), 10);
        // Nobody has swept, and all have been silent for too long but one.
        assert_eq!(take(3600, 7..8), 0);
        assert_eq!(take(3601, 1000..1299), 0);
        assert_eq!(take(3601, 1299..1310), 11);
        assert!(analytics.device("d7", at(3601)).is_some());
        assert_eq!(analytics.instance(at(3601)).totals.devices, 300);
    }

    #[test]
    fn a_silent_device_is_unknown_at_once_and_starts_afresh() {
        let analytics = Analytics::new(SETTINGS, 2);
        alarm(&analytics, at(0), Some("d1"), 100.0);
        assert!(analytics.device("d1", at(3600)).is_some());
        assert!(analytics.device("d1", at(3601)).is_none());
        let verdict = analytics.writer(0, at(3601)).apply(&event(Some("d1"), [9.0, 9.0]));
        assert_eq!(verdict, Verdict::default());
        let summary = analytics.device("d1", at(3601)).unwrap();
        assert_eq!((summary.accepted, summary.window.count), (1, 1));
        assert_eq!((summary.anomalies.points, summary.anomalies.recent.len()), (0, 0));
        // What it had counted stays in the totals, under its name.
        let totals = analytics.instance(at(3601));
        assert_eq!((totals.anomalies.points, totals.totals.devices), (1, 1));
        assert_eq!(totals.anomalies.recent[0].device_id.as_deref(), Some("d1"));
        assert_eq!(totals.anomalies.last_minute, 0);
    }

    #[test]
    fn swept_slots_are_reused_in_time_and_totals_never_fall() {
        let analytics = Analytics::new(SETTINGS, 3);
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
            assert_eq!(now.points, [totals.points[0] + 100, 0]);
            assert_eq!(now.episodes, now.points);
            totals = now;
            // Core 1 alone is awake: it sweeps the others' shards too, each time it wants to.
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
        let recent = analytics.instance(at(30_000)).anomalies.recent;
        assert_eq!(recent.len(), 20);
        assert_eq!(recent[0].device_id.as_deref(), Some("device-of-a-long-name-4-99"));
        assert_eq!(recent[19].device_id.as_deref(), Some("device-of-a-long-name-4-80"));
    }

    #[test]
    fn a_busy_device_is_kept_while_its_neighbours_go() {
        let analytics = Analytics::new(SETTINGS, 1);
        for i in 0..100 {
            analytics.writer(0, at(i)).apply(&event(Some(&format!("d{i}")), [1.0, 1.0]));
        }
        let mut due_ns = analytics.sweep(0, at(100)).unwrap();
        for minute in 1..120 {
            let now = at(100 + minute * 60);
            analytics.writer(0, now).apply(&event(Some("d7"), [1.0, 1.0]));
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
        let analytics = Analytics::new(SETTINGS, 2);
        let mut recents = [analytics.pending_events(0), analytics.pending_events(1)];
        let mut publish = |second: u64, cpu: f64| {
            let recent = &mut recents[usize::try_from(second % 2).unwrap()];
            recent.push(at(second), &event(None, [cpu, 5.0]), 0);
            analytics.publish(recent);
            analytics.instance(at(second)).fields.unwrap()[0]
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

    /// As the window of a device is: a newest event is judged by a whole one before it.
    #[test]
    fn all_and_a_device_agree_where_a_verdict_needs_a_whole_window() {
        let settings = AnalyticsSettings { min_samples: 8, ..SETTINGS };
        let analytics = Analytics::new(settings, 1);
        let mut recent = analytics.pending_events(0);
        for second in 0..30_u32 {
            let now = at(second.into());
            let cpu = f64::from(second * second % 17) + if second == 20 { 1e4 } else { 0.0 };
            let event = event(Some("d1"), [cpu, 1.0]);
            let verdict = analytics.writer(0, now).apply(&event);
            recent.push(now, &event, 0);
            analytics.publish(&mut recent);
            let instance = analytics.instance(now);
            let device = analytics.device("d1", now).unwrap();
            assert_eq!((instance.fields, instance.window), (device.fields, device.window));
            let [all, _] = instance.fields.unwrap();
            assert_eq!(all.z_score.is_some(), second >= 8);
            assert_eq!((all.z_score, all.anomaly), (verdict.z[0], verdict.anomalous[0]));
        }
    }

    #[test]
    fn a_windows_span_is_from_its_least_to_its_greatest_timestamp() {
        let analytics = Analytics::new(SETTINGS, 2);
        let mut recent = analytics.pending_events(0);
        let base_ms = 1_700_000_000_000;
        // The first two are out of the window of eight in the end.
        for ms in [99_000, -99_000, 5, 900, 3, 40, 7, 6, 30, 20] {
            let event = Event { timestamp_ms: base_ms + ms, ..event(Some("d1"), [1.0, 1.0]) };
            analytics.writer(0, at(1)).apply(&event);
            recent.push(at(1), &event, 0);
        }
        analytics.publish(&mut recent);
        let device = analytics.device("d1", at(1)).unwrap().window;
        for window in [analytics.instance(at(1)).window, device] {
            assert_eq!((window.from_ms, window.to_ms), (Some(base_ms + 3), Some(base_ms + 900)));
        }
    }

    #[test]
    fn last_minute_forgets_what_is_older() {
        let analytics = Analytics::new(SETTINGS, 1);
        for (second, count) in [(0, 1), (30, 2), (59, 3), (70, 3), (200, 1)] {
            alarm(&analytics, at(second), Some(&second.to_string()), 100.0);
            assert_eq!(analytics.instance(at(second)).anomalies.last_minute, count);
        }
    }

    #[test]
    fn cores_that_apply_at_once_lose_nothing() {
        let analytics = Analytics::new(SETTINGS, 4);
        std::thread::scope(|scope| {
            for core in 0..4 {
                let analytics = &analytics;
                scope.spawn(move || {
                    let mut recent = analytics.pending_events(core);
                    for i in 0..5000_u64 {
                        let id = format!("d{}", i % 37);
                        let event = event(Some(&id), [i as f64, 1.0]);
                        analytics.writer(core, at(i / 100)).apply(&event);
                        recent.push(at(i / 100), &event, 0);
                        analytics.publish(&mut recent);
                        if i % 500 == 0 {
                            let summary = analytics.instance(at(i / 100));
                            assert!(summary.accepted > i && summary.window.count <= 8);
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
        assert_eq!((summary.accepted, summary.totals.devices), (20_000, 37));
    }
}
