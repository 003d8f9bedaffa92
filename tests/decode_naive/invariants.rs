//! Invariants of the decoder for any bytes: it agrees with its twin on `serde_json` in the items,
//! their numbers, the reasons of rejections and the depth of nesting. Nothing of one body is left
//! for the next.

use corepulse::metric::decode::{Decoder, LineMode};
use corepulse::schema::Schema;

use crate::naive::both;

/// Fails if anything above does not hold of these bytes.
pub fn check(body: &[u8]) {
    let mut decoder = Decoder::new(Schema::standard());
    for lines in [LineMode::Detect, LineMode::Always, LineMode::Detect] {
        let (found, expected) = both(&mut decoder, body, lines);
        assert_eq!(found, expected, "{lines:?}");
    }
}
