//! Streams of requests that are mostly right: every rule of RFC 9112 is kept or broken somewhere.
//!
//! Each part of a request is usually as it should be and now and then an odd spelling of itself;
//! then some bytes of the stream are changed. A server's faults are where it takes what is odd.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::heads::{line_end, usually};
use crate::{bodies, heads};

fn request() -> impl Strategy<Value = String> {
    let no_body = || Just((String::new(), String::new()));
    let parts = prop_oneof![
        8 => (heads::head(false), no_body()),
        12 => (heads::head(true), bodies::body()),
        1 => (heads::head(true), no_body()),
    ];
    // Where a framing field stands among the others must not matter.
    (parts, any::<bool>(), line_end()).prop_map(
        |(((line, fields), (framing, body)), framing_first, end)| {
            let (one, two) = if framing_first { (framing, fields) } else { (fields, framing) };
            line + &one + &two + &end + &body
        },
    )
}

/// The pieces that are inserted into a stream at random places.
const SCRAPS: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "0",
    "1",
    "a",
    "/",
    "?",
    "#",
    "\"",
    "\u{7f}",
    "\u{b}",
    "\u{e9}",
    "Content-Length: 1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "HTTP/1.1",
    "Host: a\r\n",
    "0\r\n\r\n",
    "GET / HTTP/1.1\r\n",
];

#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Edit {
    fn apply(&self, stream: &mut Vec<u8>) {
        let at = |index: &Index, stream: &[u8]| index.index(stream.len());
        match self {
            _ if stream.is_empty() => {}
            Self::Flip(index, mask) => {
                let at = at(index, stream);
                stream[at] ^= mask;
            }
            Self::Insert(index, scrap) => {
                let at = at(index, stream);
                stream.splice(at..at, scrap.bytes());
            }
            Self::Remove(index, bytes) => {
                let at = at(index, stream);
                stream.drain(at..(at + bytes).min(stream.len()));
            }
            Self::Repeat(index, bytes) => {
                let at = at(index, stream);
                let again = stream[at..(at + bytes).min(stream.len())].to_vec();
                stream.splice(at..at, again);
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 0..8_u32).prop_map(|(index, bit)| Edit::Flip(index, 1 << bit)),
        (index(), prop::sample::select(SCRAPS))
            .prop_map(|(index, scrap)| Edit::Insert(index, scrap)),
        (index(), 1..4_usize).prop_map(|(index, bytes)| Edit::Remove(index, bytes)),
        (index(), 1..40_usize).prop_map(|(index, bytes)| Edit::Repeat(index, bytes)),
    ]
}

/// Some requests one after the other, a third of them with some bytes changed.
pub fn stream() -> impl Strategy<Value = Vec<u8>> {
    let requests = prop::collection::vec(request(), 1..4);
    let edits = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(edit(), 1..3),
    ];
    // A request that everybody takes, so that it is seen where the one before it ended.
    let after = usually(3, &["GET /after HTTP/1.1\r\nHost: a\r\n\r\n"], &["", "GET"]);
    (requests, edits, after).prop_map(|(requests, edits, after)| {
        let mut stream = requests.concat().into_bytes();
        for edit in edits {
            edit.apply(&mut stream);
        }
        stream.extend(after.bytes());
        stream
    })
}
