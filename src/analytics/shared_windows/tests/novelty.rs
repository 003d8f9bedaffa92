//! The second judge of instances that share windows, beside that of one that gets every event.

use super::*;
use crate::analytics::novelty::local_day::LocalDay;
use crate::analytics::novelty::{EXCESS_ON, NoveltySettings};

/// Minutes from one event to the next: a series has no alert in its first twelve hours.
const STEP_MINUTES: u64 = 10;

impl Instance {
    /// Asks the second judge as well.
    pub(super) fn judging(mut self) -> Self {
        self.analytics = self.analytics.with_novelty(NoveltySettings {
            sensitivity: Some(NoveltySettings::sensitivity(EXCESS_ON)),
            stuck_after: Some(4),
            day: Arc::new(LocalDay::UTC),
        });
        self
    }

    /// Returns what the second judge knows of a device: as a text, as each bit of a number counts.
    fn novelty(&self, id: &str, at_ns: u64) -> String {
        let key = self.analytics.device_key(id.as_bytes());
        let shard = &self.analytics.shards[key.hash.shard(self.analytics.shards.len())];
        let mut copies = Vec::new();
        shard.lock().copy_novelty(key, self.now(at_ns).mono_ns, &mut copies);
        format!("{copies:?}")
    }
}

/// A random event, the one of this number, which is a spike now and then.
fn event(random: &mut fastrand::Rng, number: u64) -> Sent {
    let spike = if number % 40 == 39 { 1e4 } else { 0.0 };
    let minutes = (number * STEP_MINUTES).cast_signed();
    Sent {
        at_ns: random.u64(..SECOND_NS),
        timestamp_ms: 1_700_000_000_000 + minutes * 60_000,
        present: FieldSet::from_bits(random.u16(1..4)),
        values: vec![random.f64() + spike, f64::from(random.u8(..3))],
    }
}

impl World {
    /// Replaces an instance by a new one that has the windows which it left.
    fn restart(&mut self, at: usize) {
        let old = &self.instances[at];
        let new = Instance::new(settings(self.schema, self.window), 2, old.ahead_ns).judging();
        let new = new.sharing(at as u64 + 1);
        for id in DEVICES {
            if matches!(old.cell(id, self.now_ns), Cell::Held { .. }) {
                self.ticket += 1;
                let now = old.now(self.now_ns);
                let state = old.analytics.export(id.as_bytes(), now).unwrap();
                let state = carried(&state, self.schema);
                let ticket = Some(self.ticket);
                assert!(
                    new.analytics.adopt(id.as_bytes(), Some(state), false, ticket, now).is_held
                );
            }
        }
        self.instances[at] = new;
    }

    /// Compares what the holder of each device knows with what the one knows.
    fn compare_novelty(&self, one: &Instance) {
        for id in DEVICES {
            let holds = |it: &&Instance| matches!(it.cell(id, self.now_ns), Cell::Held { .. });
            let found = self.instances.iter().find(holds).map(|it| it.novelty(id, self.now_ns));
            assert_eq!(found, Some(one.novelty(id, self.now_ns)), "{id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_new_is_known_wherever_a_device_goes(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(numbered(1, 1), 8, true);
        for number in 0..160 {
            for device in 0..DEVICES.len() {
                let sent = event(&mut random, number);
                let (at, core) = (random.usize(..3), random.usize(..3));
                world.hear(at, core, device, sent, false);
            }
            match random.u8(..4) {
                0 => world.fetch(random.usize(..3)),
                1 => world.save(random.usize(..3)),
                _ => {}
            }
        }
        world.compare();
        let one = world.one();
        world.compare_novelty(&one);
        // Spikes were told, and all of them are in what moves.
        let totals = one.analytics.totals(one.now(world.now_ns));
        prop_assert!(totals.novelties[0] >= DEVICES.len() as u64, "{totals:?}");
        (0..3).for_each(|at| world.restart(at));
        world.compare_novelty(&one);
        for number in 160..260 {
            for id in DEVICES {
                let mut sent = event(&mut random, number);
                sent.at_ns = world.now_ns;
                sent.present = FieldSet::from_bits(3);
                let now_ns = world.now_ns;
                let holds = |it: &&Instance| matches!(it.cell(id, now_ns), Cell::Held { .. });
                let holder = world.instances.iter().find(holds).unwrap();
                prop_assert_eq!(holder.send(0, id, &sent), one.send(0, id, &sent));
            }
        }
        world.compare_novelty(&one);
    }
}

/// The knowledge of two that were apart cannot be joined: that of more events goes on.
#[test]
fn of_two_that_were_apart_the_one_that_knows_more_is_believed() {
    for [first, second] in [[50, 60], [60, 50]] {
        let mut random = fastrand::Rng::with_seed(first);
        let [one, two] = [1, 2].map(|me| Instance::new(standard(), 2, 0).judging().sharing(me));
        let (at_ns, now) = (20 * SECOND_NS, at(20 * SECOND_NS, 0));
        let mut hear = |instance: &Instance, numbers: std::ops::Range<u64>| {
            for number in numbers {
                let present = FieldSet::from_bits(3);
                let sent = Sent { at_ns, present, ..event(&mut random, number) };
                instance.send(0, "a", &sent);
            }
        };
        hear(&one, 0..5);
        assert!(one.analytics.adopt(b"a", None, false, Some(1), now).is_held);
        let copy = one.analytics.copy(b"a", now).unwrap();
        hear(&two, 5..6);
        assert!(two.analytics.adopt(b"a", Some(copy), true, Some(1), now).is_held);
        hear(&one, 6..6 + first);
        hear(&two, 200..200 + second);
        let expected = if first > second { &one } else { &two }.novelty("a", at_ns);
        let state = one.analytics.export(b"a", now).unwrap();
        assert!(two.analytics.adopt(b"a", Some(state), false, Some(8), now).is_held);
        assert_eq!(two.novelty("a", at_ns), expected);
    }
}

/// Its novelties are listed by its name, which goes with it: also those of a device that has had
/// nothing else, and those that nobody has asked for yet.
#[test]
fn what_was_new_is_listed_by_the_one_that_found_it() {
    let one = Instance::new(standard(), 2, 0).judging().sharing(1);
    let now = at(20 * SECOND_NS, 0);
    let still = |second| Sent { values: vec![7.0, 7.0], ..calm(second) };
    one.send(0, "a", &still(1));
    assert!(one.analytics.adopt(b"a", None, false, Some(1), now).is_held);
    for second in 2..9 {
        one.send(0, "a", &still(second));
    }
    let totals = one.analytics.totals(now);
    assert_eq!([totals.points, totals.novelties].map(|of| of.iter().sum::<u64>()), [0, 2]);
    assert!(one.analytics.export(b"a", now).is_some());
    let page = one.analytics.anomalies(&first(9), now).unwrap();
    let names = page.anomalies.iter().map(|it| it.device_id.as_deref());
    assert_eq!((Vec::from_iter(names), page.missed), (vec![Some("a"); 2], 0));
}
