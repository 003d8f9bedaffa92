//! The thread of the windows: it waits for letters, for devices that want their windows, and for
//! Redis, and lets the mover decide.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use crossbeam::select;

use super::super::directory::Incarnation;
use super::super::status::Status;
use super::analytics_cells::{AnalyticsCells, Instance};
use super::figures::Figures;
use super::keys::Keys;
use super::mover::{Ended, Mover, Step};
use crate::limits::{FLEET_REPLY_BYTES_MAX, STORE_REPLY_MS_MAX, WINDOW_LETTERS_MAX};
use crate::store::redis::keys_link::{Exchanged, KeysLink};
use crate::telemetry::log;
use percore::clock::{Clock, Now};

/// The time-out of a batch.
const EXCHANGE: Duration = Duration::from_millis(STORE_REPLY_MS_MAX);

/// The time by which the end may be later than ordered.
const STOP_MARGIN: Duration = Duration::from_millis(500);

/// Settings of the windows.
#[derive(Debug)]
pub(in super::super) struct WindowSettings {
    /// The name of the fleet.
    pub(in super::super) fleet: String,
    /// This replica, by its mailbox.
    pub(in super::super) me: Incarnation,
    /// Unsaved events are saved within this time.
    pub(in super::super) save_interval_ns: u64,
    /// Devices are forgotten after this time.
    pub(in super::super) device_ttl_ms: u64,
}

/// The running thread.
#[derive(Debug)]
pub(in super::super) struct WindowThread {
    stop: Sender<u64>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl WindowThread {
    /// Starts the thread. Returns it with the channel that takes the letters to this replica.
    pub(in super::super) fn start(
        settings: WindowSettings,
        instance: Arc<dyn Instance>,
        link: KeysLink,
        (status, figures): (Arc<Status>, Arc<Figures>),
        clock: Clock,
    ) -> io::Result<(Self, Sender<Vec<u8>>)> {
        let WindowSettings { fleet, me, save_interval_ns, device_ttl_ms } = settings;
        let (stop, stopped) = channel::bounded(1);
        let (ends, ended) = channel::bounded::<()>(0);
        let (letters, received) = channel::bounded(WINDOW_LETTERS_MAX);
        let (wakes, woken) = channel::bounded(1);
        let wake = move || {
            // Who has been woken sees what came meanwhile.
            let _ = wakes.try_send(());
        };
        instance.analytics().share_windows(me.0, Box::new(wake));
        let cells = AnalyticsCells::new(instance, Arc::clone(&figures));
        let keys = Keys::new(&fleet, device_ttl_ms);
        let mover = Mover::new(me, keys, cells, figures, save_interval_ns);
        let work = move || {
            let _ends: Sender<()> = ends;
            Run { mover, link, letters: received, woken, stopped, status, clock }.run();
        };
        let thread = thread::Builder::new().name("windows".to_owned()).spawn(work)?;
        Ok((Self { stop, ended, thread }, letters))
    }

    /// Returns true if the thread runs, as it does until it is stopped.
    pub(in super::super) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Lets all windows be saved or given away, until `deadline_ns`, for as long as `timeout`.
    /// Returns true if the thread ended in time and without a panic.
    pub(in super::super) fn stop(self, timeout: Duration, deadline_ns: u64) -> bool {
        // A second order to stop changes nothing.
        let _ = self.stop.try_send(deadline_ns);
        // Nothing is ever sent: the channel is disconnected when the thread ends.
        let ended = self.ended.recv_timeout(timeout.saturating_add(STOP_MARGIN));
        if ended != Err(RecvTimeoutError::Disconnected) {
            log::warn!("not all windows of devices could be handed over: their thread hangs");
            return false;
        }
        self.thread.join().is_ok()
    }
}

/// The things that the thread works on.
struct Run {
    mover: Mover<AnalyticsCells>,
    link: KeysLink,
    letters: Receiver<Vec<u8>>,
    woken: Receiver<()>,
    stopped: Receiver<u64>,
    status: Arc<Status>,
    clock: Clock,
}

impl Run {
    /// Works until the mover ends, or the server is gone without having stopped it.
    fn run(mut self) {
        loop {
            let goes_on = catch_unwind(AssertUnwindSafe(|| self.turn()));
            match goes_on {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => log::error!("a panic ended a step of the windows"),
            }
        }
        self.tell_what_is_left();
    }

    /// Tells how many devices others do not find as they are here.
    fn tell_what_is_left(&self) {
        let [waiting, unsaved] = self.mover.cells.left();
        let [failed, given, pursued] = self.mover.left();
        // A device may be in both.
        let unsaved = unsaved.max(failed);
        let unclaimed = pursued.saturating_sub(waiting);
        if waiting + unsaved + given + unclaimed > 0 {
            log::warn!(
                waiting,
                unsaved,
                given,
                unclaimed,
                "not all windows of devices could be handed over in time"
            );
        }
    }

    /// Does what is due, and waits for what is next. Returns false at the end.
    fn turn(&mut self) -> bool {
        let now = self.now();
        match self.mover.step(now) {
            Step::Send => {
                // Who leaves does not wait for a frozen Redis past the end, which it has to tell.
                let left_ns =
                    self.mover.leaves_until_ns().map(|end| end.saturating_sub(now.mono_ns));
                let wait = left_ns.map_or(EXCHANGE, |ns| EXCHANGE.min(Duration::from_nanos(ns)));
                let Some(commands) = self.mover.commands() else {
                    return true;
                };
                let Exchanged { ends, broke } =
                    self.link.exchange(commands, wait, FLEET_REPLY_BYTES_MAX);
                let ended = Ended { sent_ns: now.mono_ns, ends, broke };
                let now = self.now();
                self.mover.on_ended(ended, now);
                while let Ok(letter) = self.letters.try_recv() {
                    self.mover.on_letter(&letter, now);
                }
                match self.stopped.try_recv() {
                    Ok(deadline_ns) => self.stop(deadline_ns),
                    // Its other end is dropped with the server that did not start.
                    Err(error) => {
                        return !error.is_disconnected() || self.mover.leaves_until_ns().is_some();
                    }
                }
                true
            }
            Step::Wait { wake_ns } => self.wait(wake_ns),
            Step::End => false,
        }
    }

    /// Waits for what comes next, until this time.
    fn wait(&mut self, wake_ns: u64) -> bool {
        let wait = Duration::from_nanos(wake_ns.saturating_sub(self.clock.now().mono_ns));
        select! {
            recv(self.letters) -> letter => {
                let now = self.now();
                if let Ok(letter) = letter {
                    self.mover.on_letter(&letter, now);
                } else {
                    // No letter comes any more: the thread that brings them has ended.
                    self.letters = channel::never();
                }
            },
            recv(self.woken) -> _ => {},
            recv(self.stopped) -> order => match order {
                Ok(deadline_ns) => self.stop(deadline_ns),
                Err(_) => return false,
            },
            default(wait) => {}
        }
        true
    }

    fn stop(&mut self, deadline_ns: u64) {
        self.mover.stop(deadline_ns);
        // No other order comes.
        self.stopped = channel::never();
    }

    /// Returns the time, with that of the fleet as its wall clock.
    fn now(&mut self) -> Now {
        let now = self.clock.now();
        Now { wall_us: self.status.fleet_us(now), ..now }
    }
}
