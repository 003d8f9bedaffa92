//! The thread that takes profiles: it sleeps while one is taken, and looks the names up then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender, TrySendError};

use crate::api::later::Declined;
use crate::api::profile::{Form, ProfileJob, Wanted};
use crate::telemetry::log;
use crate::telemetry::profile::{ProfileError, Profiler};

/// Between taking the place of the one profile and queueing it there is nothing to wait for.
const SUBMISSION_MAX: Duration = Duration::from_secs(1);

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    /// From when a profile is asked for until its answer is made: whoever has that answer may ask
    /// for the next one.
    is_busy: AtomicBool,
    /// No more are taken.
    is_stopping: AtomicBool,
}

/// The cores' end.
#[derive(Debug)]
pub(super) struct Submission {
    jobs: Sender<ProfileJob>,
    shared: Arc<Shared>,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct ProfileJobs {
    jobs: Receiver<ProfileJob>,
    shared: Arc<Shared>,
}

/// Ends the thread, also by being dropped.
#[derive(Debug)]
pub(super) struct Stop {
    ends: Option<Sender<()>>,
    shared: Arc<Shared>,
}

/// Both ends of a queue of one.
pub(super) fn queue() -> (Submission, ProfileJobs) {
    let (sender, receiver) = channel::bounded(1);
    let shared = Arc::new(Shared::default());
    let jobs = ProfileJobs { jobs: receiver, shared: Arc::clone(&shared) };
    (Submission { jobs: sender, shared }, jobs)
}

impl Submission {
    /// Has a profile taken, if none is being taken.
    pub(super) fn submit(&self, job: ProfileJob) -> Result<(), (ProfileJob, Declined)> {
        if self.shared.is_stopping.load(Ordering::Acquire) {
            return Err((job, Declined::Stopping));
        }
        if self.shared.is_busy.swap(true, Ordering::AcqRel) {
            return Err((job, Declined::Busy));
        }
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => (job, Declined::Busy),
            TrySendError::Disconnected(job) => (job, Declined::Stopping),
        })
    }
}

impl Stop {
    /// Ends a profile that is being taken, and takes no more.
    pub(super) fn now(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.ends = None;
    }
}

impl ProfileJobs {
    /// What ends the thread, and where that is heard of.
    pub(super) fn stop(&self) -> (Stop, Receiver<()>) {
        let (ends, stopped) = channel::bounded(0);
        (Stop { ends: Some(ends), shared: Arc::clone(&self.shared) }, stopped)
    }

    /// Takes profiles, by `take`, until the server stops; one that is being taken then ends early.
    pub(super) fn work(
        &self,
        stopped: &Receiver<()>,
        take: impl Fn(Wanted, &Receiver<()>) -> Result<Vec<u8>, ProfileError>,
    ) {
        loop {
            let job = channel::select_biased! {
                recv(stopped) -> _ => break,
                recv(self.jobs) -> job => job,
            };
            let Ok(job) = job else { return };
            // Nothing of it outlives it: the timer is off, and the tables of names are its own.
            let taken = catch_unwind(AssertUnwindSafe(|| take(job.wanted(), stopped)));
            if taken.is_err() {
                log::error!("a panic ended a profile, which got 500");
            }
            self.shared.is_busy.store(false, Ordering::Release);
            job.answer(taken.ok().map(|taken| taken.map_err(ProfileError::detail)));
        }
        // Whoever has the one place has queued a job, or is about to; nobody gets it after that.
        if self.shared.is_busy.swap(true, Ordering::AcqRel)
            && let Ok(job) = self.jobs.recv_timeout(SUBMISSION_MAX)
        {
            job.decline(Declined::Stopping);
        }
    }
}

/// Takes one.
pub(super) fn take(wanted: Wanted, stopped: &Receiver<()>) -> Result<Vec<u8>, ProfileError> {
    let profiler = Profiler::start()?;
    // Nothing is ever sent: this is the end of the time, or of the server.
    let _ = stopped.recv_timeout(Duration::from_secs(wanted.seconds.into()));
    let profile = profiler.finish()?;
    match wanted.form {
        Form::Pprof => profile.pprof(),
        Form::Flamegraph => profile.flamegraph(),
    }
}
