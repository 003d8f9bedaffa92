//! Tests of the reader of cells: samples, any bytes, and the rows of the crate `csv`.

use super::*;
use proptest::prelude::*;

/// Returns the rows of a body; a cell that is not quoted well is its error.
fn rows(body: &[u8]) -> Vec<Vec<Result<&[u8], CsvError>>> {
    let mut reader = CellReader::default();
    // Nothing of one body is left for the next.
    reader.begin_body(0);
    while reader.next(b"a,\"b\nc").is_some() {}
    reader.begin_body(0);
    let mut rows = Vec::new();
    let mut row = Vec::new();
    while let Some(cell) = reader.next(body) {
        row.push(cell.text(body).map(|text| &body[text]));
        if cell.ends_row {
            rows.push(std::mem::take(&mut row));
        }
    }
    assert!(row.is_empty(), "{row:?}");
    rows
}

/// Returns the cells of good rows, each row on a line.
fn shown(body: &str) -> String {
    let cells = |row: Vec<Result<&[u8], CsvError>>| {
        row.iter().map(|cell| str::from_utf8(cell.unwrap()).unwrap()).collect::<Vec<_>>().join("|")
    };
    rows(body.as_bytes()).into_iter().map(cells).collect::<Vec<_>>().join(" / ")
}

#[test]
fn cells_are_found_with_and_without_quotes() {
    for (body, cells) in [
        ("", ""),
        ("a", "a"),
        ("a,b\nc,d\n", "a|b / c|d"),
        ("a,b\r\nc,d\r\n", "a|b / c|d"),
        ("a,b\rc,d", "a|b / c|d"),
        ("\n\r\na\n\n\nb\n\n", "a / b"),
        ("a,\n,b\n,", "a| / |b / |"),
        (" a , b\t\n", "a|b"),
        ("   \na", " / a"),
        ("\"a\",\"b,\nc\"\n\"\",\" d \"", "a|b,\nc / | d "),
        ("\"a\"\"b\",\"\"\"\"", "a\"\"b|\"\""),
        ("a\"b, \"c\"", "a\"b|\"c\""),
        ("a;b\n", "a;b"),
    ] {
        assert_eq!(shown(body), cells, "{body:?}");
    }
    let long = "1".repeat(1000);
    assert_eq!(shown(&format!("{long},\"{long}\"\n{long}")), format!("{long}|{long} / {long}"));
}

#[test]
fn what_follows_a_closing_quote_is_refused() {
    for (body, error) in [
        ("\"4\"1,2", CsvError::AfterQuote { at: 3 }),
        ("\"4\" ,2", CsvError::AfterQuote { at: 3 }),
        ("\"a\"b\"", CsvError::AfterQuote { at: 3 }),
        ("\"a\"b\"\"", CsvError::AfterQuote { at: 3 }),
        ("\"a", CsvError::Quote { at: 2 }),
        ("\"a\"\"", CsvError::Quote { at: 4 }),
        ("\"", CsvError::Quote { at: 1 }),
        ("\"a,b\nc,d\n", CsvError::Quote { at: 9 }),
    ] {
        assert_eq!(rows(body.as_bytes())[0][0], Err(error), "{body:?}");
    }
    assert_eq!(
        CsvError::Quote { at: 9 }.relative_to(2).to_string(),
        "expected the closing '\"' of a cell, found the end of the body at byte 7"
    );
    let rows = rows(b"\"4\"1,2\n3,4\n");
    assert_eq!(rows[1], [Ok(&b"3"[..]), Ok(b"4")]);
}

/// Returns the rows as the crate `csv` reads them.
fn their_rows(body: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader =
        ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let rows = reader.byte_records().map(|row| row.unwrap());
    rows.map(|row| row.iter().map(<[u8]>::to_vec).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn rows_are_those_of_the_crate_csv(body in "([a, \"\r\n]|\"[a,\n]{0,3}\"|\"\"){0,24}") {
        let (ours, theirs) = (rows(body.as_bytes()), their_rows(body.as_bytes()));
        prop_assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            prop_assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                if let Ok(ours) = ours {
                    let text = String::from_utf8_lossy(ours).replace("\"\"", "\"");
                    let theirs = String::from_utf8_lossy(theirs);
                    let is_same = text == theirs || text == theirs.trim();
                    // Without quotes around it, a doubled quote is two.
                    prop_assert!(is_same || ours == &theirs.trim().as_bytes(), "{}", theirs);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_cells_within_the_text(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut reader = CellReader::default();
        reader.begin_body(0);
        let mut last_end = 0;
        while let Some(cell) = reader.next(&body) {
            prop_assert!(last_end <= cell.raw.start && cell.raw.start <= cell.raw.end);
            prop_assert!(cell.raw.end <= body.len());
            last_end = cell.raw.end;
            match cell.text(&body) {
                Ok(text) => {
                    prop_assert!(cell.raw.start <= text.start && text.end <= cell.raw.end);
                }
                Err(CsvError::AfterQuote { at } | CsvError::Quote { at }) => {
                    prop_assert!(cell.raw.start < at as usize && at as usize <= cell.raw.end);
                }
            }
        }
        let rest = &body[last_end..];
        prop_assert!(rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')), "{:?}", rest);
    }
}
