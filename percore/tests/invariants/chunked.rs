//! The invariants of the decoder of chunked bodies, for all bytes.
//!
//! The first byte says in what pieces the others arrive.
//!
//! - A body is whole if and only if the grammar has one there, with the same data and end.
//! - At once, byte by byte and in any pieces it is the same body, or the same refusal.
//! - The data never grows past its limit, nor past what was received.

use percore::http::chunked::Chunked;
use percore::http::request_error::RequestError;

use crate::{grammar, receive};

const BODY_BYTES_MAX: usize = 1024;

/// The body and the bytes of its coding, or `None` while it is not whole.
type Decoded = Result<Option<(Vec<u8>, usize)>, RequestError>;

fn decoded(pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Chunked::default();
    let mut buffer = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let before = buffer.len();
        buffer.extend_from_slice(piece);
        let progress = decoder.decode(&mut buffer, before, BODY_BYTES_MAX)?;
        assert!(before <= progress.decoded && progress.decoded <= progress.consumed);
        assert!(progress.consumed <= buffer.len() && progress.decoded <= BODY_BYTES_MAX);
        taken += progress.consumed - before;
        buffer.truncate(progress.decoded);
        if progress.done {
            return Ok(Some((buffer, taken)));
        }
        assert_eq!(progress.consumed, before + piece.len(), "all is looked at until the end");
    }
    Ok(None)
}

/// Fails if anything above does not hold of these bytes.
pub fn check(data: &[u8]) {
    let Some((&size, input)) = data.split_first() else {
        return;
    };
    let at_once = decoded(&[input]);
    assert_eq!(at_once.clone().ok().flatten(), grammar::chunked(input, BODY_BYTES_MAX));
    for size in [1, usize::from(size) + 1] {
        assert_eq!(decoded(&receive::pieces(input, &[size])), at_once, "in pieces of {size}");
    }
    if let Ok(Some((_, end))) = at_once {
        assert_eq!(decoded(&[&input[..end]]), at_once, "without what follows");
        assert_eq!(decoded(&[&input[..end - 1]]), Ok(None), "without its last byte");
    }
}
