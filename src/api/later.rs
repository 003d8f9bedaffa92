//! Answers that take longer than a core may pause: they are made on the control thread.

use std::fmt;

use super::profile::ProfileJob;
use super::state::State;
use super::{analyze, debug, lookup, scrape};
use crate::clock::Now;
use crate::http::handler::{Context, Reply, Ticket, retry_after};
use crate::http::problem::problem;
use crate::http::response::Answer;
use crate::http::status::Status;
use crate::telemetry::exposition::Format;
use debug::Shown;

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
    },
}

/// Work on its way, with whom to answer.
#[derive(Debug)]
pub struct Job {
    work: Work,
    ticket: Ticket,
    route: usize,
}

impl Job {
    /// Whether somebody else has to be waited for.
    #[must_use]
    pub const fn is_lookup(&self) -> bool {
        matches!(self.work, Work::Lookup { .. })
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
    let job = Job { work, ticket: context.ticket(), route };
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

/// Does a job and answers it, on the control thread.
pub fn answer(job: Job, state: &State, now: Now) {
    let mut body = Vec::new();
    let response = match job.work {
        Work::Analyze { device } => {
            analyze::answer(device.as_deref(), state, now, &mut body, job.route)
        }
        Work::Debug(shown) => debug::answer(shown, state, now, &mut body, job.route),
        Work::Lookup { key } => lookup::answer(&key, state, now, &mut body, job.route),
        Work::Scrape { format } => scrape::answer(format, state, now, &mut body, job.route),
    };
    job.ticket.answer(Answer { response, body });
}
