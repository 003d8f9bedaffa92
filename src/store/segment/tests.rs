//! Segments: what was inserted is found, in the order of a key's versions, until there is no room.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::limits::{DEVICE_ID_BYTES_MAX, FIELDS_MAX, NUMBER_BYTES_MAX};
use crate::metric::event::Literals;
use crate::metric::id_hash::IdHasher;
use crate::metric::short_text::BLOCK_BYTES;
use crate::schema::{FieldSet, Schema, samples};

/// An event without a device, with `cpu` and `rps` of this literal.
fn event<'a>(timestamp: &'a str, literals: &'a [&'a [u8]]) -> Event<'a> {
    Event {
        timestamp: timestamp.parse().unwrap(),
        present: FieldSet::from_bits(3),
        literals: Literals::Given(literals),
        ..Event::default()
    }
}

fn key(timestamp: &str) -> Key<'_> {
    Key { device_id: b"", timestamp: timestamp.parse().unwrap() }
}

fn open(config: SegmentConfig, base_ns: u64) -> Segment {
    let mut segment = Segment::new(config);
    segment.reopen(1, base_ns);
    segment
}

/// A segment with the hasher of its keys.
struct Fixture {
    segment: Segment,
    ids: IdHasher,
}

impl Fixture {
    fn new(config: SegmentConfig, base_ns: u64) -> Self {
        Self { segment: open(config, base_ns), ids: IdHasher::default() }
    }

    fn insert(&mut self, timestamp: &str, literal: &str, at: u64) -> Option<Appended> {
        let literals = [literal.as_bytes(); 2];
        self.segment.insert(key(timestamp).hash(&self.ids), &event(timestamp, &literals), at)
    }

    /// The time of entry and the value of `cpu`.
    fn find(&self, timestamp: &str) -> Option<(u64, String)> {
        let found = self.segment.find(key(timestamp).hash(&self.ids), key(timestamp));
        found.map(|(at, parts)| (at, cpu(parts)))
    }
}

fn cpu(parts: Parts<'_>) -> String {
    let mut value = Vec::new();
    parts.write_value(Schema::standard(), &mut value);
    let value = String::from_utf8(value).unwrap();
    let (_, rest) = value.split_once("\"cpu\":").unwrap();
    rest.split(',').next().unwrap().to_owned()
}

#[test]
fn the_latest_of_a_key_is_found_until_the_segment_is_full() {
    let mut fixture = Fixture::new(SegmentConfig::new(SEGMENT_BYTES_MAX, 1_000_000), 5);
    let mut count = 0_u64;
    while fixture.insert(&(count % 9000).to_string(), &count.to_string(), 5 + count).is_some() {
        count += 1;
    }
    assert_eq!(fixture.segment.records, count);
    assert!(count > 30_000, "{count}");
    for number in 0..9000 {
        let last = count - 1 - (count - 1 - number) % 9000;
        assert_eq!(fixture.find(&number.to_string()), Some((5 + last, last.to_string())));
    }
    assert_eq!(fixture.find("9000"), None);
}

#[test]
fn a_segment_is_filled_to_its_end_however_few_slots_it_has() {
    let config = SegmentConfig::new(0, 1_000_000);
    let mut fixture = Fixture::new(config, 0);
    let mut count = 0_u64;
    while fixture.insert(&count.to_string(), "1", 1).is_some() {
        count += 1;
    }
    let segment = &fixture.segment;
    assert!(config.data_bytes - segment.cursor < 24 + BLOCK_BYTES, "{}", segment.cursor);
    assert!(segment.index.iter().filter(|slot| **slot != 0).count() < count as usize);
    assert!((0..count).all(|number| fixture.find(&number.to_string()).is_some()));
    assert_eq!(fixture.insert("0", "2", 1), None, "a key that has a record needs room as well");
}

proptest! {
    /// Keys share slots, tags or whole hashes.
    #[test]
    fn the_latest_of_each_key_is_found_in_a_chain(
        writes in prop::collection::vec((0_u64..4, 0_u64..14), 1..600),
    ) {
        let hash_of = |timestamp: u64| {
            [0, 1 << 50, 1 << 51, 5, 5 | 1 << 50, 5 | 1 << 63][timestamp as usize % 6]
        };
        let mut segment = open(SegmentConfig::new(0, 1_000), 0);
        let mut latest: HashMap<u64, (u64, String)> = HashMap::new();
        let (mut at, mut records) = (0, 0);
        for (number, (passed, timestamp)) in writes.iter().enumerate() {
            at += passed / 3;
            let (text, literal) = (timestamp.to_string(), number.to_string());
            let literals = [literal.as_bytes(); 2];
            let appended = segment.insert(hash_of(*timestamp), &event(&text, &literals), at);
            let Some(appended) = appended else { break };
            let older = latest.insert(*timestamp, (at, literal));
            let is_coalesced = older.is_some_and(|(older_at, _)| older_at == at);
            prop_assert_eq!(appended == Appended::Coalesced, is_coalesced, "{}", number);
            records += u64::from(!is_coalesced);
            prop_assert_eq!(segment.records, records);
        }
        for timestamp in 0..20 {
            let text = timestamp.to_string();
            let found = segment.find(hash_of(timestamp), key(&text));
            let found = found.map(|(at, parts)| (at, cpu(parts)));
            prop_assert_eq!(found.as_ref(), latest.get(&timestamp), "{}", timestamp);
        }
    }
}

#[test]
fn a_key_that_is_sent_again_and_again_makes_no_chain() {
    let mut fixture = Fixture::new(SegmentConfig::new(0, 1_000), 0);
    for at in 1..100 {
        assert_eq!(fixture.insert("7", "1", at), Some(Appended::Fresh));
        assert_eq!(fixture.insert("7", "1", at), Some(Appended::Coalesced));
    }
    let hash = key("7").hash(&fixture.ids);
    assert_eq!(fixture.segment.find(hash, key("7")).unwrap().1.link, 0);
}

#[test]
fn equal_hashes_do_not_confuse_keys() {
    let mut segment = open(SegmentConfig::new(0, 100), 0);
    for (at, timestamp) in ["1", "2", "12", "2"].iter().enumerate() {
        let literal = at.to_string();
        let literals = [literal.as_bytes(); 2];
        assert!(segment.insert(42, &event(timestamp, &literals), at as u64).is_some());
    }
    let device = Event { device_id: Some(b"1"), ..event("2", &[b"7", b"7"]) };
    assert_eq!(segment.insert(42, &device, 4), Some(Appended::Fresh));
    let find = |key| segment.find(42, key).map(|(at, parts)| (at, cpu(parts)));
    assert_eq!(find(key("1")), Some((0, "0".to_owned())));
    assert_eq!(find(key("2")), Some((3, "3".to_owned())));
    assert_eq!(find(key("12")), Some((2, "2".to_owned())));
    assert_eq!(segment.find(42, Key::of(&device)).map(|(at, _)| at), Some(4));
    assert_eq!(find(key("3")), None);
}

#[test]
fn a_version_of_the_same_turn_is_coalesced_and_counts_once() {
    let mut fixture = Fixture::new(SegmentConfig::new(0, 1_000), 5);
    for (at, timestamp, appended, records) in [
        (5, "1", Appended::Fresh, 1),
        (5, "1", Appended::Coalesced, 1),
        (5, "2", Appended::Fresh, 2),
        (5, "1", Appended::Coalesced, 2),
        (6, "1", Appended::Fresh, 3),
        (6, "2", Appended::Fresh, 4),
        (6, "2", Appended::Coalesced, 4),
        (7, "2", Appended::Fresh, 5),
    ] {
        assert_eq!(fixture.insert(timestamp, "1", at), Some(appended), "{timestamp} at {at}");
        assert_eq!(fixture.segment.records, records);
    }
    // What was here before it was opened again is of no turn.
    fixture.segment.reopen(2, 7);
    assert_eq!(fixture.insert("2", "1", 7), Some(Appended::Fresh));
}

#[test]
fn it_closes_by_age_and_times_keep_their_precision() {
    // An eighth of 300 s needs 36 bits of nanoseconds: the tick is 16 ns.
    let config = SegmentConfig::new(SEGMENT_BYTES_MIN, 37_500_000_000);
    let mut fixture = Fixture::new(config, 7);
    assert!(fixture.insert("1", "1", 37_500_000_007).is_some());
    assert_eq!(fixture.insert("2", "1", 37_500_000_008), None);
    let (at, _) = fixture.find("1").unwrap();
    assert!(37_500_000_007 - at < 16, "{at}");
    assert_eq!(fixture.segment.newest_ns, 37_500_000_007);
}

#[test]
fn any_event_fits_into_an_empty_segment_and_reopening_forgets() {
    let schema = samples::sixteen();
    let longest = Event {
        device_id: Some(&[b'x'; DEVICE_ID_BYTES_MAX]),
        timestamp: u64::MAX,
        present: samples::all_fields(schema),
        literals: Literals::Given(&[[b'1'; NUMBER_BYTES_MAX].as_slice(); FIELDS_MAX]),
        ..Event::default()
    };
    let mut segment = open(SegmentConfig::new(0, 1000), 0);
    // As many as the limits promise, and no byte behind the last one is touched.
    let mut count = 0;
    while segment.insert(count, &longest, count).is_some() {
        count += 1;
    }
    assert!((4..8).contains(&count), "{count}");
    let key = Key::of(&longest);
    assert!((0..count).all(|hash| segment.find(hash, key).is_some_and(|(at, _)| at == hash)));
    segment.reopen(2, 10);
    assert!((0..count).all(|hash| segment.find(hash, key).is_none()));
    assert_eq!((segment.records, segment.newest_ns), (0, 10));
}
