//! One device, wherever it is held: `GET /devices/{id}`, `/devices/{id}/latest`, and `/analyze` of
//! a device.
//!
//! The member that holds it answers; of several, as while its window is on its way, the one that
//! heard it last. Its answer is passed on as it is.

use std::sync::Arc;

use super::asking::{Parts, ask};
use super::question::Question;
use super::view::FleetView;
use crate::analytics::shared_windows::Cell;
use crate::api::device::{look_up_latest, unknown_device, write};
use crate::api::devices::wall_us;
use crate::api::jobs::Lane;
use crate::api::json::{append, live};
use crate::api::path_segment::decode_device_id;
use crate::api::state::State;
use crate::fleet::answers::Answers;
use percore::clock::Now;
use percore::http::handler::{Context, Reply, retry_after};
use percore::http::problem::problem;
use percore::http::response::Response;
use percore::http::status::Status;

/// The answer of a member that does not hold the device.
const NOT_HELD: &[u8] = b"-";

/// The answer of a member to which the window of the device is on its way, or from which: events of
/// it may be in no answer.
const MOVES: &[u8] = b"?";

/// Returns what this instance tells of a device: when it was seen, and the answer.
pub(super) fn tell(id: &str, values: bool, state: &State, now: Now) -> Vec<u8> {
    if moves(id, state, now) {
        return MOVES.to_vec();
    }
    let Some(detail) = state.analytics.detail(id, now) else {
        return NOT_HELD.to_vec();
    };
    let mut told = line(detail.seen_ns, now);
    write(id, &detail, values, None, state, now, &mut told);
    told
}

/// Returns what this instance tells of the newest metric of a device: when it was seen, and the
/// timestamp in its key.
pub(super) fn tell_latest(id: &str, state: &State, now: Now) -> Vec<u8> {
    let seen_ns = state.analytics.detail(id, now).map(|detail| detail.seen_ns);
    match (seen_ns, state.analytics.newest_timestamp(id, now)) {
        (Some(seen_ns), Some(timestamp)) => {
            let mut told = line(seen_ns, now);
            told.extend_from_slice(timestamp.to_string().as_bytes());
            told
        }
        _ => NOT_HELD.to_vec(),
    }
}

/// Returns true if the window of a device is on its way to this instance, or from it.
fn moves(id: &str, state: &State, now: Now) -> bool {
    let waits = state.analytics.cell(id.as_bytes(), now) == Cell::Waiting;
    waits || state.fleet.as_ref().is_some_and(|fleet| fleet.figures().moves(id.as_bytes()))
}

/// Returns the time at which a device was seen, in fleet time, as a line.
fn line(seen_ns: u64, now: Now) -> Vec<u8> {
    format!("{}\n", wall_us(seen_ns, now)).into_bytes()
}

/// The part of a member.
enum Part {
    /// It does not hold the device.
    NotHeld,
    /// The window is on its way.
    Moves,
    /// It holds the device: when that was seen, in fleet time, and the rest.
    Held(i64, Vec<u8>),
}

/// Reads the part of a member.
fn read(answer: &[u8]) -> Option<Part> {
    match answer {
        NOT_HELD => Some(Part::NotHeld),
        MOVES => Some(Part::Moves),
        _ => {
            let (seen_us, told) = str::from_utf8(answer).ok()?.split_once('\n')?;
            Some(Part::Held(seen_us.parse().ok()?, told.as_bytes().to_vec()))
        }
    }
}

/// Returns what the member told that has seen the device last.
fn newest<'a>(parts: &'a Parts<'_, Part>) -> Option<&'a [u8]> {
    let held = parts.iter().filter_map(|(_, part)| match part {
        Part::Held(seen_us, told) => Some((*seen_us, told.as_slice())),
        Part::NotHeld | Part::Moves => None,
    });
    held.max_by_key(|(seen_us, _)| *seen_us).map(|(_, told)| told)
}

/// Returns true if the window is on its way from one member to another.
fn is_moving(parts: &Parts<'_, Part>) -> bool {
    parts.iter().any(|(_, part)| matches!(part, Part::Moves))
}

/// Answers for a device that no member holds: one that is missing may.
fn absent(answers: &Answers, moves: bool, body: &mut Vec<u8>, route: usize) -> Response {
    if answers.complete && !moves {
        return unknown_device("device_id: no instance of the fleet holds it", body, route);
    }
    let missing: Vec<_> = answers.missing().collect();
    let detail = if moves {
        "device_id: its window is on its way from one instance to another".to_owned()
    } else if missing.is_empty() {
        "device_id: this instance does not hold it, and the fleet cannot be asked now".to_owned()
    } else {
        format!("device_id: who has answered does not hold it; missing is {}", missing.join(", "))
    };
    problem(body, Status::ServiceUnavailable, detail, Some(retry_after()), route)
}

/// Answers with all that is known of the device whose id is this segment of the path.
pub(in crate::api) fn answer(
    segment: &str,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    match decode_device_id(segment) {
        Some(id) => answer_id(id, true, state, context, body, route),
        None => Reply::Now(unknown_device("device_id: no device has such an id", body, route)),
    }
}

/// Answers with what is known of a device.
pub(super) fn answer_id(
    id: String,
    values: bool,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let question = Question::Device { id, values };
    ask(
        state,
        (Lane::Analyze, route),
        context,
        body,
        (&question, read),
        move |_, answers, parts, _, body| {
            let moves = is_moving(parts);
            let Some(told) = newest(parts) else {
                return absent(answers, moves, body, route);
            };
            append(body, &FleetView::new(answers).lacking(moves));
            // Two objects become one.
            body.pop();
            body.push(b',');
            body.extend_from_slice(told.strip_prefix(b"{").unwrap_or(told));
            live(route)
        },
    )
}

/// Answers with the stored metric that a device sent last.
pub(in crate::api) fn latest(
    segment: &str,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let Some(id) = decode_device_id(segment) else {
        return Reply::Now(unknown_device("device_id: no device has such an id", body, route));
    };
    let question = Question::Latest { id: id.clone() };
    let lane = (Lane::Lookup, route);
    ask(
        state,
        lane,
        context,
        body,
        (&question, read),
        move |state, answers, parts, execution, body| {
            let Some(timestamp) = newest(parts) else {
                return absent(answers, is_moving(parts), body, route);
            };
            look_up_latest(&id, timestamp, state, execution.now, body, route)
        },
    )
}
