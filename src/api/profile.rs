//! `GET /debug/pprof/profile` and `/flamegraph`: the CPU time of so many seconds, by function.

use std::sync::Arc;
use std::time::Duration;

use super::jobs::{Execution, Lane};
use super::route::ProfileFormat;
use super::state::State;
use crate::limits::{PROFILE_SECONDS_DEFAULT, PROFILE_SECONDS_MAX};
use crate::telemetry::profile::{ProfileError, Profiler};
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::request::{Method, Request};
use percore::http::response::{Field, Response};
use percore::http::status::Status;

/// Answers with a profile in `format`, or to HEAD with its head, which is not worth a profile.
pub fn answer(
    format: ProfileFormat,
    request: &Request<'_>,
    state: &Arc<State>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let Some(seconds) = seconds(request) else {
        let detail =
            format_args!("seconds: expected a whole number from 1 to {PROFILE_SECONDS_MAX}");
        return Reply::Now(problem(body, Status::BadRequest, detail, None, route));
    };
    if request.method == Method::Head {
        return Reply::Now(head(format, route));
    }
    state.submit(Lane::Profile, context, body, route, move |_, execution, body| {
        match take(format, seconds, execution) {
            Ok(profile) => {
                *body = profile;
                head(format, route)
            }
            Err(error) => problem(body, Status::ServiceUnavailable, error, None, route),
        }
    })
}

/// Returns the duration that a request asks for; `None` if its `seconds` are no number of seconds
/// that a profile may take.
fn seconds(request: &Request<'_>) -> Option<u8> {
    let seconds = match request.parameter("seconds") {
        None => PROFILE_SECONDS_DEFAULT,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    (1..=PROFILE_SECONDS_MAX).contains(&seconds).then_some(seconds)
}

/// Returns the head of the answer to a GET.
const fn head(format: ProfileFormat, route: usize) -> Response {
    match format {
        ProfileFormat::Pprof => {
            let field = Some(Field::ContentDisposition("attachment; filename=\"profile.pb.gz\""));
            Response { field, ..Response::ok("application/octet-stream", route) }
        }
        ProfileFormat::Flamegraph => Response::ok("image/svg+xml", route),
    }
}

/// Takes a profile, which is shorter than asked for if the server stops meanwhile.
fn take(
    format: ProfileFormat,
    seconds: u8,
    execution: &Execution<'_>,
) -> Result<Vec<u8>, ProfileError> {
    let profiler = Profiler::start()?;
    (execution.sleep)(Duration::from_secs(seconds.into()));
    let profile = profiler.finish()?;
    match format {
        ProfileFormat::Pprof => profile.pprof(),
        ProfileFormat::Flamegraph => profile.flamegraph(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::headers::Headers;

    fn found(query: Option<&str>) -> Option<u8> {
        let request = Request {
            method: Method::Get,
            path: "/debug/pprof/profile",
            query,
            headers: Headers::NONE,
            body: b"",
        };
        seconds(&request)
    }

    #[test]
    fn only_whole_seconds_up_to_a_minute_are_taken() {
        assert_eq!(found(None), Some(10));
        for (query, expected) in
            [("seconds=1", 1), ("seconds=60", 60), ("seconds=007", 7), ("seconds=%35", 5)]
        {
            assert_eq!(found(Some(query)), Some(expected), "{query}");
        }
        for bad in ["", "0", "61", "256", "99999999999", "+5", "-1", "1.5", "5s", "%2d5", " 5"] {
            assert_eq!(found(Some(&format!("seconds={bad}"))), None, "{bad}");
        }
    }
}
