//! Jobs: answers that take longer than a core may pause, made on another thread.
//!
//! A [`Job`] owns its work as a closure, and the ticket of the request that it answers. Handlers
//! put it into the [`JobQueue`]; the threads of `control` take it from there and run it without
//! knowing what it is for.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use percore::clock::Now;
use percore::http::handler::{Ticket, retry_after};
use percore::http::problem::problem;
use percore::http::response::{Answer, Response};
use percore::http::status::Status;

/// The queue of a job. Lanes of one thread take turns, so that no kind of job waits behind many of
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Look-ups of stored metrics: many segments are probed, or Redis is asked.
    Lookup,
    /// Analytics: what all cores and shards have seen is merged, or one device copied.
    Analyze,
    /// The exposition: every counter of every core, and `/proc`.
    Scrape,
    /// Pages for performance engineers.
    Debug,
    /// Profiles, which take seconds, one at a time.
    Profile,
}

/// The environment of a running job, which the thread that runs it provides.
pub struct Execution<'a> {
    /// The time at which the job began.
    pub now: Now,
    /// Sleeps for a duration, or until the server stops.
    pub sleep: &'a dyn Fn(Duration),
}

/// The work of a job: writes the body of the answer, and returns its head.
type Work = dyn FnOnce(&Execution<'_>, &mut Vec<u8>) -> Response + Send;

/// Work for another thread, with the ticket to answer by.
pub struct Job {
    lane: Lane,
    route: usize,
    deadline_ns: u64,
    ticket: Ticket,
    work: Box<Work>,
}

impl fmt::Debug for Job {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Job").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl Job {
    /// Creates a job for a request of `route`, which is not worth beginning after `deadline_ns` on
    /// the monotonic clock.
    pub fn new(
        lane: Lane,
        route: usize,
        deadline_ns: u64,
        ticket: Ticket,
        work: impl FnOnce(&Execution<'_>, &mut Vec<u8>) -> Response + Send + 'static,
    ) -> Self {
        Self { lane, route, deadline_ns, ticket, work: Box::new(work) }
    }

    /// Returns the queue that it belongs to.
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// Returns true if it has waited for too long.
    pub const fn is_overdue(&self, now: Now) -> bool {
        now.mono_ns > self.deadline_ns
    }

    /// Does the work. After a panic in it the answer is 500, and the thread goes on.
    pub fn run(self, execution: &Execution<'_>) -> FinishedJob {
        let Self { route, ticket, work, .. } = self;
        let mut body = Vec::new();
        // A job only reads what it shares with others, under locks that a panic releases as well.
        let result = catch_unwind(AssertUnwindSafe(|| work(execution, &mut body)));
        let panicked = result.is_err();
        let response = result.unwrap_or_else(|_| JobError::Panicked.answer(&mut body, route));
        FinishedJob { ticket, answer: Answer { response, body }, panicked }
    }

    /// Answers with an error in place of the work.
    pub fn fail(self, error: JobError) {
        let mut body = Vec::new();
        let response = error.answer(&mut body, self.route);
        self.ticket.answer(Answer { response, body });
    }

    /// Drops a job whose request is answered in another way.
    pub fn cancel(self) {
        self.ticket.cancel();
    }
}

/// A job that has run, before its answer is delivered.
#[derive(Debug)]
#[must_use]
pub struct FinishedJob {
    ticket: Ticket,
    answer: Answer,
    /// True if the work ended in a panic.
    pub panicked: bool,
}

impl FinishedJob {
    /// Delivers the answer to the core of the request.
    pub fn deliver(self) {
        self.ticket.answer(self.answer);
    }
}

/// Reasons why a job is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The queue of its lane is full.
    #[error("too many answers that take long are being waited for")]
    QueueFull,
    /// A profile is being taken.
    #[error("a profile is being taken, and only one is at a time")]
    ProfilerBusy,
    /// The server stops.
    #[error("the server is being stopped")]
    Stopping,
    /// It waited until its deadline.
    #[error("others were served for as long as --request-timeout")]
    TimedOut,
    /// Its work panicked.
    #[error("the server made a mistake; its log says more")]
    Panicked,
}

impl JobError {
    /// Writes the problem into `body`, and returns its head.
    pub fn answer(self, body: &mut Vec<u8>, route: usize) -> Response {
        let (status, field) = match self {
            Self::Panicked => (Status::InternalServerError, None),
            Self::ProfilerBusy => (Status::TooManyRequests, Some(retry_after())),
            Self::QueueFull | Self::Stopping | Self::TimedOut => {
                (Status::ServiceUnavailable, Some(retry_after()))
            }
        };
        problem(body, status, self, field, route)
    }
}

/// The cores' end of the bounded queues in front of the threads that run jobs.
pub trait JobQueue: fmt::Debug + Send + Sync {
    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The job comes back with the reason why it is not taken.
    fn submit(&self, job: Job) -> Result<(), (Job, JobError)>;
}
