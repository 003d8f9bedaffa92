//! The thread for what a core must not wait for.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Receiver, Sender, TrySendError};

use crate::api::later::{self, Job, JobQueue};
use crate::api::state::State;
use crate::clock::Clock;
use crate::limits::JOBS_QUEUED_MAX;

/// The cores' end of the queue of jobs. A full queue is told to the client as 503.
#[derive(Debug)]
struct Submissions(Sender<Job>);

impl JobQueue for Submissions {
    fn submit(&self, job: Job) -> Result<(), Job> {
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

/// The control thread's end.
#[derive(Debug)]
pub struct Jobs(Receiver<Job>);

/// Both ends of a bounded queue.
#[must_use]
pub fn job_queue() -> (Box<dyn JobQueue>, Jobs) {
    let (sender, receiver) = channel::bounded(JOBS_QUEUED_MAX);
    (Box::new(Submissions(sender)), Jobs(receiver))
}

/// The running control thread.
#[derive(Debug)]
pub struct Control {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start(jobs: Jobs, state: Arc<State>, mut clock: Clock) -> io::Result<Self> {
        let (stop, stopped) = channel::bounded::<()>(0);
        let work = move || {
            loop {
                channel::select_biased! {
                    // When the cores have ended nobody waits for what is still queued.
                    recv(stopped) -> _ => return,
                    recv(jobs.0) -> job => match job {
                        Ok(job) => later::answer(job, &state, clock.now()),
                        Err(_) => return,
                    },
                }
            }
        };
        let thread = thread::Builder::new().name("control".to_owned()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Whether it runs, as it does until it is stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends it after the job at hand, and waits for that. Says whether it had been in order.
    pub fn stop(self) -> bool {
        drop(self.stop);
        self.thread.join().is_ok()
    }
}
