//! The samples of the last minutes, which the sampler takes and `/stats` reads.

use super::problems::Since;
use crate::telemetry::history::History;
use crate::telemetry::recent_durations::RecentDurations;
use percore::clock::Now;
use percore::sync::{Mutex, MutexGuard};

/// The samples of a server, for the threads that read or take them.
#[derive(Debug)]
pub struct Samples {
    started: Now,
    recent: Mutex<RecentSamples>,
}

/// Samples of the last minutes.
#[derive(Debug)]
pub struct RecentSamples {
    /// The counters.
    pub history: History,
    /// The durations of requests with metrics.
    pub durations: RecentDurations,
    /// The beginnings of the problems that last.
    pub since: Since,
}

impl Samples {
    /// Returns no samples, of a server that starts now.
    pub fn new(now: Now) -> Self {
        let recent = RecentSamples {
            history: History::new(now.mono_ns),
            durations: RecentDurations::new(now.mono_ns),
            since: Since::default(),
        };
        Self { started: now, recent: Mutex::new(recent) }
    }

    /// Returns the time at which the server started.
    pub const fn started(&self) -> Now {
        self.started
    }

    /// Returns the samples, for a control thread. No core ever waits for this lock.
    pub fn lock(&self) -> MutexGuard<'_, RecentSamples> {
        self.recent.lock()
    }
}
