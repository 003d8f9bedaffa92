//! `POST /write` and `/api/v2/write`: answers in the forms of InfluxDB 1 and 2.
//!
//! Good lines are answered without content. Clients show the message of an error to people, and
//! decide by the status alone whether to send the same again.

use std::fmt::{self, Write as _};
use std::io;

use super::ingest_error::IngestError;
use super::route::InfluxApi;
use super::state::State;
use crate::limits::ANSWER_ITEMS_MAX;
use crate::metric::batch::Batch;
use crate::metric::line_protocol::line_numbers;
use percore::http::handler::{Context, retry_after};
use percore::http::problem::JsonText;
use percore::http::response::{Field, JSON, Response, TEXT};
use percore::http::status::Status;

/// The rejected lines of a body.
#[derive(Debug, Default)]
pub(super) struct RejectedLines {
    /// The number of the first of them, counted from 1.
    first: usize,
    /// Their errors, one on a line, as the inside of a JSON string.
    errors: Vec<u8>,
}

impl RejectedLines {
    /// Replaces what is kept by the rejected lines of a batch, which `body` brought.
    #[cold]
    pub(super) fn set(&mut self, batch: &Batch<'_>, body: &[u8]) {
        self.first = 0;
        self.errors.clear();
        let numbered = batch.spans().zip(line_numbers(body));
        let rejected = numbered.filter_map(|(item, line)| Some((line, item.err()?)));
        for (line, rejection) in rejected.take(ANSWER_ITEMS_MAX) {
            if self.first == 0 {
                self.first = line;
            }
            // Writing into memory cannot fail.
            let _ = write!(JsonText(&mut self.errors), "\nline {line}: {rejection}");
        }
    }

    /// Answers that some lines were rejected, and that others were accepted, unless there are none.
    /// `retry_after` is there if the same could be sent again.
    pub(super) fn answer(
        &self,
        api: InfluxApi,
        [accepted, rejected]: [u64; 2],
        (status, retry_after): (Status, Option<Field>),
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        // Old clients drop what the words of 400 stand before, and send anything else again.
        let class = match status {
            Status::TooManyRequests => "too many events",
            Status::Forbidden => "forbidden",
            _ if accepted > 0 => "partial write",
            _ => "unable to parse",
        };
        let lines = accepted + rejected;
        open(api, status, body);
        let _ = write!(JsonText(body), "{class}: {rejected} of {lines} lines rejected");
        body.extend_from_slice(&self.errors);
        body.push(b'"');
        if api == InfluxApi::V2 {
            let _ = io::Write::write_fmt(body, format_args!(",\"line\":{}", self.first));
        }
        body.extend_from_slice(b"}\n");
        Response { status, field: retry_after, ..Response::ok(JSON, route) }
    }
}

/// Answers that all lines were accepted.
pub(super) const fn accepted(route: usize) -> Response {
    Response { status: Status::NoContent, ..Response::ok(TEXT, route) }
}

/// Answers with the error of a whole request, and counts it for the log.
#[cold]
pub(super) fn answer_error_and_warn(
    error: IngestError,
    api: InfluxApi,
    state: &State,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Response {
    error.answer_and_warn(state, context, body, route);
    answer_error(error, api, body, route)
}

/// Answers with the error of a whole request.
fn answer_error(error: IngestError, api: InfluxApi, body: &mut Vec<u8>, route: usize) -> Response {
    let response = error.answer(body, route);
    open(api, response.status, body);
    let _ = match error {
        IngestError::Unauthorized => write_text(
            body,
            "unauthorized access: expected Authorization with Token, Bearer or Basic and the \
             ingest token",
        ),
        error => write_text(body, error),
    };
    body.extend_from_slice(b"\"}\n");
    Response { content_type: JSON, ..response }
}

/// Answers that the store could not take all points, with this text.
#[cold]
pub(super) fn answer_text(
    api: InfluxApi,
    status: Status,
    text: &str,
    body: &mut Vec<u8>,
    route: usize,
) -> Response {
    open(api, status, body);
    let _ = write_text(body, text);
    body.extend_from_slice(b"\"}\n");
    Response { status, field: Some(retry_after()), ..Response::ok(JSON, route) }
}

fn write_text(body: &mut Vec<u8>, text: impl fmt::Display) -> fmt::Result {
    write!(JsonText(body), "{text}")
}

/// Writes what stands before the message of an error.
fn open(api: InfluxApi, status: Status, body: &mut Vec<u8>) {
    body.clear();
    let code = match status {
        Status::Unauthorized => "unauthorized",
        Status::Forbidden => "forbidden",
        Status::ContentTooLarge => "request too large",
        Status::UnsupportedMediaType => "unsupported media type",
        Status::TooManyRequests => "too many requests",
        Status::ServiceUnavailable => "unavailable",
        _ => "invalid",
    };
    match api {
        InfluxApi::V1 => body.extend_from_slice(b"{\"error\":\""),
        InfluxApi::V2 => {
            for part in ["{\"code\":\"", code, "\",\"message\":\""] {
                body.extend_from_slice(part.as_bytes());
            }
        }
    }
}
