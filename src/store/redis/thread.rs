//! The writer thread: it waits where the writer wants to wait, and reads the clock.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender, after, never};
use crossbeam::select;

use super::Shared;
use super::dialer::RedisDialer;
use super::writer::{Wish, Writer};
use crate::clock::{Clock, nanoseconds};
use crate::config::redis_url::RedisUrl;
use crate::sync::Mutex;

/// The running thread.
#[derive(Debug)]
pub(in crate::store) struct WriterThread {
    stop: Sender<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
    clock: Clock,
}

impl WriterThread {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub(in crate::store) fn start(
        shared: Arc<Shared>,
        url: RedisUrl,
        ttl_ns: u64,
        clock: Clock,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel::bounded(1);
        let writer =
            Writer::new(Arc::clone(&shared), RedisDialer::new(url), ttl_ns, fastrand::u64(..));
        let work = move || run(writer, &shared, &stopped, clock);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)), clock })
    }

    /// Whether it runs, as it does until it is stopped.
    pub(in crate::store) fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Lets it write what there is for as long as `timeout`, and waits for its end.
    pub(in crate::store) fn stop(&self, timeout: Duration) {
        let mut clock = self.clock;
        let deadline_ns = clock.now().mono_ns.saturating_add(nanoseconds(timeout));
        // It takes one order to stop, and a second one could only say the same.
        let _ = self.stop.try_send(deadline_ns);
        if let Some(thread) = self.thread.lock().take() {
            // A writer that panicked has left its events pending, which the caller sees.
            let _ = thread.join();
        }
    }
}

fn run(
    mut writer: Writer<RedisDialer>,
    shared: &Shared,
    stopped: &Receiver<u64>,
    mut clock: Clock,
) {
    let mut stopped = stopped.clone();
    loop {
        if let Ok(deadline_ns) = stopped.try_recv() {
            writer.stop(deadline_ns);
            // Nothing more comes by this way.
            stopped = never();
        }
        let now_ns = clock.now().mono_ns;
        let until = |until_ns: u64| after(Duration::from_nanos(until_ns.saturating_sub(now_ns)));
        match writer.step(now_ns) {
            Wish::Step => {}
            Wish::End => return,
            Wish::Sleep { until_ns } => select! {
                recv(stopped) -> order => match order {
                    Ok(deadline_ns) => {
                        writer.stop(deadline_ns);
                        stopped = never();
                    }
                    Err(_) => return,
                },
                recv(until(until_ns)) -> _ => {}
            },
            Wish::Work { until_ns } => select! {
                recv(stopped) -> order => match order {
                    Ok(deadline_ns) => {
                        writer.stop(deadline_ns);
                        stopped = never();
                    }
                    Err(_) => return,
                },
                recv(shared.queue.receiver()) -> block => if let Ok(block) = block {
                    writer.take(block);
                },
                recv(until(until_ns)) -> _ => {}
            },
        }
    }
}
