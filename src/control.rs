//! The threads for what a core must not wait for.
//!
//! One merges, formats and reads `/proc`. Look-ups in a remote store have another, or a slow store
//! would hold up `/analyze` and the scrapes; and so have profiles, which take seconds by design.
//!
//! Work waits in lanes, one for each kind, and the lanes of a thread take turns: of two hundred who
//! scrape without a pause, one is served before the next look-up. Whoever has waited for longer
//! than `--request-timeout` is told so instead. A panic costs the job that it happened in.

mod profiles;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{
    self, Receiver, RecvTimeoutError, Select, Sender, TryRecvError, TrySendError,
};

use crate::api::later::{self, Declined, Job, JobQueue, Lane, Work};
use crate::api::profile::ProfileJob;
use crate::api::state::State;
use crate::limits::JOBS_QUEUED_MAX;
use crate::telemetry::log;
use percore::clock::{Clock, Now};
use percore::http::response::Response;
use profiles::{ProfileJobs, Stop, Submission};

/// The cores' ends of the queues of jobs. A full queue is told to the client as 503, and a profile
/// beside another as 429.
#[derive(Debug)]
struct Submissions {
    lanes: Lanes<Sender<Job>>,
    profiles: Submission,
}

/// One end of the queue of each lane.
#[derive(Debug)]
struct Lanes<End> {
    lookup: End,
    analyze: End,
    scrape: End,
    debug: End,
}

impl<End> Lanes<End> {
    const fn of(&self, lane: Lane) -> &End {
        match lane {
            Lane::Lookup => &self.lookup,
            Lane::Analyze => &self.analyze,
            Lane::Scrape => &self.scrape,
            Lane::Debug => &self.debug,
        }
    }
}

impl JobQueue for Submissions {
    fn submit(&self, job: Job) -> Result<(), Job> {
        self.lanes.of(job.lane()).try_send(job).map_err(TrySendError::into_inner)
    }

    fn submit_profile(&self, job: ProfileJob) -> Result<(), (ProfileJob, Declined)> {
        self.profiles.submit(job)
    }
}

/// The threads' ends.
#[derive(Debug)]
pub struct Jobs {
    lanes: Lanes<Receiver<Job>>,
    profiles: ProfileJobs,
}

/// Both ends of bounded queues.
#[must_use]
pub fn job_queues() -> (Box<dyn JobQueue>, Jobs) {
    let [lookup, analyze, scrape, debug] = [(); 4].map(|()| channel::bounded(JOBS_QUEUED_MAX));
    let (profiles, for_profiles) = profiles::queue();
    let senders = Lanes { lookup: lookup.0, analyze: analyze.0, scrape: scrape.0, debug: debug.0 };
    let receivers =
        Lanes { lookup: lookup.1, analyze: analyze.1, scrape: scrape.1, debug: debug.1 };
    let jobs = Jobs { lanes: receivers, profiles: for_profiles };
    (Box::new(Submissions { lanes: senders, profiles }), jobs)
}

/// The end of a server waits so long for a job at hand: nobody waits for its answer any more.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The running control threads.
#[derive(Debug)]
pub struct Control {
    stop: Sender<()>,
    /// Of the thread for profiles, which ends before the others.
    profiles: Stop,
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
        let Jobs { lanes: Lanes { lookup, analyze, scrape, debug }, profiles } = jobs;
        let (stop, stopped) = channel::bounded::<()>(0);
        let run_jobs = |name: &str, lanes: Vec<Receiver<Job>>| {
            let (state, stopped) = (Arc::clone(state), stopped.clone());
            let patience_ns = state.settings.patience_ns;
            let make = move |work: &Work, now: Now, body: &mut Vec<u8>, route: usize| {
                later::make(work, &state, now, body, route)
            };
            run(name, move || work(&lanes, &stopped, clock, patience_ns, make))
        };
        let mut threads = if state.store.is_remote() {
            vec![
                run_jobs("control", vec![analyze, scrape, debug])?,
                run_jobs("lookup", vec![lookup])?,
            ]
        } else {
            vec![run_jobs("control", vec![lookup, analyze, scrape, debug])?]
        };
        let (stop_profiles, stopped) = profiles.stop();
        threads.push(run("profiles", move || profiles.work(&stopped, profiles::take))?);
        Ok(Self { stop, profiles: stop_profiles, threads })
    }

    /// Whether they run, as they do until they are stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(|(thread, _)| thread.is_finished())
    }

    /// Ends a profile that is being taken, which is answered with what there is of it, and takes no
    /// more.
    pub fn stop_profiles(&mut self) {
        self.profiles.now();
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

/// Serves lanes in turns until the end, each by the oldest job of it that still has to be done.
fn work(
    lanes: &[Receiver<Job>],
    stopped: &Receiver<()>,
    mut clock: Clock,
    patience_ns: u64,
    make: impl Fn(&Work, Now, &mut Vec<u8>, usize) -> Response,
) {
    while wait(lanes, stopped) {
        for lane in lanes {
            loop {
                let job = match lane.try_recv() {
                    Ok(job) => job,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                };
                let now = clock.now();
                if job.waited_ns(now) > patience_ns {
                    // That was no work: the turn goes to the next one.
                    job.decline();
                    continue;
                }
                if !later::answer(job, |work, body, route| make(work, now, body, route)) {
                    log::error!("a panic ended the work on one request, which got 500");
                }
                break;
            }
        }
    }
}

/// Waits for work; false when the end has come. Nobody waits for what is still queued then.
fn wait(lanes: &[Receiver<Job>], stopped: &Receiver<()>) -> bool {
    let mut select = Select::new();
    select.recv(stopped);
    for lane in lanes {
        select.recv(lane);
    }
    select.ready();
    // Nothing is ever sent on it.
    stopped.try_recv() == Err(TryRecvError::Empty)
}

#[cfg(test)]
mod tests;
