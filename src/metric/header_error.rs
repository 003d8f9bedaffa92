//! Errors of a header row of CSV: why no row below it can be an event.

use thiserror::Error;

use crate::metric::csv::CsvError;
use crate::metric::member::Member;
use crate::schema::{Field, Schema};

/// The reason why a header row is refused. Positions count from the start of the body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the text")]
pub enum HeaderError {
    /// A cell that is not quoted well.
    #[error("header row: {0} of the body")]
    Malformed(CsvError),
    /// Cells with something else than commas between them, as spreadsheets write them in countries
    /// where a number has a comma.
    #[error(
        "header row: expected ',' between the cells, found {found:?}; save the table with commas"
    )]
    Separator { found: char },
    /// No column of a field, or of anything else that has a meaning.
    #[error("header row: expected names of columns such as {}, found none of them", names(.schema))]
    NoColumn { schema: &'static Schema },
    /// A column of a required field is absent.
    #[error("{}: missing in the header row", .field.name())]
    Missing { field: Field },
    /// Two columns of one member, in any case.
    #[error("{}: given twice in the header row, again at byte {at} of the body", .member.name())]
    Duplicate { member: Member, at: u32 },
}

/// Returns the names of all members, with commas between them.
fn names(schema: &Schema) -> String {
    let others = [&schema.device_names, &schema.timestamp_names];
    let others = others.into_iter().filter_map(|names| names.first().map(String::as_str));
    others.chain(schema.fields().iter().map(|field| field.name())).collect::<Vec<_>>().join(", ")
}
