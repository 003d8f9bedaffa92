//! The report of one request that brought metrics: what became of them, and the answer.

use serde::Serialize;

use super::json::{self, Number, Text};
use super::novelty;
use super::state::State;
use crate::analytics::Applied;
use crate::analytics::anomaly::{Finding, Found};
use crate::limits::ANSWER_ITEMS_MAX;
use crate::metric::batch::Batch;
use crate::metric::rejection::{Reason, Rejection};
use percore::http::problem::{self, PROBLEM};
use percore::http::response::{Field, JSON, Response};
use percore::http::status::Status;

/// The outcome of one request.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) accepted: u64,
    /// The timestamp that the server assigned to a single event without one.
    pub(super) assigned_timestamp: Option<u64>,
    pub(super) late: u64,
    anomalies: u64,
    novelties: u64,
    /// The anomalies that the answer may name.
    pub(super) points: Vec<Found>,
    /// The novelties that it may name.
    novel: Vec<Found>,
    /// The accepted events that have no verdict.
    pub(super) applied: Applied,
    /// Entries of `anomalous` so far, with their JSON.
    anomalous: usize,
    anomalous_json: Vec<u8>,
    novel_json: Vec<u8>,
    rejected: [u64; Reason::ALL.len()],
    pub(super) first_rejection: Option<Rejection>,
    /// The least number of seconds until an event that was over a limit would pass.
    retry_after: Option<u32>,
    /// Entries of `errors` so far, with their JSON.
    errors: usize,
    errors_json: Vec<u8>,
}

/// An entry of `anomalous`.
#[derive(Serialize)]
struct AnomalousValue<'a> {
    index: u32,
    device_id: Option<&'a str>,
    field: &'static str,
    value: Number,
    z: Number,
}

/// An entry of `novel`.
#[derive(Serialize)]
struct NovelValue<'a> {
    index: u32,
    device_id: Option<&'a str>,
    field: &'static str,
    value: Number,
    score: Number,
    reason: &'static str,
}

/// An entry of `errors`.
#[derive(Serialize)]
struct RejectedEvent {
    index: u32,
    detail: Text<Rejection>,
}

impl Report {
    pub(super) fn clear(&mut self) {
        (self.accepted, self.late, self.anomalies, self.novelties) = (0, 0, 0, 0);
        self.applied = Applied::default();
        (self.anomalous, self.errors) = (0, 0);
        self.points.clear();
        self.novel.clear();
        self.anomalous_json.clear();
        self.novel_json.clear();
        self.errors_json.clear();
        if self.first_rejection.take().is_some() {
            self.rejected = [0; Reason::ALL.len()];
            self.retry_after = None;
        }
    }

    pub(super) fn count(&self, core: usize, state: &State) {
        if self.late > 0 {
            state.counters.count_late(core, self.late);
        }
        if self.first_rejection.is_none() {
            return;
        }
        for reason in Reason::ALL {
            let events = self.rejected.get(reason.index()).copied().unwrap_or_default();
            if events > 0 {
                state.counters.count_rejected(core, reason.index(), events);
            }
        }
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Counts the findings from this one on, and parts them by who found them. Of very many only
    /// the first are kept.
    #[cold]
    pub(super) fn count_anomalies(&mut self, from: usize) {
        let novel = self.novel.len();
        let is_novel = |found: &mut Found| matches!(found.finding, Finding::Novel(_));
        self.novel.extend(self.points.extract_if(from.., is_novel));
        self.novelties += (self.novel.len() - novel) as u64;
        self.anomalies += (self.points.len() - from) as u64;
        for found in [&mut self.points, &mut self.novel] {
            if found.len() > 2 * ANSWER_ITEMS_MAX {
                keep_first(found);
            }
        }
    }

    /// Writes what the answer tells of the anomalies of this batch.
    pub(super) fn describe_anomalies(&mut self, batch: &Batch<'_>) {
        if self.points.is_empty() && self.novel.is_empty() {
            return;
        }
        keep_first(&mut self.points);
        keep_first(&mut self.novel);
        for Found { index, finding } in self.points.drain(..).chain(self.novel.drain(..)) {
            let event = batch.event_at(index as usize);
            let device_id = event.and_then(|event| event.device_id);
            let device_id = device_id.and_then(|id| std::str::from_utf8(id).ok());
            let (field, value) = (finding.field().name(), Number(Some(finding.value())));
            match finding {
                Finding::Anomaly(point) => {
                    let out = &mut self.anomalous_json;
                    if self.anomalous > 0 {
                        out.push(b',');
                    }
                    self.anomalous += 1;
                    let z = Number(Some(point.z));
                    json::append(out, &AnomalousValue { index, device_id, field, value, z });
                }
                Finding::Novel(point) => {
                    let out = &mut self.novel_json;
                    if !out.is_empty() {
                        out.push(b',');
                    }
                    let (score, reason) = (novelty::score(point.score), point.reason.name());
                    json::append(
                        out,
                        &NovelValue { index, device_id, field, value, score, reason },
                    );
                }
            }
        }
    }

    pub(super) fn add_rejection(&mut self, index: u32, rejection: Rejection) {
        if let Some(count) = self.rejected.get_mut(rejection.reason().index()) {
            *count += 1;
        }
        self.first_rejection.get_or_insert(rejection);
        if let Rejection::Rate { seconds, .. } = rejection {
            self.retry_after = Some(self.retry_after.map_or(seconds, |least| least.min(seconds)));
        }
        if self.errors == ANSWER_ITEMS_MAX {
            return;
        }
        let out = &mut self.errors_json;
        if self.errors > 0 {
            out.push(b',');
        }
        self.errors += 1;
        json::append(out, &RejectedEvent { index, detail: Text(rejection) });
    }

    pub(super) fn answer(&self, body: &mut Vec<u8>, route: usize) -> Response {
        if self.is_usual() {
            // Nearly every answer to a single metric.
            body.extend_from_slice(b"{\"accepted\":1,\"anomalies\":0}\n");
            return Response { status: Status::Accepted, ..Response::ok(JSON, route) };
        }
        if self.accepted == 0 {
            return self.answer_none(body, route);
        }
        body.extend_from_slice(b"{\"accepted\":");
        integer(body, self.accepted);
        body.extend_from_slice(b",\"anomalies\":");
        integer(body, self.anomalies);
        if let Some(timestamp) = self.assigned_timestamp {
            body.extend_from_slice(b",\"timestamp\":");
            integer(body, timestamp);
        }
        if self.anomalous > 0 {
            body.extend_from_slice(b",\"anomalous\":[");
            body.extend_from_slice(&self.anomalous_json);
            body.push(b']');
        }
        if self.novelties > 0 {
            body.extend_from_slice(b",\"novelties\":");
            integer(body, self.novelties);
            body.extend_from_slice(b",\"novel\":[");
            body.extend_from_slice(&self.novel_json);
            body.push(b']');
        }
        for (name, events) in [
            (&b",\"unjudged\":"[..], self.applied.refused()),
            (b",\"pending\":", self.applied.pending()),
            (b",\"duplicates\":", self.applied.duplicates()),
        ] {
            if events > 0 {
                body.extend_from_slice(name);
                integer(body, events);
            }
        }
        if self.rejected() > 0 {
            self.write_errors(body);
        }
        body.extend_from_slice(b"}\n");
        Response { status: Status::Accepted, ..Response::ok(JSON, route) }
    }

    /// Returns true if there is nothing to say but that one event was accepted.
    fn is_usual(&self) -> bool {
        (self.accepted, self.anomalies | self.novelties, self.applied) == (1, 0, Applied::default())
            && self.assigned_timestamp.is_none()
            && self.first_rejection.is_none()
    }

    /// Returns the seconds after which the request could be repeated, if nothing of it was accepted
    /// and some of it only because there were too many events.
    pub(super) fn retry_after(&self) -> Option<Field> {
        self.retry_after.filter(|_| self.accepted == 0).map(Field::RetryAfter)
    }

    /// Answers a request without an accepted event: `[]`, or rejected ones only. If there is one
    /// event, its error is that of the request.
    fn answer_none(&self, body: &mut Vec<u8>, route: usize) -> Response {
        let (status, field) = (self.status_of_rejected(), self.retry_after());
        // What is wrong in other events stays wrong, and is told; these would pass later.
        let none = match field {
            Some(_) => "rate: expected fewer events, all are over a limit",
            None => "body: expected at least one valid metric",
        };
        match self.first_rejection.filter(|_| self.rejected() == 1) {
            Some(rejection) => problem::open(body, status, rejection),
            None => problem::open(body, status, none),
        }
        self.write_errors(body);
        body.extend_from_slice(b"}\n");
        Response { status, field, ..Response::ok(PROBLEM, route) }
    }

    /// Returns the status that says why events were rejected: there are too many of them, the
    /// sender may write none of them, or they are wrong.
    pub(super) fn status_of_rejected(&self) -> Status {
        let forbidden = self.rejected.get(Reason::Forbidden.index()).copied().unwrap_or_default();
        match self.retry_after() {
            Some(_) => Status::TooManyRequests,
            None if self.accepted == 0 && forbidden > 0 && forbidden == self.rejected() => {
                Status::Forbidden
            }
            None => Status::BadRequest,
        }
    }

    fn write_errors(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(b",\"rejected\":");
        integer(body, self.rejected());
        body.extend_from_slice(b",\"errors\":[");
        body.extend_from_slice(&self.errors_json);
        body.push(b']');
    }
}

/// Brings findings into the order of the request, and keeps those that the answer names.
fn keep_first(found: &mut Vec<Found>) {
    found.sort_unstable_by_key(|found| (found.index, found.finding.field().index()));
    found.truncate(ANSWER_ITEMS_MAX);
}

/// Appends an integer without the formatting machinery: every answer has two or three.
fn integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
