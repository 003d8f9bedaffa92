//! The control threads, which run the jobs that a core must not wait for.
//!
//! One merges, formats and reads `/proc`. Look-ups in a remote store have another, or a slow store
//! would hold up `/analyze` and the scrapes; and so have profiles, which take seconds by design.
//!
//! Each kind of job has a lane, and the lanes of a thread take turns: of two hundred scrapes that
//! wait, one is served before the next look-up. A job that has waited for longer than
//! `--request-timeout` is answered so instead. A panic costs the job that it happened in.
//!
//! The first thread also takes a sample each second, between two jobs. If there are files that can
//! be read again, one more thread does that.

mod profiler;
mod reloader;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{
    self, Receiver, RecvTimeoutError, Select, Sender, TryRecvError, TrySendError,
};

use crate::api::jobs::{Execution, Job, JobError, JobQueue, Lane};
use crate::limits::JOBS_QUEUED_MAX;
use crate::reload::{ReloadCounts, Reloads};
use crate::telemetry::log;
use percore::clock::{Clock, Now};
use profiler::{ProfilerQueue, ProfilerStop, ProfilerThread, profiler};
use reloader::{ReloadRequests, reloader};

/// The cores' ends of the queues of jobs.
#[derive(Debug)]
struct JobSenders {
    lookup: Sender<Job>,
    analyze: Sender<Job>,
    scrape: Sender<Job>,
    debug: Sender<Job>,
    profiler: ProfilerQueue,
}

impl JobQueue for JobSenders {
    fn submit(&self, job: Job) -> Result<(), (Job, JobError)> {
        let sender = match job.lane() {
            Lane::Lookup => &self.lookup,
            Lane::Analyze => &self.analyze,
            Lane::Scrape => &self.scrape,
            Lane::Debug => &self.debug,
            Lane::Profile => return self.profiler.submit(job),
        };
        let full = |error: TrySendError<Job>| (error.into_inner(), JobError::QueueFull);
        sender.try_send(job).map_err(full)
    }
}

/// The control threads' ends.
#[derive(Debug)]
pub struct JobReceivers {
    lookup: Receiver<Job>,
    /// The lanes of all other jobs, in the order of their turns.
    others: [Receiver<Job>; 3],
    profiler: ProfilerThread,
}

/// Creates both ends of the bounded queues.
pub fn job_queues() -> (Box<dyn JobQueue>, JobReceivers) {
    let [lookup, analyze, scrape, debug] = [(); 4].map(|()| channel::bounded(JOBS_QUEUED_MAX));
    let (queue, profiler) = profiler();
    let others = [analyze.1, scrape.1, debug.1];
    let receivers = JobReceivers { lookup: lookup.1, others, profiler };
    let (lookup, analyze, scrape, debug) = (lookup.0, analyze.0, scrape.0, debug.0);
    (Box::new(JobSenders { lookup, analyze, scrape, debug, profiler: queue }), receivers)
}

/// The time for which the end of a server waits for a job at hand, whose answer is of no use then.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The running control threads.
#[derive(Debug)]
pub struct Control {
    stop: Sender<()>,
    /// Ends the profiler, before the other threads.
    profiler_stop: ProfilerStop,
    /// Asks for files to be read again, if there are such.
    reload: Option<ReloadRequests>,
    threads: Vec<ControlThread>,
}

/// A thread, and a channel that is disconnected when it ends.
type ControlThread = (JoinHandle<()>, Receiver<()>);

impl Control {
    /// Starts the threads. Look-ups have their own if the store is remote, and so has what can be
    /// read again, if there is any. `sample` is called once a second.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start(
        jobs: JobReceivers,
        store_is_remote: bool,
        clock: Clock,
        sample: Sample,
        (reloads, counts): (Reloads, Arc<ReloadCounts>),
    ) -> io::Result<Self> {
        let JobReceivers { lookup, others, profiler } = jobs;
        let (stop, stopped) = channel::bounded::<()>(0);
        let start = |name: &str, lanes: Vec<Receiver<Job>>, timer: SampleTimer| {
            let stopped = stopped.clone();
            spawn(name, move || run(&lanes, &stopped, clock, timer))
        };
        let timer = SampleTimer::new(sample);
        let mut threads = if store_is_remote {
            let lookup = start("lookup", vec![lookup], SampleTimer::NEVER)?;
            vec![start("control", others.into(), timer)?, lookup]
        } else {
            vec![start("control", [lookup].into_iter().chain(others).collect(), timer)?]
        };
        let reload = if reloads.is_empty() {
            None
        } else {
            let (requests, reloader) = reloader(reloads, counts);
            threads.push(spawn("reload", move || reloader.run(&stopped))?);
            Some(requests)
        };
        let (profiler_stop, stopped) = profiler.stop_switch();
        threads.push(spawn("profiles", move || profiler.run(&stopped, clock))?);
        Ok(Self { stop, profiler_stop, reload, threads })
    }

    /// Asks for all files to be read again that can be; the outcome is logged and counted.
    pub fn reload(&self) {
        self.reload.iter().for_each(ReloadRequests::request);
    }

    /// Returns true if all threads run, as they do until they are stopped.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(|(thread, _)| thread.is_finished())
    }

    /// Ends a profile that is being taken, which is answered with the samples so far, and takes no
    /// more.
    pub fn stop_profiles(&mut self) {
        self.profiler_stop.stop();
    }

    /// Ends the threads after the jobs at hand, and waits for that, but not for a look-up that
    /// hangs. Returns true if no thread had panicked.
    pub fn stop(mut self) -> bool {
        self.stop_profiles();
        drop(self.stop);
        let mut in_order = true;
        for (thread, ended) in self.threads {
            // Nothing is ever sent: the thread drops its end of the channel when it ends.
            if ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Disconnected) {
                in_order &= thread.join().is_ok();
            }
        }
        in_order
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<ControlThread> {
    let (end, ended) = channel::bounded(0);
    let run = move || {
        let _end: Sender<()> = end;
        run();
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map(|thread| (thread, ended))
}

/// The function that takes a sample.
pub type Sample = Box<dyn FnMut(Now) + Send>;

/// The timer of samples, at each whole second of the monotonic clock.
struct SampleTimer {
    sample: Option<Sample>,
    /// The second of the last sample.
    last: u64,
}

impl SampleTimer {
    /// The timer of a thread that takes none.
    const NEVER: Self = Self { sample: None, last: 0 };

    const fn new(sample: Sample) -> Self {
        Self { sample: Some(sample), last: 0 }
    }

    /// Returns the time until the next sample; `None` if there is none.
    fn pause(&self, now: Now) -> Option<Duration> {
        let due_ns = (self.last + 1).saturating_mul(SECOND_NS);
        self.sample.as_ref().map(|_| Duration::from_nanos(due_ns.saturating_sub(now.mono_ns)))
    }

    /// Takes a sample if one is due. After a panic in it, further ones are taken all the same.
    fn sample_if_due(&mut self, now: Now) {
        let second = now.mono_ns / SECOND_NS;
        let Some(sample) = self.sample.as_mut().filter(|_| second > self.last) else {
            return;
        };
        self.last = second;
        if catch_unwind(AssertUnwindSafe(|| sample(now))).is_err() {
            log::error!("a panic ended the sample of this second");
        }
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// Runs the jobs of lanes in turns until the end, from each lane the oldest that is not overdue.
fn run(lanes: &[Receiver<Job>], stopped: &Receiver<()>, mut clock: Clock, mut timer: SampleTimer) {
    while wait(lanes, stopped, timer.pause(clock.now())) {
        timer.sample_if_due(clock.now());
        for lane in lanes {
            loop {
                let job = match lane.try_recv() {
                    Ok(job) => job,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                };
                let now = clock.now();
                if job.is_overdue(now) {
                    // This took no time, so that the lane keeps its turn.
                    job.fail(JobError::TimedOut);
                    continue;
                }
                let finished = job.run(&Execution { now, sleep: &thread::sleep });
                if finished.panicked {
                    log::error!("a panic ended the work on one request, which got 500");
                }
                finished.deliver();
                break;
            }
        }
    }
}

/// Waits for a job, at most for `pause`. Returns false at the end of the server, when no answer is
/// waited for any more.
fn wait(lanes: &[Receiver<Job>], stopped: &Receiver<()>, pause: Option<Duration>) -> bool {
    let mut select = Select::new();
    select.recv(stopped);
    for lane in lanes {
        select.recv(lane);
    }
    match pause {
        // Both outcomes lead to a look at what is there.
        Some(pause) => {
            let _ = select.ready_timeout(pause);
        }
        None => {
            select.ready();
        }
    }
    // Nothing is ever sent on it.
    stopped.try_recv() == Err(TryRecvError::Empty)
}

#[cfg(test)]
mod tests;
