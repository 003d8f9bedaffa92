//! `POST /metrics`: device metrics in, verdicts out.
//!
//! The whole body is decoded before any of it is applied, because an error that refuses the request
//! must not leave half of it behind. Then [`super::apply`] scores and stores each valid event, and
//! the [`super::report`] answers.

use super::acknowledgement::AnswerForm;
use super::admission::Admission;
use super::apply::{BatchOrder, apply_batch};
use super::authorization::writer::Writer;
use super::content_headers::{BodyForm, ContentHeaders};
use super::influx::{self, RejectedLines};
use super::ingest_error::IngestError;
use super::report::Report;
use super::route::{InfluxApi, Route};
use super::state::State;
use super::warn;
use crate::analytics::recent::PendingEvents;
use crate::limits::{ACK_SMALL_BYTES_MAX, EVENT_COST_BYTES};
use crate::metric::decode::Decoder;
use crate::store::confirmations::{Confirmation, RequestSize};
use percore::http::content_coding::{BodyDecoder, ContentCoding};
use percore::http::handler::{Context, Reply};
use percore::http::response::Response;

/// The body of a request, and its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) body: &'a [u8],
    /// The sender, if it may not write just anything.
    pub(super) writer: Option<&'a Writer<'a>>,
}

/// The ingestion of one core, with the memory that it reuses.
#[derive(Debug)]
pub struct Ingest {
    core: usize,
    decoder: Decoder,
    bodies: BodyDecoder,
    admission: Admission,
    order: BatchOrder,
    pending: PendingEvents,
    report: Report,
    rejected_lines: RejectedLines,
    has_new_events: bool,
    /// The cost of the last request, see [`Self::take_cost`].
    cost: usize,
}

impl Ingest {
    /// Makes the ingestion of `core`.
    pub fn new(core: usize, state: &State) -> Self {
        Self {
            core,
            decoder: Decoder::of_core(
                core,
                state.settings.cores,
                state.settings.store_ttl_ms,
                state.settings.schema,
            ),
            bodies: BodyDecoder::default(),
            admission: Admission::default(),
            order: BatchOrder::default(),
            pending: state.analytics.pending_events(core),
            report: Report::default(),
            rejected_lines: RejectedLines::default(),
            has_new_events: false,
            cost: 0,
        }
    }

    /// Takes the metrics of one request, whose head has these content headers or is wrong, and
    /// writes the answer.
    pub(super) fn take(
        &mut self,
        headers: Result<ContentHeaders, IngestError>,
        sent: Sent<'_>,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        let applied = headers.and_then(|headers| self.apply(headers, sent, state, context));
        self.answer(applied, state, context, body, route)
    }

    #[inline]
    fn answer(
        &self,
        applied: Result<(), IngestError>,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        match applied {
            Ok(()) => self.report.answer(body, route),
            Err(error) => error.answer_and_warn(state, context, body, route),
        }
    }

    /// Takes the metrics of a client of InfluxDB, and writes the answer that it expects.
    #[expect(clippy::too_many_arguments, reason = "those of `take`, and the version of the API")]
    pub(super) fn take_write(
        &mut self,
        headers: Result<ContentHeaders, IngestError>,
        sent: Sent<'_>,
        api: InfluxApi,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        let applied = headers.and_then(|headers| self.apply(headers, sent, state, context));
        self.answer_write(applied, api, state, context, body, route)
    }

    fn answer_write(
        &self,
        applied: Result<(), IngestError>,
        api: InfluxApi,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
        route: usize,
    ) -> Response {
        match applied {
            Ok(()) if self.report.first_rejection.is_none() => influx::accepted(route),
            Ok(()) => {
                let counts = [self.report.accepted, self.report.rejected()];
                let status = (self.report.status_of_rejected(), self.report.retry_after());
                self.rejected_lines.answer(api, counts, status, body, route)
            }
            Err(error) => influx::answer_error_and_warn(error, api, state, context, body, route),
        }
    }

    /// Takes the metrics of a request that waits until the store has confirmed them.
    pub(super) fn take_and_confirm(
        &mut self,
        route: Route<'_>,
        headers: Result<ContentHeaders, IngestError>,
        sent: Sent<'_>,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        let is_small = sent.body.len() <= ACK_SMALL_BYTES_MAX;
        let size = |headers: &ContentHeaders| match headers.coding {
            ContentCoding::Identity if is_small => RequestSize::Small,
            // What is compressed may hold any number of events.
            _ => RequestSize::Large,
        };
        let size = headers.as_ref().map(size).ok();
        let waiter = size.and_then(|size| state.store.begin_waiter(self.core, size));
        let applied = match headers {
            Ok(_) if waiter.is_none() && state.store.is_remote() => Err(IngestError::TooManyWait),
            Ok(headers) => self.apply(headers, sent, state, context),
            Err(error) => Err(error),
        };
        let accepted = if applied.is_ok() { self.report.accepted } else { 0 };
        let index = route.index();
        let (api, response) = match route {
            Route::Write(api) => {
                (Some(api), self.answer_write(applied, api, state, context, body, index))
            }
            _ => (None, self.answer(applied, state, context, body, index)),
        };
        let form = AnswerForm { api, accepted, response };
        let Some(waiter) = waiter else {
            // What this process keeps is stored.
            return Reply::Now(form.confirm(Confirmation::default(), body));
        };
        if accepted == 0 {
            state.store.answer_when_stored(waiter, 0, None);
            return Reply::Now(response);
        }
        let deadline_ns = context.now.mono_ns.saturating_add(state.settings.ack_timeout_ns);
        let answer = form.when_stored(context.ticket(), body.clone());
        state.store.answer_when_stored(waiter, deadline_ns, Some(answer));
        Reply::Later
    }

    /// Takes the cost of the last request: the decoded bytes, or more for many small events.
    pub const fn take_cost(&mut self) -> usize {
        std::mem::replace(&mut self.cost, 0)
    }

    /// Makes the accepted events visible in the window over all series.
    pub fn publish(&mut self, state: &State) {
        state.analytics.publish(&mut self.pending);
    }

    /// Returns true if events were accepted since the last call.
    pub const fn take_has_new_events(&mut self) -> bool {
        std::mem::replace(&mut self.has_new_events, false)
    }

    fn apply(
        &mut self,
        headers: ContentHeaders,
        sent: Sent<'_>,
        state: &State,
        context: &Context<'_>,
    ) -> Result<(), IngestError> {
        let now = context.now;
        let Self { core, decoder, bodies, admission, order, pending, report, .. } = self;
        let core = *core;
        let ContentHeaders { form, coding } = headers;
        let body_bytes_max = state.settings.body_bytes_max;
        let decoded = bodies.decode_with_cost(coding, sent.body, body_bytes_max);
        self.cost = decoded.1;
        let body = decoded.0.map_err(|error| IngestError::of_coding(coding, error))?;
        let decoded = match form {
            BodyForm::Json(line_mode) => decoder.decode(body, line_mode, now),
            BodyForm::Lines(precision) => decoder.decode_lines(body, precision, now),
            BodyForm::Table => decoder.decode_table(body, now),
        };
        let mut batch = match decoded {
            Ok(batch) => batch,
            Err(error) => {
                self.cost = self.cost.max(decoder.items() * EVENT_COST_BYTES);
                return Err(IngestError::Body(error));
            }
        };
        self.cost = self.cost.max(batch.len() * EVENT_COST_BYTES);
        if let Some(restriction) = sent.writer.and_then(Writer::restriction) {
            batch = decoder.restrict(body, restriction);
        }
        let bucket = sent.writer.and_then(Writer::bucket);
        if bucket.is_some() || state.analytics.has_device_limit() {
            let rejected = admission.check(&batch, (core, now), bucket, state);
            batch = decoder.reject(body, rejected);
        }
        report.clear();
        apply_batch(&batch, (core, now), state, order, pending, report)?;
        self.has_new_events |= report.accepted > 0;
        report.count(core, state);
        if let Some(rejection) = report.first_rejection {
            if matches!(form, BodyForm::Lines(_)) {
                self.rejected_lines.set(&batch, body);
            }
            // An event whose device is known is better to name than the first.
            let (rejection, device_id) = decoder
                .rejected_device(body)
                .map_or((rejection, None), |(why, id)| (why, Some(id)));
            warn::rejected_events(report.rejected(), rejection, device_id, state, context);
        }
        if report.applied.refused() > 0 {
            warn::refused_devices(report.applied.refused(), state, context);
        }
        if let Some(ignored) = decoder.ignored_members(body) {
            warn::ignored_members(&ignored, state, context);
        }
        Ok(())
    }
}
