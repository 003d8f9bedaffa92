//! Answers of the whole fleet: `?scope=fleet`.
//!
//! A question goes to every replica, and each tells its part, which the one that was asked merges.
//! Every such answer says which members there are, and whether all of them have told theirs. The
//! files below have a route each: what a member tells, and how the parts become one answer. A
//! [`question`] goes out by [`asking`]; the [`view`] is what all answers say of the members.

mod analyze;
mod anomalies;
mod asking;
mod device;
mod devices;
mod history;
mod question;
pub mod responder;
mod stats;
mod view;

use std::sync::Arc;

use super::route::Route;
use super::state::State;
use percore::http::handler::{Context, Reply};
use percore::http::request::Request;

/// The replicas that an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The one that is asked.
    Instance,
    /// All of them.
    Fleet,
}

impl Scope {
    /// Reads the scope of a request. One device is asked for in the whole fleet, wherever it is
    /// held; everything else in this instance, unless it is said.
    pub(super) fn read(
        route: Route<'_>,
        request: &Request<'_>,
        state: &State,
    ) -> Result<Self, &'static str> {
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

/// Answers for the whole fleet. The query of the request was checked.
pub(super) fn answer(
    route: Route<'_>,
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
) -> Reply {
    let index = route.index();
    match route {
        Route::Devices => devices::answer(request, state, context, body, index),
        Route::Device(id) => device::answer(id, state, context, body, index),
        Route::LatestMetric(id) => device::latest(id, state, context, body, index),
        Route::Anomalies => anomalies::answer(request, state, context, body, index),
        Route::Stats => stats::answer(request, state, context, body, index),
        _ => analyze::answer(request, state, context, body, index),
    }
}
