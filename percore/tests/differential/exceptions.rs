//! Intended differences from `hyper`, each with its reason and a stream that shows it.
//!
//! A request that we refuse and it takes needs no entry: strictness is the point. These are the
//! requests that both take and understand differently, and those that we take and it does not.

use crate::receive::Taken;
use crate::theirs::Framed;

/// A difference that is meant to be.
pub struct Exception {
    pub name: &'static str,
    pub reason: &'static str,
    /// A stream whose first request shows it.
    pub sample: fn() -> Vec<u8>,
    /// Returns true if this exception explains the difference.
    pub excuses: fn(&Difference) -> bool,
}

/// A request of ours that hyper refuses or frames otherwise.
#[derive(Debug, PartialEq)]
pub struct Difference {
    pub ours: Taken,
    /// Missing if hyper refused it.
    pub theirs: Option<Framed>,
    /// The request's bytes.
    pub bytes: Vec<u8>,
}

/// The limit of hyper on the chunk extensions of a body.
const EXTENSIONS_MAX: usize = 16 * 1024;

pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "a Connection option beside bytes outside ASCII",
        reason: "hyper passes over the whole field if any byte of it is not ASCII; we read each \
                 of its options, so a `close` is never missed",
        sample: || b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, \xe9\r\n\r\n".to_vec(),
        excuses: |Difference { ours, theirs, .. }| {
            let is_foreign = values(ours, "connection").any(|value| !value.is_ascii());
            let differ_in_keep_alive_only = |theirs: &Framed| {
                let same = Framed { keep_alive: ours.keep_alive, ..theirs.clone() };
                same == crate::framed(ours)
            };
            is_foreign && theirs.as_ref().is_some_and(differ_in_keep_alive_only)
        },
    },
    Exception {
        name: "more than a hundred trailer fields",
        reason: "hyper counts trailers, we count their bytes: 4 KiB, and all of them are dropped",
        sample: || chunked(&format!("0\r\n{}\r\n", "a:\r\n".repeat(101))),
        excuses: |Difference { ours, theirs, bytes }| {
            let lines = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
            theirs.is_none() && is_chunked(ours) && lines > 100 && bytes.len() < EXTENSIONS_MAX
        },
    },
    Exception {
        name: "16 KiB of chunk extensions in one body",
        reason: "hyper bounds the extensions of a body, we bound the line of each chunk: 64 bytes",
        sample: || {
            let chunk = format!("1;{}\r\na\r\n", "b".repeat(60));
            chunked(&format!("{}0\r\n\r\n", chunk.repeat(280)))
        },
        excuses: |Difference { ours, theirs, bytes }| {
            theirs.is_none() && is_chunked(ours) && bytes.len() > EXTENSIONS_MAX
        },
    },
];

fn chunked(body: &str) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    format!("{head}{body}").into_bytes()
}

fn values<'t>(taken: &'t Taken, name: &'static str) -> impl Iterator<Item = &'t [u8]> {
    let is_named = move |(field, _): &&(String, _)| field.eq_ignore_ascii_case(name);
    taken.fields.iter().filter(is_named).map(|(_, value)| value.as_slice())
}

fn is_chunked(taken: &Taken) -> bool {
    values(taken, "transfer-encoding").next().is_some()
}
