//! What holds of the decoder of metrics, whatever the bytes: it does what its twin on `serde_json`
//! does, which means the same items with the same numbers, the same reasons, and no deeper nesting
//! than is allowed. Nothing of one body is left for the next.

use corepulse::metric::decode::{Decoder, LineMode};

use naive::both;

#[path = "../decode_naive/naive.rs"]
mod naive;

/// Fails if anything above does not hold of these bytes.
pub fn check(body: &[u8]) {
    let mut decoder = Decoder::new();
    for lines in [LineMode::Detect, LineMode::Always, LineMode::Detect] {
        let (found, expected) = both(&mut decoder, body, lines);
        assert_eq!(found, expected, "{lines:?}");
    }
}
