//! Values: those of our own events are known again, others are not.

use super::*;
use crate::metric::event::Literals;
use crate::schema::{FieldOptions, samples};
use crate::store::encoding::Encoding;

const DEVICES: [Option<&str>; 3] = [None, Some("d1"), Some("a:b:7")];

/// Returns the key without its prefix, and the value, of an event with these fields.
fn stored(
    schema: &'static Schema,
    id: Option<&str>,
    present: FieldSet,
    literals: &[&[u8]],
) -> (Vec<u8>, Vec<u8>) {
    let event = Event {
        device_id: id.map(str::as_bytes),
        timestamp: 1_700_000_000,
        present,
        literals: Literals::Given(literals),
        ..Event::default()
    };
    let encoding = Encoding::redis_set(schema, 300, "");
    let mut data = vec![0; encoding.record_bytes_max()];
    let layout = encoding.encode(&event, &mut data).unwrap();
    let part = |at: u16, len: u16| data[usize::from(at)..][..usize::from(len)].to_vec();
    (part(layout.key_at, layout.key_len), part(layout.value_at, layout.value_len))
}

#[test]
fn a_value_is_known_by_its_key() {
    for schema in samples::all() {
        let all = samples::all_fields(schema);
        for literal in [b"1".as_slice(), b"0.5e-7", b"1E+5", &[b'1'; 5]] {
            for present in [all, schema.required_set(), FieldSet::from_bits(all.bits() & !2)] {
                let is_event = present.is_event(schema.required_set());
                for id in DEVICES {
                    let (key, value) = stored(schema, id, present, &[literal; 16]);
                    assert_eq!(is_value_of(schema, &key, &value), is_event, "{key:?}");
                    for end in 0..value.len() {
                        assert!(!is_value_of(schema, &key, &value[..end]), "{key:?} {end}");
                    }
                    assert!(!is_value_of(schema, b"d2:1700000000", &value));
                    assert!(!is_value_of(schema, b"1", &value));
                }
            }
        }
    }
}

#[test]
fn values_of_others_are_not_ours() {
    let around = |fields: &str| format!(r#"{{"timestamp":7{fields},"device_id":"d1"}}"#);
    let standard = Schema::standard();
    let is_ours =
        |schema: &'static Schema, value: &str| is_value_of(schema, b"d1:7", value.as_bytes());
    assert!(is_ours(standard, &around(r#","cpu":1,"rps":2"#)));
    for fields in [
        "",
        r#","cpu":1"#,
        r#","cpu":"1","rps":2"#,
        r#","cpu":,"rps":2"#,
        r#","cpu":1-,"rps":2"#,
        r#","cpu":01,"rps":2"#,
        r#","cpu":+1,"rps":2"#,
        r#","cpu":-1,"rps":2"#,
        r#","cpu":1,"rps":1e13"#,
        r#","cpu":1,"rps":2,"rps":2"#,
        r#","cpu":1,"rps":2,"memory":3"#,
        r#","CPU":1,"rps":2"#,
        r#","cpu":1 ,"rps":2"#,
    ] {
        assert!(!is_ours(standard, &around(fields)), "{fields}");
    }
    let long = format!(r#","cpu":{},"rps":2"#, "0".repeat(NUMBER_BYTES_MAX + 1));
    for value in ["", "secret", "{}", &around(r#","cpu":1,"rps":2"#).replace('d', "D")] {
        assert!(!is_ours(standard, value), "{value}");
    }
    assert!(!is_ours(standard, &around(&long)));
    assert!(!is_ours(standard, &(around(r#","cpu":1,"rps":2"#) + " ")));
    assert!(!is_ours(standard, r#"{"timestamp":7,"cpu":1,"rps":2}"#));
}

/// After a change of `--fields` a look-up still finds what was stored before, unless it could not
/// be sent any more.
#[test]
fn values_of_another_configuration_are_ours_if_they_could_be_sent_now() {
    let field = |name: &str, is_required, max| FieldOptions {
        name: name.to_owned(),
        is_required,
        range: Some(0.0..=max),
        least_deviation: 0.0,
    };
    let before = samples::schema_of(&[field("cpu", true, 1e6), field("rps", true, 1e12)]);
    let (key, value) = stored(before, Some("d1"), before.required_set(), &[b"41.5", b"1200"]);
    let is_ours = |fields: &[FieldOptions]| is_value_of(samples::schema_of(fields), &key, &value);
    let (cpu, rps) = (field("cpu", true, 1e6), field("rps", true, 1e12));
    // One more optional field; one that became optional, and is therefore later; another order.
    assert!(is_ours(&[cpu.clone(), rps.clone(), field("memory", false, 1.0)]));
    assert!(is_ours(&[field("cpu", false, 1e6), rps.clone()]));
    assert!(is_ours(&[rps.clone(), cpu.clone()]));
    // One more required field, one less, another name, and a range that excludes the value.
    assert!(!is_ours(&[cpu.clone(), rps.clone(), field("memory", true, 1.0)]));
    assert!(!is_ours(std::slice::from_ref(&cpu)));
    assert!(!is_ours(&[cpu.clone(), field("Rps", true, 1e12)]));
    assert!(!is_ours(&[field("cpu", true, 40.0), rps]));
}
