//! Answers that take longer than a core may pause: they are made on the control thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::profile::ProfileJob;
use super::state::State;
use super::{analyze, debug, lookup, scrape};
use crate::telemetry::exposition::Format;
use debug::Shown;
use percore::clock::Now;
use percore::http::handler::{Context, Reply, Ticket, retry_after};
use percore::http::problem::problem;
use percore::http::response::{Answer, Response};
use percore::http::status::Status;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Merge what all cores and shards have seen, or copy one device: locks, sorting, formatting.
    Analyze {
        /// The id of the device, or nobody's for the instance.
        device: Option<String>,
    },
    /// Find the metric under this key of the store: many segments are probed.
    Lookup {
        /// The whole key.
        key: Vec<u8>,
    },
    /// Write a page for performance engineers.
    Debug(Shown),
    /// Write the exposition: every counter of every core, and `/proc`.
    Scrape {
        /// As the scraper asked.
        format: Format,
        /// Whether it is to be compressed.
        gzipped: bool,
    },
}

/// Whose turn it is: kinds of work take turns, so that none waits behind many of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// [`Work::Lookup`].
    Lookup,
    /// [`Work::Analyze`].
    Analyze,
    /// [`Work::Scrape`].
    Scrape,
    /// [`Work::Debug`].
    Debug,
}

/// Work on its way, with whom to answer.
#[derive(Debug)]
pub struct Job {
    work: Work,
    ticket: Ticket,
    route: usize,
    asked_ns: u64,
}

impl Job {
    /// Work of a route, asked for at `now`.
    #[must_use]
    pub const fn new(work: Work, ticket: Ticket, route: usize, now: Now) -> Self {
        Self { work, ticket, route, asked_ns: now.mono_ns }
    }

    /// In which lane it waits.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self.work {
            Work::Lookup { .. } => Lane::Lookup,
            Work::Analyze { .. } => Lane::Analyze,
            Work::Scrape { .. } => Lane::Scrape,
            Work::Debug(_) => Lane::Debug,
        }
    }

    /// How long it has waited.
    #[must_use]
    pub const fn waited_ns(&self, now: Now) -> u64 {
        now.mono_ns.saturating_sub(self.asked_ns)
    }

    /// Answers that it waited for too long.
    pub fn decline(self) {
        let mut body = Vec::new();
        let detail = "others were served for as long as --request-timeout";
        let retry = Some(retry_after());
        let status = Status::ServiceUnavailable;
        let response = problem(&mut body, status, detail, retry, self.route);
        self.ticket.answer(Answer { response, body });
    }
}

/// Why a profile is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// One is being taken.
    Busy,
    /// The server stops.
    Stopping,
}

/// The bounded queues in front of the control threads.
pub trait JobQueue: fmt::Debug + Send + Sync {
    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The queue is full; the job comes back.
    fn submit(&self, job: Job) -> Result<(), Job>;

    /// Has a profile taken.
    ///
    /// # Errors
    ///
    /// It is not to be; the job comes back.
    fn submit_profile(&self, job: ProfileJob) -> Result<(), (ProfileJob, Declined)>;
}

/// Queues work, or says that too much waits already.
pub fn ask(
    work: Work,
    state: &State,
    context: &Context<'_>,
    body: &mut Vec<u8>,
    route: usize,
) -> Reply {
    let job = Job::new(work, context.ticket(), route, context.now);
    match state.jobs.submit(job) {
        Ok(()) => Reply::Later,
        Err(job) => {
            job.ticket.waive();
            let detail = "too many answers that take long are being waited for";
            let status = Status::ServiceUnavailable;
            Reply::Now(problem(body, status, detail, Some(retry_after()), route))
        }
    }
}

/// Does a job and answers it, on the control thread, by `make` or, if that panics, with 500. Says
/// whether it was done.
pub fn answer(job: Job, make: impl FnOnce(&Work, &mut Vec<u8>, usize) -> Response) -> bool {
    let Job { work, ticket, route, .. } = job;
    let mut body = Vec::new();
    // What a job shares with others it reads, under locks that are let go when it ends either way.
    let made = catch_unwind(AssertUnwindSafe(|| make(&work, &mut body, route)));
    let is_done = made.is_ok();
    let response = made.unwrap_or_else(|_| {
        body.clear();
        failed(&mut body, route)
    });
    ticket.answer(Answer { response, body });
    is_done
}

/// The answer to work.
pub fn make(work: &Work, state: &State, now: Now, body: &mut Vec<u8>, route: usize) -> Response {
    match work {
        Work::Analyze { device } => analyze::answer(device.as_deref(), state, now, body, route),
        Work::Debug(shown) => debug::answer(*shown, state, now, body, route),
        Work::Lookup { key } => lookup::answer(key, state, now, body, route),
        Work::Scrape { format, gzipped } => {
            scrape::answer(*format, *gzipped, state, now, body, route)
        }
    }
}

/// The answer where a mistake in the server ended the work on it.
pub(super) fn failed(body: &mut Vec<u8>, route: usize) -> Response {
    let detail = "the server made a mistake; its log says more";
    problem(body, Status::InternalServerError, detail, None, route)
}
