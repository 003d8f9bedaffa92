//! Blocks against a naive reference: a list of pairs, searched from its end.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::limits::{DEVICE_ID_BYTES_MAX, NUMBER_BYTES_MAX, RECORD_BYTES_MAX};
use crate::metric::event::Literals;
use crate::metric::id_hash::IdHasher;
use crate::schema::{Field, FieldSet, Schema, samples};

/// An owned event, from which a borrowed one is made. There is a literal for each field of the
/// schema; those that are not in `present` are not sent.
#[derive(Clone, Debug)]
struct Sample {
    schema: &'static Schema,
    device: Option<String>,
    timestamp: String,
    present: FieldSet,
    literals: Vec<String>,
}

impl Sample {
    fn event(&self) -> Event<'_> {
        let literals: Vec<&[u8]> = self.literals.iter().map(String::as_bytes).collect();
        Event {
            device_id: self.device.as_deref().map(str::as_bytes),
            timestamp: self.timestamp.parse().unwrap(),
            present: self.present,
            literals: Literals::Given(literals.leak()),
            ..Event::default()
        }
    }

    /// The key and value of the contract, put together the slow way.
    fn record(&self) -> (String, String) {
        let Self { schema, timestamp, literals, .. } = self;
        let is_present = |(field, _): &(&Field, _)| self.present.contains(**field);
        let sent = schema.fields().iter().zip(literals).filter(is_present);
        let members: String =
            sent.map(|(field, literal)| format!(r#","{}":{literal}"#, field.name())).collect();
        match &self.device {
            None => {
                (format!("metric:{timestamp}"), format!(r#"{{"timestamp":{timestamp}{members}}}"#))
            }
            Some(id) => (
                format!("metric:{id}:{timestamp}"),
                format!(r#"{{"timestamp":{timestamp}{members},"device_id":"{id}"}}"#),
            ),
        }
    }
}

/// Few devices and timestamps, so that keys repeat; literals in several lengths and notations.
fn sample(schema: &'static Schema) -> impl Strategy<Value = Sample> {
    let device = prop_oneof![
        Just(None),
        "[a-c]{1,2}".prop_map(Some),
        "[a:]:[1:]".prop_map(Some),
        Just(Some("1".to_owned())),
        Just(Some("x".repeat(DEVICE_ID_BYTES_MAX))),
    ];
    let number = prop_oneof![
        "[1-9][0-9]{0,2}",
        "[0-9]\\.[0-9]{1,3}",
        Just("1e3".to_owned()),
        Just("4.150000000000000000".to_owned()),
    ];
    let timestamp = prop_oneof![Just("1"), Just("2"), Just("1700000000"), Just("1700000001")];
    let literals = prop::collection::vec(number, schema.fields().len());
    (device, timestamp, any::<u16>(), literals).prop_map(
        move |(device, timestamp, bits, literals)| Sample {
            schema,
            device,
            timestamp: timestamp.to_owned(),
            present: samples::fields_of(schema, bits.into()),
            literals,
        },
    )
}

fn at(mono_ns: u64) -> Now {
    Now { mono_ns, wall_us: 0 }
}

fn plain(timestamp: &str, cpu: &str) -> Sample {
    Sample {
        schema: Schema::standard(),
        device: None,
        timestamp: timestamp.to_owned(),
        present: FieldSet::from_bits(3),
        literals: vec![cpu.to_owned(), "1200".to_owned()],
    }
}

/// The shortest event that a schema allows.
fn shortest(schema: &'static Schema, timestamp: String) -> Sample {
    let prefix_len = |field: &&Field| field.json_prefix().len();
    let mut present = schema.required_set();
    if schema.required().is_empty() {
        present.insert(*schema.optional().iter().min_by_key(prefix_len).unwrap());
    }
    let literals = vec!["1".to_owned(); schema.fields().len()];
    Sample { schema, device: None, timestamp, present, literals }
}

static IDS: LazyLock<IdHasher> = LazyLock::new(IdHasher::default);

impl Block {
    fn take(&mut self, event: &Event<'_>, now: Now) -> Appended {
        self.append(event, IDS.hash_of(event), now)
    }
}

fn block() -> Block {
    Block::new(set(300))
}

fn set(ttl_s: u32) -> Encoding {
    Encoding::redis_set(Schema::standard(), ttl_s, "metric:")
}

/// The encodings that properties are checked for, each with its schema.
fn encodings() -> Vec<(&'static Schema, Encoding)> {
    let of = |schema| {
        let set = |ttl_s| Encoding::redis_set(schema, ttl_s, "metric:");
        [set(1), set(300), set(u32::MAX)].map(|one| (schema, one))
    };
    samples::all().into_iter().flat_map(of).collect()
}

#[test]
fn the_record_is_the_one_in_the_contract() {
    let mut block = block();
    let event = Event {
        device_id: Some(b"d1"),
        timestamp: 1_700_000_000,
        timestamp_ms: 1_700_000_000_000,
        present: FieldSet::from_bits(3),
        values: &[41.5, 1200.0],
        literals: Literals::Given(&[b"41.5", b"1200"]),
    };
    assert_eq!(block.take(&event, at(7)), Appended::Fresh);
    let record = block.records().next().unwrap();
    assert_eq!(record.key, b"metric:d1:1700000000");
    let value = br#"{"timestamp":1700000000,"cpu":41.5,"rps":1200,"device_id":"d1"}"#;
    assert_eq!(record.value, value);
    assert_eq!(record.entered_ns, 7);
}

/// Every part has the greatest length that the decoder accepts.
#[test]
fn the_longest_event_that_is_accepted_has_a_record() {
    for (schema, encoding) in encodings() {
        let longest = Sample {
            schema,
            device: Some("x".repeat(DEVICE_ID_BYTES_MAX)),
            timestamp: u64::MAX.to_string(),
            present: samples::all_fields(schema),
            literals: vec!["1".repeat(NUMBER_BYTES_MAX); schema.fields().len()],
        };
        let mut block = Block::new(encoding);
        assert_eq!(block.take(&longest.event(), at(1)), Appended::Fresh);
        let record = block.records().next().unwrap();
        let (key, value) = longest.record();
        assert_eq!((record.key, record.value), (key.as_bytes(), value.as_bytes()));
        assert!(block.encoded().unwrap().len() < encoding.record_bytes_max());
        assert!(encoding.record_bytes_max() <= RECORD_BYTES_MAX);
        let bytes = block.bytes();
        while !block.is_full() {
            block.take(
                &Sample { timestamp: block.live().to_string(), ..longest.clone() }.event(),
                at(1),
            );
        }
        assert_eq!(block.data.capacity(), BLOCK_BYTES + encoding.record_bytes_max(), "{bytes}");
    }
}

#[test]
fn clearing_keeps_the_usual_memory_and_gives_back_the_rest() {
    let mut block = block();
    for turn in 0..3 {
        for number in 0..20_000 {
            block.take(&plain(&number.to_string(), "1").event(), at(turn));
        }
        assert!(block.bytes() > 10 * BLOCK_BYTES);
        block.clear();
        assert!(block.is_empty() && block.records().next().is_none());
        assert!(block.bytes() <= Block::cost_bytes(block.encoding()));
    }
    while !block.is_full() {
        block.take(&plain(&block.live().to_string(), "1").event(), at(9));
    }
    block.clear();
    let bytes = block.bytes();
    while !block.is_full() {
        block.take(&plain(&block.live().to_string(), "1").event(), at(9));
    }
    assert_eq!(block.bytes(), bytes, "a block filled again allocates nothing");
}

#[test]
fn a_block_handed_over_when_full_stays_inside_its_cost() {
    for (schema, encoding) in encodings() {
        let mut block = Block::new(encoding);
        while !block.is_full() {
            block.take(&shortest(schema, block.live().to_string()).event(), at(1));
        }
        assert!(block.bytes() <= Block::cost_bytes(&encoding), "{encoding:?}");
    }
}

/// The memory of an instance without options.
#[test]
fn a_block_of_standard_records_costs_52_kib() {
    assert_eq!(Block::cost_bytes(&set(300)), (34 + 16 + 2) * 1024);
}

/// A record equals the protocol spelt out, and the shortest one has the minimum length.
#[test]
fn a_set_command_is_an_array_of_five_bulk_strings() {
    let encoding = set(300);
    for device in [None, Some("d".repeat(DEVICE_ID_BYTES_MAX))] {
        let sample = Sample { device, ..plain("1700000000", "4.15e1") };
        let mut block = Block::new(encoding);
        block.take(&sample.event(), at(1));
        let (key, value) = sample.record();
        let words = ["SET", &key, &value, "EX", "300"];
        let bulk = words.map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let expected = format!("*5\r\n{}", bulk.concat());
        assert_eq!(block.encoded(), Some(expected.as_bytes()));
        assert_eq!(encoding.record_bytes(&sample.event()), expected.len());
        let record = block.records().next().unwrap();
        assert_eq!((record.key, record.value), (key.as_bytes(), value.as_bytes()));
        let mut again = Vec::new();
        crate::store::encoding::encode_set(record.key, record.value, 300, &mut again);
        assert_eq!(again, expected.as_bytes());
    }
    for (schema, encoding) in encodings() {
        let shortest = shortest(schema, "1".to_owned());
        assert_eq!(encoding.record_bytes(&shortest.event()), encoding.record_bytes_min());
    }
}

#[test]
fn records_given_up_are_neither_sent_nor_counted() {
    let mut block = Block::new(set(300));
    for number in 1..=5 {
        block.take(&plain(&number.to_string(), "1").event(), at(number));
    }
    assert_eq!(block.expire(1, 1), 0, "what is before the cursor is final");
    assert_eq!(block.expire(1, 3), 2);
    block.discard(4);
    block.discard(4);
    assert_eq!((block.live(), block.encoded()), (2, None));
    let kept: Vec<usize> = block.records_from(0).map(|(index, _)| index).collect();
    assert_eq!((kept, block.next_live(1), block.next_live(4)), (vec![0, 3], Some(3), None));
    assert_eq!(block.take_coalesced(), 0);
}

/// Also behind the size at which the table grows.
#[test]
fn a_block_that_was_emptied_knows_no_key() {
    let mut block = block();
    for records in [1, 31, 32, 33, 200, 5] {
        for outcome in [Appended::Fresh, Appended::Coalesced] {
            for number in 0..records {
                let sample = plain(&number.to_string(), "1");
                assert_eq!(block.take(&sample.event(), at(1)), outcome, "{number} of {records}");
            }
        }
        block.clear();
    }
}

proptest! {
    /// Exactly the last event of each key is live, and every event is in one count.
    #[test]
    fn the_last_write_of_each_key_survives(
        (encoding, turns) in prop::sample::select(encodings()).prop_flat_map(|(schema, encoding)| {
            let turn = prop::collection::vec(sample(schema), 0..80);
            (Just(encoding), prop::collection::vec(turn, 1..4))
        }),
    ) {
        let mut block = Block::new(encoding);
        for samples in turns {
            let mut reference: Vec<(String, String, u64)> = Vec::new();
            for (time, sample) in samples.iter().enumerate() {
                let (key, value) = sample.record();
                let known = reference.iter().position(|(other, ..)| *other == key);
                let appended = block.take(&sample.event(), at(time as u64));
                match known {
                    Some(place) => {
                        prop_assert_eq!(appended, Appended::Coalesced);
                        reference[place] = (key, value, time as u64);
                    }
                    None => {
                        prop_assert_eq!(appended, Appended::Fresh);
                        reference.push((key, value, time as u64));
                    }
                }
                prop_assert_eq!(block.events(), time as u64 + 1);
                prop_assert_eq!(block.live() as usize, reference.len());
            }
            let mut kept: Vec<(String, String, u64)> = block
                .records()
                .map(|record| {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    (text(record.key), text(record.value), record.entered_ns)
                })
                .collect();
            kept.sort();
            reference.sort();
            prop_assert_eq!(kept, reference);
            block.clear();
        }
    }
}
