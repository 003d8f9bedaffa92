//! `CLAUSES.md`: the tables to read. With `CONFORMANCE_REWRITE=1` the test writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::elsewhere::ELSEWHERE;
use super::row::Row;
use super::tables;

const HEAD: &str = "\
# Clauses

What RFC 9110 and RFC 9112 ask of an origin server of this kind, what this one does, and the test
that shows it. Where the RFCs leave a choice, what could be read in two ways is refused: a guess is
a smuggled request at the proxy in front. After each refusal the connection closes, and nothing
behind it is parsed.

This file is written by the tests from the tables in `tests/conformance/`: edit those, then run
`CONFORMANCE_REWRITE=1 cargo test --test conformance clauses`. `cargo test --test conformance hosts`
runs the rows of one table; the last column says how many exchanges a row is shown by.
";

fn rendered() -> String {
    let mut text = HEAD.to_owned();
    let mut differing = Vec::new();
    for (heading, rows) in tables() {
        let _ = write!(text, "\n## {heading}\n\n{COLUMNS}");
        for row in &rows {
            text.push_str(&line(row));
            if row.does.starts_with("differs:") {
                differing.push(row.test.clone());
            }
        }
    }
    text.push_str("\n## Held by other tests\n\nWhat takes time, a flag or load to see.\n\n");
    text.push_str("| clause | asks for | here | test |\n|---|---|---|---|\n");
    for row in ELSEWHERE {
        let [asks, does] = [row.asks, row.does].map(escaped);
        let _ = writeln!(
            text,
            "| {} | {asks} | {does} | `tests/{}`: `{}` |",
            row.clause, row.file, row.test
        );
    }
    text.push_str("\n## Where this server differs\n\n");
    for test in differing {
        let _ = writeln!(text, "- `{test}`");
    }
    text
}

const COLUMNS: &str = "| clause | asks for | here | test | |\n|---|---|---|---|--:|\n";

fn line(row: &Row) -> String {
    let [asks, does] = [row.asks, row.does].map(escaped);
    let (clause, test, cases) = (row.clause, &row.test, row.cases.len());
    format!("| {clause} | {asks} | {does} | `{test}` | {cases} |\n")
}

/// A bar would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_file_is_the_table() {
    let path = root().join("tests/conformance/CLAUSES.md");
    let rendered = rendered();
    if std::env::var_os("CONFORMANCE_REWRITE").is_some() {
        fs::write(&path, &rendered).expect("the checkout can be written");
    }
    let written = fs::read_to_string(&path).expect("the file is part of the checkout");
    let differs = written.lines().zip(rendered.lines()).find(|(written, table)| written != table);
    assert_eq!(differs, None, "CONFORMANCE_REWRITE=1 writes the file anew");
    assert_eq!(written.len(), rendered.len(), "CONFORMANCE_REWRITE=1 writes the file anew");
}

#[test]
fn what_other_tests_hold_is_there() {
    for row in ELSEWHERE {
        let text = fs::read_to_string(root().join("tests").join(row.file)).expect(row.file);
        let test = format!("#[test]\nfn {}()", row.test);
        assert!(text.contains(&test), "{}: no test {}", row.file, row.test);
    }
}

#[test]
fn no_row_shows_an_exchange_twice() {
    for row in tables().into_iter().flat_map(|(_, rows)| rows) {
        let mut seen = BTreeSet::new();
        for case in row.cases {
            let shown = case.sent.escape_ascii().to_string();
            assert!(seen.insert(case.sent), "{}: {shown}", row.test);
        }
    }
}
