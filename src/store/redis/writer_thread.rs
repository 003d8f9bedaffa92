//! The writer thread: it runs the writer, waits as the writer asks, and reads the clock.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, never};
use crossbeam::select;

use super::connector::RedisConnector;
use super::discovery::Discovery;
use super::shared_state::SharedState;
use super::writer::{NextStep, Writer};
use crate::config::redis_url::RedisUrl;
use crate::store::spill::Spill;
use percore::clock::{Clock, nanoseconds};
use percore::sync::Mutex;

/// The time by which a step that has begun to wait may exceed the time-out of a stop.
const STOP_MARGIN: Duration = Duration::from_millis(1_500);

/// The running thread.
pub(crate) struct WriterThread {
    stop: Sender<u64>,
    ended: Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
    clock: Clock,
}

impl WriterThread {
    /// Starts the thread.
    pub(crate) fn start(
        shared: Arc<SharedState>,
        url: RedisUrl,
        discovery: Arc<Discovery>,
        spill: Option<Spill>,
        ttl_ns: u64,
        clock: Clock,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel::bounded(1);
        let connector = RedisConnector::new(url, discovery, clock);
        let writer = Writer::new(Arc::clone(&shared), connector, spill, ttl_ns, fastrand::u64(..));
        let (ends, ended) = channel::bounded(0);
        let work = move || {
            let _ends: Sender<()> = ends;
            run(writer, &shared, &stopped, clock);
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(work)?;
        Ok(Self { stop, ended, thread: Mutex::new(Some(thread)), clock })
    }

    /// Returns true while the thread runs, as it does until it is stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Lets the thread write what is pending until `reserve` before the end of `timeout`, and waits
    /// for its end. Returns true if it ended in time and without a panic.
    pub(crate) fn stop(&self, timeout: Duration, reserve: Duration) -> bool {
        let mut clock = self.clock;
        let writes = nanoseconds(timeout.saturating_sub(reserve));
        let deadline_ns = clock.now().mono_ns.saturating_add(writes);
        // A second order to stop changes nothing.
        let _ = self.stop.try_send(deadline_ns);
        let thread = self.thread.lock().take();
        let Some(thread) = thread else {
            return true;
        };
        // Nothing is ever sent: the channel is disconnected when the thread ends.
        let ended = self.ended.recv_timeout(timeout.saturating_add(STOP_MARGIN));
        ended == Err(RecvTimeoutError::Disconnected) && thread.join().is_ok()
    }
}

fn run(
    mut writer: Writer<RedisConnector>,
    shared: &SharedState,
    stopped: &Receiver<u64>,
    mut clock: Clock,
) {
    let mut stopped = stopped.clone();
    // A channel on which nothing comes.
    let nothing = never();
    loop {
        let now_ns = clock.now().mono_ns;
        let (until_ns, blocks) = match writer.step(now_ns) {
            NextStep::AtOnce => (now_ns, &nothing),
            NextStep::Sleep { until_ns } => (until_ns, &nothing),
            NextStep::AwaitBlock { until_ns } => (until_ns, shared.queue.receiver()),
            NextStep::End => return,
        };
        let wait = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        if wait.is_zero() && stopped.is_empty() {
            continue;
        }
        select! {
            recv(stopped) -> order => match order {
                Ok(deadline_ns) => {
                    writer.stop(deadline_ns);
                    // No other order comes.
                    stopped = never();
                }
                // The store was dropped without a stop: the server did not start.
                Err(_) => return,
            },
            recv(blocks) -> block => if let Ok(block) = block {
                writer.push(block);
            },
            default(wait) => {}
        }
    }
}
