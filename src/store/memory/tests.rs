//! The memory store against a naive reference: every write with its time, searched from the end.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::limits::FIELDS_MAX;
use crate::metric::event::Literals;
use crate::schema::{Field, samples};

const TTL_MS: u64 = 8_000;

fn at(ms: u64) -> Now {
    Now { mono_ns: ms * 1_000_000, wall_us: 0 }
}

/// A store with the event counters.
struct Fixture {
    schema: &'static Schema,
    store: MemoryStore,
    counters: EventCounters,
}

impl Fixture {
    fn new(cores: usize, capacity_bytes: usize) -> Self {
        Self::of_schema(Schema::standard(), cores, capacity_bytes)
    }

    fn of_schema(schema: &'static Schema, cores: usize, capacity_bytes: usize) -> Self {
        Self {
            schema,
            store: MemoryStore::new(schema, cores, capacity_bytes, TTL_MS, IdHasher::default()),
            counters: EventCounters::new(cores, 0),
        }
    }

    /// Writes events whose fields all have the value, under each timestamp, in one request; the
    /// value decides which fields those are. Returns how many were coalesced.
    fn write(&mut self, core: usize, now: Now, writes: &[(u64, u64)]) -> u64 {
        let before = self.counters.totals();
        let mut appender = self.store.appender(core, now, &self.counters);
        let mut coalesced = 0;
        for (timestamp, value) in writes {
            let present = samples::fields_of(self.schema, *value);
            let value = value.to_string();
            let event = Event {
                timestamp: *timestamp,
                present,
                literals: Literals::Given(&[value.as_bytes(); FIELDS_MAX]),
                ..Event::default()
            };
            coalesced += u64::from(
                appender.append(&event, self.store.ids.hash_of(&event)) == Appended::Coalesced,
            );
        }
        drop(appender);
        let totals = self.counters.totals();
        assert_eq!(totals.accepted, before.accepted + writes.len() as u64);
        assert_eq!(totals.coalesced, before.coalesced + coalesced);
        assert_eq!((totals.pending(), self.store.uncounted()), (0, 0));
        coalesced
    }

    fn read(&self, now: Now, timestamp: u64) -> Option<u64> {
        // The bytes that the buffer had before must stay.
        let mut out = b"before".to_vec();
        let found = self.store.lookup(format!("metric:{timestamp}").as_bytes(), now, &mut out);
        let stored = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
        assert_eq!(found, !stored.is_empty());
        let value = stored.strip_suffix('}')?.rsplit(':').next()?.parse().unwrap();
        let member = |field: Field| format!(",\"{}\":{value}", field.name());
        let fields = self.schema.fields_in(samples::fields_of(self.schema, value));
        let members: String = fields.map(member).collect();
        assert_eq!(stored, format!("{{\"timestamp\":{timestamp}{members}}}"));
        Some(value)
    }

    fn held_records(&self) -> u64 {
        let rings = self.store.shards.iter().map(|shard| {
            let ring = shard.ring.lock();
            ring.segments.iter().map(|segment| segment.records).sum::<u64>()
        });
        rings.sum()
    }

    /// The newest version that was removed.
    fn horizon(&self) -> Option<Version> {
        let horizons = self.store.shards.iter().enumerate().filter_map(|(core, shard)| {
            let newest_ns = shard.horizon.load(Ordering::Relaxed).checked_sub(1)?;
            Some((newest_ns, core))
        });
        horizons.max()
    }

    /// The newest record of each segment.
    fn newest(&self) -> Vec<u64> {
        let rings = self.store.shards.iter().map(|shard| shard.ring.lock());
        rings
            .flat_map(|ring| ring.segments.iter().map(|s| s.newest_ns).collect::<Vec<_>>())
            .collect()
    }

    fn evicted(&self, reason: EvictReason) -> u64 {
        self.counters.totals().evicted[reason as usize]
    }
}

#[test]
fn a_record_is_readable_until_its_own_time_is_over() {
    let mut fixture = Fixture::new(1, 1 << 20);
    fixture.write(0, at(0), &[(1, 10)]);
    fixture.write(0, at(500), &[(2, 20)]);
    assert_eq!(fixture.read(at(TTL_MS - 1), 1), Some(10));
    assert_eq!(fixture.read(at(TTL_MS), 1), None, "its segment is still there");
    assert_eq!(fixture.read(at(TTL_MS + 499), 2), Some(20));
    assert_eq!(fixture.read(at(TTL_MS + 500), 2), None);
    assert_eq!(fixture.evicted(EvictReason::Expired), 0);
}

#[test]
fn an_empty_store_wants_no_call_and_holds_no_memory() {
    let mut fixture = Fixture::new(1, 1 << 20);
    assert_eq!(fixture.store.sweep(0, at(0), &fixture.counters), None);
    fixture.write(0, at(0), &[(1, 10)]);
    fixture.write(0, at(500), &[(2, 20)]);
    fixture.write(0, at(1_600), &[(3, 30)]);
    assert_eq!(fixture.store.allocated_bytes(), 2 * fixture.store.config.cost_bytes());
    let next = fixture.store.sweep(0, at(1_600), &fixture.counters).unwrap();
    assert_eq!(next, at(TTL_MS + 500).mono_ns);
    let next = fixture.store.sweep(0, at(TTL_MS + 500), &fixture.counters).unwrap();
    assert_eq!(next, at(TTL_MS + 1_600).mono_ns);
    assert_eq!(fixture.evicted(EvictReason::Expired), 2);
    assert_eq!(fixture.store.sweep(0, at(TTL_MS + 1_600), &fixture.counters), None);
    assert_eq!(fixture.evicted(EvictReason::Expired), 3);
    assert_eq!(fixture.store.allocated_bytes(), 0);
}

#[test]
fn the_cap_holds_and_the_newest_stay() {
    let capacity_bytes = 1 << 20;
    let mut fixture = Fixture::new(1, capacity_bytes);
    for number in 0..100_000 {
        fixture.write(0, at(number / 100), &[(number, number)]);
        assert!(fixture.store.allocated_bytes() <= capacity_bytes);
    }
    let totals = fixture.counters.totals();
    let held = totals.stored - totals.evicted.iter().sum::<u64>();
    assert_eq!(fixture.held_records(), held);
    assert!(held > 18_000, "of 1 MiB most is used: {held} records");
    assert!(fixture.evicted(EvictReason::Capacity) > 0);
    for number in 0..100_000 {
        let expected = (number >= 100_000 - held).then_some(number);
        assert_eq!(fixture.read(at(1_000), number), expected);
    }
}

#[test]
fn an_older_version_does_not_return_when_the_newer_one_was_evicted() {
    let mut fixture = Fixture::new(2, 1 << 20);
    fixture.write(0, at(0), &[(7, 1)]);
    fixture.write(1, at(1), &[(7, 2)]);
    assert_eq!(fixture.read(at(1), 7), Some(2));
    let mut number = 1_000;
    let mut found = Some(2);
    while found.is_some() {
        assert_eq!(found, Some(2), "the older one leaves first");
        fixture.write(1, at(2), &[(number, 0)]);
        number += 1;
        found = fixture.read(at(2), 7);
    }
    assert!(number > 18_000, "the whole budget was used: {number}");
    fixture.write(0, at(3), &[(7, 3)]);
    assert_eq!(fixture.read(at(3), 7), Some(3));
}

/// All cores share one budget, however the load is spread.
#[test]
fn one_core_may_use_the_whole_budget() {
    let capacity_bytes = 1 << 20;
    let mut fixture = Fixture::new(4, capacity_bytes);
    for number in 0..50_000 {
        fixture.write(3, at(number / 100), &[(number, number)]);
        assert!(fixture.store.allocated_bytes() <= capacity_bytes);
    }
    let held = fixture.held_records();
    assert!(held > 18_000, "of 1 MiB most is used: {held} records");
    for number in 0..50_000 {
        let expected = (number >= 50_000 - held).then_some(number);
        assert_eq!(fixture.read(at(500), number), expected);
    }
}

/// An eviction on one core hides no newer record on another.
#[test]
fn a_busy_core_takes_no_newer_record_from_a_calm_one() {
    let capacity_bytes = 1 << 20;
    let mut fixture = Fixture::new(2, capacity_bytes);
    // Every millisecond a record of the calm core, and a hundred of the busy one.
    let calm = |ms: u64| 1_000_000 + ms;
    for ms in 0..1_000 {
        fixture.write(0, at(ms), &[(calm(ms), ms)]);
        let busy: Vec<(u64, u64)> = (0..100).map(|number| (ms * 100 + number, ms)).collect();
        fixture.write(1, at(ms), &busy);
    }
    let now = at(999);
    let oldest_busy = (0..100_000).position(|number| fixture.read(now, number).is_some()).unwrap();
    let oldest_ms = oldest_busy as u64 / 100;
    // Three megabytes came, one is kept: some three hundred milliseconds, of both cores alike.
    assert!((600..750).contains(&oldest_ms), "{oldest_ms}");
    for ms in 0..1_000 {
        let expected = (ms > oldest_ms).then_some(ms);
        assert!(ms == oldest_ms || fixture.read(now, calm(ms)) == expected, "{ms}");
    }
}

#[test]
fn versions_of_one_turn_count_as_one_record_however_many_holds_they_take() {
    let mut fixture = Fixture::new(2, 1 << 20);
    let writes: Vec<(u64, u64)> = (0..100).map(|number| (number % 30, number)).collect();
    assert_eq!(fixture.write(0, at(1), &writes), 70);
    // The second request of the turn, a new turn, and another core.
    assert_eq!(fixture.write(0, at(1), &writes[90..]), 10);
    assert_eq!(fixture.write(0, at(2), &writes[90..]), 0);
    assert_eq!(fixture.write(1, at(2), &writes[90..]), 0);
    assert_eq!(fixture.held_records(), 50);
    assert_eq!(fixture.read(at(2), 29), Some(89));
    assert_eq!(fixture.read(at(2), 0), Some(90));
}

/// A look-up waits for the events of one hold at most, and sees the latest after it.
#[test]
fn the_lock_is_released_after_a_few_events() {
    let fixture = Fixture::new(1, 1 << 20);
    let event = Event {
        timestamp: 7,
        present: fixture.schema.required_set(),
        literals: Literals::Given(&[b"1", b"1"]),
        ..Event::default()
    };
    let mut appender = fixture.store.appender(0, at(1), &fixture.counters);
    let ring = &fixture.store.shards.at(0).ring;
    for number in 1..=3 * RECORDS_PER_HOLD {
        appender.append(&event, fixture.store.ids.hash_of(&event));
        let is_last = number % RECORDS_PER_HOLD == 0;
        assert_eq!(ring.try_lock().is_some(), is_last, "{number}");
        let accepted = fixture.counters.totals().accepted;
        assert_eq!(accepted, (number - number % RECORDS_PER_HOLD) as u64);
        if is_last {
            assert_eq!(fixture.read(at(1), 7), Some(1));
        }
    }
}

#[test]
fn one_request_may_exceed_a_whole_ring() {
    let mut fixture = Fixture::new(1, 0);
    let writes: Vec<(u64, u64)> = (0..5_000).map(|number| (number, number)).collect();
    fixture.write(0, at(1), &writes);
    let totals = fixture.counters.totals();
    assert_eq!(totals.stored, 5_000);
    assert_eq!(fixture.held_records() + totals.evicted.iter().sum::<u64>(), 5_000);
    assert_eq!(fixture.read(at(1), 4_999), Some(4_999));
    assert_eq!(fixture.read(at(1), 0), None);
}

#[derive(Clone, Debug)]
enum Step {
    Write { core: usize, wait_ms: u64, writes: Vec<(u64, u64)> },
    Maintain { core: usize, wait_ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![3 => Just(0), 3 => 0..20_u64, 1 => 0..1_500_u64, 1 => Just(TTL_MS)];
    let writes = prop::collection::vec((0..40_u64, 0..1_000_u64), 0..400);
    prop_oneof![
        4 => (0..3_usize, wait.clone(), writes)
            .prop_map(|(core, wait_ms, writes)| Step::Write { core, wait_ms, writes }),
        1 => (0..3_usize, wait).prop_map(|(core, wait_ms)| Step::Maintain { core, wait_ms }),
    ]
}

/// Runs the steps and checks every key after each; the smallest store must evict, the large must
/// not.
fn check(
    schema: &'static Schema,
    steps: Vec<Step>,
    capacity_bytes: usize,
) -> Result<(), TestCaseError> {
    let mut fixture = Fixture::of_schema(schema, 3, capacity_bytes);
    // Time, core and value of every write, for each key.
    let mut reference = vec![Vec::<(u64, usize, u64)>::new(); 40];
    let mut now_ms = 0;
    for step in steps {
        match step {
            Step::Write { core, wait_ms, writes } => {
                now_ms += wait_ms;
                for (key, value) in &writes {
                    reference[*key as usize].push((now_ms, core, *value));
                }
                fixture.write(core, at(now_ms), &writes);
            }
            Step::Maintain { core, wait_ms } => {
                now_ms += wait_ms;
                let next = fixture.store.sweep(core, at(now_ms), &fixture.counters);
                prop_assert!(next.is_none_or(|next| next > at(now_ms).mono_ns));
            }
        }
        let totals = fixture.counters.totals();
        prop_assert_eq!(totals.pending(), 0);
        prop_assert_eq!(fixture.held_records() + totals.evicted.iter().sum::<u64>(), totals.stored);
        prop_assert!(fixture.store.allocated_bytes() <= fixture.store.capacity_bytes());
        let horizon = fixture.horizon();
        if capacity_bytes > 0 {
            prop_assert_eq!(fixture.evicted(EvictReason::Capacity), 0);
        }
        for newest_ns in fixture.newest() {
            let is_old = horizon.is_some_and(|(removed_ns, _)| newest_ns < removed_ns);
            let has_expired = fixture.store.has_expired(newest_ns, at(now_ms));
            prop_assert!(!is_old || has_expired, "what left was the oldest");
        }
        for (key, writes) in reference.iter().enumerate() {
            // A stable sort keeps the order of writes inside one core and moment.
            let mut writes = writes.clone();
            writes.sort_by_key(|(time, core, _)| (*time, *core));
            let newest = writes.last().filter(|(time, ..)| time + TTL_MS > now_ms);
            let version = newest.map(|(time, core, _)| (at(*time).mono_ns, *core));
            let found = fixture.read(at(now_ms), key as u64);
            let expected = newest.map(|(.., value)| *value);
            if version > horizon {
                prop_assert_eq!(found, expected, "{} is newer than all that left", key);
            } else {
                // Of the records with the time of the horizon, some may still be there.
                let is_last = version == horizon && found == expected;
                prop_assert!(found.is_none() || is_last, "{key}: {found:?} is behind");
            }
        }
    }
    Ok(())
}

fn schema() -> impl Strategy<Value = &'static Schema> {
    static ALL: LazyLock<[&Schema; 3]> = LazyLock::new(samples::all);
    prop::sample::select(ALL.as_slice())
}

proptest! {
    #[test]
    fn with_room_every_live_key_has_its_last_value(
        schema in schema(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check(schema, steps, 64 << 20)?;
    }

    #[test]
    fn without_room_no_key_has_an_older_value(
        schema in schema(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check(schema, steps, 0)?;
    }
}
