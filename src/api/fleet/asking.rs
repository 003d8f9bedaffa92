//! The asking of a fleet, by a core that does not wait for the answers.

use std::fmt;
use std::sync::Arc;

use super::question::Question;
use crate::api::jobs::{Execution, Job, JobError, Lane};
use crate::api::state::State;
use crate::fleet::answers::{Answers, MemberReport};
use percore::http::handler::{Context, Reply};
use percore::http::problem::problem;
use percore::http::response::Response;
use percore::http::status::Status;

/// The parts of the members, each with what is known of its member.
pub(super) type Parts<'a, T> = [(&'a MemberReport, T)];

/// A function that reads the part of a member; `None` if it is none.
type Reader<T> = fn(&[u8]) -> Option<T>;

/// Asks the fleet. `read` reads the part of a member, and `work` makes the answer of all parts, as
/// a job of this lane. A member whose part cannot be read is missing.
pub(super) fn ask<T: 'static>(
    state: &Arc<State>,
    (lane, route): (Lane, usize),
    context: &Context<'_>,
    body: &mut Vec<u8>,
    (question, read): (&Question, Reader<T>),
    work: impl FnOnce(&State, &Answers, &Parts<'_, T>, &Execution<'_>, &mut Vec<u8>) -> Response
    + Send
    + 'static,
) -> Reply {
    let deadline_ns = context.now.mono_ns.saturating_add(state.settings.request_timeout_ns);
    let (ticket, answering) = (context.ticket(), Arc::clone(state));
    let asker = move |answers: Option<Arc<Answers>>| {
        let Some(answers) = answers else {
            return ticket.cancel();
        };
        let queue = Arc::clone(&answering);
        let work = move |execution: &Execution<'_>, body: &mut Vec<u8>| {
            let (answers, read) = read_parts(answers, read, &answering);
            let parts = read.into_iter().filter_map(|(at, part)| {
                let member = answers.members.get(at)?;
                Some((member, part))
            });
            let mut parts: Vec<_> = parts.collect();
            // In an order that does not depend on who was asked.
            parts.sort_by_key(|(member, _)| member.number);
            work(&answering, &answers, &parts, execution, body)
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

/// Reads the parts of all members. Returns them with their places, and the answers without those
/// that cannot be read.
fn read_parts<T>(
    answers: Arc<Answers>,
    read: Reader<T>,
    state: &State,
) -> (Arc<Answers>, Vec<(usize, T)>) {
    let (mut parts, mut unreadable) = (Vec::new(), Vec::new());
    for (at, member) in answers.members.iter().enumerate() {
        match member.answer.as_deref().map(read) {
            Some(Some(part)) => parts.push((at, part)),
            Some(None) => unreadable.push(at),
            None => {}
        }
    }
    if unreadable.is_empty() {
        return (answers, parts);
    }
    if let Some(fleet) = &state.fleet {
        fleet.status().note_unreadable(unreadable.len() as u64);
    }
    let mut readable = Arc::unwrap_or_clone(answers);
    readable.complete = false;
    for at in unreadable {
        readable.members.get_mut(at).into_iter().for_each(|member| member.answer = None);
    }
    (Arc::new(readable), parts)
}

/// Answers a wrong query.
pub(super) fn bad_request(detail: impl fmt::Display, body: &mut Vec<u8>, route: usize) -> Reply {
    Reply::Now(problem(body, Status::BadRequest, detail, None, route))
}
