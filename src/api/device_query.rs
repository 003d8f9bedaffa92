//! The query of `GET /devices`: order, prefix, page; and cursors, which lead to the next page.

use std::fmt;

use thiserror::Error;

use super::number_parameter::{NumberError, number_parameter};
use crate::analytics::ranking::{Rank, RankBy, RankQuery};
use crate::limits::{DEVICE_ID_BYTES_MAX, DEVICES_LISTED_DEFAULT, DEVICES_LISTED_MAX};
use crate::metric::device_id::is_device_id;
use crate::schema::Schema;
use percore::http::request::Request;

/// The error of a query. Its text says what is possible.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum DeviceQueryError {
    /// A number out of its range.
    #[error("{0}")]
    Number(NumberError),
    /// An order that there is not.
    #[error("sort: expected id, last_seen, anomalies or z")]
    Sort,
    /// A field that there is not.
    #[error("field: expected one of {0}")]
    Field(String),
    /// A field without an order that needs one.
    #[error("field: goes with sort=z only")]
    NeedlessField,
    /// A prefix with which no id begins.
    #[error(
        "prefix: expected the start of a device id, 1 to {DEVICE_ID_BYTES_MAX} of A-Z a-z 0-9 . _ \
         : -"
    )]
    Prefix,
    /// A cursor that no page of this order has.
    #[error("after: expected `next` of an answer with the same sort and field")]
    Cursor,
}

/// Reads the query of a request.
pub(super) fn read(request: &Request<'_>, schema: &Schema) -> Result<RankQuery, DeviceQueryError> {
    read_with(request, request.parameter("after").as_deref(), schema)
}

/// Reads the query of a request, but for the cursor.
pub(super) fn read_with(
    request: &Request<'_>,
    after: Option<&str>,
    schema: &Schema,
) -> Result<RankQuery, DeviceQueryError> {
    let limit = number_parameter(request, "limit", 1..=DEVICES_LISTED_MAX, DEVICES_LISTED_DEFAULT)
        .map_err(DeviceQueryError::Number)?;
    let field = request.parameter("field");
    let field = field.map(|name| {
        let known = schema.fields().iter().find(|field| field.name() == name);
        known.map(|field| field.index()).ok_or_else(|| DeviceQueryError::Field(schema.names()))
    });
    let field = field.transpose()?;
    let by = match request.parameter("sort").as_deref() {
        None | Some("id") => RankBy::Id,
        Some("last_seen") => RankBy::LastSeen,
        Some("anomalies") => RankBy::Anomalies,
        Some("z") => RankBy::Score(field),
        Some(_) => return Err(DeviceQueryError::Sort),
    };
    if field.is_some() && !matches!(by, RankBy::Score(_)) {
        return Err(DeviceQueryError::NeedlessField);
    }
    let prefix = request.parameter("prefix").unwrap_or_default().into_owned().into_bytes();
    if !prefix.is_empty() && !is_device_id(&prefix) {
        return Err(DeviceQueryError::Prefix);
    }
    let after = after.map(|cursor| read_cursor(cursor, by).ok_or(DeviceQueryError::Cursor));
    Ok(RankQuery { by, prefix, after: after.transpose()?, limit })
}

/// The cursor of a page: the order, the key and the id of its last device. None of these bytes has
/// to be encoded in a query.
pub(super) struct Cursor<'a>(pub(super) RankBy, pub(super) &'a Rank);

/// The byte between the parts of a cursor, which no id has.
pub(super) const SEPARATOR: char = '~';

impl fmt::Display for Cursor<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(by, Rank { key, id }) = self;
        write!(out, "{}{SEPARATOR}{key:x}{SEPARATOR}{}", Order(*by), id.escape_ascii())
    }
}

/// The order in a cursor.
struct Order(RankBy);

impl fmt::Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RankBy::Id => out.write_str("id"),
            RankBy::LastSeen => out.write_str("last_seen"),
            RankBy::Anomalies => out.write_str("anomalies"),
            RankBy::Score(None) => out.write_str("z"),
            RankBy::Score(Some(field)) => write!(out, "z{field}"),
        }
    }
}

fn read_cursor(cursor: &str, by: RankBy) -> Option<Rank> {
    let mut parts = cursor.splitn(3, SEPARATOR);
    let (order, key, id) = (parts.next()?, parts.next()?, parts.next()?);
    // A sign would be taken as well.
    let is_hexadecimal = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = u64::from_str_radix(key, 16).ok().filter(|_| is_hexadecimal)?;
    let is_valid = order == Order(by).to_string() && is_device_id(id.as_bytes());
    is_valid.then(|| Rank { key, id: id.as_bytes().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::headers::Headers;
    use percore::http::request::Method;

    fn read(query: &str) -> Result<RankQuery, String> {
        let (headers, query) = (Headers::NONE, Some(query));
        let request = Request { method: Method::Get, path: "/devices", query, headers, body: b"" };
        super::read(&request, Schema::standard()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_query_says_which_page_of_which_order() {
        let all = RankQuery { by: RankBy::Id, prefix: Vec::new(), after: None, limit: 100 };
        assert_eq!(read(""), Ok(all.clone()));
        assert_eq!(read("prefix=&sort=id"), Ok(all.clone()));
        assert_eq!(
            read("limit=1000&sort=z&field=rps&prefix=a%3ab"),
            Ok(RankQuery {
                by: RankBy::Score(Some(1)),
                prefix: b"a:b".to_vec(),
                limit: 1000,
                ..all.clone()
            })
        );
        for (sort, by) in [
            ("last_seen", RankBy::LastSeen),
            ("anomalies", RankBy::Anomalies),
            ("z", RankBy::Score(None)),
        ] {
            assert_eq!(read(&format!("sort={sort}")), Ok(RankQuery { by, ..all.clone() }));
        }
    }

    #[test]
    fn what_is_impossible_is_told_what_is_possible() {
        for (query, named) in [
            ("limit=0", "limit: expected a whole number from 1 to 1000"),
            ("limit=1001", "limit: expected a whole number from 1 to 1000"),
            ("sort=name", "sort: expected id, last_seen, anomalies or z"),
            ("sort=", "sort: expected id"),
            ("sort=z&field=CPUs", "field: expected one of cpu, rps"),
            ("sort=z&field=", "field: expected one of cpu, rps"),
            ("field=cpu", "field: goes with sort=z only"),
            ("sort=id&field=cpu", "field: goes with sort=z only"),
            ("prefix=a%20b", "prefix: expected the start"),
            ("prefix=%3Cb%3E", "prefix: expected the start"),
            ("after=", "after: expected `next`"),
            ("after=d1", "after: expected `next`"),
            ("after=z~0~d1", "after: expected `next`"),
            ("sort=z&after=id~0~d1", "after: expected `next`"),
            ("sort=z&field=cpu&after=z1~0~d1", "after: expected `next`"),
            ("after=id~+1~d1", "after: expected `next`"),
            ("after=id~~d1", "after: expected `next`"),
            ("after=id~10000000000000000~d1", "after: expected `next`"),
            ("after=id~0~d~1", "after: expected `next`"),
            ("after=id~0~", "after: expected `next`"),
        ] {
            let found = read(query).unwrap_err();
            assert!(found.starts_with(named), "{query}: {found}");
        }
        assert!(read(&format!("prefix={}", "a".repeat(DEVICE_ID_BYTES_MAX + 1))).is_err());
    }

    #[test]
    fn cursors_lead_back_to_their_rank() {
        for (sort, by) in [
            ("id", RankBy::Id),
            ("last_seen", RankBy::LastSeen),
            ("anomalies", RankBy::Anomalies),
            ("z", RankBy::Score(None)),
            ("z&field=rps", RankBy::Score(Some(1))),
        ] {
            for (key, id) in [(0, "d1"), (u64::MAX, "a:b.c_d-e"), (7, "-")] {
                let rank = Rank { key, id: id.as_bytes().into() };
                let cursor = Cursor(by, &rank).to_string();
                let found = read(&format!("sort={sort}&after={cursor}")).unwrap();
                assert_eq!(found.after, Some(rank), "{cursor}");
            }
        }
    }
}
