//! The read API: what this instance knows, or the whole fleet.

use std::sync::Arc;

use super::fleet::{self, Scope};
use super::route::Route;
use super::state::State;
use super::{analyze, anomalies, device, devices, stats};
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::status::Status;

/// Answers a request of a route that has a scope.
pub(super) fn answer(
    route: Route<'_>,
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
) -> Reply {
    let index = route.index();
    match (Scope::read(route, request, state), route) {
        (Err(detail), _) => Reply::Now(problem(body, Status::BadRequest, detail, None, index)),
        (Ok(Scope::Fleet), _) => fleet::answer(route, request, state, context, body),
        (Ok(Scope::Instance), Route::Devices) => {
            devices::answer(request, state, context, body, index)
        }
        (Ok(Scope::Instance), Route::Device(id)) => device::answer(id, state, context, body, index),
        (Ok(Scope::Instance), Route::LatestMetric(id)) => {
            device::latest(id, state, context, body, index)
        }
        (Ok(Scope::Instance), Route::Anomalies) => {
            anomalies::answer(request, state, context, body, index)
        }
        (Ok(Scope::Instance), Route::Stats) => stats::answer(request, state, context, body, index),
        (Ok(Scope::Instance), _) => analyze::answer(request, state, context, body, index),
    }
}
