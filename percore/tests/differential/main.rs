//! Our request reader beside that of `hyper`, on streams of requests that are mostly right.
//!
//! - Ours takes no request that hyper refuses.
//! - A request that both take they frame alike: method, target, body, the start of the next
//!   request, and the persistence of the connection.
//!
//! `exceptions` lists the intended differences, with reasons. And on the same streams, ours sees
//! the same requests in any pieces, and those that the grammar finds there (`tests/invariants`).
//!
//! `PROPTEST_CASES=1000000 cargo test -p percore --test differential` looks longer.

#![expect(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, and not every part of the invariants is used"
)]

mod bodies;
#[path = "../invariants/connection.rs"]
mod connection;
mod exceptions;
#[path = "../invariants/grammar.rs"]
mod grammar;
mod heads;
#[path = "../invariants/receive.rs"]
mod receive;
mod streams;
mod theirs;

use std::env;

use exceptions::{Difference, EXCEPTIONS};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use receive::{Seen, Taken, receive};
use theirs::Framed;

const BODY_BYTES_MAX: usize = 1024;

/// Streams of one property, unless `PROPTEST_CASES` asks for others.
const STREAMS: u32 = 100_000;

/// As many cases as usual, or as the environment asks for.
fn cases(usual: u32) -> ProptestConfig {
    let asked = env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

fn ours(stream: &[u8]) -> Seen {
    receive([stream], BODY_BYTES_MAX)
}

/// Returns the parts of a request that are compared.
fn framed(taken: &Taken) -> Framed {
    Framed {
        method: format!("{:?}", taken.method).to_ascii_uppercase(),
        path: taken.path.clone(),
        query: taken.query.clone(),
        body: taken.body.clone(),
        keep_alive: taken.keep_alive,
        end: taken.end,
    }
}

/// The first request of ours that hyper refuses or frames otherwise.
fn difference(stream: &[u8]) -> Option<Difference> {
    let theirs = theirs::requests(stream, 1);
    let mut start = 0;
    for (at, ours) in ours(stream).requests.into_iter().enumerate() {
        let theirs = theirs.get(at).cloned();
        let end = ours.end;
        if Some(framed(&ours)) != theirs {
            return Some(Difference { ours, theirs, bytes: stream[start..end].to_vec() });
        }
        start = end;
    }
    None
}

proptest! {
    #![proptest_config(cases(STREAMS))]

    #[test]
    fn what_we_take_hyper_takes_alike(stream in streams::stream()) {
        if let Some(difference) = difference(&stream) {
            let is_excused = EXCEPTIONS.iter().any(|known| (known.excuses)(&difference));
            prop_assert!(is_excused, "{}: {difference:?}", String::from_utf8_lossy(&stream));
        }
    }

    #[test]
    fn any_pieces_are_received_alike(
        stream in streams::stream(),
        sizes in prop::array::uniform4(1..80_usize),
    ) {
        connection::check_stream(&stream, sizes);
    }
}

#[test]
fn every_exception_is_still_one() {
    for known in EXCEPTIONS {
        let found = difference(&(known.sample)()).expect(known.name);
        let excuses: Vec<_> =
            EXCEPTIONS.iter().filter(|other| (other.excuses)(&found)).map(|o| o.name).collect();
        assert_eq!(excuses, [known.name], "{}", known.reason);
    }
}

/// That hyper is read to byte by byte is fair only if it sees the same in one piece.
#[test]
fn hyper_sees_the_same_in_one_piece() {
    let contents = |stream: &[u8], step| -> Vec<_> {
        let requests = theirs::requests(stream, step).into_iter();
        requests.map(|framed| (framed.method, framed.path, framed.query, framed.body)).collect()
    };
    let mut runner = TestRunner::new(cases(STREAMS / 10));
    let same = runner.run(&streams::stream(), |stream| {
        prop_assert_eq!(contents(&stream, 1), contents(&stream, stream.len().max(1)));
        Ok(())
    });
    assert_eq!(same, Ok(()));
}

#[test]
fn where_hyper_ends_and_closes_is_seen() {
    let stream = [
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET /3 HTTP/1.0\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let end = |requests: usize| stream[..requests].concat().len();
    let seen = theirs::requests(stream.concat().as_bytes(), 1);
    let seen: Vec<_> = seen.iter().map(|framed| (framed.end, framed.keep_alive)).collect();
    assert_eq!(seen, [(end(1), true), (end(2), true), (end(3), false)]);
    assert_eq!(difference(stream.concat().as_bytes()), None);
}

/// The properties would hold as well if both sides refused every stream, or took every one.
#[test]
fn the_streams_reach_what_they_are_for() {
    const SEEN: u32 = 2_000;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(cases(SEEN), rng);
    let (mut taken, mut refused, mut by_us_alone, mut chunked, mut ended) = (0, 0, 0, 0, 0);
    for _ in 0..SEEN {
        let stream = streams::stream().new_tree(&mut runner).expect("a stream").current();
        let (ours, theirs) = (ours(&stream), theirs::requests(&stream, 1));
        taken += u32::from(ours.requests.len() > 1);
        refused += u32::from(ours.refusal.is_some());
        by_us_alone += u32::from(ours.requests.len() < theirs.len());
        let is_chunked = |taken: &Taken| {
            taken.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"))
        };
        chunked += u32::from(ours.requests.iter().any(is_chunked));
        ended += u32::from(ours.requests.last().is_some_and(|last| !last.keep_alive));
    }
    println!("{taken} {refused} {by_us_alone} {chunked} {ended}");
    for (count, what) in [
        (taken, "with two requests that we take"),
        (refused, "refused"),
        (by_us_alone, "refused by us alone"),
        (chunked, "with a chunked request that we take"),
        (ended, "with a last request"),
    ] {
        assert!(count >= SEEN / 20, "{count} of {SEEN} streams {what}");
    }
}
