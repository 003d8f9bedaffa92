//! The read API: what this instance knows, or the whole fleet.

use std::sync::Arc;

use super::route::Route;
use super::state::State;
use super::{analyze, anomalies, device, devices, fleet, stats};
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
    let scope = match Scope::read(route, request, state) {
        Ok(scope) => scope,
        Err(detail) => return Reply::Now(problem(body, Status::BadRequest, detail, None, index)),
    };
    match (route, scope) {
        (Route::Devices, Scope::Instance) => devices::answer(request, state, context, body, index),
        (Route::Devices, _) => fleet::devices::answer(request, state, context, body, index),
        (Route::Device(id), Scope::Instance) => device::answer(id, state, context, body, index),
        (Route::Device(id), _) => fleet::device::answer(id, state, context, body, index),
        (Route::LatestMetric(id), Scope::Instance) => {
            device::latest(id, state, context, body, index)
        }
        (Route::LatestMetric(id), _) => fleet::device::latest(id, state, context, body, index),
        (Route::Anomalies, Scope::Instance) => {
            anomalies::answer(request, state, context, body, index)
        }
        (Route::Anomalies, _) => fleet::anomalies::answer(request, state, context, body, index),
        (Route::Stats, Scope::Instance) => stats::answer(request, state, context, body, index),
        (Route::Stats, _) => fleet::stats::answer(request, state, context, body, index),
        (_, Scope::Instance) => analyze::answer(request, state, context, body, index),
        (_, Scope::Fleet) => fleet::analyze::answer(request, state, context, body, index),
    }
}

/// The replicas that an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The one that is asked.
    Instance,
    /// All of them.
    Fleet,
}

impl Scope {
    /// Reads the scope of a request. One device is asked for in the whole fleet, wherever it is
    /// held; everything else in this instance, unless it is said.
    fn read(route: Route<'_>, request: &Request<'_>, state: &State) -> Result<Self, &'static str> {
        let given = if route.has_scope() { request.parameter("scope") } else { None };
        match (given.as_deref(), state.fleet.is_some()) {
            (Some("fleet"), true) => Ok(Self::Fleet),
            (Some("fleet"), false) => Err("scope: this instance is in no fleet; see --fleet"),
            (Some("instance"), _) => Ok(Self::Instance),
            (Some(_), _) => Err("scope: expected instance or fleet"),
            (None, true) if is_about_device(route, request) => Ok(Self::Fleet),
            (None, _) => Ok(Self::Instance),
        }
    }
}

/// Returns true if a request asks for one device.
fn is_about_device(route: Route<'_>, request: &Request<'_>) -> bool {
    match route {
        Route::Device(_) | Route::LatestMetric(_) => true,
        Route::Analyze => request.parameter("device_id").is_some(),
        _ => false,
    }
}
