//! The handler of one core: routes each request to what answers it.

use std::io;
use std::sync::Arc;

use super::cors::Cors;
use super::ingest::{self, Ingest};
use super::meter::Meter;
use super::route::{NAMES, REFUSED, Route};
use super::state::State;
use super::{analyze, debug, health, index, lookup, openapi, profile, query, scrape};
use percore::clock::Now;
use percore::http::handler::{self, Context, Handler, Peer, Reply, retry_after};
use percore::http::problem::problem;
use percore::http::request::{Method, Request};
use percore::http::request_error::RequestError;
use percore::http::response::{Field, Response, TEXT};
use percore::http::status::Status;
use percore::observer::{CloseReason, Observer};

/// What a core serves.
#[derive(Debug)]
pub struct Service {
    core: usize,
    state: Arc<State>,
    ingest: Ingest,
    meter: Meter,
    /// Of stored metrics.
    expiry: Appointment,
    /// Of silent devices.
    sweep: Appointment,
}

/// When the core is to let go of something that is too old by then, in monotonic nanoseconds.
#[derive(Debug, Default)]
struct Appointment(Option<u64>);

impl Appointment {
    /// Does what is due and makes the next appointment. What comes later is due later, so that one
    /// stands until its time; without one, the first events make one.
    fn keep(&mut self, took_events: bool, now: Now, work: impl FnOnce() -> Option<u64>) {
        if self.0.map_or(took_events, |at_ns| now.mono_ns >= at_ns) {
            self.0 = work();
        }
    }
}

impl Service {
    /// The service of `core`.
    #[must_use]
    pub fn new(core: usize, state: Arc<State>) -> Self {
        let ingest = Ingest::new(core, &state);
        let meter = Meter::new(core, Arc::clone(&state.counters), Arc::clone(&state.latency));
        let (expiry, sweep) = (Appointment::default(), Appointment::default());
        Self { core, state, ingest, meter, expiry, sweep }
    }

    #[inline(always)]
    fn decide(
        &mut self,
        route: Route<'_>,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        // What devices send is asked no further.
        let is_metrics = route == Route::Ingest && request.method == Method::Post;
        if is_metrics && request.query.is_none() && !context.over_limit {
            let index = route.index();
            return Reply::Now(self.ingest.take(request, &self.state, context, body, index));
        }
        match at_the_door(route, request, context, body) {
            Some(response) => Reply::Now(response),
            None => self.answer(route, request, context, body),
        }
    }

    fn answer(
        &mut self,
        route: Route<'_>,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        if route != Route::Ingest {
            // A pipelined POST before this request is seen by it.
            self.publish(context.now);
        }
        let (state, index) = (&self.state, route.index());
        Reply::Now(match route {
            Route::Ingest => self.ingest.take(request, state, context, body, index),
            Route::Health => health::health(body, index),
            Route::Ready => health::ready(context.draining, body, index),
            Route::Index => index::index(body, index),
            Route::Document => openapi::document(request.method, body, index),
            Route::Analyze => return analyze::answer(request, state, context, body, index),
            Route::Scrape => return scrape::answer(request, state, context, body, index),
            Route::Lookup(_) if !ingest::is_authorized(&request.headers, state) => {
                ingest::unauthorized(body, index)
            }
            Route::Lookup(key) => return lookup::answer(key, state, context, body, index),
            Route::Debug(_) | Route::Profile(_) if !debug::admits(request, context, state) => {
                debug::forbidden(body, index)
            }
            Route::Debug(page) => {
                return debug::answer(page, request, state, context, body, index);
            }
            Route::Profile(format) => {
                return profile::answer(format, request, state, context, body, index);
            }
            Route::Unknown => unknown(request.path, body, index),
        })
    }
}

/// What is wrong with a method. Who asks `/metrics` as Prometheus does by default is told where
/// that is served.
const fn detail_of_405(route: Route<'_>, method: Method) -> &'static str {
    match (route, method) {
        (Route::Ingest, Method::Get | Method::Head) => {
            "method: devices POST to this path; for Prometheus GET /metrics/prometheus, for a \
             stored metric GET /metrics/{key}"
        }
        _ => "method: this path does not take it; see Allow",
    }
}

/// Answers for a path that is not served, and names the one that was meant if a slash is all that
/// differs.
fn unknown(path: &str, body: &mut Vec<u8>, index: usize) -> Response {
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

/// The answer to what needs no more than the route and the method: what is refused for them, and
/// OPTIONS.
fn at_the_door(
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
        let everything = request.path == "*";
        let allow = if everything { "GET, HEAD, POST, OPTIONS" } else { route.allow() };
        let known = everything || route != Route::Unknown;
        if known {
            let field = Some(Field::Allow(allow));
            return Some(Response { field, ..Response::ok(TEXT, route.index()) });
        }
    }
    if !route.takes(request.method) {
        let field = Some(Field::Allow(route.allow()));
        let status = Status::MethodNotAllowed;
        let detail = detail_of_405(route, request.method);
        return Some(problem(body, status, detail, field, route.index()));
    }
    if let Some(mistake) = query::mistake(route, request) {
        let status = Status::BadRequest;
        return Some(problem(body, status, mistake, None, route.index()));
    }
    None
}

/// The answer to a request that lacks a right, or that nothing here can take, whatever its body is.
/// Whoever may have what it asks for is answered when its body is whole.
fn judge(
    route: Route<'_>,
    head: &Request<'_>,
    context: &Context<'_>,
    state: &State,
    body: &mut Vec<u8>,
) -> Option<Response> {
    let index = route.index();
    match route {
        Route::Ingest => Ingest::judge(&head.headers, state, context, body, index),
        Route::Lookup(_) if !ingest::is_authorized(&head.headers, state) => {
            Some(ingest::unauthorized(body, index))
        }
        Route::Debug(_) | Route::Profile(_) if !debug::admits(head, context, state) => {
            Some(debug::forbidden(body, index))
        }
        Route::Unknown => Some(unknown(head.path, body, index)),
        _ => None,
    }
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
    fn request_answered(&mut self, response: Response, since_ns: u64) {
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
        let route = Route::of(request.path);
        let Some(cors) = &self.state.cors else {
            return self.decide(route, request, context, body);
        };
        let lines = cors.lines(route, request);
        match self.decide(route, request, &Context { lines, ..*context }, body) {
            Reply::Now(response) => Reply::Now(Response { lines, ..response }),
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
        let lines = self.state.cors.as_ref().map_or("", |cors| cors.lines(route, head));
        let context = Context { lines, ..*context };
        let judged = at_the_door(route, head, &context, body)
            .or_else(|| judge(route, head, &context, &self.state, body));
        judged.map(|response| Response { lines, ..response })
    }

    fn take_cost(&mut self) -> usize {
        self.ingest.take_cost()
    }

    fn answer_error(&mut self, error: RequestError, body: &mut Vec<u8>) -> Response {
        let lines = self.state.cors.as_ref().map_or("", Cors::lines_of_refusal);
        Response { lines, ..handler::error_response(error, body, REFUSED) }
    }

    fn publish(&mut self, now: Now) {
        self.ingest.publish(&self.state);
        self.state.store.publish(self.core, now);
    }

    fn end_turn(&mut self, now: Now) -> Option<u64> {
        let Self { core, state, ingest, expiry, sweep, .. } = self;
        let took = ingest.took_events();
        if took {
            state.store.end_turn(*core);
        }
        expiry.keep(took, now, || state.store.sweep(*core, now));
        sweep.keep(took, now, || state.analytics.sweep(*core, now));
        [expiry.0, sweep.0].into_iter().flatten().min()
    }
}
