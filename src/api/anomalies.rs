//! `GET /anomalies`: the last findings of this instance, for a poller that sees each once.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use super::jobs::Lane;
use super::json::{Number, Text, append_line, live};
use super::novelty;
use super::number_parameter::{NumberError, number_parameter};
use super::state::State;
use crate::analytics::anomaly::{Finding, FindingKind};
use crate::analytics::anomaly_journal::{AnomalyPage, AnomalyQuery, NumberedAnomaly};
use crate::limits::{ANOMALIES_LISTED_DEFAULT, ANOMALIES_LISTED_MAX};
use crate::metric::timestamp::Rfc3339;
use percore::clock::Now;
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::Response;
use percore::http::status::Status;

/// Answers with the newest anomalies, or with those behind the cursor of the query.
pub fn answer(
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let parse = |text: &str| Cursor::parse(text).map(|cursor| (cursor, cursor.kind));
    let (limit, kind, since) = match read_query(request, parse, AnomalyQueryError::Cursor) {
        Ok(query) => query,
        Err(error) => return Reply::Now(bad_query(&error, body, route)),
    };
    state.submit(Lane::Analyze, context, body, route, move |state, execution, body| {
        let is_written = write_page(state, since, (kind, limit), execution.now, body);
        if is_written { live(route) } else { bad_query(&AnomalyQueryError::Cursor, body, route) }
    })
}

/// The error of a query. Its text says what is possible.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum AnomalyQueryError {
    /// A number out of its range.
    #[error("{0}")]
    Number(NumberError),
    /// A kind that there is not.
    #[error("kind: expected {}", FindingKind::NAMES.join(" or "))]
    Kind,
    /// A cursor that no answer of ours has had.
    #[error("since: expected `next` of an earlier answer")]
    Cursor,
    /// A cursor that no answer of the fleet has had.
    #[error("since: expected `next` of an earlier answer of the fleet")]
    FleetCursor,
    /// A cursor that counts something else.
    #[error("since: expected `next` of an earlier answer with the same kind")]
    CursorOfOther,
}

fn bad_query(error: &AnomalyQueryError, body: &mut Vec<u8>, route: usize) -> Response {
    problem(body, Status::BadRequest, error, None, route)
}

/// A query: the most findings, their kind if not both are asked for, and a cursor.
pub(super) type Query<C> = (usize, Option<FindingKind>, Option<C>);

/// Reads a query. `parse` returns a cursor, and the kind that it counts; what is none is the error
/// `not_ours`.
pub(super) fn read_query<C>(
    request: &Request<'_>,
    parse: impl FnOnce(&str) -> Option<(C, Option<FindingKind>)>,
    not_ours: AnomalyQueryError,
) -> Result<Query<C>, AnomalyQueryError> {
    let limit =
        number_parameter(request, "limit", 1..=ANOMALIES_LISTED_MAX, ANOMALIES_LISTED_DEFAULT);
    let (limit, kind) = (limit.map_err(AnomalyQueryError::Number)?, read_kind(request)?);
    let Some(text) = request.parameter("since") else {
        return Ok((limit, kind, None));
    };
    let (cursor, counted) = parse(&text).ok_or(not_ours)?;
    if counted != kind {
        return Err(AnomalyQueryError::CursorOfOther);
    }
    Ok((limit, kind, Some(cursor)))
}

/// Returns the kind that a request asks for, if it is not both.
fn read_kind(request: &Request<'_>) -> Result<Option<FindingKind>, AnomalyQueryError> {
    let Some(name) = request.parameter("kind") else {
        return Ok(None);
    };
    let kind = FindingKind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.map(Some).ok_or(AnomalyQueryError::Kind)
}

/// Returns the letter of a cursor that counts one kind; one that counts both has none.
pub(super) const fn mark(kind: Option<FindingKind>) -> &'static str {
    match kind {
        None => "",
        Some(FindingKind::Anomaly) => "a",
        Some(FindingKind::Novelty) => "n",
    }
}

/// Returns the kind that a cursor counts, and what stands behind its letter.
pub(super) fn read_mark(text: &str) -> (Option<FindingKind>, &str) {
    let of = |kind| Some((Some(kind), text.strip_prefix(mark(Some(kind)))?));
    FindingKind::ALL.into_iter().find_map(of).unwrap_or((None, text))
}

/// The place up to which a poller has seen all findings, or those of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// The start of the server, in milliseconds since 1970: numbers begin anew with each.
    started_ms: i64,
    /// The kind, which has numbers of its own.
    kind: Option<FindingKind>,
    /// The number of the last one seen.
    number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}.{}{}", self.started_ms, mark(self.kind), self.number)
    }
}

/// The digits of a time that a server may start at, which are enough for the next eight thousand
/// years.
const STARTED_DIGITS_MAX: usize = 12;

/// The digits of a number of findings, of which none has so many.
const NUMBER_DIGITS_MAX: usize = 18;

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (started, number) = text.split_once('.')?;
        let (kind, number) = read_mark(number);
        let started_ms = i64::from_str_radix(started, 16).ok().filter(|ms| *ms > 0)?;
        let cursor = Self { started_ms, kind, number: number.parse().ok()? };
        let is_usual = started.len() <= STARTED_DIGITS_MAX && number.len() <= NUMBER_DIGITS_MAX;
        // Nothing else means the same.
        (is_usual && cursor.to_string() == text).then_some(cursor)
    }
}

/// Writes the answer. Returns false if the cursor is of this server and ahead of it.
fn write_page(
    state: &State,
    since: Option<Cursor>,
    (kind, limit): (Option<FindingKind>, usize),
    now: Now,
    body: &mut Vec<u8>,
) -> bool {
    let started_ms = state.samples.started().wall_ms();
    // Of an earlier life of the server: what was missed since, nobody knows.
    let is_foreign = since.is_some_and(|since| since.started_ms != started_ms);
    let since = since.filter(|_| !is_foreign).map(|since| since.number);
    let Some(page) = state.analytics.anomalies(&AnomalyQuery { kind, since, limit }, now) else {
        return false;
    };
    let AnomalyPage { anomalies, next, missed } = &page;
    let page = Page {
        anomalies: anomalies.iter().map(Entry::from).collect(),
        next: Text(Cursor { started_ms, kind, number: *next }),
        missed: (!is_foreign).then_some(*missed),
    };
    append_line(body, &page);
    true
}

/// The members of the answer, in their order.
#[derive(Serialize)]
struct Page<'a> {
    anomalies: Vec<Entry<'a>>,
    next: Text<Cursor>,
    missed: Option<u64>,
}

/// An anomaly, or a novelty.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    number: u64,
    timestamp: Text<Rfc3339>,
    device_id: Option<&'a str>,
    field: &'static str,
    kind: &'static str,
    value: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stddev: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    z: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl<'a> From<&'a NumberedAnomaly> for Entry<'a> {
    fn from(numbered: &'a NumberedAnomaly) -> Self {
        let NumberedAnomaly { number, device_id, finding, .. } = numbered;
        let entry = |timestamp_ms| Self {
            number: *number,
            timestamp: Text(Rfc3339(timestamp_ms)),
            device_id: device_id.as_deref(),
            field: finding.field().name(),
            kind: finding.kind().name(),
            value: Number(Some(finding.value())),
            mean: None,
            stddev: None,
            z: None,
            score: None,
            reason: None,
        };
        match finding {
            Finding::Anomaly(point) => Self {
                mean: Some(Number(Some(point.mean))),
                stddev: Some(Number(Some(point.stddev))),
                z: Some(Number(Some(point.z))),
                ..entry(point.timestamp_ms)
            },
            Finding::Novel(point) => Self {
                score: Some(novelty::score(point.score)),
                reason: Some(point.reason.name()),
                ..entry(point.timestamp_ms)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_have_one_form() {
        for (kind, text) in [
            (None, "18bcfe56800.17"),
            (Some(FindingKind::Anomaly), "18bcfe56800.a17"),
            (Some(FindingKind::Novelty), "18bcfe56800.n17"),
        ] {
            let cursor = Cursor { started_ms: 0x18b_cfe5_6800, kind, number: 17 };
            assert_eq!(cursor.to_string(), text);
            assert_eq!(Cursor::parse(text), Some(cursor));
        }
        for wrong in ["", "17", ".", "18bcfe56800.", ".17", "18BCFE56800.17", "18bcfe56800.017"]
            .into_iter()
            .chain([
                "0.5",
                "1000000000000.1",
                "1.1000000000000000000",
                "+18bcfe56800.17",
                "18bcfe56800.+17",
                "18bcfe56800.17.1",
                "g.1",
                "1.-1",
                "1.x1",
                "1.a",
                "1.an1",
                "1.N1",
                "1.n01",
            ])
        {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
