//! Invariants of the decoder for any bytes: it agrees with its twin on `serde_json` in the items,
//! their numbers, the reasons of rejections and the depth of nesting. Nothing of one body is left
//! for the next.

use corepulse::metric::decode::LineMode;

use crate::by_schema::TWINS;
use crate::naive::{Twin, both};

/// Fails if anything above does not hold of these bytes. A first byte of 1 and more chooses another
/// schema, and is not part of the body; no other body begins with so low a byte.
pub fn check(input: &[u8]) {
    let of_schema = input.split_first().and_then(|(first, body)| {
        let twin = TWINS.get(usize::from(*first)).filter(|_| *first > 0)?;
        Some((twin, body))
    });
    let fixed = Twin::fixed();
    let (twin, body) = of_schema.unwrap_or((&fixed, input));
    let mut decoder = twin.decoder();
    for lines in [LineMode::Detect, LineMode::Always, LineMode::Detect] {
        let (found, expected) = both(twin, &mut decoder, body, lines);
        assert_eq!(found, expected, "{lines:?}");
    }
}
