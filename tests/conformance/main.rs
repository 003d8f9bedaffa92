//! RFC 9110 and RFC 9112, clause by clause, for a server of this kind.
//!
//! The table is the test: each row says what a clause asks for and what this server does, and holds
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

#[path = "../http/in_process.rs"]
mod in_process;

// Before the tables, which are written with its macro.
#[macro_use]
mod row;

mod answers;
mod chunks;
mod clauses;
mod codings;
mod connections;
mod contents;
mod elsewhere;
mod exchange;
mod expectations;
mod fields;
mod hosts;
mod lengths;
mod methods;
mod request_lines;
mod seen;
mod series;
mod smuggling;
mod splits;
mod targets;

use row::Row;

/// Every table, with its heading.
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
        ("Content of requests", contents::rows()),
        ("Answers", answers::rows()),
        ("Request smuggling", smuggling::rows()),
    ]
}
