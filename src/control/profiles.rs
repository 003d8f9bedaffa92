//! The thread that takes profiles: it sleeps while one is taken, and looks the names up then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender, TrySendError};

use crate::api::later::Declined;
use crate::api::profile::{Form, ProfileJob, Wanted};
use crate::telemetry::profile::{Failed, Sampling};

/// The cores' end.
#[derive(Debug)]
pub(super) struct Submission {
    jobs: Sender<ProfileJob>,
    is_busy: Arc<AtomicBool>,
}

/// The thread's end.
#[derive(Debug, Clone)]
pub(super) struct ProfileJobs {
    jobs: Receiver<ProfileJob>,
    /// From when a profile is asked for until its answer is made: whoever has that answer may ask
    /// for the next one.
    is_busy: Arc<AtomicBool>,
}

/// Both ends of a queue of one.
pub(super) fn queue() -> (Submission, ProfileJobs) {
    let (sender, receiver) = channel::bounded(1);
    let is_busy = Arc::new(AtomicBool::new(false));
    let jobs = ProfileJobs { jobs: receiver, is_busy: Arc::clone(&is_busy) };
    (Submission { jobs: sender, is_busy }, jobs)
}

impl Submission {
    /// Has a profile taken, if none is being taken.
    pub(super) fn submit(&self, job: ProfileJob) -> Result<(), (ProfileJob, Declined)> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err((job, Declined::Busy));
        }
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => (job, Declined::Busy),
            TrySendError::Disconnected(job) => (job, Declined::Stopping),
        })
    }
}

/// Takes profiles until the server stops; one that is being taken then ends early.
pub(super) fn work(ProfileJobs { jobs, is_busy }: &ProfileJobs, stopped: &Receiver<()>) {
    loop {
        let job = channel::select_biased! {
            recv(stopped) -> _ => break,
            recv(jobs) -> job => job,
        };
        let Ok(job) = job else { return };
        let profile = take(job.wanted(), stopped).map_err(Failed::detail);
        is_busy.store(false, Ordering::Release);
        job.answer(profile);
    }
    if let Ok(job) = jobs.try_recv() {
        job.decline(Declined::Stopping);
    }
}

fn take(wanted: Wanted, stopped: &Receiver<()>) -> Result<Vec<u8>, Failed> {
    let sampling = Sampling::start()?;
    // Nothing is ever sent: this is the end of the time, or of the server.
    let _ = stopped.recv_timeout(Duration::from_secs(wanted.seconds.into()));
    let profile = sampling.finish()?;
    match wanted.form {
        Form::Pprof => profile.pprof(),
        Form::Flamegraph => profile.flamegraph(),
    }
}
