//! Acknowledgements of requests that bring metrics: when their events are accepted, or when the
//! store has confirmed them.

use std::io::Write;

use super::influx;
use super::ingest_error::IngestError;
use super::route::InfluxApi;
use super::state::State;
use crate::store::confirmations::{Answer, Confirmation};
use percore::http::handler::{Ticket, retry_after};
use percore::http::problem::{self, PROBLEM};
use percore::http::request::Request;
use percore::http::response::{self, Response};
use percore::http::status::Status;

/// The parameter of a query that asks for an acknowledgement.
pub(super) const PARAMETER: &str = "ack";

/// Returns true if the answer to a request is to wait until the store has confirmed its events.
pub(super) fn waits_for_store(request: &Request<'_>, state: &State) -> Result<bool, IngestError> {
    match request.parameter(PARAMETER).as_deref() {
        None => Ok(state.settings.waits_for_store),
        Some("stored") => Ok(true),
        Some("accepted") => Ok(false),
        Some(_) => Err(IngestError::Acknowledgement),
    }
}

/// The answer that a request gets if its events are stored, and what another one depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerForm {
    /// The API of InfluxDB by whose form it is, if any.
    pub(super) api: Option<InfluxApi>,
    /// Events accepted.
    pub(super) accepted: u64,
    /// Its head.
    pub(super) response: Response,
}

impl AnswerForm {
    /// Returns the answer by a ticket, whose body is this one if all events are stored.
    pub(super) fn when_stored(self, ticket: Ticket, mut body: Vec<u8>) -> Answer {
        let bytes = body.capacity();
        let give = move |confirmation| {
            let response = self.confirm(confirmation, &mut body);
            ticket.answer(response::Answer { response, body });
        };
        Answer { give: Box::new(give), bytes }
    }

    /// Makes of an answer to accepted events one that tells what became of them.
    pub(super) fn confirm(self, confirmation: Confirmation, body: &mut Vec<u8>) -> Response {
        let Self { api, accepted, response } = self;
        if accepted > 0 && !confirmation.is_complete() {
            return self.deny(confirmation, body);
        }
        if api.is_none() && accepted > 0 && body.ends_with(b"}\n") {
            body.truncate(body.len() - 2);
            body.extend_from_slice(b",\"stored\":true}\n");
        }
        response
    }

    /// Answers that not all events are stored.
    fn deny(self, confirmation: Confirmation, body: &mut Vec<u8>) -> Response {
        let Self { api, accepted, response: Response { route, .. } } = self;
        let Confirmation { stored, coalesced, dropped, unknown } = confirmation;
        let unconfirmed = dropped + unknown;
        let status = Status::ServiceUnavailable;
        let detail =
            format!("store: {unconfirmed} of {accepted} events are not confirmed as stored");
        if let Some(api) = api {
            let detail = format!("{detail}: {dropped} were dropped, {unknown} may be stored yet");
            return influx::answer_text(api, status, &detail, body, route);
        }
        let told = std::mem::take(body);
        problem::open(body, status, detail);
        // What was found in the events is told as well: they are in the analytics.
        if let Some(members) = told.strip_prefix(b"{").and_then(|t| t.strip_suffix(b"}\n")) {
            body.push(b',');
            body.extend_from_slice(members);
        }
        // Writing into memory cannot fail.
        let _ = writeln!(
            body,
            ",\"stored\":{stored},\"coalesced\":{coalesced},\"dropped\":{dropped},\
             \"unknown\":{unknown}}}"
        );
        let response = Response::ok(PROBLEM, route);
        Response { status, field: Some(retry_after()), ..response }
    }
}
