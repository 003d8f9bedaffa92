//! The invariants of a whole connection, for all bytes.
//!
//! The first four bytes say in what pieces the others arrive, by turns.
//!
//! - At once, byte by byte and in any pieces it is the same requests and the same refusal.
//! - The requests are those that the grammar has in the stream, and end where it says.
//! - Each request alone is the same request, and without its last byte it is none.
//! - After a refusal, and after a request that is the last, nothing that follows changes anything.

use crate::grammar;
use crate::receive::{Seen, pieces, receive};

const BODY_BYTES_MAX: usize = 1024;

/// Longer streams come in larger pieces: heads are parsed afresh with each of them.
const SINGLE_BYTES_MAX: usize = 1024;

fn at_once(stream: &[u8]) -> Seen {
    receive([stream], BODY_BYTES_MAX)
}

/// Fails if anything above does not hold of these bytes.
pub fn check(data: &[u8]) {
    if let Some((sizes, stream)) = data.split_first_chunk::<4>() {
        check_stream(stream, sizes.map(|size| 1 + usize::from(size)));
    }
}

/// The same for a stream and the sizes of its pieces.
pub fn check_stream(stream: &[u8], sizes: [usize; 4]) {
    let seen = at_once(stream);
    let unit = 1 + stream.len() / SINGLE_BYTES_MAX;
    for sizes in [vec![unit], sizes.map(|size| unit * size).to_vec()] {
        let split = receive(pieces(stream, &sizes), BODY_BYTES_MAX);
        assert_eq!(split, seen, "in pieces of {sizes:?}");
    }
    assert_eq!(seen.requests, grammar::requests(stream, BODY_BYTES_MAX));
    let mut start = 0;
    for request in &seen.requests {
        let alone = &stream[start..request.end];
        let mut expected = request.clone();
        expected.end -= start;
        let found = at_once(alone);
        assert_eq!((found.requests, found.refusal), (vec![expected], None), "alone");
        assert_eq!(at_once(&alone[..alone.len() - 1]), Seen::default(), "all but its last byte");
        start = request.end;
    }
    if seen.is_over() {
        let more = [stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(at_once(&more), seen, "nothing is parsed after the end");
    }
}
