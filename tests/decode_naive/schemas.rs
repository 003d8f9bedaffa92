//! Fast equals naive for other schemas than the usual one.

use std::ops::RangeInclusive;

use corepulse::limits::NUMBER_BYTES_MAX;
use corepulse::metric::decode::LineMode;
use corepulse::metric::rejection::Reason;
use corepulse::schema::FieldOptions;
use proptest::prelude::*;

use crate::bodies::{any_value, body_of, device, one_of, perhaps_quoted, plain_value, timestamp};
use crate::by_schema::{Configured, SCHEMAS, TWINS};
use crate::literals::{beside_a_middle, long_or_extreme};
use crate::naive::{both, fast};
use crate::{misprinted, misprints};

/// The place of a schema whose only field that is sent takes any number.
const ANY_NUMBER: usize = 5;

fn range_of(field: &FieldOptions) -> RangeInclusive<f64> {
    field.range.clone().unwrap_or(-1e9..=1e9)
}

/// A number that the field takes, in the form in which most libraries write it.
fn usual_value(field: &FieldOptions) -> BoxedStrategy<String> {
    prop_oneof![
        3 => range_of(field).prop_map(|value| format!("{value:.2}")),
        1 => range_of(field).prop_map(|value| format!("{value:e}")),
        1 => range_of(field).prop_map(|value| format!("{value:.0}")),
    ]
    .boxed()
}

/// Mostly a number that the field takes, or just does not.
fn value_of(field: &FieldOptions) -> BoxedStrategy<String> {
    let (min, max) = range_of(field).into_inner();
    let ends = vec![min, max, min.next_down(), max.next_up()];
    let number = prop_oneof![
        8 => usual_value(field),
        1 => prop::sample::select(ends.clone()).prop_map(|value| format!("{value:e}")),
        1 => prop::sample::select(ends).prop_map(|value| value.to_string()),
        1 => any::<f64>().prop_map(|value| format!("{value:e}")),
        1 => one_of(&["-0", "-0.0e3", "0", "-5e-324", "1.8e308", "-1.7976931348623157e308"]),
        1 => plain_value(),
    ];
    prop_oneof![8 => perhaps_quoted(number), 1 => Just("null".to_owned())].boxed()
}

/// A name as it is, in another spelling, or one that is not quite it.
fn spelling(name: &str) -> impl Strategy<Value = String> + use<> {
    let escaped = |at: usize| {
        let byte = name.as_bytes()[at];
        format!("{}\\u{byte:04x}{}", &name[..at], &name[at + 1..])
    };
    let last = name.len() - 1;
    let spellings = [name.to_uppercase(), name.to_lowercase(), escaped(0), escaped(last)];
    let others = [format!("{name}_"), name[..last].to_owned(), format!("{name} ")];
    prop_oneof![
        12 => Just(name.to_owned()),
        2 => prop::sample::select(spellings.to_vec()),
        1 => prop::sample::select(others.to_vec()),
    ]
}

/// A member of an object that has nearly all of them.
fn likely_member(
    name: &str,
    value: BoxedStrategy<String>,
    chance_max: u8,
) -> BoxedStrategy<Option<String>> {
    (spelling(name), value, 0..20_u8)
        .prop_map(move |(name, value, chance)| {
            (chance < chance_max).then(|| format!("\"{name}\":{value}"))
        })
        .boxed()
}

/// Nearly all members, mostly in their order, and device and time mostly by one name.
fn whole_object(configured: &Configured) -> BoxedStrategy<String> {
    // So that not every event of many fields has a mistake.
    let usual = configured.fields.len() as u32;
    let value = |field| prop_oneof![usual => usual_value(field), 1 => value_of(field)].boxed();
    let chance_of = |at: usize| if at == 0 { 19 } else { 4 };
    let devices = configured.device_names.iter().enumerate();
    let devices = devices.map(|(at, name)| likely_member(name, device(), chance_of(at)));
    let times = configured.timestamp_names.iter().enumerate();
    let times = times.map(|(at, name)| likely_member(name, timestamp(), chance_of(at)));
    let fields = configured.fields.iter().map(|field| {
        let chance_max = if field.is_required { 20 } else { 14 };
        likely_member(&field.name, value(field), chance_max)
    });
    let members: Vec<_> = devices.chain(times).chain(fields).collect();
    (members, one_of(&[",", ", ", " ,\t"]), 0..4_u8)
        .prop_map(|(members, comma, order)| {
            let mut members: Vec<_> = members.into_iter().flatten().collect();
            match order {
                0 => members.reverse(),
                1 => members.sort(),
                _ => {}
            }
            format!("{{{}}}", members.join(&comma))
        })
        .boxed()
}

/// A few members, perhaps one twice.
fn some_members(configured: &Configured) -> BoxedStrategy<String> {
    let devices = configured.device_names.iter().map(|name| (name, device()));
    let times = configured.timestamp_names.iter().map(|name| (name, timestamp()));
    let fields = configured.fields.iter().map(|field| (&field.name, value_of(field)));
    let members = devices.chain(times).chain(fields).map(|(name, value)| {
        (spelling(name), value).prop_map(|(name, value)| format!("\"{name}\": {value}")).boxed()
    });
    let other = any_value().prop_map(|value| format!("\"host\":{value}")).boxed();
    let member = proptest::strategy::Union::new(members.chain([other]));
    prop::collection::vec(member, 0..6)
        .prop_map(|members| format!("{{ {} }}", members.join(" , ")))
        .boxed()
}

/// An event as most devices send it, with its members in any order, and without some optional ones.
fn common_line(configured: &Configured) -> impl Strategy<Value = String> + use<> {
    let device = (configured.device_names[0].clone(), "\"[a-z0-9._:-]{1,30}\"".boxed(), false);
    let time =
        (configured.timestamp_names[0].clone(), "17954209[0-9]{2}([0-9]{3}){0,3}".boxed(), false);
    let fields = configured
        .fields
        .iter()
        .map(|field| (field.name.clone(), usual_value(field), field.is_required));
    let members = [device, time].into_iter().chain(fields).map(|(name, value, is_required)| {
        (value, 0..8_u8).prop_map(move |(value, chance)| {
            (is_required || chance > 1).then(|| format!("\"{name}\":{value}"))
        })
    });
    let members = members
        .collect::<Vec<_>>()
        .prop_map(|members| members.into_iter().flatten().collect::<Vec<_>>());
    let members = prop_oneof![2 => members.clone(), 1 => members.prop_shuffle()];
    let comma = one_of(&[",", ", "]);
    (members, comma).prop_map(|(members, comma)| format!("{{{}}}", members.join(&comma)))
}

fn common_lines() -> impl Strategy<Value = (usize, Vec<String>)> {
    (0..SCHEMAS.len())
        .prop_flat_map(|at| (Just(at), prop::collection::vec(common_line(&SCHEMAS[at]), 1..4)))
}

/// The place of a schema, and bodies for it.
fn bodies() -> impl Strategy<Value = (usize, Vec<Vec<u8>>)> {
    (0..SCHEMAS.len()).prop_flat_map(|at| {
        let configured = &SCHEMAS[at];
        let object = prop_oneof![
            2 => whole_object(configured),
            2 => common_line(configured),
            1 => some_members(configured),
        ];
        (Just(at), prop::collection::vec(body_of(object.boxed()), 1..4))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn fast_is_naive_for_any_schema((at, bodies) in bodies()) {
        // One decoder for all: no value of an earlier event may show in a later one.
        let twin = &TWINS[at];
        let mut decoder = twin.decoder();
        for body in bodies {
            for lines in [LineMode::Detect, LineMode::Always] {
                let (found, expected) = both(twin, &mut decoder, &body, lines);
                let shown = String::from_utf8_lossy(&body);
                prop_assert_eq!(found, expected, "{}: {:?}: {}", at, lines, shown);
            }
        }
    }

    #[test]
    fn fast_is_naive_on_misprints_for_any_schema(
        (at, lines) in common_lines(),
        misprints in misprints(),
    ) {
        let body = misprinted(&lines, misprints);
        let twin = &TWINS[at];
        let mut decoder = twin.decoder();
        for lines in [LineMode::Detect, LineMode::Always] {
            let (found, expected) = both(twin, &mut decoder, &body, lines);
            let shown = String::from_utf8_lossy(&body);
            prop_assert_eq!(found, expected, "{}: {:?}: {}", at, lines, shown);
        }
    }

    #[test]
    fn literals_of_any_size_keep_their_value(
        sign in one_of(&["", "-"]),
        literal in prop_oneof![
            "(0|[1-9][0-9]{0,20})(\\.[0-9]{1,26})?([eE]-?[0-9]{1,3})?",
            "(0|[1-9][0-9]{0,8})(\\.[0-9]{1,8})?",
            beside_a_middle(0.0..f64::MAX),
            beside_a_middle(0.0..1e-300),
            long_or_extreme(),
        ],
    ) {
        let literal = sign + &literal;
        // A zero has no sign here.
        let value: f64 = literal.parse::<f64>().expect("a float") + 0.0;
        let twin = &TWINS[ANY_NUMBER];
        let mut decoder = twin.decoder();
        for space in ["", " "] {
            let body = format!("{{{space}\"any\":{literal}}}");
            let items = fast(&mut decoder, twin.schema, body.as_bytes(), LineMode::Detect);
            match &items.expect("one object")[0] {
                Ok(event) => {
                    let (found, text) = event.fields[0].as_ref().expect("a value");
                    prop_assert_eq!(found.to_bits(), value.to_bits());
                    prop_assert_eq!(text, &literal);
                }
                Err(rejected) => {
                    prop_assert_eq!(rejected.reason, Reason::Range);
                    prop_assert!(value.is_infinite() || literal.len() > NUMBER_BYTES_MAX);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_prefix_is_naive_for_any_schema((at, bodies) in bodies()) {
        let twin = &TWINS[at];
        let mut decoder = twin.decoder();
        let body = &bodies[0];
        for end in 0..body.len() {
            let prefix = &body[..end];
            let (found, expected) = both(twin, &mut decoder, prefix, LineMode::Detect);
            prop_assert_eq!(found, expected, "{} at byte {}", at, end);
        }
    }
}
