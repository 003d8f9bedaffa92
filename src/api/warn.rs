//! Log lines about requests and events that are refused or ignored: each kind once a minute, or
//! each time with `--log-level debug`.
//!
//! Counters say how many there are and why. To find the device at fault, a line also names the peer
//! and the device of one of them, with the detail that was answered.

use super::state::State;
use crate::metric::decode::{IgnoredMembers, MissingOptional};
use crate::metric::rejection::Rejection;
use crate::schema::Schema;
use crate::telemetry::escaped::Escaped;
use crate::telemetry::log;
use crate::telemetry::warning::{Warning, WarningContext};
use percore::http::handler::Context;
use percore::http::peer::PeerDisplay;
use percore::http::status::Status;

/// Warns of events of one request that were rejected, with the reason for one of them.
#[cold]
pub(super) fn rejected_events(
    rejected: u64,
    rejection: Rejection,
    device_id: Option<&[u8]>,
    state: &State,
    context: &Context<'_>,
) {
    let warning = Warning::EventsRejected;
    let (peer, reason, detail) = (PeerDisplay(context.peer), rejection.reason().name(), rejection);
    let device_id = || device_id.map(|id| Escaped(id).to_string());
    // The fields of a line that is not written are not computed.
    match state.counters.warnings().add(warning, rejected, context.now) {
        Some(count) => {
            let device_id = device_id();
            log::warn!(count, %peer, device_id, reason, %detail, "{}", warning.name());
        }
        None => {
            state.counters.warnings().keep_context(warning, || WarningContext {
                peer: Some(peer.to_string()),
                device_id: device_id(),
                reason: Some(reason),
                detail: Some(detail.to_string()),
                ..WarningContext::default()
            });
            let message = warning.name();
            let device_id = device_id();
            log::debug!(count = rejected, %peer, device_id, reason, %detail, "{message}");
        }
    }
}

/// Warns of accepted events without a device id or a timestamp that have members with unknown
/// names: one of these may be a misspelt name of what is missing.
#[cold]
pub(super) fn ignored_members(ignored: &IgnoredMembers<'_>, state: &State, context: &Context<'_>) {
    let warning = Warning::MembersIgnored;
    let (peer, events) = (PeerDisplay(context.peer), ignored.events);
    let names = || ignored.names().collect::<Vec<_>>().join(&b", "[..]);
    let missing = || missing(ignored.missing, state.settings.schema);
    match state.counters.warnings().add(warning, events, context.now) {
        Some(count) => {
            let names = names();
            let (missing, ignored) = (missing(), Escaped(&names));
            log::warn!(count, %peer, missing, %ignored, "{}", warning.name());
        }
        None => {
            let ignored = || Escaped(&names()).to_string();
            state.counters.warnings().keep_context(warning, || WarningContext {
                peer: Some(peer.to_string()),
                missing: Some(missing()),
                ignored: Some(ignored()),
                ..WarningContext::default()
            });
            let (message, missing) = (warning.name(), missing());
            log::debug!(count = events, %peer, missing, ignored = ignored(), "{message}");
        }
    }
}

/// Returns the canonical names of what an event lacks.
fn missing(missing: MissingOptional, schema: &Schema) -> String {
    let device = schema.device_names.first().filter(|_| missing.device_id);
    let time = schema.timestamp_names.first().filter(|_| missing.timestamp);
    device.into_iter().chain(time).map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Warns of accepted events that were not scored, because there are too many devices.
#[cold]
pub(super) fn refused_devices(unjudged: u64, state: &State, context: &Context<'_>) {
    let warning = Warning::DevicesRefused;
    let (peer, devices_max) = (PeerDisplay(context.peer), state.settings.devices_max);
    // Past the limit, any request may be such a one: not even the debug log has a line for each.
    if let Some(count) = state.counters.warnings().add(warning, unjudged, context.now) {
        log::warn!(count, devices_max, %peer, "{}", warning.name());
    } else {
        let of_peer =
            || WarningContext { peer: Some(peer.to_string()), ..WarningContext::default() };
        state.counters.warnings().keep_context(warning, of_peer);
    }
}

/// Warns of a request that was refused as a whole, with the problem that it was answered.
#[cold]
pub(super) fn refused_request(
    status: Status,
    problem: &[u8],
    state: &State,
    context: &Context<'_>,
) {
    warn_of_request(Warning::BodiesRefused, status, problem, state, context);
}

/// Warns of a request that was refused because it had not the token that it needs, with the problem
/// that it was answered.
#[cold]
pub(super) fn unauthorized(status: Status, problem: &[u8], state: &State, context: &Context<'_>) {
    warn_of_request(Warning::Unauthorized, status, problem, state, context);
}

fn warn_of_request(
    warning: Warning,
    status: Status,
    problem: &[u8],
    state: &State,
    context: &Context<'_>,
) {
    let (peer, status, detail) =
        (PeerDisplay(context.peer), status.code(), Escaped(detail(problem)));
    match state.counters.warnings().add(warning, 1, context.now) {
        Some(count) => log::warn!(count, %peer, status, %detail, "{}", warning.name()),
        None => {
            state.counters.warnings().keep_context(warning, || WarningContext {
                peer: Some(peer.to_string()),
                status: Some(status),
                detail: Some(detail.to_string()),
                ..WarningContext::default()
            });
            log::debug!(count = 1, %peer, status, %detail, "{}", warning.name());
        }
    }
}

/// Returns the detail of a problem, still escaped.
fn detail(problem: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\"detail\":\"";
    let begins = |at: &usize| problem.get(*at..).is_some_and(|rest| rest.starts_with(NAME));
    let start = (0..problem.len()).find(begins).map_or(problem.len(), |at| at + NAME.len());
    let rest = problem.get(start..).unwrap_or_default();
    let is_escaped = |at: usize| rest.get(at.wrapping_sub(1)) == Some(&b'\\');
    let end = (0..rest.len()).find(|at| rest.get(*at) == Some(&b'"') && !is_escaped(*at));
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::problem::problem;

    #[test]
    fn the_detail_is_found_in_the_problem() {
        let mut body = Vec::new();
        problem(&mut body, Status::BadRequest, "body: \"[\" is no end", None, 0);
        assert_eq!(detail(&body), br#"body: \"[\" is no end"#);
        assert_eq!(detail(b"{}"), b"");
        assert_eq!(detail(b""), b"");
    }
}
