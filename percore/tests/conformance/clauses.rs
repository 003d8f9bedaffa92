//! `CLAUSES.md`: the tables to read. With `CONFORMANCE_REWRITE=1` the test writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::row::Row;
use super::{HEAD, appendix, tables};

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
    text.push_str(&appendix());
    text.push_str("\n## Where this server differs\n\n");
    differing.is_empty().then(|| text.push_str("Nowhere.\n"));
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
pub fn escaped(text: &str) -> String {
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
fn no_row_shows_an_exchange_twice() {
    for row in tables().into_iter().flat_map(|(_, rows)| rows) {
        let mut seen = BTreeSet::new();
        for case in row.cases {
            let shown = case.sent.escape_ascii().to_string();
            assert!(seen.insert(case.sent), "{}: {shown}", row.test);
        }
    }
}
