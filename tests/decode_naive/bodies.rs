//! Bodies that are mostly right: every rule of the API is kept or broken somewhere in them.

use corepulse::metric::timestamp::Rfc3339;
use proptest::prelude::*;

use crate::NOW;

/// Text that stands for a value somewhere: mostly right, sometimes not.
pub(crate) fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

pub(crate) fn any_value() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        one_of(&["null", "true", "false", "0", "-1", "1e400", "\"\"", "\"[{\"", "[]", "{}", "[ ]"]),
        one_of(&[
            "\"\\u0041\\ud83d\\ude00\\n\"",
            "\"\\\"}\"",
            "\"é\"",
            "tru",
            "01",
            "1.",
            "\"\\x\""
        ]),
        one_of(&[
            "\"\\ud800\"",
            "\"\\u12\"",
            "\"\\uzzzz\"",
            "\"\\u\"",
            "\"\u{1}\"",
            "NaN",
            "+1",
            ""
        ]),
        any::<f64>().prop_map(|number| format!("{number:e}")),
    ];
    leaf.prop_recursive(20, 40, 3, |inner| {
        let items = prop::collection::vec(inner, 0..3);
        (items, any::<bool>()).prop_map(|(items, object)| {
            if object {
                let members: Vec<_> = items.iter().map(|item| format!("\"cpu\": {item}")).collect();
                format!("{{{}}}", members.join(","))
            } else {
                format!("[{}]", items.join(" ,"))
            }
        })
    })
    .boxed()
}

/// A number, sometimes in quotes, as a template engine writes it.
pub(crate) fn perhaps_quoted(
    number: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    (number, 0..4_u8).prop_map(|(number, form)| match form {
        0 if !number.contains('"') => format!("\"{number}\""),
        1 => match number.strip_prefix('1').filter(|rest| !rest.contains('"')) {
            Some(rest) => format!("\"\\u0031{rest}\""),
            None => number,
        },
        _ => number,
    })
}

fn value() -> BoxedStrategy<String> {
    perhaps_quoted(plain_value()).boxed()
}

pub(crate) fn plain_value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0.0..100.0_f64).prop_map(|value| format!("{value:.2}")),
        2 => (0_u64..1_000_000).prop_map(|value| value.to_string()),
        2 => any::<f64>().prop_map(|value| value.abs().to_string()),
        1 => "[0-9]{1,25}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        1 => (120_usize..134).prop_map(|digits| format!("0.{}", "3".repeat(digits))),
        1 => one_of(&["-0", "-0.0", "1000000", "1000000.0000000001", "1e6", "1e12", "1e400", "-1"]),
        1 => any_value(),
    ]
}

pub(crate) fn timestamp() -> BoxedStrategy<String> {
    prop_oneof![2 => perhaps_quoted(number_of_time()), 1 => date_and_time()].boxed()
}

/// A date and a time as some library might write it, mostly.
fn date_and_time() -> impl Strategy<Value = String> {
    let date = prop_oneof![8 => "20[012][0-9]-[01][0-9]-[0-3][0-9]", 1 => "(19|99)[0-9]{2}-12-31"];
    let clock = prop_oneof![
        6 => "[012][0-9]:[0-5][0-9](:[0-5][0-9])?([.,][0-9]{1,12})?",
        1 => "23:59:60(\\.5)?",
    ];
    let offset = " ?([+-][012][0-9](:?[0-6][0-9])?|Z|z|UTC)?";
    (date, one_of(&["T", "t", " ", "_"]), clock, offset)
        .prop_map(|(date, between, clock, offset)| format!("\"{date}{between}{clock}{offset}\""))
}

fn number_of_time() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0_i64..2_000_000).prop_map(|ago| (NOW.wall_ms() / 1000 - ago).to_string()),
        2 => (0_i64..2_000_000).prop_map(|ago| (NOW.wall_ms() + 600_000 - ago).to_string()),
        1 => any::<u64>().prop_map(|integer| integer.to_string()),
        1 => (0..NOW.wall_ms() + 900_000).prop_map(|ms| format!("\"{}\"", Rfc3339(ms))),
        1 => one_of(&["\"2026-11-23T08\\u003a02:37Z\"", "\"now\"", "null", "0"]),
        1 => one_of(&["1.5", "1e9", "-5", "4999999999999999999", "5000000000000000000"]),
        2 => "1[67][0-9]{8}([0-9]{3}){0,3}\\.[0-9]{1,12}",
        1 => "[0-9]{1,3}(\\.[0-9]{1,25})?[eE][+-]?[0-9]{1,2}",
        1 => "(4|5)0{9,18}(\\.0)?",
        1 => any_value(),
    ]
}

pub(crate) fn device() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "\"[A-Za-z0-9._:-]{1,12}\"",
        1 => "\"[a-z]{125,130}\"",
        1 => one_of(&["\"d\\u0031\"", "\"a b\"", "\"\"", "\"a\\/b\"", "\"\\u00e9\"", "null", "7"]),
        1 => one_of(&["17", "00", "-1", "1.0", "1e3"]),
        1 => "[1-9][0-9]{125,129}",
        1 => any_value(),
    ]
    .boxed()
}

fn member() -> BoxedStrategy<String> {
    prop_oneof![
        8 => (one_of(&["cpu", "CPU", "Cpu", "\\u0063pu", "c\\u0050U"]), value()),
        8 => (one_of(&["rps", "RPS", "r\\u0070s"]), value()),
        5 => (one_of(&["timestamp", "Timestamp", "\\u0074imestamp"]), timestamp()),
        5 => (one_of(&["device_id", "DEVICE_ID", "device\\u005fid"]), device()),
        3 => (one_of(&["host", "", "cpu ", "cpus", "r\\nps", "ｃpu", "device-id"]), any_value()),
    ]
    .prop_map(|(name, value)| format!("\"{name}\":{value}"))
    .boxed()
}

fn object() -> BoxedStrategy<String> {
    let common = (device(), timestamp(), value(), value()).prop_map(|(id, time, cpu, rps)| {
        format!("{{\"device_id\":{id},\"timestamp\":{time},\"cpu\":{cpu},\"rps\":{rps}}}")
    });
    let some = prop::collection::vec(member(), 0..6);
    let separator = one_of(&[",", ", ", " , ", ",\r", ",\t"]);
    prop_oneof![
        common,
        (some, separator).prop_map(|(members, comma)| format!("{{ {} }}", members.join(&comma)))
    ]
    .boxed()
}

/// The same over many lines.
fn spread(object: &str) -> String {
    object.replace(',', ",\n  ").replace('{', "{\n")
}

pub(crate) fn body() -> impl Strategy<Value = Vec<u8>> {
    body_of(object())
}

/// A body of such objects.
pub(crate) fn body_of(object: BoxedStrategy<String>) -> impl Strategy<Value = Vec<u8>> {
    let item = prop_oneof![12 => object.clone(), 1 => any_value()];
    let items = prop::collection::vec(item, 0..5);
    let form = prop_oneof![
        (items.clone(), one_of(&[",", " ,\n"]))
            .prop_map(|(items, comma)| format!("[{}]", items.join(&comma))),
        (items.clone(), one_of(&["\n", "\r\n", "\n\n", " \n\t"]))
            .prop_map(|(items, end)| items.join(&end)),
        // As `curl -d @file` sends NDJSON, and objects that span lines.
        (items.clone(), one_of(&["", " ", "\n", "\t\r"])).prop_map(|(items, end)| items.join(&end)),
        (items, one_of(&["", "\n"])).prop_map(|(items, end)| spread(&items.join(&end))),
        object.clone().prop_map(|object| spread(&object)),
        object,
    ];
    let form = (one_of(&["", "", "", "", "\u{feff}", " \u{feff}"]), form)
        .prop_map(|(mark, form)| mark + &form);
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    (form, prop::collection::vec(edit, 0..2), any::<bool>()).prop_map(|(form, edits, clean)| {
        let mut body = form.into_bytes();
        for (place, byte, how) in edits {
            if clean || body.is_empty() {
                break;
            }
            let at = place.index(body.len());
            let plain = b"{}[]\",:\\\n 0.eE-u\xff\0"[usize::from(byte) % 18];
            match how {
                0 => body[at] = plain,
                1 => body.insert(at, plain),
                _ => drop(body.remove(at)),
            }
        }
        body
    })
}
