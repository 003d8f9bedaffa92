//! The thread that reads files again: after a SIGHUP all of them, and those that have changed every
//! few seconds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};

use crate::reload::{Reload, ReloadCounts, Reloads};
use crate::telemetry::log;

/// The time between two looks at whether files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The end that asks for it.
#[derive(Clone, Debug)]
pub(super) struct ReloadRequests(Sender<()>);

impl ReloadRequests {
    /// Asks for all files to be read again. A request that waits already is of files that have not
    /// been read yet, and so does for this one too.
    pub(super) fn request(&self) {
        let _ = self.0.try_send(());
    }
}

/// The thread's end.
pub(super) struct Reloader {
    requests: Receiver<()>,
    reloads: Reloads,
    counts: Arc<ReloadCounts>,
}

/// Creates both ends.
pub(super) fn reloader(reloads: Reloads, counts: Arc<ReloadCounts>) -> (ReloadRequests, Reloader) {
    let (sender, requests) = channel::bounded(1);
    (ReloadRequests(sender), Reloader { requests, reloads, counts })
}

impl Reloader {
    /// Reads files again until the server stops.
    pub(super) fn run(mut self, stopped: &Receiver<()>) {
        loop {
            let is_asked = channel::select_biased! {
                // Nothing is ever sent: the channel is disconnected when the server stops.
                recv(stopped) -> _ => return,
                recv(self.requests) -> request => match request {
                    Ok(()) => true,
                    Err(_) => return,
                },
                default(LOOK_EVERY) => false,
            };
            for reload in self.reloads.iter_mut() {
                // A panic leaves what was there: the new takes the place of the old in one step.
                let read = || {
                    if is_asked || reload.changed() {
                        read_again(reload.as_mut(), &self.counts);
                    }
                };
                if catch_unwind(AssertUnwindSafe(read)).is_err() {
                    log::error!("a panic ended the reading of a file");
                    self.counts.count(reload.name(), false);
                }
            }
        }
    }
}

/// Reads one of them again, and tells the outcome.
fn read_again(reload: &mut dyn Reload, counts: &ReloadCounts) {
    let name = reload.name();
    let outcome = reload.reload();
    match &outcome {
        Ok(news) => log::info!(what = name, "read again: {news}"),
        Err(mistakes) => {
            for mistake in mistakes {
                log::error!(what = name, "{mistake}");
            }
            let mistakes = mistakes.len();
            log::error!(what = name, mistakes, "nothing is changed: what was read before holds");
        }
    }
    // Whoever sees the count finds the news in the log.
    counts.count(name, outcome.is_ok());
}
