//! RFC 9110 and RFC 9112 for what the engine leaves to its handler: types and codings of content.
//!
//! The tables of methods, targets and answers are the engine's (`percore/tests/conformance`, which
//! says how they are run); here they are asked of the whole server, whose paths they name.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test that panics has failed, which is what it is for; the engine uses all of it"
)]

#[path = "../http/in_process.rs"]
mod in_process;

// Before the tables, which are written with its macro.
#[macro_use]
#[path = "../../percore/tests/conformance/row.rs"]
mod row;

#[path = "../../percore/tests/conformance/answers.rs"]
mod answers;
#[path = "../../percore/tests/conformance/clauses.rs"]
mod clauses;
mod contents;
mod elsewhere;
#[path = "../../percore/tests/conformance/exchange.rs"]
mod exchange;
#[path = "../../percore/tests/conformance/methods.rs"]
mod methods;
#[path = "../../percore/tests/conformance/seen.rs"]
mod seen;
#[path = "../../percore/tests/conformance/series.rs"]
mod series;
mod server;
#[path = "../../percore/tests/conformance/splits.rs"]
mod splits;
#[path = "../../percore/tests/conformance/targets.rs"]
mod targets;

use elsewhere::appendix;
use row::Row;

/// Returns every table with its heading.
fn tables() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("Methods", methods::rows()),
        ("Targets", targets::rows()),
        ("Answers", answers::rows()),
        ("Content of requests", contents::rows()),
    ]
}

/// The head of `CLAUSES.md`, with the clauses that other tests hold.
const HEAD: &str = "\
# Clauses

What RFC 9110 and RFC 9112 ask of an origin server of this kind beside what its engine does
(`percore/tests/conformance/CLAUSES.md`), what this one does, and the test that shows it.

This file is written by the tests from the tables in `tests/conformance/` and in the engine's: edit
those, then run `CONFORMANCE_REWRITE=1 cargo test --test conformance clauses`. The last column says
how many exchanges a row is shown by.
";
