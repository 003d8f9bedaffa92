//! `GET /debug/pprof/profile` and `/flamegraph`: where the CPU time of so many seconds goes.
//!
//! Here is decided who gets one. They are taken on a thread of their own, one at a time.

use super::later::{Declined, failed};
use super::state::State;
use crate::limits::{PROFILE_SECONDS_DEFAULT, PROFILE_SECONDS_MAX};
use percore::http::handler::{Context, Reply, Ticket, retry_after};
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::{Answer, Field, Response};
use percore::http::status::Status;

/// What a profile is made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Gzipped protobuf, for `go tool pprof` and speedscope.
    Pprof,
    /// A picture.
    Flamegraph,
}

/// A profile to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is made into.
    pub form: Form,
    /// How long it takes.
    pub seconds: u8,
}

/// A profile on its way, with whom to answer.
#[derive(Debug)]
pub struct ProfileJob {
    wanted: Wanted,
    ticket: Ticket,
    route: usize,
}

impl Wanted {
    /// What a request asks for; `None` if its `seconds` are no number of seconds that a profile may
    /// take.
    #[must_use]
    pub fn of(form: Form, request: &Request<'_>) -> Option<Self> {
        let seconds = match request.parameter("seconds") {
            None => PROFILE_SECONDS_DEFAULT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
        };
        (1..=PROFILE_SECONDS_MAX).contains(&seconds).then_some(Self { form, seconds })
    }
}

/// Answers for `seconds` that are none.
pub fn bad_seconds(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = format_args!("seconds: expected a whole number from 1 to {PROFILE_SECONDS_MAX}");
    problem(body, Status::BadRequest, detail, None, route)
}

/// The head of the answer to a GET. Whoever asks for that alone is not worth a profile.
#[must_use]
pub const fn head(form: Form, route: usize) -> Response {
    match form {
        Form::Pprof => {
            let field = Some(Field::ContentDisposition("attachment; filename=\"profile.pb.gz\""));
            Response { field, ..Response::ok("application/octet-stream", route) }
        }
        Form::Flamegraph => Response::ok("image/svg+xml", route),
    }
}

/// Has a profile taken, or says that there is one being taken already.
pub fn ask(
    wanted: Wanted,
    state: &State,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let job = ProfileJob::new(wanted, context.ticket(), route);
    let Err((job, declined)) = state.jobs.submit_profile(job) else {
        return Reply::Later;
    };
    job.ticket.waive();
    Reply::Now(decline(declined, body, route))
}

fn decline(declined: Declined, body: &mut Vec<u8>, route: usize) -> Response {
    let (status, detail) = match declined {
        Declined::Busy => {
            (Status::TooManyRequests, "a profile is being taken, and only one is at a time")
        }
        Declined::Stopping => (Status::ServiceUnavailable, "the server is being stopped"),
    };
    problem(body, status, detail, Some(retry_after()), route)
}

impl ProfileJob {
    /// A profile for a request of a route.
    #[must_use]
    pub const fn new(wanted: Wanted, ticket: Ticket, route: usize) -> Self {
        Self { wanted, ticket, route }
    }

    /// What is to be taken.
    #[must_use]
    pub const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Answers with what was taken, or with why it could not be; `None` after a panic.
    pub fn answer(self, profile: Option<Result<Vec<u8>, &'static str>>) {
        let Self { wanted, ticket, route } = self;
        let mut body = Vec::new();
        let response = match profile {
            Some(Ok(bytes)) => {
                body = bytes;
                head(wanted.form, route)
            }
            Some(Err(detail)) => {
                problem(&mut body, Status::ServiceUnavailable, detail, None, route)
            }
            None => failed(&mut body, route),
        };
        ticket.answer(Answer { response, body });
    }

    /// Answers that it is too late for a profile.
    pub fn decline(self, declined: Declined) {
        let mut body = Vec::new();
        let response = decline(declined, &mut body, self.route);
        self.ticket.answer(Answer { response, body });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::headers::Headers;
    use percore::http::request::Method;

    fn seconds(query: Option<&str>) -> Option<u8> {
        let request = Request {
            method: Method::Get,
            path: "/debug/pprof/profile",
            query,
            headers: Headers::NONE,
            body: b"",
        };
        Wanted::of(Form::Pprof, &request).map(|wanted| wanted.seconds)
    }

    #[test]
    fn only_whole_seconds_up_to_a_minute_are_taken() {
        assert_eq!(seconds(None), Some(10));
        for (query, expected) in
            [("seconds=1", 1), ("seconds=60", 60), ("seconds=007", 7), ("seconds=%35", 5)]
        {
            assert_eq!(seconds(Some(query)), Some(expected), "{query}");
        }
        for bad in ["", "0", "61", "256", "99999999999", "+5", "-1", "1.5", "5s", "%2d5", " 5"] {
            assert_eq!(seconds(Some(&format!("seconds={bad}"))), None, "{bad}");
        }
    }
}
