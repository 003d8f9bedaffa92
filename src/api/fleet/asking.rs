//! The asking of a fleet, by a core that does not wait for the answers.

use std::fmt;
use std::sync::Arc;

use super::question::Question;
use crate::api::jobs::{Execution, Job, JobError, Lane};
use crate::api::state::State;
use crate::fleet::answers::Answers;
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::response::Response;
use percore::http::status::Status;

/// Asks the fleet. `work` makes the answer of what its members say, as a job of this lane.
pub(super) fn ask(
    state: &Arc<State>,
    (lane, route): (Lane, usize),
    context: &Context<'_>,
    body: &mut Vec<u8>,
    question: &Question,
    work: impl FnOnce(&State, &Answers, &Execution<'_>, &mut Vec<u8>) -> Response + Send + 'static,
) -> Reply {
    let deadline_ns = context.now.mono_ns.saturating_add(state.settings.request_timeout_ns);
    let (ticket, answering) = (context.ticket(), Arc::clone(state));
    let asker = move |answers: Option<Arc<Answers>>| {
        let Some(answers) = answers else {
            return ticket.cancel();
        };
        let queue = Arc::clone(&answering);
        let work = move |execution: &Execution<'_>, body: &mut Vec<u8>| {
            work(&answering, &answers, execution, body)
        };
        let job = Job::new(lane, route, deadline_ns, ticket, work);
        if let Err((job, error)) = queue.jobs.submit(job) {
            job.fail(error);
        }
    };
    let fleet = state.fleet.as_ref();
    if fleet.is_some_and(|fleet| fleet.ask(question.encode(), Box::new(asker))) {
        Reply::Later
    } else {
        Reply::Now(JobError::QueueFull.answer(body, route))
    }
}

/// Answers a wrong query.
pub(super) fn bad_request(detail: impl fmt::Display, body: &mut Vec<u8>, route: usize) -> Reply {
    Reply::Now(problem(body, Status::BadRequest, detail, None, route))
}
