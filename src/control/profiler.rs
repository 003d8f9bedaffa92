//! The profiler thread: it runs the jobs of [`Lane::Profile`](crate::api::jobs::Lane), one at a
//! time and without a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender, TrySendError};

use crate::api::jobs::{Execution, Job, JobError};
use crate::telemetry::log;
use percore::clock::Clock;

/// The wait for a job whose core has claimed the profiler and has not sent the job yet: between
/// the two there is nothing to wait for.
const SUBMISSION_MAX: Duration = Duration::from_secs(1);

/// The state that both ends share.
#[derive(Debug, Default)]
struct Shared {
    /// True from the submission of a job until its answer is made: a client that has the answer
    /// may ask for the next profile.
    is_busy: AtomicBool,
    /// True when no more jobs are taken.
    is_stopping: AtomicBool,
}

/// The cores' end.
#[derive(Debug)]
pub(super) struct ProfilerQueue {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct ProfilerThread {
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
}

/// The switch that ends the thread, also by being dropped.
#[derive(Debug)]
pub(super) struct ProfilerStop {
    stop: Option<Sender<()>>,
    shared: Arc<Shared>,
}

/// Creates both ends.
pub(super) fn profiler() -> (ProfilerQueue, ProfilerThread) {
    let (sender, receiver) = channel::bounded(1);
    let shared = Arc::new(Shared::default());
    let profiler = ProfilerThread { jobs: receiver, shared: Arc::clone(&shared) };
    (ProfilerQueue { jobs: sender, shared }, profiler)
}

impl ProfilerQueue {
    /// Submits a job, unless another is under way.
    pub(super) fn submit(&self, job: Job) -> Result<(), (Job, JobError)> {
        if self.shared.is_stopping.load(Ordering::Acquire) {
            return Err((job, JobError::Stopping));
        }
        if self.shared.is_busy.swap(true, Ordering::AcqRel) {
            return Err((job, JobError::ProfilerBusy));
        }
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => (job, JobError::ProfilerBusy),
            TrySendError::Disconnected(job) => (job, JobError::Stopping),
        })
    }
}

impl ProfilerStop {
    /// Ends the sleep of the job that runs, and takes no more jobs.
    pub(super) fn stop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.stop = None;
    }
}

impl ProfilerThread {
    /// Creates the switch that ends the thread, and the channel on which the thread hears of it.
    pub(super) fn stop_switch(&self) -> (ProfilerStop, Receiver<()>) {
        let (stop, stopped) = channel::bounded(0);
        (ProfilerStop { stop: Some(stop), shared: Arc::clone(&self.shared) }, stopped)
    }

    /// Runs jobs until the server stops.
    pub(super) fn run(&self, stopped: &Receiver<()>, mut clock: Clock) {
        // Nothing is ever sent: the channel is disconnected when the server stops.
        let sleep = |duration| {
            let _ = stopped.recv_timeout(duration);
        };
        loop {
            let job = channel::select_biased! {
                recv(stopped) -> _ => break,
                recv(self.jobs) -> job => job,
            };
            let Ok(job) = job else { return };
            // A panic leaves nothing behind: the timer is off, and the tables of names were the
            // job's own.
            let finished = job.run(&Execution { now: clock.now(), sleep: &sleep });
            if finished.panicked {
                log::error!("a panic ended a profile, which got 500");
            }
            self.shared.is_busy.store(false, Ordering::Release);
            finished.deliver();
        }
        // A core that has claimed the profiler has sent its job, or is about to. After this claim
        // no other core does.
        if self.shared.is_busy.swap(true, Ordering::AcqRel)
            && let Ok(job) = self.jobs.recv_timeout(SUBMISSION_MAX)
        {
            job.fail(JobError::Stopping);
        }
    }
}
