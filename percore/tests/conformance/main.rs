//! RFC 9110 and RFC 9112, clause by clause, for an HTTP/1.1 engine.
//!
//! The table is the test: each row says what a clause asks for and what the engine does, and holds
//! the exchanges that show it, byte for byte; each is run over a socket as a test of its own name.
//! `CLAUSES.md` is the same table to read. Then every row is sent in every split, and in random
//! series with others: neither may change an answer.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that panics has failed, which is what it is for"
)]

// Before the tables, which are written with its macro.
#[macro_use]
mod row;

mod answers;
mod chunks;
mod clauses;
mod codings;
mod connections;
mod exchange;
mod expectations;
mod fields;
mod hosts;
mod lengths;
mod methods;
mod request_lines;
mod seen;
mod series;
mod server;
mod smuggling;
mod splits;
mod targets;

use row::Row;

/// Returns every table with its heading, in the order of `CLAUSES.md`.
fn tables() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("Request lines", request_lines::rows()),
        ("Methods", methods::rows()),
        ("Targets", targets::rows()),
        ("Host", hosts::rows()),
        ("Header fields", fields::rows()),
        ("Content-Length", lengths::rows()),
        ("Transfer-Encoding", codings::rows()),
        ("Chunks and trailers", chunks::rows()),
        ("Connections", connections::rows()),
        ("Expectations", expectations::rows()),
        ("Answers", answers::rows()),
        ("Request smuggling", smuggling::rows()),
    ]
}

/// The head of `CLAUSES.md`.
const HEAD: &str = "\
# Clauses

What RFC 9110 and RFC 9112 ask of an origin server of this kind, what the engine does, and the test
that shows it. Where the RFCs leave a choice, what could be read in two ways is refused: a guess is
a smuggled request at the proxy in front. After each refusal the connection closes, and nothing
behind it is parsed.

This file is written by the tests from the tables in `percore/tests/conformance/`: edit those, then
run `CONFORMANCE_REWRITE=1 cargo test --package percore --test conformance clauses`. The last column
says how many exchanges a row is shown by.
";

/// Returns what follows the tables in `CLAUSES.md`: nothing here.
const fn appendix() -> String {
    String::new()
}
