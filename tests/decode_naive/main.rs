//! Fast equals naive: the decoder against one that is slow, obvious, and built on `serde_json`.
//!
//! Invariant: for any bytes, both take or refuse the same body, see the same items in the same
//! order, reject them for the same reason, and give the same events.

#![expect(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that panics has failed, which is all that it can do"
)]

mod bodies;
mod by_schema;
mod invariants;
mod literals;
mod naive;
mod schemas;

use corepulse::limits::NUMBER_BYTES_MAX;
use corepulse::metric::decode::LineMode;
use corepulse::metric::rejection::Reason;
use proptest::prelude::*;

use bodies::body;
use literals::{beside_a_middle, long_or_extreme};
use naive::{NOW, Twin, both, fast};

const MISPRINTS: &[u8] = b" \n\r,:\"{}.-+eE0179aZT\\\xc3";

/// Lines as most devices send them, with their members in any order.
fn common_line() -> impl Strategy<Value = String> {
    let number = || "(0|[1-9][0-9]{0,3})(\\.[0-9]{1,9})?";
    let members = (
        "\"timestamp\": ?17954209[0-9]{2}([0-9]{3}){0,3}(\\.[0-9]{1,10})?",
        number().prop_map(|cpu| format!("\"cpu\":{cpu}")),
        number().prop_map(|rps| format!("\"rps\": {rps}")),
        "\"device_id\":\"[a-z0-9._:-]{1,30}\"",
    );
    let members = members.prop_map(|(timestamp, cpu, rps, id)| vec![timestamp, cpu, rps, id]);
    (members.prop_shuffle(), 2..=4_usize, prop_oneof![Just(","), Just(", ")])
        .prop_map(|(members, count, comma)| format!("{{{}}}", members[..count].join(comma)))
}

/// A byte that is replaced, inserted or removed somewhere.
type Misprint = (prop::sample::Index, u8, u8);

fn misprints() -> impl Strategy<Value = Vec<Misprint>> {
    let byte = prop::sample::select(MISPRINTS);
    prop::collection::vec((any::<prop::sample::Index>(), byte, 0..3_u8), 0..4)
}

/// Lines as one body, with misprints in it.
fn misprinted(lines: &[String], misprints: Vec<Misprint>) -> Vec<u8> {
    let mut body = lines.join("\n").into_bytes();
    for (at, byte, how) in misprints {
        let at = at.index(body.len());
        match how {
            0 => body[at] = byte,
            1 => body.insert(at, byte),
            _ if body.len() > 1 => drop(body.remove(at)),
            _ => {}
        }
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn fast_is_naive(bodies in prop::collection::vec(body(), 1..4)) {
        // One decoder for all: nothing of a body may be left for the next.
        let twin = Twin::fixed();
        let mut decoder = twin.decoder();
        for body in bodies {
            for lines in [LineMode::Detect, LineMode::Always] {
                let shown = String::from_utf8_lossy(&body);
                let (found, expected) = both(&twin, &mut decoder, &body, lines);
                prop_assert_eq!(found, expected, "{:?}: {}", lines, shown);
            }
        }
    }

    #[test]
    fn fast_is_naive_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let twin = Twin::fixed();
        let mut decoder = twin.decoder();
        for lines in [LineMode::Detect, LineMode::Always] {
            let (found, expected) = both(&twin, &mut decoder, &body, lines);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn fast_is_naive_on_scraps_of_json(
        body in "([{}\\[\\]\",:\\\\\n 0-9.eE+-]|null|true|false|\"cpu\":|\"rps\":|\\\\u00){0,24}",
    ) {
        let twin = Twin::fixed();
        let mut decoder = twin.decoder();
        let ignored = format!("{{\"x\":{body},\"cpu\":1,\"rps\":2}}");
        let nested = format!("[{{\"cpu\":1,\"x\":[{body}],\"rps\":2}}]");
        for body in [body, ignored, nested] {
            for lines in [LineMode::Detect, LineMode::Always] {
                let (found, expected) = both(&twin, &mut decoder, body.as_bytes(), lines);
                prop_assert_eq!(found, expected, "{:?}: {}", lines, body);
            }
        }
    }

    /// Almost the common shape: that is where two decoders would differ.
    #[test]
    fn fast_is_naive_on_misprints(
        lines in prop::collection::vec(common_line(), 1..4),
        misprints in misprints(),
    ) {
        let body = misprinted(&lines, misprints);
        let twin = Twin::fixed();
        let mut decoder = twin.decoder();
        for lines in [LineMode::Detect, LineMode::Always] {
            let (found, expected) = both(&twin, &mut decoder, &body, lines);
            let shown = String::from_utf8_lossy(&body);
            prop_assert_eq!(found, expected, "{:?}: {}", lines, shown);
        }
    }

    #[test]
    fn every_prefix_is_naive_too(body in body()) {
        let twin = Twin::fixed();
        let mut decoder = twin.decoder();
        for end in 0..body.len() {
            let prefix = &body[..end];
            let (found, expected) = both(&twin, &mut decoder, prefix, LineMode::Detect);
            prop_assert_eq!(found, expected, "at byte {}", end);
        }
    }

    /// The digits of a measured value are rounded as the standard library rounds them, however
    /// hard that is: in the common shape and in any other.
    #[test]
    fn literals_keep_their_value(
        literal in prop_oneof![
            "(0|[1-9][0-9]{0,20})(\\.[0-9]{1,26})?([eE]-?[0-9]{1,3})?",
            // Digits that are read eight at once, and just too many for that.
            "(0|[1-9][0-9]{0,8})(\\.[0-9]{1,8})?",
            beside_a_middle(0.0..1e12),
            long_or_extreme(),
        ],
    ) {
        let value: f64 = literal.parse().expect("a float");
        let twin = Twin::fixed();
        let mut decoder = twin.decoder();
        for space in ["", " "] {
            let body = format!("{{{space}\"cpu\":0,\"rps\":{literal}}}");
            let items = fast(&mut decoder, twin.schema, body.as_bytes(), LineMode::Detect);
            match &items.expect("one object")[0] {
                Ok(event) => {
                    let (found, text) = event.fields[1].as_ref().expect("a value");
                    prop_assert_eq!(found.to_bits(), value.to_bits());
                    prop_assert_eq!(text, &literal);
                }
                Err(rejected) => {
                    prop_assert_eq!(rejected.reason, Reason::Range);
                    prop_assert!(value > 1e12 || literal.len() > NUMBER_BYTES_MAX);
                }
            }
        }
    }
}

/// Replays what the fuzz target `metric` starts from, and what it has found.
#[test]
fn the_invariants_hold_of_every_seed() {
    testkit::fuzz_inputs::replay("metric", invariants::check);
}
