//! Errors of whole requests to take metrics, and their answers.

use thiserror::Error;

use super::authorization::{Denial, TOO_MANY_FAILURES, has_token_in_query};
use super::state::State;
use super::warn;
use crate::metric::rejection::BodyError;
use percore::http::content_coding::{self, ContentCoding, DecodeError};
use percore::http::handler::{Context, retry_after};
use percore::http::problem::{self, PROBLEM, problem};
use percore::http::request::Request;
use percore::http::response::{Field, Response};
use percore::http::status::Status;
use percore::limits::{DEFLATE_BLOCKS_MAX, MEMBERS_MAX, ZSTD_BLOCKS_MAX};

/// The reason why a request is refused as a whole. Its text is the detail of the answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum IngestError {
    /// The token is missing or wrong.
    #[error("Authorization: expected Bearer and the ingest token")]
    Unauthorized,
    /// There is a token, but in the query.
    #[error(
        "Authorization: expected the ingest token there; one in the query does not count, as \
         proxies and browsers keep URLs"
    )]
    TokenInQuery,
    /// The peer has failed too often, and may try again after so many seconds.
    #[error("{TOO_MANY_FAILURES}")]
    TooManyFailures(u32),
    /// The media type is none of metrics.
    #[error(
        "Content-Type: expected application/json, application/x-ndjson, application/ndjson, \
         application/jsonl, text/json, text/plain, text/csv or a type that ends in +json"
    )]
    UnsupportedMediaType,
    /// CSV without a header row.
    #[error("Content-Type: expected text/csv with a header row, found header=absent")]
    HeaderAbsent,
    /// The precision of timestamps is none of InfluxDB's.
    #[error("precision: expected ns, us, ms, s, m, h or auto")]
    Precision,
    /// The parameter `ack` is no kind of acknowledgement.
    #[error("ack: expected accepted or stored")]
    Acknowledgement,
    /// The content coding is not supported.
    #[error("Content-Encoding: expected one of {}", content_coding::ACCEPTED)]
    UnsupportedCoding,
    /// The body is not what its coding says.
    #[error("body: expected {}, found something else or a damaged end", .0.name())]
    Malformed(ContentCoding),
    /// The body is longer than `--max-body` when it is decoded.
    #[error("body: longer after inflation than the server takes (--max-body)")]
    TooLarge,
    /// The body has more members or blocks than its coding may have.
    #[error(
        "body: expected at most {MEMBERS_MAX} gzip members or zstd frames, one after the other, \
         {DEFLATE_BLOCKS_MAX} blocks of gzip or deflate, and {ZSTD_BLOCKS_MAX} of zstd"
    )]
    TooManyMembers,
    /// The decoded body has an error that keeps all of its events from being taken.
    #[error("{0}")]
    Body(BodyError),
    /// The store has no room for the events.
    #[error("store: the queue to Redis is full (--store-overflow reject)")]
    StoreFull,
    /// Too many requests wait until their events are stored.
    #[error("ack: too many wait for the store already, and nothing of this request was taken")]
    TooManyWait,
}

impl From<Denial> for IngestError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Unauthorized => Self::Unauthorized,
            Denial::Limited(seconds) => Self::TooManyFailures(seconds),
        }
    }
}

impl IngestError {
    /// Returns the error of a body that could not be decoded.
    pub(super) const fn of_coding(coding: ContentCoding, error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::Malformed(coding),
            DecodeError::TooLarge => Self::TooLarge,
            DecodeError::TooManyMembers => Self::TooManyMembers,
        }
    }

    /// Returns the error of a client of InfluxDB that may not write.
    pub(super) fn of_influx(denial: Denial, request: &Request<'_>) -> Self {
        match Self::from(denial) {
            Self::Unauthorized if has_token_in_query(request) => Self::TokenInQuery,
            other => other,
        }
    }

    /// Answers with the error, and counts it for the log.
    #[cold]
    pub(super) fn answer_and_warn(
        self,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        let response = self.answer(body, route);
        warn::refused_request(response.status, body, state, context);
        response
    }

    /// Writes the problem into `body`, and returns its head.
    pub(super) fn answer(self, body: &mut Vec<u8>, route: usize) -> Response {
        let (status, field) = match self {
            Self::Unauthorized | Self::TokenInQuery => {
                (Status::Unauthorized, Some(Field::WwwAuthenticate("Bearer")))
            }
            Self::TooManyFailures(seconds) => {
                (Status::TooManyRequests, Some(Field::RetryAfter(seconds)))
            }
            Self::UnsupportedMediaType | Self::HeaderAbsent => (Status::UnsupportedMediaType, None),
            Self::UnsupportedCoding => {
                let field = Field::AcceptEncoding(content_coding::ACCEPTED);
                (Status::UnsupportedMediaType, Some(field))
            }
            Self::TooLarge | Self::TooManyMembers => (Status::ContentTooLarge, None),
            Self::Body(error) if error.is_too_large() => (Status::ContentTooLarge, None),
            Self::Precision | Self::Acknowledgement | Self::Malformed(_) | Self::Body(_) => {
                (Status::BadRequest, None)
            }
            Self::StoreFull | Self::TooManyWait => {
                (Status::ServiceUnavailable, Some(retry_after()))
            }
        };
        if matches!(self, Self::Body(BodyError::Empty)) {
            // It has the members of an answer to rejected events, of which there are none.
            problem::open(body, status, self);
            body.extend_from_slice(b",\"rejected\":0,\"errors\":[]}\n");
            return Response { status, ..Response::ok(PROBLEM, route) };
        }
        problem(body, status, self, field, route)
    }
}
