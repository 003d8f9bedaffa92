//! The handler of one core, which dispatches each request to the function that answers it.

mod observer;

use std::sync::Arc;

use super::acknowledgement::waits_for_store;
use super::authorization::Door;
use super::authorization::writer::Writer;
use super::content_headers::ContentHeaders;
use super::cors::Cors;
use super::forwarded::Forwarded;
use super::ingest::{Ingest, Sent};
use super::ingest_error::IngestError;
use super::meter::Meter;
use super::refusal::{answer_early, unknown_path};
use super::route::{InfluxApi, REFUSED, Route};
use super::state::State;
use super::{debug, health, index, influx, lookup, page, profile, read, scrape};
use percore::clock::Now;
use percore::http::handler::{self, Context, Handler, Reply};
use percore::http::request::{Method, Request};
use percore::http::request_error::RequestError;
use percore::http::response::Response;

/// The API on one core.
pub struct Service {
    core: usize,
    state: Arc<State>,
    door: Door,
    ingest: Ingest,
    meter: Meter,
    /// Evicts stored metrics that are too old.
    store_timer: MaintenanceTimer,
    /// Removes devices that have been silent for too long.
    sweep_timer: MaintenanceTimer,
    /// True if requests of this core may wait until their events are stored.
    has_waiters: bool,
}

/// The next time of a maintenance task, in monotonic nanoseconds, if there is something to
/// maintain.
#[derive(Debug, Default)]
struct MaintenanceTimer(Option<u64>);

impl MaintenanceTimer {
    /// Runs the task if it is due, and sets the timer to the time that the task returns. New events
    /// expire later than older ones, so they start the timer only if it does not run.
    fn run_if_due(&mut self, has_new_events: bool, now: Now, work: impl FnOnce() -> Option<u64>) {
        if self.0.map_or(has_new_events, |due_ns| now.mono_ns >= due_ns) {
            self.0 = work();
        }
    }
}

impl Service {
    /// Makes the service of `core`.
    pub fn new(core: usize, state: Arc<State>) -> Self {
        page::prepare();
        let (door, ingest) = (Door::new(&state), Ingest::new(core, &state));
        let meter = Meter::new(core, Arc::clone(&state.counters), Arc::clone(&state.latency));
        let (store_timer, sweep_timer) = <(MaintenanceTimer, MaintenanceTimer)>::default();
        let has_waiters = false;
        Self { core, state, door, ingest, meter, store_timer, sweep_timer, has_waiters }
    }

    #[inline(always)]
    fn dispatch(
        &mut self,
        route: Route<'_>,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        // The request of a device needs no further checks.
        let is_ingest = route == Route::Ingest && request.method == Method::Post;
        let is_plain = is_ingest && request.query.is_none() && !context.over_limit;
        if is_plain && !self.state.settings.waits_for_store {
            return self.ingest(request, context, body);
        }
        match answer_early(route, request, context, body) {
            Some(response) => Reply::Now(response),
            None => self.answer(route, request, context, body),
        }
    }

    /// Takes metrics whose head has nothing unusual, which was marked.
    #[inline(always)]
    fn ingest_usual(
        &mut self,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        let headers = Ok(ContentHeaders::USUAL);
        let (sent, index) = (Sent { body: request.body, writer: None }, Route::Ingest.index());
        Reply::Now(self.ingest.take(headers, sent, &self.state, context, body, index))
    }

    fn ingest(
        &mut self,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        let Self { door, ingest, state, .. } = self;
        let (headers, writer) = match door.writer(&request.headers, state, context) {
            Ok(token) => {
                (ContentHeaders::read(&request.headers), Writer::of(token, device(context)))
            }
            Err(denial) => (Err(denial.into()), None),
        };
        // Where tokens or certificates are asked for, each is looked at: the next time the same
        // head may come with another one. Behind proxies the head names the peer.
        let is_usual = headers == Ok(ContentHeaders::USUAL) && request.query.is_none();
        let is_open = state.access.is_none() && !state.settings.identifies_clients;
        if is_usual && state.cors.is_none() && is_open && state.proxies.is_none() {
            request.headers.mark();
        }
        let sent = Sent { body: request.body, writer: writer.as_ref() };
        Reply::Now(ingest.take(headers, sent, state, context, body, Route::Ingest.index()))
    }

    fn ingest_lines(
        &mut self,
        api: InfluxApi,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        let Self { door, ingest, state, .. } = self;
        let (headers, writer) = match door.influx_writer(&request.headers, state, context) {
            Ok(token) => (ContentHeaders::read_write(request), Writer::of(token, device(context))),
            Err(denial) => (Err(IngestError::of_influx(denial, request)), None),
        };
        let sent = Sent { body: request.body, writer: writer.as_ref() };
        let index = Route::Write(api).index();
        Reply::Now(ingest.take_write(headers, sent, api, state, context, body, index))
    }

    /// Takes metrics of which the answer tells whether the store has them.
    #[cold]
    fn ingest_and_confirm(
        &mut self,
        route: Route<'_>,
        waits: Result<bool, IngestError>,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        let Self { door, ingest, state, .. } = self;
        let (sender, headers) = match route {
            Route::Write(_) => {
                let sender = door.influx_writer(&request.headers, state, context);
                let sender = sender.map_err(|denial| IngestError::of_influx(denial, request));
                (sender, ContentHeaders::read_write(request))
            }
            _ => {
                let sender = door.writer(&request.headers, state, context);
                (sender.map_err(IngestError::from), ContentHeaders::read(&request.headers))
            }
        };
        let (headers, writer) = match sender {
            Ok(token) => {
                (headers.and_then(|it| waits.map(|_| it)), Writer::of(token, device(context)))
            }
            Err(denial) => (Err(denial), None),
        };
        let sent = Sent { body: request.body, writer: writer.as_ref() };
        let reply = ingest.take_and_confirm(route, headers, sent, state, context, body);
        self.has_waiters |= matches!(reply, Reply::Later);
        reply
    }

    fn answer(
        &mut self,
        route: Route<'_>,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        if !matches!(route, Route::Ingest | Route::Write(_)) {
            // This request sees the events of a pipelined POST before it.
            self.publish(context.now);
        }
        if matches!(route, Route::Ingest | Route::Write(_)) {
            let waits = waits_for_store(request, &self.state);
            if waits != Ok(false) {
                return self.ingest_and_confirm(route, waits, request, context, body);
            }
        }
        match route {
            Route::Ingest => return self.ingest(request, context, body),
            Route::Write(api) => return self.ingest_lines(api, request, context, body),
            _ => {}
        }
        if let Some(response) = self.check_rights(route, request, context, body) {
            return Reply::Now(response);
        }
        let (state, index) = (&self.state, route.index());
        Reply::Now(match route {
            Route::Health => health::health(body, index),
            Route::Ping => health::ping(index),
            Route::Ready => health::ready(context.draining, body, index),
            Route::Index if page::is_wanted(&request.headers) => {
                page::document(request, body, index)
            }
            Route::Index => index::answer(body, index),
            Route::Part(name) => page::part(name, request, body, index),
            Route::OpenApi => state.description.answer(request.method, body, index),
            _ if route.has_scope() => return read::answer(route, request, state, context, body),
            Route::Scrape => return scrape::answer(request, state, context, body, index),
            Route::Lookup(key) => return lookup::answer(key, state, context, body, index),
            Route::Debug(page) => {
                return debug::answer(page, request, state, context, body, index);
            }
            Route::Profile(format) => {
                return profile::answer(format, request, state, context, body, index);
            }
            // Those with a scope were answered above, and so were those who write.
            _ => unknown_path(request.path, body, index),
        })
    }

    fn handle_unusual(
        &mut self,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        let route = Route::of(request.path);
        let Some(cors) = &self.state.cors else {
            return self.dispatch(route, request, context, body);
        };
        let extra_headers = cors.headers(route, request);
        match self.dispatch(route, request, &Context { extra_headers, ..*context }, body) {
            Reply::Now(response) => Reply::Now(with_headers(response, extra_headers)),
            Reply::Later => Reply::Later,
        }
    }

    fn check_whole_head(
        &mut self,
        head: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Response> {
        let route = Route::of(head.path);
        let extra_headers = self.state.cors.as_ref().map_or("", |cors| cors.headers(route, head));
        let context = Context { extra_headers, ..*context };
        let answer = answer_early(route, head, &context, body)
            .or_else(|| self.check_rest_of_head(route, head, &context, body));
        answer.map(|response| with_headers(response, extra_headers))
    }

    /// Answers a request that may not have the answer of its route.
    fn check_rights(
        &mut self,
        route: Route<'_>,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Response> {
        let Self { door, state, .. } = self;
        if matches!(route, Route::Debug(_) | Route::Profile(_)) {
            return debug::check_rights(route, request, door, state, context, body);
        }
        let denial = door.check_read(route, &request.headers, state, context).err()?;
        Some(denial.answer(route, state, context, body))
    }

    /// Answers a request that is refused whatever its body is: one without authorization, for an
    /// unknown path, or with wrong content headers. Other requests are answered when their body is
    /// complete.
    fn check_rest_of_head(
        &mut self,
        route: Route<'_>,
        head: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Response> {
        let (state, index) = (&self.state, route.index());
        match route {
            Route::Ingest => {
                let error = match self.door.writer(&head.headers, state, context) {
                    Ok(_) => {
                        let headers = ContentHeaders::read(&head.headers);
                        headers.and_then(|_| waits_for_store(head, state)).err()?
                    }
                    Err(denial) => denial.into(),
                };
                Some(error.answer_and_warn(state, context, body, index))
            }
            Route::Write(api) => {
                let error = match self.door.influx_writer(&head.headers, state, context) {
                    Ok(_) => {
                        let headers = ContentHeaders::read_write(head);
                        headers.and_then(|_| waits_for_store(head, state)).err()?
                    }
                    Err(denial) => IngestError::of_influx(denial, head),
                };
                Some(influx::answer_error_and_warn(error, api, state, context, body, index))
            }
            Route::Unknown => Some(unknown_path(head.path, body, index)),
            _ => self.check_rights(route, head, context, body),
        }
    }
}

/// Returns the device that the certificate of a client names.
fn device<'a>(context: &Context<'a>) -> Option<&'a [u8]> {
    context.identity.map(str::as_bytes)
}

/// Sets the further header lines of an answer, if there are any. Those for a page in a browser
/// matter more than the version that `/ping` tells programs.
const fn with_headers(response: Response, extra_headers: &'static str) -> Response {
    if extra_headers.is_empty() {
        return response;
    }
    Response { extra_headers, ..response }
}

impl Handler for Service {
    fn handle(
        &mut self,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        // Only the dispatch of a POST without anything unusual in its head marks that.
        if request.headers.is_marked() && !context.over_limit {
            return self.ingest_usual(request, context, body);
        }
        let Some(proxies) = self.state.proxies.clone() else {
            return self.handle_unusual(request, context, body);
        };
        let peer = Forwarded::new(context.peer, request.headers, &proxies);
        self.handle_unusual(request, &Context { peer: &peer, ..*context }, body)
    }

    fn check_head(
        &mut self,
        head: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Response> {
        let Some(proxies) = self.state.proxies.clone() else {
            return self.check_whole_head(head, context, body);
        };
        let peer = Forwarded::new(context.peer, head.headers, &proxies);
        self.check_whole_head(head, &Context { peer: &peer, ..*context }, body)
    }

    fn take_cost(&mut self) -> usize {
        self.ingest.take_cost()
    }

    fn answer_error(&mut self, error: RequestError, body: &mut Vec<u8>) -> Response {
        let extra_headers = self.state.cors.as_ref().map_or("", Cors::headers_without_origin);
        Response { extra_headers, ..handler::error_response(error, body, REFUSED) }
    }

    fn publish(&mut self, _now: Now) {
        // The store needs no call: what it keeps in this process can be read already.
        self.ingest.publish(&self.state);
    }

    fn end_turn(&mut self, now: Now) -> Option<u64> {
        let Self { core, state, ingest, store_timer, sweep_timer, has_waiters, .. } = self;
        let has_new_events = ingest.take_has_new_events();
        if has_new_events {
            state.store.end_turn(*core);
        }
        store_timer.run_if_due(has_new_events, now, || state.store.sweep(*core, now));
        sweep_timer.run_if_due(has_new_events, now, || state.analytics.sweep(*core, now));
        let mut waiters_due_ns = None;
        if *has_waiters {
            waiters_due_ns = state.store.expire_waiters(*core, now);
            *has_waiters = waiters_due_ns.is_some();
        }
        [store_timer.0, sweep_timer.0, waiters_due_ns].into_iter().flatten().min()
    }
}
