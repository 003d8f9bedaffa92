//! Requests to take metrics that are refused as a whole, and what they are answered.

use std::io::Write;

use super::blame;
use super::state::State;
use crate::limits::{DEFLATE_BLOCKS_MAX, MEMBERS_MAX, ZSTD_BLOCKS_MAX};
use crate::metric::rejection::BodyError;
use percore::http::content_coding::{self, ContentCoding, DecodeError};
use percore::http::handler::{Context, retry_after};
use percore::http::problem::{self, PROBLEM, problem};
use percore::http::response::{Field, Response};
use percore::http::status::Status;

/// A request that is refused as a whole.
#[derive(Debug)]
pub(super) enum Refused {
    /// No token, or another.
    Unauthorized,
    /// A type that holds no metrics.
    MediaType,
    /// A coding that is not taken.
    ContentCoding,
    /// A body that is not what its coding says.
    Coded(ContentCoding, DecodeError),
    /// A body of which nothing may be applied.
    Body(BodyError),
    /// A store that has no place for its events.
    StoreFull,
}

impl Refused {
    /// Answers, and has the log tell of it.
    #[cold]
    pub(super) fn tell(
        self,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        let response = self.answer(body, route);
        blame::request(response.status, body, state, context);
        response
    }

    /// Writes the problem into `body`, and answers its head.
    pub(super) fn answer(self, body: &mut Vec<u8>, route: usize) -> Response {
        let (status, field) = match &self {
            Self::Unauthorized => (Status::Unauthorized, Some(Field::WwwAuthenticate("Bearer"))),
            Self::MediaType => (Status::UnsupportedMediaType, None),
            Self::StoreFull => (Status::ServiceUnavailable, Some(retry_after())),
            Self::ContentCoding => {
                let field = Field::AcceptEncoding(content_coding::ACCEPTED);
                (Status::UnsupportedMediaType, Some(field))
            }
            Self::Coded(_, DecodeError::Malformed) => (Status::BadRequest, None),
            Self::Coded(..) => (Status::ContentTooLarge, None),
            Self::Body(error) if error.is_too_large() => (Status::ContentTooLarge, None),
            Self::Body(_) => (Status::BadRequest, None),
        };
        match self {
            // "An empty body: 400 with the same errors", of which there are none.
            Self::Body(BodyError::Empty) => {
                problem::open(body, status, BodyError::Empty);
                let _ = body.write_all(b",\"rejected\":0,\"errors\":[]}\n");
                Response { status, field, ..Response::ok(PROBLEM, route) }
            }
            Self::Body(error) => problem(body, status, error, field, route),
            Self::Unauthorized => {
                let detail = "Authorization: expected Bearer and the ingest token";
                problem(body, status, detail, field, route)
            }
            Self::StoreFull => {
                let detail = "store: the queue to Redis is full (--store-overflow reject)";
                problem(body, status, detail, field, route)
            }
            Self::MediaType => {
                let detail = "Content-Type: expected application/json, application/x-ndjson, \
                              application/ndjson, application/jsonl, text/json, text/plain or a \
                              type that ends in +json";
                problem(body, status, detail, field, route)
            }
            Self::ContentCoding => {
                let accepted = content_coding::ACCEPTED;
                let detail = format_args!("Content-Encoding: expected one of {accepted}");
                problem(body, status, detail, field, route)
            }
            Self::Coded(_, DecodeError::TooLarge) => {
                let detail = "body: longer after inflation than the server takes (--max-body)";
                problem(body, status, detail, field, route)
            }
            Self::Coded(_, DecodeError::TooManyMembers) => {
                let detail = format_args!(
                    "body: expected at most {MEMBERS_MAX} gzip members or zstd frames, one after \
                     the other, {DEFLATE_BLOCKS_MAX} blocks of gzip or deflate, and \
                     {ZSTD_BLOCKS_MAX} of zstd"
                );
                problem(body, status, detail, field, route)
            }
            Self::Coded(coding, DecodeError::Malformed) => {
                let coding = coding.name();
                let detail =
                    format_args!("body: expected {coding}, found something else or a damaged end");
                problem(body, status, detail, field, route)
            }
        }
    }
}
