//! The threads for what a core must not wait for.
//!
//! One merges, formats and reads `/proc`. Look-ups in a remote store have another, or a slow store
//! would hold up `/analyze` and the scrapes; and so have profiles, which take seconds by design.

mod profiles;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};

use crate::api::later::{self, Declined, Job, JobQueue};
use crate::api::profile::ProfileJob;
use crate::api::state::State;
use crate::clock::Clock;
use crate::limits::JOBS_QUEUED_MAX;
use profiles::{ProfileJobs, Submission};

/// The cores' ends of the queues of jobs. A full queue is told to the client as 503, and a profile
/// beside another as 429.
#[derive(Debug)]
struct Submissions {
    control: Sender<Job>,
    lookup: Sender<Job>,
    profiles: Submission,
}

impl JobQueue for Submissions {
    fn submit(&self, job: Job) -> Result<(), Job> {
        let queue = if job.is_lookup() { &self.lookup } else { &self.control };
        queue.try_send(job).map_err(TrySendError::into_inner)
    }

    fn submit_profile(&self, job: ProfileJob) -> Result<(), (ProfileJob, Declined)> {
        self.profiles.submit(job)
    }
}

/// The threads' ends.
#[derive(Debug)]
pub struct Jobs {
    control: Receiver<Job>,
    lookup: Receiver<Job>,
    profiles: ProfileJobs,
}

/// Both ends of bounded queues.
#[must_use]
pub fn job_queues() -> (Box<dyn JobQueue>, Jobs) {
    let (control, for_control) = channel::bounded(JOBS_QUEUED_MAX);
    let (lookup, for_lookup) = channel::bounded(JOBS_QUEUED_MAX);
    let (profiles, for_profiles) = profiles::queue();
    let jobs = Jobs { control: for_control, lookup: for_lookup, profiles: for_profiles };
    (Box::new(Submissions { control, lookup, profiles }), jobs)
}

/// The end of a server waits so long for a job at hand: nobody waits for its answer any more.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The running control threads.
#[derive(Debug)]
pub struct Control {
    stop: Sender<()>,
    /// Of the thread for profiles, which ends before the others.
    stop_profiles: Option<Sender<()>>,
    threads: Vec<Running>,
}

/// A thread, and where its end is heard of.
type Running = (JoinHandle<()>, Receiver<()>);

impl Control {
    /// Starts them: the one for look-ups only if the store is elsewhere.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start(jobs: Jobs, state: &Arc<State>, clock: Clock) -> io::Result<Self> {
        let Jobs { control, lookup, profiles } = jobs;
        let (stop, stopped) = channel::bounded::<()>(0);
        let run_jobs = |name: &str, queues: [Receiver<Job>; 2]| {
            let (state, stopped) = (Arc::clone(state), stopped.clone());
            run(name, move || work(&queues, &stopped, &state, clock))
        };
        let nothing = channel::never();
        let mut threads = if state.store.is_remote() {
            vec![
                run_jobs("control", [control, nothing.clone()])?,
                run_jobs("lookup", [lookup, nothing])?,
            ]
        } else {
            vec![run_jobs("control", [control, lookup])?]
        };
        let (stop_profiles, stopped) = channel::bounded::<()>(0);
        threads.push(run("profiles", move || profiles::work(&profiles, &stopped))?);
        Ok(Self { stop, stop_profiles: Some(stop_profiles), threads })
    }

    /// Whether they run, as they do until they are stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(|(thread, _)| thread.is_finished())
    }

    /// Ends a profile that is being taken, which is answered with what there is of it, and takes no
    /// more.
    pub fn stop_profiles(&mut self) {
        self.stop_profiles = None;
    }

    /// Ends them after the jobs at hand, and waits for that, but not for a look-up that hangs. Says
    /// whether all had been in order.
    pub fn stop(mut self) -> bool {
        self.stop_profiles();
        drop(self.stop);
        let mut in_order = true;
        for (thread, ended) in self.threads {
            // Nothing is ever sent: the thread lets go of its end with everything else.
            if ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Disconnected) {
                in_order &= thread.join().is_ok();
            }
        }
        in_order
    }
}

fn run(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Running> {
    let (ends, ended) = channel::bounded(0);
    let work = move || {
        let _ends: Sender<()> = ends;
        work();
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(|thread| (thread, ended))
}

fn work(
    [first, second]: &[Receiver<Job>; 2],
    stopped: &Receiver<()>,
    state: &State,
    mut clock: Clock,
) {
    loop {
        let job = channel::select_biased! {
            // When the cores have ended nobody waits for what is still queued.
            recv(stopped) -> _ => return,
            recv(first) -> job => job,
            recv(second) -> job => job,
        };
        match job {
            Ok(job) => later::answer(job, state, clock.now()),
            Err(_) => return,
        }
    }
}
