//! Several instances that share windows, beside one that gets every event.

mod model;
mod novelty;

use super::*;
use crate::analytics::anomaly::Anomaly;
use crate::analytics::anomaly_journal::AnomalyQuery;
use crate::analytics::device_state::Encoder;
use crate::analytics::novelty::local_day::LocalDay;
use crate::analytics::novelty::{EXCESS_ON, NoveltySettings};
use crate::analytics::{AnalyticsSettings, Applied, Arrived};
use crate::limits::{RECENT_ANOMALIES_MAX, WAITING_OF_DEVICE_MAX};
use crate::metric::event::Event;
use crate::metric::id_hash::IdHasher;
use crate::schema::samples::numbered;
use crate::schema::{FieldSet, Schema};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SECOND_NS: u64 = 1_000_000_000;

/// An event with what it takes to send it again.
#[derive(Clone, Debug)]
struct Sent {
    at_ns: u64,
    timestamp_ms: i64,
    present: FieldSet,
    values: Vec<f64>,
}

impl Sent {
    /// Takes the timestamp and the values of another one, and those of its fields.
    fn repeat(&mut self, other: &Self) {
        *self = Self { at_ns: self.at_ns, ..other.clone() };
    }
}

/// Returns the time on the clock of an instance, which is ahead of ours. All have the same wall
/// clock.
fn at(mono_ns: u64, ahead_ns: i64) -> Now {
    let wall_us = 1_700_000_000_000_000 + (mono_ns / 1000).cast_signed();
    Now { mono_ns: mono_ns.checked_add_signed(ahead_ns).unwrap(), wall_us }
}

struct Instance {
    analytics: Analytics,
    ids: IdHasher,
    ahead_ns: i64,
    /// The times that it was woken.
    woken: Arc<AtomicU64>,
}

impl Instance {
    fn new(settings: AnalyticsSettings, cores: usize, ahead_ns: i64) -> Self {
        let ids = IdHasher::default();
        let analytics = Analytics::new(settings, cores, ids.clone());
        Self { analytics, ids, ahead_ns, woken: Arc::default() }
    }

    /// Shares its windows, with a lease that does not end.
    fn sharing(self, me: u64) -> Self {
        let woken = Arc::clone(&self.woken);
        let wake = move || {
            woken.fetch_add(1, Ordering::Relaxed);
        };
        self.analytics.share_windows(me, Box::new(wake));
        self.analytics.renew_lease(0, u64::MAX, Now::default());
        self
    }

    fn now(&self, at_ns: u64) -> Now {
        at(at_ns, self.ahead_ns)
    }

    fn send(&self, core: usize, id: &str, sent: &Sent) -> Applied {
        let event = Event {
            device_id: (!id.is_empty()).then_some(id.as_bytes()),
            timestamp: sent.timestamp_ms.cast_unsigned(),
            timestamp_ms: sent.timestamp_ms,
            present: sent.present,
            values: &sent.values,
            ..Event::default()
        };
        let arrived = Arrived { event, hash: self.ids.hash_of(&event), index: 0 };
        let writer = self.analytics.writer(core, self.now(sent.at_ns), 1);
        writer.apply(&[arrived], &mut Vec::new())
    }

    fn wanted(&self) -> Vec<String> {
        let mut wanted = Vec::new();
        self.analytics.take_wanted(&mut wanted);
        wanted.iter().map(|id| String::from_utf8(id.to_vec()).unwrap()).collect()
    }

    fn cell(&self, id: &str, at_ns: u64) -> Cell {
        self.analytics.cell(id.as_bytes(), self.now(at_ns))
    }

    fn saves(&self, at_ns: u64, max: usize) -> Vec<(String, DeviceState)> {
        let (mut queue, mut saved) = (SaveQueue::default(), Vec::new());
        self.analytics.begin_saves(&mut queue);
        loop {
            let copies = self.next_saves(&mut queue, max, at_ns);
            assert!(copies.len() <= max);
            let are_last = copies.len() < max;
            saved.extend(copies);
            if are_last {
                break;
            }
        }
        saved
    }

    fn next_saves(
        &self,
        queue: &mut SaveQueue,
        max: usize,
        at_ns: u64,
    ) -> Vec<(String, DeviceState)> {
        let mut saved = Vec::new();
        self.analytics.next_saves(queue, max, self.now(at_ns), |Save { id, state, standing }| {
            let id = String::from_utf8(id.clone()).unwrap();
            let Cell::Held { standing: told, .. } = self.cell(&id, at_ns) else {
                panic!("{id} is not held");
            };
            assert_eq!(*standing, told);
            saved.push((id, state.clone()));
        });
        saved
    }
}

fn settings(schema: &'static Schema, window: usize) -> AnalyticsSettings {
    AnalyticsSettings {
        schema,
        window,
        threshold: 2.0,
        min_samples: 3,
        cooldown: 4,
        devices_max: 100,
        device_ttl_ns: 3_600 * SECOND_NS,
        device_limit: None,
        judge_duplicates: false,
    }
}

/// Returns the bytes of a state, read back.
fn carried(state: &DeviceState, schema: &Schema) -> DeviceState {
    let mut bytes = Vec::new();
    Encoder::new(schema).encode(state, &mut bytes);
    DeviceState::decode(&bytes, schema).unwrap()
}

const DEVICES: [&str; 4] = ["a", "b", "c", "a-device-with-a-name-that-is-long"];

#[derive(Clone, Debug)]
enum Step {
    /// An instance hears a device.
    Hear { instance: usize, core: usize, device: usize, sent: Sent, repeats: bool },
    /// An instance gets the windows that it wants.
    Fetch(usize),
    /// An instance saves what is unsaved.
    Save(usize),
}

fn sent(fields: usize) -> impl Strategy<Value = Sent> {
    let value = prop_oneof![
        6 => (0..5_u8).prop_map(f64::from),
        2 => (0..100_000_u32).prop_map(|value| f64::from(value) / 100.0),
        1 => (0..3_u8).prop_map(|power| 10_f64.powi(6 * i32::from(power))),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
    ];
    let values = prop::collection::vec(value, fields);
    let jump = prop_oneof![20 => Just(0), 1 => 0..4_000_000_000_000_i64];
    let millisecond = 0..400_i64;
    (0..3_000_u64, any::<u16>(), values, jump, millisecond).prop_map(
        |(later_ms, bits, values, jump_ms, ms)| Sent {
            at_ns: later_ms * 1_000_000,
            timestamp_ms: 1_700_000_000_000 + jump_ms + ms,
            present: FieldSet::from_bits(bits),
            values,
        },
    )
}

fn steps(fields: usize) -> impl Strategy<Value = Vec<Step>> {
    let hear = (0..3_usize, 0..3_usize, 0..DEVICES.len(), sent(fields), any::<bool>());
    let step = prop_oneof![
        12 => hear.prop_map(|(instance, core, device, sent, repeats)| {
            Step::Hear { instance, core, device, sent, repeats }
        }),
        2 => (0..3_usize).prop_map(Step::Fetch),
        1 => (0..3_usize).prop_map(Step::Save),
    ];
    prop::collection::vec(step, 0..250)
}

/// Three instances, and the sequence of each device's events that they made of what they heard.
struct World {
    schema: &'static Schema,
    window: usize,
    /// True if the second judge is asked as well.
    asks_novelty: bool,
    instances: Vec<Instance>,
    now_ns: u64,
    ticket: u64,
    sequences: Vec<Vec<Sent>>,
    /// For each device and instance the events that wait.
    queues: BTreeMap<(usize, usize), Vec<Sent>>,
    /// The devices of each instance that have had events since they were saved.
    unsaved: Vec<BTreeSet<usize>>,
    pending: u64,
    /// Each device's last event.
    last: Vec<Option<Sent>>,
}

impl World {
    fn new(schema: &'static Schema, window: usize, asks_novelty: bool) -> Self {
        // Clocks that are in step where minutes are counted, and the last began but now.
        let ahead_ns = [0, 7_000, -90].map(|seconds| seconds * SECOND_NS.cast_signed());
        let instance = |(at, ahead_ns): (usize, i64)| {
            let instance = Instance::new(settings(schema, window), at + 1, ahead_ns);
            let instance = if asks_novelty { instance.judging() } else { instance };
            instance.sharing(at as u64 + 1)
        };
        Self {
            schema,
            window,
            asks_novelty,
            instances: (0..).zip(ahead_ns).map(instance).collect(),
            now_ns: 100 * SECOND_NS,
            ticket: 0,
            sequences: vec![Vec::new(); DEVICES.len()],
            queues: BTreeMap::new(),
            unsaved: vec![BTreeSet::new(); 3],
            pending: 0,
            last: vec![None; DEVICES.len()],
        }
    }

    fn hear(&mut self, at: usize, core: usize, device: usize, mut sent: Sent, repeats: bool) {
        if let Some(last) = self.last[device].as_ref().filter(|_| repeats) {
            sent.repeat(last);
        }
        self.now_ns += sent.at_ns;
        sent.at_ns = self.now_ns;
        let required = self.schema.required_set().bits();
        let all = (1 << self.schema.fields().len()) - 1;
        let bits = (sent.present.bits() | required) & all;
        sent.present = FieldSet::from_bits(if bits == 0 { 1 } else { bits });
        self.last[device] = Some(sent.clone());
        let instance = &self.instances[at];
        let cell = instance.cell(DEVICES[device], self.now_ns);
        let applied = instance.send(core, DEVICES[device], &sent);
        assert_eq!(applied.refused(), 0);
        if matches!(cell, Cell::Held { .. }) {
            assert_eq!(applied.pending(), 0);
            self.sequences[device].push(sent);
            self.unsaved[at].insert(device);
            return;
        }
        assert_eq!(applied.pending(), 1);
        assert_eq!(instance.cell(DEVICES[device], self.now_ns), Cell::Waiting);
        self.pending += 1;
        let queue = self.queues.entry((device, at)).or_default();
        queue.push(sent);
        // What is more than a window is dropped, which is another test.
        if queue.len() == self.window {
            self.fetch(at);
        }
    }

    /// Brings the windows that an instance wants from wherever they are.
    fn fetch(&mut self, to: usize) {
        for id in self.instances[to].wanted() {
            let device = DEVICES.iter().position(|known| *known == id).unwrap();
            assert_eq!(self.instances[to].cell(&id, self.now_ns), Cell::Waiting);
            let holder = self
                .instances
                .iter()
                .position(|instance| matches!(instance.cell(&id, self.now_ns), Cell::Held { .. }));
            let base = holder.map(|from| {
                let instance = &self.instances[from];
                let now = instance.now(self.now_ns);
                self.unsaved[from].remove(&device);
                let state = instance.analytics.export(id.as_bytes(), now).unwrap();
                assert_eq!(instance.cell(&id, self.now_ns), Cell::Absent);
                carried(&state, self.schema)
            });
            self.ticket += 1;
            let (now, ticket) = (self.instances[to].now(self.now_ns), self.ticket);
            let waited = self.queues.remove(&(device, to)).unwrap();
            let adopted =
                self.instances[to].analytics.adopt(id.as_bytes(), base, false, Some(ticket), now);
            let judged = waited.len() as u64;
            assert_eq!(adopted, Adopted { is_held: true, judged, joined: 0 });
            let held = Cell::Held { ticket, standing: Standing::Confirmed };
            assert_eq!(self.instances[to].cell(&id, self.now_ns), held);
            self.sequences[device].extend(waited);
            self.unsaved[to].insert(device);
        }
    }

    /// Saves what is unsaved: each such device once.
    fn save(&mut self, at: usize) {
        let saved = self.instances[at].saves(self.now_ns, 2);
        let ids: Vec<&str> = saved.iter().map(|(id, _)| id.as_str()).collect();
        let unsaved = std::mem::take(&mut self.unsaved[at]);
        assert_eq!(ids.len(), unsaved.len(), "{ids:?} {unsaved:?}");
        for device in unsaved {
            let (_, state) = saved.iter().find(|(id, _)| id == DEVICES[device]).unwrap();
            assert_eq!(state.accepted, self.sequences[device].len() as u64);
            assert_eq!(*state, carried(state, self.schema));
        }
    }

    /// Returns one instance that gets every event in the order that the others made.
    fn one(&self) -> Instance {
        let one = Instance::new(settings(self.schema, self.window), 2, 0);
        let one = if self.asks_novelty { one.judging() } else { one };
        for (id, sequence) in DEVICES.iter().zip(&self.sequences) {
            for sent in sequence {
                assert_eq!(one.send(0, id, sent).pending(), 0);
            }
        }
        one
    }

    /// Compares the instances with one that gets every event in the order that they made.
    fn compare(&mut self) {
        (0..3).for_each(|at| self.fetch(at));
        let one = self.one();
        for id in DEVICES {
            let expected = one.analytics.device(id, at(self.now_ns, 0));
            let found: Vec<_> = self
                .instances
                .iter()
                .filter_map(|instance| instance.analytics.device(id, instance.now(self.now_ns)))
                .collect();
            // As texts: each bit of a number counts.
            assert_eq!(format!("{found:?}"), format!("{:?}", Vec::from_iter(&expected)), "{id}");
            // The last twenty anomalies move with a device, so fewer of its values may be marked.
            let points = expected.map_or(0, |device| device.anomalies.points);
            if points > RECENT_ANOMALIES_MAX as u64 {
                continue;
            }
            let details: Vec<_> = self
                .instances
                .iter()
                .filter_map(|instance| instance.analytics.detail(id, instance.now(self.now_ns)))
                .map(|detail| detail.values)
                .collect();
            let expected = one.analytics.detail(id, at(self.now_ns, 0)).map(|it| it.values);
            assert_eq!(format!("{details:?}"), format!("{:?}", Vec::from_iter(expected)), "{id}");
        }
        let anomalies = |instance: &Instance| -> Vec<String> {
            let page = instance.analytics.anomalies(&first(1000), instance.now(self.now_ns));
            let anomalies = page.unwrap().anomalies;
            anomalies.iter().map(|it| format!("{:?}", (&it.device_id, it.finding))).collect()
        };
        let mut found: Vec<_> = self.instances.iter().flat_map(anomalies).collect();
        let mut expected = anomalies(&one);
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let totals = |instance: &Instance| {
            let totals = instance.analytics.totals(instance.now(self.now_ns));
            [totals.points, totals.episodes, totals.novelties, [totals.duplicates; 16]]
        };
        let found = self.instances.iter().map(totals).fold([[0; 16]; 4], |mut sums, totals| {
            let sums_and_totals = sums.iter_mut().flatten().zip(totals.iter().flatten());
            sums_and_totals.for_each(|(sum, total)| *sum += total);
            sums
        });
        assert_eq!(found, totals(&one));
        let windows = self.instances.iter().map(|instance| instance.analytics.windows());
        let windows = windows.fold(WindowTotals::default(), WindowTotals::plus);
        let unsaved = self.unsaved.iter().map(|devices| devices.len() as u64).sum();
        let pending_total = self.pending;
        assert_eq!(windows, WindowTotals { pending_total, unsaved, ..WindowTotals::default() });
    }
}

proptest! {
    #[test]
    fn instances_that_share_windows_judge_as_one(
        (required, optional, steps) in (0..4_usize, 0..4_usize)
            .prop_filter("a field", |(required, optional)| required + optional > 0)
            .prop_flat_map(|(required, optional)| {
                (Just(required), Just(optional), steps(required + optional))
            }),
        window in 1..12_usize,
        asks_novelty in any::<bool>(),
    ) {
        let mut world = World::new(numbered(required, optional), window, asks_novelty);
        for step in steps {
            match step {
                Step::Hear { instance, core, device, sent, repeats } => {
                    world.hear(instance, core, device, sent, repeats);
                }
                Step::Fetch(at) => world.fetch(at),
                Step::Save(at) => world.save(at),
            }
        }
        world.compare();
    }
}

/// Returns an event of the standard fields, a number of seconds from the beginning.
fn calm(seconds: u64) -> Sent {
    let timestamp_ms = 1_700_000_000_000 + (seconds * 1000).cast_signed();
    let values = vec![1.0 + (seconds % 2) as f64, 5.0];
    Sent { at_ns: seconds * SECOND_NS, timestamp_ms, present: FieldSet::from_bits(3), values }
}

fn spike(seconds: u64) -> Sent {
    Sent { values: vec![100.0, 5.0], ..calm(seconds) }
}

fn standard() -> AnalyticsSettings {
    settings(Schema::standard(), 8)
}

/// Returns an instance that holds these devices, each with four calm events until then.
fn holding(devices: &[&str]) -> Instance {
    let instance = Instance::new(standard(), 2, 0).sharing(1);
    for (id, ticket) in devices.iter().zip(1..) {
        (0..4).for_each(|second| {
            instance.send(0, id, &calm(second));
        });
        let adopted = instance.analytics.adopt(id.as_bytes(), None, false, Some(ticket), at(4, 0));
        assert_eq!(adopted, Adopted { is_held: true, judged: 4, joined: 0 });
    }
    assert_eq!(instance.wanted(), [""; 0]);
    instance
}

const ONE: Applied = Applied::of(0, 1, 0);

/// Asks for the first findings.
const fn first(limit: usize) -> AnomalyQuery {
    AnomalyQuery { kind: None, since: Some(0), limit }
}

#[test]
fn a_device_waits_for_its_window_and_is_then_judged_by_it() {
    let from = holding(&["a"]);
    let to = Instance::new(standard(), 2, 0).sharing(2);
    assert_eq!(to.send(1, "a", &spike(5)), ONE);
    assert_eq!(to.send(0, "a", &calm(6)), ONE);
    // It is listed once, and its events are accepted ones of a device without a window.
    assert_eq!((to.wanted(), to.wanted()), (vec!["a".to_owned()], vec![]));
    let waiting = to.analytics.device("a", at(7 * SECOND_NS, 0)).unwrap();
    assert_eq!((waiting.accepted, waiting.window.count), (2, 0));
    let totals = to.analytics.windows();
    assert_eq!((totals.waiting, totals.pending, totals.pending_total), (1, 2, 2));
    let state = from.analytics.export(b"a", at(7 * SECOND_NS, 0)).unwrap();
    assert_eq!(from.analytics.devices(), 0);
    let adopted = to.analytics.adopt(b"a", Some(state), false, Some(7), at(7 * SECOND_NS, 0));
    assert_eq!(adopted, Adopted { is_held: true, judged: 2, joined: 0 });
    let device = to.analytics.device("a", at(7 * SECOND_NS, 0)).unwrap();
    assert_eq!((device.accepted, device.anomalies.points, device.window.count), (6, 1, 6));
    assert_eq!(device.anomalies.recent[0].point.value, 100.0);
    assert_eq!(to.analytics.anomalies(&first(9), at(9, 0)).unwrap().anomalies.len(), 1);
    assert_eq!(to.send(0, "a", &calm(8)), Applied::default());
    let totals = to.analytics.windows();
    assert_eq!((totals.waiting, totals.pending, totals.pending_total), (0, 0, 2));
}

/// A client that got no answer sends again, to an instance that does not know the device.
#[test]
fn an_event_that_is_sent_again_elsewhere_is_judged_once() {
    let from = holding(&["a"]);
    assert_eq!(from.send(0, "a", &spike(5)), Applied::default());
    let to = Instance::new(standard(), 2, 0).sharing(2);
    for second in [5, 5, 6] {
        assert_eq!(to.send(1, "a", &if second == 5 { spike(5) } else { calm(6) }), ONE);
    }
    let now = at(7 * SECOND_NS, 0);
    assert_eq!(to.analytics.newest_timestamp("a", now), Some(1_700_000_006_000));
    let state = from.analytics.export(b"a", now).unwrap();
    let adopted = to.analytics.adopt(b"a", Some(state), false, Some(7), now);
    assert_eq!(adopted, Adopted { is_held: true, judged: 3, joined: 0 });
    let device = to.analytics.device("a", now).unwrap();
    assert_eq!((device.accepted, device.anomalies.points, device.window.count), (8, 1, 6));
    assert_eq!(to.analytics.totals(now).duplicates, 2);
    assert_eq!(to.analytics.newest_timestamp("a", now), Some(1_700_000_006_000));
    // And once more, now that it is here.
    assert_eq!(to.send(0, "a", &calm(6)), Applied::of(0, 0, 1));
    assert_eq!(to.analytics.totals(now).duplicates, 3);
    // In doubt it is claimed for such an event as well, which is not judged in doubt.
    to.analytics.doubt();
    assert_eq!(to.send(0, "a", &calm(6)), Applied::of(0, 0, 1));
    assert_eq!((to.wanted(), to.analytics.windows().judged_in_doubt), (vec!["a".to_owned()], 0));
    assert_eq!(to.analytics.device("a", now).unwrap().accepted, 10);
}

#[test]
fn who_claims_is_woken_when_there_is_something_to_be_claimed() {
    let instance = Instance::new(standard(), 1, 0).sharing(1);
    let woken = |instance: &Instance| instance.woken.swap(0, Ordering::Relaxed);
    for id in ["a", "b", "a"] {
        instance.send(0, id, &calm(1));
    }
    assert_eq!(woken(&instance), 1);
    assert_eq!(instance.wanted(), ["a", "b"]);
    instance.send(0, "c", &calm(2));
    instance.send(0, "a", &calm(2));
    assert_eq!(woken(&instance), 1);
    assert_eq!(instance.wanted(), ["c"]);
    // An anonymous series is nobody else's.
    assert_eq!(instance.send(0, "", &calm(2)), Applied::default());
    assert_eq!((woken(&instance), instance.wanted()), (0, vec![]));
}

#[test]
fn in_doubt_a_device_is_judged_on_counted_and_claimed_again_once() {
    let instance = holding(&["a", "b"]);
    let cell = |id| instance.cell(id, 10 * SECOND_NS);
    let held = |ticket, standing| Cell::Held { ticket, standing };
    assert_eq!(cell("a"), held(1, Standing::Confirmed));
    for round in 0..3 {
        instance.analytics.doubt();
        assert_eq!(cell("a"), held(1, Standing::Reconnected));
        assert_eq!(instance.wanted(), [""; 0], "it has had no event yet");
        for second in 5..8 {
            assert_eq!(instance.send(0, "a", &spike(second)), Applied::default());
            assert_eq!(cell("a"), held(1, Standing::Reconnected));
        }
        assert_eq!(instance.analytics.windows().judged_in_doubt, 3 * (round + 1));
        // One whose claim is still under way is not listed twice.
        assert_eq!(instance.wanted(), ["a"]);
    }
    instance.analytics.confirm(b"a", 9, at(9 * SECOND_NS, 0));
    assert_eq!(cell("a"), held(9, Standing::Confirmed));
    instance.send(0, "a", &calm(9));
    assert_eq!((instance.wanted(), instance.analytics.windows().judged_in_doubt), (vec![], 9));
    assert_eq!(cell("b"), held(2, Standing::Reconnected));
    // The window went on through all of it.
    let device = instance.analytics.device("a", at(9 * SECOND_NS, 0)).unwrap();
    assert_eq!((device.accepted, device.window.count), (14, 8));
    // Nothing is left on the list of one that was confirmed before the list was taken.
    instance.analytics.doubt();
    instance.send(0, "a", &calm(10));
    instance.analytics.confirm(b"a", 10, at(10 * SECOND_NS, 0));
    assert_eq!(instance.wanted(), [""; 0]);
    instance.analytics.doubt();
    instance.send(0, "a", &calm(11));
    assert_eq!(instance.wanted(), ["a"]);
}

#[test]
fn a_sure_device_is_in_doubt_when_the_lease_ends_by_our_own_clock() {
    let instance = Instance::new(standard(), 2, 0);
    let analytics = &instance.analytics;
    analytics.share_windows(1, Box::new(|| {}));
    let now = |seconds: u64| at(seconds * SECOND_NS, 0);
    let standing = |id: &str, seconds: u64| match instance.cell(id, seconds * SECOND_NS) {
        Cell::Held { standing, .. } => Some(standing),
        _ => None,
    };
    let adopt = |id: &str, seconds| {
        instance.send(0, id, &calm(seconds));
        assert!(analytics.adopt(id.as_bytes(), None, false, Some(5), now(seconds)).is_held);
    };
    // Without a lease nothing is sure.
    adopt("early", 0);
    assert_eq!(standing("early", 0), Some(Standing::Lapsed));
    analytics.confirm(b"early", 6, now(0));
    assert_eq!(standing("early", 0), Some(Standing::Lapsed));
    analytics.renew_lease(0, 10 * SECOND_NS, now(1));
    // The first lease makes nothing worse or better.
    assert_eq!(standing("early", 1), Some(Standing::Lapsed));
    adopt("a", 1);
    adopt("b", 1);
    instance.wanted();
    analytics.renew_lease(2 * SECOND_NS, 12 * SECOND_NS, now(3));
    // One that was slower than another says nothing new.
    analytics.renew_lease(SECOND_NS, 11 * SECOND_NS, now(3));
    instance.send(0, "a", &calm(11));
    assert_eq!(standing("a", 11), Some(Standing::Confirmed));
    // At the twelfth second it is over, before the event is judged.
    instance.send(0, "a", &calm(12));
    assert_eq!(standing("a", 12), Some(Standing::Lapsed));
    assert_eq!((instance.wanted(), analytics.windows().judged_in_doubt), (vec!["a".into()], 2));
    // What comes while it is over is in doubt from the start.
    adopt("c", 13);
    assert_eq!(standing("c", 13), Some(Standing::Lapsed));
    assert_eq!(instance.wanted(), [""; 0]);
    instance.send(0, "c", &calm(14));
    assert_eq!(instance.wanted(), ["c"]);
    // A new lease confirms nothing by itself, and is no lapse once more.
    analytics.renew_lease(14 * SECOND_NS, 24 * SECOND_NS, now(15));
    assert!(analytics.is_sure(23 * SECOND_NS));
    assert_eq!(standing("a", 15), Some(Standing::Lapsed));
    instance.send(0, "a", &calm(15));
    assert_eq!(instance.wanted(), [""; 0]);
    analytics.confirm(b"a", 8, now(16));
    assert_eq!(standing("a", 16), Some(Standing::Confirmed));
    // A reconnect later on is just that, for those that were confirmed since.
    analytics.doubt();
    assert_eq!(standing("a", 16), Some(Standing::Reconnected));
    assert_eq!(standing("b", 16), Some(Standing::Lapsed));
    instance.send(0, "b", &calm(16));
    analytics.doubt();
    assert_eq!(standing("b", 16), Some(Standing::Lapsed));
    // A confirmation that comes too late finds the lapse, without an event.
    analytics.confirm(b"a", 9, now(17));
    analytics.renew_lease(25 * SECOND_NS, 40 * SECOND_NS, now(26));
    assert_eq!(standing("a", 26), Some(Standing::Lapsed));
    assert!(analytics.is_sure(39 * SECOND_NS));
    // One that has run out before it was confirmed is none.
    analytics.renew_lease(30 * SECOND_NS, 41 * SECOND_NS, now(42));
    assert!(!analytics.is_sure(42 * SECOND_NS));
}

#[test]
fn a_lapse_that_many_cores_notice_is_one() {
    let instance = Instance::new(standard(), 4, 0);
    let analytics = &instance.analytics;
    analytics.share_windows(1, Box::new(|| {}));
    let mut lapses = 0;
    for second in (10..200).step_by(10) {
        analytics.renew_lease(0, second * SECOND_NS, Now::default());
        let confirmed = format!("d{second}");
        instance.send(0, &confirmed, &calm(second - 1));
        let now = at((second - 1) * SECOND_NS, 0);
        analytics.adopt(confirmed.as_bytes(), None, false, Some(second), now);
        std::thread::scope(|scope| {
            for core in 0..4 {
                let (instance, confirmed) = (&instance, &confirmed);
                let mut sent = calm(second);
                sent.timestamp_ms += core as i64;
                scope.spawn(move || instance.send(core, confirmed, &sent));
            }
            // Whoever confirms meanwhile does so before the lapse or not at all.
            scope.spawn(|| analytics.confirm(confirmed.as_bytes(), 7, now));
        });
        lapses += 1;
        assert_eq!(analytics.lease.terms().tenure, 1 + lapses);
        let standing = match instance.cell(&confirmed, second * SECOND_NS) {
            Cell::Held { standing, .. } => standing,
            cell => panic!("{cell:?}"),
        };
        assert_eq!(standing, Standing::Lapsed);
    }
    assert_eq!(analytics.windows().judged_in_doubt, 4 * u64::from(lapses));
}

#[test]
fn who_has_waited_for_too_long_begins_alone_and_is_claimed_with_its_next_event() {
    let instance = Instance::new(standard(), 2, 0).sharing(1);
    let now = at(9 * SECOND_NS, 0);
    for second in 0..20 {
        instance.send(0, "a", &if second == 17 { spike(second) } else { calm(second) });
    }
    assert_eq!(instance.wanted(), ["a"]);
    instance.analytics.begin_alone(b"a", None, now);
    instance.analytics.begin_alone(b"unknown", None, now);
    assert_eq!(
        instance.cell("a", 9 * SECOND_NS),
        Cell::Held { ticket: 0, standing: Standing::Lapsed }
    );
    let totals = instance.analytics.windows();
    assert_eq!((totals.judged_in_doubt, totals.unjudged, totals.pending), (20, 0, 0));
    let device = instance.analytics.device("a", now).unwrap();
    assert_eq!((device.accepted, device.window.count, device.anomalies.points), (20, 8, 1));
    let state = instance.analytics.copy(b"a", now).unwrap();
    assert_eq!(state.forks.iter().map(|it| it.accepted).collect::<Vec<_>>(), [0]);
    assert_eq!(instance.wanted(), [""; 0]);
    instance.send(0, "a", &calm(21));
    assert_eq!(instance.wanted(), ["a"]);
    // One that is held does not begin anew.
    instance.analytics.begin_alone(b"a", None, now);
    assert_eq!(instance.analytics.device("a", now).unwrap().accepted, 21);
    // Its forks go with it.
    let state = instance.analytics.export(b"a", now).unwrap();
    assert_eq!(state.forks.len(), 1);
}

#[test]
fn of_too_many_events_the_newest_are_judged_and_all_count() {
    let from = holding(&["a"]);
    let to = Instance::new(standard(), 2, 0).sharing(2);
    let sent = WAITING_OF_DEVICE_MAX as u64 + 12;
    let last = (5..).nth(sent as usize - 1).unwrap();
    for second in 5..=last {
        assert_eq!(to.send(0, "a", &calm(second)), ONE);
    }
    let now = at(25 * SECOND_NS, 0);
    assert_eq!(to.analytics.device("a", now).unwrap().accepted, sent);
    let state = from.analytics.export(b"a", now).unwrap();
    let adopted = to.analytics.adopt(b"a", Some(state), false, Some(3), now);
    assert_eq!(adopted.judged, sent - 12);
    let device = to.analytics.device("a", now).unwrap();
    let first_ms = device.window.from_ms.unwrap();
    assert_eq!((device.accepted, first_ms), (4 + sent, calm(last - 7).timestamp_ms));
    assert_eq!(to.analytics.windows().unjudged, 12);
}

#[test]
fn an_unsaved_device_is_copied_once_and_all_are_when_what_was_saved_is_lost() {
    let instance = holding(&["a", "b", "c"]);
    let ids = |saved: Vec<(String, DeviceState)>| -> Vec<String> {
        let mut ids: Vec<_> = saved.into_iter().map(|(id, _)| id).collect();
        ids.sort();
        ids
    };
    assert_eq!(instance.analytics.windows().unsaved, 3);
    assert_eq!(ids(instance.saves(SECOND_NS, 2)), ["a", "b", "c"]);
    assert_eq!(ids(instance.saves(SECOND_NS, 2)), [""; 0]);
    for _ in 0..3 {
        instance.send(0, "b", &calm(9));
    }
    // An event during a round is part of the copy, or of the next one.
    let mut queue = SaveQueue::default();
    assert_eq!(instance.analytics.begin_saves(&mut queue), 1);
    instance.send(0, "b", &calm(10));
    instance.send(0, "c", &calm(10));
    let [(id, state)] = instance.next_saves(&mut queue, 9, SECOND_NS).try_into().unwrap();
    assert_eq!((id.as_str(), state.accepted), ("b", 8));
    assert_eq!(ids(instance.saves(SECOND_NS, 9)), ["c"]);
    // A copy that was asked for counts as well.
    instance.send(0, "a", &calm(10));
    assert_eq!(instance.analytics.copy(b"a", at(SECOND_NS, 0)).unwrap().accepted, 5);
    assert_eq!(instance.analytics.copy(b"unknown", at(SECOND_NS, 0)), None);
    assert_eq!(ids(instance.saves(SECOND_NS, 9)), [""; 0]);
    instance.send(0, "waits", &calm(10));
    assert_eq!(instance.analytics.copy(b"waits", at(SECOND_NS, 0)), None);
    instance.analytics.unsave_all();
    assert_eq!(instance.analytics.windows().unsaved, 3);
    assert_eq!(ids(instance.saves(SECOND_NS, 2)), ["a", "b", "c"]);
    assert_eq!(instance.analytics.windows().unsaved, 0);
}

/// The memory of a copy is used for device after device.
#[test]
fn a_saved_copy_has_what_the_second_judge_knows_of_its_own_device_alone() {
    let settings = NoveltySettings {
        sensitivity: Some(NoveltySettings::sensitivity(EXCESS_ON)),
        stuck_after: Some(9),
        day: Arc::new(LocalDay::UTC),
    };
    let instance = Instance::new(standard(), 1, 0);
    let instance = Instance { analytics: instance.analytics.with_novelty(settings), ..instance };
    let instance = instance.sharing(1);
    for number in 0..40 {
        let id = number.to_string();
        instance.analytics.adopt(id.as_bytes(), None, false, Some(1), at(0, 0));
        instance.send(0, &id, &calm(1));
        instance.analytics.adopt(id.as_bytes(), None, false, Some(1), at(SECOND_NS, 0));
        instance.send(0, &id, &calm(2 + number));
    }
    let saved = instance.saves(50 * SECOND_NS, 9);
    assert_eq!(saved.len(), 40);
    for (id, state) in saved {
        let fields: Vec<_> = state.novelty.iter().map(|novelty| novelty.field).collect();
        assert_eq!(fields, [0, 1], "{id}");
        assert_eq!(carried(&state, Schema::standard()), state);
    }
}

#[test]
fn a_slot_that_has_changed_hands_is_saved_for_whom_it_is_now() {
    let instance = holding(&["a"]);
    let mut queue = SaveQueue::default();
    assert_eq!(instance.analytics.begin_saves(&mut queue), 1);
    let now = at(5 * SECOND_NS, 0);
    let gone = instance.analytics.export(b"a", now).unwrap();
    assert_eq!(instance.analytics.windows().unsaved, 0);
    // It gets the slot that is still in the queue, and waits.
    let home = |id: &str| instance.ids.hash(id.as_bytes()).shard(2);
    let next = (0..).map(|at| format!("n{at}")).find(|id| home(id) == home("a")).unwrap();
    instance.send(0, &next, &calm(5));
    assert_eq!(instance.wanted(), [next.as_str()]);
    assert_eq!(instance.next_saves(&mut queue, 9, 5 * SECOND_NS), []);
    instance.analytics.adopt(next.as_bytes(), None, false, Some(3), now);
    let saved = instance.saves(5 * SECOND_NS, 9);
    assert_eq!(saved.len(), 1);
    assert_eq!((saved[0].0.as_str(), saved[0].1.accepted), (next.as_str(), 1));
    assert_eq!(gone.accepted, 4);
}

#[test]
fn a_window_that_comes_for_nobody_is_held_if_there_is_room() {
    let from = holding(&["a", "b", "c"]);
    let now = at(5 * SECOND_NS, 0);
    let state = |id: &str| from.analytics.export(id.as_bytes(), now);
    let settings = AnalyticsSettings { devices_max: 1, ..standard() };
    let to = Instance::new(settings, 2, 0).sharing(2);
    assert_eq!(to.analytics.adopt(b"a", None, false, Some(1), now), Adopted::default());
    assert_eq!(to.cell("a", 5 * SECOND_NS), Cell::Absent);
    assert!(to.analytics.adopt(b"a", state("a"), false, Some(1), now).is_held);
    let held = Cell::Held { ticket: 1, standing: Standing::Confirmed };
    assert_eq!(to.cell("a", 5 * SECOND_NS), held);
    let device = to.analytics.detail("a", now).unwrap();
    assert_eq!((device.summary.accepted, device.seen_ns), (4, 3 * SECOND_NS));
    assert_eq!(to.analytics.newest_timestamp("a", now), Some(1_700_000_003_000));
    let b = state("b");
    assert_eq!(to.analytics.adopt(b"b", b.clone(), false, Some(2), now), Adopted::default());
    assert_eq!((to.analytics.devices(), to.cell("b", 5 * SECOND_NS)), (1, Cell::Absent));
    // The slot of one that has expired is taken, though nobody has looked for it.
    let later = at(3_604 * SECOND_NS, 0);
    let mut b = b;
    b.as_mut().unwrap().seen_us = later.wall_us - 1_000_000;
    assert!(to.analytics.adopt(b"b", b, false, Some(2), later).is_held);
    assert_eq!((to.analytics.devices(), to.cell("a", later.mono_ns)), (1, Cell::Absent));
}

#[test]
fn a_state_that_has_expired_is_none() {
    let from = holding(&["a", "b"]);
    let to = Instance::new(standard(), 2, 0).sharing(2);
    let now = at(4_000 * SECOND_NS, 0);
    let mut state = from.analytics.export(b"a", at(5 * SECOND_NS, 0)).unwrap();
    // The last event was at the third second.
    to.send(0, "a", &calm(4_000));
    let adopted = to.analytics.adopt(b"a", Some(state.clone()), false, Some(1), now);
    assert_eq!(adopted, Adopted { is_held: true, judged: 1, joined: 0 });
    assert_eq!(to.analytics.device("a", now).unwrap().accepted, 1);
    // Just in time, by the wall clock.
    to.analytics.export(b"a", now).unwrap();
    state.seen_us = now.wall_us - 3_600_000_000;
    to.send(0, "a", &calm(4_000));
    to.analytics.adopt(b"a", Some(state), false, Some(1), now);
    assert_eq!(to.analytics.device("a", now).unwrap().accepted, 5);
    // One that has expired where it was held cannot be had.
    assert_eq!(from.analytics.export(b"b", now), None);
    assert_eq!(from.cell("b", now.mono_ns), Cell::Absent);
}

#[test]
fn one_that_is_silent_while_it_waits_is_forgotten_with_its_events() {
    let instance = Instance::new(standard(), 1, 0).sharing(1);
    instance.send(0, "a", &calm(0));
    instance.send(0, "b", &calm(0));
    instance.send(0, "a", &calm(0));
    let late = 3_601;
    // One of them starts afresh before the sweep, and waits again.
    instance.send(0, "b", &calm(late));
    assert_eq!(instance.analytics.windows().unjudged, 1);
    let mut next_ns = instance.analytics.sweep(0, at(late * SECOND_NS, 0));
    while let Some(at_ns) = next_ns.filter(|at_ns| *at_ns < (late + 300) * SECOND_NS) {
        next_ns = instance.analytics.sweep(0, at(at_ns, 0));
    }
    let totals = instance.analytics.windows();
    assert_eq!((totals.waiting, totals.pending, totals.unjudged), (1, 1, 3));
    assert_eq!(instance.analytics.devices(), 1);
    assert_eq!(instance.wanted(), ["b"]);
    let now = at(late * SECOND_NS, 0);
    assert_eq!(instance.analytics.adopt(b"b", None, false, Some(1), now).judged, 1);
    assert_eq!(instance.analytics.device("b", now).unwrap().accepted, 1);
}

#[test]
fn a_held_device_that_was_silent_starts_afresh_where_it_is() {
    let instance = holding(&["a"]);
    let late = 3_604;
    instance.saves(SECOND_NS, 9);
    assert_eq!(instance.send(0, "a", &calm(late)), Applied::default());
    let held = Cell::Held { ticket: 1, standing: Standing::Confirmed };
    assert_eq!(instance.cell("a", late * SECOND_NS), held);
    let saved = instance.saves(late * SECOND_NS, 9);
    assert_eq!((saved.len(), saved[0].1.accepted), (1, 1));
}

#[test]
fn what_a_device_brought_is_shown_with_it_and_counted_where_it_was_found() {
    let one = holding(&["a"]);
    one.send(0, "a", &spike(5));
    let two = Instance::new(standard(), 2, 0).sharing(2);
    let now = at(8 * SECOND_NS, 0);
    let state = one.analytics.export(b"a", now).unwrap();
    assert_eq!(state.recent.len(), 1);
    two.analytics.adopt(b"a", Some(state), false, Some(1), now);
    two.send(0, "a", &Sent { values: vec![9_999.0, 5.0], ..calm(7) });
    let device = two.analytics.device("a", now).unwrap();
    let values =
        |recent: &[Anomaly]| -> Vec<f64> { recent.iter().map(|it| it.point.value).collect() };
    assert_eq!((device.anomalies.points, device.anomalies.last_minute), (2, 2));
    assert_eq!(values(&device.anomalies.recent), [9_999.0, 100.0]);
    for (instance, value) in [(&one, 100.0), (&two, 9_999.0)] {
        let found = instance.analytics.instance(now).series.anomalies;
        assert_eq!((found.points, values(&found.recent)), (1, vec![value]));
        let page = instance.analytics.anomalies(&first(9), now).unwrap();
        assert_eq!((page.anomalies.len(), page.missed), (1, 0));
        assert_eq!(page.anomalies[0].device_id.as_deref(), Some("a"));
    }
    // Back again, it has both; one that starts afresh has neither.
    let state = two.analytics.export(b"a", now).unwrap();
    one.analytics.adopt(b"a", Some(state), false, Some(2), now);
    let device = one.analytics.device("a", now).unwrap();
    assert_eq!(values(&device.anomalies.recent), [9_999.0, 100.0]);
    let late = at(3_700 * SECOND_NS, 0);
    one.send(0, "a", &calm(3_700));
    assert_eq!(one.analytics.device("a", late).unwrap().anomalies.recent, []);
}

#[test]
fn what_is_saved_has_the_last_anomalies() {
    let one = holding(&["a", "b"]);
    let brought = holding(&["c"]);
    brought.send(0, "c", &spike(5));
    one.send(0, "a", &spike(5));
    one.send(0, "b", &calm(5));
    let now = at(8 * SECOND_NS, 0);
    let state = brought.analytics.export(b"c", now);
    one.analytics.adopt(b"c", state, false, Some(1), now);
    let values = |state: &DeviceState| -> Vec<f64> {
        state.recent.iter().map(|point| point.value).collect()
    };
    let mut saved = one.saves(8 * SECOND_NS, 9);
    saved.sort_by(|one, other| one.0.cmp(&other.0));
    let found: Vec<_> = saved.iter().map(|(id, state)| (id.as_str(), values(state))).collect();
    assert_eq!(found, [("a", vec![100.0]), ("b", vec![]), ("c", vec![100.0])]);
    // Each has its own, also if the memory of a copy is that of another one before.
    one.send(0, "b", &calm(9));
    let again = one.saves(9 * SECOND_NS, 9);
    assert_eq!((again.len(), values(&again[0].1)), (1, vec![]));
    // Who takes it over shows them, once.
    let two = Instance::new(standard(), 2, 0).sharing(2);
    for _ in 0..2 {
        let copy = one.analytics.copy(b"a", now);
        two.analytics.adopt(b"a", copy, true, Some(1), now);
        let device = two.analytics.device("a", now).unwrap();
        let recent = device.anomalies.recent.iter().map(|it| it.point.value);
        assert_eq!(recent.collect::<Vec<_>>(), [100.0]);
    }
}

#[test]
fn two_windows_of_one_device_become_one() {
    let one = holding(&["a"]);
    let two = Instance::new(standard(), 2, 0).sharing(2);
    let now = at(20 * SECOND_NS, 0);
    // The second instance gets a copy, as the first one seems to be dead, and both go on.
    let copy = one.analytics.copy(b"a", now).unwrap();
    two.send(0, "a", &calm(5));
    let adopted = two.analytics.adopt(b"a", Some(copy), true, Some(1), now);
    assert_eq!(adopted, Adopted { is_held: true, judged: 1, joined: 0 });
    one.send(0, "a", &spike(6));
    two.send(0, "a", &spike(7));
    two.saves(20 * SECOND_NS, 9);
    let state = one.analytics.export(b"a", now).unwrap();
    let again = state.clone();
    let adopted = two.analytics.adopt(b"a", Some(state), false, Some(8), now);
    assert_eq!(adopted, Adopted { is_held: true, judged: 0, joined: 1 });
    let held = Cell::Held { ticket: 8, standing: Standing::Confirmed };
    assert_eq!(two.cell("a", 20 * SECOND_NS), held);
    let device = two.analytics.device("a", now).unwrap();
    assert_eq!((device.accepted, device.window.count, device.anomalies.points), (7, 7, 2));
    assert_eq!(device.anomalies.recent.len(), 2);
    // It is to be saved, and what came with it is listed by the one that found it.
    assert_eq!(two.saves(20 * SECOND_NS, 9).len(), 1);
    for instance in [&one, &two] {
        assert_eq!(instance.analytics.anomalies(&first(9), now).unwrap().anomalies.len(), 1);
        assert_eq!(instance.analytics.totals(now).points[0], 1);
    }
    // To get the same once more changes nothing.
    let before = two.analytics.device("a", now);
    assert_eq!(two.analytics.adopt(b"a", Some(again), false, Some(9), now).joined, 0);
    assert_eq!(two.analytics.device("a", now), before);
    // The next event is judged by all of it.
    two.send(0, "a", &calm(9));
    let device = two.analytics.device("a", now).unwrap();
    assert_eq!((device.accepted, device.window.count), (8, 8));
}

#[test]
fn a_window_that_was_begun_alone_is_put_behind_the_one_that_comes() {
    let one = holding(&["a"]);
    let two = Instance::new(standard(), 2, 0).sharing(2);
    let now = at(20 * SECOND_NS, 0);
    (5..8).for_each(|second| {
        two.send(0, "a", &calm(second));
    });
    two.analytics.begin_alone(b"a", None, now);
    two.send(0, "a", &calm(8));
    let state = one.analytics.export(b"a", now).unwrap();
    let adopted = two.analytics.adopt(b"a", Some(state), false, Some(3), now);
    assert_eq!(adopted, Adopted { is_held: true, judged: 0, joined: 4 });
    let detail = two.analytics.detail("a", now).unwrap();
    assert_eq!(detail.summary.accepted, 8);
    let times: Vec<i64> = (0..4).chain(5..9).map(|second| calm(second).timestamp_ms).collect();
    assert_eq!(detail.values.timestamps_ms, times);
    // Nobody has a claim on it any more but the one by which it is held.
    assert_eq!(two.wanted(), [""; 0]);
    // A state of a longer window is cut to this one's.
    let settings = AnalyticsSettings { window: 3, ..standard() };
    let three = Instance::new(settings, 1, 0).sharing(3);
    let state = two.analytics.export(b"a", now).unwrap();
    assert!(three.analytics.adopt(b"a", Some(state), false, Some(4), now).is_held);
    let detail = three.analytics.detail("a", now).unwrap();
    assert_eq!((detail.summary.accepted, detail.summary.window.count), (8, 3));
    assert_eq!(detail.values.timestamps_ms, times[5..]);
}

/// Events come while the device goes back and forth: each is judged or counted as not judged.
#[test]
fn nothing_is_lost_while_devices_move_under_load() {
    const EVENTS: u64 = 3_000;
    let instances = [1, 2].map(|me| Instance::new(standard(), 2, 0).sharing(me));
    std::thread::scope(|scope| {
        let senders: Vec<_> = instances
            .iter()
            .map(|instance| {
                scope.spawn(move || {
                    for number in 0..EVENTS {
                        let id = DEVICES[(number % 3) as usize];
                        instance.send((number % 2) as usize, id, &calm(number / 100));
                    }
                })
            })
            .collect();
        let (mut has_ended, mut moves) = (false, 0);
        while !has_ended {
            has_ended = senders.iter().all(std::thread::ScopedJoinHandle::is_finished);
            for (at_first, to) in instances.iter().enumerate() {
                for id in to.wanted() {
                    let now = at(EVENTS * SECOND_NS, 0);
                    // Some are tired of waiting, and joined while events come.
                    moves += 1;
                    if moves % 3 == 0 {
                        to.analytics.begin_alone(id.as_bytes(), None, now);
                    }
                    let from = &instances[1 - at_first];
                    let state = from.analytics.export(id.as_bytes(), now);
                    assert!(to.analytics.adopt(id.as_bytes(), state, false, Some(1), now).is_held);
                }
            }
        }
    });
    let now = at(EVENTS * SECOND_NS, 0);
    let totals = instances.each_ref().map(|instance| instance.analytics.windows());
    assert!(totals.iter().all(|totals| (totals.waiting, totals.pending) == (0, 0)));
    let accepted = |id: &&str| -> u64 {
        let of = |instance: &Instance| instance.analytics.device(id, now).map(|it| it.accepted);
        instances.iter().filter_map(of).sum()
    };
    assert_eq!(DEVICES.iter().map(accepted).sum::<u64>(), 2 * EVENTS);
}

#[test]
fn doubts_and_lonely_beginnings_do_not_wait_for_each_other() {
    let instance = Instance::new(standard(), 2, 0).sharing(1);
    let now = at(SECOND_NS, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2_000).for_each(|_| instance.analytics.doubt()));
        for _ in 0..2_000 {
            instance.analytics.begin_alone(b"a", None, now);
        }
    });
    assert_eq!(instance.cell("a", SECOND_NS), Cell::Absent);
}
