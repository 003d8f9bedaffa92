//! The handler of one core, which dispatches each request to the function that answers it.

use std::io;
use std::sync::Arc;

use super::authorization::Door;
use super::authorization::writer::Writer;
use super::content_headers::ContentHeaders;
use super::cors::Cors;
use super::ingest::{Ingest, Sent};
use super::ingest_error::IngestError;
use super::meter::Meter;
use super::route::{InfluxApi, NAMES, REFUSED, Route};
use super::state::State;
use super::{debug, health, index, influx, lookup, page, profile, query, read, scrape};
use percore::clock::Now;
use percore::http::handler::{self, Context, Handler, Reply, retry_after};
use percore::http::peer::Peer;
use percore::http::problem::problem;
use percore::http::request::{Method, Request};
use percore::http::request_error::RequestError;
use percore::http::response::{Field, Response, TEXT};
use percore::http::status::Status;
use percore::observer::{CloseReason, Observer};

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
        Self { core, state, door, ingest, meter, store_timer, sweep_timer }
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
        if is_ingest && request.query.is_none() && !context.over_limit {
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
            Ok(token) => (ContentHeaders::read(&request.headers), Writer::of(token, None)),
            Err(denial) => (Err(denial.into()), None),
        };
        // Where tokens are asked for, each is looked at: it may be none the next time.
        let is_usual = headers == Ok(ContentHeaders::USUAL) && request.query.is_none();
        if is_usual && state.cors.is_none() && state.access.is_none() {
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
            Ok(token) => (ContentHeaders::read_write(request), Writer::of(token, None)),
            Err(denial) => (Err(IngestError::of_influx(denial, request)), None),
        };
        let sent = Sent { body: request.body, writer: writer.as_ref() };
        let index = Route::Write(api).index();
        Reply::Now(ingest.take_write(headers, sent, api, state, context, body, index))
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
                    Ok(_) => ContentHeaders::read(&head.headers).err()?,
                    Err(denial) => denial.into(),
                };
                Some(error.answer_and_warn(state, context, body, index))
            }
            Route::Write(api) => {
                let error = match self.door.influx_writer(&head.headers, state, context) {
                    Ok(_) => ContentHeaders::read_write(head).err()?,
                    Err(denial) => IngestError::of_influx(denial, head),
                };
                Some(influx::answer_error_and_warn(error, api, state, context, body, index))
            }
            Route::Unknown => Some(unknown_path(head.path, body, index)),
            _ => self.check_rights(route, head, context, body),
        }
    }
}

/// Returns the error of a method that a route does not answer. For GET of `/metrics`, the default
/// of Prometheus, it names the path of the exposition.
const fn method_error(route: Route<'_>, method: Method) -> &'static str {
    match (route, method) {
        (Route::Ingest, Method::Get | Method::Head) => {
            "method: devices POST to this path; for Prometheus GET /metrics/prometheus, for a \
             stored metric GET /metrics/{key}"
        }
        _ => "method: this path does not take it; see Allow",
    }
}

/// Answers for a path that is not served, and names the path that is if only a slash differs.
fn unknown_path(path: &str, body: &mut Vec<u8>, index: usize) -> Response {
    let meant = Route::of(path.trim_end_matches('/'));
    let known = NAMES.get(meant.index()).filter(|name| name.starts_with('/'));
    match known {
        Some(name) => {
            let detail = format_args!("path: nothing is served here; {name} is, without the slash");
            problem(body, Status::NotFound, detail, None, index)
        }
        None => {
            let detail = "path: nothing is served here; GET / lists what is";
            problem(body, Status::NotFound, detail, None, index)
        }
    }
}

/// Answers OPTIONS, and requests that are refused for their connection, method or query.
fn answer_early(
    route: Route<'_>,
    request: &Request<'_>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
) -> Option<Response> {
    let probes = matches!(route, Route::Health | Route::Ready);
    if context.over_limit && !probes {
        let error = RequestError::ConnectionLimit;
        let (status, field) = (error.status(), Some(retry_after()));
        return Some(problem(body, status, error, field, route.index()));
    }
    if request.method == Method::Options {
        let is_asterisk = request.path == "*";
        let allow = if is_asterisk { "GET, HEAD, POST, OPTIONS" } else { route.allow() };
        let is_known = is_asterisk || route != Route::Unknown;
        if is_known {
            let field = Some(Field::Allow(allow));
            return Some(Response { field, ..Response::ok(TEXT, route.index()) });
        }
    }
    if !route.allows(request.method) {
        let field = Some(Field::Allow(route.allow()));
        let status = Status::MethodNotAllowed;
        let detail = method_error(route, request.method);
        return Some(problem(body, status, detail, field, route.index()));
    }
    if let Some(error) = query::find_error(route, request) {
        let status = Status::BadRequest;
        return Some(problem(body, status, error, None, route.index()));
    }
    None
}

/// Sets the further header lines of an answer, if there are any. Those for a page in a browser
/// matter more than the version that `/ping` tells programs.
const fn with_headers(response: Response, extra_headers: &'static str) -> Response {
    if extra_headers.is_empty() {
        return response;
    }
    Response { extra_headers, ..response }
}

impl Observer for Service {
    #[inline]
    fn connection_opened(&mut self) {
        self.meter.connection_opened();
    }

    #[inline]
    fn connection_closed(&mut self, reason: CloseReason) {
        self.meter.connection_closed(reason);
    }

    #[inline]
    fn request_answered(&mut self, response: &Response, since_ns: u64) {
        self.meter.request_answered(response, since_ns);
    }

    #[inline]
    fn turn_ended(&mut self, began_ns: u64, ended_ns: u64) {
        self.meter.turn_ended(began_ns, ended_ns);
    }

    #[inline]
    fn wants_turn(&self) -> bool {
        self.meter.wants_turn()
    }

    fn connection_limit_reached(&mut self, peer: &dyn Peer, connections_max: usize, now: Now) {
        self.meter.connection_limit_reached(peer, connections_max, now);
    }

    fn accept_failed(&mut self, error: &io::Error, exhausted: bool, now: Now) {
        self.meter.accept_failed(error, exhausted, now);
    }
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

    fn check_head(
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
        let Self { core, state, ingest, store_timer, sweep_timer, .. } = self;
        let has_new_events = ingest.take_has_new_events();
        if has_new_events {
            state.store.end_turn(*core);
        }
        store_timer.run_if_due(has_new_events, now, || state.store.sweep(*core, now));
        sweep_timer.run_if_due(has_new_events, now, || state.analytics.sweep(*core, now));
        [store_timer.0, sweep_timer.0].into_iter().flatten().min()
    }
}
