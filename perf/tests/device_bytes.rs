//! The memory of a device: what its required fields take, and of the optional ones those alone that
//! it has sent.

use allocation_counter::measure;
use corepulse::analytics::{Analytics, AnalyticsSettings, Arrived};
use corepulse::gcra::{Pace, Paces};
use corepulse::limits::{DUE_BYTES, OPTIONAL_START_BYTES, RATE_PAIRS_MAX};
use corepulse::metric::event::Event;
use corepulse::metric::id_hash::IdHasher;
use corepulse::resources::device_bytes;
use corepulse::schema::{FieldOptions, FieldSet, Schema};
use percore::clock::Now;

const WINDOW: usize = 50;
const DEVICES: usize = 12_800;

fn schema(required: usize, optional: usize) -> &'static Schema {
    let field = |number| FieldOptions {
        name: format!("f{number}"),
        is_required: number < required,
        range: None,
        least_deviation: 0.0,
    };
    let fields: Vec<_> = (0..required + optional).map(field).collect();
    let names = ["device_id".to_owned()];
    Schema::leak(&fields, [&names, &names, &names])
}

/// Returns the bytes of a device, of many that send the fields of these sets by turns. The first
/// value of a window takes the memory of all.
fn bytes_per_device(schema: &'static Schema, sets: &[u16]) -> f64 {
    bytes_with_limit(schema, sets, None)
}

/// Returns the same where devices have a limit, which every event has to keep to.
fn bytes_with_limit(schema: &'static Schema, sets: &[u16], limit: Option<Paces>) -> f64 {
    let settings = AnalyticsSettings {
        schema,
        window: WINDOW,
        threshold: 2.0,
        min_samples: 16,
        cooldown: 50,
        devices_max: DEVICES,
        device_ttl_ns: u64::MAX,
        device_limit: limit,
        judge_duplicates: false,
    };
    let ids = IdHasher::default();
    let analytics = Analytics::new(settings, 1, ids.clone());
    let (now, mut points) = (Now::default(), Vec::new());
    let allocated = measure(|| {
        for set in [sets, sets].concat() {
            let writer = analytics.writer(0, now, DEVICES);
            for device in 0..DEVICES {
                let id = format!("device-{device}");
                let event = Event {
                    device_id: Some(id.as_bytes()),
                    present: FieldSet::from_bits(set),
                    values: &[1.0; 16],
                    ..Event::default()
                };
                let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
                if let Some(gate) = analytics.gate(0, now) {
                    assert_eq!(gate.admit(&[arrived])[0], 0);
                }
                writer.apply(&[arrived], &mut points);
            }
        }
    });
    assert!(points.is_empty());
    assert_eq!(analytics.devices(), DEVICES);
    allocated.bytes_current as f64 / DEVICES as f64
}

/// Checks what a device takes of the limit: not more, and nearly all of it.
fn assert_takes(found: f64, limit: usize) {
    let limit = limit as f64;
    assert!(found <= limit && found > limit * 0.98, "{found} of {limit}");
}

#[test]
fn a_device_of_the_default_takes_what_it_took_with_two_fixed_fields() {
    let found = bytes_per_device(Schema::standard(), &[0b11]);
    // And sixteen more, by which it may move between the replicas of a fleet.
    assert_takes(found, 16 + 160 + WINDOW * 20);
    assert_takes(found, device_bytes(WINDOW, 2, 0));
}

#[test]
fn a_device_pays_for_the_optional_fields_that_it_has_sent_and_for_no_others() {
    let sixteen = schema(0, 16);
    let three = bytes_per_device(sixteen, &[0b1000_0000_0001_0001]);
    assert_takes(three, device_bytes(WINDOW, 0, 3));
    // However many there are to choose from.
    let of_three = bytes_per_device(schema(0, 3), &[0b111]);
    assert!((three - of_three).abs() < 1.0, "{three} of sixteen, {of_three} of three");
    // A field costs the same whether it comes with others or alone.
    let by_turns = bytes_per_device(sixteen, &[0b1, 0b10_0000, 0b100_0000]);
    assert!((three - by_turns).abs() < 1.0, "{three} together, {by_turns} by turns");
    assert_takes(bytes_per_device(schema(2, 14), &[0b111]), device_bytes(WINDOW, 2, 1));
    let none_sent = device_bytes(WINDOW, 8, 0) + OPTIONAL_START_BYTES;
    assert_takes(bytes_per_device(schema(8, 8), &[0xff]), none_sent);
}

#[test]
fn a_limit_takes_five_bytes_for_each_of_its_pairs_and_nothing_where_there_is_none() {
    let schema = Schema::standard();
    let without = bytes_per_device(schema, &[0b11]);
    for pairs in 1..=RATE_PAIRS_MAX {
        let paces = (1..=pairs as u32).map(|seconds| Pace::new(9, seconds)).collect();
        let more = bytes_with_limit(schema, &[0b11], Some(paces)) - without;
        // And the list of what was allocated.
        let least = (pairs * DUE_BYTES) as f64;
        assert!((least..least + 1.0).contains(&more), "{more} for {pairs}");
        assert!(more <= 20.5, "{more}");
    }
}
